//! What the benches share: an upstream that refuses whoever carries no session, the configuration
//! of a gateway in front of it, and the calls that its clients make.

#![allow(dead_code, reason = "each bench uses a part of the stage")]

pub mod client;
pub mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;

use doorward::access::key::ClientKey;

use self::upstream::Upstream;

/// The account's password stands in this environment variable of the gateway.
pub const PASSWORD_VARIABLE: &str = "BENCH_PASSWORD";

/// The upstream takes any password.
pub const PASSWORD: &str = "a password of the benches";

/// Without a key, as beside an application.
pub const OPEN: &str = "open";

/// With a client key, as in a team.
pub const KEYS: &str = "keys";

/// The recipe of the upstream.
pub fn recipe() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/recipe.toml"))
}

/// What a broker does besides the main job, as far as it is on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts {
    /// The client's grants are a list of which the last one allows.
    pub grants: bool,
    /// The account has a rate and a number of requests under way, both never reached.
    pub limits: bool,
    /// Each request has its line in an audit trail with a key.
    pub audit: bool,
}

/// Grants before the one that allows.
const OTHER_GRANTS: usize = 19;

/// The key of the audit trail stands in this environment variable of the gateway.
pub const AUDIT_KEY_VARIABLE: &str = "BENCH_AUDIT_KEY";

/// As long as it must be.
pub const AUDIT_KEY: &str = "the key of the audit trail of the benches";

/// A gateway's configuration: one core, a listener for each kind of client, one upstream.
pub fn configuration(upstream: &Upstream, key: &ClientKey, parts: Parts) -> String {
    let other = |place| format!("{{ methods = [\"GET\"], paths = [\"/v3/other-{place}/**\"] }}, ");
    let others: String = (0..OTHER_GRANTS).map(other).collect();
    let grants = match parts.grants {
        true => format!("{others}{{ methods = [\"GET\"], paths = [\"/v3/items/**\"] }}"),
        false => "{}".to_owned(),
    };
    let limits = match parts.limits {
        true => {
            "[upstreams.bench.limits]\nrate = { requests = 1000000, per = \"1s\" }\nin_flight_max = 1000\n"
        }
        false => "",
    };
    let audit = match parts.audit {
        true => {
            format!("[audit]\npath = \"audit.jsonl\"\nkey = {{ env = \"{AUDIT_KEY_VARIABLE}\" }}\n")
        }
        false => String::new(),
    };
    format!(
        r#"[runtime]
cores = 1

[log]
level = "warn"

[listeners.{OPEN}]
address = "127.0.0.1:0"
access = "open"

[listeners.{KEYS}]
address = "127.0.0.1:0"

[clients.bench]
keys = ["{digest}"]
grants = [{grants}]

[upstreams.bench]
url = "http://{address}"
recipe_file = {recipe:?}

[upstreams.bench.accounts.bench]
username = "bench"
password = {{ env = "{PASSWORD_VARIABLE}" }}

{limits}
[[routes]]
upstream = "bench"

{audit}"#,
        digest = key.digest(),
        address = upstream.address(),
        recipe = recipe(),
    )
}

/// The key of the benches' client.
pub fn key() -> ClientKey {
    ClientKey::generate("bench".parse().unwrap()).unwrap()
}

/// Where a gateway listens.
#[derive(Clone, Copy, Debug)]
pub struct Listeners {
    /// Without a key.
    pub open: SocketAddr,
    /// With a key.
    pub keys: SocketAddr,
}
