//! A long upload costs nothing while nobody wants it: the upstream is asked first, and so is the
//! client that asks.

use std::time::Duration;

use doorward::emulator::Vendor;

use crate::client::{Protocol, Raw};
use crate::dead_session::{DEAD, body_of, dead, dead_at_first, logins};
use crate::harness::{Scene, Setup, until, within};
use crate::puppet::{Puppet, Reply};
use crate::vendors;

/// A thousand bytes are kept and no more.
const NO_FILES: &str = "[limits]\nreplay_body_bytes_max = 1000\nreplay_spill_bytes_max = 0\n";

async fn keeping_little(puppet: &Puppet) -> Scene {
    puppet.setup(Vendor::Contentstack).tables(NO_FILES).start().await
}

fn long() -> String {
    "0123456789".repeat(50_000)
}

const ASKING: &str = "PUT /v3/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                      expect: 100-continue\r\ncontent-length: 4\r\n\r\n";

const GO_ON: &str = "HTTP/1.1 100 Continue\r\n\r\n";

async fn asking(scene: &Scene) -> Raw {
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write(ASKING).await;
    raw
}

/// Fails when a body that cannot be kept is sent before the upstream has said what it thinks of the
/// session, or counts as sent when it was not.
#[tokio::test]
async fn a_dead_session_costs_a_long_upload_no_byte_and_is_replayed_whole() {
    let puppet = dead_at_first(0).await;
    puppet.answer_expecting(dead());
    let scene = keeping_little(&puppet).await;
    let answer = scene.call("PUT", "/v3/x").body(long()).send().await;
    assert_eq!(answer.text(), r#"{"ok":true}"#);
    assert_eq!((puppet.expecting().len(), logins(&puppet)), (1, 2));
    let calls = puppet.calls();
    assert_eq!(calls.len(), 1);
    assert!(body_of(&calls[0]) == long());
    // The connection on which the body was announced and never came is closed.
    let mut broken_off = puppet.broken_off.clone();
    within(broken_off.wait_for(|count| *count == 1)).await.unwrap();
}

/// Fails when the upstream's word is not heard.
#[tokio::test]
async fn a_long_upload_goes_on_when_the_upstream_wants_it() {
    let puppet = dead_at_first(0).await;
    puppet.answer_expecting(Reply::go_on());
    let scene = keeping_little(&puppet).await;
    assert_eq!(scene.call("PUT", "/v3/x").body(long()).send().await.status, 200);
    assert_eq!((puppet.expecting().len(), logins(&puppet)), (1, 1));
    assert!(body_of(&puppet.calls()[0]) == long());
}

/// Fails when a body that was sent is sent again in part, or the first answer is lost.
#[tokio::test]
async fn a_long_upload_that_was_wanted_and_then_refused_gets_the_first_answer_with_the_reason() {
    let puppet = dead_at_first(1).await;
    puppet.answer_expecting(Reply::go_on());
    let scene = keeping_little(&puppet).await;
    let answer = scene.call("PUT", "/v3/x").body(long()).send().await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (401, DEAD));
    assert_eq!(answer.one("doorward-replay"), "body_too_large");
    assert_eq!(puppet.calls().len(), 1);
}

