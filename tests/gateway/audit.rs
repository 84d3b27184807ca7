//! The audit trail: what its lines say and what they never hold, and which files it is written to.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use doorward::access::key::ClientKey;
use doorward::audit::{Fault, Seal, verify};
use doorward::emulator::{Vendor, contentstack};
use doorward::secret::SecretText;
use serde_json::{Value, json};

use crate::client::Call;
use crate::harness::{Scene, Setup, until, within, write};
use crate::leaks::leaks;

pub const AUDIT: &str = "[audit]\npath = \"audit.jsonl\"\n";

pub const TYPES: &str = "/v3/content_types";

fn key(name: &str) -> ClientKey {
    ClientKey::generate(name.parse().unwrap()).unwrap()
}

pub fn trail(scene: &Scene) -> PathBuf {
    trail_in(scene.folder.path())
}

pub fn trail_in(folder: &Path) -> PathBuf {
    folder.join("audit.jsonl")
}

pub fn lines(path: &Path) -> Vec<Value> {
    parsed(&fs::read_to_string(path).unwrap_or_default())
}

/// Those of a file that is still written: the last one may not have come whole.
pub fn lines_so_far(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    parsed(text.rsplit_once('\n').map_or("", |(whole, _)| whole))
}

fn parsed(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn call(scene: &Scene, target: &str) -> Call {
    scene.call("GET", target).header("api_key", contentstack::API_KEY)
}

/// A request in open mode, and its line in the trail.
pub async fn told(scene: &Scene, target: &str) {
    let id = call(scene, target).send().await.one("x-request-id").to_owned();
    until("the request has its line", || {
        fs::read_to_string(trail(scene)).unwrap_or_default().contains(&id)
    })
    .await;
}

/// What the command says, and its exit code.
pub fn run(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command.args(["audit", "verify"]).args(arguments).current_dir(folder).env_clear();
    let output = command.output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), text)
}

/// Stops the gateway and keeps its folder.
pub async fn stopped(mut scene: Scene) -> Scene {
    within(scene.take_app().stop()).await;
    scene
}

