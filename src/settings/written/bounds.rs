//! Bounds on messages and on waits, as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::DurationText;

/// Bounds. At each of them the client gets a defined answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::settings) struct Limits {
    /// The longest request head, in bytes; a longer one gets 431, or 414 if its first line is.
    #[schemars(range(min = 8192, max = 1_048_576))]
    pub(in crate::settings) request_head_bytes_max: usize,
    /// The most header fields of a request; more get 431.
    #[schemars(range(min = 16, max = 1000))]
    pub(in crate::settings) header_fields_max: usize,
    /// How much of a request body is kept in memory to be sent again after an expired session, in
    /// bytes. What is longer goes to a file (`replay_spill_bytes_max`).
    #[schemars(range(max = 1_073_741_824))]
    pub(in crate::settings) replay_body_bytes_max: usize,
    /// How much memory the bodies that are kept may take all together, in bytes. Where it is used
    /// up, bodies go to files.
    #[schemars(range(max = 1_099_511_627_776_u64))]
    pub(in crate::settings) replay_body_total_bytes_max: u64,
    /// The longest request body that is kept in a file without a name, in bytes; the beginning
    /// stays in memory. A longer body is streamed: the upstream is asked first whether it wants it
    /// (`Expect: 100-continue`), and if the session turns out to be expired only after a part was
    /// sent, the client gets the upstream's own answer. 0 uses no files.
    #[schemars(range(max = 1_099_511_627_776_u64))]
    pub(in crate::settings) replay_spill_bytes_max: u64,
    /// How much the files may hold all together, in bytes. Where that is used up, further bodies
    /// are not kept.
    #[schemars(range(max = 1_099_511_627_776_u64))]
    pub(in crate::settings) replay_spill_total_bytes_max: u64,
    /// How much of an answer is looked at where the recipe judges by the body, in bytes.
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub(in crate::settings) verdict_body_bytes_max: usize,
    /// The longest answer to a login, a probe or a logout, in bytes; a longer one is a failure. It
    /// is also the longest answer that session values are taken out of; a longer one is withheld.
    #[schemars(range(min = 1024, max = 67_108_864))]
    pub(in crate::settings) login_answer_bytes_max: usize,
    /// The most client connections at a time of each listener, shared out evenly to the cores;
    /// further ones wait in the system's queue.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::settings) connections_max: usize,
    /// How much resident memory the process may use, in bytes. From 90 % of it on new requests get
    /// 503 `gateway_overloaded`, from 95 % on no connection is accepted, until less than 80 % is
    /// used. Without it, the limit of its control group, else the memory of the machine. The same
    /// percentages hold for descriptors, of which there are as many as the system allows
    /// (`ulimit -Hn`).
    #[schemars(range(min = 16_777_216), extend("examples" = [536_870_912]))]
    pub(in crate::settings) memory_bytes_max: Option<u64>,
    /// How many bytes of a request's body a client must bring, and of an answer take, in a second on
    /// average; slower ones may pause for `timeouts.body` and `timeouts.write` all in all. 0 for
    /// any number: then only pauses count.
    #[schemars(range(max = 1_000_000_000))]
    pub(in crate::settings) bytes_per_second_min: u64,
    /// The most requests at a time on one HTTP/2 connection.
    #[schemars(range(min = 1, max = 10_000))]
    pub(in crate::settings) streams_max: u32,
    /// The most sessions at a time, of all accounts and clients together. At the bound the session
    /// that was used the longest ago is logged out first.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::settings) sessions_max: usize,
    /// The longest body of a login that Doorward answers, in bytes; a longer one gets 413.
    #[schemars(range(min = 1024, max = 1_048_576))]
    pub(in crate::settings) client_login_bytes_max: usize,
}

/// Waits. Each is a text with its unit, such as `5s`, `500ms` or `1m 30s`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::settings) struct Timeouts {
    /// How long a client may take to send the head of a request, from its first byte to its last,
    /// for a TLS handshake (then the connection is closed), and for a login's body (then 408).
    pub(in crate::settings) head: DurationText,
    /// How long a client may pause in the body of a request that is waited for, or bring less than
    /// `limits.bytes_per_second_min`; then 408, or the end of the upload where the answer has
    /// begun.
    pub(in crate::settings) body: DurationText,
    /// How long a client may take nothing of what is written for it, or less than
    /// `limits.bytes_per_second_min`; then its connection is closed, or its HTTP/2 stream reset.
    pub(in crate::settings) write: DurationText,
    /// How long a request may wait in all, for a session and for the head of the upstream's
    /// answer; then 504. The time that bodies take does not count, nor do waits for its turn at
    /// limits, which may take as long once more, all together.
    pub(in crate::settings) request: DurationText,
    /// How long a login may take, all its steps together. It goes on when the client that needed
    /// it leaves.
    pub(in crate::settings) login: DurationText,
    /// How long running requests may go on after the signal to stop, and how long a replaced
    /// session waits for the requests that carry it.
    pub(in crate::settings) drain: DurationText,
    /// How long new requests are still taken after the signal to stop, while `/readyz` says that
    /// none should come: whoever spreads requests needs that long to hear of it. `0s` for not at all.
    pub(in crate::settings) shutdown_delay: DurationText,
    /// The least time from the beginning of one login of an account to the next; a login that comes
    /// too early waits. `0s` for none.
    pub(in crate::settings) login_distance: DurationText,
    /// How long all logouts together may take when Doorward stops.
    pub(in crate::settings) logout: DurationText,
    /// How long a client's connection is kept without a request. One of HTTP/2 is asked to leave
    /// then (GOAWAY), whatever frames it sends besides.
    pub(in crate::settings) idle: DurationText,
    /// How long a session is kept without a client's request; then it is logged out.
    pub(in crate::settings) session_idle: DurationText,
    /// How long a WebSocket or another tunnel is kept without a byte in either direction; it ends
    /// at most a quarter of that later. Over HTTP/2 it ends with its connection, or no later than
    /// `timeouts.write` after that.
    pub(in crate::settings) tunnel_idle: DurationText,
    /// How long the token is good that a client gets for a login; never longer than its key.
    pub(in crate::settings) client_token: DurationText,
}
