//! The access log: a line for each request, and nothing in it that nobody has named.

use std::fs;
use std::path::PathBuf;

use doorward::access::key::ClientKey;
use doorward::app::{self, StartError};
use doorward::emulator::{Vendor, contentstack};
use serde_json::{Value, json};

use crate::audit::{lines, lines_so_far};
use crate::harness::{Scene, Setup, until, within};
use crate::leaks::leaks;
use crate::page::sum;
use crate::vendors::read;

const LOG: &str = "[access_log]\npath = \"access.log\"\n";

fn path(scene: &Scene) -> PathBuf {
    scene.folder.path().join("access.log")
}

fn key(name: &str) -> ClientKey {
    ClientKey::generate(name.parse().unwrap()).unwrap()
}

/// Waits for the line of a request.
async fn line_of(scene: &Scene, id: &str) -> Value {
    let path = path(scene);
    let line = || lines_so_far(&path).into_iter().find(|line| line["request_id"] == id);
    until("the request has its line", || line().is_some()).await;
    line().unwrap()
}

/// Fails when a request has no line, when its line says something else than what happened, or when it
/// holds what nobody has named.
#[tokio::test]
async fn every_request_has_a_line_with_what_was_named() {
    let key = key("alice");
    let named =
        "query = [\"page\", \"token\"]\nheaders = [\"user-agent\", \"x-own\", \"authtoken\"]\n";
    let scene = Setup::of(Vendor::Contentstack)
        .keys(&[("alice", &key)])
        .tables(&format!("{LOG}{named}"))
        .start()
        .await;
    let target = format!("/v3/content_types?page=2&hidden=canary-1&token={}", key.expose());
    let call = scene.call("GET", &target).header("api_key", contentstack::API_KEY);
    let call = call.header("doorward-key", key.expose()).header("user-agent", "test/1");
    let call = call.header("x-own", &format!("bearer of {}", key.expose()));
    let answer = call.header("authtoken", "canary-2").header("x-other", "canary-3").send().await;
    let line = line_of(&scene, answer.one("x-request-id")).await;
    for (member, value) in [
        ("client", json!("alice")),
        ("method", json!("GET")),
        ("path", json!("/v3/content_types")),
        ("protocol", json!("HTTP/1.1")),
        ("scheme", json!("http")),
        ("listener", json!("main")),
        ("status", json!(200)),
        ("decision", json!("forwarded")),
        ("reason", json!("forwarded")),
        ("upstream", json!("vendor")),
        ("account", json!("user")),
        ("replayed", json!(false)),
        ("peer", json!("127.0.0.1")),
        ("query", json!({ "page": ["2"], "token": ["[client credential]"] })),
        ("headers", json!({ "user-agent": ["test/1"], "x-own": ["[client credential]"] })),
    ] {
        assert_eq!(line[member], value, "{member}: {line}");
    }
    assert_eq!(line["body_bytes"], answer.body.len());

    let refused = scene.call("GET", "/v3/x?page=7").send().await;
    let line = line_of(&scene, refused.one("x-request-id")).await;
    assert_eq!((&line["reason"], &line["status"]), (&json!("client_key_missing"), &json!(401)));
    assert_eq!((&line["client"], &line["account"]), (&Value::Null, &Value::Null));

    let text = fs::read_to_string(path(&scene)).unwrap();
    assert!(!text.contains("canary"), "{text}");
    let mut secrets = scene.control().issued();
    secrets.push(key.expose().to_owned());
    let leaked = leaks(&secrets, text.as_bytes());
    assert!(leaked.is_empty(), "{leaked:?}");
    assert_eq!(sum(&scene, "doorward_access_log_lost_lines_total", &[]), 0.0);
    scene.stop().await;
}

/// Fails when lines go on into a file that was renamed away, or when the last ones are not written
/// before the gateway has stopped.
#[tokio::test]
async fn the_file_may_be_renamed_away_and_the_last_line_is_written() {
    let mut scene = Setup::of(Vendor::Contentstack).tables(LOG).start().await;
    let first = read(&scene).send().await.one("x-request-id").to_owned();
    line_of(&scene, &first).await;
    let away = scene.folder.path().join("access.log.1");
    fs::rename(path(&scene), &away).unwrap();
    let last = read(&scene).send().await.one("x-request-id").to_owned();
    within(scene.take_app().stop()).await;
    let ids = |path| lines(path).iter().map(|line| line["request_id"].clone()).collect::<Vec<_>>();
    assert_eq!((ids(&away), ids(&path(&scene))), (vec![json!(first)], vec![json!(last)]));
}

/// Fails when a client writes lines of its own, or when what other programs read is not there.
#[tokio::test]
async fn the_combined_form_is_what_web_servers_write() {
    let tables = format!("{LOG}format = \"combined\"\nheaders = [\"user-agent\"]\n");
    let scene = Setup::of(Vendor::Contentstack).tables(&tables).start().await;
    let answer = read(&scene).header("user-agent", "a \"quoted\" \\ one").send().await;
    let id = answer.one("x-request-id").to_owned();
    let log = path(&scene);
    until("there is a line", || fs::read_to_string(&log).unwrap_or_default().contains(&id)).await;
    let text = fs::read_to_string(&log).unwrap();
    let [line] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    let (begin, rest) = line.split_once(" [").unwrap();
    assert_eq!(begin, "127.0.0.1 - -");
    let rest = rest.split_once("] ").unwrap().1;
    let bytes = answer.body.len();
    assert_eq!(
        rest,
        format!(
            "\"GET /v3/content_types HTTP/1.1\" 200 {bytes} \"-\" \"a \\\"quoted\\\" \\\\ one\" \
             forwarded {id}"
        )
    );
    scene.stop().await;
}

/// Fails when a log that cannot be written keeps nobody from starting.
#[tokio::test]
async fn a_log_that_cannot_be_opened_is_told_at_start() {
    let scene = Setup::of(Vendor::Contentstack).tables(LOG).start().await;
    fs::remove_file(path(&scene)).unwrap();
    fs::create_dir(path(&scene)).unwrap();
    let error = scene.try_start().unwrap_err();
    assert!(matches!(error, StartError::AccessLog { .. }), "{error}");
    let help = app::load(&doorward::settings::Sources {
        files: vec![crate::harness::write(
            scene.folder.path(),
            "other.toml",
            "[access_log]\npath = \"a\"\nstream = \"stdout\"\n",
        )],
        environment: doorward::secret::Environment::given([]),
    });
    assert!(help.err().unwrap().to_string().contains("either to `path` or to `stream`"));
}
