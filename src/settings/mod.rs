//! What the operator wrote, as what it means. All faults come at once, each with its place.
//!
//! Two stages: `written` is the text with its schema; [`Settings`] is what it means, in types
//! that cannot be wrong. Nobody but `app` and `cli` reads settings; the rooms get what is theirs.

mod access;
mod access_log;
mod accounts;
mod addresses;
mod admin;
mod audit;
mod clients;
mod credentials;
mod defaults;
mod effective;
mod grants;
mod identities;
mod issuers;
mod layers;
mod limits;
mod listeners;
mod meaning;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
mod reach;
mod recipes;
mod reference;
mod routes;
mod state;
mod traces;
mod upstreams;
mod variables;
mod ways;
mod written;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use access::ClientAccess;
pub use access_log::{AccessLog, AccessLogFormat, AccessLogStream, LinesTo};
pub use addresses::{Address, Origin, Scheme};
pub use admin::{Admin, AdminTcp, Doors, Health};
pub use audit::{Audit, OnFailure as OnAuditFailure};
pub use credentials::Credentials;
pub use effective::{Effective, Origin as ValueOrigin};
pub use issuers::{Issuer, KeysAt, Location};
pub use layers::Sources;
pub use recipes::{
    FieldShape, ParameterShape, Presence, RecipeFault, RecipeReference, RecipeShape, Recipes,
    Secrecy,
};
pub use reference::{explanation, reference, schema};
pub use state::{AtStop, OnFailure, State};
pub use traces::Traces;
pub use variables::VARIABLE_PREFIX;
pub use ways::{Authorities, Identity, Proxy, Sni, UpstreamTls, Way};
pub use written::{
    Access, ClientCertificates, CoreDumps, HalfClosed, Http2, LogFormat, LogLevel, SearchBodies,
    SessionScope, Streams, TlsVersion,
};

use ipnet::IpNet;

use crate::access::identity::{SubjectAltName, UnixOwner};
use crate::access::jwt::Rule;
use crate::access::key::{ClientId, KnownKey};
use crate::diagnosis::Faults;
use crate::secret;

/// Everything that Doorward was told, judged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients reach Doorward; at least one.
    pub listeners: Vec<Listener>,
    /// Who may call.
    pub clients: Vec<Client>,
    /// What holds for the clients of all listeners.
    pub access: ClientAccess,
    /// Whose tokens clients may show; no two have the same `iss`.
    pub issuers: Vec<Issuer>,
    /// The APIs that Doorward logs in to.
    pub upstreams: Vec<Upstream>,
    /// Which request goes where; no two take the same requests.
    pub routes: Vec<Route>,
    /// Bounds.
    pub limits: Limits,
    /// Waits.
    pub timeouts: Timeouts,
    /// Where the state is kept; in memory only where nothing is said.
    pub state: Option<State>,
    /// Where the audit trail is written; nowhere where nothing is said.
    pub audit: Option<Audit>,
    /// Where the access log is written; nowhere where nothing is said.
    pub access_log: Option<AccessLog>,
    /// Where spans of traces are sent; nowhere where nothing is said.
    pub traces: Option<Traces>,
    /// The admin API.
    pub admin: Admin,
    /// The listener for those who watch over Doorward; none where nothing is said.
    pub health: Option<Health>,
    /// How many cores carry requests; all that the process may use where nothing is said.
    pub cores: Option<usize>,
    /// Where request bodies are kept that memory does not hold; the system's folder for temporary
    /// files where nothing is said.
    pub spill_dir: Option<PathBuf>,
    /// Whether a crash may write the process's memory, with all secrets in it, to a file.
    pub core_dumps: CoreDumps,
    /// What is logged, and how.
    pub log: Log,
    /// Whether the configuration is read again when a file that it is in changes.
    pub watch: bool,
}

/// Where clients reach Doorward.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name in the configuration.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// Whether clients need a key.
    pub access: Access,
    /// Its certificate; nothing for plain HTTP.
    pub tls: Option<ServerTls>,
    /// Whether something in front of it ends TLS.
    pub behind_tls: bool,
    /// Which peers send the PROXY protocol; nothing where nobody is asked to.
    pub proxies: Option<Proxies>,
    /// What it means when a client ends its side.
    pub half_closed: HalfClosed,
}

/// Which peers send the PROXY protocol ahead of their connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxies {
    /// Those in these networks.
    In(Vec<IpNet>),
    /// Whoever connects, at a Unix socket.
    Everybody,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// A PEM file with the chain.
    pub certificate: PathBuf,
    /// A PEM file with the private key.
    pub key: PathBuf,
    /// The certificates that clients are asked for; nothing where they are asked for none.
    pub clients: Option<ClientTls>,
}

