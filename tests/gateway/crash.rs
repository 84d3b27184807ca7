//! What a crash leaves in the ledger: nothing that is good for one use is used twice, only whole
//! sessions are logged out, and nothing is forgotten as long as it can be open.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use doorward::emulator::Vendor;
use doorward::secret::SecretText;
use doorward::state::{Store, Table};
use doorward::telemetry::Event;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::harness::{Scene, Setup, until, within, write};
use crate::puppet::{Puppet, Reply};
use crate::restart::{keep_state, start_on_kept};
use crate::vendors::read;

const LOG_OUT: &str = "[state]\npath = \"state\"\nkey = { file = \"state_key\" }\n";
const KEEP: &str =
    "[state]\npath = \"state\"\nkey = { file = \"state_key\" }\nat_stop = \"keep\"\n";

const DAY: Duration = Duration::from_secs(24 * 3600);

const PAIRS: &str = include_str!("../fixtures/pairs.toml");

const STEPS: &str = include_str!("../fixtures/steps.toml");

const ROLLS: &str = r#"
name = "rolls"
title = "A cookie that changes with every answer"
account = { username = { kind = "login_name" }, password = { kind = "secret" } }
probe = { method = "GET", path = "/me", alive = { status = [200] } }
session = { cookies = "rolling" }
inject = [{ cookies = true }]
verdict = [{ when = { status = [401] }, then = "expired" }]

[[login.steps]]
name = "log in"
method = "POST"
path = "/login"
json = { user = "{{username}}", password = "{{password}}" }

[[logout.steps]]
name = "log out"
method = "POST"
path = "/logout"
"#;

async fn scene(recipe: &str, puppet: &Puppet) -> (Scene, TempDir) {
    scene_with(KEEP, recipe, puppet).await
}

async fn scene_with(tables: &str, recipe: &str, puppet: &Puppet) -> (Scene, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "recipe.toml", recipe);
    let mut setup = puppet.setup(Vendor::Contentstack).tables(tables);
    setup.recipe = format!("recipe_file = {path:?}");
    (setup.start().await, folder)
}

fn sent(puppet: &Puppet, line: &str) -> usize {
    puppet.requests().iter().filter(|request| request.starts_with(line)).count()
}

fn lost_answers(scene: &Scene) -> usize {
    scene.events().iter().filter(|event| matches!(event, Event::AnswerLost { .. })).count()
}

