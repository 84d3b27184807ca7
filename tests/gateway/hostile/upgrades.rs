//! Requests that would turn a connection into something else.

use doorward::emulator::Vendor;

use super::{LAST, SMUGGLED, Stage, get};
use crate::puppet::{Puppet, Reply};
use crate::upgrades::{AGREE, ASK};

/// An upstream that answers every upgrade with this.
async fn answering(reply: Reply) -> Stage {
    let puppet = Puppet::logged_in(move |request| match request.contains("upgrade: ") {
        true => reply.clone(),
        false => Reply::json("{}"),
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    Stage { puppet, scene }
}

/// Case 33; `upgrade-*`. Fails when an upgrade to HTTP/2 travels on, or is made.
#[tokio::test]
async fn an_upgrade_to_http_2_is_not_passed_on() {
    let stage = Stage::open().await;
    for fields in [
        "upgrade: h2c\r\nhttp2-settings: AAMAAABk\r\nconnection: upgrade, http2-settings\r\n",
        "Upgrade: H2C\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade\r\n",
        "upgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
        "upgrade: foo, h2c\r\nconnection: upgrade\r\n",
        "upgrade: h2\r\nconnection: upgrade\r\n",
        "upgrade: TLS/1.2\r\nconnection: upgrade\r\n",
        "upgrade: HTTP/2.0\r\nconnection: upgrade\r\n",
        "upgrade:\r\nconnection: upgrade\r\n",
        "upgrade: websocket\r\n",
        "connection: upgrade\r\n",
    ] {
        assert_eq!(
            stage.arrives(get("/v3/x", fields)).await,
            "GET /v3/x HTTP/1.1\r\n\r\n",
            "{fields}"
        );
    }
}

/// Case 34. Fails when what a client sends before the upstream has agreed goes past the gateway, or
/// when an answer that is no consent makes a tunnel.
#[tokio::test]
async fn what_comes_before_a_101_is_the_next_request() {
    for answer in [
        "HTTP/1.1 200 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 426 Upgrade Required\r\nupgrade: websocket\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ] {
        let stage = answering(Reply::keep(answer)).await;
        let said = stage.say(format!("{ASK}{LAST}")).await;
        let status = answer.split(' ').nth(1).unwrap();
        assert_eq!(said.statuses(), [status, "200"], "{said:?}");
        let calls = stage.puppet.calls();
        assert_eq!(calls.len(), 2, "{calls:?}");
        // The second one is a request of its own, with a session of its own.
        assert!(calls[1].starts_with("GET /v3/last ") && calls[1].contains("authtoken: "));
        // What is none is refused, and not the upstream's to read.
        let said = stage.say(format!("{ASK}GET /v3/raw bytes\r\n\r\n")).await;
        assert_eq!(said.statuses(), [status, "400"], "{said:?}");
        assert!(!stage.puppet.heard().contains("raw bytes"));
    }
}

/// Case 35. Fails when the body of a request with `Upgrade` is taken for the new protocol, or for the
/// next request.
#[tokio::test]
async fn an_upgrade_with_a_body_is_an_ordinary_request() {
    let stage = answering(Reply::keep(AGREE)).await;
    let length = SMUGGLED.len();
    for method in ["GET", "POST"] {
        let with_body = ASK.replacen("GET", method, 1);
        let with_body = with_body
            .replace("\r\n\r\n", &format!("\r\ncontent-length: {length}\r\n\r\n{SMUGGLED}"));
        let said = stage.say(format!("{with_body}{LAST}")).await;
        assert_eq!(said.statuses(), ["200", "200"], "{said:?}");
        let calls = stage.puppet.take_calls();
        assert!(calls[0].ends_with(&format!("\r\n\r\n{SMUGGLED}")), "{calls:?}");
        assert!(!calls[0].contains("upgrade") && calls[1].starts_with("GET /v3/last "));
        let in_chunks = ASK.replacen("GET", method, 1);
        let chunks = format!("{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n");
        let in_chunks = in_chunks
            .replace("\r\n\r\n", &format!("\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"));
        let said = stage.say(format!("{in_chunks}{LAST}")).await;
        assert_eq!(said.statuses(), ["200", "200"], "{said:?}");
        let calls = stage.puppet.take_calls();
        assert!(calls[0].ends_with(&format!("\r\n\r\n{chunks}")), "{calls:?}");
        assert!(!calls[0].contains("upgrade") && calls[1].starts_with("GET /v3/last "));
    }
}

/// Case 36; `resp-unasked-101`. Fails when an upstream turns a connection into a tunnel that nobody
/// asked for.
#[tokio::test]
async fn a_101_that_nobody_asked_for_is_a_502() {
    let puppet = Puppet::logged_in(|_| Reply::keep(format!("{AGREE}raw bytes"))).await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let stage = Stage { puppet, scene };
    for bytes in [
        get("/v3/x", ""),
        get("/v3/x", "upgrade: websocket\r\n"),
        get("/v3/x", "upgrade: h2c\r\nconnection: upgrade\r\n"),
        ASK.replacen("GET", "POST", 1).replace("keep-alive, Upgrade", "upgrade, close"),
    ] {
        let said = stage.say(format!("{bytes}{SMUGGLED}")).await;
        assert_eq!(said.statuses()[0], "502", "{bytes}: {said:?}");
        assert_eq!(said.codes()[0], "upstream_broken");
        assert!(!said.0.contains("raw bytes"), "{said:?}");
    }
}
