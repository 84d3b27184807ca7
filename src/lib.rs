//! Doorward logs in, so that your clients never have to.
//!
//! The rooms, in reading order; `docs/ARCHITECTURE.md` is the map.

pub mod access;
pub mod cli;
pub mod clock;
pub mod diagnosis;
pub mod secret;
pub mod settings;
