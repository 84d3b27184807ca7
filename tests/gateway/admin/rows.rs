//! What the admin API shows of sessions, upstreams, clients and the configuration.

use std::time::Duration;

use doorward::emulator::{User, Vendor};
use serde_json::{Value, json};

use super::{ADMIN, key, shown, until_shown, watched};
use crate::client::Raw;
use crate::harness::{Setup, until, within};
use crate::vendors::{login_line, read, read_line};

/// Fails when a session, who uses it or who waits for it is told wrongly.
#[tokio::test]
async fn sessions_are_shown_as_they_are() {
    let scene = watched(Setup::of(Vendor::Contentstack)).await;
    let none = shown(&scene, "/admin/v1/sessions").await;
    assert_eq!((none["total"].as_u64(), &none["next"]), (Some(1), &Value::Null));
    assert_eq!(none["items"][0]["state"], "none");
    assert_eq!(none["items"][0]["generation"], Value::Null);

    let login = scene.control().hold(login_line(Vendor::Contentstack));
    let calls: Vec<_> = (0..3).map(|_| read(&scene).spawn()).collect();
    within(login.arrived(1)).await;
    let all_wait = |sessions: &Value| sessions["items"][0]["waiters"] == 3;
    let waiting = until_shown(&scene, "/admin/v1/sessions", "three wait", all_wait).await;
    assert_eq!(waiting["items"][0]["state"], "logging_in");
    login.release();
    for call in calls {
        assert_eq!(within(call).await.unwrap().status, 200);
    }
    let held = scene.control().hold(read_line(Vendor::Contentstack));
    let call = read(&scene).spawn();
    within(held.arrived(1)).await;
    scene.clock.advance(Duration::from_secs(30));
    let is_told = |sessions: &Value| sessions["items"][0]["last_login"].is_object();
    let live = until_shown(&scene, "/admin/v1/sessions", "its login is told", is_told).await;
    let session = &live["items"][0];
    assert_eq!((&session["state"], &session["upstream"]), (&json!("live"), &json!("vendor")));
    assert_eq!((&session["account"], &session["client"]), (&json!("user"), &Value::Null));
    assert_eq!((session["holds"].as_u64(), session["waiters"].as_u64()), (Some(1), Some(0)));
    assert_eq!(session["age_ms"], 30_000);
    assert_eq!(session["last_login"]["trigger"], "cold");
    assert_eq!(session["last_login"]["outcome"], "logged_in");
    assert_eq!(session["generation"], session["opened_as"]);
    held.release();
    assert_eq!(within(call).await.unwrap().status, 200);
    scene.stop().await;
}

