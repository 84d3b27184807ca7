//! What is told of the keys of issuers.

use std::sync::Arc;

/// The keys of an issuer were fetched, or not.
#[derive(Clone, Debug)]
pub struct IssuerKeys {
    /// The issuer's name in the configuration.
    pub issuer: Arc<str>,
    /// What came of it.
    pub outcome: KeysOutcome,
}

/// What came of fetching keys.
#[derive(Clone, Debug)]
pub enum KeysOutcome {
    /// They are others than before.
    New {
        /// How many can be used.
        keys: usize,
    },
    /// They are the same as before.
    Same,
    /// They could not be fetched, and are tried again.
    Failed {
        /// Why.
        why: String,
        /// Whether there are older ones, which are used on.
        kept: bool,
    },
    /// The last ones are too old: tokens are refused until there are new ones.
    Dropped,
}

impl KeysOutcome {
    /// The word in the audit trail; nothing where nothing has changed.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::New { .. } => Some("new"),
            Self::Same => None,
            Self::Failed { .. } => Some("failed"),
            Self::Dropped => Some("dropped"),
        }
    }
}
