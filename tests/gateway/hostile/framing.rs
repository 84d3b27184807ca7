//! Requests whose end could be told in more than one way (RFC 9112 section 6).

use super::{LAST, SMUGGLED, Stage, get, post};

/// A good one, for each of these tests: what is refused is not refused for something else.
async fn a_plain_body_arrives(stage: &Stage) {
    let by_length = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\
                     connection: close\r\n\r\nfour";
    assert_eq!(
        stage.arrives(by_length).await,
        "POST /v3/x HTTP/1.1\r\ncontent-length: 4\r\n\r\nfour"
    );
    let in_chunks = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\nTransfer-Encoding: \tChunked \r\n\
                     connection: close\r\n\r\n2;a=b\r\nfo\r\n02\r\nur\r\n0\r\nx: 1\r\n\r\n";
    // Nothing of the client's own framing travels on.
    let arrived = stage.arrives(in_chunks).await;
    let (head, body) = arrived.split_once("\r\n\r\n").unwrap();
    assert_eq!(head, "POST /v3/x HTTP/1.1\r\ntransfer-encoding: chunked");
    assert!(
        matches!(body, "4\r\nfour\r\n0\r\n\r\n" | "2\r\nfo\r\n2\r\nur\r\n0\r\n\r\n"),
        "{body:?}"
    );
}

/// Case 1. Fails when a request with both a length and a coding is forwarded.
#[tokio::test]
async fn a_length_beside_a_transfer_coding_is_refused() {
    let stage = Stage::open().await;
    for both in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "Transfer-Encoding: chunked\r\nx: y\r\nCONTENT-LENGTH: 0",
        "content-length: 5\r\nx: HTTP/1.1\r\ntransfer-encoding: chunked",
    ] {
        let said = stage.refused(post(both, "4\r\nfour\r\n0\r\n\r\n"), "400").await;
        assert_eq!(said.codes(), ["bad_request"], "{said:?}");
        // The same in pieces, each of which ends in the middle of a line.
        let bytes = post(both, "4\r\nfour\r\n0\r\n\r\n");
        let mut raw = crate::client::Raw::connect(stage.scene.door(), stage.scene.record()).await;
        for piece in bytes.as_bytes().chunks(7) {
            raw.write_if_open(piece).await;
        }
        let said = raw.read_to_end().await;
        assert!(said.starts_with("HTTP/1.1 400 ") && said.matches("HTTP/1.1").count() == 1);
        assert!(stage.puppet.calls().is_empty());
    }
    a_plain_body_arrives(&stage).await;
    // Behind another request the length counts for nothing, and the connection ends.
    let first = "GET /v3/first HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let both = post("content-length: 5\r\ntransfer-encoding: chunked", "4\r\nfour\r\n0\r\n\r\n");
    let said = stage.say(format!("{first}{both}")).await;
    assert_eq!(said.statuses().len(), 2, "{said:?}");
    assert!(!stage.puppet.heard().contains("smuggled"));
    assert!(stage.puppet.calls().iter().all(|call| !call.contains("content-length")));
}

/// Case 2. Fails when a coding that is not exactly `chunked` passes for it.
#[tokio::test]
async fn a_transfer_coding_that_is_not_chunked_to_the_letter_is_refused() {
    let stage = Stage::open().await;
    for coding in [
        &b"\x0bchunked"[..],
        b"chunked\x0b",
        b"\x0cchunked",
        b"chunked\x0c",
        b"\xffchunked",
        b"chunked\xff",
        b"\0chunked",
        b"chunked\0",
        b"\"chunked\"",
        b"'chunked'",
        b"chunked;a=b",
        b"chunked ;a=b",
        b"xchunked",
        b"chunkedx",
        b"chunke",
        b"chu nked",
        b"\xc2\xa0chunked",
    ] {
        let head = b"POST /v3/x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: ";
        let body = format!("\r\n\r\n4\r\nfour\r\n0\r\n\r\n{SMUGGLED}");
        stage.refused([head, coding, body.as_bytes()].concat(), "400").await;
    }
    a_plain_body_arrives(&stage).await;
}

