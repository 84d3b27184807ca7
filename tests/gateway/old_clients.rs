//! Clients of HTTP/1.0, and clients that end their side when they have asked.

use doorward::access::key::ClientKey;
use doorward::emulator::Vendor;
use doorward::telemetry::Event;

use crate::client::Raw;
use crate::harness::{Scene, until};
use crate::puppet::{Puppet, Reply};

/// An upstream whose answers are of unknown length below `/v3/chunked`.
async fn upstream() -> Puppet {
    Puppet::logged_in(|request| match request.split(' ').nth(1).unwrap() {
        "/v3/chunked" => Reply::keep(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
        ),
        "/v3/early" => Reply::keep(
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        ),
        _ => Reply::json("{}"),
    })
    .await
}

async fn said(scene: &Scene, bytes: &str) -> String {
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write(bytes).await;
    raw.read_to_end().await
}

/// The head in lower case, and the body.
fn parts(said: &str) -> (String, &str) {
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body)
}

/// Fails when a connection of HTTP/1.0 is kept without being asked for, or is not when it is (RFC
/// 9112 section 9.3).
#[tokio::test]
async fn a_connection_of_http_1_0_is_kept_only_when_asked_for() {
    let puppet = upstream().await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let plain = said(&scene, "GET /v3/x HTTP/1.0\r\nhost: localhost\r\n\r\n").await;
    let (head, body) = parts(&plain);
    assert!(head.starts_with("http/1.0 200 ") || head.starts_with("http/1.1 200 "), "{head}");
    assert!(!head.contains("keep-alive") && body == "{}", "{plain}");

    let ask = "GET /v3/x HTTP/1.0\r\nhost: localhost\r\nconnection: keep-alive\r\n\r\n";
    let last = "GET /v3/y HTTP/1.0\r\nhost: localhost\r\n\r\n";
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write(ask).await;
    let first = raw.read_to("{}").await;
    assert!(parts(&first).0.contains("connection: keep-alive"), "{first}");
    raw.write(last).await;
    assert_eq!(raw.read_to_end().await.matches("{}").count(), 2);
    assert_eq!(puppet.calls().len(), 3);
    assert!(puppet.calls().iter().all(|call| call.contains(" HTTP/1.1\r\n")));
    assert!(puppet.calls()[0].contains("via: 1.0 doorward-"));
    scene.stop().await;
}

/// Fails when an answer whose length is not known is sent in chunks, which HTTP/1.0 does not know
/// (RFC 9112 section 6.1), or its end cannot be told.
#[tokio::test]
async fn an_answer_to_http_1_0_has_no_chunks() {
    let puppet = upstream().await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    for connection in ["", "connection: keep-alive\r\n"] {
        let ask = format!("GET /v3/chunked HTTP/1.0\r\nhost: localhost\r\n{connection}\r\n");
        let said = said(&scene, &ask).await;
        let (head, body) = parts(&said);
        assert!(!head.contains("transfer-encoding") && !head.contains("keep-alive"), "{head}");
        assert_eq!(body, "onetwo", "{said}");
    }
    scene.stop().await;
}

/// Fails when HTTP/1.0 gets an answer that is only preliminary (RFC 9110 section 15.2), or when an
/// upstream's hints end an exchange of any version.
#[tokio::test]
async fn no_preliminary_answer_reaches_a_client_that_did_not_ask() {
    let puppet = upstream().await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    for (version, expect) in [("1.0", ""), ("1.0", "expect: 100-continue\r\n"), ("1.1", "")] {
        let said = said(
            &scene,
            &format!(
                "POST /v3/early HTTP/{version}\r\nhost: localhost\r\nconnection: close\r\n\
                 content-length: 2\r\n{expect}\r\nhi"
            ),
        )
        .await;
        let (head, body) = parts(&said);
        assert!(head.contains(" 200 ok") && said.matches("HTTP/1.").count() == 1, "{said}");
        assert_eq!(body, "{}");
    }
    assert!(puppet.calls().iter().all(|call| call.ends_with("\r\n\r\nhi")));
    scene.stop().await;
}