/// The answer to a login or a refresh.
fn pair(number: u32) -> String {
    let (access, refresh) = (format!("access-{number:020}"), format!("fresh-{number:020}"));
    format!(r#"{{"access":"{access}","refresh":"{refresh}","expires_in":300}}"#)
}

/// Fails when a refresh token that was sent before a crash is sent once more, or when the lost
/// answer is not told.
#[tokio::test]
async fn a_refresh_token_is_sent_once_also_over_a_crash() {
    let logins = Arc::new(AtomicU32::new(0));
    let puppet = Puppet::start({
        let logins = Arc::clone(&logins);
        move |request| match request.split(' ').nth(1).unwrap_or_default() {
            "/login" => Reply::json(&pair(logins.fetch_add(1, Ordering::Relaxed) + 1)),
            "/refresh" => Reply::hand_over(Vec::new()),
            _ => Reply::json("{}"),
        }
    })
    .await;
    let (mut scene, _folder) = scene(PAIRS, &puppet).await;
    assert_eq!(scene.call("GET", "/x").send().await.status, 200);
    scene.clock.advance(Duration::from_secs(275));
    let refreshing = puppet.handed_over().await;
    keep_state(&scene);
    drop(refreshing);
    until("the first run logs in instead", || logins.load(Ordering::Relaxed) == 2).await;
    start_on_kept(&mut scene).await;
    until("the lost answer is told", || lost_answers(&scene) == 1).await;
    assert_eq!(scene.call("GET", "/x").send().await.status, 200);
    scene.clock.advance(Duration::from_secs(15));
    until("the renewal is a login", || logins.load(Ordering::Relaxed) == 3).await;
    scene.stop().await;
    assert_eq!(sent(&puppet, "POST /refresh"), 1);
}

/// Fails when what the first step of a login gave is logged out at a start, before the last step
/// has proved the secret; or when the login is not counted as lost.
#[tokio::test]
async fn what_half_a_login_gave_is_not_used_after_a_crash() {
    let puppet = Puppet::start(|request| match request.split(' ').nth(1).unwrap_or_default() {
        "/token" => Reply::json(r#"{"access":"access-00000000000000000001"}"#),
        "/confirm" => Reply::hand_over(Vec::new()),
        _ => Reply::json("{}"),
    })
    .await;
    let (mut scene, _folder) = scene(STEPS, &puppet).await;
    let waiting = scene.call("GET", "/x").spawn();
    let confirming = puppet.handed_over().await;
    keep_state(&scene);
    waiting.abort();
    drop(confirming);
    within(scene.take_app().stop()).await;
    let (logouts, told) = (sent(&puppet, "POST /logout"), lost_answers(&scene));
    scene.start_again();
    start_on_kept(&mut scene).await;
    until("the lost answer is told", || lost_answers(&scene) == told + 1).await;
    scene.stop().await;
    assert_eq!(sent(&puppet, "POST /logout"), logouts);
}

/// Fails when what the answer to its first question changes of a session of an earlier run is lost:
/// then all that later answers change of it is lost, too.
#[tokio::test]
async fn a_session_that_rolls_while_it_is_asked_after_is_followed() {
    let versions = Arc::new(AtomicU32::new(0));
    let puppet = Puppet::start(move |_| {
        let version = versions.fetch_add(1, Ordering::Relaxed) + 1;
        Reply::keep(format!(
            "HTTP/1.1 200 OK\r\nset-cookie: sid={version}; Path=/\r\ncontent-length: 0\r\n\r\n"
        ))
    })
    .await;
    let (mut scene, _folder) = scene(ROLLS, &puppet).await;
    assert_eq!(scene.call("GET", "/x").send().await.status, 200);
    within(scene.take_app().stop()).await;
    scene.start_again();
    for _ in 0..2 {
        assert_eq!(scene.call("GET", "/x").send().await.status, 200);
    }
    within(scene.take_app().stop()).await;
    scene.start_again();
    assert_eq!(scene.call("GET", "/x").send().await.status, 200);
    let requests = puppet.requests();
    let carried = requests.iter().map(|request| {
        let cookie = request.lines().find_map(|line| line.strip_prefix("cookie: sid="));
        cookie.and_then(|version| version.parse::<u32>().ok()).unwrap_or_default()
    });
    assert_eq!(carried.collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6], "{requests:?}");
    scene.stop().await;
}

/// Fails when what a refresh gave to a session that was being logged out is not in the ledger: a
/// logout that is not confirmed is then forgotten.
#[tokio::test]
async fn what_a_refresh_gave_too_late_is_closed_at_the_next_start() {
    for logout_ends_first in [true, false] {
        let puppet = Puppet::start(|request| match request.split(' ').nth(1).unwrap_or_default() {
            "/login" => Reply::json(&pair(1)),
            "/refresh" => Reply::hand_over(Vec::new()),
            "/logout" if request.contains("00001") => Reply::hand_over(Vec::new()),
            "/logout" => Reply::keep("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"),
            _ => Reply::json("{}"),
        })
        .await;
        let (mut scene, _folder) = scene_with(LOG_OUT, PAIRS, &puppet).await;
        assert_eq!(scene.call("GET", "/x").send().await.status, 200);
        scene.clock.advance(Duration::from_secs(275));
        let mut refreshing = puppet.handed_over().await;
        let stopping = tokio::spawn(scene.take_app().stop());
        let mut closing = puppet.handed_over().await;
        let is_over = || scene.events().iter().any(|event| matches!(event, Event::Logout { .. }));
        let (given, closed) = (whole(&pair(2)), whole("{}"));
        if logout_ends_first {
            closing.write_all(&closed).await.unwrap();
            until("the first logout is over", is_over).await;
            refreshing.write_all(&given).await.unwrap();
        } else {
            refreshing.write_all(&given).await.unwrap();
            until("the second logout is over", is_over).await;
            closing.write_all(&closed).await.unwrap();
        }
        within(stopping).await.unwrap();
        assert_eq!(sent(&puppet, "POST /logout"), 2);
        scene.start_again();
        until("what the refresh gave is closed", || sent(&puppet, "POST /logout") == 3).await;
        scene.stop().await;
    }
}

/// An answer after which the connection is closed.
fn whole(body: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Fails when a session that is in use is forgotten because its login was long ago.
#[tokio::test]
async fn a_session_in_use_is_not_forgotten_however_old_it_is() {
    let tables = format!("{KEEP}[timeouts]\nsession_idle = \"24h\"\n");
    let mut scene = Setup::of(Vendor::Contentstack).tables(&tables).start().await;
    assert_eq!(read(&scene).send().await.status, 200);
    for _ in 0..9 {
        scene.clock.advance(Duration::from_secs(23 * 3600));
        assert_eq!(read(&scene).send().await.status, 200);
    }
    within(scene.take_app().stop()).await;
    scene.start_again();
    assert_eq!(read(&scene).send().await.status, 200);
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.live_sessions), (1, 1));
}

/// Fails when the session of an account that is configured no more is forgotten at once, or never.
#[tokio::test]
async fn the_session_of_a_removed_account_is_forgotten_after_its_time() {
    let mut scene = Setup::of(Vendor::Contentstack).tables(KEEP).start().await;
    assert_eq!(read(&scene).send().await.status, 200);
    within(scene.take_app().stop()).await;
    let path = scene.folder.path().join("doorward.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("accounts.user]", "accounts.other]");
    std::fs::write(&path, text.replace("account = \"user\"", "account = \"other\"")).unwrap();
    for (later, left) in [(8 * DAY, 1), (6 * DAY, 1), (2 * DAY, 0)] {
        scene.clock.advance(later);
        scene.start_again();
        within(scene.take_app().stop()).await;
        assert_eq!(sessions_kept(&scene).await, left);
    }
}

async fn sessions_kept(scene: &Scene) -> usize {
    let key = SecretText::from("the key that seals the state of a test".to_owned());
    let folder = scene.folder.path().join("state");
    let opened = Store::open(&folder, &key, scene.clock.wall()).unwrap();
    opened.store.close().await;
    opened.records.iter().filter(|(table, ..)| *table == Table::Sessions).count()
}
