//! What operators do by the admin API: to sessions, accounts, upstreams, keys and the gateway.

use std::time::Duration;

use doorward::emulator::{User, Vendor};
use doorward::telemetry::Event;
use serde_json::{Value, json};

use super::{ADMIN, act, ask, key, problem, shown, until_shown, watched};
use crate::audit::{AUDIT, lines_so_far, trail};
use crate::harness::{Setup, until, within, write};
use crate::vendors::{login_line, read};

const LOG_IN: &str = "/admin/v1/sessions/vendor/user/log_in";
const LOG_OUT: &str = "/admin/v1/sessions/vendor/user/log_out";
const CLEAR: &str = "/admin/v1/sessions/vendor/user/clear";
const PAUSE: &str = "/admin/v1/upstreams/vendor/pause";
const RESUME: &str = "/admin/v1/upstreams/vendor/resume";

/// Fails when a login that an operator asks for takes the session from requests, leaves the old one
/// open, or is not told with who asked.
#[tokio::test]
async fn an_operator_logs_in_again_and_out() {
    let setup = Setup::of(Vendor::Contentstack).tables(AUDIT).tables(ADMIN);
    let scene = setup.start().await;
    let cold = act(&scene, LOG_IN, json!({})).await;
    assert_eq!(cold["action"], "log_in");
    assert_eq!(cold["subject"], "vendor.user");
    assert_eq!(read(&scene).send().await.status, 200);
    // The session that is there serves while the next one is made.
    let held = scene.control().hold(login_line(Vendor::Contentstack));
    let again = ask(&scene, "POST", LOG_IN).json(&json!({})).spawn();
    within(held.arrived(1)).await;
    let renewing = shown(&scene, "/admin/v1/sessions").await;
    assert_eq!(renewing["items"][0]["state"], "renewing");
    assert_eq!(renewing["items"][0]["generation"], cold["generation"]);
    assert_eq!(read(&scene).send().await.status, 200);
    held.release();
    let again = within(again).await.unwrap().json();
    assert!(again["generation"].as_u64() > cold["generation"].as_u64(), "{again}");
    assert_eq!(read(&scene).send().await.status, 200);
    until("the first one is logged out", || scene.control().counters().live_sessions == 1).await;
    assert_eq!(scene.control().counters().logins, 2);

    let out = act(&scene, LOG_OUT, json!({})).await;
    assert_eq!(out["generation"], again["generation"]);
    until("it is logged out", || scene.control().counters().live_sessions == 0).await;
    let none = ask(&scene, "POST", LOG_OUT).json(&json!({})).send().await;
    assert_eq!((none.status.as_u16(), problem(&none).as_str()), (409, "conflict"));
    assert_eq!(read(&scene).send().await.status, 200, "the next request logs in");
    let unknown = "/admin/v1/sessions/vendor/nobody/log_in";
    let unknown = ask(&scene, "POST", unknown).json(&json!({})).send().await;
    assert_eq!((unknown.status.as_u16(), problem(&unknown).as_str()), (404, "not_found"));

    let operations = || {
        let all = lines_so_far(&trail(&scene));
        all.into_iter().filter(|line| line["event"] == "operator").collect::<Vec<_>>()
    };
    until("all of it is in the trail", || operations().len() == 5).await;
    let told: Vec<_> = operations()
        .iter()
        .map(|line| format!("{} {} {}", line["action"], line["subject"], line["outcome"]))
        .collect();
    assert_eq!(told[0], "\"log_in\" \"vendor.user\" \"done\"");
    assert_eq!(told[3], "\"log_out\" \"vendor.user\" \"failed\"");
    assert_eq!(told[4], "\"log_in\" \"vendor.nobody\" \"failed\"");
    let user = nix_uid();
    assert!(operations().iter().all(|line| line["by"] == format!("uid:{user}")));
    let logins = until_shown(&scene, "/admin/v1/logins", "three logins are told", |logins| {
        logins["total"] == 3
    });
    let logins = logins.await;
    assert_eq!(logins["items"][1]["trigger"], "manual");
    scene.stop().await;
}

