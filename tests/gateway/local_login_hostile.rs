//! Logins of clients that are wrong in some way, and what must never travel on of those that are
//! right.

use std::io::Write;
use std::time::Duration;

use doorward::emulator::{Vendor, contentstack};
use serde_json::json;

use crate::client::{Protocol, Raw};
use crate::grants::spellings;
use crate::harness::{Scene, Setup, until, within};
use crate::local_login::{good, invalid, key, logged_in, login, read_with, token_of, told};
use crate::puppet::{Puppet, Reply, session_calls};
use crate::vendors::{login_line, read, read_line};

/// Fails when a token that was changed, cut off or made up opens the door.
#[tokio::test]
async fn a_token_that_is_not_what_was_given_opens_nothing() {
    for vendor in Vendor::ALL {
        let (alice, bob) = (key("alice"), key("bob"));
        let setup = Setup::of(vendor).keys(&[("alice", &alice), ("bob", &bob)]);
        let scene = setup.start().await;
        let token = logged_in(&scene, &alice).await;
        let mut wrong = vec![
            "doorward_T_".to_owned(),
            format!("{token}A"),
            format!("{token}="),
            token[..token.len() - 1].to_owned(),
            token.replace("doorward_T_", "doorward_T_A"),
            format!("{token}_"),
        ];
        for position in (11..token.len()).step_by(7) {
            let mut bytes = token.clone().into_bytes();
            bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
            wrong.push(String::from_utf8(bytes).unwrap());
        }
        for text in &wrong {
            assert_eq!(told(&scene, text).await, invalid(), "{vendor}: {text}");
        }
        assert_eq!(scene.control().counters().requests, 0, "{vendor}");
        // Two of which one is wrong are no better.
        let other = read_with(&scene, &token).header("authorization", &wrong[1]);
        assert_eq!(other.send().await.problem(), "client_token_invalid");
        assert_eq!(told(&scene, &token).await, good(), "{vendor}");
        scene.stop().await;
    }
}

/// Fails when a password that is no key of ours costs an upstream login or is sent on.
#[tokio::test]
async fn a_login_without_a_good_key_is_refused_here() {
    for vendor in Vendor::ALL {
        let alice = key("alice");
        let scene = Setup::of(vendor).keys(&[("alice", &alice)]).start().await;
        let user = vendor.seeded_user();
        let cut = &alice.expose()[..alice.expose().len() - 1];
        let missing = "client_key_missing";
        let invalid = "client_key_invalid";
        for (password, code) in [
            ("", missing),
            ("a person's password", missing),
            (user.password.as_str(), missing),
            (cut, invalid),
            (key("alice").expose(), invalid),
            (key("nobody").expose(), invalid),
        ] {
            let answer = login(&scene, password).send().await;
            assert_eq!(
                (answer.status.as_u16(), answer.problem().as_str()),
                (401, code),
                "{vendor}"
            );
            let is_wrong = answer.one("www-authenticate").ends_with("error=\"invalid_token\"");
            assert_eq!(is_wrong, code == invalid, "{answer:?}");
            assert!(password.is_empty() || !answer.text().contains(password), "{answer:?}");
            assert!(answer.all("set-cookie").is_empty());
        }
        for body in ["", "{", "[]", "null", "%zz=%", "password", "\u{e9}"] {
            let answer = login(&scene, "").body(body.to_owned()).send().await;
            assert_eq!(answer.problem(), missing, "{vendor} {body:?}");
        }
        let elsewhere = login(&scene, "x").body(json!({ "other": alice.expose() }).to_string());
        assert_eq!(elsewhere.send().await.problem(), missing);
        let counters = scene.control().counters();
        assert_eq!((counters.requests, counters.logins_refused), (0, 0), "{vendor}");
        scene.stop().await;
    }
}

