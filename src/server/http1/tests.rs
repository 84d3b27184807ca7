//! Requests on the wire: what is read of them, and that hyper reads none otherwise.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::body;
use super::head::{Bounds, Length, is_http2};
use super::properties::{Ended, Seen, not_otherwise, read_by_hyper, read_by_us};
use super::wire::{Body, Rest, Wire};
use crate::proxy::patience::{Slowness, Watch};
use crate::server::HalfClosed;

const BOUNDS: Bounds = Bounds { bytes_max: 64 * 1024, fields_max: 100 };

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

/// What is read of bytes that come in pieces of `width`.
fn read(bytes: &[u8], width: usize) -> (Vec<Seen>, Ended) {
    let pieces: Vec<&[u8]> = bytes.chunks(width).collect();
    run(read_by_us(&pieces, BOUNDS))
}

fn ended(bytes: &str, width: usize) -> (usize, Ended) {
    let (seen, ended) = read(bytes.as_bytes(), width);
    (seen.len(), ended)
}

/// Fails when where the bytes are cut changes what is read.
#[test]
fn two_requests_are_read_alike_wherever_they_are_cut() {
    let bytes = "POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody\r\n\
                 PUT /d HTTP/1.1\r\nhost: x\r\nTransfer-Encoding: Chunked\r\n\r\n\
                 3\r\none\r\n3;x=y\r\ntwo\r\n0\r\nauthtoken: x\r\n\r\n\
                 GET / HTTP/1.0\r\nconnection: keep-alive, x\r\n\r\n\
                 GET /last HTTP/1.0\r\n\r\nGET /not HTTP/1.0\r\n\r\n";
    for width in 1..bytes.len() {
        let (seen, ended) = read(bytes.as_bytes(), width);
        let bodies: Vec<_> =
            seen.iter().map(|one| (&*one.target, &*one.body, one.headers.len())).collect();
        let expected =
            [("/a?b=c", &b"body"[..], 2), ("/d", b"onetwo", 2), ("/", b"", 1), ("/last", b"", 0)];
        assert_eq!(bodies, expected, "{width}");
        assert_eq!(ended, Ended::LastOne, "{width}");
    }
}

/// Fails when a request whose end can be told in two ways is read in one of them.
#[test]
fn the_end_of_a_request_is_told_in_one_way() {
    let ambiguous = [
        "content-length: 1\r\ncontent-length: 1\r\n",
        "content-length: 1\r\ncontent-length: 2\r\n",
        "content-length: 1, 1\r\n",
        "content-length: +1\r\n",
        "content-length: 0x1\r\n",
        "content-length: 1_0\r\n",
        "content-length: -1\r\n",
        "content-length:\r\n",
        "content-length: 1 1\r\n",
        "content-length: 18446744073709551616\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 0\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: \"chunked\"\r\n",
        "transfer-encoding: chunked;q=1\r\n",
        "transfer-encoding:\r\n",
    ];
    for fields in ambiguous {
        let bytes = format!("POST / HTTP/1.1\r\n{fields}\r\n0\r\n\r\n");
        assert_eq!(ended(&bytes, 7), (0, Ended::Ambiguous), "{fields:?}");
    }
    let old = "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(ended(old, 99), (0, Ended::Ambiguous));
    assert_eq!(ended("GET /a#b HTTP/1.1\r\n\r\n", 99), (0, Ended::Ambiguous));
}

