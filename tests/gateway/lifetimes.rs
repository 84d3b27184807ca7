//! Sessions end, are kept and are spread as their upstream and their use ask for.

use std::time::Duration;

use doorward::emulator::Vendor;
use doorward::telemetry::{Event, LetGo};

use crate::harness::{Scene, Setup, until};
use crate::vendors::read;

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