/// Case 3; `te-identity-chunked`, `te-double-header`, `te-chunked-chunked`. Fails when a list of
/// codings is forwarded, as it came or otherwise.
#[tokio::test]
async fn more_than_one_transfer_coding_is_refused() {
    let stage = Stage::open().await;
    for codings in [
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\nTransfer-Encoding: identity",
        "transfer-encoding: chunked\r\ntransfer-encoding:",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: identity, chunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked,",
        "transfer-encoding: ,chunked",
        "transfer-encoding: identity",
        "transfer-encoding: gzip",
        "transfer-encoding:",
    ] {
        stage.refused(post(codings, "4\r\nfour\r\n0\r\n\r\n"), "400").await;
    }
    a_plain_body_arrives(&stage).await;
}

/// Case 4. Fails when one of several lengths is chosen.
#[tokio::test]
async fn two_lengths_are_refused() {
    let stage = Stage::open().await;
    for lengths in [
        "content-length: 4\r\ncontent-length: 6",
        "content-length: 6\r\nContent-Length: 4",
        "content-length: 0\r\ncontent-length: 4",
        "content-length: 4, 6",
        "content-length: 4,4",
        "content-length: 4,",
    ] {
        stage.refused(post(lengths, "four"), "400").await;
    }
    a_plain_body_arrives(&stage).await;
}

/// Case 5. Fails when a length is read leniently.
#[tokio::test]
async fn a_length_that_is_no_number_is_refused() {
    let stage = Stage::open().await;
    for length in [
        "+5",
        "0x5",
        "1_0",
        "18446744073709551621",
        "99999999999999999999999999",
        "",
        "5 5",
        "-1",
        "5;",
        "5.0",
        "1e1",
        "0b1",
        "\"5\"",
        "five",
        "\u{665}",
    ] {
        stage.refused(post(&format!("content-length: {length}"), "fives"), "400").await;
    }
    a_plain_body_arrives(&stage).await;
}

/// Case 6. Fails when HTTP/1.0 has a transfer coding.
#[tokio::test]
async fn a_transfer_coding_in_http_1_0_is_refused() {
    let stage = Stage::open().await;
    for fields in [
        "transfer-encoding: chunked",
        "transfer-encoding: chunked\r\nconnection: keep-alive",
        "content-length: 4\r\ntransfer-encoding: chunked",
    ] {
        let bytes = post(fields, "4\r\nfour\r\n0\r\n\r\n").replacen("HTTP/1.1", "HTTP/1.0", 1);
        stage.refused(bytes, "400").await;
    }
    a_plain_body_arrives(&stage).await;
}

/// Case 7. Fails when the end of the connection ends a request's body.
#[tokio::test]
async fn a_body_without_a_length_in_http_1_0_is_none() {
    let stage = Stage::open().await;
    let bytes = "POST /v3/x HTTP/1.0\r\nhost: localhost\r\n\r\nunframed body";
    let arrived = stage.arrives(bytes).await;
    assert_eq!(arrived, "POST /v3/x HTTP/1.0\r\ncontent-length: 0\r\n\r\n".replace("1.0", "1.1"));
    assert!(!stage.puppet.heard().contains("unframed"));
    // On a connection that stays, what follows is a request, and this is none.
    let bytes = bytes.replace("\r\n\r\n", "\r\nconnection: keep-alive\r\n\r\n");
    let said = stage.say(format!("{bytes}\r\n\r\n")).await;
    assert_eq!(said.statuses(), ["200", "400"], "{said:?}");
    assert!(!stage.puppet.heard().contains("unframed"));
}

/// Case 8. Fails when the body of a request that usually has none is taken for the next request.
#[tokio::test]
async fn a_body_on_any_method_is_a_body() {
    let stage = Stage::open().await;
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PATCH", "PROPFIND"] {
        let length = SMUGGLED.len();
        let head = format!("{method} /v3/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        let by_length = format!("{head}content-length: {length}\r\n\r\n{SMUGGLED}");
        let line = format!("{method} /v3/x HTTP/1.1\r\n");
        assert_eq!(
            stage.arrives(by_length).await,
            format!("{line}content-length: {length}\r\n\r\n{SMUGGLED}")
        );
        let chunks = format!("{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n");
        let in_chunks = format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}");
        assert_eq!(
            stage.arrives(in_chunks).await,
            format!("{line}transfer-encoding: chunked\r\n\r\n{chunks}")
        );
    }
    // No body is none.
    assert_eq!(stage.arrives(get("/v3/x", "")).await, "GET /v3/x HTTP/1.1\r\n\r\n");
    assert_eq!(stage.arrives(LAST).await, "GET /v3/last HTTP/1.1\r\n\r\n");
}
