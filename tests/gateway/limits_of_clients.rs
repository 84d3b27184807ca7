//! How much a client may ask, how much may be asked by a route, and reads and writes that count
//! apart.

use std::time::Duration;

use doorward::access::key::ClientKey;
use doorward::emulator::{Forced, User, Vendor};
use serde_json::json;

use crate::client::{Answer, Call};
use crate::grants::explain;
use crate::harness::{Scene, Setup, until, within, write};
use crate::vendors::{self, read, read_line, write_line};

const VENDOR: Vendor = Vendor::Contentstack;

fn key(name: &str) -> ClientKey {
    ClientKey::generate(name.parse().unwrap()).unwrap()
}

fn as_client(call: Call, key: &ClientKey) -> Call {
    call.header("doorward-key", key.expose())
}

/// Requests with this method and target that have arrived at the upstream.
fn arrived(scene: &Scene, line: &str) -> usize {
    let requests = scene.control().requests();
    requests.iter().filter(|one| format!("{} {}", one.method, one.target) == line).count()
}

/// Status, code, and whose limit it is.
fn told(answer: &Answer) -> (u16, String, String) {
    let limit = answer.json()["limit"].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), answer.problem(), limit)
}

/// A greedy client with these limits, and a modest one without.
async fn start(limits: &str, greedy: &ClientKey, modest: &ClientKey) -> Scene {
    let setup = Setup::of(VENDOR).client("greedy", greedy, "[{}]");
    let setup = setup.tables(&format!("limits = {limits}\n"));
    setup.client("modest", modest, "[{}]").start().await
}

/// Fails when a client may ask faster than its own rate, when its requests do not wait in turn, or
/// when they keep others waiting.
#[tokio::test]
async fn a_client_over_its_own_rate_waits_and_others_do_not() {
    let (greedy, modest) = (key("greedy"), key("modest"));
    let limits = r#"{ rate = { requests = 1, per = "1s" }, waiting_max = 3 }"#;
    let scene = start(limits, &greedy, &modest).await;
    assert_eq!(as_client(read(&scene), &greedy).send().await.status, 200);
    let mut waiting = Vec::new();
    for waits in 1..=3 {
        waiting.push(as_client(read(&scene), &greedy).spawn());
        until("one more waits", || scene.waiting() == waits).await;
    }
    for _ in 0..5 {
        assert_eq!(as_client(read(&scene), &modest).send().await.status, 200);
    }
    let refused = as_client(read(&scene), &greedy).send().await;
    assert_eq!(told(&refused), (429, "rate_limited".to_owned(), "client".to_owned()));
    // Three wait before it: its own turn would come after four seconds.
    assert_eq!(refused.one("retry-after"), "4");
    assert_eq!(refused.one("ratelimit"), "\"client\";r=0;t=4");
    assert_eq!(refused.one("ratelimit-policy"), "\"client\";q=1;w=1");
    for second in 1..=3 {
        assert_eq!(arrived(&scene, read_line(VENDOR)), 5 + second);
        scene.clock.advance(Duration::from_secs(1));
        until("one more arrives", || arrived(&scene, read_line(VENDOR)) == 6 + second).await;
    }
    for call in waiting {
        assert_eq!(within(call).await.unwrap().status, 200);
    }
    scene.stop().await;
}

/// Fails when a client that may not wait does, or when less than a second is told as none.
#[tokio::test]
async fn a_client_that_may_not_wait_is_told_at_once() {
    let (greedy, modest) = (key("greedy"), key("modest"));
    let limits = r#"{ rate = { requests = 5, per = "7s", burst = 1 }, waiting_max = 0 }"#;
    let scene = start(limits, &greedy, &modest).await;
    assert_eq!(as_client(read(&scene), &greedy).send().await.status, 200);
    let refused = as_client(read(&scene), &greedy).send().await;
    assert_eq!(told(&refused), (429, "rate_limited".to_owned(), "client".to_owned()));
    assert_eq!(refused.one("retry-after"), "2", "1.4 seconds, rounded up");
    assert_eq!(refused.json()["retry_after_seconds"], 2);
    scene.clock.advance(Duration::from_millis(1300));
    let refused = as_client(read(&scene), &greedy).send().await;
    assert_eq!(refused.one("retry-after"), "1");
    scene.clock.advance(Duration::from_millis(100));
    assert_eq!(as_client(read(&scene), &greedy).send().await.status, 200);
    scene.stop().await;
}

