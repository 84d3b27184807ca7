//! The last rejected messages, as an operator sees them: what was sent, and not a value of it.

use doorward::access::key::ClientKey;
use doorward::emulator::Vendor;
use doorward::telemetry::{Event, Rejected};

use crate::client::Raw;
use crate::harness::{Scene, Setup, until};
use crate::puppet::{Puppet, Reply};

/// Stands in every value that a client sends.
const CANARY: &str = "canary-4711";

async fn said(scene: &Scene, bytes: &str) -> String {
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write(bytes).await;
    raw.read_to_end().await
}

fn shown(rejected: &Rejected) -> (&'static str, &str, &str, Vec<&str>) {
    let head = rejected.head.as_ref().unwrap();
    let fields = head.fields.iter().map(|name| &**name).collect();
    (rejected.reason, &head.method, &head.path, fields)
}

/// Fails when a rejected message is not kept, or when a value of it is.
#[tokio::test]
async fn rejected_messages_are_kept_without_a_value_of_them() {
    let key = ClientKey::generate("alice".parse().unwrap()).unwrap();
    let key = key.expose().to_owned();
    let scene = Setup::of(Vendor::Contentstack).start().await;
    let bearer = format!("authorization: Bearer {key}\r\ncookie: {CANARY}\r\nx-own: {CANARY}");
    for head in [
        format!("GET /v3/a%62c?{CANARY}={CANARY} HTTP/1.1\r\nhost: a/{CANARY}\r\n{bearer}"),
        format!("TRACE /v3/{key}?{CANARY} HTTP/1.1\r\nhost: localhost\r\n{key}: {CANARY}"),
        format!("POST /v3/%64oorward{} HTTP/1.1\r\nhost: a\r\nhost: b\r\n{bearer}", &key[8..]),
    ] {
        let said = said(&scene, &format!("{head}\r\nconnection: close\r\n\r\n")).await;
        assert!(said.starts_with("HTTP/1.1 4"), "{said}");
    }
    let rejected = scene.app().rejected();
    let [first, second, third] = &rejected[..] else { panic!("{rejected:#?}") };
    let names = vec!["host", "authorization", "cookie", "x-own", "connection"];
    assert_eq!(shown(first), ("bad_request", "GET", "/v3/abc", names.clone()));
    assert_eq!((&*first.listener, first.peer.unwrap().to_string()), ("main", "127.0.0.1".into()));
    let hidden = "/[client credential]";
    let names_with_key = vec!["host", "[client credential]", "connection"];
    assert_eq!(shown(second), ("method_not_allowed", "TRACE", hidden, names_with_key));
    assert_eq!(shown(third), ("bad_request", "POST", hidden, names));

    scene.app().report_rejected();
    let reported = |scene: &Scene| {
        let events = scene.events();
        events.iter().filter(|event| matches!(event, Event::Rejected(_))).count()
    };
    until("they are reported", || reported(&scene) == 3).await;
    let told = format!("{rejected:?}{:?}", scene.events());
    assert!(!told.contains(CANARY) && !told.contains(&key[12..]), "{told}");
    scene.stop().await;
}

/// Fails when what the HTTP library answers by itself is not kept.
#[tokio::test]
async fn what_never_becomes_a_request_is_kept_too() {
    let scene = Scene::of(Vendor::Contentstack).await;
    let long = "x".repeat(100 * 1024);
    for (bytes, status, reason) in [
        (format!("GET / HTTP/1.1\r\nhost: localhost\r\n{CANARY} : x\r\n\r\n"), "400", "bad_head"),
        (format!("{CANARY}\r\n\r\n"), "400", "bad_head"),
        (format!("GET / HTTP/1.1\r\nx: {long}\r\n\r\n"), "431", "head_too_long"),
    ] {
        let said = said(&scene, &bytes).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{said}");
        until("it is kept", || {
            let rejected = scene.app().rejected();
            rejected.last().is_some_and(|last| last.reason == reason && last.head.is_none())
        })
        .await;
    }
    // Reset by the client, closed in the middle of a head: nothing was rejected.
    let kept = scene.app().rejected().len();
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write("GET / HT").await;
    raw.end().await;
    raw.read_to_end().await;
    assert_eq!((kept, scene.app().rejected().len()), (3, 3));
    let told = format!("{:?}", scene.app().rejected());
    assert!(!told.contains(CANARY), "{told}");
    scene.stop().await;
}

/// Fails when a body that is framed wrongly is not among them, or a refusal for another reason is.
#[tokio::test]
async fn bodies_count_and_refusals_of_the_caller_do_not() {
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let head = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let said = said(&scene, &format!("{head}0x5\r\n{CANARY}\r\n0\r\n\r\n")).await;
    assert!(said.starts_with("HTTP/1.1 400"), "{said}");
    assert_eq!(scene.call("GET", "/elsewhere").host("evil.example").send().await.status, 421);
    let rejected = scene.app().rejected();
    let [only] = &rejected[..] else { panic!("{rejected:#?}") };
    assert_eq!(shown(only), ("bad_body", "POST", "/v3/x", vec![]));
    scene.stop().await;
}
