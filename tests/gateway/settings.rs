//! The binary judges its configuration before it starts anything.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::write;

const GOOD: &str = r#"
[listeners.main]
address = "127.0.0.1:0"
access = "open"

[upstreams.cms]
url = "http://127.0.0.1:9"
recipe = "contentstack"

[upstreams.cms.accounts.editor]
username = "editor@example.com"
password = { file = "password" }

[[routes]]
upstream = "cms"
"#;

const SECRET: &str = "a-canary-that-nobody-may-see";

fn run(folder: &Path, config: &str) -> Output {
    let path = write(folder, "doorward.toml", config);
    Command::new(env!("CARGO_BIN_EXE_doorward"))
        .args(["run", "-c"])
        .arg(path)
        .env_clear()
        .output()
        .unwrap()
}

/// Runs with a configuration that cannot be used; what was said. Nothing may have started.
fn refused(config: &str, password: Option<&str>) -> String {
    let folder = tempfile::tempdir().unwrap();
    if let Some(password) = password {
        write(folder.path(), "password", password);
    }
    let output = run(folder.path(), config);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(output.stdout.is_empty(), "something was started");
    assert!(!said.contains(SECRET) && !said.contains("panicked"), "{said}");
    said
}

/// Fails when one of these faults is only found later, or is told without its place.
#[test]
fn a_bad_configuration_is_told_with_its_place_and_nothing_is_started() {
    for (from, to, expected) in [
        ("recipe = \"contentstack\"", "recipe = \"contentstak\"", "contentstack"),
        ("address = \"127.0.0.1:0\"", "address = \"127.0.0.1\"", "address"),
        ("access = \"open\"", "acces = \"open\"", "access"),
        ("upstream = \"cms\"\n", "upstream = \"csm\"\n", "cms"),
        ("url = \"http://127.0.0.1:9\"", "url = \"http://api.example.com\"", "https"),
        ("username", "user", "username"),
    ] {
        assert!(GOOD.contains(from));
        let said = refused(&GOOD.replacen(from, to, 1), Some(SECRET));
        assert!(said.contains("doorward.toml:") && said.contains(expected), "{to}: {said}");
    }
    let said = refused("listeners = [", None);
    assert!(said.contains("doorward.toml:1:"), "{said}");
}

/// Fails when the rest is not judged once one fault was found.
#[test]
fn all_faults_are_told_at_once() {
    let config = GOOD.replace("access = \"open\"", "acces = 5").replace("\"cms\"\n", "\"csm\"\n");
    let said = refused(&config, None);
    for expected in ["acces", "csm"] {
        assert!(said.contains(expected), "{said}");
    }
}

/// Fails when a secret is read later than at the start, or its faults are told with its value.
#[test]
fn a_secret_that_cannot_be_used_is_told_and_nothing_is_started() {
    let missing = refused(GOOD, None);
    assert!(missing.contains("password") && missing.contains("doorward.toml:"), "{missing}");
    for (password, expected) in [
        (format!("{SECRET}\n"), "newline"),
        (format!("{SECRET}\r\n"), "newline"),
        (format!(" {SECRET}"), "blank"),
        (format!("\"{SECRET}\""), "quote"),
        (format!("'{SECRET}'"), "quote"),
        (String::new(), "empty"),
    ] {
        let said = refused(GOOD, Some(&password));
        assert!(said.contains(expected), "{password:?} without {expected:?}: {said}");
    }
    let by_variable = GOOD.replace("file = \"password\"", "env = \"NOT_SET_ANYWHERE\"");
    let said = refused(&by_variable, None);
    assert!(said.contains("NOT_SET_ANYWHERE"), "{said}");
    let written_here = GOOD.replace("{ file = \"password\" }", &format!("{SECRET:?}"));
    refused(&written_here, None);
}

/// Fails when a secret that others can write is used.
#[test]
fn a_secret_file_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "password", SECRET);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let output = run(folder.path(), GOOD);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("can be changed by others") && !said.contains(SECRET), "{said}");
}

/// Fails when an address that is taken is shared, or when what was bound before stays.
#[test]
fn a_taken_port_is_told_by_its_listener() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let said = refused(&GOOD.replace("127.0.0.1:0", &address.to_string()), Some(SECRET));
    assert!(said.contains(&address.to_string()) && said.contains("main"), "{said}");
    assert!(said.to_lowercase().contains("in use"), "{said}");
}

/// Fails when two Doorwards share one port: each would answer a part of the connections.
#[tokio::test]
async fn a_port_that_another_doorward_serves_is_taken() {
    let scene = crate::harness::Scene::of(doorward::emulator::Vendor::Contentstack).await;
    let port = scene.port();
    let config = GOOD.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let said = tokio::task::spawn_blocking(move || {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "password", SECRET);
        let path = write(folder.path(), "doorward.toml", &config);
        let mut child = Command::new(env!("CARGO_BIN_EXE_doorward"))
            .args(["run", "-c"])
            .arg(path)
            .env_clear()
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // It either ends at once or says that it listens.
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        line
    })
    .await
    .unwrap();
    assert!(said.is_empty(), "it listens, too: {said}");
    scene.stop().await;
}