/// Fails when a body is refused for the way it is sent, or taken whatever its size.
#[tokio::test]
async fn the_body_of_a_login_may_come_in_any_way_but_not_at_any_length() {
    for vendor in Vendor::ALL {
        let alice = key("alice");
        let setup = Setup::of(vendor).keys(&[("alice", &alice)]);
        let scene = setup.tables("[limits]\nclient_login_bytes_max = 2048\n").start().await;
        let (_, path) = login_line(vendor).split_once(' ').unwrap();
        let body = match vendor {
            Vendor::Contentstack => json!({ "user": { "password": alice.expose() } }).to_string(),
            Vendor::ThoughtSpot => format!("password={}", alice.expose().replace('_', "%5F")),
            Vendor::MFiles => json!({ "Password": alice.expose() }).to_string(),
        };
        for kind in ["text/plain", "application/octet-stream", "multipart/form-data", "\u{7f}x"] {
            let Ok(_) = http::HeaderValue::from_str(kind) else { continue };
            let call = scene.call("POST", path).header("content-type", kind).body(body.clone());
            assert!(call.send().await.status.is_success(), "{vendor} {kind}");
        }
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(body.as_bytes()).unwrap();
        let coded = gzip.finish().unwrap();
        let call = scene.call("POST", path).header("content-encoding", "gzip");
        assert!(call.clone().body(coded).send().await.status.is_success(), "{vendor}");
        assert_eq!(call.body(body.clone()).send().await.problem(), "bad_body");
        let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        bomb.write_all(&vec![b' '; 1 << 20]).unwrap();
        let bomb = scene
            .call("POST", path)
            .header("content-encoding", "gzip")
            .body(bomb.finish().unwrap());
        assert_eq!(bomb.send().await.problem(), "login_too_long");
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let call = scene.call("POST", path).body(body.clone() + &" ".repeat(2048));
            let answer = call.send_by(protocol).await;
            let told = (answer.status.as_u16(), answer.problem());
            assert_eq!(told, (413, "login_too_long".to_owned()), "{vendor}");
        }
        let chunks: String = body.chars().map(|one| format!("1\r\n{one}\r\n")).collect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        for (end, status) in [("0\r\n\r\n", "HTTP/1.1 20"), ("zz\r\n", "HTTP/1.1 400")] {
            let mut raw = Raw::connect(scene.door(), scene.record()).await;
            raw.write(format!("{head}{chunks}{end}")).await;
            let answer = raw.read_to_end().await;
            assert!(answer.starts_with(status), "{vendor}: {answer}");
        }
        let mut raw = Raw::connect(scene.door(), scene.record()).await;
        raw.write(format!("{head}400\r\n{}\r\n", " ".repeat(1024))).await;
        raw.write(format!("500\r\n{}\r\n", " ".repeat(1280))).await;
        assert!(raw.read_to_end().await.starts_with("HTTP/1.1 413"), "{vendor}");
        assert_eq!(scene.control().counters().requests, 0, "{vendor}");
        scene.stop().await;
    }
}

/// Fails when a login whose body does not come holds its connection for ever.
#[tokio::test]
async fn a_login_whose_body_does_not_come_is_given_up() {
    let alice = key("alice");
    let setup = Setup::of(Vendor::Contentstack).keys(&[("alice", &alice)]);
    let scene = setup.tables("[timeouts]\nhead = \"7s\"\n").start().await;
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    let head = "POST /v3/user-session HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\
                expect: 100-continue\r\n\r\n";
    raw.write(head).await;
    // The body is wanted: from here on the wait runs.
    raw.read_to("100 Continue").await;
    raw.write("{\"user\":").await;
    let answer = tokio::spawn(raw.read_to_end());
    until("it is given up", || {
        scene.clock.advance(Duration::from_secs(8));
        answer.is_finished()
    })
    .await;
    let answer = within(answer).await.unwrap();
    assert!(answer.contains("HTTP/1.1 408") && answer.contains("body_timeout"), "{answer}");
    assert_eq!(scene.control().counters().requests, 0);
    scene.stop().await;
}

