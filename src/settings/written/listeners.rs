//! Listeners, as they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ServerTls;

/// Where clients reach Doorward.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct Listener {
    /// An IP address with a port, or `unix:` and the path of a socket. Port 0 takes a free port,
    /// which is printed at start.
    #[schemars(required, extend("examples" = ["127.0.0.1:8080", "[::1]:8080", "unix:/run/doorward/doorward.sock"]))]
    pub(in crate::settings) address: Option<String>,
    /// Who may call. `open` is for a sidecar and is refused unless the address is
    /// loopback or a Unix socket, since everybody who reaches an open listener acts as the account.
    #[serde(default)]
    pub(in crate::settings) access: Access,
    /// The certificate that this listener shows, and those that it asks clients for.
    pub(in crate::settings) tls: Option<ServerTls>,
    /// Says that something in front of this listener ends TLS. Without it, a listener that is
    /// neither loopback nor a Unix socket needs `tls`: client keys must not travel in the clear.
    /// Pages of its own origin are then those that come by `https`.
    pub(in crate::settings) plaintext: Option<Plaintext>,
}

/// Who may call at a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Every request must show which of the `clients` sends it.
    #[default]
    Clients,
    /// Whoever reaches the listener may call.
    Open,
}

/// Why a listener may do without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::settings) enum Plaintext {
    /// A proxy in front of it ends TLS.
    BehindTls,
}
