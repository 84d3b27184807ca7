//! The admin API of a running gateway: who is let in, what it shows, what it does. Every answer that
//! a test gets here is held against the schema that the API describes itself by.

mod actions;
mod described;
mod doors;
mod health;
mod live;
mod requests;
mod rows;

use std::net::SocketAddr;

use doorward::access::key::ClientKey;
use doorward::admin::{self, Place};
use doorward::app::App;
use doorward::emulator::Vendor;
use doorward::server::Address;
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::client::{Answer, Call, Door};
use crate::harness::{STEP_TIME_MAX, Scene, Setup, write};

/// The socket beside the configuration.
pub const ADMIN: &str = "[admin]\nsocket = \"admin.sock\"\n";

/// The token of [`TCP`].
pub const TOKEN: &str = "canary-token-of-operators-0123456789";

/// A TCP port besides; its token is in a file.
pub const TCP: &str = "[admin]\nsocket = \"admin.sock\"\naddress = \"127.0.0.1:0\"\n\
                       token = { file = \"admin_token\" }\nhosts = [\"doorward.internal\"]\n";

/// A scene with the socket of the admin API.
pub async fn watched(setup: Setup) -> Scene {
    setup.tables(ADMIN).start().await
}

pub fn key(name: &str) -> ClientKey {
    ClientKey::generate(name.parse().unwrap()).unwrap()
}

/// The TCP port of the admin API.
pub fn port(app: &App) -> SocketAddr {
    let places = app.operators().iter();
    let mut ports = places.filter_map(|place| match place {
        Place::Tcp(address) => Some(*address),
        Place::Unix(_) => None,
    });
    ports.next().unwrap()
}

/// A call at the socket of the admin API.
pub fn ask(scene: &Scene, method: &str, target: &str) -> Call {
    let socket = scene.app().admin_socket().unwrap().to_owned();
    let door = Door { address: Address::Unix(socket), authority_pem: None };
    Call::new(door, scene.record().clone(), method, target)
}

/// A call at its TCP port, with nothing that lets it in.
pub fn ask_at_port(scene: &Scene, method: &str, target: &str) -> Call {
    let door = Door { address: Address::Tcp(port(scene.app())), authority_pem: None };
    Call::new(door, scene.record().clone(), method, target)
}

/// What is answered to a GET, held against its schema.
pub async fn shown(scene: &Scene, target: &str) -> Value {
    let answer = ask(scene, "GET", target).send().await;
    assert_eq!(answer.status, 200, "{target}: {answer:?}");
    let value = answer.json();
    fits("get", target, &value);
    value
}

/// What is answered to an action that is done.
pub async fn act(scene: &Scene, target: &str, body: Value) -> Value {
    let answer = ask(scene, "POST", target).json(&body).send().await;
    assert_eq!(answer.status, 200, "{target}: {answer:?}");
    let value = answer.json();
    fits("post", target, &value);
    value
}

/// The code of a problem of the admin API.
pub fn problem(answer: &Answer) -> String {
    assert_eq!(answer.one("content-type"), "application/problem+json", "{answer:?}");
    let body = answer.json();
    let described = admin::openapi();
    let schema =
        json!({ "$ref": "#/components/schemas/Problem", "components": described["components"] });
    hold(&validator(&schema), &body, "a problem");
    assert_eq!(body["status"], answer.status.as_u16());
    let code = body["code"].as_str().unwrap().to_owned();
    assert_eq!(body["type"], format!("urn:doorward:admin:{code}"));
    code
}

/// Waits until what is shown is so.
pub async fn until_shown(
    scene: &Scene,
    target: &str,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) -> Value {
    let waiting = async {
        loop {
            let value = shown(scene, target).await;
            if holds(&value) {
                return value;
            }
        }
    };
    let waited = tokio::time::timeout(STEP_TIME_MAX, waiting).await;
    waited.unwrap_or_else(|_| panic!("it never came that {what}"))
}

/// Holds what was answered against the schema of its operation.
pub fn fits(method: &str, target: &str, value: &Value) {
    let described = admin::openapi();
    let path = target.split('?').next().unwrap();
    let paths = described["paths"].as_object().unwrap();
    let is_like = |template: &str| {
        let (wanted, given) = (template.split('/'), path.split('/'));
        wanted.clone().count() == given.clone().count()
            && wanted.zip(given).all(|(one, other)| one.starts_with('{') || one == other)
    };
    let exact = paths.get_key_value(path);
    let found = exact.or_else(|| paths.iter().find(|(template, _)| is_like(template)));
    let (_, operations) = found.unwrap_or_else(|| panic!("{path} is not described"));
    let schema = &operations[method]["responses"]["200"]["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{method} {path} has no schema: {operations}");
    let mut schema = schema.clone();
    schema["components"] = described["components"].clone();
    hold(&validator(&schema), value, target);
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::new(schema).unwrap_or_else(|error| panic!("{error}"))
}

fn hold(validator: &Validator, value: &Value, what: &str) {
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:?} in {value}");
}

/// A scene with the TCP port and its token.
pub async fn with_port(setup: Setup) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let token = write(folder.path(), "admin_token", TOKEN);
    let tables = TCP.replace("\"admin_token\"", &format!("{token:?}"));
    let scene = setup.tables(&tables).start().await;
    // It was read at start.
    drop(folder);
    scene
}

/// Fails when what an operator sees first is not what is so.
#[tokio::test]
async fn the_status_tells_what_runs_and_what_goes_on() {
    let scene = watched(Setup::of(Vendor::Contentstack)).await;
    let before = shown(&scene, "/admin/v1/status").await;
    assert_eq!(before["state"], "running");
    assert_eq!(before["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(before["summary"], "All well: 1 upstream, 0 live sessions");
    assert_eq!(before["troubles"], json!([]));
    assert_eq!(before["listeners"][0]["name"], "main");
    assert_eq!(before["listeners"][0]["asks_for_clients"], false);
    let files = before["configuration"]["files"].as_array().unwrap();
    assert_eq!(files.len(), 2, "{files:?}");
    assert_eq!(before["configuration"]["sha256"].as_str().unwrap().len(), 12);
    for _ in 0..3 {
        assert_eq!(crate::vendors::read(&scene).send().await.status, 200);
    }
    let all_told =
        |status: &Value| status["recent"]["requests"] == 3 && status["upstreams"][0]["logins"] == 1;
    let status = until_shown(&scene, "/admin/v1/status", "3 requests are told", all_told).await;
    assert_eq!(status["traffic"]["sessions"], 1);
    assert_eq!(status["traffic"]["routes"], 1);
    assert_eq!(status["recent"]["errors"], 0);
    assert_eq!(status["upstreams"][0]["name"], "vendor");
    assert_eq!(status["upstreams"][0]["recent"]["requests"], 3);
    scene.clock.advance(std::time::Duration::from_secs(3661));
    let later = shown(&scene, "/admin/v1/status").await;
    assert_eq!(later["uptime_seconds"], 3661);
    scene.stop().await;
}

/// Fails when a gateway whose admin API is switched off has one.
#[tokio::test]
async fn it_can_be_switched_off() {
    let tables = "[admin]\nenabled = false\nsocket = \"admin.sock\"\n";
    let scene = Setup::of(Vendor::Contentstack).tables(tables).start().await;
    assert!(scene.app().operators().is_empty());
    assert!(!scene.folder.path().join("admin.sock").exists());
    scene.stop().await;
}
