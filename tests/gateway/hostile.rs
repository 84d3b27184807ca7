//! Clients that send what no client should.

use doorward::emulator::Vendor;

use crate::client::Raw;
use crate::harness::{Scene, Setup};
use crate::puppet::{Puppet, Reply};

async fn stage() -> (Puppet, Scene) {
    let puppet = Puppet::logged_in(|_| Reply::json("{}")).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    (puppet, scene)
}

/// Sends bytes on a connection of their own and reads to its end.
async fn said(scene: &Scene, bytes: &str) -> String {
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write(bytes).await;
    raw.read_to_end().await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("closed")
}

/// How many answers there are: a smuggled request has one of its own.
fn answers(said: &str) -> usize {
    said.matches("HTTP/1.1 ").count()
}

const SMUGGLED: &str = "GET /v3/smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Fails when a request whose end can be told in two ways is forwarded.
#[tokio::test]
async fn a_request_with_two_ways_to_tell_its_end_is_refused() {
    let (puppet, scene) = stage().await;
    let post = |framing: &str, body: &str| {
        format!("POST /v3/x HTTP/1.1\r\nhost: localhost\r\n{framing}\r\n\r\n{body}{SMUGGLED}")
    };
    for framing in [
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: identity, chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: identity",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: chunked;a=b",
        "transfer-encoding: xchunked",
        "transfer-encoding: \x0bchunked",
        "transfer-encoding: chunked\x0c",
        "transfer-encoding : chunked",
        "transfer-encoding:\r\n chunked",
        "transfer_encoding: chunked",
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5, 6",
        "content-length: +5",
        "content-length: 0x5",
        "content-length: 1_0",
        "content-length: 18446744073709551621",
        "content-length:",
        "content-length: 5 5",
        "content-length: -1",
        "content_length: 5",
    ] {
        let said = said(&scene, &post(framing, "0\r\n\r\n")).await;
        assert_eq!(status(&said), "400", "{framing:?}: {said}");
        assert_eq!(answers(&said), 1, "{framing:?}: {said}");
    }
    // Of both, chunked counts (RFC 9112 section 6.1), and the connection ends with the answer.
    for both in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
    ] {
        let said = said(&scene, &post(both, "4\r\nfour\r\n0\r\n\r\n")).await;
        assert_eq!(answers(&said), 1, "{both:?}: {said}");
        assert!(said.contains("connection: close"), "{both:?}: {said}");
        for call in puppet.take_calls() {
            assert!(!call.contains("content-length"), "{call}");
            assert!(call.contains("\r\n4\r\nfour\r\n0\r\n\r\n"), "{call}");
        }
    }
    let old =
        "POST /v3/x HTTP/1.0\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(status(&said(&scene, old).await), "400");
    assert!(puppet.calls().is_empty(), "{:?}", puppet.calls());
}

/// Fails when the body of a request that usually has none is taken for the next request.
#[tokio::test]
async fn a_body_on_any_method_is_a_body() {
    let (puppet, scene) = stage().await;
    for method in ["GET", "OPTIONS", "DELETE", "PATCH"] {
        let length = SMUGGLED.len();
        let bytes = format!(
            "{method} /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{SMUGGLED}"
        );
        let said = said(&scene, &bytes).await;
        assert_eq!((status(&said), answers(&said)), ("200", 1), "{method}: {said}");
        assert!(puppet.calls().pop().unwrap().ends_with(SMUGGLED), "{method}");
    }
    let calls = puppet.calls().len();
    let old = "POST /v3/x HTTP/1.0\r\nhost: localhost\r\n\r\nunframed body";
    let said = said(&scene, old).await;
    assert!(matches!(status(&said), "200" | "400"), "{said}");
    assert!(puppet.calls().iter().skip(calls).all(|call| !call.contains("unframed")));
}