fn nix_uid() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap())
}

/// Fails when a client's own session cannot be told from the one that is shared.
#[tokio::test]
async fn a_clients_own_session_is_logged_out_alone() {
    let (alice, bob) = (key("alice"), key("bob"));
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.route = "session = \"per-client\"".to_owned();
    let scene = watched(setup.keys(&[("alice", &alice), ("bob", &bob)])).await;
    for key in [&alice, &bob] {
        assert_eq!(read(&scene).header("doorward-key", key.expose()).send().await.status, 200);
    }
    act(&scene, LOG_OUT, json!({ "client": "alice" })).await;
    until("one is left", || scene.control().counters().live_sessions == 1).await;
    let left = shown(&scene, "/admin/v1/sessions").await;
    assert_eq!((left["total"].as_u64(), &left["items"][0]["client"]), (Some(1), &json!("bob")));
    let unknown = ask(&scene, "POST", LOG_OUT).json(&json!({ "client": "carol" })).send().await;
    assert_eq!(problem(&unknown), "not_found");
    scene.stop().await;
}

/// Fails when a quarantine outlasts an operator who lifts it, or is lifted without a new attempt being
/// counted.
#[tokio::test]
async fn an_operator_lifts_a_quarantine_while_it_runs() {
    let login = Vendor::Contentstack.seeded_user().login;
    let user = User::new(login.clone(), "canary, later right");
    let state = "[state]\npath = \"state\"\nkey = { file = \"state_key\" }\n";
    let setup = Setup::of(Vendor::Contentstack).user(user.clone()).tables(state).tables(ADMIN);
    let mut scene = setup.start().await;
    assert_eq!(read(&scene).send().await.problem(), "login_refused");
    // Mended at the vendor: nothing changes here.
    scene.control().add_user(user);
    assert_eq!(read(&scene).send().await.problem(), "login_refused");
    let refused = ask(&scene, "POST", LOG_IN).json(&json!({})).send().await;
    assert_eq!((refused.status.as_u16(), problem(&refused).as_str()), (503, "unavailable"));
    let cleared = act(&scene, CLEAR, json!({})).await;
    assert!(
        cleared["detail"].as_str().unwrap().starts_with("was quarantined (bad_secret)"),
        "{cleared}"
    );
    let account = |upstreams: &Value| upstreams["items"][0]["accounts"][0].clone();
    let whole = account(&shown(&scene, "/admin/v1/upstreams").await);
    assert_eq!(whole["state"], "open");
    assert_eq!(whole["attempts_left"], whole["attempts_max"]);
    assert_eq!(read(&scene).send().await.status, 200);
    // It is so after a restart, too.
    within(scene.take_app().stop()).await;
    scene.start_again();
    assert_eq!(account(&shown(&scene, "/admin/v1/upstreams").await)["state"], "open");
    assert_eq!(read(&scene).send().await.status, 200);
    scene.stop().await;
}

