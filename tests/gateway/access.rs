//! Who may call: client keys, and what takes their place on this machine alone.

use std::process::Command;

use data_encoding::BASE64;
use doorward::access::key::ClientKey;
use doorward::emulator::{Vendor, contentstack};

use crate::client::{Answer, Protocol, Raw};
use crate::harness::{Scene, Setup};
use crate::puppet::{Puppet, Reply};
use crate::vendors::read;

fn key(name: &str) -> ClientKey {
    ClientKey::generate(name.parse().unwrap()).unwrap()
}

fn basic(password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("anybody:{password}").as_bytes()))
}

/// Every place in which clients put a key.
fn places(key: &str) -> Vec<(&'static str, String)> {
    vec![
        ("authorization", format!("Bearer {key}")),
        ("authorization", format!("bearer  {key}")),
        ("authorization", key.to_owned()),
        ("authorization", basic(key)),
        ("doorward-key", key.to_owned()),
        ("x-api-key", key.to_owned()),
    ]
}

/// Fails when a place is not looked at, or when the key travels on from one of them.
#[tokio::test]
async fn a_key_opens_the_door_from_every_place_and_never_travels_on() {
    let alice = key("alice");
    let vendors = [
        (Vendor::Contentstack, "authtoken"),
        (Vendor::ThoughtSpot, "x-requested-by"),
        (Vendor::MFiles, "x-authentication"),
    ];
    for (vendor, vendors_own) in vendors {
        let puppet = Puppet::start(|request| match request.split(' ').nth(1).unwrap() {
            "/v3/user-session" => Reply::json(r#"{"user":{"authtoken":"blt1"}}"#),
            "/REST/server/authenticationtokens" => Reply::json(r#"{"Value":"token"}"#),
            "/REST/session" => Reply::json(r#"{"AccountName":"a"}"#),
            path if path.ends_with("/session/login") => {
                Reply::keep("HTTP/1.1 204 No Content\r\nset-cookie: JSESSIONID=1; Path=/\r\n\r\n")
            }
            _ => Reply::json("{}"),
        })
        .await;
        let scene = puppet.setup(vendor).keys(&[("alice", &alice)]).start().await;
        let mut places = places(alice.expose());
        places.push((vendors_own, alice.expose().to_owned()));
        for (name, value) in &places {
            let answer = scene.call("GET", "/v3/x").header(name, value).send().await;
            assert_eq!(answer.status, 200, "{vendor} {name}: {answer:?}");
        }
        // A key that stands in two places is the same key.
        let twice = scene.call("GET", "/v3/x").header("x-api-key", alice.expose());
        assert_eq!(twice.header("doorward-key", alice.expose()).send().await.status, 200);
        let sent = puppet.requests().join("\n");
        assert!(!sent.contains(alice.expose()), "{vendor}: the key travelled on");
        assert!(!sent.contains(&BASE64.encode(format!("anybody:{}", alice.expose()).as_bytes())));
        assert!(sent.contains("GET /v3/x "));
    }
}

/// Fails when a value that looks like a key need not be one, or when keys are compared in part.
#[tokio::test]
async fn keys_that_are_missing_damaged_foreign_or_conflicting_are_told_and_nothing_is_sent() {
    let (alice, bob, stranger) = (key("alice"), key("bob"), key("alice"));
    let setup = Setup::of(Vendor::Contentstack);
    let scene = setup.keys(&[("alice", &alice), ("bob", &bob)]).start().await;
    let good = alice.expose();
    let cut = &good[..good.len() - 1];
    let denied = async |fields: &[(&str, &str)], target: &str| -> Answer {
        let mut call = scene.call("GET", target);
        for (name, value) in fields {
            call = call.header(name, value);
        }
        call.send().await
    };
    for fields in [
        &[][..],
        &[("authtoken", "blt-placeholder")],
        &[("authorization", "Bearer something else")],
        &[("authorization", "Basic !!")],
        &[("cookie", &format!("key={good}"))],
        &[("x_api_key", good)],
        &[("x-api-key", &good.to_uppercase())],
    ] {
        let answer = denied(fields, "/v3/content_types").await;
        let told = (answer.status.as_u16(), answer.problem());
        assert_eq!(told, (401, "client_key_missing".to_owned()), "{fields:?}");
        assert_eq!(answer.one("www-authenticate"), "Bearer realm=\"doorward\"");
    }
    let in_query = denied(&[], &format!("/v3/content_types?key={good}")).await;
    assert_eq!(in_query.problem(), "client_key_missing");
    for fields in [
        &[("x-api-key", cut)][..],
        &[("x-api-key", &format!("{good}x"))],
        &[("x-api-key", stranger.expose())],
        &[("x-api-key", good), ("authtoken", cut)],
        &[("authorization", &basic(cut))],
    ] {
        let answer = denied(fields, "/v3/content_types").await;
        let told = (answer.status.as_u16(), answer.problem());
        assert_eq!(told, (401, "client_key_invalid".to_owned()), "{fields:?}");
        assert!(!answer.text().contains("doorward_a"), "{answer:?}");
    }
    for fields in [
        &[("x-api-key", good), ("authtoken", bob.expose())],
        &[("x-api-key", good), ("x-api-key", bob.expose())],
    ] {
        let answer = denied(fields, "/v3/content_types").await;
        let told = (answer.status.as_u16(), answer.problem());
        assert_eq!(told, (401, "client_conflicting".to_owned()), "{fields:?}");
    }
    assert_eq!(scene.control().counters().requests, 0);
    let placeholder = read(&scene).header("x-api-key", good).header("authtoken", "placeholder");
    assert_eq!(placeholder.send().await.status, 200);
    scene.stop().await;
}

/// Fails when a connection is trusted for what came on it before.
#[tokio::test]
async fn every_request_on_a_connection_shows_its_own_key() {
    let alice = key("alice");
    let scene = Setup::of(Vendor::Contentstack).keys(&[("alice", &alice)]).start().await;
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    let head = |more: &str| {
        let api_key = contentstack::API_KEY;
        format!("GET /v3/content_types HTTP/1.1\r\nhost: x\r\napi_key: {api_key}\r\n{more}\r\n")
    };
    let good = head(&format!("doorward-key: {}\r\n", alice.expose()));
    raw.write(format!("{good}{}", head("connection: close\r\n"))).await;
    let answers = raw.read_to_end().await;
    let (first, second) = (answers.find("HTTP/1.1 200"), answers.find("HTTP/1.1 401"));
    assert!(first.is_some() && first < second, "{answers}");
    scene.stop().await;
}

/// Fails when a body is asked for before its sender is known.
#[tokio::test]
async fn without_a_key_no_100_continue_is_sent() {
    let scene = Setup::of(Vendor::Contentstack).keys(&[("a", &key("a"))]).start().await;
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write(
        "POST /v3/x HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\
         connection: close\r\n\r\n",
    )
    .await;
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains("100 Continue"), "{answer}");
    scene.stop().await;
}

/// Fails when a preflight passes without a key.
#[tokio::test]
async fn a_preflight_without_a_key_is_refused_here() {
    let scene = Setup::of(Vendor::Contentstack).keys(&[("a", &key("a"))]).start().await;
    let preflight = scene.call("OPTIONS", "/v3/content_types").header("origin", "https://x.test");
    assert_eq!(preflight.send().await.status, 401);
    assert_eq!(scene.control().counters().requests, 0);
    scene.stop().await;
}

/// Fails when open access answers to any name, or to pages of other sites.
#[tokio::test]
async fn open_access_is_for_this_machine_and_no_page_of_another_site() {
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.tables = "[[routes]]\nhost = \"cms.test\"\nupstream = \"vendor\"\n".to_owned();
    let scene = setup.start().await;
    let port = scene.port();
    for host in [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "app.localhost",
        "cms.test",
        &format!("localhost:{port}"),
    ] {
        assert_eq!(read(&scene).host(host).send().await.status, 200, "{host}");
    }
    let before = scene.control().counters().requests;
    // A name that an attacker lets point to this machine: DNS rebinding.
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.1"] {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let answer = read(&scene).host(host).send_by(protocol).await;
            let told = (answer.status.as_u16(), answer.problem());
            assert_eq!(told, (421, "misdirected_host".to_owned()), "{host}");
        }
    }
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost:1"),
        ("origin", "https://localhost"),
        ("origin", "localhost"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let answer = read(&scene).header(name, value).send().await;
        let told = (answer.status.as_u16(), answer.problem());
        assert_eq!(told, (403, "cross_origin".to_owned()), "{name}: {value}");
        assert!(answer.all("access-control-allow-origin").is_empty());
    }
    assert_eq!(scene.control().counters().requests, before);
    let same = read(&scene).header("origin", "http://localhost").header("sec-fetch-site", "none");
    assert_eq!(same.send().await.status, 200);
    let same = read(&scene).host("localhost:80").header("origin", "http://localhost");
    assert_eq!(same.send().await.status, 200);
    scene.stop().await;
}

