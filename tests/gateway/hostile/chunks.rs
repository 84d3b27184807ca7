//! Chunked bodies that are read by the letter, or not at all (RFC 9112 section 7.1).

use super::{SMUGGLED, Stage};
use crate::client::Raw;
use crate::harness::within;

const HEAD: &str = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";

/// Sends chunks that are none, in front and behind a good one: the client's fault is told as its
/// fault, and what of the request has reached the upstream never ends.
async fn broken(stage: &Stage, chunks: &str) {
    let said = stage.refused(format!("{HEAD}{chunks}{SMUGGLED}"), "400").await;
    assert_eq!(said.codes(), ["bad_body"], "{chunks:?}: {said:?}");
    let (bodies, broken_off) = (stage.puppet.bodies_begun(), *stage.puppet.broken_off.borrow());
    let mut raw = Raw::connect(stage.scene.door(), stage.scene.record()).await;
    raw.write(format!("{HEAD}4\r\ngood\r\n")).await;
    stage.puppet.body_begun(bodies + 1).await;
    raw.write_if_open(format!("{chunks}{SMUGGLED}").as_bytes()).await;
    let said = raw.read_to_end().await;
    let shown: String = chunks.chars().take(30).collect();
    assert!(said.starts_with("HTTP/1.1 400 "), "{shown:?}: {said}");
    assert!(said.contains("\"bad_body\"") && said.matches("HTTP/1.1 ").count() == 1, "{said}");
    let mut watched = stage.puppet.broken_off.clone();
    within(watched.wait_for(|count| *count > broken_off)).await.unwrap();
    assert!(stage.puppet.calls().is_empty(), "{shown:?}: {:?}", stage.puppet.calls());
    assert!(!stage.puppet.heard().contains("0\r\n\r\n"), "{shown:?}");
}

async fn good_chunks_arrive(stage: &Stage) {
    let head = HEAD.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    let arrived = stage.arrives(format!("{head}A\r\n0123456789\r\n0\r\n\r\n")).await;
    assert!(arrived.ends_with("\r\n\r\na\r\n0123456789\r\n0\r\n\r\n"), "{arrived}");
}

/// Case 10; `502 -> 400 for client chunk errors`. Fails when a size is read leniently, or the
/// client's fault is told as the upstream's.
#[tokio::test]
async fn a_chunk_size_that_is_no_number_is_400_and_ends_the_upload() {
    let stage = Stage::open().await;
    for size in [
        "+5",
        "-5",
        "0x5",
        "1_0",
        "5h",
        "g",
        "",
        " 5",
        "5 5",
        "10000000000000005",
        "fffffffffffffffff",
    ] {
        broken(&stage, &format!("{size}\r\nfives\r\n0\r\n\r\n")).await;
    }
    good_chunks_arrive(&stage).await;
}

/// Case 11. Fails when half of a line's end ends a line.
#[tokio::test]
async fn a_bare_cr_or_lf_in_a_chunk_line_is_400() {
    let stage = Stage::open().await;
    for chunks in [
        "5\nfives\r\n0\r\n\r\n",
        "5\rfives\r\n0\r\n\r\n",
        "5;a\nfives\r\n0\r\n\r\n",
        "5;a\rb\r\nfives\r\n0\r\n\r\n",
        "5;a=\"\n\"\r\nfives\r\n0\r\n\r\n",
        "5 \nfives\r\n0\r\n\r\n",
        "5\r\nfives\n0\r\n\r\n",
        "5\r\nfives\r0\r\n\r\n",
        "5\r\nfivesX0\r\n\r\n",
        "5\r\nfivesXY0\r\n\r\n",
        "0\n\r\n",
        "0;a\n\r\n",
    ] {
        broken(&stage, chunks).await;
    }
    good_chunks_arrive(&stage).await;
}

/// Case 12. Fails when extensions are read without a bound.
#[tokio::test]
async fn chunk_extensions_have_a_bound() {
    let stage = Stage::open().await;
    let one = format!("1;{}\r\nx\r\n", "y".repeat(64 * 1024));
    let many = format!("1;{}\r\nx\r\n", "y".repeat(1000)).repeat(16_000);
    for (chunks, name) in [(one, "one of 64 KiB"), (many, "many, 16 MB together")] {
        let said = stage.say(format!("{HEAD}{chunks}0\r\n\r\n{SMUGGLED}")).await;
        assert_eq!(said.statuses(), ["400"], "{name}: {said:?}");
        assert_eq!(said.codes(), ["bad_body"], "{name}");
        assert!(stage.puppet.calls().is_empty(), "{name}");
    }
    // What the upstream saw of it has no extension in it.
    assert!(!stage.puppet.heard().contains("yyyy"));
    let head = HEAD.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    let arrived = stage.arrives(format!("{head}1;a=b;c=\"d\"\r\nx\r\n0;e\r\n\r\n")).await;
    assert!(arrived.ends_with("\r\n\r\n1\r\nx\r\n0\r\n\r\n"), "{arrived}");
}

/// Case 13. Fails when a trailer travels on, or is taken for a field of the head.
#[tokio::test]
async fn trailers_of_requests_end_here() {
    let stage = Stage::open().await;
    let head = HEAD.replace("\r\n\r\n", "\r\ntrailer: authtoken\r\nconnection: close\r\n\r\n");
    let trailers = "authtoken: evil\r\nHost: evil.example\r\nContent-Length: 3\r\n\
                    Transfer-Encoding: chunked\r\ncookie: evil=1\r\nx-forwarded-for: 6.6.6.6\r\n\
                    connection: keep-alive\r\nx-mine: evil\r\n";
    let arrived = stage.arrives(format!("{head}4\r\nfour\r\n0\r\n{trailers}\r\n")).await;
    assert_eq!(
        arrived,
        "POST /v3/x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n"
    );
    assert!(!stage.puppet.heard().contains("evil"));
}

/// Case 14. Fails when trailers are read without a bound.
#[tokio::test]
async fn trailers_have_a_bound() {
    let stage = Stage::open().await;
    for trailers in [
        "x-t: 1\r\n".repeat(100_000),
        "x: 1\r\n".repeat(200),
        format!("x-long: {}\r\n", "y".repeat(100 * 1024)),
    ] {
        let said = stage.say(format!("{HEAD}4\r\nfour\r\n0\r\n{trailers}\r\n{SMUGGLED}")).await;
        assert_eq!(said.statuses(), ["400"], "{said:?}");
        assert_eq!(said.codes(), ["bad_body"]);
        assert!(stage.puppet.calls().is_empty(), "{:?}", stage.puppet.calls());
    }
    good_chunks_arrive(&stage).await;
}