/// Fails when an upstream that does not know the question fails the request, or is told twice.
#[tokio::test]
async fn an_upstream_that_cannot_be_asked_is_not_asked_again() {
    let puppet = dead_at_first(0).await;
    let refusal = "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n";
    puppet.answer_expecting(Reply::close(refusal));
    let scene = keeping_little(&puppet).await;
    let answer = scene.call("PUT", "/v3/x").body(long()).send().await;
    assert_eq!(answer.text(), r#"{"ok":true}"#);
    let calls = puppet.calls();
    assert_eq!((calls.len(), puppet.expecting().len(), logins(&puppet)), (1, 1, 1));
    assert!(body_of(&calls[0]) == long() && !calls[0].contains("expect:"));
}

const CHUNKED: &str = "PUT /v3/x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n\
                       4\r\nbody\r\n0\r\n\r\n";

/// Fails when every body of unknown length pays for an upstream that refuses to be asked.
#[tokio::test]
async fn an_upstream_that_cannot_be_asked_is_not_asked_about_bodies_that_may_be_short() {
    let puppet = dead_at_first(0).await;
    let refusal = "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n";
    puppet.answer_expecting(Reply::close(refusal));
    let scene = keeping_little(&puppet).await;
    // One connection is one core, which is what remembers.
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write(CHUNKED).await;
    raw.read_to(r#"{"ok":true}"#).await;
    raw.write(CHUNKED.replace("/v3/x", "/v3/y")).await;
    puppet.arrived(3).await;
    assert_eq!(puppet.expecting().len(), 1, "{:?}", puppet.expecting());
}

/// Waits until the upstream is asked, and moves the clock until `waited_for`.
async fn silence(scene: &Scene, puppet: &Puppet, waited_for: impl Future<Output = ()>) {
    until("the upstream is asked", || !puppet.expecting().is_empty()).await;
    assert_eq!((puppet.bodies_begun(), puppet.calls().len()), (0, 0));
    let moving = async {
        loop {
            scene.clock.advance(Duration::from_millis(100));
            // The gateway gets on with its work meanwhile.
            Raw::try_connect(scene.door()).await.unwrap();
        }
    };
    within(async {
        tokio::select! {
            () = waited_for => {}
            () = moving => {}
        }
    })
    .await;
}

/// Waits that no silence of a test outlasts.
async fn patient(puppet: &Puppet, tables: &str) -> Scene {
    let mut setup = puppet.setup(Vendor::Contentstack).tables(tables);
    setup.upstream.push_str("\nresponse_timeout = \"24h\"");
    setup.tables("[timeouts]\nrequest = \"24h\"\n").start().await
}

/// Fails when an upstream that says nothing is waited for without end, or not at all.
#[tokio::test]
async fn an_upstream_that_says_nothing_gets_the_body_after_a_second() {
    let puppet = dead_at_first(0).await;
    let scene = patient(&puppet, NO_FILES).await;
    let answering = scene.call("PUT", "/v3/x").body(long()).spawn();
    silence(&scene, &puppet, puppet.body_begun(1)).await;
    let answer = answering.await.unwrap();
    assert_eq!(answer.text(), r#"{"ok":true}"#);
    assert!(body_of(&puppet.calls()[0]) == long());
}

/// Fails when every body of unknown length pays for an upstream that never says anything.
#[tokio::test]
async fn an_upstream_that_said_nothing_is_not_asked_about_bodies_that_may_be_short() {
    let puppet = dead_at_first(0).await;
    let scene = patient(&puppet, NO_FILES).await;
    // One connection is one core, which is what remembers.
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write(CHUNKED).await;
    silence(&scene, &puppet, async { _ = raw.read_to(r#"{"ok":true}"#).await }).await;
    raw.write(CHUNKED.replace("/v3/x", "/v3/y")).await;
    puppet.arrived(3).await;
    let calls = puppet.calls();
    assert!(calls[1].starts_with("PUT /v3/y ") && !calls[1].contains("expect:"), "{calls:?}");
}

/// Fails when a client is told to go on before the upstream has had its say.
#[tokio::test]
async fn a_client_that_asks_is_told_to_go_on_by_the_upstream() {
    let puppet = dead_at_first(0).await;
    let scene = patient(&puppet, "").await;
    let mut raw = asking(&scene).await;
    silence(&scene, &puppet, async { _ = raw.read_to(GO_ON).await }).await;
    raw.write("body").await;
    let answer = raw.read_to_end().await;
    assert!(answer.ends_with(r#"{"ok":true}"#), "{answer}");
    assert_eq!(body_of(&puppet.calls()[0]), "body");
}

/// Fails when a client that waits for leave sends its body into a refused login.
#[tokio::test]
async fn a_client_that_asks_is_not_told_to_go_on_without_a_session() {
    let puppet = Puppet::start(|_| dead()).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let answer = asking(&scene).await.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("login_refused"), "{answer}");
    assert!(!answer.contains("100 Continue"), "{answer}");
}

/// Fails when the body of a client that asks is taken although the upstream does not want it, or
/// when the upstream's connection waits for that body for ever.
#[tokio::test]
async fn a_client_that_asks_and_is_refused_keeps_its_body() {
    let puppet = dead_at_first(0).await;
    let refused = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig";
    puppet.answer_expecting(Reply::keep(refused));
    let scene = puppet.scene(Vendor::Contentstack).await;
    let answer = asking(&scene).await.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("big"), "{answer}");
    let mut broken_off = puppet.broken_off.clone();
    within(broken_off.wait_for(|count| *count == 1)).await.unwrap();
    assert!(puppet.calls().is_empty());
}

/// Fails when a client that asks is told to go on by a dead session.
#[tokio::test]
async fn a_client_that_asks_sends_its_body_once_to_the_living_session() {
    let puppet = dead_at_first(0).await;
    puppet.answer_expecting(dead());
    puppet.answer_expecting(Reply::go_on());
    let scene = keeping_little(&puppet).await;
    let mut raw = asking(&scene).await;
    raw.read_to(GO_ON).await;
    assert_eq!((logins(&puppet), puppet.expecting().len()), (2, 2));
    raw.write("body").await;
    let answer = raw.read_to_end().await;
    assert!(answer.ends_with(r#"{"ok":true}"#), "{answer}");
    assert_eq!(puppet.calls().len(), 1);
}

/// Fails when HTTP/2 upstreams, whose leave is not heard, are waited for; or when clients that
/// speak HTTP/2 are left waiting.
#[tokio::test]
async fn nobody_waits_for_leave_that_http_2_does_not_show() {
    for http2 in ["never", "always"] {
        let mut setup = Setup::of(Vendor::Contentstack);
        setup.upstream.push_str(&format!("\nhttp2 = {http2:?}"));
        let scene = setup.tables(NO_FILES).start().await;
        for (number, protocol) in [(1, Protocol::Http1), (2, Protocol::Http2)] {
            let write = vendors::write(&scene, number).header("expect", "100-continue");
            let answer = write.send_by(protocol).await;
            assert!(answer.status.is_success(), "{http2} {protocol:?}: {answer:?}");
        }
        assert_eq!(scene.control().counters().duplicate_writes, 0);
        scene.stop().await;
    }
}
