//! The configuration as an operator writes it. The texts here are the reference: the schema, the
//! editors and `docs/CONFIGURATION.md` show them.
//!
//! Keys that must be there are `Option` here and required in the schema, so that a text with a
//! missing key can still be judged for its meaning.

mod bounds;
mod clients;
mod issuers;
mod limits;
mod listeners;
mod log;
mod reach;
mod routes;
mod search;
mod secrets;
mod tls;
mod upstreams;

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub(super) use bounds::{Limits, Timeouts};
pub(super) use clients::{Client, ExpiringKey, Grant, Key, UnixOwner};
pub(super) use issuers::{Claim, Issuer, Tokens};
pub(super) use limits::{Limit, Rate};
pub use listeners::{Access, HalfClosed};
pub(super) use listeners::{Listener, ProxyProtocol};
pub(super) use log::Log;
pub use log::{LogFormat, LogLevel};
pub(super) use reach::{Circuit, Ejection};
pub(super) use routes::Route;
pub use routes::SessionScope;
pub use search::SearchBodies;
pub(super) use secrets::{CommandSource, CredentialSource, EnvironmentSource, Field, FileSource};
pub use tls::ClientCertificates;
pub use tls::TlsVersion;
pub(super) use tls::{ServerTls, Sni, UpstreamTls};
pub use upstreams::{Http2, Streams};
pub(super) use upstreams::{LoginHelper, Upstream, UpstreamProxy};

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
    /// The access log: a line for each request. Without this table none is written.
    pub(super) access_log: Option<super::access_log::Written>,
    /// OpenTelemetry traces: spans of requests and of what happens to sessions. Only a Doorward that was
    /// built with the feature `otlp` has them. Without this table none are sent.
    pub(super) traces: Option<super::traces::Written>,
    /// The admin API, by which a running Doorward is watched and told what to do.
    #[serde(default)]
    pub(super) admin: super::admin::Written,
    /// Where those ask who watch over Doorward: probes and collectors of metrics.
    pub(super) health: Option<super::admin::WrittenHealth>,
    /// How Doorward uses the machine.
    #[serde(default)]
    pub(super) runtime: Runtime,
    /// What Doorward tells about itself on standard error.
    #[serde(default)]
    pub(super) log: Log,
    /// When the configuration is read again while Doorward runs.
    #[serde(default)]
    pub(super) reload: Reload,
}

/// When the configuration is read again while Doorward runs: always on SIGHUP. It is judged whole
/// first; while anything is wrong with it, the one before stays in force.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reload {
    /// Whether also when a file has changed: of the configuration, of a recipe, of a certificate or
    /// its key, of authorities or revocation lists. What is in a file counts, and it counts when it
    /// stays the same for a moment. Files of secrets are looked after in any case.
    #[serde(default)]
    #[schemars(extend("examples" = [true]))]
    pub(super) watch: bool,
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
    /// Whether a crash may leave a core dump, and a debugger may be attached: both show every
    /// secret.
    #[serde(default)]
    pub(super) core_dumps: CoreDumps,
}

/// Whether a crash may leave a core dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CoreDumps {
    /// The system writes none, whatever its own limits say.
    #[default]
    Never,
    /// The system's own limits hold.
    Allowed,
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
