//! Where a request goes: host and longest path prefix lead to a route. Decided on a canonical copy
//! of the path; the client's own bytes travel on. Pure: no I/O.

mod canonical;
mod reading;
mod table;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;

pub use canonical::{Ambiguity, Canonical};
pub use reading::{Reading, Unreadable};
pub use table::{Route, Sharing, Table, is_loopback_name, without_port};
