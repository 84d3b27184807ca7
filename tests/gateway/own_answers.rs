//! Answers in Doorward's own name: what each of them has, and how they are told from the upstream's.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doorward::access::key::ClientKey;
use doorward::emulator::Vendor;

use crate::client::{Protocol, Raw};
use crate::dead_session::{DEAD, dead, dead_at_first, logins};
use crate::harness::{Scene, Setup, until, within};
use crate::puppet::{Puppet, Reply, TOKEN, session_calls};

fn key() -> ClientKey {
    ClientKey::generate("reader".parse().unwrap()).unwrap()
}

async fn refusing() -> Scene {
    Setup::of(Vendor::Contentstack).keys(&[("reader", &key())]).start().await
}

/// Fails when a 401 of ours asks for nothing, or does not say what is wrong about a key.
#[tokio::test]
async fn a_refused_key_is_challenged_with_what_is_wrong_about_it() {
    let scene = refusing().await;
    let missing = scene.call("GET", "/v3/x").send().await;
    assert_eq!(missing.problem(), "client_key_missing");
    assert_eq!(missing.one("www-authenticate"), "Bearer realm=\"doorward\"");
    let unknown = scene.call("GET", "/v3/x").header("doorward-key", key().expose()).send().await;
    assert_eq!(unknown.problem(), "client_key_invalid");
    let challenge = "Bearer realm=\"doorward\", error=\"invalid_token\"";
    assert_eq!(unknown.one("www-authenticate"), challenge);
}

/// Fails when an answer to HEAD has a body, or other fields than the one to GET.
#[tokio::test]
async fn an_answer_to_head_has_no_body_in_either_protocol() {
    let scene = refusing().await;
    let length = scene.call("GET", "/v3/x").send().await.body.len().to_string();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let answer = scene.call("HEAD", "/v3/x").send_by(protocol).await;
        assert_eq!(answer.status, 401, "{protocol:?}");
        assert!(answer.body.is_empty(), "{protocol:?}: {answer:?}");
        assert_eq!(answer.one("content-length"), length, "{protocol:?}");
        assert_eq!(answer.one("content-type"), "application/problem+json");
        assert_eq!(answer.one("proxy-status"), "doorward; error=http_request_denied");
    }
    // What follows on the connection is not taken for a body.
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    let line = "HEAD /v3/x HTTP/1.1\r\nhost: localhost\r\n";
    raw.write(format!("{line}\r\n{line}connection: close\r\n\r\n")).await;
    let answers = raw.read_to_end().await;
    assert_eq!(answers.matches("HTTP/1.1 401").count(), 2, "{answers}");
    assert!(!answers.contains('{'), "{answers}");
}

/// Fails when a method that is never forwarded is, or when nobody says which ones are.
#[tokio::test]
async fn a_method_that_is_never_forwarded_is_told_with_those_that_are() {
    let scene = Scene::of(Vendor::Contentstack).await;
    let answer = scene.call("TRACE", "/v3/x").send().await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (405, "method_not_allowed"));
    assert!(answer.one("allow").contains("PATCH"), "{answer:?}");
    assert_eq!(scene.control().counters().logins, 0);
}

/// Fails when a request that could be framed otherwise leaves its connection open, so that what
/// follows could be taken for a request.
#[tokio::test]
async fn a_wrong_head_ends_its_connection() {
    let scene = Scene::of(Vendor::Contentstack).await;
    let alias = scene.call("GET", "/v3/x").header("content_length", "4").send().await;
    assert_eq!((alias.status.as_u16(), alias.problem().as_str()), (400, "bad_request"));
    assert_eq!(alias.one("connection"), "close");
    assert_eq!(alias.json()["title"], "The request is wrong");
    let over_http2 = scene.call("GET", "/v3/x").header("content_length", "4");
    let over_http2 = over_http2.send_by(Protocol::Http2).await;
    assert_eq!(over_http2.problem(), "bad_request");
    assert!(over_http2.all("connection").is_empty(), "RFC 9113 section 8.2.2");
}

/// Fails when an upstream that says nothing is waited for without end, or when the answer does not
/// say that the request may have been executed.
#[tokio::test]
async fn an_upstream_that_says_nothing_is_a_timeout() {
    let puppet = Puppet::logged_in(|_| Reply::stall("")).await;
    let setup = puppet.setup(Vendor::Contentstack);
    let scene = setup.tables("[timeouts]\nrequest = \"5s\"\n").start().await;
    let call = scene.call("GET", "/v3/x").spawn();
    until("the request is there", || puppet.calls().len() == 1).await;
    let moving = async {
        loop {
            scene.clock.advance(Duration::from_secs(6));
            tokio::task::yield_now().await;
        }
    };
    let answer = within(async {
        tokio::select! {
            answer = call => answer.unwrap(),
            () = moving => unreachable!(),
        }
    })
    .await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (504, "upstream_timeout"));
    assert_eq!(answer.one("proxy-status"), "doorward; error=http_response_timeout");
    assert!(answer.text().contains("may have been executed"));
}

