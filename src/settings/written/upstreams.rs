//! Upstreams, as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Circuit, DurationText, Ejection, Field, Limit, SearchBodies, UpstreamTls};
use crate::settings::defaults;

/// An API that Doorward logs in to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct Upstream {
    /// The address of the API: scheme, host, port where it is not the scheme's own, and a path
    /// that all requests begin with. Plain `http` is only for loopback.
    #[schemars(required, extend("examples" = ["https://api.example.com"]))]
    pub(in crate::settings) url: Option<String>,
    /// The name of a built-in recipe; `doorward recipes list` names them. Either this or `recipe_file`.
    pub(in crate::settings) recipe: Option<String>,
    /// The path of a recipe of your own.
    #[schemars(extend("examples" = ["recipes/mine.toml"]))]
    pub(in crate::settings) recipe_file: Option<String>,
    /// Values that the recipe asks for.
    #[serde(default)]
    #[schemars(extend("examples" = [{"prefix": "/v3"}]))]
    pub(in crate::settings) parameters: BTreeMap<String, String>,
    /// The accounts to log in with, by a name of your choice. What an account consists of, its
    /// recipe says; `doorward recipes` shows it.
    #[serde(default)]
    pub(in crate::settings) accounts: BTreeMap<String, BTreeMap<String, Field>>,
    /// The program that logs in where no request can, for recipes that ask one (`exec`).
    pub(in crate::settings) login_helper: Option<LoginHelper>,
    /// How TLS to the upstream is, where the machine's own trust does not do or the upstream asks
    /// for a certificate. Logins, probes and logouts go the same way as requests.
    #[serde(default)]
    pub(in crate::settings) tls: UpstreamTls,
    /// What `Host` and `:authority` say, where it is not the URL's host and port; in logins, probes
    /// and logouts, too. Certificates are still verified by the URL's host, or by `tls.server_name`.
    #[schemars(extend("examples" = ["cms.internal:8443"]))]
    pub(in crate::settings) authority: Option<String>,
    /// The path of a Unix socket to connect to, whatever host and port `url` has. Since nothing
    /// leaves this machine, plain `http` is allowed.
    #[schemars(extend("examples" = ["/run/app/app.sock"]))]
    pub(in crate::settings) unix_socket: Option<String>,
    /// A proxy to connect through. Environment variables such as `HTTPS_PROXY` are not looked at.
    pub(in crate::settings) proxy: Option<UpstreamProxy>,
    /// Whether to speak HTTP/2 to the upstream.
    #[serde(default)]
    pub(in crate::settings) http2: Http2,
    /// What becomes of streams on a session that is replaced by a new one. A stream is a tunnel, a
    /// `text/event-stream`, or an answer whose body is still coming in 10 seconds after its head.
    #[serde(default)]
    pub(in crate::settings) streams: Streams,
    /// Whether bodies of answers are searched for session values, which are then replaced by as
    /// many `*`.
    #[serde(default)]
    pub(in crate::settings) search_bodies: SearchBodies,
    /// The protocols that a client may have its connection upgraded to, such as `websocket`; for
    /// any other the request is sent on as an ordinary one. A client asks over HTTP/1.1, or for a
    /// `websocket` over HTTP/2 (extended CONNECT); the upstream is asked over HTTP/1.1, on a
    /// connection of its own. What passes through a tunnel is neither judged nor masked.
    #[serde(default = "defaults::upgrades")]
    pub(in crate::settings) upgrades: Vec<String>,
    /// How long a connection to the upstream may take to be made, a proxy's tunnel and TLS included.
    #[serde(default = "defaults::connect_timeout")]
    pub(in crate::settings) connect_timeout: DurationText,
    /// Where to connect to, in the place of the addresses of the URL's host. The URL says what
    /// requests and certificates name all the same. New connections are spread over the addresses,
    /// and go to another one where one lets none in.
    #[serde(default)]
    #[schemars(extend("examples" = [["192.0.2.10:443", "[2001:db8::10]:443"]]))]
    pub(in crate::settings) addresses: Vec<String>,
    /// How long the addresses of the URL's host are taken for new. They are asked for again with the
    /// next connection after that, and when none can be made; connections to addresses that the
    /// host has no longer are not used for further requests.
    #[serde(default = "defaults::resolve_every")]
    pub(in crate::settings) resolve_every: DurationText,
    /// What the URL's host may lead to although no name should: networks such as `127.0.0.0/8`.
    /// Without it no connection is made to link-local, multicast and unspecified addresses and to
    /// those where clouds give out a machine's credentials; nor to loopback, unless the host is
    /// `localhost`, which leads nowhere else. Addresses that are written here or in the URL are
    /// not judged.
    #[serde(default)]
    #[schemars(extend("examples" = [["127.0.0.0/8"]]))]
    pub(in crate::settings) allowed_networks: Vec<String>,
    /// When an address that fails is left out for a while. One fails when it takes no connection
    /// (refused, unreachable, too slow, no TLS), when another address is reached sooner although it
    /// began a quarter of a second later, and when a new connection breaks before there is an
    /// answer; an answer makes it whole again. If all addresses are left out, the one that is due
    /// back first is tried.
    #[serde(default)]
    pub(in crate::settings) ejection: Ejection,
    /// When an upstream that cannot be reached is not tried for a while: the circuit is open.
    /// Requests that need a new connection are then answered at once, 503 `upstream_circuit_open`
    /// with `Retry-After`, and no login is tried. After the pause one connection is tried: if it can
    /// be made, everything goes on. What counts are connections that could be made to no address,
    /// within `connect_timeout`; answers do not count, whatever they say. All cores count together.
    #[serde(default)]
    pub(in crate::settings) circuit: Circuit,
    /// How long the head of an answer may take after the request's body has ended; then 504. A body
    /// that is coming in takes as long as it takes; one that stops for so long gets 408, and an
    /// upstream that takes nothing of it for so long gets no more of it: 504, unless it has answered.
    #[serde(default = "defaults::response_timeout")]
    pub(in crate::settings) response_timeout: DurationText,
    /// How long a connection to the upstream is kept without a request. Less than the upstream, and
    /// whatever balances the load in front of it, keeps one: a request on a connection that is being
    /// closed is lost.
    #[serde(default = "defaults::upstream_idle_timeout")]
    pub(in crate::settings) idle_timeout: DurationText,
    /// How much all clients together may ask of each account. A request that has to wait waits in a
    /// queue that is fair between clients, at most as long as `timeouts.request`; then 429
    /// `rate_limited`, or 503 `overloaded` where only a place was missing. Whatever is said here, a 429
    /// of the upstream makes everybody on the account wait, as long as its answer or its recipe says;
    /// and so does an answer that says that nothing is left, where the recipe knows how to read it.
    #[serde(default)]
    pub(in crate::settings) limits: Limit,
    /// Sends logins in the clear to a host that is not this machine. Whoever is on the way reads
    /// the password.
    #[serde(default)]
    pub(in crate::settings) danger_plaintext_login: bool,
}