/// Fails when a client has more requests under way than it may, when its place is given back before
/// its answer has ended or is kept after that, or when it keeps another client's.
#[tokio::test]
async fn a_client_has_only_so_many_requests_under_way() {
    let (greedy, modest) = (key("greedy"), key("modest"));
    let scene = start("{ in_flight_max = 1, waiting_max = 0 }", &greedy, &modest).await;
    assert_eq!(as_client(read(&scene), &greedy).send().await.status, 200);
    let hold = scene.control().hold(read_line(VENDOR));
    let under_way = as_client(read(&scene), &greedy).spawn();
    within(hold.arrived(1)).await;
    let refused = as_client(read(&scene), &greedy).send().await;
    assert_eq!(told(&refused), (503, "overloaded".to_owned(), "client".to_owned()));
    assert_eq!(refused.one("retry-after"), "1");
    let other = as_client(read(&scene), &modest).spawn();
    within(hold.arrived(2)).await;
    drop(hold);
    assert_eq!(within(under_way).await.unwrap().status, 200);
    assert_eq!(within(other).await.unwrap().status, 200);
    assert_eq!(as_client(read(&scene), &greedy).send().await.status, 200);
    scene.stop().await;
}

/// Fails when a route's limit is not kept, holds for another route, or is not fair between clients.
#[tokio::test]
async fn a_route_has_a_limit_for_all_its_clients_together() {
    let (alice, bob) = (key("alice"), key("bob"));
    let mut setup = Setup::of(VENDOR).keys(&[("alice", &alice), ("bob", &bob)]);
    setup.route =
        "path = \"/v3/content_types\"\nlimits = { rate = { requests = 1, per = \"1s\" }, \
                   waiting_max = 3 }"
            .to_owned();
    let scene = setup.tables("[[routes]]\nupstream = \"vendor\"\n").start().await;
    assert_eq!(as_client(read(&scene), &alice).send().await.status, 200);
    let mut waiting = Vec::new();
    for (waits, client) in [&alice, &alice, &bob].into_iter().enumerate() {
        waiting.push(as_client(read(&scene), client).spawn());
        until("one more waits", || scene.waiting() == waits + 1).await;
    }
    let elsewhere = scene.call("GET", "/v3/user");
    assert_eq!(as_client(elsewhere, &alice).send().await.status, 200, "another route");
    let refused = as_client(read(&scene), &alice).send().await;
    assert_eq!(told(&refused), (429, "rate_limited".to_owned(), "route".to_owned()));
    assert_eq!(refused.one("ratelimit-policy"), "\"route\";q=1;w=1");
    scene.clock.advance(Duration::from_secs(1));
    assert_eq!(within(waiting.remove(0)).await.unwrap().status, 200);
    scene.clock.advance(Duration::from_secs(1));
    assert_eq!(within(waiting.remove(1)).await.unwrap().status, 200, "the other client is next");
    scene.clock.advance(Duration::from_secs(1));
    assert_eq!(within(waiting.remove(0)).await.unwrap().status, 200);
    scene.stop().await;
}

/// Fails when a request that waits for one account keeps those of another account, which nothing
/// holds up, from the places of their common route.
#[tokio::test]
async fn who_waits_for_one_account_keeps_no_place_from_who_uses_another() {
    let folder = tempfile::tempdir().unwrap();
    let other = User::new("other@example.com", "another password");
    let password = write(folder.path(), "other", &other.password);
    let mut setup = Setup::of(VENDOR);
    setup.route = "accounts = [\"other\"]\nlimits = { in_flight_max = 1 }".to_owned();
    let login = &other.login;
    let scene = setup
        .tables(&format!(
            "[upstreams.vendor.accounts.other]\nusername = {login:?}\n\
             password = {{ file = {password:?} }}\n"
        ))
        .start()
        .await;
    scene.control().add_user(other);
    let too_much = Forced {
        matching: read_line(VENDOR).to_owned(),
        times: 1,
        status: Some(429),
        headers: vec![("retry-after".to_owned(), "7".to_owned())],
        ..Forced::default()
    };
    scene.control().force(too_much).unwrap();
    assert_eq!(read(&scene).send().await.status, 429);
    let waits = read(&scene).spawn();
    until("it waits for its account", || scene.waiting() == 1).await;
    let by_other = read(&scene).header("doorward-account", "other");
    assert_eq!(by_other.send().await.status, 200);
    scene.clock.advance(Duration::from_secs(8));
    assert_eq!(within(waits).await.unwrap().status, 200);
    scene.stop().await;
}

