//! Sessions end, are kept and are spread as their upstream and their use ask for.

use std::time::Duration;

use doorward::access::key::ClientKey;
use doorward::emulator::Vendor;
use doorward::telemetry::{Event, LetGo};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Scene, Setup, until, within, write as write_file};
use crate::vendors::{read, read_line, write, write_line};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Fails when a session that somebody else keeps ending is logged in again each time.
#[tokio::test]
async fn a_session_that_others_keep_ending_is_not_fought_for() {
    let scene = Scene::of(Vendor::Contentstack).await;
    for death in 1..=3 {
        assert_eq!(read(&scene).send().await.status, 200, "death {death}");
        scene.control().expire_sessions();
    }
    // Three sessions in a row died at once: the fourth login waits.
    let held = read(&scene).send().await;
    assert_eq!((held.status.as_u16(), held.problem().as_str()), (503, "login_held_back"));
    let detail = held.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("somebody else logs in with this account"), "{detail}");
    assert_eq!(held.one("retry-after"), "30");
    for _ in 0..50 {
        assert_eq!(read(&scene).send().await.problem(), "login_held_back");
    }
    assert_eq!(scene.control().counters().logins, 3);
    scene.clock.advance(seconds(30));
    assert_eq!(read(&scene).send().await.status, 200, "one more try");
    assert_eq!(scene.control().counters().logins, 4);
    // That one lives for long enough: peace.
    scene.clock.advance(seconds(120));
    assert_eq!(read(&scene).send().await.status, 200);
    for _ in 0..3 {
        scene.control().expire_sessions();
        assert_eq!(read(&scene).send().await.status, 200);
    }
    let ended = scene.stop().await;
    let displaced = |event: &&Event| matches!(event, Event::Displaced { .. });
    assert_eq!(ended.events.iter().filter(displaced).count(), 1);
}

/// Fails when a session that nobody uses is kept for ever.
#[tokio::test]
async fn a_session_that_nobody_uses_is_logged_out() {
    let scene =
        Setup::of(Vendor::Contentstack).tables("[timeouts]\nsession_idle = \"1h\"\n").start().await;
    assert_eq!(read(&scene).send().await.status, 200);
    for _ in 0..3 {
        scene.clock.advance(seconds(3000));
        assert_eq!(read(&scene).send().await.status, 200);
    }
    assert_eq!(scene.control().counters().logins, 1, "it is in use");
    scene.clock.advance(seconds(3601));
    until("it is logged out", || scene.control().counters().logouts == 1).await;
    assert_eq!(scene.control().counters().live_sessions, 0);
    assert_eq!(read(&scene).send().await.status, 200);
    let ended = scene.stop().await;
    let unused = |event: &&Event| matches!(event, Event::LetGo { why: LetGo::Unused, .. });
    assert_eq!(ended.events.iter().filter(unused).count(), 1);
}

/// Fails when a rotated cookie is not taken over.
#[tokio::test]
async fn a_session_whose_cookie_rotates_with_every_answer_is_followed() {
    let scene = Scene::of(Vendor::ThoughtSpot).await;
    scene.control().switch("rotate_every", json!(1)).unwrap();
    for _ in 0..30 {
        let answer = read(&scene).send().await;
        assert_eq!(answer.status, 200);
        assert!(answer.all("set-cookie").is_empty());
    }
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.requests_with_dead_credential), (1, 0));
    scene.stop().await;
}

/// Fails when a version of a session has no generation of its own: the late 401 of the cookie
/// before would end the session that goes on under the next one.
#[tokio::test]
async fn a_late_401_of_a_rotated_cookie_is_replayed_on_the_next_one_without_a_login() {
    let scene = Scene::of(Vendor::ThoughtSpot).await;
    assert_eq!(read(&scene).send().await.status, 200);
    scene.control().switch("rotate_every", json!(1)).unwrap();
    let rotating = scene.control().hold(read_line(Vendor::ThoughtSpot));
    let refused = scene.control().hold(write_line(Vendor::ThoughtSpot));
    let rotated = read(&scene).spawn();
    within(rotating.arrived(1)).await;
    scene.control().switch("rotate_every", json!(0)).unwrap();
    // The cookie that these carry is worth nothing, and nobody knows the next one yet.
    let late: Vec<_> = (0..20).map(|number| write(&scene, number).spawn()).collect();
    within(refused.arrived(20)).await;
    rotating.release();
    assert_eq!(within(rotated).await.unwrap().status, 200);
    refused.release();
    for call in late {
        assert_eq!(within(call).await.unwrap().status, 200);
    }
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.requests_with_dead_credential), (1, 20));
    assert_eq!((counters.writes, counters.duplicate_writes), (20, 0));
    scene.stop().await;
}

/// A scene by the vendor's recipe with lines of its `[session]` table put in place of others.
pub async fn with_session(
    vendor: Vendor,
    before: &str,
    after: &str,
    tables: &str,
) -> (Scene, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (_, text) =
        doorward::recipe::BUILT_IN.iter().find(|(name, _)| *name == vendor.to_string()).unwrap();
    assert!(text.contains(before), "{before}");
    let path = write_file(folder.path(), "recipe.toml", &text.replace(before, after));
    let mut setup = Setup::of(vendor).tables(tables);
    setup.recipe = format!("recipe_file = {path:?}");
    setup.upstream.push_str("\nresponse_timeout = \"24h\"");
    (setup.start().await, folder)
}

