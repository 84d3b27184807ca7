//! What survives a restart: budgets, quarantines, and the sessions that are still alive.

use std::path::{Path, PathBuf};
use std::time::Duration;

use doorward::app::StartError;
use doorward::emulator::{User, Vendor};
use doorward::telemetry::Event;

use crate::harness::{Scene, Setup, until, within, write};
use crate::vendors::{login_line, logout_line, read};

const LOG_OUT: &str = "[state]\npath = \"state\"\nkey = { file = \"state_key\" }\n";
const KEEP: &str =
    "[state]\npath = \"state\"\nkey = { file = \"state_key\" }\nat_stop = \"keep\"\n";

async fn restart(scene: &mut Scene) {
    within(scene.take_app().stop()).await;
    scene.start_again();
}

/// Keeps what a crash at this moment would leave. The folder that it is in.
pub fn keep_state(scene: &Scene) -> PathBuf {
    let copy = scene.folder.path().join("copy");
    copy_folder(&scene.folder.path().join("state"), &copy);
    copy
}

/// Stops Doorward and puts back what was kept, as if the run since then had not been.
pub async fn put_back(scene: &mut Scene) {
    within(scene.take_app().stop()).await;
    let (state, copy) = (scene.folder.path().join("state"), scene.folder.path().join("copy"));
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::rename(copy, state).unwrap();
}

/// Starts Doorward on what was kept.
pub async fn start_on_kept(scene: &mut Scene) {
    put_back(scene).await;
    scene.start_again();
}

/// Starts Doorward on what a crash at this moment would leave.
async fn crash(scene: &mut Scene) {
    keep_state(scene);
    start_on_kept(scene).await;
}

