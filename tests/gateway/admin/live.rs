//! What happens, as it happens.

use std::time::Duration;

use doorward::emulator::Vendor;
use doorward::server::Address;
use serde_json::{Value, json};

use super::{ADMIN, ask, key, problem, shown, watched};
use crate::client::{Door, Raw};
use crate::harness::{Scene, Setup, within};
use crate::vendors::read;

/// A stream of events, with what was read of it so far.
struct Live {
    raw: Raw,
    seen: usize,
}

impl Live {
    async fn open(scene: &Scene, query: &str) -> Self {
        let socket = scene.app().admin_socket().unwrap().to_owned();
        let door = Door { address: Address::Unix(socket), authority_pem: None };
        let mut raw = Raw::connect(&door, scene.record()).await;
        let head = format!("GET /admin/v1/live{query} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        raw.write(&head).await;
        let head = raw.read_to("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("text/event-stream"), "{head}");
        let seen = head.len();
        Self { raw, seen }
    }

    /// The next event of this kind.
    async fn next(&mut self, kind: &str) -> Value {
        let begin = format!("event: {kind}\n");
        loop {
            let all = self.raw.read_to("").await;
            let rest = all.get(self.seen..).unwrap_or_default();
            if let Some(at) = rest.find(&begin)
                && let Some(length) = rest[at..].find("\n\n")
            {
                let event = &rest[at..at + length];
                self.seen += at + length;
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                return serde_json::from_str(data.unwrap()).unwrap();
            }
            self.raw.read_more().await;
        }
    }
}

/// Fails when what happens is not told while it happens, or told to who has not asked for it.
#[tokio::test]
async fn requests_logins_and_changes_are_told_as_they_happen() {
    let scene = watched(Setup::of(Vendor::Contentstack)).await;
    let mut live = Live::open(&scene, "").await;
    assert_eq!(read(&scene).send().await.status, 200);
    let login = live.next("login").await;
    assert_eq!((&login["outcome"], &login["trigger"]), (&json!("logged_in"), &json!("cold")));
    let request = live.next("request").await;
    assert_eq!((&request["path"], &request["status"]), (&json!("/v3/content_types"), &json!(200)));
    assert!(request["story"].as_str().unwrap().contains("sent with session"), "{request}");
    scene.control().expire_sessions();
    assert_eq!(read(&scene).send().await.status, 200);
    let expired = live.next("session").await;
    assert_eq!((&expired["what"], &expired["upstream"]), (&json!("expired"), &json!("vendor")));
    assert_eq!(live.next("login").await["trigger"], "expired");
    scene.clock.advance(Duration::from_secs(1));
    let summary = live.next("summary").await;
    assert_eq!((summary["sessions"].as_u64(), summary["requests"].is_u64()), (Some(1), true));
    let kept = shown(&scene, "/admin/v1/summaries").await;
    assert_eq!(kept["items"][0], summary);
    drop(live);
    scene.stop().await;
}

/// Fails when a watcher depends on what is kept, or what is told live differs from what is kept.
#[tokio::test]
async fn requests_are_told_live_as_they_are_kept_and_also_where_none_is() {
    for kept in [0, 10] {
        let tables = format!("{ADMIN}requests_kept = {kept}\n");
        let scene = Setup::of(Vendor::Contentstack).tables(&tables).start().await;
        let mut live = Live::open(&scene, "?events=request").await;
        assert_eq!(read(&scene).send().await.status, 200);
        let told = live.next("request").await;
        assert_eq!(shown(&scene, "/admin/v1/status").await["recent"]["requests"], 1);
        let all = shown(&scene, "/admin/v1/requests").await;
        match kept {
            0 => assert_eq!(all["total"], 0),
            _ => assert_eq!(all["items"], json!([told])),
        }
        scene.stop().await;
    }
}

/// Fails when a filter lets other requests through.
#[tokio::test]
async fn a_watcher_sees_what_it_has_asked_for() {
    let (alice, bob) = (key("alice"), key("bob"));
    let setup = Setup::of(Vendor::Contentstack).keys(&[("alice", &alice), ("bob", &bob)]);
    let scene = watched(setup).await;
    let mut of_alice = Live::open(&scene, "?client=alice&events=request").await;
    let mut refused = Live::open(&scene, "?status=4xx&path=*canary-*&events=request").await;
    for key in [&bob, &alice] {
        assert_eq!(read(&scene).header("doorward-key", key.expose()).send().await.status, 200);
    }
    scene.call("GET", "/v3/canary-path").header("doorward-key", "none").send().await;
    assert_eq!(of_alice.next("request").await["client"], "alice");
    let first = refused.next("request").await;
    assert_eq!((&first["path"], &first["client"]), (&json!("/v3/canary-path"), &Value::Null));
    for wrong in ["?status=x", "?events=nothing", "?unknown=1"] {
        let answer = ask(&scene, "GET", &format!("/admin/v1/live{wrong}")).send().await;
        assert_eq!(problem(&answer), "bad_request", "{wrong}");
    }
    scene.stop().await;
}

/// Fails when a slow reader holds anybody up, takes memory without a bound, or is not told what it has
/// missed.
#[tokio::test]
async fn a_slow_watcher_loses_events_and_is_told_how_many() {
    let scene = watched(Setup::of(Vendor::Contentstack)).await;
    assert_eq!(read(&scene).send().await.status, 200);
    // The system takes some of what nobody reads: long paths fill that.
    let long = format!("/v3/content_types/{}", "x".repeat(8000));
    let mut slow = Live::open(&scene, "?events=request").await;
    let call = scene.call("GET", &long);
    let mut connection = call.http2_connection().await;
    let mut sent = 0;
    while sent < 4000 {
        let answers: Vec<_> = (0..50).map(|_| tokio::spawn(connection.send(&call))).collect();
        for answer in answers {
            within(answer).await.unwrap();
        }
        sent += 50;
    }
    let lost = slow.next("lost").await;
    let count = lost["lost"].as_u64().unwrap();
    assert!(count > 0 && count < sent, "{lost}");
    drop(slow);
    scene.stop().await;
}

/// Fails when any number of watchers may come, or a place is not given back.
#[tokio::test]
async fn so_many_may_watch_and_no_more() {
    let scene = watched(Setup::of(Vendor::Contentstack)).await;
    let mut watchers = Vec::new();
    for _ in 0..16 {
        watchers.push(Live::open(&scene, "").await);
    }
    let refused = ask(&scene, "GET", "/admin/v1/live").send().await;
    assert_eq!((refused.status.as_u16(), problem(&refused).as_str()), (503, "too_many_watchers"));
    watchers.pop();
    let waiting = async {
        loop {
            // A connection that has gone is noticed when something is written to it.
            scene.clock.advance(Duration::from_secs(1));
            let socket = scene.app().admin_socket().unwrap().to_owned();
            let door = Door { address: Address::Unix(socket), authority_pem: None };
            let mut raw = Raw::connect(&door, scene.record()).await;
            raw.write("GET /admin/v1/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
            if raw.read_to("\r\n\r\n").await.starts_with("HTTP/1.1 200") {
                return;
            }
        }
    };
    within(waiting).await;
    drop(watchers);
    scene.stop().await;
}

/// Fails when the stop waits for those who watch, or leaves them without an end.
#[tokio::test]
async fn the_stream_ends_with_the_gateway() {
    let mut scene = watched(Setup::of(Vendor::Contentstack)).await;
    let live = Live::open(&scene, "").await;
    let app = scene.take_app();
    within(app.stop()).await;
    let all = within(live.raw.read_to_end()).await;
    assert!(all.ends_with("0\r\n\r\n"), "{all}");
}