/// Fails when the body of a request that Doorward answers itself becomes the next request.
#[tokio::test]
async fn an_unread_body_never_becomes_the_next_request() {
    let (puppet, scene) = stage().await;
    for head in [
        "POST /v3/user/forgot_password HTTP/1.1\r\nhost: localhost",
        "POST /v3/user-session HTTP/1.1\r\nhost: localhost",
        "POST /v3/%00 HTTP/1.1\r\nhost: localhost",
        "POST /v3/x HTTP/1.1\r\nhost: evil.example",
        "TRACE /v3/x HTTP/1.1\r\nhost: localhost",
    ] {
        let length = SMUGGLED.len();
        let more = format!("content-length: {length}\r\nconnection: close\r\n\r\n{SMUGGLED}");
        let said = said(&scene, &format!("{head}\r\n{more}")).await;
        assert_eq!(answers(&said), 1, "{head}: {said}");
    }
    assert!(puppet.calls().is_empty(), "{:?}", puppet.calls());
}

/// Fails when chunk lines are read leniently, or without a bound.
#[tokio::test]
async fn chunk_lines_are_read_strictly_and_within_bounds() {
    let (puppet, scene) = stage().await;
    let head = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(64 * 1024));
    let trailers = format!("0\r\n{}\r\n", "x-t: 1\r\n".repeat(100_000));
    for chunks in [
        "5\nfirst\r\n0\r\n\r\n",
        "5;a\nb\r\nfirst\r\n0\r\n\r\n",
        "5\rfirst\r\n0\r\n\r\n",
        "5\r\nfirstX0\r\n\r\n",
        &extension,
        &trailers,
    ] {
        let said = said(&scene, &format!("{head}{chunks}{SMUGGLED}")).await;
        let shown: String = chunks.chars().take(30).collect();
        assert!(matches!(status(&said), "400" | "closed"), "{shown:?}: {said}");
        assert!(answers(&said) <= 1, "{shown:?}: {said}");
    }
    assert!(puppet.calls().is_empty(), "{:?}", puppet.calls());
}

/// Fails when a host that is none, or a second one, passes.
#[tokio::test]
async fn a_host_that_is_none_is_refused() {
    let (puppet, scene) = stage().await;
    for hosts in [
        "",
        "host: localhost\r\nhost: localhost\r\n",
        "host: localhost, evil\r\n",
        "host: user@localhost\r\n",
        "host: localhost/x\r\n",
        "host: localhost?x\r\n",
        "host: local host\r\n",
        "host: localhost:http\r\n",
        "host: localhost:99999999\r\n",
        "host: \x01localhost\r\n",
        "host: [::1\r\n",
    ] {
        let close = "connection: close\r\n";
        let said = said(&scene, &format!("GET /v3/x HTTP/1.1\r\n{close}{hosts}\r\n")).await;
        assert_eq!(status(&said), "400", "{hosts:?}: {said}");
    }
    assert!(puppet.calls().is_empty(), "{:?}", puppet.calls());
}

/// Fails when the target chooses who is contacted.
#[tokio::test]
async fn only_the_configured_upstream_is_ever_contacted() {
    let (puppet, scene) = stage().await;
    let line = |target: &str, host: &str| {
        format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
    };
    for (target, host, expected) in [
        ("http://evil.example/v3/x", "evil.example", "421"),
        ("http://evil.example/v3/x", "localhost", "400"),
        ("http://169.254.169.254/latest", "169.254.169.254", "421"),
        ("http://localhost@evil.example/v3/x", "localhost", "400"),
        ("file:///etc/passwd", "localhost", "400"),
        ("ftp://localhost/v3/x", "localhost", "400"),
        ("localhost:80", "localhost", "400"),
        ("*", "localhost", "400"),
        ("v3/x", "localhost", "400"),
        ("@evil.example/v3/x", "localhost", "400"),
    ] {
        let said = said(&scene, &line(target, host)).await;
        assert_eq!(status(&said), expected, "{target}: {said}");
    }
    assert!(puppet.calls().is_empty(), "{:?}", puppet.calls());
    for target in ["http://localhost/v3/y?a=1", "//evil.example/v3/y"] {
        assert_eq!(status(&said(&scene, &line(target, "localhost")).await), "200", "{target}");
    }
    let calls = puppet.calls();
    assert!(calls[0].starts_with("GET /v3/y?a=1 HTTP/1.1\r\n"), "{}", calls[0]);
    assert!(calls[1].starts_with("GET //evil.example/v3/y HTTP/1.1\r\n"), "{}", calls[1]);
    assert!(calls.iter().all(|call| call.contains("host: 127.0.0.1:")));
}