/// Copies the files of a folder that has no folders in it.
fn copy_folder(from: &Path, to: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn count(scene: &Scene, is_meant: impl Fn(&Event) -> bool) -> usize {
    scene.events().iter().filter(|event| is_meant(event)).count()
}

/// Fails when a session that is still alive costs a login after a restart.
#[tokio::test]
async fn a_session_that_was_kept_is_used_on_without_a_login() {
    for vendor in Vendor::ALL {
        let mut scene = Setup::of(vendor).tables(KEEP).start().await;
        assert_eq!(read(&scene).send().await.status, 200, "{vendor}");
        let report = within(scene.take_app().stop()).await;
        assert_eq!((report.confirmed, report.unconfirmed, report.kept), (0, 0, 1), "{vendor}");
        assert_eq!(scene.control().counters().live_sessions, 1, "{vendor}");
        scene.start_again();
        for _ in 0..3 {
            assert_eq!(read(&scene).send().await.status, 200, "{vendor}");
        }
        let counters = scene.control().counters();
        assert_eq!((counters.logins, counters.logouts), (1, 0), "{vendor}");
        until("the session is taken over", || {
            count(&scene, |event| matches!(event, Event::Adopted(_))) == 1
        })
        .await;
        // The third run keeps it as well: a session that was taken over is one like any other.
        restart(&mut scene).await;
        assert_eq!(read(&scene).send().await.status, 200, "{vendor}");
        assert_eq!(scene.control().counters().logins, 1, "{vendor}");
    }
}

/// Fails when a session of an earlier run is used without having been asked after.
#[tokio::test]
async fn a_kept_session_that_died_meanwhile_costs_one_login_and_no_request() {
    for vendor in Vendor::ALL {
        let mut scene = Setup::of(vendor).tables(KEEP).start().await;
        assert_eq!(read(&scene).send().await.status, 200, "{vendor}");
        within(scene.take_app().stop()).await;
        scene.control().expire_sessions();
        scene.start_again();
        let calls: Vec<_> = (0..20).map(|_| read(&scene).spawn()).collect();
        for call in calls {
            assert_eq!(within(call).await.unwrap().status, 200, "{vendor}");
        }
        let counters = scene.control().counters();
        assert_eq!(counters.logins, 2, "{vendor}");
        // The question itself, and nothing of the clients'.
        assert!(counters.requests_with_dead_credential <= 1, "{vendor}: {counters:?}");
    }
}

/// Fails when sessions are logged out by default at stop and yet used on, or left open.
#[tokio::test]
async fn by_default_nothing_is_left_open() {
    for vendor in Vendor::ALL {
        let mut scene = Setup::of(vendor).tables(LOG_OUT).start().await;
        assert_eq!(read(&scene).send().await.status, 200, "{vendor}");
        restart(&mut scene).await;
        assert_eq!(scene.control().counters().live_sessions, 0, "{vendor}");
        assert_eq!(read(&scene).send().await.status, 200, "{vendor}");
        assert_eq!(scene.control().counters().logins, 2, "{vendor}");
        scene.stop().await;
    }
}

/// Fails when a quarantine, or what is left of a budget, ends with the process.
#[tokio::test]
async fn a_quarantine_survives_restarts() {
    for vendor in Vendor::ALL {
        let wrong = User::new(vendor.seeded_user().login, "not the password");
        let mut scene = Setup::of(vendor).user(wrong).tables(LOG_OUT).start().await;
        for _ in 0..5 {
            assert_eq!(read(&scene).send().await.problem(), "login_refused", "{vendor}");
            restart(&mut scene).await;
        }
        let counters = scene.control().counters();
        assert_eq!((counters.logins_refused, counters.lockouts), (1, 0), "{vendor}");
        scene.stop().await;
    }
}

/// Fails when another secret gets no attempt after a restart, or more than one.
#[tokio::test]
async fn a_new_secret_gets_one_attempt_after_a_restart() {
    let vendor = Vendor::ThoughtSpot;
    let wrong = User::new(vendor.seeded_user().login, "not the password");
    let mut scene = Setup::of(vendor).user(wrong).tables(LOG_OUT).start().await;
    assert_eq!(read(&scene).send().await.problem(), "login_refused");
    for (password, refused) in [("wrong again", 2), ("wrong again", 2), ("not the password", 2)] {
        within(scene.take_app().stop()).await;
        write(scene.folder.path(), "password", password);
        scene.start_again();
        for _ in 0..3 {
            assert_eq!(read(&scene).send().await.problem(), "login_refused");
        }
        assert_eq!(scene.control().counters().logins_refused, refused, "{password}");
    }
    within(scene.take_app().stop()).await;
    write(scene.folder.path(), "password", &vendor.seeded_user().password);
    scene.start_again();
    assert_eq!(read(&scene).send().await.status, 200);
    scene.stop().await;
}

/// Fails when what a crash has left open stays open.
#[tokio::test]
async fn a_session_that_a_crash_left_open_is_used_on_and_closed_in_the_end() {
    for vendor in Vendor::ALL {
        let mut scene = Setup::of(vendor).tables(KEEP).start().await;
        assert_eq!(read(&scene).send().await.status, 200, "{vendor}");
        crash(&mut scene).await;
        assert_eq!(read(&scene).send().await.status, 200, "{vendor}");
        assert_eq!(scene.control().counters().logins, 1, "{vendor}");
    }
}

/// Fails when a session whose secret has changed is used on, or left open.
#[tokio::test]
async fn a_session_of_another_secret_is_closed_at_the_start() {
    let vendor = Vendor::Contentstack;
    let mut scene = Setup::of(vendor).tables(KEEP).start().await;
    assert_eq!(read(&scene).send().await.status, 200);
    within(scene.take_app().stop()).await;
    scene.control().add_user(User::new(vendor.seeded_user().login, "a new password"));
    write(scene.folder.path(), "password", "a new password");
    scene.start_again();
    assert_eq!(read(&scene).send().await.status, 200);
    until("the session of the old secret is closed", || {
        count(&scene, |event| matches!(event, Event::LeftOpen { closed: true, .. })) == 1
    })
    .await;
    assert_eq!(scene.control().counters().live_sessions, 1);
}

/// Fails when a logout that was not confirmed is forgotten.
#[tokio::test]
async fn a_logout_that_was_not_confirmed_is_made_up_for_at_the_next_start() {
    for vendor in Vendor::ALL {
        let mut scene = Setup::of(vendor).tables(LOG_OUT).start().await;
        assert_eq!(read(&scene).send().await.status, 200, "{vendor}");
        let hold = scene.control().hold(logout_line(vendor));
        let stopping = tokio::spawn(scene.take_app().stop());
        within(hold.arrived(1)).await;
        scene.clock.advance(Duration::from_secs(6));
        assert_eq!(within(stopping).await.unwrap().unconfirmed, 1, "{vendor}");
        drop(hold);
        scene.start_again();
        until("what was left open is closed", || {
            count(&scene, |event| matches!(event, Event::LeftOpen { closed: true, .. })) == 1
        })
        .await;
        assert_eq!(scene.control().counters().live_sessions, 0, "{vendor}");
        scene.stop().await;
    }
}

/// Fails when a login that a crash cut off is not counted, or its session not listed.
#[tokio::test]
async fn a_login_that_a_crash_cut_off_is_counted_and_listed() {
    let vendor = Vendor::Contentstack;
    let mut scene = Setup::of(vendor).tables(LOG_OUT).start().await;
    let login = scene.control().hold(login_line(vendor));
    let waiting = read(&scene).spawn();
    within(login.arrived(1)).await;
    keep_state(&scene);
    waiting.abort();
    login.release();
    start_on_kept(&mut scene).await;
    let answer = read(&scene).send().await;
    assert_eq!(answer.problem(), "login_held_back");
    until("the lost answer is told", || {
        count(&scene, |event| matches!(event, Event::AnswerLost { .. })) == 1
    })
    .await;
    scene.clock.advance(Duration::from_secs(2));
    assert_eq!(read(&scene).send().await.status, 200);
    scene.stop().await;
}

/// Fails when a login that a crash cut off holds its login name back at every start, because its
/// account has another name now.
#[tokio::test]
async fn a_login_that_a_crash_cut_off_is_counted_once_whatever_its_account_is_called() {
    let mut scene = Setup::of(Vendor::Contentstack).tables(LOG_OUT).start().await;
    let login = scene.control().hold(login_line(Vendor::Contentstack));
    let waiting = read(&scene).spawn();
    within(login.arrived(1)).await;
    keep_state(&scene);
    waiting.abort();
    login.release();
    put_back(&mut scene).await;
    let text = std::fs::read_to_string(scene.folder.path().join("doorward.toml")).unwrap();
    let text = text.replace("accounts.user]", "accounts.other]");
    let text = text.replace("account = \"user\"", "account = \"other\"");
    write(scene.folder.path(), "doorward.toml", &text);
    scene.start_again();
    assert_eq!(read(&scene).send().await.problem(), "login_held_back");
    scene.clock.advance(Duration::from_secs(2));
    assert_eq!(read(&scene).send().await.status, 200);
    restart(&mut scene).await;
    assert_eq!(read(&scene).send().await.status, 200);
    let told = count(&scene, |event| matches!(event, Event::AnswerLost { .. }));
    assert_eq!(told, 1, "the lost answer is told once");
    scene.stop().await;
}

/// Fails when a broken state stops the start, is destroyed, or gives every account a whole budget.
#[tokio::test]
async fn a_broken_state_is_kept_aside_and_accounts_start_with_one_attempt() {
    let vendor = Vendor::ThoughtSpot;
    let mut scene = Setup::of(vendor).tables(LOG_OUT).start().await;
    within(scene.take_app().stop()).await;
    let folder = scene.folder.path().join("state");
    std::fs::write(folder.join("state.redb"), "not a state file").unwrap();
    scene.control().force(teapot(vendor)).unwrap();
    scene.start_again();
    assert_eq!(read(&scene).send().await.problem(), "login_refused");
    scene.clock.advance(Duration::from_secs(600));
    assert_eq!(read(&scene).send().await.problem(), "login_refused");
    assert_eq!(scene.control().counters().requests, 1);
    until("the broken file is told", || {
        count(&scene, |event| matches!(event, Event::StateNotice(_))) == 1
    })
    .await;
    let kept = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let kept = kept.filter(|path| path.to_string_lossy().contains("broken-"));
    let kept: Vec<_> = kept.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert_eq!(kept, ["not a state file"]);
    scene.stop().await;
}

fn teapot(vendor: Vendor) -> doorward::emulator::Forced {
    doorward::emulator::Forced {
        matching: login_line(vendor).to_owned(),
        times: u32::MAX,
        status: Some(418),
        body: "I am a teapot".to_owned(),
        ..doorward::emulator::Forced::default()
    }
}

/// Fails when two processes use one state.
#[tokio::test]
async fn a_second_gateway_on_one_state_is_refused_and_told_who_has_it() {
    let scene = Setup::of(Vendor::Contentstack).tables(LOG_OUT).start().await;
    let refused = scene.try_start().unwrap_err();
    assert!(matches!(refused, StartError::State(_)), "{refused}");
    assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
    scene.stop().await;
}

/// Fails when a login is sent whose attempt could not be recorded.
#[tokio::test]
async fn without_a_record_no_login_is_sent_unless_the_operator_wants_it() {
    for (on_failure, expected) in [("block", 503), ("continue", 200)] {
        let tables = format!("{LOG_OUT}on_failure = \"{on_failure}\"\n");
        let scene = Setup::of(Vendor::Contentstack).tables(&tables).start().await;
        // Nothing can be written any more.
        scene.app().close_state().await;
        let answer = read(&scene).send().await;
        assert_eq!(answer.status, expected, "{on_failure}");
        let logins = scene.control().counters().logins;
        assert_eq!(logins, u64::from(expected == 200), "{on_failure}");
        if expected == 503 {
            assert_eq!(answer.problem(), "login_held_back");
        }
        scene.stop().await;
    }
}