/// Fails when the scheme of an origin is not compared with that by which pages of this listener come.
#[tokio::test]
async fn an_origin_has_the_scheme_of_its_listener() {
    let plain = Setup::of(Vendor::Contentstack);
    let tls = Setup { listener_tls: true, ..Setup::of(Vendor::Contentstack) };
    let mut behind = Setup::of(Vendor::Contentstack);
    behind.listener.push_str("\nplaintext = \"behind-tls\"");
    let folder = tempfile::tempdir().unwrap();
    let mut unix = Setup::of(Vendor::Contentstack);
    unix.address = format!("unix:{}", folder.path().join("doorward.sock").display());
    for (setup, http, https) in
        [(plain, 200, 403), (tls, 403, 200), (behind, 403, 200), (unix, 200, 200)]
    {
        let name = format!("{} {}", setup.address, setup.listener);
        let scene = setup.start().await;
        for (origin, expected) in [("http://localhost", http), ("https://localhost", https)] {
            let answer = read(&scene).header("origin", origin).send().await;
            assert_eq!(answer.status.as_u16(), expected, "{name}: {origin}");
        }
        scene.stop().await;
    }
}

/// Fails when a listener that others reach may be open.
#[test]
fn a_listener_that_others_reach_and_that_asks_for_no_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[listeners.main]\naddress = \"0.0.0.0:0\"\naccess = \"open\"\n\
                  [upstreams.cms]\nurl = \"http://127.0.0.1:1\"\nrecipe = \"contentstack\"\n\
                  [upstreams.cms.accounts.a]\nusername = \"u\"\npassword = { env = \"P\" }\n\
                  [[routes]]\nupstream = \"cms\"\n";
    let path = crate::harness::write(folder.path(), "doorward.toml", config);
    let output = Command::new(env!("CARGO_BIN_EXE_doorward"))
        .args(["run", "-c"])
        .arg(path)
        .env("P", "secret")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("an open listener must be on loopback or a Unix socket"), "{said}");
    assert!(output.stdout.is_empty());
}