/// The certificates that clients are asked for.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// A PEM file with the authorities that issue them.
    pub ca_file: PathBuf,
    /// Whether a client must have one.
    pub certificates: ClientCertificates,
    /// PEM files with revocation lists.
    pub crl_files: Vec<PathBuf>,
}

/// Somebody who may call.
#[derive(Clone, Debug)]
pub struct Client {
    /// The name in the client's keys.
    pub id: ClientId,
    /// The client's keys.
    pub keys: Vec<KnownKey>,
    /// The tokens that are the client's.
    pub tokens: Vec<Tokens>,
    /// The names in its certificates.
    pub certificates: Vec<SubjectAltName>,
    /// Its users and groups on this machine.
    pub unix: Vec<UnixOwner>,
    /// What the client may do; at least one.
    pub grants: Vec<Grant>,
    /// How much it may ask, of all accounts together.
    pub limits: Option<Limit>,
}

/// Tokens that are a client's.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The name of their issuer.
    pub issuer: String,
    /// What their claims must be.
    pub rule: Rule,
}

/// Something that a client may do.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The names of the upstreams.
    pub upstreams: Vec<String>,
    /// The names of the accounts; nothing: any.
    pub accounts: Option<Vec<String>>,
    /// The methods; nothing: any.
    pub methods: Option<Vec<String>>,
    /// Path patterns, for paths as the upstream reads them; nothing: any.
    pub paths: Option<Vec<String>>,
}

/// An API that Doorward logs in to.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name in the configuration.
    pub name: String,
    /// Scheme, host and port.
    pub origin: Origin,
    /// The path that all requests begin with: empty, or beginning with `/` and not ending with it.
    pub base_path: String,
    /// Its recipe.
    pub recipe: RecipeReference,
    /// Values that the recipe asks for.
    pub parameters: BTreeMap<String, String>,
    /// The accounts to log in with; at least one.
    pub accounts: Vec<Account>,
    /// The program that logs in where no request can.
    pub login_helper: Option<secret::Command>,
    /// What it is told as its host, and port where it is not the scheme's own; the URL's where
    /// nothing is said.
    pub authority: Option<String>,
    /// What lies on the way.
    pub way: Way,
    /// How TLS to it is.
    pub tls: UpstreamTls,
    /// Whether to speak HTTP/2.
    pub http2: Http2,
    /// What becomes of streams on a session that was replaced.
    pub streams: Streams,
    /// Whether bodies of answers are searched for session values.
    pub search_bodies: SearchBodies,
    /// The protocols that a connection may be upgraded to, in lower case.
    pub upgrades: Vec<String>,
    /// How much all clients together may ask of each account.
    pub limits: Limit,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// By which addresses it is reached.
    pub reach: Reach,
    /// How long the head of an answer may take.
    pub response_timeout: Duration,
    /// How long a connection is kept without a request.
    pub idle_timeout: Duration,
}

/// By which addresses an upstream is reached, and what becomes of those that fail.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The addresses; none: those of the host.
    pub addresses: Vec<SocketAddr>,
    /// How long the addresses of the host are taken for new.
    pub resolve_every: Duration,
    /// What the host may lead to although no name should.
    pub allowed: Vec<Network>,
    /// When an address is left out.
    pub ejection: Tolerance,
    /// When the upstream is not tried any more.
    pub circuit: Tolerance,
}

/// Addresses whose first bits are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// One of them; its other bits are 0.
    pub address: IpAddr,
    /// How many bits.
    pub bits: u8,
}

/// How many failures in a row are borne, and for how long what fails is then left alone.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// How many; 0: any number.
    pub failures_max: u32,
    /// For how long at first.
    pub pause: Duration,
    /// For how long at most.
    pub pause_max: Duration,
}

/// How much may be asked.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// How fast.
    pub rates: Rates,
    /// The most requests under way; nothing: any number.
    pub in_flight_max: Option<u32>,
    /// The most requests that wait.
    pub waiting_max: usize,
}

/// How fast requests may come; nothing: any.
#[derive(Clone, Copy, Debug)]
pub enum Rates {
    /// Reads and writes together.
    Together(Option<Rate>),
    /// Each alone.
    Apart {
        /// Requests with a safe method.
        reads: Option<Rate>,
        /// All others.
        writes: Option<Rate>,
    },
}