/// Fails when a paused upstream gets a request or a login, or when resuming does not end that.
#[tokio::test]
async fn a_paused_upstream_gets_nothing_until_it_is_resumed() {
    let scene = watched(Setup::of(Vendor::Contentstack)).await;
    assert_eq!(read(&scene).send().await.status, 200);
    act(&scene, PAUSE, json!({ "retry_after_seconds": 90 })).await;
    scene.control().reset_counters();
    let refused = read(&scene).send().await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (503, "upstream_paused"));
    assert_eq!(refused.one("retry-after"), "90");
    let held = ask(&scene, "POST", LOG_IN).json(&json!({})).send().await;
    assert_eq!((problem(&held).as_str(), held.one("retry-after")), ("unavailable", "90"));
    assert_eq!(scene.control().counters().requests, 0);
    let upstreams = shown(&scene, "/admin/v1/upstreams").await;
    assert_eq!(upstreams["items"][0]["paused"]["retry_after_seconds"], 90);
    let status = shown(&scene, "/admin/v1/status").await;
    assert!(status["troubles"][0].as_str().unwrap().contains("paused by an operator"), "{status}");
    act(&scene, RESUME, json!({})).await;
    assert_eq!(read(&scene).send().await.status, 200);
    assert_eq!(scene.control().counters().logins, 0, "the session was kept");
    let twice = ask(&scene, "POST", RESUME).json(&json!({})).send().await;
    assert_eq!(problem(&twice), "conflict");
    let unknown = "/admin/v1/upstreams/nothing/pause";
    assert_eq!(problem(&ask(&scene, "POST", unknown).json(&json!({})).send().await), "not_found");
    // A pause outlasts a configuration.
    act(&scene, PAUSE, json!({})).await;
    let reloaded = act(&scene, "/admin/v1/reload", json!({})).await;
    assert!(reloaded["detail"].as_str().unwrap().starts_with("read again and in force"));
    assert_eq!(read(&scene).send().await.problem(), "upstream_paused");
    write(scene.folder.path(), "doorward.toml", "canary = nothing\n");
    let faulty = ask(&scene, "POST", "/admin/v1/reload").json(&json!({})).send().await;
    assert_eq!((faulty.status.as_u16(), problem(&faulty).as_str()), (409, "conflict"));
    assert!(faulty.text().contains("doorward.toml"), "{faulty:?}");
    scene.stop().await;
}

/// Fails when a configuration that was refused goes unseen by whoever did not ask for it, or is told
/// of when another one is in force.
#[tokio::test]
async fn a_refused_configuration_needs_a_look_until_one_is_taken() {
    let scene = watched(Setup::of(Vendor::Contentstack).tables("# here\n")).await;
    let status = || shown(&scene, "/admin/v1/status");
    assert_eq!(status().await["configuration"]["last_reload"], Value::Null);
    scene.change_config("# here", "[timeouts]\nreqest = \"1s\"\ncanary = 1");
    scene.fail_to_reload().await;
    let refused = status().await;
    let faults = refused["configuration"]["last_reload"]["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 2, "{refused}");
    let trouble = refused["troubles"][0].as_str().unwrap();
    assert!(trouble.contains("the one before is kept") && trouble.contains("reqest"), "{trouble}");
    assert!(trouble.contains("doorward.toml:") && trouble.ends_with("(and 1 more)"), "{trouble}");
    assert_eq!(
        refused["summary"].as_str().unwrap().split(':').next(),
        Some("One thing needs a look")
    );
    scene.change_config("[timeouts]\nreqest = \"1s\"\ncanary = 1", "# here");
    scene.reload().await;
    let taken = status().await;
    assert_eq!(taken["troubles"], json!([]));
    assert_eq!(taken["configuration"]["last_reload"]["faults"], json!([]));
    scene.stop().await;
}

/// Fails when a pause ends a request that is under way.
#[tokio::test]
async fn what_is_under_way_outlives_a_pause() {
    let scene = watched(Setup::of(Vendor::Contentstack)).await;
    let login = scene.control().hold(login_line(Vendor::Contentstack));
    let call = read(&scene).spawn();
    within(login.arrived(1)).await;
    act(&scene, PAUSE, json!({})).await;
    assert_eq!(read(&scene).send().await.one("retry-after"), "60");
    login.release();
    assert_eq!(within(call).await.unwrap().status, 200);
    scene.stop().await;
}

/// Fails when a key that an operator revokes goes on to be good, or a wrong digest revokes anything.
#[tokio::test]
async fn an_operator_revokes_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("revoked");
    let access = format!("[access]\nrevoked_path = {file:?}\n");
    let (alice, bob) = (key("alice"), key("bob"));
    let setup = Setup::of(Vendor::Contentstack).keys(&[("alice", &alice), ("bob", &bob)]);
    let scene = watched(setup.tables(&access)).await;
    let by =
        |key: &doorward::access::key::ClientKey| read(&scene).header("doorward-key", key.expose());
    assert_eq!(by(&alice).send().await.status, 200);
    let revoke = "/admin/v1/clients/revoke";
    let refused = |digest: String| {
        let call = ask(&scene, "POST", revoke).json(&json!({ "digest": digest }));
        async move { problem(&call.send().await) }
    };
    let whole = alice.digest().to_string();
    assert_eq!(refused(whole[..12].to_owned()).await, "bad_request");
    assert_eq!(refused(alice.expose().to_owned()).await, "bad_request");
    assert_eq!(refused("sha256:00000000".to_owned()).await, "not_found");
    assert_eq!(by(&alice).send().await.status, 200);
    let done = act(&scene, revoke, json!({ "digest": alice.digest().beginning() })).await;
    assert!(done["detail"].as_str().unwrap().contains("client alice"), "{done}");
    let gone = |clients: &Value| clients["items"][0]["keys"][0]["state"] == "revoked";
    until_shown(&scene, "/admin/v1/clients", "it is known", gone).await;
    assert_eq!(by(&alice).send().await.problem(), "client_key_revoked");
    assert_eq!(by(&bob).send().await.status, 200);
    let again = act(&scene, revoke, json!({ "digest": whole })).await;
    assert!(again["detail"].as_str().unwrap().starts_with("was revoked already"), "{again}");
    // Nothing that was told holds the key that was sent by mistake.
    let told = format!("{:?}", scene.events());
    assert!(!told.contains(&alice.expose()[20..]), "{told}");
    scene.stop().await;
}