/// Fails when a request, a login or a logout has no line, or when its line says something else than
/// what happened.
#[tokio::test]
async fn every_request_and_every_session_has_its_lines() {
    let (reader, writer) = (key("reader"), key("writer"));
    let grants =
        r#"[{ methods = ["HEAD"] }, { methods = ["GET"], paths = ["/v3/content_types/**"] }]"#;
    let scene = Setup::of(Vendor::Contentstack)
        .client("reader", &reader, grants)
        .client("writer", &writer, "[{}]")
        .tables(AUDIT)
        .start()
        .await;
    let by = |key: &ClientKey, target| call(&scene, target).header("doorward-key", key.expose());
    let post = |target: &str| {
        let call = scene.call("POST", target).header("doorward-key", reader.expose());
        call.header("api_key", contentstack::API_KEY)
    };
    let target =
        format!("/v3/%63ontent_types;p=canary-path?limit=canary-query&k={}", writer.expose());
    let cold = by(&reader, &target).header("x-canary", "canary-header").send().await;
    // The upstream knows no such spelling.
    assert_eq!(cold.status, 404, "{}", cold.text());
    assert_eq!(post(TYPES).body("canary-body").send().await.status, 403);
    scene.control().expire_sessions();
    assert_eq!(by(&writer, TYPES).send().await.status, 200);
    assert_eq!(call(&scene, TYPES).send().await.status, 401);
    let login = scene.call("POST", "/v3/user-session").header("doorward-key", writer.expose());
    assert_eq!(login.body("{}").send().await.status, 200);
    let mut secrets = scene.control().issued();
    let scene = stopped(scene).await;

    let path = trail(&scene);
    let all = lines(&path);
    let requests: Vec<&Value> = all.iter().filter(|line| line["event"] == "request").collect();
    let expected = [
        json!({
            "who": { "client": "reader" }, "method": "GET", "path": TYPES, "upstream": "vendor",
            "account": "user", "generation": 1, "grant": 1, "decision": "forwarded",
            "cause": "forwarded", "status": 404, "replayed": false,
            "request_id": cold.one("x-request-id"), "body_bytes": cold.body.len(),
        }),
        json!({
            "who": { "client": "reader" }, "method": "POST", "path": TYPES, "upstream": "vendor",
            "account": null, "generation": null, "grant": null, "decision": "refused",
            "cause": "not_granted", "status": 403, "waited_ms": null, "session_ms": null,
            "head_ms": null,
        }),
        json!({
            "who": { "client": "writer" }, "generation": 2, "grant": 0, "decision": "forwarded",
            "cause": "replayed", "status": 200, "replayed": true,
        }),
        json!({
            "who": null, "upstream": "vendor", "decision": "refused",
            "cause": "client_key_missing", "status": 401,
        }),
        json!({
            "who": { "client": "writer" }, "method": "POST", "path": "/v3/user-session",
            "account": "user", "generation": null, "grant": 0, "decision": "answered_locally",
            "cause": "logged_in_locally", "status": 200,
        }),
    ];
    assert_eq!(requests.len(), expected.len(), "{requests:#?}");
    for (line, expected) in requests.iter().zip(&expected) {
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&line[name], value, "{name} of {line}");
        }
        assert!(line["took_ms"].is_number(), "{line}");
    }
    assert!(requests[0]["head_ms"].as_f64() >= requests[0]["session_ms"].as_f64());
    let of = |event: &str| all.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    let logins = of("login");
    let told = |line: &Value| (line["trigger"].clone(), line["generation"].clone());
    let told: Vec<_> = logins.iter().map(|line| told(line)).collect();
    assert_eq!(told, [(json!("cold"), json!(1)), (json!("expired"), json!(2))]);
    assert_eq!(of("expired")[0]["generation"], 1);
    assert!(of("logout").iter().any(|line| line["generation"] == 2 && line["confirmed"] == true));
    assert_eq!((of("file").len(), of("started").len(), of("stopped").len()), (1, 1, 1));
    assert_eq!(all.last().unwrap()["event"], "stopped");

    secrets.extend(scene.control().issued());
    secrets.extend([&reader, &writer].map(|key| key.expose().to_owned()));
    let canaries = ["canary-path", "canary-query", "canary-header", "canary-body"];
    secrets.extend(canaries.map(str::to_owned));
    let leaked = leaks(&secrets, &fs::read(&path).unwrap());
    assert!(leaked.is_empty(), "{leaked:?}");
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);

    let (exit, said) = run(scene.folder.path(), &["audit.jsonl"]);
    assert_eq!(exit, 0, "{said}");
    assert!(said.starts_with(&format!("good: {} lines", all.len())), "{said}");
    assert!(said.contains(all.last().unwrap()["hash"].as_str().unwrap()), "{said}");
}