/// Fails when HTTP/1.0 without a host is taken for a wrong request, HTTP/1.1 without one for a
/// right one (RFC 9112 section 3.2), or an open listener answers what may be a page of another site.
#[tokio::test]
async fn only_http_1_0_may_have_no_host_and_only_where_it_says_who_calls() {
    let key = ClientKey::generate("alice".parse().unwrap()).unwrap();
    let puppet = upstream().await;
    let setup = puppet.setup(Vendor::Contentstack).client("alice", &key, "[{}]");
    let scene = setup.start().await;
    let ask = |version: &str| {
        let key = key.expose();
        format!("GET /v3/x HTTP/{version}\r\ndoorward-key: {key}\r\nconnection: close\r\n\r\n")
    };
    assert_eq!(parts(&said(&scene, &ask("1.0")).await).1, "{}");
    assert!(said(&scene, &ask("1.1")).await.starts_with("HTTP/1.1 400 "));
    let call = puppet.calls().remove(0).to_lowercase();
    assert!(call.contains("\r\nhost: 127.0.0.1:"), "{call}");
    scene.stop().await;

    let open = puppet.scene(Vendor::Contentstack).await;
    assert!(said(&open, "GET /v3/x HTTP/1.0\r\n\r\n").await.contains(" 421 "));
    open.stop().await;
}

/// Fails when HTTP/1.0 can carry what it does not know.
#[tokio::test]
async fn http_1_0_has_no_transfer_codings() {
    let puppet = upstream().await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let said = said(
        &scene,
        "POST /v3/x HTTP/1.0\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    )
    .await;
    assert!(said.contains(" 400 "), "{said}");
    assert!(puppet.calls().is_empty());
    scene.stop().await;
}

/// An upstream that answers when the test says so, and in two parts.
async fn slow(half_closed: &str, listener_tls: bool) -> (Puppet, Scene) {
    let puppet = Puppet::logged_in(|_| Reply::hand_over("")).await;
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.listener.push_str(&format!("\nhalf_closed = {half_closed:?}"));
    setup.listener_tls = listener_tls;
    (puppet, setup.start().await)
}

/// Fails when a client that ends its side after its request does not get its whole answer, where it
/// shall.
#[tokio::test]
async fn a_client_that_has_ended_its_side_gets_its_whole_answer() {
    use tokio::io::AsyncWriteExt;

    for listener_tls in [false, true] {
        let (puppet, scene) = slow("answered", listener_tls).await;
        let mut client = Raw::connect(scene.door(), scene.record()).await;
        client.write("POST /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\nhi").await;
        client.end().await;
        let mut upstream = puppet.handed_over().await;
        upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100005\r\n\r\n").await.unwrap();
        client.read_to("\r\n\r\n").await;
        upstream.write_all(&[b'x'; 100_000]).await.unwrap();
        upstream.write_all(b"whole").await.unwrap();
        let said = client.read_to_end().await;
        assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("xwhole"), "{}", said.len());
        scene.stop().await;
    }
}

/// Fails when a body that breaks off passes for a whole one because its client may end its side.
#[tokio::test]
async fn a_body_that_breaks_off_is_never_whole() {
    for listener_tls in [false, true] {
        let (puppet, scene) = slow("answered", listener_tls).await;
        let mut client = Raw::connect(scene.door(), scene.record()).await;
        client.write("POST /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nhi").await;
        client.end().await;
        let said = client.read_to_end().await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 400 "), "{said}");
        assert!(puppet.calls().is_empty());
        scene.stop().await;
    }
}

/// Fails when a client that has left is noticed only when it is answered, where it need not be, or
/// not even then, where it may have ended its side alone.
#[tokio::test]
async fn a_client_that_has_left_is_noticed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    for listener_tls in [false, true] {
        for half_closed in ["left", "answered"] {
            let (puppet, scene) = slow(half_closed, listener_tls).await;
            let mut client = Raw::connect(scene.door(), scene.record()).await;
            client.write("GET /v3/x HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
            let mut upstream = puppet.handed_over().await;
            drop(client);
            if half_closed == "answered" {
                // No other sign of it comes before something is written.
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\n\r\n";
                upstream.write_all(head).await.unwrap();
                while upstream.write_all(&[b'x'; 65536]).await.is_ok() {}
            } else {
                assert_eq!(upstream.read(&mut [0]).await.unwrap_or(0), 0);
            }
            until("its end is told", || {
                let events = scene.events();
                events.iter().any(|event| match event {
                    Event::Request(request) => request.reason == "client_left",
                    _ => false,
                })
            })
            .await;
            scene.stop().await;
        }
    }
}
