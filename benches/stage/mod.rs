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

/// A gateway's configuration: one core, a listener for each kind of client, one upstream.
pub fn configuration(upstream: &Upstream, key: &ClientKey) -> String {
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
grants = [{{}}]

[upstreams.bench]
url = "http://{address}"
recipe_file = {recipe:?}

[upstreams.bench.accounts.bench]
username = "bench"
password = {{ env = "{PASSWORD_VARIABLE}" }}

[[routes]]
upstream = "bench"
"#,
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
