//! What metrics say of requests, sessions, accounts, limits and listeners, and what they never hold.

use std::collections::BTreeSet;
use std::time::Duration;

use doorward::access::key::ClientKey;
use doorward::emulator::{User, Vendor};
use doorward::session::Mechanism;
use doorward::telemetry::metrics::{ALL, Format, Kind};

use crate::client::Raw;
use crate::dead_session::dead_at_first;
use crate::harness::{Setup, until};
use crate::leaks::leaks;
use crate::page::{counted, page, sum, sum_in};
use crate::vendors::{read, write};

const DURATION: &str = "http_server_request_duration_seconds_count";

const RECEIVED: &str = "http_server_request_body_size_bytes_sum";

const GIVEN: &str = "http_server_response_body_size_bytes_sum";

fn key(name: &str) -> ClientKey {
    ClientKey::generate(name.parse().unwrap()).unwrap()
}

/// Fails when a core's requests are missing, when a request is counted twice, or under another route,
/// status or client.
#[tokio::test]
async fn requests_of_all_cores_are_counted_once() {
    let keys = [key("alice"), key("bob")];
    let scene = Setup::of(Vendor::Contentstack)
        .keys(&[("alice", &keys[0]), ("bob", &keys[1])])
        .start()
        .await;
    for number in 0..20 {
        let key = &keys[usize::from(number < 5)];
        let call = if number % 2 == 0 { read(&scene) } else { write(&scene, number) };
        assert!(call.header("doorward-key", key.expose()).send().await.status.is_success());
    }
    let denied = read(&scene).send().await;
    assert_eq!(denied.problem(), "client_key_missing");
    counted(&scene, DURATION, &[], 21.0).await;
    let read = [("http_request_method", "GET"), ("http_response_status_code", "200")];
    let shown = [("http_route", "/"), ("url_scheme", "http"), ("upstream", "vendor")];
    assert_eq!(sum(&scene, DURATION, &[&read[..], &shown].concat()), 10.0);
    assert_eq!(sum(&scene, DURATION, &[("http_request_method", "POST")]), 10.0);
    let clients = ["alice", "bob"]
        .map(|client| sum(&scene, "doorward_client_requests_total", &[("client", client)]));
    assert_eq!(clients, [15.0, 5.0]);
    let by_reason = |decision, reason| {
        let labels = [("upstream", "vendor"), ("decision", decision), ("reason", reason)];
        sum(&scene, "doorward_requests_total", &labels)
    };
    assert_eq!(by_reason("forwarded", "forwarded"), 20.0);
    assert_eq!(by_reason("refused", "client_key_missing"), 1.0);
    assert_eq!(sum(&scene, "doorward_requests_active", &[]), 0.0);
    assert_eq!(sum(&scene, "http_client_request_duration_seconds_count", &[]), 20.0);
    assert!(sum(&scene, GIVEN, &[("upstream", "vendor")]) > 20.0);
    assert_eq!(sum(&scene, "doorward_connections_accepted_total", &[("listener", "main")]), 21.0);
    scene.stop().await;
}

/// Fails when what a client, an upstream or a path says becomes a label.
#[tokio::test]
async fn nothing_that_a_client_makes_up_becomes_a_label() {
    let scene = Setup::of(Vendor::Contentstack).start().await;
    for number in 0..30 {
        let mut raw = Raw::connect(scene.door(), scene.record()).await;
        let host = "host: localhost\r\nconnection: close\r\n\r\n";
        raw.write(&format!("MADE{number} /made/up{number}?made=up{number} HTTP/1.1\r\n{host}"))
            .await;
        raw.read_to_end().await;
    }
    counted(&scene, DURATION, &[("http_request_method", "_OTHER")], 30.0).await;
    let page = page(&scene);
    assert!(!page.to_lowercase().contains("made"), "{page}");
    scene.stop().await;
}

