//! A request is sent again at most once, whole, and only after its session was found dead.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doorward::emulator::Vendor;
use doorward::session::Mechanism;
use tokio::io::AsyncWriteExt;

use crate::client::Raw;
use crate::dead_session::{DEAD, body_of, dead, dead_at_first, logins};
use crate::harness::{Scene, within};
use crate::puppet::{Puppet, Reply};

async fn small_bound(puppet: &Puppet) -> Scene {
    let tables = "[limits]\nreplay_body_bytes_max = 1000\nreplay_spill_bytes_max = 0\n";
    puppet.setup(Vendor::Contentstack).tables(tables).start().await
}

/// Fails when `Replay` keeps less than it passed, or passes it in another order.
#[tokio::test]
async fn a_body_within_the_bound_is_replayed_byte_for_byte_once() {
    let puppet = dead_at_first(1).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let body: String = (0..20_000).map(|number| char::from(b'a' + (number % 26) as u8)).collect();
    let answer = scene.call("PUT", "/v3/x?a=%20b").body(body.clone()).send().await;
    assert_eq!(answer.text(), r#"{"ok":true}"#);
    let calls = puppet.calls();
    assert_eq!(calls.len(), 2);
    for call in &calls {
        assert!(call.starts_with("PUT /v3/x?a=%20b HTTP/1.1\r\n"), "{call}");
        assert!(call.contains("content-length: 20000\r\n") && body_of(call) == body);
    }
    assert_eq!(logins(&puppet), 2);
}

#[tokio::test]
async fn without_replay_the_first_answer_passes_whole() {
    let puppet = dead_at_first(1).await;
    let setup = puppet.setup(Vendor::Contentstack).without(Mechanism::Replay);
    let answer = setup.start().await.call("PUT", "/v3/x").body("four").send().await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (401, DEAD));
    assert_eq!(puppet.calls().len(), 1);
}

/// Fails when a chunked body is not kept, or is sent again with other framing.
#[tokio::test]
async fn a_chunked_body_is_replayed_as_a_chunked_body() {
    let puppet = dead_at_first(1).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write(
        "POST /v3/x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\
         trailer: x-late\r\n\r\n5\r\nfirst\r\n6\r\nsecond\r\n0\r\nx-late: 1\r\nauthtoken: x\r\n\r\n",
    )
    .await;
    raw.read_to(r#"{"ok":true}"#).await;
    let calls = puppet.calls();
    assert_eq!(calls.len(), 2);
    for call in &calls {
        let content: String =
            body_of(call).split("\r\n").skip(1).step_by(2).map(str::to_owned).collect();
        assert_eq!(content, "firstsecond", "{call}");
        assert!(!call.contains("x-late: 1"), "trailers of clients are never forwarded");
    }
}

/// Fails when a body that was not kept whole is sent again, or when the first answer is lost.
#[tokio::test]
async fn beyond_the_bound_the_first_answer_passes_whole_with_the_reason() {
    let puppet = dead_at_first(1).await;
    puppet.answer_expecting(Reply::go_on());
    puppet.answer_expecting(Reply::go_on());
    let scene = small_bound(&puppet).await;
    let answer = scene.call("POST", "/v3/x").body("x".repeat(1001)).send().await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (401, DEAD));
    assert_eq!(answer.one("doorward-replay"), "body_too_large");
    assert_eq!(answer.one("x-first"), "yes");
    assert_eq!((puppet.calls().len(), logins(&puppet)), (1, 1));
    // The session is known to be dead: the next request does not try it.
    assert_eq!(scene.call("POST", "/v3/x").body("x".repeat(1001)).send().await.status, 200);
    assert_eq!((puppet.calls().len(), logins(&puppet)), (2, 2));
}

/// Fails when the bound looks at `Content-Length` only.
#[tokio::test]
async fn a_chunked_body_beyond_the_bound_is_sent_once() {
    let puppet = dead_at_first(1).await;
    puppet.answer_expecting(Reply::go_on());
    let scene = small_bound(&puppet).await;
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    let chunk = format!("190\r\n{}\r\n", "x".repeat(400));
    let head = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    raw.write(format!("{head}{}0\r\n\r\n", chunk.repeat(3))).await;
    let answer = raw.read_to(DEAD).await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("body_too_large"), "{answer}");
    assert_eq!((puppet.calls().len(), body_of(&puppet.calls()[0]).len()), (1, 3 * 407 + 5));
}

