//! The configuration was read again, and taken over or not.

use std::sync::Arc;
use std::time::Duration;

/// The configuration is read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// How far that has come.
    pub stage: ReloadStage,
    /// What tells the configuration that is in force from others: a SHA-256, in hexadecimal digits.
    pub sha256: Arc<str>,
}

/// How far a reload has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadStage {
    /// It has begun; nothing has changed.
    Begun,
    /// The configuration is in force, for requests that begin from now on.
    Done {
        /// How long the reload took.
        took: Duration,
    },
    /// It cannot be used. The last one that could is kept, and is in force.
    Failed {
        /// What is wrong, each with its place.
        faults: Vec<String>,
        /// How long the reload took.
        took: Duration,
    },
}
