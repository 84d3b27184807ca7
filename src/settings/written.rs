//! The configuration as an operator writes it. The texts here are the reference: the schema, the
//! editors and `docs/CONFIGURATION.md` show them.
//!
//! Keys that must be there are `Option` here and required in the schema, so that a text with a
//! missing key can still be judged for its meaning.

mod clients;
mod issuers;
mod limits;
mod log;
mod search;
mod tls;

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::defaults;
pub(super) use clients::{Client, ExpiringKey, Grant, Key, UnixOwner};
pub(super) use issuers::{Claim, Issuer, Tokens};
pub(super) use limits::{Limit, Rate};
pub(super) use log::Log;
pub use log::{LogFormat, LogLevel};
pub use search::SearchBodies;
pub use tls::ClientCertificates;
pub(super) use tls::{ServerTls, UpstreamTls};

/// Everything that Doorward can be told.
///
/// Later files add to earlier ones key by key; a list in a later file replaces the whole list.
/// Every key that is no list and stands in no list can also be set by an environment variable:
/// `limits.connections_max` by `DOORWARD_LIMITS__CONNECTIONS_MAX`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Doorward configuration")]
pub(super) struct Written {
    /// Where clients reach Doorward, by a name of your choice.
    #[serde(default)]
    pub(super) listeners: BTreeMap<String, Listener>,
    /// Who may call, by the name that stands in the client's key.
    #[serde(default)]
    pub(super) clients: BTreeMap<String, Client>,
    /// What holds for all clients.
    #[serde(default)]
    pub(super) access: super::access::Written,
    /// Whose tokens clients may show instead of a key, by a name of your choice.
    #[serde(default)]
    pub(super) issuers: BTreeMap<String, Issuer>,
    /// The APIs that Doorward logs in to, by a name of your choice.
    #[serde(default)]
    pub(super) upstreams: BTreeMap<String, Upstream>,
    /// Which request goes to which upstream. The host is matched first, then the longest path.
    #[serde(default)]
    pub(super) routes: Vec<Route>,
    /// Bounds on what a request, an answer and all clients together may take.
    #[serde(default)]
    pub(super) limits: Limits,
    /// How long Doorward waits for what.
    #[serde(default)]
    pub(super) timeouts: Timeouts,
    /// What survives a restart: how many login attempts each account has left, and which sessions
    /// are open. Without this table it is kept in memory only.
    pub(super) state: Option<super::state::Written>,
    /// The audit trail: a line for each request and each event of a session, chained so that changes
    /// show; docs/AUDIT.md is its format. Without this table none is written.
    pub(super) audit: Option<super::audit::Written>,
    /// How Doorward uses the machine.
    #[serde(default)]
    pub(super) runtime: Runtime,
    /// What Doorward tells about itself on standard error.
    #[serde(default)]
    pub(super) log: Log,
}

/// Where clients reach Doorward.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    /// An IP address with a port, or `unix:` and the path of a socket. Port 0 takes a free port,
    /// which is printed at start.
    #[schemars(required, extend("examples" = ["127.0.0.1:8080", "[::1]:8080", "unix:/run/doorward/doorward.sock"]))]
    pub(super) address: Option<String>,
    /// Who may call. `open` is for a sidecar and is refused unless the address is
    /// loopback or a Unix socket, since everybody who reaches an open listener acts as the account.
    #[serde(default)]
    pub(super) access: Access,
    /// The certificate that this listener shows, and those that it asks clients for.
    pub(super) tls: Option<ServerTls>,
    /// Says that something in front of this listener ends TLS. Without it, a listener that is
    /// neither loopback nor a Unix socket needs `tls`: client keys must not travel in the clear.
    pub(super) plaintext: Option<Plaintext>,
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
pub(super) enum Plaintext {
    /// A proxy in front of it ends TLS.
    BehindTls,
}

