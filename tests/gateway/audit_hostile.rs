//! What somebody, a disk or a crash may do to an audit trail while it is written, and what its lines
//! say of requests that did not come to their end.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use doorward::audit::{self, Fault, Seal, Trail, cleared, verify};
use doorward::emulator::Vendor;
use doorward::telemetry::{About, AuditTrouble, Event, OnFailure, reports};
use serde_json::{Value, json};

use crate::audit::{AUDIT, TYPES, call, lines, run, stopped, told, trail};
use crate::client::Raw;
use crate::harness::{Scene, Setup, until, within, write};
use crate::puppet::{Puppet, Reply};

fn requests(scene: &Scene) -> Vec<Value> {
    let mut all = lines(&trail(scene));
    all.retain(|line| line["event"] == "request");
    all
}

/// Fails when a line does not say where a request came from, or what a refused one was for.
#[tokio::test]
async fn a_refused_head_has_its_path_and_its_peer() {
    let scene = Setup::of(Vendor::Contentstack).tables(AUDIT).start().await;
    assert_eq!(scene.call("TRACE", "/v3/wanted?canary").send().await.status, 405);
    let scene = stopped(scene).await;
    let line = &requests(&scene)[0];
    for (name, value) in [
        ("path", json!("/v3/wanted")),
        ("peer", json!("127.0.0.1")),
        ("cause", json!("method_not_allowed")),
        ("decision", json!("refused")),
    ] {
        assert_eq!(line[name], value, "{line}");
    }
}

const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/zip\r\n\
                    content-length: 1000\r\n\r\nfirst half\n";

/// Answers with half of a body.
async fn halving(half: Reply) -> (Puppet, Scene) {
    let puppet = Puppet::logged_in(move |_| half.clone()).await;
    let scene = puppet.setup(Vendor::Contentstack).tables(AUDIT).start().await;
    (puppet, scene)
}