/// Fails when a login, a replay, a logout or what is alive is not told as it happened.
#[tokio::test]
async fn the_life_of_sessions_shows() {
    let puppet = dead_at_first(1).await;
    let scene = puppet.setup(Vendor::Contentstack).start().await;
    let logins = |trigger| {
        let labels = [("upstream", "vendor"), ("account", "user"), ("trigger", trigger)];
        let labels = [&labels[..], &[("outcome", "success")]].concat();
        sum_in(&page(&scene), "doorward_logins_total", &labels)
    };
    // Before anything has happened, so that the first time shows as a rise.
    assert_eq!((logins("cold"), logins("expired")), (Some(0.0), Some(0.0)));
    assert_eq!(sum(&scene, "doorward_sessions", &[]), 0.0);
    let zero = sum_in(&page(&scene), "doorward_logouts_total", &[("outcome", "unconfirmed")]);
    assert_eq!(zero, Some(0.0));

    assert_eq!(scene.call("PUT", "/v3/x").body("four").send().await.status, 200);
    until("both logins are counted", || {
        (logins("cold"), logins("expired")) == (Some(1.0), Some(1.0))
    })
    .await;
    let sent = [("upstream", "vendor"), ("outcome", "sent"), ("reason", "replayed")];
    counted(&scene, "doorward_replays_total", &sent, 1.0).await;
    let both = "http_client_request_duration_seconds_count";
    for (status, count) in [("401", 1.0), ("200", 1.0)] {
        assert_eq!(sum(&scene, both, &[("http_response_status_code", status)]), count, "{status}");
    }
    assert_eq!(sum(&scene, DURATION, &[("http_response_status_code", "200")]), 1.0);
    // As it came, however often it was sent on.
    assert_eq!(sum(&scene, RECEIVED, &[("http_request_method", "PUT")]), 4.0);
    assert_eq!(sum(&scene, "doorward_session_expiries_total", &[("kind", "current")]), 1.0);
    assert_eq!(sum(&scene, "doorward_sessions", &[("state", "live")]), 1.0);
    assert_eq!(sum(&scene, "doorward_login_waiters", &[("upstream", "vendor")]), 0.0);
    assert_eq!(
        sum(&scene, "doorward_login_duration_seconds_count", &[("upstream", "vendor")]),
        2.0
    );
    assert_eq!(sum(&scene, "doorward_account_state", &[("state", "open")]), 1.0);
}

/// Fails when a replay that was refused passes for one that was made.
#[tokio::test]
async fn a_request_that_is_not_sent_again_says_why() {
    let puppet = dead_at_first(1).await;
    let setup = puppet.setup(Vendor::Contentstack).without(Mechanism::Replay);
    let scene = setup.start().await;
    let answer = scene.call("PUT", "/v3/x").body("four").send().await;
    let why = answer.one("doorward-replay").to_owned();
    let refused = [("outcome", "refused"), ("reason", why.as_str())];
    counted(&scene, "doorward_replays_total", &refused, 1.0).await;
    assert_eq!(sum(&scene, "doorward_replays_total", &[("outcome", "sent")]), 0.0);
}

/// Fails when a lock-out that is near, or that has come, does not show.
#[tokio::test]
async fn a_quarantined_account_shows_with_what_is_left_of_its_budget() {
    let vendor = Vendor::Contentstack;
    let user = User::new(vendor.seeded_user().login, "not the password");
    let scene = Setup::of(vendor).user(user).start().await;
    let left = sum(&scene, "doorward_login_attempts_left", &[]);
    assert_eq!(left, sum(&scene, "doorward_login_attempts_max", &[]));
    assert_eq!(read(&scene).send().await.problem(), "login_refused");
    let is = |state| sum(&scene, "doorward_account_state", &[("state", state)]);
    assert_eq!((is("open"), is("held_back"), is("quarantined")), (0.0, 0.0, 1.0));
    assert_eq!(sum(&scene, "doorward_login_attempts_left", &[]), left - 1.0);
    let refused = [("trigger", "cold"), ("outcome", "bad_secret")];
    counted(&scene, "doorward_logins_total", &refused, 1.0).await;
    counted(&scene, "doorward_quarantines_total", &[("cause", "bad_secret")], 1.0).await;
    let error = [("error_type", "login_refused"), ("http_response_status_code", "502")];
    counted(&scene, DURATION, &error, 1.0).await;
    scene.stop().await;
}