/// An API that Doorward logs in to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Upstream {
    /// The address of the API: scheme, host, port where it is not the scheme's own, and a path
    /// that all requests begin with. Plain `http` is only for loopback.
    #[schemars(required, extend("examples" = ["https://api.example.com"]))]
    pub(super) url: Option<String>,
    /// The name of a built-in recipe; `doorward recipes list` names them. Either this or `recipe_file`.
    pub(super) recipe: Option<String>,
    /// The path of a recipe of your own.
    #[schemars(extend("examples" = ["recipes/mine.toml"]))]
    pub(super) recipe_file: Option<String>,
    /// Values that the recipe asks for.
    #[serde(default)]
    #[schemars(extend("examples" = [{"prefix": "/v3"}]))]
    pub(super) parameters: BTreeMap<String, String>,
    /// The accounts to log in with, by a name of your choice. What an account consists of, its
    /// recipe says; `doorward recipes` shows it.
    #[serde(default)]
    pub(super) accounts: BTreeMap<String, BTreeMap<String, Field>>,
    /// How the upstream's certificate is verified, where the machine's own trust does not do.
    #[serde(default)]
    pub(super) tls: UpstreamTls,
    /// Whether to speak HTTP/2 to the upstream.
    #[serde(default)]
    pub(super) http2: Http2,
    /// What becomes of streams on a session that is replaced by a new one. A stream is a tunnel, a
    /// `text/event-stream`, or an answer whose body is still coming in 10 seconds after its head.
    #[serde(default)]
    pub(super) streams: Streams,
    /// Whether bodies of answers are searched for session values, which are then replaced by as
    /// many `*`.
    #[serde(default)]
    pub(super) search_bodies: SearchBodies,
    /// The protocols that a client may have its connection upgraded to, such as `websocket`; for
    /// any other the request is sent on as an ordinary one. Needs HTTP/1.1 on both sides; a tunnel
    /// has a connection of its own. What passes through it is neither judged nor masked.
    #[serde(default = "defaults::upgrades")]
    pub(super) upgrades: Vec<String>,
    /// How long a connection to the upstream may take to be made, TLS included.
    #[serde(default = "defaults::connect_timeout")]
    pub(super) connect_timeout: DurationText,
    /// How long the head of an answer may take after the request's body has ended; then 504. A body
    /// that is coming in takes as long as it takes; one that stops for so long gets 408.
    #[serde(default = "defaults::response_timeout")]
    pub(super) response_timeout: DurationText,
    /// How much all clients together may ask of each account. A request that has to wait waits in a
    /// queue that is fair between clients, at most as long as `timeouts.request`; then 429
    /// `rate_limited`, or 503 `overloaded` where only a place was missing. Whatever is said here, a 429
    /// of the upstream makes everybody on the account wait, as long as its answer or its recipe says;
    /// and so does an answer that says that nothing is left, where the recipe knows how to read it.
    #[serde(default)]
    pub(super) limits: Limit,
    /// Sends logins in the clear to a host that is not this machine. Whoever is on the way reads
    /// the password.
    #[serde(default)]
    pub(super) danger_plaintext_login: bool,
}

/// One field of an account: text, or for a secret where it is kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("examples" = [{"file": "secrets/password"}]))]
pub(super) enum Field {
    /// The text itself; not for secrets.
    Text(String),
    /// In a file.
    File(FileSource),
    /// In an environment variable.
    Environment(EnvironmentSource),
    /// In a systemd credential.
    Credential(CredentialSource),
    /// In what a command prints. It is run without a shell, with Doorward's own environment and
    /// without standard input, and must end with status 0. What it leaves running is killed.
    Command(CommandSource),
}

/// A secret that is kept in a file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSource {
    /// The file's path. Nobody but its owner may be able to change it.
    pub(super) file: String,
    /// Cut blanks and line ends off. Without it they are an error.
    #[serde(default)]
    pub(super) trim: bool,
    /// Take blanks, line ends and quotes around the secret as part of it.
    #[serde(default)]
    pub(super) verbatim: bool,
}

