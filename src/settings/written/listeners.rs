//! Listeners, as they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ServerTls;

/// Where clients reach Doorward.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct Listener {
    /// An IP address with a port, or `unix:` and the path of a socket. Port 0 takes a free port,
    /// which is printed at start. `fd:` and a name is a socket that the service manager hands over
    /// under that name (socket activation); one that is handed over under the listener's own name is
    /// used in any case, and must be at this address.
    #[schemars(required, extend("examples" = ["127.0.0.1:8080", "[::1]:8080", "unix:/run/doorward/doorward.sock", "fd:main"]))]
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
    /// The proxies in front of this listener that say whose connection they pass on.
    pub(in crate::settings) proxy_protocol: Option<ProxyProtocol>,
    /// What it means when a client ends its side of an HTTP/1 connection (TCP's FIN, TLS'
    /// `close_notify`) while its request is under way.
    #[serde(default)]
    pub(in crate::settings) half_closed: HalfClosed,
}

/// What it means when a client ends its side of a connection while its request is under way. Nothing
/// on the wire tells one that has left from one that only has nothing more to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HalfClosed {
    /// It has left: its request is given up, and its place in a queue and at the limits is free at
    /// once.
    #[default]
    Left,
    /// It still gets its whole answer, as `nc -N` and some old programs expect. That it has left
    /// shows only when the answer is written.
    Answered,
}

/// The proxies in front of a listener that send the PROXY protocol (version 1 or 2) ahead of each
/// connection, before TLS. The client's address is then the one that they name, in logs, in the
/// audit trail and in what upstreams are told. A connection of a peer that is listed and does not
/// begin with the header is closed; one of a peer that is not listed and does is refused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct ProxyProtocol {
    /// The addresses of these proxies, or their networks. At a Unix socket `["unix"]`: whoever
    /// may connect is a proxy then, and `unix` of clients does not tell who calls.
    #[schemars(required, length(min = 1), extend("examples" = [["10.0.0.0/8", "2001:db8::7"]]))]
    pub(in crate::settings) from: Option<Vec<String>>,
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
