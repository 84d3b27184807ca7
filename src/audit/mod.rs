//! The audit trail: one line of JSON for each request and each event of a session, in files that
//! are only appended to. Each line carries a hash over the one before it, so that a line that was
//! changed, removed, inserted or moved shows. `docs/AUDIT.md` is the format.

mod chain;
mod line;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
mod tail;
mod trail;
mod verify;
mod writer;

pub use chain::{Hash, Seal};
pub use line::{Line, cleared};
pub use trail::{OpenError, Trail};
pub use verify::{Break, Fault, Place, Verified, verify};
pub use writer::{Audit, Ended, start};