/// Fails when a head that is none is read, or is refused otherwise than was promised.
#[test]
fn heads_that_are_none_are_refused() {
    let long = |bytes: usize| "x".repeat(bytes);
    let malformed = [
        "GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\na : b\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n: b\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\na\x01: b\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\na: \0\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\na: b\rc\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\na: \x7f\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n a: b\r\n\r\n".to_owned(),
        "GET / HTTP/2.0\r\n\r\n".to_owned(),
        "GET / HTTP/1.2\r\n\r\n".to_owned(),
        "GET / http/1.1\r\n\r\n".to_owned(),
        "GET /\r\n\r\n".to_owned(),
        "GET  / HTTP/1.1\r\n\r\n".to_owned(),
        "GET /a b HTTP/1.1\r\n\r\n".to_owned(),
        "G(T / HTTP/1.1\r\n\r\n".to_owned(),
        "GET /\x01 HTTP/1.1\r\n\r\n".to_owned(),
        "\x16\x03\x01\x02\0\x01".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_owned(),
    ];
    for bytes in malformed {
        assert_eq!(ended(&bytes, 200), (0, Ended::Refused(StatusCode::BAD_REQUEST)), "{bytes:?}");
    }
    for (bytes, status) in [
        (format!("GET /{} HTTP/1.1\r\n\r\n", long(70_000)), 414),
        (format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", long(70_000)), 431),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101)), 431),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(20_000)), 431),
    ] {
        for width in [999, 1 << 20] {
            let refused = Ended::Refused(StatusCode::from_u16(status).unwrap());
            assert_eq!(ended(&bytes, width), (0, refused), "{status}");
        }
    }
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
    assert_eq!(ended(&many, 1 << 20), (1, Ended::Closed));
}

/// Fails when a body that breaks off passes for a whole one.
#[test]
fn a_body_that_breaks_off_is_none() {
    for (fields, body) in [
        ("content-length: 5", "body"),
        ("transfer-encoding: chunked", "4\r\nbody\r\n"),
        ("transfer-encoding: chunked", "4\r\nbody\r\n0\r\n"),
        ("transfer-encoding: chunked", "4\r\nbodyx\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked", "4\nbody\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked", "0x4\r\nbody\r\n0\r\n\r\n"),
    ] {
        let bytes = format!("PUT / HTTP/1.1\r\n{fields}\r\n\r\n{body}");
        assert_eq!(ended(&bytes, 3), (0, Ended::BrokenOff), "{fields} {body:?}");
    }
}

#[test]
fn a_preface_is_told_from_a_request_by_the_first_byte_that_differs() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for length in 0..preface.len() {
        assert_eq!(is_http2(&preface[..length]), None, "{length}");
    }
    assert_eq!(is_http2(preface), Some(true));
    assert_eq!(is_http2(&[&preface[..], b"frames"].concat()), Some(true));
    for other in ["P ", "PUT /", "GET", "PRI * HTTP/1", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"] {
        assert_eq!(is_http2(other.as_bytes()), Some(false), "{other}");
    }
    assert_eq!(ended("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 1), (0, Ended::Http2));
    // Behind an empty line it is none, wherever that is cut off.
    let behind = "\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for width in [1, 2, 99] {
        assert_eq!(ended(behind, width), (0, Ended::Refused(StatusCode::BAD_REQUEST)), "{width}");
    }
    let later = "GET / HTTP/1.1\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_eq!(ended(later, 99), (1, Ended::Refused(StatusCode::BAD_REQUEST)));
}

/// Fails when a client that waits for leave is not told to go on, is told twice, or is told though
/// nobody wants its body or it has its answer.
#[tokio::test]
async fn leave_is_given_when_the_body_is_asked_for() {
    for (waits, wants, has_answered, expected) in [
        (true, true, false, "HTTP/1.1 100 Continue\r\n\r\n"),
        (true, false, false, ""),
        (true, true, true, ""),
        (false, true, false, ""),
    ] {
        let (mut client, server) = duplex(1024);
        let wire = Wire::new(server, HalfClosed::Left);
        let mut incoming = body::incoming(&wire, Length::Exact(4), waits);
        if has_answered {
            assert!(wire.lock().answer().is_empty());
        }
        if wants {
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..2 {
                let polled = http_body::Body::poll_frame(Pin::new(&mut incoming), &mut context);
                assert!(polled.is_pending());
            }
            client.write_all(b"body").await.unwrap();
            assert_eq!(incoming.collect().await.unwrap().to_bytes(), "body");
        }
        drop(wire.lock().take());
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, expected, "{waits} {wants} {has_answered}");
    }
}

/// Fails when a connection that waits holds the memory of a request before.
#[tokio::test]
async fn a_connection_that_waits_holds_nothing_of_a_body() {
    let (mut client, server) = duplex(1024);
    let wire = Wire::new(server, HalfClosed::Left);
    let mut incoming = body::incoming(&wire, Length::Exact(4), false);
    client.write_all(b"body").await.unwrap();
    let body = incoming.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!((&body[..], wire.lock().body()), (&b"body"[..], Body::Over));
    drop(incoming);
    wire.lock().idle();
    assert!(body.is_unique());
}

/// Fails when whoever sends a body on waits for ever for a client whose connection is over.
#[tokio::test]
async fn whoever_reads_a_body_learns_that_its_connection_is_over() {
    let (_client, server) = duplex(1024);
    let wire = Wire::new(server, HalfClosed::Left);
    let mut reading = tokio::spawn(body::incoming(&wire, Length::Exact(4), false).collect());
    tokio::task::yield_now().await;
    drop(wire.lock().take());
    let read = tokio::time::timeout(std::time::Duration::from_secs(10), &mut reading).await;
    assert!(read.unwrap().unwrap().is_err());
    assert_eq!(wire.lock().body(), Body::Failed);
}