/// Fails when who waits at a limit, or is refused there, is not counted.
#[tokio::test]
async fn limits_say_what_they_have_decided() {
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.upstream =
        "limits = { rate = { requests = 1, per = \"10s\", burst = 1 }, waiting_max = 1 }"
            .to_owned();
    let scene = setup.start().await;
    assert_eq!(read(&scene).send().await.status, 200);
    let waiting = read(&scene).spawn();
    counted(&scene, "doorward_limit_waiting", &[("limit", "account")], 1.0).await;
    assert_eq!(read(&scene).send().await.problem(), "rate_limited");
    scene.clock.advance(Duration::from_secs(10));
    assert_eq!(waiting.await.unwrap().status, 200);
    for (decision, count) in
        [("admitted", 1.0), ("waited", 1.0), ("rate_limited", 1.0), ("overloaded", 0.0)]
    {
        let labels = [("limit", "account"), ("decision", decision)];
        assert_eq!(sum(&scene, "doorward_limit_decisions_total", &labels), count, "{decision}");
    }
    scene.stop().await;
}

/// Fails when connections, rejected messages or unreachable upstreams do not show.
#[tokio::test]
async fn connections_rejected_messages_and_circuits_show() {
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.origin = Some("http://127.0.0.1:9".to_owned());
    let scene = setup.start().await;
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write("GET /v3/a HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n").await;
    raw.read_to_end().await;
    let rejected = [("listener", "main"), ("reason", "bad_request")];
    assert_eq!(sum(&scene, "doorward_rejected_messages_total", &rejected), 1.0);
    let open = Raw::connect(scene.door(), scene.record()).await;
    counted(&scene, "doorward_connections", &[("listener", "main")], 1.0).await;
    drop(open);
    counted(&scene, "doorward_connections", &[("listener", "main")], 0.0).await;
    assert_eq!(sum(&scene, "doorward_upstream_circuit_open", &[]), 0.0);
    let open = || sum(&scene, "doorward_upstream_circuit_open", &[("upstream", "vendor")]) == 1.0;
    for _ in 0..100 {
        read(&scene).send().await;
        if open() {
            break;
        }
        scene.clock.advance(Duration::from_secs(600));
    }
    assert!(open(), "{}", page(&scene));
    counted(&scene, "doorward_load_state", &[("state", "normal")], 1.0).await;
    scene.stop().await;
}

/// Fails when what a client has sent of a body is not counted because of how it was sent, or because
/// nothing came of it.
#[tokio::test]
async fn bodies_of_requests_are_counted_as_they_came() {
    let scene = Setup::of(Vendor::Contentstack).start().await;
    let exchange = async |message: &str| {
        let mut raw = Raw::connect(scene.door(), scene.record()).await;
        raw.write(message).await;
        raw.read_to_end().await
    };
    let host = "host: localhost\r\nconnection: close";
    let chunked = "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    exchange(&format!("PUT /v3/x HTTP/1.1\r\n{host}\r\n{chunked}")).await;
    counted(&scene, RECEIVED, &[("http_request_method", "PUT")], 7.0).await;
    let half = "content-length: 10\r\n\r\nhalf";
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write(&format!("PATCH /v3/x HTTP/1.1\r\n{host}\r\n{half}")).await;
    raw.end().await;
    counted(&scene, RECEIVED, &[("http_request_method", "PATCH")], 4.0).await;
    assert_eq!(read(&scene).send().await.status, 200);
    let of_reads = [("http_request_method", "GET"), ("upstream", "vendor")];
    counted(&scene, "http_server_request_body_size_bytes_count", &of_reads, 1.0).await;
    assert_eq!(sum(&scene, RECEIVED, &of_reads), 0.0);
    scene.stop().await;
}

