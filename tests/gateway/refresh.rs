//! A session whose end is known is renewed before it, and nobody waits for that.

use std::time::Duration;

use doorward::emulator::{Credential, Forced, Vendor};
use tempfile::TempDir;

use crate::client::Call;
use crate::harness::{Scene, Setup, until, within, write};

/// The bearer tokens of ThoughtSpot's second API, which live 300 s and say so.
const RECIPE: &str = r#"
name = "bearer"
title = "ThoughtSpot bearer tokens"

[account]
username = { kind = "login_name" }
password = { kind = "secret" }

[[login.steps]]
name = "get a token"
method = "POST"
path = "/api/rest/2.0/auth/token/full"
json = { username = "{{username}}", password = "{{password}}" }
take.token = { json = "/token" }
take.end = { json = "/expiration_time_in_millis" }

[[login.refusals]]
when = { status = [401] }
class = "bad_secret"

[[login.refusals]]
when = { status = ["5xx"] }
class = "upstream_broken"

[session]
expires = { value = "end", unit = "epoch_milliseconds" }
refresh_ahead = "30s"

[[inject]]
header = "Authorization"
value = "Bearer {{token}}"

[[verdict]]
when = { status = [401] }
then = "expired"

[[logout.steps]]
name = "revoke it"
method = "POST"
path = "/api/rest/2.0/auth/token/revoke"
json = {}
"#;

const LOGIN: &str = "POST /api/rest/2.0/auth/token/full";
const READ: &str = "/api/rest/2.0/auth/session/user";

async fn scene() -> (Scene, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "bearer.toml", RECIPE);
    // The clock moves by minutes while requests are under way.
    let mut setup = Setup::of(Vendor::ThoughtSpot).tables("[timeouts]\nrequest = \"1h\"\n");
    setup.upstream.push_str("\nresponse_timeout = \"1h\"");
    setup.recipe = format!("recipe_file = {path:?}");
    // The clock makes great leaps here.
    setup.tables = "[timeouts]\nrequest = \"2h\"\n".to_owned();
    (setup.start().await, folder)
}

fn read(scene: &Scene) -> Call {
    scene.call("GET", READ)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Fails when the end of a session is learnt from a request that fails.
#[tokio::test]
async fn a_session_is_renewed_before_its_known_end_with_no_request_waiting() {
    let (scene, _folder) = scene().await;
    assert_eq!(read(&scene).send().await.status, 200);
    for renewal in 1..=3 {
        // The lead is 30 s and up to a fifth more.
        scene.clock.advance(seconds(263));
        assert_eq!(read(&scene).send().await.status, 200);
        assert_eq!(scene.control().counters().logins, renewal, "renewed too early");
        scene.clock.advance(seconds(7));
        until("it is renewed", || scene.control().counters().logins == renewal + 1).await;
        until("the old one is logged out", || scene.control().counters().logouts == renewal).await;
        assert_eq!(scene.control().counters().live_sessions, 1);
    }
    let counters = scene.control().counters();
    assert_eq!(counters.requests_with_dead_credential, 0);
    assert_eq!(counters.logins_with_credential, 0, "a login carried the old session");
    scene.stop().await;
}

/// Fails when a renewed session is logged out under the requests that carry it.
#[tokio::test]
async fn the_old_session_is_logged_out_after_its_last_request() {
    let (scene, _folder) = scene().await;
    assert_eq!(read(&scene).send().await.status, 200);
    let hold = scene.control().hold(READ);
    let running = read(&scene).spawn();
    within(hold.arrived(1)).await;
    scene.clock.advance(seconds(270));
    until("it is renewed", || scene.control().counters().logins == 2).await;
    let during = scene.call("POST", "/api/rest/2.0/users/search").body("{}").send().await;
    assert_eq!(during.status, 200);
    assert_eq!((scene.control().counters().logouts, hold.waiting()), (0, 1));
    hold.release();
    assert_eq!(within(running).await.unwrap().status, 200);
    until("the old one is logged out", || scene.control().counters().logouts == 1).await;
    scene.stop().await;
}

/// Fails when a renewal that failed ends the session that is still good, or is not tried again.
#[tokio::test]
async fn a_renewal_that_fails_keeps_the_session_and_is_tried_again() {
    let (scene, _folder) = scene().await;
    assert_eq!(read(&scene).send().await.status, 200);
    let broken = Forced { matching: LOGIN.to_owned(), status: Some(503), ..Forced::default() };
    scene.control().force(broken).unwrap();
    scene.clock.advance(seconds(270));
    until("the renewal has failed", || scene.control().counters().forced == 1).await;
    assert_eq!(read(&scene).send().await.status, 200);
    assert_eq!(scene.control().counters().logins, 1);
    until("it is tried again after its pause", || {
        scene.clock.advance(Duration::from_millis(1));
        scene.control().counters().logins == 2
    })
    .await;
    scene.stop().await;
}

/// Fails when a refused renewal is repeated in the background.
#[tokio::test]
async fn after_a_refused_renewal_nothing_is_sent_in_the_background() {
    let (scene, _folder) = scene().await;
    assert_eq!(read(&scene).send().await.status, 200);
    let refused =
        Forced { matching: LOGIN.to_owned(), times: 100, status: Some(401), ..Forced::default() };
    scene.control().force(refused).unwrap();
    scene.clock.advance(seconds(270));
    until("the renewal was refused", || scene.control().counters().forced == 1).await;
    // What is left of the session's life is used.
    assert_eq!(read(&scene).send().await.status, 200);
    scene.clock.advance(seconds(3600));
    for _ in 0..20 {
        assert_eq!(read(&scene).send().await.problem(), "login_refused");
    }
    assert_eq!(scene.control().counters().forced, 1);
    scene.stop().await;
}

/// Fails when a session is used beyond its known end.
#[tokio::test]
async fn a_session_is_never_used_beyond_its_known_end() {
    let (scene, _folder) = scene().await;
    assert_eq!(read(&scene).send().await.status, 200);
    let hold = scene.control().hold(LOGIN);
    scene.clock.advance(seconds(301));
    let call = read(&scene).spawn();
    within(hold.arrived(1)).await;
    hold.release();
    assert_eq!(within(call).await.unwrap().status, 200);
    assert_eq!(scene.control().counters().logins, 2);
    let reads = scene.control().requests().into_iter().filter(|record| record.target == READ);
    assert!(reads.map(|read| read.credential).all(|credential| credential == Credential::Live));
    scene.stop().await;
}