/// Fails when a method is forwarded that would show the injected token, or open a tunnel.
#[tokio::test]
async fn trace_and_connect_are_never_forwarded() {
    let (puppet, scene) = stage().await;
    for line in [
        "TRACE /v3/x HTTP/1.1\r\nhost: localhost",
        "TRACE /v3/x HTTP/1.1\r\nmax-forwards: 0\r\nhost: localhost",
        "CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80",
        "CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: 127.0.0.1:22",
    ] {
        let said = said(&scene, &format!("{line}\r\nconnection: close\r\n\r\n")).await;
        assert_eq!(status(&said), "405", "{line}: {said}");
        assert!(said.to_lowercase().contains("allow: get"), "{said}");
    }
    assert!(puppet.calls().is_empty(), "{:?}", puppet.calls());
}

/// Fails when an upgrade travels on.
#[tokio::test]
async fn an_upgrade_to_http_2_is_not_passed_on() {
    let (puppet, scene) = stage().await;
    let said = said(
        &scene,
        "GET /v3/x HTTP/1.1\r\nhost: localhost\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\
         connection: upgrade, http2-settings, close\r\n\r\n",
    )
    .await;
    assert_eq!(status(&said), "200");
    let call = puppet.calls()[0].to_lowercase();
    assert!(!call.contains("upgrade") && !call.contains("http2-settings"), "{call}");
}

/// Fails when bytes are taken into a field that no field may hold.
#[tokio::test]
async fn malformed_fields_are_refused() {
    let (puppet, scene) = stage().await;
    for field in
        ["x-a: a\rb", "x-a: a\0b", "x-a: a\x7f", "x\x01a: b", ": empty", "x-a : b", "x-a: b\r\n c"]
    {
        let bytes = format!("GET /v3/x HTTP/1.1\r\nhost: localhost\r\n{field}\r\n\r\n");
        assert_eq!(status(&said(&scene, &bytes).await), "400", "{field:?}");
    }
    assert!(puppet.calls().is_empty(), "{:?}", puppet.calls());
}

/// Fails when a head is read without a bound.
#[tokio::test]
async fn heads_have_bounds() {
    let (puppet, scene) = stage().await;
    let many: String = (0..200).map(|number| format!("x-{number}: 1\r\n")).collect();
    for (line, fields, expected) in [
        ("GET /v3/x", format!("x-long: {}\r\n", "x".repeat(70 * 1024)), &["431"][..]),
        ("GET /v3/x", many, &["431"]),
        (&format!("GET /v3/{}", "x".repeat(40 * 1024)), String::new(), &["400", "414"]),
        (&format!("GET /v3/{}", "x".repeat(70 * 1024)), String::new(), &["414", "431"]),
    ] {
        let bytes = format!("{line} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
        let said = said(&scene, &bytes).await;
        assert!(expected.contains(&status(&said)), "{expected:?}: {said}");
    }
    assert!(puppet.calls().is_empty(), "{:?}", puppet.calls());
}

/// Fails when what follows a bad request is answered.
#[tokio::test]
async fn after_a_bad_request_nothing_more_is_answered() {
    let (puppet, scene) = stage().await;
    let good = "GET /v3/x HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let bad = "GET /v3/x HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n";
    let said = said(&scene, &format!("{good}{bad}{good}")).await;
    assert_eq!(answers(&said), 2, "{said}");
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("HTTP/1.1 400"), "{said}");
    assert_eq!(puppet.calls().len(), 1);
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
        assert_eq!(crate::harness::within(call).await.unwrap().json()["was"], who);
    }
}
