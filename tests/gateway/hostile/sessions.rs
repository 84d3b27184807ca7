//! What a login gives, and what is told of it: nothing of it can break a message, a log or a cache.

use doorward::emulator::Vendor;
use serde_json::json;

use super::{Stage, get};
use crate::harness::{Setup, within};
use crate::puppet::{Puppet, Reply, session_calls};

/// Case 53. Fails when a value that a login gave is put into a request although no field may hold it,
/// or although it is none.
#[tokio::test]
async fn a_token_that_no_field_may_hold_is_injected_nowhere() {
    for token in [
        json!("blt\r\nx-evil: 1"),
        json!("blt\nx-evil: 1"),
        json!("blt\rx-evil: 1"),
        json!("blt\r\n\r\nGET /evil HTTP/1.1\r\n"),
        json!("blt\u{0}"),
        json!("blt\u{1b}[2J"),
        json!("blt\u{7f}"),
        json!("bl\u{e9}"),
        json!("\u{2028}blt"),
        json!("x".repeat(64 * 1024)),
        json!(""),
        json!(null),
        json!(["blt"]),
        json!({ "a": "blt" }),
    ] {
        let login = json!({ "notice": "Login Successful.", "user": { "authtoken": token } });
        let puppet = Puppet::start(move |_| Reply::json(&login.to_string())).await;
        let scene = puppet.scene(Vendor::Contentstack).await;
        let stage = Stage { puppet, scene };
        let said = stage.say(get("/v3/x", "")).await;
        assert!(matches!(said.statuses()[..], ["502" | "503"]), "{token}: {said:?}");
        assert!(said.codes()[0].starts_with("login_"), "{token}: {said:?}");
        let heard = stage.puppet.heard();
        assert!(heard.starts_with("POST /v3/user-session "), "{token}: {heard}");
        assert!(!heard.contains("/v3/x") && !heard.contains("evil"), "{token}: {heard}");
    }
    let stage = Stage::open().await;
    assert_eq!(stage.arrives(get("/v3/x", "")).await, "GET /v3/x HTTP/1.1\r\n\r\n");
}

/// Case 54. Fails when a login's answer is read, nested or decoded without a bound.
#[tokio::test]
async fn a_login_answer_without_end_is_refused_at_a_bound() {
    let deep = "[".repeat(100_000);
    let deep_objects = "{\"a\":".repeat(100_000);
    let long = format!(r#"{{"user":{{"authtoken":"blt1","x":"{}"}}}}"#, "x".repeat(64 << 20));
    for body in [deep, deep_objects, long] {
        let shown: String = body.chars().take(40).collect();
        let puppet = Puppet::start(move |_| Reply::json(&body)).await;
        let scene = puppet.scene(Vendor::Contentstack).await;
        let stage = Stage { puppet, scene };
        let said = stage.say(get("/v3/x", "")).await;
        assert!(said.codes()[0].starts_with("login_"), "{shown}: {said:?}");
        assert!(!stage.puppet.heard().contains("/v3/x"), "{shown}");
    }
}

/// Case 60. Fails when a cache in front of us may keep for others what one session was given.
#[tokio::test]
async fn an_answer_of_a_session_is_private_where_the_upstream_says_nothing() {
    for (theirs, ours) in [
        ("", "private"),
        ("cache-control: max-age=5\r\n", "max-age=5"),
        ("expires: Thu, 01 Jan 2099 00:00:00 GMT\r\n", "private"),
        ("pragma: no-cache\r\n", "private"),
    ] {
        for status in ["200 OK", "404 Not Found", "301 Moved Permanently"] {
            let head = format!("HTTP/1.1 {status}\r\n{theirs}content-length: 2\r\n\r\n{{}}");
            let puppet = Puppet::logged_in(move |_| Reply::keep(head.clone())).await;
            let scene = puppet.scene(Vendor::Contentstack).await;
            let answer = scene.call("GET", "/v3/x").send().await;
            assert_eq!(answer.all("cache-control"), [ours], "{theirs} {status}");
        }
    }
}

/// Case 62. Fails when a login is sent before the upstream has shown who it is.
#[tokio::test]
async fn an_upstream_that_speaks_before_tls_gets_no_login() {
    let puppet = Puppet::start(|request| session_calls(request).unwrap_or(Reply::json("{}"))).await;
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.origin = Some(puppet.origin().replace("http://", "https://"));
    let scene = setup.start().await;
    let call = scene.call("GET", "/v3/x").spawn();
    crate::harness::until("something comes", || !puppet.heard().is_empty()).await;
    let heard = puppet.heard();
    assert!(heard.starts_with('\u{16}'), "no record of TLS: {heard}");
    drop(scene);
    _ = within(call).await;
    assert!(!puppet.heard().contains("user-session") && puppet.requests().is_empty());
}

/// Case 68. Fails when a client has the rate of another one for saying so.
#[tokio::test]
async fn a_rate_is_its_clients_whatever_fields_say() {
    let key = doorward::access::key::ClientKey::generate("reader".parse().unwrap()).unwrap();
    let grants = "[{}]\nlimits = { rate = { requests = 1, per = \"1h\" }, waiting_max = 0 }";
    let stage = Stage::with(|setup| setup.client("reader", &key, grants)).await;
    let mine = format!("doorward-key: {}\r\n", key.expose());
    assert_eq!(stage.say(get("/v3/x", &mine)).await.statuses(), ["200"]);
    for field in [
        "x-forwarded-for: 6.6.6.6",
        "forwarded: for=6.6.6.6",
        "x-real-ip: 6.6.6.6",
        "user-agent: another",
        "cookie: client=another",
        "x-request-id: another",
    ] {
        let said = stage.say(get("/v3/x", &format!("{mine}{field}\r\n"))).await;
        assert_eq!(said.statuses(), ["429"], "{field}: {said:?}");
    }
}

/// Fails when a session of one account is used for the route of another.
#[tokio::test]
async fn two_accounts_at_one_upstream_never_share_a_session() {
    let puppet = Puppet::start(|request| {
        if request.starts_with("POST /v3/user-session") {
            let who = if request.contains("second@") { "two" } else { "one" };
            return Reply::json(&format!(r#"{{"user":{{"authtoken":"{who}"}}}}"#));
        }
        let token = request.lines().find_map(|line| line.strip_prefix("authtoken: "));
        Reply::json(&format!(r#"{{"was":"{}"}}"#, token.unwrap_or_default()))
    })
    .await;
    let setup: Setup = puppet.setup(Vendor::Contentstack);
    let tables = "[upstreams.vendor.accounts.second]\nusername = \"second@example\"\n\
                  password = { env = \"P\" }\n\
                  [[routes]]\nhost = \"two.test\"\nupstream = \"vendor\"\naccount = \"second\"\n";
    let scene = setup.tables(tables).start_with(&[("P", "another secret")]).await;
    let mut calls = Vec::new();
    for number in 0..400 {
        let (host, who) = if number % 2 == 0 { ("localhost", "one") } else { ("two.test", "two") };
        calls.push((scene.call("GET", "/v3/x").host(host).spawn(), who));
    }
    for (call, who) in calls {
        assert_eq!(within(call).await.unwrap().json()["was"], who);
    }
}
