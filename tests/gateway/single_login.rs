//! However many need a session, one login gives it.

use std::time::Duration;

use doorward::emulator::{Forced, Vendor};
use doorward::session::Mechanism;

use crate::client::Answer;
use crate::harness::{Scene, Setup, until, within};
use crate::vendors::{login_line, read, read_line, write, write_line};

const MANY: usize = 200;

async fn all(calls: Vec<tokio::task::JoinHandle<Answer>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for call in calls {
        answers.push(within(call).await.unwrap());
    }
    answers
}

/// Fails when `Store::join` begins a flight for each caller.
#[tokio::test]
async fn many_cold_requests_cost_one_login() {
    for vendor in Vendor::ALL {
        let scene = Scene::of(vendor).await;
        let calls = (0..MANY).map(|_| read(&scene).spawn()).collect();
        for answer in all(calls).await {
            assert_eq!(answer.status, 200, "{vendor}: {answer:?}");
        }
        let counters = scene.control().counters();
        assert_eq!((counters.logins, counters.logins_at_once_max), (1, 1), "{vendor}");
        assert_eq!(counters.requests_without_credential, 0, "{vendor}");
        scene.stop().await;
    }
}

/// The session is killed on the server before `MANY` requests, reads and writes, all of which are
/// in flight when the first 401 or 403 comes.
async fn killed_in_flight(scene: &Scene) -> Vec<Answer> {
    let vendor = scene.emulator.vendor();
    assert_eq!(read(scene).send().await.status, 200);
    assert_eq!(scene.control().expire_sessions(), 1);
    scene.control().reset_counters();
    let reads = scene.control().hold(read_line(vendor));
    let writes = scene.control().hold(write_line(vendor));
    let calls = (0..MANY)
        .map(|number| match number % 4 {
            0 => write(scene, number).spawn(),
            _ => read(scene).spawn(),
        })
        .collect();
    within(reads.arrived(MANY / 4 * 3)).await;
    within(writes.arrived(MANY / 4)).await;
    reads.release();
    writes.release();
    all(calls).await
}

/// Fails when a replay is not made, is made twice, or each expired answer begins its own login.
#[tokio::test]
async fn a_session_killed_under_many_requests_costs_one_login_and_no_client_an_error() {
    for vendor in Vendor::ALL {
        let scene = Scene::of(vendor).await;
        for answer in killed_in_flight(&scene).await {
            assert!(answer.status.is_success(), "{vendor}: {answer:?}");
        }
        let counters = scene.control().counters();
        assert_eq!(counters.logins, 1, "{vendor}");
        assert_eq!(counters.requests_with_dead_credential, MANY as u64, "{vendor}");
        let executed = (counters.writes, counters.duplicate_writes);
        assert_eq!(executed, (MANY as u64 / 4, 0), "{vendor}");
        assert_eq!(counters.logins_with_credential, 0, "a login carried the old session");
        scene.stop().await;
    }
}

#[tokio::test]
async fn without_replay_clients_see_the_killed_session() {
    let scene = Setup::of(Vendor::Contentstack).without(Mechanism::Replay).start().await;
    let answers = killed_in_flight(&scene).await;
    assert!(answers.iter().any(|answer| answer.status == 401));
    assert_eq!(answers[0].one("doorward-replay"), "switched_off");
    scene.stop().await;
}

/// A request of generation 1 is judged dead, another one has brought generation 2 meanwhile; then
/// the first one's answer comes. Returns the logins after the kill.
async fn late_expiry(scene: &Scene) -> u64 {
    let vendor = scene.emulator.vendor();
    assert_eq!(read(scene).send().await.status, 200);
    scene.control().expire_sessions();
    scene.control().reset_counters();
    let late = scene.control().hold(write_line(vendor));
    let write = write(scene, 1).spawn();
    within(late.arrived(1)).await;
    assert_eq!(read(scene).send().await.status, 200);
    late.release();
    assert!(within(write).await.unwrap().status.is_success());
    let counters = scene.control().counters();
    assert_eq!((counters.writes, counters.duplicate_writes), (1, 0));
    counters.logins
}

/// Fails when `Broker::expire` does not compare generations.
#[tokio::test]
async fn a_late_expiry_does_not_drop_a_newer_session() {
    for vendor in Vendor::ALL {
        let scene = Scene::of(vendor).await;
        assert_eq!(late_expiry(&scene).await, 1, "{vendor}");
        scene.stop().await;
    }
}

#[tokio::test]
async fn without_the_generation_guard_a_late_expiry_costs_another_login() {
    let setup = Setup::of(Vendor::Contentstack).without(Mechanism::GenerationGuard);
    let scene = setup.start().await;
    assert_eq!(late_expiry(&scene).await, 2);
    // The session that was dropped by mistake is logged out all the same.
    scene.stop().await;
}

/// Fails when a flight lives in its first caller's task.
#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_login_does_not_cancel_it() {
    let scene = Scene::of(Vendor::ThoughtSpot).await;
    let login = scene.control().hold(login_line(Vendor::ThoughtSpot));
    let leaving = read(&scene).spawn();
    within(login.arrived(1)).await;
    leaving.abort();
    assert!(leaving.await.unwrap_err().is_cancelled());
    let staying = read(&scene).spawn();
    login.release();
    assert_eq!(within(staying).await.unwrap().status, 200);
    assert_eq!(scene.control().counters().logins, 1);
    scene.stop().await;
}

