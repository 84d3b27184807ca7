//! What Prometheus's own tool says of the page of metrics and of the alert rules: `cargo test --test
//! promtool`, where it is installed (Debian's package `prometheus`).

// The whole binary is test code, and uses a part of the gateway's harness.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(dead_code)]

#[path = "../gateway/client.rs"]
mod client;
#[path = "../gateway/harness.rs"]
mod harness;
#[path = "../clients/leaks.rs"]
mod leaks;
#[path = "../gateway/page.rs"]
mod page;
#[path = "../gateway/vendors.rs"]
mod vendors;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use doorward::emulator::{User, Vendor};
use doorward::telemetry::metrics::Format;

use harness::{Scene, Setup};
use page::counted;
use vendors::{read, write};

/// What the tool says of what it is given; it must be content.
fn promtool(arguments: &[&str], input: &str) -> String {
    let (code, said) = run(arguments, input);
    assert_eq!(code, 0, "promtool {arguments:?}: {said}");
    said
}

fn run(arguments: &[&str], input: &str) -> (i32, String) {
    let observability = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/observability");
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(observability);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().expect("promtool is installed");
    running.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), said)
}

/// A scene in which much has happened: answers, own answers, a replay, a login that failed.
async fn busy() -> Scene {
    let scene = Setup::of(Vendor::Contentstack).tables("[access_log]\npath = \"access.log\"\n");
    let scene = scene.start().await;
    for number in 0..5 {
        assert!(read(&scene).send().await.status.is_success());
        assert!(write(&scene, number).send().await.status.is_success());
    }
    scene.control().expire_sessions();
    assert!(read(&scene).send().await.status.is_success());
    assert_eq!(scene.call("TRACE", "/").send().await.status, 405);
    counted(&scene, "http_server_request_duration_seconds_count", &[], 12.0).await;
    counted(&scene, "doorward_logins_total", &[], 2.0).await;
    scene
}

#[tokio::test]
async fn promtool_has_nothing_to_say_of_the_page() {
    let user = User::new(Vendor::MFiles.seeded_user().login, "not the password");
    let refused = Setup::of(Vendor::MFiles).user(user).start().await;
    assert_eq!(read(&refused).send().await.problem(), "login_refused");
    for scene in [busy().await, refused] {
        let page = scene.app().metrics().render(Format::Text);
        // Of a page without a fault it says nothing.
        assert_eq!(promtool(&["check", "metrics"], &page), "");
    }
}

/// Otherwise the test before this one could not fail.
#[test]
fn promtool_finds_faults() {
    let (code, said) = run(&["check", "metrics"], "# HELP a b\n# TYPE a counter\na 1\n");
    assert!(code != 0 && said.contains("\"_total\" suffix"), "{code}: {said}");
}

#[test]
fn promtool_takes_the_alert_rules_and_they_come_when_they_should() {
    let said = promtool(&["check", "rules", "alerts.yaml"], "");
    assert!(said.contains("SUCCESS"), "{said}");
    let said = promtool(&["test", "rules", "alerts.test.yaml"], "");
    assert!(said.contains("SUCCESS"), "{said}");
}
