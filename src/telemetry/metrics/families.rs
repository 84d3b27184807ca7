//! Every metric: its name, its kind, its labels and what it says. `docs/METRICS.md` lists them, and a
//! test compares.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only rises, until the process starts anew.
    Counter,
    /// It is what it is now.
    Gauge,
    /// How long things took, or how large they were, by buckets.
    Histogram,
}

impl Kind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric and the labels of its series.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its whole name, with unit and `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels, in this order.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $constant: Family = Family {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// Every metric, in the order in which they are shown.
        pub const ALL: &[Family] = &[$($constant),*];
    };
}

families! {
    SERVER_DURATION = Histogram "http_server_request_duration_seconds"
        ["http_request_method", "http_response_status_code", "http_route", "url_scheme", "error_type", "upstream"]
        "Requests of clients, from the head to the end of the answer's body";
    REQUEST_SIZE = Histogram "http_server_request_body_size_bytes"
        ["http_request_method", "http_route", "url_scheme", "upstream"]
        "Bodies of clients' requests as they came, up to the end of the answer";
    RESPONSE_SIZE = Histogram "http_server_response_body_size_bytes"
        ["http_request_method", "http_route", "url_scheme", "upstream"]
        "Bodies of answers as clients were given them";
    CLIENT_DURATION = Histogram "http_client_request_duration_seconds"
        ["http_request_method", "http_response_status_code", "server_address", "server_port", "url_scheme", "error_type", "upstream"]
        "Requests to upstreams that carry a client's request, from their beginning to the head of the answer";
    REQUESTS_ACTIVE = Gauge "doorward_requests_active" []
        "Requests of clients that are under way";
    REQUESTS = Counter "doorward_requests_total" ["upstream", "decision", "reason"]
        "Requests of clients by what decided their answer";
    CLIENT_REQUESTS = Counter "doorward_client_requests_total" ["client"]
        "Requests by client; _open where there are no keys, _other for clients behind the first 500 of the configuration";
    REDACTIONS = Counter "doorward_redactions_total" ["upstream"]
        "Stretches of answers' bodies that were replaced because they showed a secret";
    REPLAYS = Counter "doorward_replays_total" ["upstream", "outcome", "reason"]
        "Requests whose session was found dead, by what became of them";
    REJECTED = Counter "doorward_rejected_messages_total" ["listener", "reason"]
        "Messages that were rejected for what they are";

    SESSIONS = Gauge "doorward_sessions" ["upstream", "account", "state"]
        "Sessions by state: logging_in, live, renewing";
    SESSION_EXPIRY = Gauge "doorward_session_expiry_timestamp_seconds" ["upstream", "account"]
        "When the first of the account's sessions ends, where that is known";
    LOGIN_WAITERS = Gauge "doorward_login_waiters" ["upstream"]
        "Requests that wait for a login";
    LOGINS = Counter "doorward_logins_total" ["upstream", "account", "trigger", "outcome"]
        "Logins that ended, by what asked for them and how they ended";
    LOGIN_DURATION = Histogram "doorward_login_duration_seconds" ["upstream"]
        "Logins, all their steps";
    REFRESHES = Counter "doorward_session_refreshes_total" ["upstream", "account", "outcome"]
        "Sessions that were to be prolonged by refresh steps";
    RENEWALS = Counter "doorward_session_renewals_total" ["upstream", "account", "outcome"]
        "Sessions of which single values were to be renewed, because an answer called them stale";
    PROBES = Counter "doorward_session_probes_total" ["upstream", "account", "outcome"]
        "Questions whether a session is alive, by the answer";
    EXPIRIES = Counter "doorward_session_expiries_total" ["upstream", "account", "kind"]
        "Sessions that were found dead (current), and reports of it that came after there was a newer one (late)";
    DISPLACEMENTS = Counter "doorward_session_displacements_total" ["upstream", "account"]
        "Times that somebody else seemed to end the account's sessions by logging in";
    LET_GO = Counter "doorward_sessions_let_go_total" ["upstream", "account", "reason"]
        "Living sessions that were logged out because nobody used them or another one needed the room";
    LOGOUTS = Counter "doorward_logouts_total" ["upstream", "account", "outcome"]
        "Logouts that ended, by whether the upstream confirmed them";
    ADOPTED = Counter "doorward_sessions_adopted_total" ["upstream", "account"]
        "Sessions of an earlier run that are used on";
    LEFT_OPEN = Counter "doorward_sessions_left_open_total" ["upstream", "account", "outcome"]
        "Sessions that an earlier run had left open, by whether they could be closed";
    ANSWERS_LOST = Counter "doorward_answers_lost_total" ["upstream", "account", "what"]
        "Logins and refreshes whose answer never came: what they gave may be open";

    ATTEMPTS_LEFT = Gauge "doorward_login_attempts_left" ["upstream", "account"]
        "Login attempts that the account's budget has left";
    ATTEMPTS_MAX = Gauge "doorward_login_attempts_max" ["upstream", "account"]
        "Login attempts of a whole budget";
    ACCOUNT_STATE = Gauge "doorward_account_state" ["upstream", "account", "state"]
        "1 for the state that the account is in: open, held_back, quarantined";
    HELD_BACK = Gauge "doorward_account_held_back_seconds" ["upstream", "account"]
        "For how long no login of the account may be tried";
    QUARANTINES = Counter "doorward_quarantines_total" ["upstream", "account", "cause"]
        "Times that an account got no more logins until its secret changes";
    ROTATIONS = Counter "doorward_secret_rotations_total" ["upstream", "account", "stage"]
        "Steps of taking over changed secrets: begun, waiting, done, refused";
    SECRET_FAULTS = Counter "doorward_secret_faults_total" ["kind"]
        "Times that the place of a secret was not as it should be: unreadable, unwatched";

    LIMIT_DECISIONS = Counter "doorward_limit_decisions_total" ["limit", "decision"]
        "What limits that count something have decided: admitted, waited, rate_limited, overloaded";
    LIMIT_WAITING = Gauge "doorward_limit_waiting" ["limit"]
        "Requests that wait for their turn at a limit";
    PAUSES = Counter "doorward_account_pauses_total" ["upstream", "account"]
        "Pauses of an account's requests that its upstream has asked for";
    PAUSED = Gauge "doorward_account_paused_seconds" ["upstream", "account"]
        "For how long requests of the account wait because its upstream asked for it";

    CIRCUIT_OPEN = Gauge "doorward_upstream_circuit_open" ["upstream"]
        "1 while no connection to the upstream is tried";
    CIRCUIT_OPENINGS = Counter "doorward_upstream_circuit_openings_total" ["upstream"]
        "Times that connections to the upstream were given up for a while";
    ADDRESSES = Gauge "doorward_upstream_addresses" ["upstream", "state"]
        "Known addresses of the upstream: used, left_out";
    ADDRESSES_LEFT_OUT = Counter "doorward_upstream_addresses_left_out_total" ["upstream"]
        "Times that an address was left out for a while";
    NAME_FAILURES = Counter "doorward_upstream_name_failures_total" ["upstream", "kind"]
        "Times that the upstream's name had no answer (unresolved) or one that is not used (prohibited)";

    CONNECTIONS = Gauge "doorward_connections" ["listener"]
        "Connections of clients";
    CONNECTIONS_ACCEPTED = Counter "doorward_connections_accepted_total" ["listener"]
        "Connections of clients that were accepted";
    LOAD = Gauge "doorward_load_state" ["state"]
        "1 for what is taken on: normal; shedding: new requests are refused; full: new connections, too";

    REVOCATIONS = Counter "doorward_key_revocations_total" []
        "Client keys of the configuration that were found revoked";
    ISSUER_KEYS = Counter "doorward_issuer_keys_fetches_total" ["issuer", "outcome"]
        "Fetches of an issuer's keys: new, same, failed, dropped";
    AUDIT_FAILING = Gauge "doorward_audit_failing" []
        "1 while lines of the audit trail cannot be written";
    AUDIT_FAILURES = Counter "doorward_audit_failures_total" []
        "Times that lines of the audit trail could not be written any more";
    AUDIT_LOST = Counter "doorward_audit_lost_lines_total" []
        "Lines that are missing in the audit trail";
    ACCESS_LOG_LOST = Counter "doorward_access_log_lost_lines_total" []
        "Lines that are missing in the access log";
    SPANS_LOST = Counter "doorward_trace_spans_lost_total" []
        "Spans of traces that were not sent, because too many waited or the collector did not take them";
    STATE_FAILURES = Counter "doorward_state_write_failures_total" ["upstream", "account"]
        "Times that what must survive a restart could not be written";
    EVENTS_DROPPED = Counter "doorward_events_dropped_total" []
        "Events that were dropped because too many waited to be read: what is counted of events lacks them";

    RELOAD_SUCCESSFUL = Gauge "doorward_config_last_reload_successful" []
        "1 when the last configuration that was read is in use, 0 when it was refused";
    RELOAD_TIME = Gauge "doorward_config_last_reload_success_timestamp_seconds" []
        "When the configuration in use was taken over";
    BUILD = Gauge "doorward_build_info" ["version"]
        "1, with the version that runs";

    CPU = Counter "process_cpu_seconds_total" []
        "Processor time of the process, user and system";
    MEMORY = Gauge "process_resident_memory_bytes" []
        "Resident memory of the process";
    DESCRIPTORS = Gauge "process_open_fds" []
        "Open file descriptors of the process";
    DESCRIPTORS_MAX = Gauge "process_max_fds" []
        "File descriptors that the process may have";
    START_TIME = Gauge "process_start_time_seconds" []
        "When the process started, in seconds since 1970";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_end_with_what_they_are() {
        let names: BTreeSet<_> = ALL.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), ALL.len());
        for Family { name, kind, labels, help } in ALL {
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            let has_unit = name.ends_with("_seconds") || name.ends_with("_bytes");
            assert!(*kind != Kind::Histogram || has_unit, "{name}");
            assert!(!help.ends_with('.') && !help.contains('\n'), "{name}");
            let unique: BTreeSet<_> = labels.iter().collect();
            assert_eq!(unique.len(), labels.len(), "{name}");
        }
    }
}
