//! Doorward logs in, so that your clients never have to.
//!
//! The rooms, in reading order; `docs/ARCHITECTURE.md` is the map.

pub mod access;
pub mod clock;
pub mod diagnosis;
pub mod forward;
pub mod login;
pub mod proxy;
pub mod recipe;
pub mod route;
pub mod secret;
pub mod session;
pub mod shield;
pub mod telemetry;
pub mod upstream;
