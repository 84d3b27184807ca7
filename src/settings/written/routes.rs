//! Routes, as they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Limit;
use crate::settings::defaults;

/// Which request goes to which upstream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct Route {
    /// The host that the client asks for, without a port. A route without a host takes those that
    /// no other route names.
    #[schemars(extend("examples" = ["cms.example"]))]
    pub(in crate::settings) host: Option<String>,
    /// What the path begins with, by whole segments: `/v3` takes `/v3` and `/v3/users`, not
    /// `/v30`.
    #[serde(default = "defaults::route_path")]
    pub(in crate::settings) path: String,
    /// The name of the upstream.
    #[schemars(required, extend("examples" = ["cms"]))]
    pub(in crate::settings) upstream: Option<String>,
    /// The name of the upstream's account. Can be left out where the upstream has exactly one.
    #[schemars(extend("examples" = ["editor"]))]
    pub(in crate::settings) account: Option<String>,
    /// The names of the upstream's accounts that a client may choose with `Doorward-Account: NAME`.
    /// Who does not choose uses `account`.
    #[serde(default)]
    #[schemars(extend("examples" = [["editor", "reader"]]))]
    pub(in crate::settings) accounts: Vec<String>,
    /// Who shares a session of the account.
    #[serde(default)]
    pub(in crate::settings) session: SessionScope,
    /// Whether `path` is taken off before the request is sent on.
    #[serde(default)]
    pub(in crate::settings) strip_prefix: bool,
    /// How much all clients together may ask by this route of each account. Without it, as much as
    /// the account's own limits let them.
    pub(in crate::settings) limits: Option<Limit>,
}

/// Who shares a session of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SessionScope {
    /// All clients.
    #[default]
    Shared,
    /// Each client has a session of its own, which ends when the client has not used it for
    /// `timeouts.session_idle`. Every listener must ask for keys then.
    PerClient,
}
