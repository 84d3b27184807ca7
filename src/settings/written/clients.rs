//! Who may call, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Limit, Tokens};

/// Somebody who may call. At least one of `keys`, `tokens`, `certificates` and `unix` says what
/// shows who it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct Client {
    /// The digests of the client's keys, as `doorward key new NAME` prints them. More than one
    /// lets a key be replaced without a gap. `doorward key revoke` revokes one at once and for ever;
    /// one that is taken out is good no more from the next start on.
    #[schemars(length(min = 1), extend("examples" = [["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]]))]
    pub(in crate::settings) keys: Option<Vec<Key>>,
    /// The tokens of `issuers` that are the client's.
    #[schemars(length(min = 1))]
    pub(in crate::settings) tokens: Option<Vec<Tokens>>,
    /// Names in the client's certificates (`subjectAltName`): `spiffe://...` or `uri:` and any other
    /// URI, `dns:` and a DNS name, `email:` and an address. Each is compared as a whole; the common
    /// name is never looked at. A connection with such a certificate is the client's, at listeners
    /// with `tls.client_ca_file`.
    #[schemars(length(min = 1), extend("examples" = [["spiffe://acme/ci", "dns:ci.example"]]))]
    pub(in crate::settings) certificates: Option<Vec<String>>,
    /// Users and groups of this machine. A connection that a process of one of them makes to a
    /// listener on a Unix socket is the client's.
    #[schemars(length(min = 1), extend("examples" = [[{ "user": "deploy" }, { "gid": 1000 }]]))]
    pub(in crate::settings) unix: Option<Vec<UnixOwner>>,
    /// What the client may do; at least one must be given, and what none allows is refused with 403
    /// `not_granted`. `[{}]`, one grant without bounds, allows all that the routes lead to.
    #[schemars(required, length(min = 1), extend("examples" = [[{ "methods": ["GET", "HEAD"], "paths": ["/v3/content_types/**"] }]]))]
    pub(in crate::settings) grants: Option<Vec<Grant>>,
    /// How much the client may ask, of all accounts together. Its further requests wait in turn, as
    /// at an account; with `waiting_max = 0` they are refused at once. Without it, as much as
    /// the others leave it.
    pub(in crate::settings) limits: Option<Limit>,
}

/// A key: its digest, or its digest with its end.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("examples" = ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]))]
pub(in crate::settings) enum Key {
    /// A digest, as text: the key is good until it is taken out.
    Digest(String),
    /// A table, for a key that ends by itself.
    Expiring(ExpiringKey),
}

/// A key that ends by itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct ExpiringKey {
    /// The digest, as `doorward key new NAME` prints it.
    #[schemars(required)]
    pub(in crate::settings) digest: Option<String>,
    /// When the key stops being good: a time with its offset (RFC 3339).
    #[schemars(required, extend("examples" = ["2027-01-31T00:00:00Z"]))]
    pub(in crate::settings) expires: Option<String>,
}

/// A user or a group of this machine; exactly one of the four.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct UnixOwner {
    /// A user's name; it is looked up at start.
    #[schemars(extend("examples" = ["deploy"]))]
    pub(in crate::settings) user: Option<String>,
    /// A user's number.
    #[schemars(range(max = 4_294_967_294_u32), extend("examples" = [1000]))]
    pub(in crate::settings) uid: Option<u32>,
    /// A group's name; it is looked up at start. What counts is the group of the process itself,
    /// none of those that its user is in besides.
    #[schemars(extend("examples" = ["deploy"]))]
    pub(in crate::settings) group: Option<String>,
    /// A group's number.
    #[schemars(range(max = 4_294_967_294_u32), extend("examples" = [1000]))]
    pub(in crate::settings) gid: Option<u32>,
}

/// Something that a client may do. A request must be allowed by one grant in all respects; it is
/// judged as its upstream reads it, whatever way it is spelt.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct Grant {
    /// The names of the upstreams. Without it, any.
    #[schemars(length(min = 1), extend("examples" = [["cms"]]))]
    pub(in crate::settings) upstreams: Option<Vec<String>>,
    /// The names of accounts whose sessions the requests may use. Without it, any that the route
    /// uses or leaves to its clients. A client that does not choose an account gets the first one
    /// that is granted: the route's `account`, then those of its `accounts`.
    #[schemars(length(min = 1), extend("examples" = [["reader"]]))]
    pub(in crate::settings) accounts: Option<Vec<String>>,
    /// The methods, in capitals. `GET` does not stand for `HEAD`. Without it, any.
    #[schemars(length(min = 1), extend("examples" = [["GET", "HEAD"]]))]
    pub(in crate::settings) methods: Option<Vec<String>>,
    /// Patterns for the path below the upstream's URL, decoded and without parameters: `*` stands
    /// for one segment, `**` at the end for all that follows. Without it, any.
    #[schemars(length(min = 1), extend("examples" = [["/v3/content_types/**"]]))]
    pub(in crate::settings) paths: Option<Vec<String>>,
}
