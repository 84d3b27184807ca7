//! The emulators alone, driven over real HTTP on loopback: each row of their contract.

// The whole binary is test code; clippy sees only the test functions as such.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod client;
mod contentstack;
mod contentstack_calls;
mod frame;
mod mfiles;
mod mfiles_calls;
mod thoughtspot;
mod thoughtspot_v2;
