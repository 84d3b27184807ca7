//! What holds where an operator says nothing, and why.

use super::written::{DurationText, Limits, Timeouts};

/// Real clients send 2 to 16 KiB; servers in front of us stop at 64 KiB or earlier.
const REQUEST_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Browsers behind several proxies send some 40; the servers compared stop at 100.
const HEADER_FIELDS_MAX: usize = 100;
/// Holds the writes of the APIs that are known here, but for uploads of large files.
const REPLAY_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Sixteen long bodies at once, or 16 000 of a usual size.
const REPLAY_BODY_TOTAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Most uploads of documents and pictures; what is longer is asked for first.
const REPLAY_SPILL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Less than a folder for temporary files has, on a disk or in memory.
const REPLAY_SPILL_TOTAL_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// An error document that tells of an expired session is a few hundred bytes.
const VERDICT_BODY_BYTES_MAX: usize = 64 * 1024;
/// A login answer with a whole user profile in it is some 100 KiB.
const LOGIN_ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// At the 16 KiB or so that a connection takes with its buffers: 160 MiB.
const CONNECTIONS_MAX: usize = 10_000;
/// At the 5 KiB or so that a session takes, with what its values are searched for by: 50 MiB.
const SESSIONS_MAX: usize = 10_000;
/// A login is two names and a password, some hundred bytes; nobody has shown a key yet.
const CLIENT_LOGIN_BYTES_MAX: usize = 16 * 1024;
/// What RFC 9113, section 6.5.2 advises as the least.
const STREAMS_MAX: u32 = 100;

/// The rate below which IIS (`MinBytesPerSecond`) and Kestrel (`MinRequestBodyDataRate`,
/// `MinResponseDataRate`) cut connections in both directions; Apache's `mod_reqtimeout` asks for 500.
const BYTES_PER_SECOND_MIN: u64 = 240;

/// Apache's `mod_reqtimeout` allows 20 s and then more for each byte, nginx 60 s between two reads; a
/// telephone that changes its network is away for some 10 s.
const BODY: &str = "30s";
/// What nginx (`send_timeout`) and Apache (`Timeout`) allow. The system takes large pieces: one may
/// take a slow client half of that.
const WRITE: &str = "60s";
/// A head is one packet or a few; who takes longer holds a connection on purpose.
const HEAD: &str = "10s";
/// Clients commonly give up after 60 s.
const REQUEST: &str = "60s";
/// Slow single sign-on chains take up to 20 s.
const LOGIN: &str = "30s";
/// Kubernetes and systemd kill 30 s and 90 s after they asked.
const DRAIN: &str = "30s";
/// Where nobody spreads requests nothing is gained by waiting.
const SHUTDOWN_DELAY: &str = "0s";
/// A person does not log in faster, and what goes wrong costs one attempt a second at most.
const LOGIN_DISTANCE: &str = "1s";
/// Logouts run side by side, and nobody waits for them but the stop.
const LOGOUT: &str = "5s";
/// A session that was not used all night holds a slot at its upstream for nobody; one that is used
/// every hour is not logged in for each time.
const SESSION_IDLE: &str = "8h";
/// As long as common servers keep a connection; clients that use one again do so within seconds.
const IDLE: &str = "60s";

/// WebSockets are commonly kept alive by a ping each 20 s to 60 s; those that are not may be still
/// for minutes.
const TUNNEL_IDLE: &str = "10m";

/// A job or a day's work on one login; what was stolen is of no use the next day.
const CLIENT_TOKEN: &str = "12h";

/// A reachable host answers in milliseconds; one lost packet costs 1 s, two cost 3 s.
const CONNECT_TIMEOUT: &str = "5s";
/// The times to live that names of large services have are 30 s to 300 s.
const RESOLVE_EVERY: &str = "30s";
/// One lost connection is chance.
const EJECTION_FAILURES_MAX: u32 = 3;
/// A restart takes seconds.
const EJECTION_PAUSE: &str = "5s";
/// What is repaired is used again soon enough; one connection in five minutes is tried in vain.
const EJECTION_PAUSE_MAX: &str = "5m";
/// Several requests at once meet the same short outage.
const CIRCUIT_FAILURES_MAX: u32 = 5;
/// A short outage costs no more than a second beyond its end.
const CIRCUIT_PAUSE: &str = "1s";
/// Nobody waits longer than half a minute for what is there again.
const CIRCUIT_PAUSE_MAX: &str = "30s";
/// As long as a request may take in all.
const RESPONSE_TIMEOUT: &str = REQUEST;

