//! What is told of the audit trail itself, which cannot tell when it is not written.

/// The audit trail has gaps.
#[derive(Clone, Debug)]
pub enum AuditTrouble {
    /// Lines cannot be written; told once until they can be again.
    Unwritable {
        /// Why.
        why: String,
    },
    /// Lines are written, and one of them says that so many are missing.
    Lost {
        /// How many.
        lost: u64,
    },
}