/// So many requests in so much time.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// How many; at least one.
    pub requests: u32,
    /// In how much time; longer than nothing.
    pub per: Duration,
    /// The most at once; at least one.
    pub burst: u32,
}

/// One set of credentials at an upstream.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name in the configuration.
    pub name: String,
    /// What the recipe asks for.
    pub fields: BTreeMap<String, Field>,
    /// The fields among them that one-time codes are made from.
    pub code_fields: Vec<String>,
}

/// One field of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// Plain text.
    Text(String),
    /// Where the secret is kept.
    Secret(secret::Source),
}

/// Which request goes where.
#[derive(Clone, Debug)]
pub struct Route {
    /// The host in lower case and without a port; any where nothing is said.
    pub host: Option<String>,
    /// What the path begins with, by whole segments: `/`, or beginning with `/` and not ending
    /// with it.
    pub path: String,
    /// The name of an upstream in [`Settings::upstreams`].
    pub upstream: String,
    /// The name of one of the upstream's accounts.
    pub account: String,
    /// The names of the accounts that a client may choose.
    pub accounts: Vec<String>,
    /// Who shares a session.
    pub session: SessionScope,
    /// What becomes of `path`.
    pub prefix: Prefix,
    /// How much all clients together may ask by it of each account.
    pub limits: Option<Limit>,
}

/// What becomes of a route's path when a request is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// It stays.
    Kept,
    /// It is taken off, and put back into `Location` and cookie paths.
    Stripped,
}

/// Bounds on what a request, an answer and all clients together may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest request head.
    pub request_head_bytes_max: usize,
    /// The most header fields of a request.
    pub header_fields_max: usize,
    /// How much of a request body is kept in memory for a replay.
    pub replay_body_bytes_max: usize,
    /// How much memory the bodies kept take all together.
    pub replay_body_total_bytes_max: u64,
    /// The longest request body that is kept in a file; 0 for no files.
    pub replay_spill_bytes_max: u64,
    /// How much the files hold all together.
    pub replay_spill_total_bytes_max: u64,
    /// How much of an answer's body is looked at for a verdict.
    pub verdict_body_bytes_max: usize,
    /// The longest answer to a login.
    pub login_answer_bytes_max: usize,
    /// The most client connections at a time.
    pub connections_max: usize,
    /// How much memory the process may use; what its control group or the machine has where nothing
    /// is said.
    pub memory_bytes_max: Option<u64>,
    /// What a client must bring of a body, and take of an answer, in a second; 0 for any number.
    pub bytes_per_second_min: u64,
    /// The most requests at a time on one HTTP/2 connection.
    pub streams_max: u32,
    /// Sessions at a time.
    pub sessions_max: usize,
    /// The longest body of a client's login.
    pub client_login_bytes_max: usize,
}

/// Waits.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// For the head of a request.
    pub head: Duration,
    /// For a session and the head of the upstream's answer together.
    pub request: Duration,
    /// For a login with all its steps.
    pub login: Duration,
    /// From the beginning of one login of an account to the next, at least.
    pub login_distance: Duration,
    /// For running requests at stop.
    pub drain: Duration,
    /// For new requests at stop.
    pub shutdown_delay: Duration,
    /// For all logouts at stop.
    pub logout: Duration,
    /// For the next request on a connection.
    pub idle: Duration,
    /// How long a client may pause in its body.
    pub body: Duration,
    /// How long a client may take nothing of what is written for it.
    pub write: Duration,
    /// For the next request that uses a session.
    pub session_idle: Duration,
    /// For the next byte in a tunnel.
    pub tunnel_idle: Duration,
    /// How long the token of a local login is good.
    pub client_token: Duration,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// The form of a line; by the kind of standard error where nothing is said.
    pub format: Option<LogFormat>,
    /// The least important lines that are still written.
    pub level: LogLevel,
}

/// Settings that may be used, and what an operator should know about them.
#[derive(Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What is allowed but likely not meant, or dangerous on purpose.
    pub warnings: Vec<String>,
    sources: Sources,
    layers: layers::Layers,
}

impl Settings {
    /// Reads all layers and judges them. Secrets are read by [`Loaded::read_credentials`].
    ///
    /// # Errors
    /// All faults of structure and, where those leave it certain, all faults of meaning.
    pub fn load(sources: &Sources, recipes: &Recipes<'_>) -> Result<Loaded, Faults> {
        meaning::load(sources, recipes)
    }

    /// The upstream of this name.
    pub fn upstream(&self, name: &str) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.name == name)
    }
}

impl Upstream {
    /// The account of this name.
    pub fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.name == name)
    }
}
