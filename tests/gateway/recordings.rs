//! Recordings: written by `try --record`, replayed by `recipes replay`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Parser;
use doorward::cli::Exit;
use doorward::cli::recipes::Recipes;
use doorward::emulator::Vendor;

use crate::doctor::{ON_PAPER, TOTP_SECRET, bad, emulator, good, second_factor};
use crate::harness::write;
use crate::leaks::leaks;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    command: Recipes,
}

/// What `doorward recipes replay` says.
fn replayed(arguments: &[&Path]) -> (Exit, String) {
    let line = ["recipes", "replay"].into_iter().map(Path::new).chain(arguments.iter().copied());
    let command = Line::parse_from(line).command;
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let exit = command.run(&mut out, &mut errors).unwrap();
    (exit, format!("{}{}", String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap()))
}

/// The recordings that come with the project, made from the local servers.
fn shipped() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The recipes of the vendors that there are local servers of: what these answer is recorded.
fn recorded() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let vendors = [Vendor::Contentstack, Vendor::ThoughtSpot, Vendor::MFiles];
    let vendors = vendors.map(|vendor| vendor.to_string());
    let recipes = doorward::recipe::BUILT_IN.iter();
    recipes.filter(move |(name, _)| vendors.iter().any(|vendor| vendor == name))
}

/// Fails when a built-in recipe makes something else of a vendor's answers than it did.
#[test]
fn every_recorded_recipe_replays_its_recordings() {
    let recordings = shipped();
    for (recipe, _) in recorded() {
        for kind in ["good", "bad_secret"] {
            let name = format!("{recipe}-{kind}.json");
            let path = recordings.iter().find(|path| path.ends_with(&name));
            let (exit, said) = replayed(&[path.unwrap_or_else(|| panic!("no {name}"))]);
            assert_eq!(exit, Exit::Ok, "{said}");
            assert!(said.contains("same outcome"), "{said}");
            assert!(!said.contains(" 1 answers"), "{said}");
        }
    }
}

/// Fails when a replay does not ask the recipe's rules.
#[test]
fn a_recipe_without_the_rule_that_spoke_comes_to_another_outcome() {
    let folder = tempfile::tempdir().unwrap();
    for (recipe, text) in recorded() {
        let written: toml::Table = text.parse().unwrap();
        let mut without_refusals = written.clone();
        let refusals = without_refusals["login"]["refusals"].as_array_mut().unwrap();
        refusals.retain(|rule| rule["class"].as_str() != Some("bad_secret"));
        let mut without_expiry = written;
        for rule in without_expiry["verdict"].as_array_mut().unwrap() {
            if rule["then"].as_str() == Some("expired") {
                rule["when"] = toml::toml! { status = [418] }.into();
            }
        }
        let cases = [
            ("bad_secret", without_refusals, "was refused (bad_secret), is refused (no rule"),
            ("good", without_expiry, "without_session `probe`: was expired, is "),
        ];
        for (kind, mutated, difference) in cases {
            let own = write(folder.path(), "own.toml", &mutated.to_string());
            let name = format!("{recipe}-{kind}.json");
            let path = shipped().into_iter().find(|path| path.ends_with(&name)).unwrap();
            let (exit, said) = replayed(&[&path, Path::new("--recipe-file"), &own]);
            assert_eq!(exit, Exit::Failed, "{name}: {said}");
            assert!(said.contains(difference), "{name}: {said}");
        }
    }
}

/// Fails when a recording holds a secret in any form, can be read by others, is written over, or
/// does not replay.
#[tokio::test]
async fn a_recording_holds_no_secret_and_is_never_written_over() {
    for vendor in Vendor::ALL {
        let emulator = emulator(vendor).await;
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("below/recordings");
        let folder_shown = into.display().to_string();
        for _ in 0..2 {
            for subject in [good(&emulator), bad(&emulator)] {
                let said = subject.tried(ON_PAPER, &["--record", &folder_shown]).await;
                assert!(said.out.contains("recorded in"), "{said:?}");
            }
        }
        assert_eq!(fs::metadata(&into).unwrap().permissions().mode() & 0o777, 0o700);
        let mut names = Vec::new();
        let mut secrets = emulator.control().issued();
        secrets.push("a wrong canary password".to_owned());
        for entry in fs::read_dir(&into).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let text = fs::read(&path).unwrap();
            let leaked = leaks(&secrets, &text);
            assert!(leaked.is_empty(), "{leaked:?} in {}", String::from_utf8_lossy(&text));
            let login = vendor.seeded_user().login;
            assert!(!String::from_utf8(text).unwrap().contains(&login), "the account's name");
            let (exit, said) = replayed(&[&path]);
            assert_eq!(exit, Exit::Ok, "{said}");
            names.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
        names.sort();
        let kinds = ["bad_secret-2", "bad_secret", "good-2", "good"];
        assert_eq!(names, kinds.map(|kind| format!("{vendor}-{kind}.json")));
    }
}

/// Fails when the secret of one-time codes is said or recorded, or such a login does not replay.
#[tokio::test]
async fn a_login_with_a_code_is_recorded_without_it() {
    let emulator = emulator(Vendor::Contentstack).await;
    let subject = second_factor(&emulator);
    let into = subject.folder.path().join("recordings");
    let said = subject.tried(ON_PAPER, &["--record", &into.display().to_string()]).await;
    assert_eq!(said.exit, Exit::Ok, "{said:?}");
    let path = into.join("contentstack-good.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut secrets = emulator.control().issued();
    secrets.extend([TOTP_SECRET.to_owned(), "a canary password of two".to_owned()]);
    let leaked = leaks(&secrets, format!("{}{}{text}", said.out, said.errors).as_bytes());
    assert!(leaked.is_empty(), "{leaked:?}");
    assert!(text.contains("{{totp_secret}}"), "{text}");
    let (exit, said) = replayed(&[&path]);
    assert_eq!(exit, Exit::Ok, "{said}");
}

/// Fails when a login is tried although its recording has no place.
#[tokio::test]
async fn nothing_is_tried_that_cannot_be_recorded() {
    let emulator = emulator(Vendor::Contentstack).await;
    let subject = good(&emulator);
    let file = subject.folder.path().join("doorward.toml");
    let full = subject.folder.path().join("full");
    fs::create_dir(&full).unwrap();
    for number in 0..1000 {
        write(&full, &format!("contentstack-good-{number}.json"), "");
    }
    let cases = [
        (file.as_path(), "is no folder"),
        (&full, "holds 1000 recordings"),
        // It is there, and nobody can write into it, whoever runs this test.
        (Path::new("/proc/self"), "cannot be written"),
    ];
    for (folder, why) in cases {
        let said = subject.tried(ON_PAPER, &["--record", &folder.display().to_string()]).await;
        assert_eq!(said.exit, Exit::Failed, "{said:?}");
        assert!(said.errors.contains(why), "{said:?}");
        assert!(said.errors.contains("nothing was sent"), "{said:?}");
    }
    assert_eq!(emulator.control().counters().requests, 0);
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1000, "a proof was left behind");
}