/// Load balancers commonly keep a connection for 60 s, and say nothing when they drop it.
const UPSTREAM_IDLE_TIMEOUT: &str = "45s";

/// Password managers answer in a second or two; one that asks a person would never end.
const COMMAND_TIMEOUT: &str = "10s";

/// Longer than most upstreams take; shorter than the time for a login.
const LOGIN_HELPER_TIMEOUT: &str = "20s";

/// Clocks that are kept by NTP are milliseconds apart, and seconds after a machine has slept.
const CLOCK_SKEW: &str = "30s";

/// What issuers sign with; `EdDSA` and `Ed25519` are two names of one.
const ALGORITHMS: [&str; 5] = ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"];

pub(super) fn clock_skew() -> DurationText {
    duration(CLOCK_SKEW)
}

pub(super) fn algorithms() -> Vec<String> {
    ALGORITHMS.map(str::to_owned).to_vec()
}

pub(super) fn command_timeout() -> DurationText {
    duration(COMMAND_TIMEOUT)
}

pub(super) fn login_helper_timeout() -> DurationText {
    duration(LOGIN_HELPER_TIMEOUT)
}

pub(super) fn state_path() -> String {
    "/var/lib/doorward".to_owned()
}

pub(super) fn route_path() -> String {
    "/".to_owned()
}

/// Its frames carry no HTTP: what a client sends in them cannot pass for a request.
pub(super) fn upgrades() -> Vec<String> {
    vec!["websocket".to_owned()]
}

pub(super) fn connect_timeout() -> DurationText {
    duration(CONNECT_TIMEOUT)
}

pub(super) fn upstream_idle_timeout() -> DurationText {
    duration(UPSTREAM_IDLE_TIMEOUT)
}

pub(super) fn resolve_every() -> DurationText {
    duration(RESOLVE_EVERY)
}

pub(super) fn ejection() -> (u32, DurationText, DurationText) {
    (EJECTION_FAILURES_MAX, duration(EJECTION_PAUSE), duration(EJECTION_PAUSE_MAX))
}

pub(super) fn circuit() -> (u32, DurationText, DurationText) {
    (CIRCUIT_FAILURES_MAX, duration(CIRCUIT_PAUSE), duration(CIRCUIT_PAUSE_MAX))
}

pub(super) fn response_timeout() -> DurationText {
    duration(RESPONSE_TIMEOUT)
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_head_bytes_max: REQUEST_HEAD_BYTES_MAX,
            header_fields_max: HEADER_FIELDS_MAX,
            replay_body_bytes_max: REPLAY_BODY_BYTES_MAX,
            replay_body_total_bytes_max: REPLAY_BODY_TOTAL_BYTES_MAX,
            replay_spill_bytes_max: REPLAY_SPILL_BYTES_MAX,
            replay_spill_total_bytes_max: REPLAY_SPILL_TOTAL_BYTES_MAX,
            verdict_body_bytes_max: VERDICT_BODY_BYTES_MAX,
            login_answer_bytes_max: LOGIN_ANSWER_BYTES_MAX,
            connections_max: CONNECTIONS_MAX,
            memory_bytes_max: None,
            bytes_per_second_min: BYTES_PER_SECOND_MIN,
            streams_max: STREAMS_MAX,
            sessions_max: SESSIONS_MAX,
            client_login_bytes_max: CLIENT_LOGIN_BYTES_MAX,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: duration(HEAD),
            request: duration(REQUEST),
            login: duration(LOGIN),
            login_distance: duration(LOGIN_DISTANCE),
            drain: duration(DRAIN),
            shutdown_delay: duration(SHUTDOWN_DELAY),
            logout: duration(LOGOUT),
            body: duration(BODY),
            write: duration(WRITE),
            idle: duration(IDLE),
            session_idle: duration(SESSION_IDLE),
            tunnel_idle: duration(TUNNEL_IDLE),
            client_token: duration(CLIENT_TOKEN),
        }
    }
}

fn duration(text: &str) -> DurationText {
    DurationText(text.to_owned())
}

/// Some hundred clients with a few requests each; who comes later would hardly get a turn in time.
pub(super) const WAITING_MAX: usize = 1000;
