//! What happened to revoked keys, and to the file that holds them.

use std::sync::Arc;
use std::time::SystemTime;

/// A key is revoked, or the file of revoked keys is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// Requests with a key of the configuration are refused from now on.
    Taken {
        /// Whose key it is.
        client: Arc<str>,
        /// The beginning of the key's digest.
        key: String,
        /// When it was revoked.
        revoked_at: SystemTime,
        /// When that was learned.
        learned: Learned,
    },
    /// The file cannot be read, or a part of it; what is revoked stays revoked.
    Unreadable {
        /// Why.
        why: String,
    },
    /// So many revoked keys do not stand in the file any more. They stay revoked until the next
    /// start.
    Missing {
        /// How many.
        keys: usize,
    },
}

/// When a revocation was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Before the first request.
    AtStart,
    /// While requests came.
    Running,
}

impl Learned {
    /// The word in logs and in the audit trail.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AtStart => "at_start",
            Self::Running => "running",
        }
    }
}