/// Fails when a second sending waits for the end of the first one, or loses what is still to come.
#[tokio::test]
async fn an_early_401_while_the_body_is_still_being_sent_is_replayed_whole() {
    let puppet = dead_at_first(0).await;
    puppet.answer_early(dead());
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write("PUT /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 13\r\n\r\nhalf").await;
    // The second login proves that the early answer was understood.
    within(async {
        while logins(&puppet) < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    raw.write(" and half").await;
    raw.read_to(r#"{"ok":true}"#).await;
    // The first sending may have been finished before the second one began; it was answered with
    // 401 long ago.
    let calls = puppet.calls();
    assert!(matches!(calls.len(), 1 | 2), "{calls:?}");
    assert!(calls.iter().all(|call| body_of(call) == "half and half"), "{calls:?}");
}

/// Fails when a body that broke off is taken for a whole one, or is sent again.
#[tokio::test]
async fn a_client_that_breaks_off_its_body_aborts_the_upstream_request_and_is_not_replayed() {
    let puppet = dead_at_first(1).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    for framing in
        ["content-length: 100\r\n\r\nhalf", "transfer-encoding: chunked\r\n\r\n4\r\nhalf"]
    {
        let before = *puppet.broken_off.borrow();
        let mut raw = Raw::connect(scene.door(), scene.record()).await;
        raw.write(format!("POST /v3/x HTTP/1.1\r\nhost: localhost\r\n{framing}")).await;
        puppet.body_begun(before + 1).await;
        drop(raw);
        let mut broken_off = puppet.broken_off.clone();
        within(broken_off.wait_for(|count| *count > before)).await.unwrap();
    }
    assert!(puppet.calls().is_empty(), "{:?}", puppet.calls());
}

/// Fails when a client's bad chunk is told as the upstream's fault, or reaches the upstream.
#[tokio::test]
async fn a_bad_chunk_is_the_clients_400_and_aborts_the_upstream_request() {
    let puppet = dead_at_first(0).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    for chunk in
        ["+5\r\nfirst", "0x5\r\nfirst", "1_0\r\nfirst", "11111111111111111\r\n", "5\nfirst"]
    {
        let mut raw = Raw::connect(scene.door(), scene.record()).await;
        let head = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
        raw.write(format!("{head}4\r\ngood\r\n{chunk}")).await;
        let answer = raw.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunk:?}: {answer}");
        assert!(answer.contains("bad_body"), "{chunk:?}: {answer}");
    }
    assert!(puppet.calls().is_empty(), "{:?}", puppet.calls());
}

/// Calls the session of two calls after the first dead, which is too much to be believed; probes
/// are the test's to answer.
async fn contradicted() -> Puppet {
    let calls = AtomicUsize::new(0);
    Puppet::logged_in(move |request| match request.starts_with("GET /v3/user ") {
        true => Reply::hand_over(""),
        false if matches!(calls.fetch_add(1, Ordering::Relaxed), 1 | 2) => dead(),
        false => Reply::json("{}"),
    })
    .await
}

/// Fails when a body that broke off after an early answer is sent again: its half ends like a whole
/// one there.
#[tokio::test]
async fn a_body_that_breaks_off_while_a_probe_is_waited_for_is_not_sent_again() {
    let puppet = contradicted().await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    for expected in [200, 401] {
        assert_eq!(scene.call("GET", "/v3/x").send().await.status, expected);
    }
    // The next login comes as early as it may.
    scene.clock.advance(Duration::from_secs(1));
    puppet.answer_early(dead());
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    let head = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    raw.write(format!("{head}4\r\nhalf\r\n")).await;
    let mut probe = puppet.handed_over().await;
    let (before, mut broken_off) = (puppet.calls().len(), puppet.broken_off.clone());
    raw.write("no chunk\r\n").await;
    within(broken_off.wait_for(|count| *count > 0)).await.unwrap();
    let length = DEAD.len();
    let dead = format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{DEAD}"
    );
    within(probe.write_all(dead.as_bytes())).await.unwrap();
    drop(probe);
    let answer = raw.read_to_end().await;
    assert_eq!(puppet.calls()[before..], [] as [String; 0], "{answer}");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("bad_body"), "{answer}");
    assert_eq!(logins(&puppet), 2, "a login for half a body");
}

/// Fails when a second expiry leads to a third sending, or to an answer of our own.
#[tokio::test]
async fn a_replay_that_is_judged_expired_too_passes_whole() {
    let puppet = dead_at_first(usize::MAX).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let answer = scene.call("POST", "/v3/x").body("four").send().await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (401, DEAD));
    assert_eq!((puppet.calls().len(), logins(&puppet)), (2, 2));
}

/// Fails when a request whose connection broke after it was sent is sent again.
#[tokio::test]
async fn a_write_whose_answer_is_lost_is_not_sent_again() {
    let puppet = Puppet::logged_in(|_| Reply::close("")).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let answer = scene.call("POST", "/v3/x").body("four").send().await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (502, "upstream_broken"));
    assert_eq!((puppet.calls().len(), logins(&puppet)), (1, 1));
}

const UPLOAD: &str = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                      content-length: 3\r\n\r\nab";

/// Fails when the wait for an answer begins before the body has ended.
#[tokio::test]
async fn a_body_that_is_still_coming_in_takes_as_long_as_it_takes() {
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write(UPLOAD).await;
    puppet.body_begun(1).await;
    scene.clock.advance(Duration::from_secs(61));
    raw.write("c").await;
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(puppet.calls().len(), 1);
}

/// Fails when a client that stops sending is waited for without end, or told as the upstream's
/// fault.
#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_its_body_gets_408() {
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write(UPLOAD).await;
    puppet.body_begun(1).await;
    let answering = tokio::spawn(raw.read_to_end());
    let moving = async {
        while !answering.is_finished() {
            scene.clock.advance(Duration::from_secs(61));
            tokio::task::yield_now().await;
        }
    };
    within(moving).await;
    let answer = answering.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("body_timeout"), "{answer}");
    assert!(puppet.calls().is_empty(), "{:?}", puppet.calls());
}
