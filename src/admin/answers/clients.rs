//! Clients: by what they show who they are, what they may do, and how much of their limits is used.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LimitLevel;

/// A client.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Its keys.
    pub keys: Vec<Key>,
    /// The names in its certificates.
    pub certificates: Vec<String>,
    /// Its users and groups on this machine.
    pub unix: Vec<String>,
    /// The issuers whose tokens it may show.
    pub issuers: Vec<String>,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// How full its own limit is; null where it has none.
    pub limit: Option<LimitLevel>,
    /// When a request of it last ended, since the start and as far as requests are told of.
    pub last_used_at: Option<String>,
    /// How many of its requests have ended since then.
    pub requests: u64,
}

/// A client's key, of which only the digest is known.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Key {
    /// The beginning of its digest, as logs show it.
    pub digest: String,
    /// When it ends.
    pub expires_at: Option<String>,
    /// Whether it is good.
    pub state: KeyState,
}

/// Whether a key is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It is.
    Good,
    /// Its time is over.
    Expired,
    /// It was revoked, for ever.
    Revoked,
}

/// Something that a client may do.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    /// At these upstreams.
    pub upstreams: Vec<String>,
    /// By these accounts; null for any.
    pub accounts: Option<Vec<String>>,
    /// With these methods; null for any.
    pub methods: Option<Vec<String>>,
    /// At these paths; null for any.
    pub paths: Option<Vec<String>>,
}