/// A secret that is kept in an environment variable.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvironmentSource {
    /// The variable's name.
    pub(super) env: String,
    /// Cut blanks and line ends off. Without it they are an error.
    #[serde(default)]
    pub(super) trim: bool,
    /// Take blanks, line ends and quotes around the secret as part of it.
    #[serde(default)]
    pub(super) verbatim: bool,
}

/// A secret that systemd hands over (`LoadCredential=`, systemd.exec(5)).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CredentialSource {
    /// The credential's name.
    pub(super) credential: String,
    /// Cut blanks and line ends off. Without it they are an error.
    #[serde(default)]
    pub(super) trim: bool,
    /// Take blanks, line ends and quotes around the secret as part of it.
    #[serde(default)]
    pub(super) verbatim: bool,
}

/// A secret that a command prints.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandSource {
    /// The program and its arguments. A program without a slash is looked up in `PATH`.
    #[schemars(length(min = 1), extend("examples" = [["/usr/bin/op", "read", "op://work/cms/password"]]))]
    pub(super) command: Vec<String>,
    /// How long it may take, `10s` where nothing is said; then it is killed with its children.
    #[serde(default = "defaults::command_timeout")]
    pub(super) timeout: DurationText,
    /// After how long it is run again, to see whether the secret has changed; at least `10s`.
    /// Without it, it is run at start only.
    #[schemars(extend("examples" = ["15m"]))]
    pub(super) refresh: Option<DurationText>,
    /// Cut blanks and line ends off. Without it they are an error.
    #[serde(default)]
    pub(super) trim: bool,
    /// Take blanks, line ends and quotes around the secret as part of it.
    #[serde(default)]
    pub(super) verbatim: bool,
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

/// Which request goes to which upstream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    /// The host that the client asks for, without a port. A route without a host takes those that
    /// no other route names.
    #[schemars(extend("examples" = ["cms.example"]))]
    pub(super) host: Option<String>,
    /// What the path begins with, by whole segments: `/v3` takes `/v3` and `/v3/users`, not
    /// `/v30`.
    #[serde(default = "defaults::route_path")]
    pub(super) path: String,
    /// The name of the upstream.
    #[schemars(required, extend("examples" = ["cms"]))]
    pub(super) upstream: Option<String>,
    /// The name of the upstream's account. Can be left out where the upstream has exactly one.
    #[schemars(extend("examples" = ["editor"]))]
    pub(super) account: Option<String>,
    /// The names of the upstream's accounts that a client may choose with `Doorward-Account: NAME`.
    /// Who does not choose uses `account`.
    #[serde(default)]
    #[schemars(extend("examples" = [["editor", "reader"]]))]
    pub(super) accounts: Vec<String>,
    /// Who shares a session of the account.
    #[serde(default)]
    pub(super) session: SessionScope,
    /// Whether `path` is taken off before the request is sent on.
    #[serde(default)]
    pub(super) strip_prefix: bool,
    /// How much all clients together may ask by this route of each account. Without it, as much as
    /// the account's own limits let them.
    pub(super) limits: Option<Limit>,
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

