//! Doorward logs in, so that your clients never have to.
//!
//! The rooms, in reading order; `docs/ARCHITECTURE.md` is the map.

pub mod clock;
#[cfg(feature = "emulator")]
pub mod emulator;
