//! Sessions whose cookies change with later answers, and what may go wrong with their versions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use doorward::emulator::Vendor;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::harness::{Scene, until, within, write};
use crate::lifetimes::{probes, with_session};
use crate::puppet::{Puppet, Reply};
use crate::vendors::read;

const RECIPE: &str = r#"
name = "rolling"
title = "A cookie that changes"
account.username = { kind = "login_name" }
account.password = { kind = "secret" }
verdict = [{ when = { status = [401] }, then = "expired" }]
inject = [{ cookies = true }]
[[login.steps]]
name = "log in"
method = "POST"
path = "/login"
form = { username = "{{username}}", password = "{{password}}" }
[[logout.steps]]
name = "log out"
method = "POST"
path = "/logout"
[session]
cookies = "rolling"
"#;

const UNAUTHORIZED: &str = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";

/// An answer that sets a cookie.
fn sets(cookie: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nset-cookie: {cookie}; Path=/\r\ncontent-length: 0\r\n\r\n")
}

/// An upstream that counts its logins and answers everything else as `script` says; with further
/// lines of the recipe's table `[session]`.
async fn scene(
    session: &str,
    script: impl Fn(&str) -> Reply + Send + Sync + 'static,
) -> (Scene, Arc<AtomicU32>, Puppet, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "rolling.toml", &format!("{RECIPE}{session}\n"));
    let logins = Arc::new(AtomicU32::new(0));
    let puppet = Puppet::start({
        let logins = Arc::clone(&logins);
        move |request| match request.split(' ').nth(1).unwrap_or_default() {
            "/login" => {
                let login = logins.fetch_add(1, Ordering::Relaxed) + 1;
                Reply::keep(sets(&format!("sid=session-{login}-version-1")))
            }
            "/logout" => Reply::json("{}"),
            target => script(target),
        }
    })
    .await;
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.recipe = format!("recipe_file = {path:?}");
    (setup.start().await, logins, puppet, folder)
}

/// Fails when the logout sends the version that was replaced, and not the newest.
#[tokio::test]
async fn a_session_that_rolled_after_it_was_replaced_is_logged_out_with_what_it_has_now() {
    let (scene, logins, puppet, _folder) = scene("max_age = \"20s\"", |target| match target {
        "/slow" => Reply::hand_over(Vec::new()),
        _ => Reply::json("{}"),
    })
    .await;
    let slow = scene.call("GET", "/slow").spawn();
    let mut slowly = puppet.handed_over().await;
    scene.clock.advance(Duration::from_secs(15));
    until("it is renewed", || logins.load(Ordering::Relaxed) == 2).await;
    assert_eq!(scene.call("GET", "/x").send().await.status, 200);
    slowly.write_all(sets("sid=session-1-version-2").as_bytes()).await.unwrap();
    assert_eq!(within(slow).await.unwrap().status, 200);
    let logout = || {
        let requests = puppet.requests();
        requests.into_iter().find(|request| request.starts_with("POST /logout"))
    };
    until("the old one is logged out", || logout().is_some()).await;
    assert!(logout().unwrap().contains("session-1-version-2"), "{:?}", logout());
    scene.stop().await;
}

/// Fails when the doubt about a session is forgotten with its version.
#[tokio::test]
async fn an_endpoint_that_calls_every_session_dead_costs_one_login_where_cookies_roll() {
    let answers = AtomicU32::new(0);
    let (scene, logins, _puppet, _folder) = scene("", move |target| match target {
        "/bad" => Reply::keep(UNAUTHORIZED),
        _ => Reply::keep(sets(&format!("node={}", answers.fetch_add(1, Ordering::Relaxed)))),
    })
    .await;
    for _ in 0..5 {
        assert_eq!(scene.call("GET", "/x").send().await.status, 200);
        assert_eq!(scene.call("GET", "/bad").send().await.status, 401);
    }
    assert_eq!(logins.load(Ordering::Relaxed), 2, "one more, to find out");
    scene.stop().await;
}

/// Fails when the cookie that an answer to a probe brings is not taken.
#[tokio::test]
async fn a_cookie_that_rotates_with_the_probes_answer_is_followed() {
    let (scene, _folder) = with_session(
        Vendor::ThoughtSpot,
        "idle = \"3h\"",
        "idle = \"3h\"\nkeep_alive = \"20h\"",
        "[timeouts]\nsession_idle = \"24h\"\n",
    )
    .await;
    scene.control().switch("rotate_every", json!(1)).unwrap();
    assert_eq!(read(&scene).send().await.status, 200);
    for asked in 1..=4 {
        scene.clock.advance(Duration::from_secs(135 * 60));
        until("it is found alive", || probes(&scene) >= asked).await;
    }
    assert_eq!(read(&scene).send().await.status, 200);
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.requests_with_dead_credential), (1, 0));
    scene.stop().await;
}