/// Fails when a write that waits holds up reads with tokens left, or the other way round, or when an
/// answer does not say what is used up.
#[tokio::test]
async fn reads_and_writes_that_count_apart_do_not_wait_for_each_other() {
    let alice = key("alice");
    let mut setup = Setup::of(VENDOR).keys(&[("alice", &alice)]);
    setup.upstream = "limits = { reads = { requests = 3, per = \"1s\" }, writes = { requests = 1, \
                      per = \"10s\" }, waiting_max = 1 }"
        .to_owned();
    let scene = setup.start().await;
    let write = |number| as_client(vendors::write(&scene, number), &alice);
    assert_eq!(write(0).send().await.status, 201);
    let waits = write(1).spawn();
    until("a write waits", || scene.waiting() == 1).await;
    for _ in 0..3 {
        assert_eq!(as_client(read(&scene), &alice).send().await.status, 200);
    }
    let refused = write(2).send().await;
    assert_eq!(told(&refused), (429, "rate_limited".to_owned(), "account".to_owned()));
    assert_eq!(refused.one("ratelimit"), "\"account-writes\";r=0;t=20");
    assert_eq!(refused.one("ratelimit-policy"), "\"account-writes\";q=1;w=10");
    let refused = as_client(read(&scene), &alice).send().await;
    assert_eq!(refused.one("ratelimit"), "\"account-reads\";r=0;t=1");
    scene.clock.advance(Duration::from_secs(10));
    assert_eq!(within(waits).await.unwrap().status, 201);
    assert_eq!(arrived(&scene, write_line(VENDOR)), 2);
    scene.stop().await;
}

/// Fails when a request counts as what its client calls it, and not as what its upstream reads.
#[tokio::test]
async fn a_request_counts_as_its_upstream_reads_it() {
    let mut setup = Setup::of(Vendor::MFiles);
    let limits = "limits = { writes = { requests = 1, per = \"10s\" }, waiting_max = 0 }";
    setup.upstream = format!("{}\n{limits}", setup.upstream);
    let scene = setup.start().await;
    let post = |target: &str| scene.call("POST", target).header("x-vault", "{}");
    assert_ne!(post("/REST/views/items").send().await.status, 429, "the only write");
    assert_eq!(post("/REST/views/items?_method=DELETE").send().await.status, 429);
    for _ in 0..3 {
        assert_ne!(post("/REST/views/items?_method=GET").send().await.status, 429);
        assert_eq!(read(&scene).send().await.status, 200);
    }
    scene.stop().await;
}

/// Fails when the record of a request does not tell how long it waited for its turn.
#[tokio::test]
async fn the_record_of_a_request_says_how_long_it_waited() {
    use doorward::telemetry::Event;
    let (greedy, modest) = (key("greedy"), key("modest"));
    let limits = r#"{ rate = { requests = 1, per = "5s" }, waiting_max = 1 }"#;
    let scene = start(limits, &greedy, &modest).await;
    assert_eq!(as_client(read(&scene), &greedy).send().await.status, 200);
    let waits = as_client(read(&scene), &greedy).spawn();
    until("it waits", || scene.waiting() == 1).await;
    assert_eq!(as_client(read(&scene), &greedy).send().await.status, 429);
    scene.clock.advance(Duration::from_secs(5));
    assert_eq!(within(waits).await.unwrap().status, 200);
    assert_eq!(as_client(scene.call("PUT", "/v3/user"), &modest).send().await.status, 403);
    let ended = scene.stop().await;
    let waited: Vec<_> = ended
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Request(one) => {
                Some((one.status.as_u16(), one.waited.map(|time| time.as_secs())))
            }
            _ => None,
        })
        .collect();
    let expected = [(200, Some(0)), (429, Some(0)), (200, Some(5)), (403, None)];
    assert_eq!(waited, expected, "{}", json!(waited));
}

/// Fails when `explain` leaves a limit out that a request has to keep, or names one that it has not.
#[tokio::test]
async fn explain_says_which_limits_hold() {
    let alice = key("alice");
    let mut setup = Setup::of(VENDOR).client("alice", &alice, "[{}]");
    setup.upstream =
        "limits = { reads = { requests = 10, per = \"1s\" }, writes = { requests = 2, \
                      per = \"1m\", burst = 1 } }"
            .to_owned();
    setup.route = "limits = { in_flight_max = 4 }".to_owned();
    let own = "limits = { rate = { requests = 5, per = \"1s\" }, waiting_max = 0 }\n";
    let scene = setup.tables(own).start().await;
    let (_, said) = explain(&scene, &["alice", "POST", "/v3/content_types"]).await;
    for line in [
        "limit     client: 5 requests in 1s, 5 at once, nobody waits (doorward.toml:",
        "limit     route: 4 under way, 1000 wait (doorward.toml:",
        "limit     account: 2 writes in 1m, 1 at once, 1000 wait (doorward.toml:",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let (_, said) = explain(&scene, &["--json", "alice", "GET", "/v3/content_types"]).await;
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let of: Vec<_> = said["limits"].as_array().unwrap().iter().map(|one| &one["of"]).collect();
    assert_eq!(of, ["client", "route", "account"]);
    let rate = json!({ "counts": "reads", "requests": 10, "per_ms": 1000, "burst": 10 });
    assert_eq!(said["limits"][2]["rate"], rate);
    assert_eq!(said["limits"][1]["in_flight_max"], 4);
    // What is answered here meets none.
    let (_, said) = explain(&scene, &["--json", "alice", "POST", "/v3/user-session"]).await;
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["outcome"], &said["limits"]), (&json!("logged_in"), &json!([])));
    scene.stop().await;
}