/// Fails when a session of one client's own is not told from that of another, or a list does not come
/// in parts.
#[tokio::test]
async fn a_clients_own_session_names_the_client() {
    let keys = ["alice", "bob", "carol"].map(|name| (name, key(name)));
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.route = "session = \"per-client\"".to_owned();
    let clients: Vec<_> = keys.iter().map(|(name, key)| (*name, key)).collect();
    let scene = watched(setup.keys(&clients)).await;
    for (_, key) in &keys {
        let answer = read(&scene).header("doorward-key", key.expose()).send().await;
        assert_eq!(answer.status, 200);
    }
    let (mut names, mut target) = (Vec::new(), "/admin/v1/sessions?limit=2".to_owned());
    loop {
        let page = shown(&scene, &target).await;
        assert_eq!(page["total"], 3);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        names.extend(items.iter().map(|item| item["client"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => target = format!("/admin/v1/sessions?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["alice", "bob", "carol"]);
    scene.stop().await;
}

/// Fails when an operator is not told why there is no session, and what is left.
#[tokio::test]
async fn a_refused_account_says_so_everywhere() {
    let user = User::new(Vendor::Contentstack.seeded_user().login, "canary not the password");
    let scene = watched(Setup::of(Vendor::Contentstack).user(user)).await;
    assert_eq!(read(&scene).send().await.problem(), "login_refused");
    let sessions = shown(&scene, "/admin/v1/sessions").await;
    assert_eq!(sessions["items"][0]["state"], "quarantined");
    assert_eq!(sessions["items"][0]["cause"], "bad_secret");
    let upstreams = shown(&scene, "/admin/v1/upstreams").await;
    let upstream = &upstreams["items"][0];
    assert_eq!(
        (&upstream["name"], &upstream["recipe"]),
        (&json!("vendor"), &json!("contentstack"))
    );
    assert_eq!(upstream["paused"], Value::Null);
    assert_eq!(upstream["addresses"][0]["address"], scene.emulator.address().to_string());
    let account = &upstream["accounts"][0];
    assert_eq!((&account["name"], &account["state"]), (&json!("user"), &json!("quarantined")));
    let attempts = |member: &str| account[member].as_u64().unwrap();
    assert_eq!(attempts("attempts_left") + 1, attempts("attempts_max"));
    assert!(account["refills_in_ms"].as_u64().unwrap() > 0);
    let status = shown(&scene, "/admin/v1/status").await;
    assert_eq!(status["summary"], "One thing needs a look: 1 upstream, 0 live sessions");
    let trouble = status["troubles"][0].as_str().unwrap();
    assert!(trouble.starts_with("vendor.user is in quarantine (bad_secret)"), "{trouble}");
    let logins =
        until_shown(&scene, "/admin/v1/logins", "the login is told", |logins| logins["total"] == 1);
    let logins = logins.await;
    assert_eq!(logins["items"][0]["outcome"], "failed");
    assert!(logins["items"][0]["cause"].as_str().unwrap().contains("bad_secret"), "{logins}");
    scene.stop().await;
}

/// Fails when a client's keys, grants or limits are told wrongly, or more of a key than a digest.
#[tokio::test]
async fn clients_are_shown_with_digests_alone() {
    let (alice, bob) = (key("alice"), key("bob"));
    let grants = "[{ upstreams = [\"vendor\"], methods = [\"GET\"], paths = [\"/v3/**\"] }]\n\
                  limits = { rate = { requests = 10, per = \"1s\" }, in_flight_max = 3 }";
    let setup = Setup::of(Vendor::Contentstack).client("alice", &alice, grants);
    let scene = watched(setup.client("bob", &bob, "[{}]")).await;
    let answer = read(&scene).header("doorward-key", alice.expose()).send().await;
    assert_eq!(answer.status, 200);
    let is_seen = |clients: &Value| clients["items"][0]["requests"] == 1;
    let clients = until_shown(&scene, "/admin/v1/clients", "alice is seen", is_seen).await;
    let (first, second) = (&clients["items"][0], &clients["items"][1]);
    assert_eq!((&first["name"], &second["name"]), (&json!("alice"), &json!("bob")));
    assert_eq!(first["keys"][0]["digest"], alice.digest().beginning());
    assert_eq!(first["keys"][0]["state"], "good");
    assert_eq!(first["grants"][0]["methods"], json!(["GET"]));
    assert_eq!(first["grants"][0]["accounts"], Value::Null);
    assert_eq!(first["limit"]["in_flight_max"], 3);
    let rate = &first["limit"]["rates"][0];
    assert_eq!(
        (&rate["counts"], &rate["burst"], &rate["left"]),
        (&json!("all"), &json!(10), &json!(9))
    );
    assert!(first["last_used_at"].is_string() && second["last_used_at"].is_null());
    assert_eq!(second["limit"], Value::Null);
    let text = clients.to_string();
    assert!(!text.contains(&alice.digest().to_string()), "{text}");
    assert!(!text.contains(alice.expose()) && !text.contains(bob.expose()));
    scene.stop().await;
}

/// Fails when an operator cannot tell which file, line or variable has set a value, or sees a secret.
#[tokio::test]
async fn every_value_of_the_configuration_has_its_origin() {
    let alice = key("alice");
    let mut setup = Setup::of(Vendor::Contentstack).client("alice", &alice, "[{}]");
    // What is told to a password manager may be as secret as what it says.
    let user = Vendor::Contentstack.seeded_user();
    setup.password = Some(format!("{{ command = [\"/bin/echo\", \"-n\", {:?}] }}", user.password));
    let setup = setup.tables(ADMIN).tables("[timeouts]\nlogin = \"20s\"\n");
    let scene = setup.start_with(&[("DOORWARD_LIMITS__SESSIONS_MAX", "77")]).await;
    let mut all = Vec::new();
    let mut target = "/admin/v1/config?limit=20".to_owned();
    loop {
        let page = shown(&scene, &target).await;
        all.extend(page["items"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => target = format!("/admin/v1/config?limit=20&after={next}"),
            None => break,
        }
    }
    let of = |key: &str| {
        let found = all.iter().find(|setting| setting["key"] == key);
        found.unwrap_or_else(|| panic!("no {key} in {all:#?}")).clone()
    };
    let sessions = of("limits.sessions_max");
    assert_eq!(sessions["value"], 77);
    let variable = json!({ "kind": "variable", "name": "DOORWARD_LIMITS__SESSIONS_MAX" });
    assert_eq!(sessions["origin"], variable);
    let login = of("timeouts.login");
    assert_eq!((&login["value"], &login["origin"]["kind"]), (&json!("20s"), &json!("file")));
    let path = login["origin"]["path"].as_str().unwrap();
    let line = login["origin"]["line"].as_u64().unwrap() as usize;
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().nth(line - 1), Some("login = \"20s\""));
    assert!(
        of("timeouts.login_distance")["origin"]["path"].as_str().unwrap().ends_with("base.toml")
    );
    let default = of("limits.connections_max");
    assert_eq!(
        (&default["value"], &default["origin"]),
        (&json!(10_000), &json!({ "kind": "default" }))
    );
    let password = of("upstreams.vendor.accounts.user.password");
    assert_eq!(password["value"], json!({ "command": "/bin/echo" }));
    let name = of("upstreams.vendor.accounts.user.username");
    assert_eq!(name["value"], format!("[{} characters]", user.login.chars().count()));
    assert_eq!(of("routes[0].upstream")["value"], "vendor");
    assert_eq!(of("admin.requests_kept")["value"], 1000);
    assert_eq!(of("upstreams.vendor.connect_timeout")["origin"], json!({ "kind": "default" }));
    scene.stop().await;
}

/// Fails when what was rejected is not shown, or a value of it is.
#[tokio::test]
async fn rejected_messages_are_shown_the_newest_first() {
    let scene = watched(Setup::of(Vendor::Contentstack)).await;
    for path in ["/first", "/second"] {
        let mut raw = Raw::connect(scene.door(), scene.record()).await;
        let head =
            format!("TRACE {path}?canary=1 HTTP/1.1\r\nhost: localhost\r\ncookie: canary\r\n\r\n");
        raw.write(&head).await;
        assert!(raw.read_to_end().await.starts_with("HTTP/1.1 405"));
    }
    until("both are kept", || scene.app().rejected().len() == 2).await;
    let rejected = shown(&scene, "/admin/v1/rejected").await;
    let paths: Vec<&str> = rejected["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["/second", "/first"]);
    assert_eq!(rejected["items"][0]["reason"], "method_not_allowed");
    assert!(!rejected.to_string().contains("canary"), "{rejected}");
    scene.stop().await;
}
