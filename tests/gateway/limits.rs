//! How much may be asked of an account: its rate, its pause, its places, fairly between clients.

use std::time::Duration;

use doorward::access::key::ClientKey;
use doorward::emulator::{Forced, Vendor};
use doorward::telemetry::Event;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::audit::{AUDIT, lines, trail_in};
use crate::client::{Answer, Call};
use crate::harness::{Scene, Setup, until, within};
use crate::vendors::{read, read_line};

const VENDOR: Vendor = Vendor::Contentstack;

fn key(name: &str) -> ClientKey {
    ClientKey::generate(name.parse().unwrap()).unwrap()
}

fn read_as(scene: &Scene, key: &ClientKey) -> Call {
    read(scene).header("doorward-key", key.expose())
}

/// Reads that have arrived at the upstream.
fn arrived(scene: &Scene) -> usize {
    let requests = scene.control().requests();
    let line = |method: &str, target: &str| format!("{method} {target}");
    requests.iter().filter(|one| line(&one.method, &one.target) == read_line(VENDOR)).count()
}

async fn start(limits: &str, keys: &[(&str, &ClientKey)]) -> Scene {
    let mut setup = Setup::of(VENDOR).keys(keys).tables(AUDIT);
    setup.upstream = format!("limits = {limits}");
    let scene = setup.start().await;
    scene.control().switch("rate_limit", json!(false)).unwrap();
    scene
}