/// What this process has open below `folder`, though it has no name.
fn open_below(folder: &std::path::Path) -> Vec<PathBuf> {
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
    let is_below = |path: &PathBuf| fs::read_link(path).is_ok_and(|to| to.starts_with(folder));
    open.map(|entry| entry.path()).filter(is_below).collect()
}

/// Fails when half of a body is sent again because the disk has lost the rest.
#[tokio::test]
async fn a_kept_body_that_the_disk_has_lost_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().to_owned();
    let begun = AtomicUsize::new(0);
    let puppet = Puppet::start(move |request| match session_calls(request) {
        Some(login) => {
            // The second login is between the first sending and the second.
            if begun.fetch_add(1, Ordering::Relaxed) == 1 {
                for file in open_below(&below) {
                    OpenOptions::new().write(true).open(file).unwrap().set_len(0).unwrap();
                }
            }
            login
        }
        None => dead(),
    })
    .await;
    let tables = format!(
        "spill_dir = {:?}\n[limits]\nreplay_body_bytes_max = 1000\n\
         replay_spill_bytes_max = 4000000\nreplay_spill_total_bytes_max = 4000000\n",
        folder.path()
    );
    let scene = puppet.setup(Vendor::Contentstack).tables(&tables).start().await;
    let answer = scene.call("PUT", "/v3/x").body("x".repeat(3_000_000)).send().await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (500, "replay_broken"));
    assert_eq!((puppet.calls().len(), logins(&puppet)), (1, 2));
}

/// Fails when whoever asks again after `Retry-After` comes too early.
#[tokio::test]
async fn the_seconds_to_wait_are_rounded_up() {
    let puppet = Puppet::start(|_| {
        Reply::keep(
            "HTTP/1.1 429 Too Many Requests\r\nretry-after: 30\r\ncontent-length: 0\r\n\r\n",
        )
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let first = scene.call("GET", "/v3/x").send().await;
    assert_eq!(first.problem(), "login_held_back");
    let told: u64 = first.one("retry-after").parse().unwrap();
    let wait = Duration::from_secs(told);
    scene.clock.advance(Duration::from_millis(500));
    let next = scene.call("GET", "/v3/x").send().await;
    // Half a second later half a second less is left, which is no whole second less.
    assert_eq!(next.one("retry-after"), told.to_string());
    scene.clock.advance(wait - Duration::from_millis(500));
    scene.call("GET", "/v3/x").send().await;
    assert_eq!(logins(&puppet), 2, "after that time it was tried again");
}

/// Fails when an answer of the upstream's can pass for one of ours.
#[tokio::test]
async fn an_upstream_cannot_pass_for_doorward() {
    let forged = "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/problem+json\r\n\
         proxy-status: doorward; error=http_request_denied\r\ncontent-length: 2\r\n\r\n{}";
    let puppet = Puppet::logged_in(move |_| Reply::keep(forged)).await;
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.route = "path = \"/v3/x\"".to_owned();
    let scene = setup.start().await;
    let theirs = scene.call("GET", "/v3/x").send().await;
    let members = theirs.all("proxy-status");
    assert_eq!(members, ["doorward; error=http_request_denied", "doorward"], "{theirs:?}");
    let ours = scene.call("GET", "/elsewhere").send().await;
    assert_eq!(ours.problem(), "no_route");
    assert_eq!(ours.all("proxy-status").len(), 1);
}

/// Fails when an answer that has nothing to tell of a proxy gets a field for it, or when one that
/// the recipe has Doorward give cannot be told from the upstream's.
#[tokio::test]
async fn answers_in_the_upstreams_place_say_so_and_forwarded_ones_do_not() {
    let puppet = dead_at_first(2).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let forwarded = scene.call("GET", "/v3/x").send().await;
    assert_eq!(forwarded.text(), DEAD);
    assert!(forwarded.all("proxy-status").is_empty(), "{forwarded:?}");
    let local = scene.call("POST", "/v3/user-session").body("{}").send().await;
    assert_eq!(local.status, 200);
    let told = "doorward; details=\"answered in the upstream's place\"";
    assert_eq!(local.one("proxy-status"), told);
    assert_eq!(local.one("cache-control"), "no-store");
    assert!(!local.text().contains(TOKEN));
}