/// Fails when a client that has no key can make Doorward log in.
#[tokio::test]
async fn nobody_without_a_key_makes_doorward_log_in() {
    let scene: Scene = Setup::of(Vendor::ThoughtSpot).keys(&[("a", &key("a"))]).start().await;
    for _ in 0..10 {
        assert_eq!(read(&scene).send().await.status, 401);
    }
    assert_eq!(scene.control().counters().requests, 0);
    scene.stop().await;
}

/// Fails when the operator's own field is not looked at, or when anything in it travels on.
#[tokio::test]
async fn a_key_is_taken_from_the_operators_own_field_and_nothing_in_it_travels_on() {
    let alice = key("alice");
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let setup = puppet.setup(Vendor::Contentstack).keys(&[("alice", &alice)]);
    let scene = setup.tables("[access]\nkey_headers = [\"X-Acme-Key\"]\n").start().await;
    let call = |value: &str| scene.call("GET", "/v3/x").header("x-acme-key", value);
    assert_eq!(call(alice.expose()).send().await.status, 200);
    // What is no key of ours is nobody's proof, and none of the upstream's business.
    assert_eq!(call("a canary").send().await.problem(), "client_key_missing");
    let both = call("a canary").header("doorward-key", alice.expose());
    assert_eq!(both.send().await.status, 200);
    assert_eq!(call("doorward_alice_x").send().await.problem(), "client_key_invalid");
    let sent = puppet.requests().join("\n");
    assert!(!sent.contains("acme") && !sent.contains("canary"), "{sent}");
    assert_eq!(puppet.calls().len(), 2);
}