async fn asked(scene: &Scene) -> Raw {
    let mut client = Raw::connect(scene.door(), scene.record()).await;
    client.write("GET /v3/x HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    client
}

/// What the line of the only request says of its end.
fn end_of(scene: &Scene) -> Vec<Value> {
    let requests = requests(scene);
    assert_eq!(requests.len(), 1);
    ["decision", "cause", "status"].map(|name| requests[0][name].clone()).to_vec()
}

/// Fails when an answer that its upstream broke off has the line of one that came to its end.
#[tokio::test]
async fn an_answer_that_its_upstream_broke_off_has_a_line_that_says_so() {
    let (_puppet, scene) = halving(Reply::close(HALF)).await;
    asked(&scene).await.read_to_end().await;
    let scene = stopped(scene).await;
    assert_eq!(end_of(&scene), [json!("forwarded"), json!("upstream_broken"), json!(200)]);
}

/// Fails when a client that left in the middle of its answer has the line of one that got all.
#[tokio::test]
async fn an_answer_that_its_client_left_has_a_line_that_says_so() {
    let (_puppet, scene) = halving(Reply::stall(HALF)).await;
    let mut client = asked(&scene).await;
    client.read_to("half").await;
    drop(client);
    until("it has its line", || !requests(&scene).is_empty()).await;
    assert_eq!(end_of(&scene), [json!("forwarded"), json!("client_left"), json!(200)]);
}

/// The default of `timeouts.drain`, half of that of `timeouts.request`.
const DRAIN: Duration = Duration::from_secs(30);

/// Fails when a client gets the blame for what Doorward's stop has cut off.
#[tokio::test]
async fn what_the_stop_cuts_off_has_a_line_that_says_so() {
    for half in [Reply::stall(HALF), Reply::stall("")] {
        let (puppet, mut scene) = halving(half).await;
        let _client = asked(&scene).await;
        until("the request is there", || puppet.calls().len() == 1).await;
        scene.stop_cutting_off(DRAIN).await;
        let end = end_of(&scene);
        assert_eq!(end[..2], [json!("forwarded"), json!("stopping")]);
    }
}

/// Fails when a path can do something to the terminal of whoever reads the trail, or changes how
/// what is beside it reads.
#[tokio::test]
async fn no_text_in_a_line_does_anything_to_a_terminal() {
    let scene = Setup::of(Vendor::Contentstack).tables(AUDIT).start().await;
    // Escape, CSI as one character, right-to-left override, delete, a tag, a quote and a new line.
    let target = "/v3/a%1B[2Jb%C2%9B2Jc%E2%80%AEd%7Fe%F3%A0%81%81f%22,%22x%22:%0Ag";
    scene.call("GET", target).send().await;
    let scene = stopped(scene).await;
    let text = fs::read_to_string(trail(&scene)).unwrap();
    let hidden = |letter: &char| !matches!(letter, '\n' | ' '..='~');
    assert_eq!(text.chars().filter(hidden).count(), 0, "{text:?}");
    let path = "/v3/a\u{1b}[2Jb\u{9b}2Jc\u{202e}d\u{7f}e\u{e0041}f\",\"x\":\ng";
    assert_eq!(requests(&scene)[0]["path"], path);
    assert_eq!(run(scene.folder.path(), &["audit.jsonl"]).0, 0);
}

/// Fails when lines go into a file that is no trail because somebody has put it, or a link to it, in
/// the trail's place.
#[tokio::test]
async fn nothing_is_appended_to_a_file_that_is_put_in_the_trails_place() {
    let scene = Setup::of(Vendor::Contentstack).tables(AUDIT).start().await;
    told(&scene, TYPES).await;
    let foreign = "somebody's own lines\n";
    let target = write(scene.folder.path(), "foreign", foreign);
    fs::rename(trail(&scene), scene.folder.path().join("1")).unwrap();
    std::os::unix::fs::symlink(&target, trail(&scene)).unwrap();
    assert_eq!(call(&scene, TYPES).send().await.status, 200);
    let is_told = |event: &Event| matches!(event, Event::Audit(AuditTrouble::Unwritable { .. }));
    until("it is told", || scene.events().iter().any(is_told)).await;
    fs::remove_file(trail(&scene)).unwrap();
    told(&scene, TYPES).await;
    let scene = stopped(scene).await;
    assert_eq!(fs::read_to_string(target).unwrap(), foreign);
    let (exit, said) = run(scene.folder.path(), &["1", "audit.jsonl"]);
    assert_eq!((exit, said.contains("lost       ")), (0, true), "{said}");
}

/// Fails when a trail is gone on with under another key, or with one where there was none: its file
/// would then be verified by neither.
#[tokio::test]
async fn a_trail_is_gone_on_with_under_its_own_key_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let keyed = |key: &str| Seal::keyed(&doorward::secret::SecretText::from(key.to_owned()));
    let line = || cleared("cms", "editor", "quarantined", 3);
    for (seal, others) in
        [(Seal::Plain, vec![keyed("one")]), (keyed("one"), vec![keyed("other"), Seal::Plain])]
    {
        _ = fs::remove_file(&path);
        for _ in 0..2 {
            Trail::open(&path, seal.clone()).unwrap().append(&[line()]).unwrap();
            for other in &others {
                let refused = Trail::open(&path, other.clone()).unwrap_err().to_string();
                let how = if other.is_keyed() { "with this key" } else { "without a key" };
                assert!(refused.contains(&format!("was not written {how}")), "{refused}");
            }
        }
        assert!(verify(std::slice::from_ref(&path), &seal, None).is_ok());
    }
}

/// Fails when something can be put behind the last line of a file that others follow, or be taken
/// away there, and pass for what a full disk has left.
#[tokio::test]
async fn what_a_full_disk_left_at_the_end_of_a_file_is_known_to_the_next_one() {
    let scene = Setup::of(Vendor::Contentstack).tables(AUDIT).start().await;
    told(&scene, TYPES).await;
    let folder = scene.folder.path().to_owned();
    fs::rename(trail(&scene), folder.join("1")).unwrap();
    told(&scene, TYPES).await;
    let scene = stopped(scene).await;
    assert_eq!(run(&folder, &["1", "audit.jsonl"]).0, 0);
    let forged = r#"{"seq":9,"at":"2026-01-01T00:00:00Z","event":"request","who":"me"}"#;
    OpenOptions::new()
        .append(true)
        .open(folder.join("1"))
        .unwrap()
        .write_all(forged.as_bytes())
        .unwrap();
    let found = verify(&[folder.join("1"), trail(&scene)], &Seal::Plain, None).unwrap_err();
    assert_eq!(found.fault, Fault::NoLine);
    assert_eq!(found.place.file, folder.join("1"));
}

