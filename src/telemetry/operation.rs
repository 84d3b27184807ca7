//! What operators do while Doorward runs.

use std::sync::Arc;

/// Something that an operator has asked for, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who: the user of the process at the other end of the socket (`uid:1000`), or by what else
    /// they were let in (`token`, `link`).
    pub who: Arc<str>,
    /// What, from a closed list.
    pub action: &'static str,
    /// On what: names of the configuration, or the beginning of a key's digest; empty where the
    /// whole gateway is meant.
    pub subject: String,
    /// Why nothing came of it, if nothing did.
    pub outcome: Result<(), String>,
}