/// Fails when a client's login reaches the upstream under some spelling: its password would be
/// tried there, and the account be locked.
#[tokio::test]
async fn no_spelling_of_a_login_is_one_at_the_upstream() {
    for vendor in Vendor::ALL {
        let (_, granted) = read_line(vendor).split_once(' ').unwrap();
        let logins: &[&str] = match vendor {
            Vendor::Contentstack => &["/v3/user-session", "/user-session"],
            Vendor::ThoughtSpot => &[
                "/callosum/v1/tspublic/v1/session/login",
                "/callosum/v1/session/login",
                "/api/rest/2.0/auth/session/login",
                "/api/rest/2.0/auth/token/full",
            ],
            Vendor::MFiles => &["/REST/server/authenticationtokens", "/REST/session?_method=PUT"],
        };
        let alice = key("alice");
        let scene = Setup::of(vendor).keys(&[("alice", &alice)]).start().await;
        assert_eq!(read_with(&scene, &logged_in(&scene, &alice).await).send().await.status, 200);
        scene.control().reset_counters();
        for path in logins {
            for target in spellings(path, granted) {
                let answer = scene.call("POST", &target).body(login_body()).send().await;
                assert!(matches!(answer.status.as_u16(), 400 | 401), "{target}: {answer:?}");
                let arrived = scene.control().requests();
                assert!(arrived.is_empty(), "{vendor}: {target} arrived: {arrived:?}");
            }
        }
        // Also not where the request itself may be sent on.
        for path in logins {
            for target in spellings(path, granted) {
                let call = scene.call("POST", &target).header("x-requested-by", "x");
                call.header("x-api-key", alice.expose()).body(login_body()).send().await;
                let counters = scene.control().counters();
                let tried = (counters.logins, counters.logins_refused);
                assert_eq!(tried, (0, 0), "{vendor}: {target} was a login");
            }
        }
        scene.stop().await;
    }
}

/// A body that is a login's for each vendor, with a person's password.
fn login_body() -> String {
    let password = "a person's password";
    json!({
        "username": "u", "Username": "u", "password": password, "Password": password,
        "user": { "email": "u", "password": password },
    })
    .to_string()
}

/// Fails when other methods than the login's own pass for it.
#[tokio::test]
async fn another_method_at_a_login_is_no_login() {
    let alice = key("alice");
    let scene = Setup::of(Vendor::Contentstack).keys(&[("alice", &alice)]).start().await;
    let body = json!({ "user": { "password": alice.expose() } });
    for method in ["GET", "HEAD", "PUT", "OPTIONS"] {
        let answer = scene.call(method, "/v3/user-session").json(&body).send().await;
        assert_eq!(answer.status, 401, "{method}");
        assert!(method == "HEAD" || answer.problem() == "client_key_missing", "{method}");
    }
    assert_eq!(scene.control().counters().requests, 0);
    scene.stop().await;
}