/// How often the probe has found the session alive.
pub fn probes(scene: &Scene) -> usize {
    let alive = |event: &&Event| matches!(event, Event::Probe { alive: true, .. });
    scene.events().iter().filter(alive).count()
}

/// Fails when a version of a session is taken for a new session, whose end is as far away as ever.
#[tokio::test]
async fn a_session_that_rolls_with_every_answer_is_renewed_ahead_of_its_end() {
    let (scene, _folder) =
        with_session(Vendor::ThoughtSpot, "idle = \"3h\"", "max_age = \"1h\"", "").await;
    scene.control().switch("rotate_every", json!(1)).unwrap();
    for _ in 0..59 {
        assert_eq!(read(&scene).send().await.status, 200);
        scene.clock.advance(seconds(60));
    }
    until("it is renewed ahead", || scene.control().counters().logins == 2).await;
    assert_eq!(read(&scene).send().await.status, 200);
    scene.stop().await;
}

/// Fails when nobody asks after an unused session, or when that never ends.
#[tokio::test]
async fn an_unused_session_is_kept_alive_by_the_probe_for_as_long_as_the_recipe_says() {
    let (scene, _folder) = with_session(
        Vendor::ThoughtSpot,
        "idle = \"3h\"",
        "idle = \"3h\"\nkeep_alive = \"20h\"",
        "[timeouts]\nsession_idle = \"24h\"\n",
    )
    .await;
    assert_eq!(read(&scene).send().await.status, 200);
    for asked in 1..=8 {
        // At three quarters of the idle time, less a tenth of it at most.
        scene.clock.advance(seconds(135 * 60));
        until("it is found alive", || probes(&scene) >= asked).await;
    }
    assert_eq!(read(&scene).send().await.status, 200);
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.requests_with_dead_credential), (1, 0));

    // Nobody comes any more: after a day it is left to die.
    for _ in 0..30 {
        scene.clock.advance(seconds(3600));
        tokio::task::yield_now().await;
    }
    let asked = probes(&scene);
    assert!(asked <= 8 + 12, "{asked}");
    scene.clock.advance(seconds(6 * 3600));
    assert_eq!(read(&scene).send().await.status, 200);
    assert_eq!(probes(&scene), asked, "it was asked after once more");
    assert_eq!(scene.control().counters().logins, 2);
    scene.stop().await;
}

/// Fails when a session counts as unused while a long answer carries it.
#[tokio::test]
async fn a_session_that_only_a_long_answer_carries_is_kept_alive() {
    let (scene, _folder) = with_session(
        Vendor::ThoughtSpot,
        "idle = \"3h\"",
        "idle = \"3h\"\nkeep_alive = \"4h\"",
        "[timeouts]\nsession_idle = \"5h\"\nrequest = \"24h\"\n",
    )
    .await;
    let hold = scene.control().hold(read_line(Vendor::ThoughtSpot));
    let long = read(&scene).spawn();
    within(hold.arrived(1)).await;
    for asked in 1..=5 {
        scene.clock.advance(seconds(135 * 60));
        until("it is found alive", || probes(&scene) >= asked).await;
    }
    hold.release();
    assert_eq!(within(long).await.unwrap().status, 200);
    assert_eq!(read(&scene).send().await.status, 200);
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.requests_with_dead_credential), (1, 0));
    scene.stop().await;
}

/// Fails when two deaths at one age teach nothing.
#[tokio::test]
async fn a_life_that_no_vendor_tells_is_learned_and_renewed_ahead_of() {
    let scene = Scene::of(Vendor::Contentstack).await;
    let an_hour_of_reads = async |scene: &Scene| {
        for _ in 0..60 {
            assert_eq!(read(scene).send().await.status, 200);
            scene.clock.advance(seconds(60));
        }
    };
    for _ in 0..2 {
        an_hour_of_reads(&scene).await;
        assert_eq!(scene.control().expire_sessions(), 1);
    }
    // The third is renewed ahead: nobody meets a dead session.
    an_hour_of_reads(&scene).await;
    let counters = scene.control().counters();
    assert_eq!(counters.logins, 4);
    assert_eq!(counters.requests_with_dead_credential, 2 * 2, "each death: a request, a logout");
    scene.stop().await;
}

/// Fails when each of the sessions that one restart of the upstream ends counts as a death.
#[tokio::test]
async fn sessions_that_die_together_are_not_taken_for_a_fight() {
    let names: Vec<_> = (0..10).map(|number| format!("c{number}")).collect();
    let keys: Vec<_> =
        names.iter().map(|name| ClientKey::generate(name.parse().unwrap()).unwrap()).collect();
    let mut setup = Setup::of(Vendor::ThoughtSpot);
    setup.route = "session = \"per-client\"".to_owned();
    let clients: Vec<_> = names.iter().map(String::as_str).zip(&keys).collect();
    let scene = setup.keys(&clients).start().await;
    for _ in 0..2 {
        for key in &keys {
            let answer = read(&scene).header("doorward-key", key.expose()).send().await;
            assert_eq!(answer.status, 200);
        }
        assert_eq!(scene.control().expire_sessions(), keys.len());
    }
    let ended = scene.stop().await;
    let displaced = |event: &&Event| matches!(event, Event::Displaced { .. });
    assert_eq!(ended.events.iter().filter(displaced).count(), 0);
}