/// Fails when the rate bounds nothing, when a greedy client starves the others, or when a request
/// whose turn does not come is not told when to ask again.
#[tokio::test]
async fn the_rate_of_an_account_is_shared_fairly_between_clients() {
    let names = ["greedy", "a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let keys = names.map(key);
    let clients: Vec<_> = names.iter().copied().zip(&keys).collect();
    let limits = r#"{ rate = { requests = 10, per = "1s", burst = 1 } }"#;
    let scene = start(limits, &clients).await;
    assert_eq!(read_as(&scene, &keys[0]).send().await.status, 200);
    let greedy: Vec<_> = (0..256).map(|_| read_as(&scene, &keys[0]).spawn()).collect();
    // All of them wait before the modest ones come.
    until("the greedy client waits", || scene.waiting() == 256).await;
    let modest: Vec<_> =
        keys[1..].iter().flat_map(|key| [0, 1].map(|_| read_as(&scene, key).spawn())).collect();
    until("all wait", || scene.waiting() == 256 + 18).await;
    assert_eq!(arrived(&scene), 1, "the rate bounds nothing");
    let count = |calls: &[JoinHandle<Answer>]| calls.iter().filter(|one| one.is_finished()).count();
    for round in 1..=2 {
        for tenth in 1..=10 {
            scene.clock.advance(Duration::from_millis(100));
            until("one more arrives", || arrived(&scene) == (round - 1) * 10 + tenth + 1).await;
        }
        // What has gone on is answered before time passes.
        until("each had its turn", || (count(&modest), count(&greedy)) == (9 * round, round)).await;
    }
    for call in modest {
        assert_eq!(within(call).await.unwrap().status, 200);
    }
    scene.clock.advance(Duration::from_secs(60));
    let mut refused = 0;
    for call in greedy {
        let answer = within(call).await.unwrap();
        if answer.status == 200 {
            continue;
        }
        refused += 1;
        assert_eq!((answer.status.as_u16(), answer.problem()), (429, "rate_limited".to_owned()));
        let seconds: u64 = answer.one("retry-after").parse().unwrap();
        assert!(seconds >= 1);
        assert_eq!(answer.one("ratelimit"), format!("\"account\";r=0;t={seconds}"));
        assert_eq!(answer.one("ratelimit-policy"), "\"account\";q=10;w=1");
        assert_eq!(answer.json()["limit"], "account");
    }
    assert!(refused >= 250, "{refused} were refused");
    scene.stop().await;
}

/// Fails when requests go on to an upstream that has said that it was too much, when the pause never
/// ends, or when nobody is told of it.
#[tokio::test]
async fn a_429_of_the_upstream_makes_everybody_wait_as_long_as_it_says() {
    let (alice, bob) = (key("alice"), key("bob"));
    let scene = start("{}", &[("alice", &alice), ("bob", &bob)]).await;
    assert_eq!(read_as(&scene, &alice).send().await.status, 200);
    let too_much = Forced {
        matching: read_line(VENDOR).to_owned(),
        times: 1,
        status: Some(429),
        headers: vec![("retry-after".to_owned(), "7".to_owned())],
        ..Forced::default()
    };
    scene.control().force(too_much).unwrap();
    assert_eq!(read_as(&scene, &alice).send().await.status, 429, "the first one is told");
    let before = arrived(&scene);
    let calls: Vec<_> = [&alice, &bob, &bob].map(|key| read_as(&scene, key).spawn()).into();
    until("all wait", || scene.waiting() == 3).await;
    scene.clock.advance(Duration::from_millis(6900));
    assert_eq!((scene.waiting(), arrived(&scene)), (3, before));
    scene.clock.advance(Duration::from_millis(200));
    for call in calls {
        assert_eq!(within(call).await.unwrap().status, 200);
    }
    assert_eq!(read_as(&scene, &bob).send().await.status, 200);
    let ended = scene.stop().await;
    let told = ended.events.iter().filter(|event| matches!(event, Event::Paused { .. }));
    assert_eq!(told.count(), 1);
    let trail = lines(&trail_in(ended.folder.path()));
    let told = trail.iter().find(|line| line["event"] == "paused").unwrap();
    let told = ["upstream", "account", "pause_ms"].map(|name| &told[name]);
    assert_eq!(told, [&json!("vendor"), &json!("user"), &json!(7000.0)]);
}

/// Fails when more requests are under way than may be, when a place is given back before the
/// answer's body has ended, or when a client that leaves keeps its place.
#[tokio::test]
async fn places_are_given_back_when_answers_have_ended_or_clients_have_left() {
    let alice = key("alice");
    let scene = start("{ in_flight_max = 2, waiting_max = 1 }", &[("alice", &alice)]).await;
    assert_eq!(read_as(&scene, &alice).send().await.status, 200);
    let hold = scene.control().hold(read_line(VENDOR));
    let under_way = [0, 1].map(|_| read_as(&scene, &alice).spawn());
    within(hold.arrived(2)).await;
    let waits = read_as(&scene, &alice).spawn();
    until("one waits", || scene.waiting() == 1).await;
    let crowded = read_as(&scene, &alice).send().await;
    assert_eq!((crowded.status.as_u16(), crowded.problem()), (503, "overloaded".to_owned()));
    assert_eq!(crowded.one("retry-after"), "1");
    // A client that leaves makes room for the one that waits.
    let [leaves, stays] = under_way;
    leaves.abort();
    until("the one that waits goes on", || arrived(&scene) == 4).await;
    assert_eq!(scene.waiting(), 0);
    drop(hold);
    assert_eq!(within(stays).await.unwrap().status, 200);
    assert_eq!(within(waits).await.unwrap().status, 200);
    scene.stop().await;
}

/// Fails when a request whose turn comes late is sent without time for its answer: where many wait,
/// each would be asked of the upstream for nothing.
#[tokio::test]
async fn a_request_that_had_to_wait_has_time_for_its_answer() {
    let alice = key("alice");
    let scene = start("{ in_flight_max = 1 }", &[("alice", &alice)]).await;
    assert_eq!(read_as(&scene, &alice).send().await.status, 200);
    let hold = scene.control().hold(read_line(VENDOR));
    let leaves = read_as(&scene, &alice).spawn();
    within(hold.arrived(1)).await;
    let waits = read_as(&scene, &alice).spawn();
    until("it waits", || scene.waiting() == 1).await;
    scene.clock.advance(Duration::from_secs(59));
    leaves.abort();
    until("its turn has come", || arrived(&scene) == 3 && hold.waiting() == 1).await;
    scene.clock.advance(Duration::from_secs(2));
    let late = read_as(&scene, &alice).spawn();
    until("another one waits", || scene.waiting() == 1).await;
    drop(hold);
    assert_eq!(within(waits).await.unwrap().status, 200);
    assert_eq!(within(late).await.unwrap().status, 200);
    scene.stop().await;
}

/// Fails when a client that fills the queue keeps others out of it, or when a request that gives way
/// is not told so at once.
#[tokio::test]
async fn who_fills_the_queue_gives_way_to_others() {
    let (greedy, modest) = (key("greedy"), key("modest"));
    let clients = [("greedy", &greedy), ("modest", &modest)];
    let limits = r#"{ rate = { requests = 1, per = "1s" }, waiting_max = 3 }"#;
    let scene = start(limits, &clients).await;
    assert_eq!(read_as(&scene, &greedy).send().await.status, 200);
    let mut waiting = Vec::new();
    for waits in 1..=3 {
        waiting.push(read_as(&scene, &greedy).spawn());
        until("one more waits", || scene.waiting() == waits).await;
    }
    let modest = read_as(&scene, &modest).spawn();
    let answer = within(waiting.pop().unwrap()).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.problem()), (429, "rate_limited".to_owned()));
    for second in 1..=3 {
        scene.clock.advance(Duration::from_secs(1));
        until("one more arrives", || arrived(&scene) == 1 + second).await;
    }
    for call in waiting.into_iter().chain([modest]) {
        assert_eq!(within(call).await.unwrap().status, 200);
    }
    scene.stop().await;
}