/// Fails when a page of another site acts by the cookie that a browser keeps of a login.
#[tokio::test]
async fn a_cookie_of_a_login_is_good_for_no_page_of_another_site() {
    let alice = key("alice");
    let scene = Setup::of(Vendor::ThoughtSpot).keys(&[("alice", &alice)]).start().await;
    let token = logged_in(&scene, &alice).await;
    for (name, value) in
        [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")]
    {
        let answer = read_with(&scene, &token).header(name, value).send().await;
        let told = (answer.status.as_u16(), answer.problem());
        assert_eq!(told, (403, "cross_origin".to_owned()), "{name}: {value}");
        // In a field that only the client itself fills in it is another matter.
        let bearer = format!("Bearer {token}");
        let call = read(&scene).header("authorization", &bearer).header(name, value);
        assert_eq!(call.send().await.status, 200);
        let beside = read_with(&scene, &token).header("doorward-key", alice.expose());
        assert_eq!(beside.header(name, value).send().await.status, 200, "{name}: {value}");
    }
    let own = read_with(&scene, &token).header("origin", "http://localhost");
    assert_eq!(own.header("sec-fetch-site", "same-origin").send().await.status, 200);
    scene.stop().await;
}

/// Fails when a client cannot use two upstreams, or two gateways, of one host: what keeps cookies
/// shows those of all ports to each (RFC 6265 section 8.5).
#[tokio::test]
async fn a_cookie_of_another_login_on_the_same_host_shuts_nobody_out() {
    let alice = key("alice");
    let here = Setup::of(Vendor::Contentstack).keys(&[("alice", &alice)]).start().await;
    let there = Setup::of(Vendor::ThoughtSpot).keys(&[("alice", &alice)]).start().await;
    let (token, others) = (logged_in(&here, &alice).await, logged_in(&there, &alice).await);
    let cookie = format!("JSESSIONID={others}");
    let beside = read_with(&here, &token).header("cookie", &cookie).send().await;
    assert_eq!((beside.status.as_u16(), beside.problem()), good());
    // It opens nothing by itself.
    let alone = read(&here).header("cookie", &cookie).send().await;
    assert_eq!((alone.status.as_u16(), alone.problem()), invalid());
    here.stop().await;
    there.stop().await;
}

/// Fails when a token or a key travels on from any place, in any form.
#[tokio::test]
async fn nothing_of_a_clients_credential_travels_on() {
    let alice = key("alice");
    let puppet =
        Puppet::start(|request| session_calls(request).unwrap_or_else(|| Reply::json("{}"))).await;
    let scene = puppet.setup(Vendor::Contentstack).keys(&[("alice", &alice)]).start().await;
    let token = logged_in(&scene, &alice).await;
    for secret in [token.as_str(), alice.expose()] {
        let percent = secret.replace('_', "%5f");
        let all: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for text in [secret, &percent, &all] {
            for (field, value) in [
                ("x-anything", text.to_owned()),
                ("referer", format!("http://localhost/x?auth={text}&y")),
                ("cookie", format!("a={text}; b={text}")),
                ("x-cookie", format!("JSESSIONID={text}")),
            ] {
                let call = scene.call("GET", &format!("/v3/x?q=1&any={text}&r=2&{text}"));
                let call = call.header("x-api-key", alice.expose()).header(field, &value);
                assert_eq!(call.send().await.status, 200, "{field}: {value}");
            }
            let path = scene.call("GET", &format!("/v3/x/{text}"));
            let answer = path.header("authtoken", &token).send().await;
            assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (400, "bad_request"));
        }
    }
    let sent = puppet.requests().join("\n");
    assert!(sent.contains("GET /v3/x?q=1&r=2 "), "{sent}");
    let sent = percent_encoding::percent_decode_str(&sent).decode_utf8_lossy().into_owned();
    for secret in [token.as_str(), alice.expose(), "doorward_"] {
        assert!(!sent.contains(secret), "{secret} travelled on: {sent}");
    }
}

/// Fails when the audit trail or a report names a credential of a client.
#[tokio::test]
async fn reports_and_the_audit_trail_name_the_client_and_none_of_its_credentials() {
    let alice = key("alice");
    let setup = Setup::of(Vendor::MFiles).keys(&[("alice", &alice)]);
    let scene: Scene = setup.tables("[audit]\npath = \"audit.jsonl\"\n").start().await;
    let token = logged_in(&scene, &alice).await;
    assert_eq!(told(&scene, &token).await, good());
    let target = format!("/REST/views/items?auth={token}");
    assert_eq!(scene.call("GET", &target).send().await.status, 200);
    for secret in [token.as_str(), alice.expose()] {
        scene.call("GET", &format!("/REST/x/{secret}")).header("doorward-key", &token).send().await;
    }
    login(&scene, "a person's password").send().await;
    let mut scene = scene;
    within(scene.take_app().stop()).await;
    let ended = scene.ended();
    let trail = std::fs::read_to_string(ended.folder.path().join("audit.jsonl")).unwrap();
    let logins = trail.lines().filter(|line| line.contains("\"logged_in_locally\""));
    let logins: Vec<serde_json::Value> =
        logins.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(logins.len(), 1);
    assert_eq!(logins[0]["who"], json!({ "client": "alice" }));
    assert_eq!(logins[0]["decision"], "answered_locally");
    let told = format!("{trail}{:?}", ended.events);
    for secret in [token.as_str(), alice.expose(), "a person's password"] {
        assert!(!told.contains(secret), "{secret} is told");
    }
}

/// Fails when a client's token in the vendor's field is not the client, or its session is shown.
#[tokio::test]
async fn over_http2_a_login_works_the_same() {
    let alice = key("alice");
    let scene = Setup::of(Vendor::Contentstack).keys(&[("alice", &alice)]).start().await;
    let answer = login(&scene, alice.expose()).send_by(Protocol::Http2).await;
    let token = token_of(&scene, &answer);
    let call = read_with(&scene, &token).header("api_key", contentstack::API_KEY);
    assert_eq!(call.send_by(Protocol::Http2).await.status, 200);
    scene.stop().await;
}