/// Fails when an end of a gateway without a word, or lines that were cut off before a start, go
/// unmentioned.
#[tokio::test]
async fn a_start_that_follows_no_stop_is_mentioned() {
    let scene = Setup::of(Vendor::Contentstack).tables(AUDIT).start().await;
    told(&scene, TYPES).await;
    let mut scene = stopped(scene).await;
    let text = fs::read_to_string(trail(&scene)).unwrap();
    let count = text.lines().count();
    let cut: String = text.split_inclusive('\n').take(count - 1).collect();
    write(scene.folder.path(), "audit.jsonl", &cut);
    scene.start_again();
    told(&scene, TYPES).await;
    let scene = stopped(scene).await;
    let (exit, said) = run(scene.folder.path(), &["audit.jsonl"]);
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains(&format!("unstopped  audit.jsonl:{count}: ")), "{said}");
    assert!(said.contains("sealed     without a key"), "{said}");
    let (_, said) = run(scene.folder.path(), &["--json", "audit.jsonl"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["unstopped"], json!([{ "file": "audit.jsonl", "line": count }]));
    assert_eq!(said["keyed"], false);
}

/// The lines of some events, by way of a file.
async fn lines_of(folder: &Path, events: Vec<Event>) -> Vec<Value> {
    let path = folder.join("audit.jsonl");
    let (reporter, reports) = reports();
    let trail = Trail::open(&path, Seal::Plain).unwrap();
    let (audit, ended) = audit::start(trail, reporter.downgrade(), OnFailure::Continue).unwrap();
    let reports = reports.for_readers(vec![Box::new(audit)]);
    for event in events {
        reporter.report(event);
    }
    drop(reporter);
    within(reports.run()).await;
    within(ended).await.unwrap();
    lines(&path)
}

/// Fails when an event about a session or an account has no line.
#[tokio::test]
async fn late_expiries_and_a_state_that_cannot_be_written_have_lines() {
    let (upstream, account) = (Arc::<str>::from("cms"), Arc::<str>::from("editor"));
    let about = About { upstream: upstream.clone(), account: account.clone(), generation: 7 };
    let why = "No space left on device".to_owned();
    let folder = tempfile::tempdir().unwrap();
    let events = vec![
        Event::LateExpiry(about),
        Event::StateUnwritable { upstream, account, why: why.clone() },
    ];
    let all = lines_of(folder.path(), events).await;
    let of = |event: &str| all.iter().find(|line| line["event"] == event).unwrap();
    assert_eq!(of("late_expiry")["generation"], 7);
    assert_eq!(
        (&of("state_unwritable")["cause"], &of("state_unwritable")["account"]),
        (&json!(why), &json!("editor"))
    );
}

/// Fails when a request is forwarded although nobody can write that down, when it goes on so
/// afterwards, or when a line is lost that could have waited.
#[tokio::test]
async fn where_the_operator_wants_it_no_request_is_forwarded_without_a_line() {
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let tables = format!("{AUDIT}on_failure = \"block\"\n");
    let scene = puppet.setup(Vendor::Contentstack).tables(&tables).start().await;
    told(&scene, TYPES).await;
    let first = scene.folder.path().join("1");
    fs::rename(trail(&scene), &first).unwrap();
    fs::create_dir(trail(&scene)).unwrap();
    // Nothing is known of the failure before this one's line.
    assert_eq!(call(&scene, TYPES).send().await.status, 200);
    let is_told = |is: fn(&AuditTrouble) -> bool| {
        scene.events().iter().any(|event| matches!(event, Event::Audit(one) if is(one)))
    };
    until("it is told", || is_told(|one| matches!(one, AuditTrouble::Unwritable { .. }))).await;
    let arrived = puppet.calls().len();
    let refused = call(&scene, TYPES).send().await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (503, "audit_unwritable"));
    assert_eq!(refused.one("retry-after"), "10");
    assert_eq!(puppet.calls().len(), arrived);
    fs::remove_dir(trail(&scene)).unwrap();
    until("it is told", || is_told(|one| matches!(one, AuditTrouble::Lost { lost: 0 }))).await;
    assert_eq!(call(&scene, TYPES).send().await.status, 200);
    let scene = stopped(scene).await;
    let found = verify(&[first.clone(), trail(&scene)], &Seal::Plain, None).unwrap();
    assert_eq!(found.lost, 0);
    let causes = [&first, &trail(&scene)].map(|path| lines(path)).concat();
    let causes: Vec<_> = causes.iter().filter_map(|line| line["cause"].as_str()).collect();
    assert_eq!(causes, ["forwarded", "forwarded", "audit_unwritable", "forwarded"]);
}
