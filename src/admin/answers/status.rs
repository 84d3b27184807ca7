//! The gateway as a whole: its state, what it was told, how much goes on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the gateway is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at: String,
    /// For how long it has run.
    pub uptime_seconds: u64,
    /// Whether it takes requests.
    pub state: GatewayState,
    /// How everything is, in a sentence.
    pub summary: String,
    /// What an operator has to look at, each in a sentence; empty where all is well.
    pub troubles: Vec<String>,
    /// Which configuration runs.
    pub configuration: Configuration,
    /// Where clients reach it.
    pub listeners: Vec<Listener>,
    /// How much goes on.
    pub traffic: Traffic,
    /// What the last minute was like, all upstreams together.
    pub recent: Recent,
    /// The same for each upstream.
    pub upstreams: Vec<UpstreamTraffic>,
}

/// Whether the gateway takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GatewayState {
    /// It does.
    Running,
    /// It takes no new ones, ends those under way and logs out.
    Stopping,
}

/// Which configuration runs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Configuration {
    /// Its files, the least important first.
    pub files: Vec<String>,
    /// The beginning of the SHA-256 digest of all of them together.
    pub sha256: String,
    /// When it was read.
    pub loaded_at: String,
    /// What came of the last time that it was read again; null where it was not since the start.
    pub last_reload: Option<LastReload>,
}

/// What came of reading the configuration again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LastReload {
    /// When it was over.
    pub at: String,
    /// How long it took.
    pub took_ms: u64,
    /// What is wrong with what was read, each with its place; empty where it is in force. Where
    /// anything is, nothing has changed.
    pub faults: Vec<String>,
}

/// Where clients reach the gateway.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Its URL, or `unix:` and a path.
    pub url: String,
    /// Whether clients must show who they are.
    pub asks_for_clients: bool,
}

/// How much goes on at this moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// Clients in the configuration.
    pub clients: usize,
    /// Routes in the configuration.
    pub routes: usize,
    /// Sessions that requests use.
    pub sessions: usize,
    /// Logins under way.
    pub logins_under_way: usize,
    /// Upstreams in the configuration.
    pub upstreams: usize,
    /// Connections of clients.
    pub connections: u64,
    /// Requests that wait for their turn at a limit.
    pub waiting: usize,
    /// What is taken on: `normal`, `shedding` (no new requests) or `full` (no new connections).
    pub load: String,
}

/// What a stretch of time was like, out of the requests that were told of.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Recent {
    /// How long it was.
    pub seconds: u64,
    /// Requests that ended; null where nobody was told of them all the time, since no story is kept
    /// (`admin.requests_kept = 0`).
    pub requests: Option<u64>,
    /// Of these in a second, on average.
    pub per_second: Option<f64>,
    /// Those among them that were answered with a status of 500 or above.
    pub errors: Option<u64>,
    /// So long took half of them at most; null where there was none.
    pub p50_ms: Option<f64>,
    /// The same of 95 in 100.
    pub p95_ms: Option<f64>,
    /// The same of 99 in 100.
    pub p99_ms: Option<f64>,
}

/// An upstream's part of what goes on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct UpstreamTraffic {
    /// Its name.
    pub name: String,
    /// What the last minute was like.
    pub recent: Recent,
    /// Logins in the last hour, as far as they are remembered.
    pub logins: usize,
    /// Those among them that failed.
    pub logins_failed: usize,
}

/// One second of everything, as it is told to those who watch and kept for a while.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// When it ended.
    pub at: String,
    /// Requests that ended in it; null where nobody is told of them.
    pub requests: Option<u64>,
    /// Those among them that were answered with a status of 500 or above.
    pub errors: Option<u64>,
    /// So long took half of them at most; null where there was none.
    pub p50_ms: Option<f64>,
    /// The same of 95 in 100.
    pub p95_ms: Option<f64>,
    /// The same of 99 in 100.
    pub p99_ms: Option<f64>,
    /// Logins that ended.
    pub logins: u64,
    /// Those among them that failed.
    pub logins_failed: u64,
    /// Sessions that requests use.
    pub sessions: usize,
    /// Requests that wait for their turn at a limit.
    pub waiting: usize,
    /// Connections of clients.
    pub connections: u64,
}

/// Something that makes the gateway ready, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// What is looked at.
    pub name: String,
    /// Whether it is as it should be.
    pub is_ok: bool,
    /// Whether the gateway is not ready where it is not.
    pub is_required: bool,
    /// What is wrong, or worth knowing.
    pub detail: String,
}

/// A value of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// Its key: `limits.connections_max`, `routes[0].path`.
    pub key: String,
    /// What it is. Of a secret it says where that is kept, of other fields of accounts how long they
    /// are.
    pub value: serde_json::Value,
    /// What has set it.
    pub origin: SettingOrigin,
}

/// What has set a value.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SettingOrigin {
    /// A file.
    File {
        /// Its path.
        path: String,
        /// The line, counted from 1.
        line: Option<usize>,
    },
    /// An environment variable.
    Variable {
        /// Its name.
        name: String,
    },
    /// Nobody: it holds where nothing is said.
    Default,
}