/// Fails when a body goes on with a part missing after it was given up, or goes on for ever.
#[tokio::test(start_paused = true)]
async fn a_body_that_was_given_up_after_its_answer_passes_nothing_on() {
    let slowness = Slowness { pause_max: Duration::from_secs(30), bytes_per_second_min: 240 };
    let watch = Arc::new(Watch::new(slowness, slowness));
    tokio::spawn(Arc::clone(&watch).look());
    for (bytes_max, is_too_much) in [(1024, false), (3, true)] {
        let (mut client, server) = duplex(1024);
        let wire = Wire::new(server, HalfClosed::Left);
        let mut incoming = body::incoming(&wire, Length::Exact(8), false);
        wire.lock().watch(Rest::new(watch.body(), bytes_max));
        client.write_all(b"half").await.unwrap();
        let ended = poll_fn(|context| wire.lock().poll_rest(context));
        let (come, ended) =
            tokio::join!(incoming.frame(), tokio::time::timeout(Duration::from_secs(3600), ended),);
        assert_eq!(come.unwrap().is_err(), is_too_much);
        assert_eq!(ended.unwrap(), Body::Failed, "{bytes_max}");
        client.write_all(b"more").await.unwrap();
        let more = incoming.frame().await;
        assert!(!matches!(more, Some(Ok(_))), "{more:?}");
    }
}

/// Pieces of requests, most of them good.
fn requests() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST /a?b=c HTTP/1.1\r\n",
        "PUT http://host/a HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "POST / HTTP/1.0\r\n",
        "\r\nGET /b HTTP/1.1\r\n",
        "GET /\u{e9} HTTP/1.1\r\n",
        "GET / HTTP/1.1\n",
        "G@T / HTTP/1.1\r\n",
        "GET / HTTP/1.3\r\n",
        "GET  / HTTP/1.1\r\n",
    ]);
    let field = prop::sample::select(vec![
        "host: x\r\n",
        "content-length: 4\r\n",
        "Content-Length: 4\r\n",
        "content-length: 4 \r\n",
        "content-length:\t4\r\n",
        "content-length: 5\r\n",
        "content-length: 4, 4\r\n",
        "transfer-encoding: chunked\r\n",
        "Transfer-Encoding:  CHUNKED \r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: gzip\r\n",
        "connection: close\r\n",
        "connection: keep-alive\r\n",
        "expect: 100-continue\r\n",
        "x-a: b\r\n",
        "x-a:\r\n",
        "x-a : b\r\n",
        ": b\r\n",
        "x-a: b\r\n folded\r\n",
        "x-a: \u{e9}\r\n",
        "x\0: b\r\n",
        "x-b: c\n",
    ]);
    let body = prop::sample::select(vec![
        "body",
        "bo",
        "",
        "4\r\nbody\r\n0\r\n\r\n",
        "4;x=y\r\nbody\r\n0\r\nx-trailer: 1\r\n\r\n",
        "2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
        "4\r\nbody\r\n",
        "4\r\nbodyx\r\n0\r\n\r\n",
        "g\r\nbody\r\n0\r\n\r\n",
    ]);
    (line, prop::collection::vec(field, 0..4), body)
        .prop_map(|(line, fields, body)| format!("{line}{}\r\n{body}", fields.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Fails when a request is read otherwise than hyper reads it, or one is taken that hyper
    /// refuses. What is refused beyond hyper has more than one end, or its chunks are no chunks.
    #[test]
    fn no_request_is_read_otherwise_than_by_hyper(
        parts in prop::collection::vec(requests(), 1..4),
        width in 1_usize..60,
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let bytes = parts.concat();
        let bytes = bytes.as_bytes();
        let bytes = cut.map_or(bytes, |cut| &bytes[..cut.index(bytes.len())]);
        let (ours, ended) = read(bytes, width);
        let pieces: Vec<&[u8]> = bytes.chunks(width).collect();
        not_otherwise(bytes, &ours, &ended, &run(read_by_hyper(&pieces, BOUNDS)));
    }

    #[test]
    fn nothing_that_comes_makes_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        width in 1_usize..60,
    ) {
        _ = read(&bytes, width);
    }
}
