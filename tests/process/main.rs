//! The binary as processes: what signals and kills do to one, and what several do to an account.

// What is outside `#[test]` functions here is still only tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod dumps;
mod exec;
mod admin;
mod kills;
mod manager;
mod overload;
mod pages;
mod pairs;
mod reload;
mod revocation;
mod signals;
mod site;
mod sockets;
mod stop;
mod three;
