//! One budget for the gateway, for `doorward try` and over restarts, and how an operator clears it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use doorward::emulator::{Forced, User, Vendor};
use doorward::secret::SecretText;
use doorward::state::{Store, Table};
use doorward::telemetry::Event;

use crate::harness::{Scene, Setup, until, within, write};
use crate::puppet::{Puppet, Reply};
use crate::restart::keep_state;
use crate::vendors::{login_line, logout_line, read};

const STATE: &str = "[state]\npath = \"state\"\nkey = { file = \"state_key\" }\n";

/// A command of the binary in the scene's folder.
fn command(scene: &Scene, arguments: &[&str]) -> Command {
    let folder: &Path = scene.folder.path();
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    let (first, rest) = arguments.split_first().unwrap();
    command.arg(first).args(["-c", "base.toml", "-c", "doorward.toml"]).args(rest);
    command.current_dir(folder).env_clear();
    command
}

/// Begins a trial, for somebody who kills it.
fn begin_trial(scene: &Scene) -> Child {
    let mut command = command(scene, &["try", "vendor"]);
    command.env("TOTP", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP");
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Runs a command of the binary in the scene's folder.
async fn run(scene: &Scene, arguments: &[&str]) -> Output {
    let mut command = command(scene, arguments);
    within(tokio::task::spawn_blocking(move || command.output())).await.unwrap().unwrap()
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8(text).unwrap()
}

/// Fails when a gateway and a trial each have a budget of their own, or a quarantine cannot be
/// lifted.
#[tokio::test]
async fn a_quarantine_holds_for_a_trial_until_it_is_cleared() {
    let vendor = Vendor::ThoughtSpot;
    let wrong = User::new(vendor.seeded_user().login, "not the password");
    let mut scene = Setup::of(vendor).user(wrong).tables(STATE).start().await;
    assert_eq!(read(&scene).send().await.problem(), "login_refused");
    for arguments in [&["try", "vendor"][..], &["clear", "vendor"]] {
        let refused = run(&scene, arguments).await;
        assert_eq!(refused.status.code(), Some(78), "{}", said(&refused));
        assert!(said(&refused).contains(&std::process::id().to_string()), "{}", said(&refused));
    }
    within(scene.take_app().stop()).await;

    let held = run(&scene, &["try", "vendor"]).await;
    assert_eq!(held.status.code(), Some(77), "{}", said(&held));
    assert!(said(&held).contains("doorward clear"), "{}", said(&held));
    assert_eq!(scene.control().counters().logins_refused, 1, "a refused secret was sent again");

    let cleared = run(&scene, &["clear", "vendor", "--account", "user"]).await;
    assert_eq!(cleared.status.code(), Some(0), "{}", said(&cleared));
    assert!(said(&cleared).contains("was quarantined (bad_secret)"), "{}", said(&cleared));
    // Mended at the vendor, with the secret as it was.
    scene.control().add_user(User::new(vendor.seeded_user().login, "not the password"));
    let good = run(&scene, &["try", "vendor"]).await;
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
    scene.start_again();
    assert_eq!(read(&scene).send().await.status, 200);
    scene.stop().await;
}

/// Fails when what a trial finds out is forgotten: then the gateway finds it out once more.
#[tokio::test]
async fn what_a_trial_was_refused_the_gateway_does_not_try() {
    let vendor = Vendor::Contentstack;
    let mut scene = Setup::of(vendor).tables(STATE).start().await;
    within(scene.take_app().stop()).await;
    write(scene.folder.path(), "password", "not the password");
    let refused = run(&scene, &["try", "vendor"]).await;
    assert_eq!(refused.status.code(), Some(77), "{}", said(&refused));
    scene.start_again();
    assert_eq!(read(&scene).send().await.problem(), "login_refused");
    assert_eq!(scene.control().counters().logins_refused, 1);
    scene.stop().await;
}

/// A scene whose gateway has stopped, and a trial was killed in the middle of its login.
async fn killed_in_a_trials_login() -> Scene {
    let scene = stopped(Vendor::Contentstack).await;
    let hold = scene.control().hold(login_line(Vendor::Contentstack));
    let child = begin_trial(&scene);
    within(hold.arrived(1)).await;
    kill(child);
    scene
}

/// Fails when a trial that was killed is counted by every trial after it.
#[tokio::test]
async fn a_trial_that_was_killed_is_counted_once() {
    let scene = killed_in_a_trials_login().await;
    let held = run(&scene, &["try", "vendor"]).await;
    assert_eq!(held.status.code(), Some(77), "{}", said(&held));
    let trying = async { while run(&scene, &["try", "vendor"]).await.status.code() != Some(0) {} };
    within(trying).await;
}

/// Fails when an account stays held back by a trial that was killed although it was cleared.
#[tokio::test]
async fn a_trial_that_was_killed_is_over_when_it_is_cleared() {
    let scene = killed_in_a_trials_login().await;
    let cleared = run(&scene, &["clear", "vendor"]).await;
    assert_eq!(cleared.status.code(), Some(0), "{}", said(&cleared));
    let good = run(&scene, &["try", "vendor"]).await;
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
}

/// Fails when a trial sends a one-time code that is not on the disk as spent.
#[tokio::test]
async fn a_trial_that_was_killed_has_spent_its_code() {
    let vendor = Vendor::Contentstack;
    let mut setup = Setup::of(vendor).tables(STATE);
    setup.account = "totp_secret = { env = \"TOTP\", verbatim = true }".to_owned();
    let totp = [("TOTP", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")];
    let mut scene = setup.start_with(&totp).await;
    within(scene.take_app().stop()).await;
    let hold = scene.control().hold(login_line(vendor));
    let child = begin_trial(&scene);
    within(hold.arrived(1)).await;
    let copy = keep_state(&scene);
    kill(child);
    let key = SecretText::from("the key that seals the state of a test".to_owned());
    let opened = Store::open(&copy, &key, scene.clock.wall()).unwrap();
    let (_, _, budget) =
        opened.records.iter().find(|(table, ..)| *table == Table::Accounts).unwrap();
    let budget: serde_json::Value = serde_json::from_slice(budget).unwrap();
    assert!(budget["code_used"].is_u64(), "{budget}");
}

const STEPS: &str = include_str!("../fixtures/steps.toml");

/// Fails when what the first step of a trial gave stays open because the second one failed; or when
/// it is used although it may have been made of a wrong secret.
#[tokio::test]
async fn half_a_trial_is_logged_out_unless_its_secret_was_refused() {
    for (status, logouts) in [(503, 1), (401, 0)] {
        let puppet =
            Puppet::start(move |request| match request.split(' ').nth(1).unwrap_or_default() {
                "/token" => Reply::json(r#"{"access":"access-00000000000000000001"}"#),
                "/confirm" => {
                    Reply::keep(format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n"))
                }
                _ => Reply::json("{}"),
            })
            .await;
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), "steps.toml", STEPS);
        let mut setup = puppet.setup(Vendor::Contentstack).tables(STATE);
        setup.recipe = format!("recipe_file = {path:?}");
        let mut scene = setup.start().await;
        within(scene.take_app().stop()).await;
        let tried = run(&scene, &["try", "vendor"]).await;
        assert_ne!(tried.status.code(), Some(0), "{}", said(&tried));
        let requests = puppet.requests();
        let sent = requests.iter().filter(|request| request.starts_with("POST /logout")).count();
        assert_eq!(sent, logouts, "{status}: {}", said(&tried));
    }
}

/// Fails when what half a trial gave is forgotten because its logout was not confirmed.
#[tokio::test]
async fn what_half_a_trial_leaves_open_is_closed_at_the_next_start() {
    let logouts = AtomicU32::new(0);
    let puppet = Puppet::start(move |request| {
        let is_first =
            request.starts_with("POST /logout") && logouts.fetch_add(1, Ordering::Relaxed) == 0;
        match request.split(' ').nth(1).unwrap_or_default() {
            "/token" => Reply::json(r#"{"access":"access-00000000000000000001"}"#),
            "/confirm" => Reply::keep("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"),
            _ if is_first => Reply::keep("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"),
            _ => Reply::json("{}"),
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "steps.toml", STEPS);
    let mut setup = puppet.setup(Vendor::Contentstack).tables(STATE);
    setup.recipe = format!("recipe_file = {path:?}");
    let mut scene = setup.start().await;
    within(scene.take_app().stop()).await;
    let tried = run(&scene, &["try", "vendor"]).await;
    let closes = "the next `doorward run` with this state closes it";
    assert!(said(&tried).contains(closes), "{}", said(&tried));
    scene.start_again();
    until("what the trial left open is closed", || {
        has(&scene, |event| matches!(event, Event::LeftOpen { closed: true, .. }))
    })
    .await;
    assert_eq!(scene.call("GET", "/x").send().await.problem(), "login_held_back");
    scene.stop().await;
}

/// A scene whose gateway has been stopped.
async fn stopped(vendor: Vendor) -> Scene {
    let mut scene = Setup::of(vendor).tables(STATE).start().await;
    within(scene.take_app().stop()).await;
    scene
}

fn has(scene: &Scene, is_meant: impl Fn(&Event) -> bool) -> bool {
    scene.events().iter().any(is_meant)
}

/// Fails when nobody closes a session whose logout a trial could not get confirmed.
#[tokio::test]
async fn what_a_trial_leaves_open_is_closed_at_the_next_start() {
    for vendor in Vendor::ALL {
        let mut scene = stopped(vendor).await;
        let out_of_order = Forced {
            matching: logout_line(vendor).to_owned(),
            times: 1,
            status: Some(500),
            ..Forced::default()
        };
        scene.control().force(out_of_order).unwrap();
        let tried = run(&scene, &["try", "vendor"]).await;
        assert_eq!(tried.status.code(), Some(77), "{vendor}: {}", said(&tried));
        let closes =
            "so a session was left open: the next `doorward run` with this state closes it";
        assert!(said(&tried).contains(closes), "{vendor}: {}", said(&tried));
        assert_eq!(scene.control().counters().live_sessions, 1, "{vendor}");
        scene.start_again();
        until("what the trial left open is closed", || {
            has(&scene, |event| matches!(event, Event::LeftOpen { closed: true, .. }))
        })
        .await;
        assert_eq!(scene.control().counters().live_sessions, 0, "{vendor}");
        scene.stop().await;
    }
}

/// Fails when a trial that is killed before its logout is counted as one whose answer was lost, or
/// when nobody closes its session: its token was known.
#[tokio::test]
async fn a_trial_that_is_killed_before_its_logout_leaves_nothing_open() {
    let probes = [
        (Vendor::Contentstack, "GET /v3/user"),
        (Vendor::ThoughtSpot, "/callosum/v1/session/isactive"),
    ];
    for (vendor, probe) in probes {
        let mut scene = stopped(vendor).await;
        let hold = scene.control().hold(probe);
        let child = begin_trial(&scene);
        within(hold.arrived(1)).await;
        kill(child);
        drop(hold);
        scene.start_again();
        until("what the trial left open is used on", || {
            has(&scene, |event| matches!(event, Event::Adopted(_)))
        })
        .await;
        assert_eq!(read(&scene).send().await.status, 200, "{vendor}");
        assert_eq!(scene.control().counters().logins, 1, "{vendor}");
        let lost = has(&scene, |event| matches!(event, Event::AnswerLost { .. }));
        assert!(!lost, "{vendor}: a token that was known is counted as lost");
        scene.stop().await;
    }
}

/// Fails when a trial waits without a word for the distance from the login before.
#[tokio::test]
async fn a_trial_says_that_it_waits() {
    let vendor = Vendor::Contentstack;
    let scene = stopped(vendor).await;
    write(scene.folder.path(), "base.toml", "[timeouts]\nlogin_distance = \"1m\"\n");
    let first = run(&scene, &["try", "vendor"]).await;
    assert_eq!(first.status.code(), Some(0), "{}", said(&first));
    assert!(!said(&first).contains("wait"), "{}", said(&first));
    for (arguments, out, errors) in [
        (&["try", "vendor"][..], Stdio::piped(), Stdio::null()),
        (&["try", "vendor", "--json"], Stdio::null(), Stdio::piped()),
    ] {
        let mut waiting = command(&scene, arguments).stdout(out).stderr(errors).spawn().unwrap();
        let said: Box<dyn std::io::Read + Send> = match waiting.stdout.take() {
            Some(out) => Box::new(out),
            None => Box::new(waiting.stderr.take().unwrap()),
        };
        let told = tokio::task::spawn_blocking(move || {
            let mut lines = BufReader::new(said).lines().map(Result::unwrap);
            lines.find(|line| line.starts_with("wait "))
        });
        let told = within(told).await.unwrap().unwrap();
        assert!(
            told.contains(" s until the account may log in again: its logins keep their distance"),
            "{told}"
        );
        kill(waiting);
    }
    let logins = scene.control().requests();
    let is_login = |line: String| line.contains(login_line(vendor));
    let logins = logins.iter().filter(|one| is_login(format!("{} {}", one.method, one.target)));
    assert_eq!(logins.count(), 1, "a login was sent before its time");
}
