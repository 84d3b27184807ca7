//! What is told of the audit trail itself, which cannot tell when it is not written.

/// The audit trail has gaps.
#[derive(Clone, Debug)]
pub enum AuditTrouble {
    /// Lines cannot be written; told once until they can be again.
    Unwritable {
        /// Why.
        why: String,
        /// What becomes of requests meanwhile.
        requests: OnFailure,
    },
    /// Lines are written again, and those among them say that so many are missing.
    Lost {
        /// How many.
        lost: u64,
    },
}

/// What becomes of requests while the audit trail cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// They go on, and their lines are lost.
    Continue,
    /// None is forwarded, and lines wait.
    Block,
}