/// A program that logs in, refreshes or logs out in the place of requests. It is run without a shell, is
/// given JSON on its standard input and prints JSON (docs/RECIPES.md, "A login helper"); of Doorward's
/// environment it sees a few variables such as `PATH` and `HOME` alone. What it leaves running is killed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct LoginHelper {
    /// The program and its arguments. A program without a slash is looked up in `PATH`.
    #[schemars(length(min = 1), extend("examples" = [["/usr/local/lib/doorward/log-in"]]))]
    pub(in crate::settings) command: Vec<String>,
    /// How long it may take each time, at most as long as `timeouts.login` or `timeouts.logout`; then it
    /// is killed with its children.
    #[serde(default = "defaults::login_helper_timeout")]
    pub(in crate::settings) timeout: DurationText,
}

/// A proxy that requests leave through. It is asked for a tunnel (CONNECT) to the upstream's host and
/// port, also for plain `http`, and looks up the host itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct UpstreamProxy {
    /// The address of the proxy: `http` or `https`, host, and port where it is not the scheme's own.
    #[schemars(required, extend("examples" = ["http://proxy.internal:3128"]))]
    pub(in crate::settings) url: Option<String>,
    /// The name to log in to the proxy with (`Proxy-Authorization: Basic`).
    pub(in crate::settings) username: Option<String>,
    /// The password to log in to the proxy with. It is read at start and at a reload.
    #[schemars(extend("examples" = [{"file": "secrets/proxy_password"}]))]
    pub(in crate::settings) password: Option<Field>,
    /// How TLS to the proxy itself is.
    #[serde(default)]
    pub(in crate::settings) tls: UpstreamTls,
}

/// Whether to speak HTTP/2 to an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Http2 {
    /// Where the upstream offers it in the TLS handshake.
    #[default]
    Auto,
    /// Not at all.
    Never,
    /// Without asking, also over plain `http`.
    Always,
}

/// What becomes of streams on a session that was replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Streams {
    /// The old session is logged out after its last stream, however long that takes. Where the
    /// account may have no further session open, as `drain`.
    Keep,
    /// The old session is logged out after its last stream, or after `timeouts.drain`. The streams
    /// are not cut; what becomes of them then is for the upstream to say.
    #[default]
    Drain,
    /// They are cut, also when the upstream calls the session dead, and the old session is logged
    /// out.
    Close,
}
