//! One replay, never half, never after the client has seen something, and the first answer whole
//! where there is none.

use std::time::Duration;

use doorward::emulator::Vendor;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::client::{Answer, Call, Raw};
use crate::dead_session::{DEAD, dead, dead_at_first, logins};
use crate::harness::{Scene, Setup, within};
use crate::puppet::{Puppet, Reply};
use crate::vendors;

/// Fails when an answer whose head has gone to the client is followed by a second sending.
#[tokio::test]
async fn nothing_is_sent_again_after_the_first_byte_of_an_answer() {
    let half =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\nhalf\n";
    let puppet = Puppet::logged_in(move |_| Reply::close(half)).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write("PUT /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\nbody").await;
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("half\n"), "{answer}");
    assert_eq!((puppet.calls().len(), logins(&puppet)), (1, 1));
}

/// Fails when an answer that looks like the end of a session leads to a replay although a part of
/// another answer has gone out on the same connection, or when the two are mixed up.
#[tokio::test]
async fn a_client_sees_one_answer_for_one_request() {
    let puppet = dead_at_first(1).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    let call = "PUT /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n";
    raw.write(format!("{call}\r\nbody{call}connection: close\r\n\r\nlast")).await;
    let answer = raw.read_to_end().await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert_eq!(answer.matches(r#"{"ok":true}"#).count(), 2, "{answer}");
    assert_eq!((puppet.calls().len(), logins(&puppet)), (3, 2));
}

const UPLOAD_BYTES: usize = 8 << 20;

/// A client that reads nothing before it has sent everything, or cannot send more.
async fn obstinate(scene: &Scene) -> String {
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    let head = format!(
        "PUT /v3/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-length: {UPLOAD_BYTES}\r\n\r\n"
    );
    raw.write(head).await;
    let piece = vec![b'x'; 64 * 1024];
    for _ in 0..UPLOAD_BYTES / piece.len() {
        raw.write(&piece).await;
    }
    raw.read_to_end().await
}

/// Defect 11. Fails when a first answer that comes in the middle of an upload is lost because the
/// rest of the upload is not taken: the client's connection is reset, and the answer with it.
#[tokio::test]
async fn a_first_answer_in_the_middle_of_an_upload_reaches_the_client_whole() {
    let closed = format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{DEAD}",
        DEAD.len()
    );
    for early in [dead(), Reply::close(closed)] {
        let puppet = dead_at_first(0).await;
        puppet.answer_expecting(Reply::go_on());
        puppet.answer_early(early);
        let tables = "[limits]\nreplay_body_bytes_max = 1000\nreplay_spill_bytes_max = 0\n";
        let scene = puppet.setup(Vendor::Contentstack).tables(tables).start().await;
        let answer = within(obstinate(&scene)).await;
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.ends_with(DEAD), "{answer}");
        assert!(answer.contains("doorward-replay: body_too_large\r\n"), "{answer}");
        assert_eq!(logins(&puppet), 1);
    }
}

/// Long writes, each of its own.
fn long_write(scene: &Scene, number: usize) -> Call {
    let title = format!("{number:03}{}", "x".repeat(20_000));
    let entries = scene.call("POST", "/v3/content_types/page/entries");
    entries
        .header("api_key", doorward::emulator::contentstack::API_KEY)
        .json(&json!({ "entry": { "title": title } }))
}

const MANY: usize = 40;

/// Defects 3 and 4. Fails when a late answer to the older session begins a login, when its request
/// is not sent again on the newer one, or when a part of its body is lost or doubled on the way.
#[tokio::test]
async fn late_answers_to_an_older_session_are_replayed_on_the_current_one_without_a_login() {
    for memory in [100_000, 1000] {
        let tables = format!("[limits]\nreplay_body_bytes_max = {memory}\n");
        let scene = Setup::of(Vendor::Contentstack).tables(&tables).start().await;
        let control = scene.control();
        assert_eq!(vendors::read(&scene).send().await.status, 200);
        control.expire_sessions();
        control.reset_counters();
        let held = control.hold(vendors::write_line(Vendor::Contentstack));
        let writes: Vec<JoinHandle<Answer>> =
            (0..MANY).map(|number| long_write(&scene, number).spawn()).collect();
        within(held.arrived(MANY)).await;
        // Somebody else brings the next session meanwhile.
        assert_eq!(vendors::read(&scene).send().await.status, 200);
        assert_eq!(control.counters().logins, 1);
        scene.clock.advance(Duration::from_secs(2));
        held.release();
        for write in writes {
            let answer = within(write).await.unwrap();
            assert!(answer.status.is_success(), "{answer:?}");
        }
        let counters = control.counters();
        assert_eq!((counters.logins, counters.writes), (1, MANY as u64));
        assert_eq!(counters.duplicate_writes, 0);
        scene.stop().await;
    }
}