/// Fails when the login is tried again, or given up, before its own deadline.
#[tokio::test]
async fn a_login_that_takes_20_s_is_one_login() {
    let scene = Scene::of(Vendor::MFiles).await;
    let login = scene.control().hold(login_line(Vendor::MFiles));
    let calls: Vec<_> = (0..20).map(|_| read(&scene).spawn()).collect();
    within(login.arrived(1)).await;
    for _ in 0..20 {
        scene.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    login.release();
    for answer in all(calls).await {
        assert_eq!(answer.status, 200);
    }
    assert_eq!(scene.control().counters().logins, 1);
    scene.stop().await;
}

/// Fails when the wait for a session has no deadline, or ends the login with it.
#[tokio::test]
async fn a_wait_ends_at_the_requests_deadline_and_the_login_goes_on() {
    let tables = "[timeouts]\nrequest = \"5s\"\nlogin = \"30s\"\n";
    let scene = Setup::of(Vendor::Contentstack).tables(tables).start().await;
    let login = scene.control().hold(login_line(Vendor::Contentstack));
    let early = read(&scene).spawn();
    within(login.arrived(1)).await;
    scene.clock.advance(Duration::from_secs(6));
    let answer = within(early).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (504, "login_timeout"));
    let late = read(&scene).spawn();
    login.release();
    assert_eq!(within(late).await.unwrap().status, 200);
    assert_eq!(scene.control().counters().logins, 1);
    scene.stop().await;
}

/// Fails when a login has no deadline of its own, or is sent again where its answer was lost.
#[tokio::test]
async fn a_login_that_hangs_is_given_up_once_and_not_sent_again_blindly() {
    let tables = "[timeouts]\nlogin = \"10s\"\n";
    let scene = Setup::of(Vendor::Contentstack).tables(tables).start().await;
    let login = scene.control().hold(login_line(Vendor::Contentstack));
    let call = read(&scene).spawn();
    within(login.arrived(1)).await;
    scene.clock.advance(Duration::from_secs(11));
    let answer = within(call).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (503, "login_held_back"));
    // A second, spread, in whole seconds.
    assert_eq!(answer.one("retry-after"), "2");
    assert_eq!(read(&scene).send().await.problem(), "login_held_back");
    assert_eq!(scene.control().counters().requests, 1);
    login.release();
    scene.clock.advance(Duration::from_secs(2));
    assert_eq!(read(&scene).send().await.status, 200);
}

/// Fails when one upstream's login holds up what another upstream's requests need.
#[tokio::test]
async fn a_login_that_hangs_at_one_upstream_leaves_the_others_untouched() {
    let other = Scene::of(Vendor::ThoughtSpot).await;
    let password = other.folder.path().join("password");
    let tables = format!(
        "[upstreams.other]\nurl = {:?}\nrecipe = \"thoughtspot\"\n\
         [upstreams.other.accounts.user]\nusername = {:?}\n\
         password = {{ file = {password:?}, verbatim = true }}\n\
         [[routes]]\npath = \"/callosum\"\nupstream = \"other\"\n",
        other.emulator.origin(),
        Vendor::ThoughtSpot.seeded_user().login,
    );
    let scene = Setup::of(Vendor::Contentstack).tables(&tables).start().await;
    let login = scene.control().hold(login_line(Vendor::Contentstack));
    let waiting: Vec<_> = (0..20).map(|_| read(&scene).spawn()).collect();
    within(login.arrived(1)).await;
    let target = "/callosum/v1/tspublic/v1/metadata/list?type=PINBOARD_ANSWER_BOOK";
    for _ in 0..20 {
        assert_eq!(scene.call("GET", target).send().await.status, 200);
    }
    assert!(waiting.iter().all(|call| !call.is_finished()));
    login.release();
    for answer in all(waiting).await {
        assert_eq!(answer.status, 200);
    }
    scene.stop().await;
    assert_eq!(other.control().counters().live_sessions, 0);
    other.stop().await;
}

/// Fails when a login whose connection was reset after it was sent is repeated at once.
#[tokio::test]
async fn a_login_whose_answer_is_lost_is_not_repeated_before_its_pause() {
    let scene = Scene::of(Vendor::ThoughtSpot).await;
    let forced = Forced {
        matching: login_line(Vendor::ThoughtSpot).to_owned(),
        reset: true,
        ..Forced::default()
    };
    scene.control().force(forced).unwrap();
    for answer in all((0..50).map(|_| read(&scene).spawn()).collect()).await {
        assert_eq!(answer.status, 503);
        assert_eq!(answer.problem(), "login_held_back");
    }
    // Those who come now find the pause, and wait for nothing.
    for _ in 0..10 {
        assert_eq!(read(&scene).send().await.problem(), "login_held_back");
    }
    let sent = scene.control().requests();
    assert_eq!(sent.iter().filter(|record| record.target.contains("session/login")).count(), 1);
    scene.clock.advance(Duration::from_secs(2));
    assert_eq!(read(&scene).send().await.status, 200);
    // The session of the lost answer is the one orphan that nobody can close.
    until("the second session lives", || scene.control().counters().live_sessions == 2).await;
}
