//! One budget for the gateway, for `doorward try` and over restarts, and how an operator clears it.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use doorward::emulator::{User, Vendor};
use doorward::secret::SecretText;
use doorward::state::{Store, Table};

use crate::harness::{Scene, Setup, within, write};
use crate::puppet::{Puppet, Reply};
use crate::restart::copy_folder;
use crate::vendors::{login_line, read};

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

/// Fails when a trial that was killed is counted by every trial after it.
#[tokio::test]
async fn a_trial_that_was_killed_is_counted_once() {
    let vendor = Vendor::Contentstack;
    let mut scene = Setup::of(vendor).tables(STATE).start().await;
    within(scene.take_app().stop()).await;
    let hold = scene.control().hold(login_line(vendor));
    let child = begin_trial(&scene);
    within(hold.arrived(1)).await;
    kill(child);
    drop(hold);
    let held = run(&scene, &["try", "vendor"]).await;
    assert_eq!(held.status.code(), Some(77), "{}", said(&held));
    let trying = async { while run(&scene, &["try", "vendor"]).await.status.code() != Some(0) {} };
    within(trying).await;
}

/// Fails when an account stays held back by a trial that was killed although it was cleared.
#[tokio::test]
async fn a_trial_that_was_killed_is_over_when_it_is_cleared() {
    let vendor = Vendor::Contentstack;
    let mut scene = Setup::of(vendor).tables(STATE).start().await;
    within(scene.take_app().stop()).await;
    let hold = scene.control().hold(login_line(vendor));
    let child = begin_trial(&scene);
    within(hold.arrived(1)).await;
    kill(child);
    drop(hold);
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
    let copy = scene.folder.path().join("copy");
    copy_folder(&scene.folder.path().join("state"), &copy);
    kill(child);
    let key = SecretText::from("the key that seals the state of a test".to_owned());
    let opened = Store::open(&copy, &key, scene.clock.wall()).unwrap();
    let (_, _, budget) =
        opened.records.iter().find(|(table, ..)| *table == Table::Accounts).unwrap();
    let budget = String::from_utf8(budget.to_vec()).unwrap();
    assert!(budget.contains("\"code_used\":") && !budget.contains("null}"), "{budget}");
}

const STEPS: &str = r#"
name = "steps"
title = "A session in two steps"
account = { username = { kind = "login_name" }, password = { kind = "secret" } }
inject = [{ header = "Authorization", value = "Bearer {{access}}" }]
verdict = [{ when = { status = [401] }, then = "expired" }]

[[login.steps]]
name = "token"
method = "POST"
path = "/token"
json = { user = "{{username}}", password = "{{password}}" }
take.access = { json = "/access" }

[[login.steps]]
name = "confirm"
method = "POST"
path = "/confirm"
form = { token = "{{access}}" }

[[login.refusals]]
when = { status = [503] }
class = "upstream_broken"

[[logout.steps]]
name = "log out"
method = "POST"
path = "/logout"
form = { token = "{{access}}" }
"#;

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
