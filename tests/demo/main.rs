//! The demonstration and the single emulators as their users run them: the binary, its output, a
//! signal.

// The whole binary is test code; clippy sees only the test functions as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod curl;
mod emulate;
mod live;
mod newcomer;
mod once;
mod process;