/// Bounds. At each of them the client gets a defined answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    /// The longest request head, in bytes; a longer one gets 431.
    #[schemars(range(min = 8192, max = 1_048_576))]
    pub(super) request_head_bytes_max: usize,
    /// The most header fields of a request; more get 431.
    #[schemars(range(min = 16, max = 1000))]
    pub(super) header_fields_max: usize,
    /// How much of a request body is kept in memory to be sent again after an expired session, in
    /// bytes. What is longer goes to a file (`replay_spill_bytes_max`).
    #[schemars(range(max = 1_073_741_824))]
    pub(super) replay_body_bytes_max: usize,
    /// How much memory the bodies that are kept may take all together, in bytes. Where it is used
    /// up, bodies go to files.
    #[schemars(range(max = 1_099_511_627_776_u64))]
    pub(super) replay_body_total_bytes_max: u64,
    /// The longest request body that is kept in a file without a name, in bytes; the beginning
    /// stays in memory. A longer body is streamed: the upstream is asked first whether it wants it
    /// (`Expect: 100-continue`), and if the session turns out to be expired only after a part was
    /// sent, the client gets the upstream's own answer. 0 uses no files.
    #[schemars(range(max = 1_099_511_627_776_u64))]
    pub(super) replay_spill_bytes_max: u64,
    /// How much the files may hold all together, in bytes. Where that is used up, further bodies
    /// are not kept.
    #[schemars(range(max = 1_099_511_627_776_u64))]
    pub(super) replay_spill_total_bytes_max: u64,
    /// How much of an answer is looked at where the recipe judges by the body, in bytes.
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub(super) verdict_body_bytes_max: usize,
    /// The longest answer to a login, a probe or a logout, in bytes; a longer one is a failure. It
    /// is also the longest answer that session values are taken out of; a longer one is withheld.
    #[schemars(range(min = 1024, max = 67_108_864))]
    pub(super) login_answer_bytes_max: usize,
    /// The most client connections at a time of each listener, shared out evenly to the cores;
    /// further ones wait in the system's queue.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) connections_max: usize,
    /// The most requests at a time on one HTTP/2 connection.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) streams_max: u32,
    /// The most sessions at a time, of all accounts and clients together. At the bound the session
    /// that was used the longest ago is logged out first.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) sessions_max: usize,
    /// The longest body of a login that Doorward answers, in bytes; a longer one gets 413.
    #[schemars(range(min = 1024, max = 1_048_576))]
    pub(super) client_login_bytes_max: usize,
}

/// Waits. Each is a text with its unit, such as `5s`, `500ms` or `1m 30s`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Timeouts {
    /// How long a client may take to send the head of a request, from its first byte to its last,
    /// for a TLS handshake (then the connection is closed), and for a login's body (then 408).
    pub(super) head: DurationText,
    /// How long a request may wait in all, for a session and for the head of the upstream's
    /// answer; then 504. The time that bodies take does not count, nor do waits for its turn at
    /// limits, which may take as long once more, all together.
    pub(super) request: DurationText,
    /// How long a login may take, all its steps together. It goes on when the client that needed
    /// it leaves.
    pub(super) login: DurationText,
    /// How long running requests may go on after the signal to stop, and how long a replaced
    /// session waits for the requests that carry it.
    pub(super) drain: DurationText,
    /// The least time from the beginning of one login of an account to the next; a login that comes
    /// too early waits. `0s` for none.
    pub(super) login_distance: DurationText,
    /// How long all logouts together may take when Doorward stops.
    pub(super) logout: DurationText,
    /// How long a client's connection is kept without a request.
    pub(super) idle: DurationText,
    /// How long a session is kept without a client's request; then it is logged out.
    pub(super) session_idle: DurationText,
    /// How long a WebSocket or another tunnel is kept without a byte in either direction; it ends
    /// at most a quarter of that later.
    pub(super) tunnel_idle: DurationText,
    /// How long the token is good that a client gets for a login; never longer than its key.
    pub(super) client_token: DurationText,
}

/// How Doorward uses the machine.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Runtime {
    /// How many cores carry requests. Without it, all that this process may use.
    #[schemars(range(min = 1, max = 1024), extend("examples" = [2]))]
    pub(super) cores: Option<usize>,
    /// The folder for request bodies that memory does not hold. The files in it have no name and
    /// are gone with their request. Without it, the system's folder for temporary files.
    #[schemars(extend("examples" = ["/var/tmp"]))]
    pub(super) spill_dir: Option<String>,
}

/// A length of time with its unit, as it was written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct DurationText(pub(super) String);

impl JsonSchema for DurationText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration", "examples": ["5s"] })
    }
}
