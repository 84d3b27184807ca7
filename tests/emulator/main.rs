//! The emulators alone, driven over real HTTP on loopback: each row of their contract.

mod client;
mod contentstack;
mod contentstack_calls;
mod frame;
mod thoughtspot;
mod thoughtspot_v2;
