//! The description of the admin API: every path is in it, and every answer is as it says.

use doorward::admin;
use doorward::emulator::Vendor;
use doorward::server::Address;
use serde_json::Value;

use super::{TOKEN, act, ask, fits, key, shown, until_shown, watched, with_port};
use crate::client::{Door, Raw, Record};
use crate::harness::{Scene, Setup};
use crate::leaks::leaks;
use crate::vendors::read;

/// What the API has; a path more or less is a change of its contract, and stands here too.
const PATHS: [&str; 26] = [
    "get /",
    "get /admin/v1/clients",
    "get /admin/v1/config",
    "get /admin/v1/live",
    "get /admin/v1/logins",
    "get /admin/v1/openapi.json",
    "get /admin/v1/rejected",
    "get /admin/v1/requests",
    "get /admin/v1/requests/{id}",
    "get /admin/v1/sessions",
    "get /admin/v1/status",
    "get /admin/v1/summaries",
    "get /admin/v1/upstreams",
    "get /livez",
    "get /metrics",
    "get /page/{file}",
    "get /readyz",
    "post /admin/v1/clients/revoke",
    "post /admin/v1/drain",
    "post /admin/v1/links",
    "post /admin/v1/reload",
    "post /admin/v1/sessions/{upstream}/{account}/clear",
    "post /admin/v1/sessions/{upstream}/{account}/log_in",
    "post /admin/v1/sessions/{upstream}/{account}/log_out",
    "post /admin/v1/upstreams/{upstream}/pause",
    "post /admin/v1/upstreams/{upstream}/resume",
];

/// Fails when a path is served that is not described, or described and not served.
#[tokio::test]
async fn every_path_is_described_and_served() {
    let scene = watched(Setup::of(Vendor::Contentstack)).await;
    let described = ask(&scene, "GET", "/admin/v1/openapi.json").send().await.json();
    assert_eq!(described, admin::openapi());
    assert_eq!(described["openapi"], "3.1.0");
    let mut paths = Vec::new();
    for (path, methods) in described["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            paths.push(format!("{method} {path}"));
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{path}");
            assert!(operation["operationId"].is_string(), "{path}");
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            assert_eq!(body.is_object(), method == "post", "{path}");
        }
    }
    paths.sort();
    assert_eq!(paths, PATHS);
    // Each of them is there: what is asked for wrongly is not what is not there.
    for one in PATHS {
        let (method, path) = one.split_once(' ').unwrap();
        let path =
            path.replace("{id}", "none").replace("{upstream}", "x").replace("{account}", "x");
        let wrong = if method == "get" { "DELETE" } else { "GET" };
        let answer = ask(&scene, wrong, &path).json(&serde_json::json!({})).send().await;
        assert_eq!(answer.status, 405, "{one}: {answer:?}");
    }
    scene.stop().await;
}

/// Fails when an answer has another form than the description says.
#[tokio::test]
async fn every_answer_is_as_it_is_described() {
    let scene = watched(Setup::of(Vendor::Contentstack)).await;
    assert_eq!(read(&scene).send().await.status, 200);
    let is_told = |requests: &Value| requests["total"] == 1;
    let requests = until_shown(&scene, "/admin/v1/requests", "one is told", is_told).await;
    scene.clock.advance(std::time::Duration::from_secs(1));
    let id = requests["items"][0]["id"].as_str().unwrap();
    let one = format!("/admin/v1/requests/{id}");
    let mut count = 0;
    for path in PATHS {
        let Some(path) = path.strip_prefix("get /admin/v1/") else { continue };
        if matches!(path, "live" | "openapi.json") {
            continue;
        }
        let target = format!("/admin/v1/{}", path.replace("requests/{id}", &one[10..]));
        let value = shown(&scene, &target).await;
        assert!(value.is_object(), "{target}");
        count += 1;
    }
    assert_eq!(count, 10);
    scene.stop().await;
}

/// Fails when this check could not fail.
#[test]
#[should_panic(expected = "uptime_seconds")]
fn an_answer_without_a_member_is_not_as_it_is_described() {
    fits("get", "/admin/v1/status", &serde_json::json!({ "version": "1" }));
}

/// Fails when a session value, a password, a client's key or the token is in an answer, an event or a
/// page.
#[tokio::test]
async fn nothing_secret_is_in_any_answer() {
    let alice = key("alice");
    let setup = Setup::of(Vendor::Contentstack).keys(&[("alice", &alice)]);
    let scene = with_port(setup).await;
    let mut live = ask_live(&scene).await;
    let call = || read(&scene).header("doorward-key", alice.expose());
    assert_eq!(call().send().await.status, 200);
    scene.control().expire_sessions();
    assert_eq!(call().send().await.status, 200);
    // Where a client may put what nobody else may see.
    let key_in_path = format!("/v3/{}?k={}", alice.expose(), alice.expose());
    scene.call("GET", &key_in_path).header("doorward-key", alice.expose()).send().await;
    let token = scene.control().issued().pop().unwrap();
    scene.call("GET", "/v3/user").header("authtoken", &token).send().await;
    let mut raw = Raw::connect(scene.door(), &Record::default()).await;
    raw.write(&format!("TRACE /{} HTTP/1.1\r\nhost: a\r\ncookie: {token}\r\n\r\n", alice.expose()))
        .await;
    raw.read_to_end().await;
    until_shown(&scene, "/admin/v1/requests", "all are told", |all| all["total"] == 5).await;
    for path in PATHS {
        let Some(path) = path.strip_prefix("get ") else { continue };
        if path != "/admin/v1/live" {
            ask(&scene, "GET", path).send().await;
        }
    }
    for path in ["log_in", "log_out"] {
        let target = format!("/admin/v1/sessions/vendor/user/{path}");
        act(&scene, &target, serde_json::json!({})).await;
    }
    let wrong = serde_json::json!({ "digest": alice.expose() });
    ask(&scene, "POST", "/admin/v1/clients/revoke").json(&wrong).send().await;
    live.read_to("event: session").await;
    let seen = scene.record().bytes();
    let secrets: Vec<String> = scene
        .control()
        .issued()
        .into_iter()
        .chain([alice.expose().to_owned(), TOKEN.to_owned(), alice.digest().to_string()])
        .collect();
    assert!(secrets.len() >= 5, "there are values to look for");
    let leaked = leaks(&secrets, &seen);
    assert!(leaked.is_empty(), "{leaked:?}");
    drop(live);
    scene.stop().await;
}

/// The stream of everything that happens.
async fn ask_live(scene: &Scene) -> Raw {
    let socket = scene.app().admin_socket().unwrap().to_owned();
    let door = Door { address: Address::Unix(socket), authority_pem: None };
    let mut raw = Raw::connect(&door, scene.record()).await;
    raw.write("GET /admin/v1/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    raw.read_to("\r\n\r\n").await;
    raw
}
