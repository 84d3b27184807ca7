//! Doorward as its clients and its upstreams see it: every promise, through the boundaries.
//!
//! Each test's doc line names the change under which it fails; where that change is a
//! [`Mechanism`](doorward::session::Mechanism), a sibling shows that it does fail without it.

// The whole binary is test code; clippy sees only the test functions as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod client;
mod codings;
mod crash;
mod dead_session;
mod front;
mod faulty;
mod harness;
mod page;
#[path = "../clients/leaks.rs"]
mod leaks;
mod puppet;
#[path = "../clients/running.rs"]
mod running;
mod vendors;

mod access;
mod access_log;
mod admin;
mod audit;
mod audit_chain;
mod audit_hostile;
mod base_url;
mod closing;
mod conformance;
mod decoded_bodies;
mod defects;
mod doctor;
mod early_answers;
mod faults;
mod faults_http2;
mod grants;
mod grpc;
mod hostile;
mod http1;
mod identities;
mod identities_unix;
mod leak_hunt;
mod injected_bodies;
mod issuer;
mod lifetimes;
mod limits;
mod limits_of_clients;
mod limits_of_upstreams;
mod local_answers;
mod local_login;
mod local_login_hostile;
mod lock_out;
mod login_answers;
mod login_helper;
mod messages;
mod metrics;
mod nothing_leaks;
mod old_clients;
mod other_origin;
mod own_answers;
mod pace;
mod prolonged;
mod protocols;
mod proxied;
mod reach;
mod reach_names;
mod recordings;
mod refresh;
mod rejected;
mod reload;
mod reload_listeners;
mod reload_load;
mod reload_watch;
mod renewal;
mod replay;
mod replay_expect;
mod replay_once;
mod restart;
mod restart_commands;
mod replay_spill;
mod revocation;
mod rolled_values;
mod rolling;
mod rotation;
mod rotation_pace;
mod scopes;
mod searched_bodies;
mod settings;
mod single_login;
mod stop;
mod stop_unasked;
mod streams;
mod three_gateways;
mod tokens;
mod tokens_keys;
mod totp;
mod traces;
mod trailers;
mod upgrades;
mod upgrades_broken;
mod verdicts;
mod ways;
mod ways_proxy;
mod ways_refused;
mod websockets;