/// Fails when lines go on into a file that was renamed away, when the new one is of another chain,
/// or when files that are missing, swapped or of another run go unnoticed.
#[tokio::test]
async fn a_trail_goes_on_over_files_that_are_renamed_away() {
    let scene = Setup::of(Vendor::Contentstack).tables(AUDIT).start().await;
    let folder = scene.folder.path().to_owned();
    for number in ["1", "2"] {
        told(&scene, TYPES).await;
        fs::rename(trail(&scene), folder.join(number)).unwrap();
    }
    told(&scene, TYPES).await;
    // As logrotate's `create` does it.
    fs::rename(trail(&scene), folder.join("3")).unwrap();
    write(&folder, "audit.jsonl", "");
    told(&scene, TYPES).await;
    let mut scene = stopped(scene).await;
    // The next run goes on where this one has stopped.
    scene.start_again();
    told(&scene, TYPES).await;
    let scene = stopped(scene).await;

    let (exit, said) = run(&folder, &["1", "2", "3", "audit.jsonl"]);
    assert_eq!(exit, 0, "{said}");
    let is_open = |line: &Value| line["event"] != "request" || line["who"] == "open";
    assert!(lines(&folder.join("3")).iter().all(is_open));
    let first = lines(&folder.join("2"))[0].clone();
    let last = lines(&folder.join("1")).last().unwrap().clone();
    assert_eq!((&first["event"], &first["previous"]), (&json!("file"), &last["hash"]));
    assert_eq!(lines(&trail(&scene)).iter().filter(|line| line["event"] == "started").count(), 1);

    let (exit, said) = run(&folder, &["2", "3"]);
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains(&format!("after      {}", last["hash"].as_str().unwrap())), "{said}");
    for (files, at) in [
        (&["1", "3"][..], "3:1: 2 lines are missing before this one, from number "),
        (&["1", "3", "2"], "3:1: "),
        (&["2", "1"], "1:1: a new chain begins here"),
        (&["1", "1"], "1:1: a new chain begins here"),
        (&["1", "nothing"], "nothing: the file cannot be read: "),
    ] {
        let (exit, said) = run(&folder, files);
        assert_eq!(exit, 1, "{files:?}: {said}");
        assert!(said.starts_with(at), "{files:?}: {said}");
    }
    let (exit, said) = run(&folder, &["--json", "1", "3"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((exit, &said["break"]["code"]), (1, &json!("missing")));
    assert_eq!(said["break"]["at"], json!({ "file": "3", "line": 1 }));
}

/// Fails when a chain that was cut at its end passes although a later hash is known, or when
/// nothing can tell it.
#[tokio::test]
async fn a_known_hash_shows_that_the_end_was_cut() {
    let scene = Setup::of(Vendor::Contentstack).tables(AUDIT).start().await;
    told(&scene, TYPES).await;
    let scene = stopped(scene).await;
    let folder = scene.folder.path();
    let (_, said) = run(folder, &["--json", "audit.jsonl"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    let known = said["last_hash"].as_str().unwrap();
    assert_eq!(run(folder, &["--known", known, "audit.jsonl"]).0, 0);
    let text = fs::read_to_string(trail(&scene)).unwrap();
    let cut = text.lines().count() - 1;
    let cut: String = text.split_inclusive('\n').take(cut).collect();
    fs::write(trail(&scene), cut).unwrap();
    assert_eq!(run(folder, &["audit.jsonl"]).0, 0, "an end that is missing cannot show by itself");
    let (exit, said) = run(folder, &["--known", known, "audit.jsonl"]);
    assert_eq!(exit, 1, "{said}");
    assert!(said.starts_with(&format!("audit.jsonl: no line has the hash {known}")), "{said}");
    assert_eq!(run(folder, &["--known", "0A", "audit.jsonl"]).0, 2);
}

/// Fails when two processes append to one trail, or when a file that is none is appended to.
#[tokio::test]
async fn a_trail_belongs_to_one_process_and_is_one() {
    let scene = Setup::of(Vendor::Contentstack).tables(AUDIT).start().await;
    let refused = scene.try_start().unwrap_err().to_string();
    assert!(refused.ends_with("audit.jsonl is in use by another process"), "{refused}");
    let scene = stopped(scene).await;
    let foreign = "a letter\n";
    for content in [foreign.to_owned(), foreign.repeat(100_000)] {
        fs::write(trail(&scene), &content).unwrap();
        let refused = scene.try_start().unwrap_err().to_string();
        assert!(refused.contains("does not end with lines of an audit trail"), "{refused}");
        assert_eq!(fs::read_to_string(trail(&scene)).unwrap(), content);
        let found = verify(&[trail(&scene)], &Seal::Plain, None).unwrap_err();
        assert_eq!((found.fault, found.place.line), (Fault::NoLine, 1));
    }
    let sealed = Seal::keyed(&SecretText::from("key".to_owned()));
    assert!(!format!("{sealed:?}").contains("key\""));
}

/// Fails when an operator lifts a quarantine without a line.
#[tokio::test]
async fn clearing_an_account_has_its_line() {
    let state = "[state]\npath = \"state\"\nkey = { file = \"state_key\" }\n";
    let scene = Setup::of(Vendor::Contentstack).tables(&format!("{AUDIT}{state}")).start().await;
    told(&scene, TYPES).await;
    let scene = stopped(scene).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command.args(["clear", "-c", "base.toml", "-c", "doorward.toml", "vendor"]);
    let output = command.current_dir(scene.folder.path()).env_clear().output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let line = lines(&trail(&scene)).pop().unwrap();
    let told = ["event", "upstream", "account", "was"].map(|name| line[name].as_str().unwrap());
    assert_eq!(told, ["cleared", "vendor", "user", "open"]);
    assert!(line["attempts_left"].as_u64() > Some(0), "{line}");
    assert_eq!(run(scene.folder.path(), &["audit.jsonl"]).0, 0);
}
