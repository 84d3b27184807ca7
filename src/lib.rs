//! Doorward logs in, so that your clients never have to.
//!
//! The rooms, in reading order; `docs/ARCHITECTURE.md` is the map.

pub mod admin;
pub mod app;
pub mod cli;
pub mod settings;
pub mod recipe;
pub mod secret;
pub mod state;
pub mod server;
pub mod proxy;
pub mod route;
pub mod access;
pub mod forward;
pub mod limit;
pub mod shield;
pub mod session;
pub mod recording;
pub mod conformance;
pub mod login;
pub mod upstream;
pub mod http1;
pub mod outbox;
pub mod fields;
pub mod audit;
pub mod telemetry;
pub mod diagnosis;
pub mod clock;
#[cfg(any(test, fuzzing))]
pub mod properties;
#[cfg(feature = "emulator")]
pub mod emulator;
