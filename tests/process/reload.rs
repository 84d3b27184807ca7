//! The binary reads its configuration again: on SIGHUP, and when a file has changed.

use std::fs;

use doorward::emulator::{Emulator, Options, Vendor};

use crate::site::{Site, ask, get, until};

const VENDOR: Vendor = Vendor::Contentstack;

async fn site() -> (Emulator, Site) {
    let emulator = Emulator::start(VENDOR, Options::default()).await.unwrap();
    let site = Site::new(&emulator);
    (emulator, site)
}

fn text(site: &Site) -> String {
    fs::read_to_string(site.path().join("doorward.toml")).unwrap()
}

/// Fails when SIGHUP does not take the configuration over, ends the process, or costs a login.
#[tokio::test]
async fn a_signal_has_the_configuration_read_again() {
    let (emulator, site) = site().await;
    let before = text(&site);
    let mut doorward = site.start(0).await;
    assert!(ask(doorward.address, VENDOR).await.starts_with("HTTP/1.1 200"));
    site.write("doorward.toml", &before.replace("[[routes]]", "[[routes]]\npath = \"/v3\""));
    doorward.signal_by("-HUP").await;
    doorward.says("configuration reloaded").await;
    doorward.says("listening on").await;
    assert!(ask(doorward.address, VENDOR).await.starts_with("HTTP/1.1 200"));
    assert!(get(doorward.address, "/ HTTP/1.1").await.contains("no_route"));

    // One that cannot be used is told as at a start, and changes nothing.
    site.write("doorward.toml", &before.replace("[timeouts]", "[timeouts]\nreqest = \"1s\""));
    doorward.signal_by("-HUP").await;
    until("the fault is told", || doorward.log().contains("did you mean `request`?")).await;
    let log = doorward.log();
    assert!(log.contains("doorward.toml:") && log.contains("reqest"), "{log}");
    until("what comes of it is told", || {
        doorward.log().contains("the configuration before is kept")
    })
    .await;
    assert!(ask(doorward.address, VENDOR).await.starts_with("HTTP/1.1 200"));
    assert!(get(doorward.address, "/ HTTP/1.1").await.contains("no_route"));

    site.write("doorward.toml", &before);
    doorward.signal_by("-HUP").await;
    doorward.says("configuration reloaded").await;
    assert!(!get(doorward.address, "/ HTTP/1.1").await.contains("no_route"));
    assert_eq!(emulator.control().counters().logins, 1);
    doorward.stop().await;
    assert_eq!(emulator.control().counters().live_sessions, 0);
}

/// Fails when a changed file goes unnoticed although it is asked for.
#[tokio::test]
async fn a_changed_file_is_read_again_where_that_is_asked_for() {
    let (emulator, site) = site().await;
    let before = format!("{}\n[reload]\nwatch = true\n", text(&site));
    site.write("doorward.toml", &before);
    let mut doorward = site.start(0).await;
    assert!(ask(doorward.address, VENDOR).await.starts_with("HTTP/1.1 200"));
    site.write("doorward.toml", &before.replace("[[routes]]", "[[routes]]\npath = \"/v3\""));
    doorward.says("configuration reloaded").await;
    assert!(ask(doorward.address, VENDOR).await.starts_with("HTTP/1.1 200"));
    assert!(get(doorward.address, "/ HTTP/1.1").await.contains("no_route"));
    assert_eq!(emulator.control().counters().logins, 1);
    doorward.stop().await;
}
