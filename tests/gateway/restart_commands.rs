//! One budget for the gateway, for `doorward try` and over restarts, and how an operator clears it.

use std::path::Path;
use std::process::{Command, Output};

use doorward::emulator::{User, Vendor};

use crate::harness::{Scene, Setup, within, write};
use crate::vendors::read;

const STATE: &str = "[state]\npath = \"state\"\nkey = { file = \"state_key\" }\n";

/// Runs a command of the binary in the scene's folder.
async fn run(scene: &Scene, arguments: &[&str]) -> Output {
    let folder: &Path = scene.folder.path();
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    let (first, rest) = arguments.split_first().unwrap();
    command.arg(first).args(["-c", "base.toml", "-c", "doorward.toml"]).args(rest);
    command.current_dir(folder).env_clear();
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