/// Fails when a gateway without a place for revoked keys says that it has revoked one.
#[tokio::test]
async fn without_a_place_for_revoked_keys_none_is_revoked() {
    let alice = key("alice");
    let scene = watched(Setup::of(Vendor::Contentstack).keys(&[("alice", &alice)])).await;
    let body = json!({ "digest": alice.digest().to_string() });
    let refused = ask(&scene, "POST", "/admin/v1/clients/revoke").json(&body).send().await;
    assert_eq!((refused.status.as_u16(), problem(&refused).as_str()), (409, "conflict"));
    scene.stop().await;
}

/// Fails when an operator's stop is none, or nobody is told that it begins.
#[tokio::test]
async fn an_operator_asks_for_the_stop() {
    let scene = watched(Setup::of(Vendor::Contentstack)).await;
    assert_eq!(read(&scene).send().await.status, 200);
    let asked = scene.app().stop_asked();
    act(&scene, "/admin/v1/drain", json!({})).await;
    within(asked).await;
    let is_told = || {
        let events = scene.events();
        events.iter().any(|event| matches!(event, Event::Operator(one) if one.action == "drain"))
    };
    until("it is told", is_told).await;
    scene.stop().await;
}

/// Fails when an action that its asker does not wait for is lost, or is not told.
#[tokio::test]
async fn an_action_goes_on_without_whoever_asked_for_it() {
    let scene = watched(Setup::of(Vendor::Contentstack)).await;
    let held = scene.control().hold(login_line(Vendor::Contentstack));
    let asking = ask(&scene, "POST", LOG_IN).json(&json!({})).spawn();
    within(held.arrived(1)).await;
    asking.abort();
    held.release();
    let is_told = || {
        let events = scene.events();
        events.iter().any(|event| matches!(event, Event::Operator(one) if one.outcome.is_ok()))
    };
    until("it is told", is_told).await;
    assert_eq!(scene.control().counters().logins, 1);
    scene.clock.advance(Duration::from_secs(1));
    scene.stop().await;
}

/// Fails when a configured socket that cannot be had is done without.
#[tokio::test]
async fn a_socket_that_is_asked_for_and_cannot_be_had_is_no_start() {
    let scene = watched(Setup::of(Vendor::Contentstack)).await;
    write(scene.folder.path(), "other", "");
    let error = scene.try_start().unwrap_err().to_string();
    assert!(error.contains("admin.socket"), "{error}");
    assert!(scene.app().admin_socket().unwrap().exists(), "the first one's is untouched");
    assert_eq!(shown(&scene, "/admin/v1/status").await["state"], "running");
    scene.stop().await;
}