/// Fails when what a limit has decided is forgotten with the limit.
#[tokio::test]
async fn decisions_outlive_the_limit_that_made_them() {
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.route = "limits = { in_flight_max = 50 }".to_owned();
    let limits = setup.route.clone();
    let scene = setup.start().await;
    let is_admitted = async |times: f64| {
        let admitted = [("limit", "route"), ("decision", "admitted")];
        counted(&scene, "doorward_limit_decisions_total", &admitted, times).await;
    };
    assert_eq!(read(&scene).send().await.status, 200);
    is_admitted(1.0).await;
    scene.change_config(&limits, "# none");
    scene.reload().await;
    assert_eq!(read(&scene).send().await.status, 200);
    is_admitted(1.0).await;
    scene.change_config("# none", &limits);
    scene.reload().await;
    assert_eq!(read(&scene).send().await.status, 200);
    is_admitted(2.0).await;
    scene.stop().await;
}

/// Fails when a family is rendered that the list does not know, has other labels than the list says,
/// or when a secret is on the page.
#[tokio::test]
async fn the_page_holds_what_the_list_says_and_no_secret() {
    let key = key("alice");
    let scene = Setup::of(Vendor::ThoughtSpot).keys(&[("alice", &key)]).start().await;
    for _ in 0..3 {
        let call = read(&scene).header("doorward-key", key.expose());
        assert_eq!(
            call.header("authorization", "Bearer not-a-token-4711").send().await.status,
            200
        );
    }
    counted(&scene, DURATION, &[], 3.0).await;
    let mut secrets = scene.control().issued();
    secrets.extend([key.expose().to_owned(), "not-a-token-4711".to_owned()]);
    for format in [Format::Text, Format::OpenMetrics] {
        let page = scene.app().metrics().render(format);
        let leaked = leaks(&secrets, page.as_bytes());
        assert!(leaked.is_empty(), "{leaked:?}");
    }
    for line in page(&scene).lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let is_it = |name: &str, known: &str, kind| {
            name == known
                || kind == Kind::Histogram
                    && ["_bucket", "_sum", "_count"]
                        .iter()
                        .any(|end| name == format!("{known}{end}"))
        };
        let family = ALL.iter().find(|family| is_it(name, family.name, family.kind));
        let family = family.unwrap_or_else(|| panic!("{name} is in no list"));
        let shown: BTreeSet<_> =
            labels.split("\",").filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
        let known = |label: &&str| family.labels.contains(label) || **label == *"le";
        assert!(shown.iter().all(known), "{line}");
    }
    scene.stop().await;
}

/// Fails when a reload loses what was counted, counts it under another name, or does not show.
#[tokio::test]
async fn a_reload_shows_and_counts_go_on() {
    let keys = [key("alice"), key("bob")];
    let setup = Setup::of(Vendor::Contentstack).keys(&[("bob", &keys[1])]).tables("# more\n");
    let scene = setup.start().await;
    let by = |key: &ClientKey| read(&scene).header("doorward-key", key.expose());
    assert_eq!(by(&keys[1]).send().await.status, 200);
    let successful = "doorward_config_last_reload_successful";
    assert_eq!(sum(&scene, successful, &[]), 1.0);
    scene.change_config("# more", "[limits]\nrequst = 1");
    scene.fail_to_reload().await;
    counted(&scene, successful, &[], 0.0).await;
    // Before the other one, in the order of names.
    let digest = keys[0].digest();
    let alice = format!("[clients.alice]\nkeys = [\"{digest}\"]\ngrants = [{{}}]\n");
    scene.change_config("[limits]\nrequst = 1", &alice);
    scene.reload().await;
    counted(&scene, successful, &[], 1.0).await;
    for key in [&keys[0], &keys[1], &keys[1]] {
        assert_eq!(by(key).send().await.status, 200);
    }
    for (client, count) in [("alice", 1.0), ("bob", 3.0)] {
        counted(&scene, "doorward_client_requests_total", &[("client", client)], count).await;
    }
    assert_eq!(sum(&scene, DURATION, &[("http_route", "/")]), 4.0);
    assert_eq!(sum(&scene, "doorward_logins_total", &[]), 1.0);
    assert_eq!(sum(&scene, "doorward_connections_accepted_total", &[("listener", "main")]), 4.0);
    scene.stop().await;
}
