//! Answers on the wire: what is written of them.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncReadExt, duplex};
use tokio::task::unconstrained;

use super::answer::{self, After, Asked, Framing};
use super::outgoing::{Cut, Outgoing};
use super::wire::Wire;
use crate::fields::Fields;
use crate::http1::turns::{LONG_BYTES, LONG_MAX, PIECE_BYTES_MIN, TURN_BYTES, Turns, is_crowded};
use crate::proxy::body::CutOff;
use crate::proxy::message::Answer;
use crate::server::HalfClosed;

/// A body in pieces; an error where one is missing.
struct Pieces {
    left: Vec<Option<Bytes>>,
    exact: Option<u64>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let piece = self.left.remove(0);
        Poll::Ready(Some(piece.map(Frame::data).ok_or(CutOff::SessionReplaced)))
    }

    fn size_hint(&self) -> SizeHint {
        self.exact.map(SizeHint::with_exact).unwrap_or_default()
    }
}

fn pieces(left: &[&[u8]], exact: Option<u64>) -> Pieces {
    let left = left.iter().map(|piece| Some(Bytes::copy_from_slice(piece))).collect();
    Pieces { left, exact }
}

/// What is written of an answer through a pipe of `width` bytes, without its date; and whether it
/// was whole, and what becomes of the connection.
async fn written(
    asked: &Asked,
    answer: Answer<Pieces>,
    after: After,
    width: usize,
) -> (String, Result<(), Cut>, After) {
    let (mut client, server) = duplex(width);
    let wire = Wire::new(server, HalfClosed::Left);
    let Answer { status, headers, body } = answer;
    let (head, framing, after) = answer::head(status, &headers, &body, asked, after);
    let mut outgoing = Outgoing::new(head, body, framing, asked);
    let mut said = Vec::new();
    let writing = async {
        let sent = std::future::poll_fn(|context| outgoing.poll(&wire, context)).await;
        drop(wire.lock().take());
        sent
    };
    let (sent, read) = tokio::join!(writing, client.read_to_end(&mut said));
    read.unwrap();
    let said = String::from_utf8(said).unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    let lines: Vec<_> = head.split("\r\n").filter(|line| !line.starts_with("date: ")).collect();
    assert_eq!(lines.len() + 1, head.split("\r\n").count(), "{head}");
    (format!("{}\r\n\r\n{body}", lines.join("\r\n")), sent, after)
}

fn answer(status: u16, fields: &[(&'static str, &'static str)], body: Pieces) -> Answer<Pieces> {
    let status = StatusCode::from_u16(status).unwrap();
    let fields = fields.iter();
    let headers = fields
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    Answer { status, headers: headers.collect(), body }
}

/// Fails when the end of an answer is told otherwise than its client can read it.
#[tokio::test]
async fn the_framing_of_an_answer_fits_its_client() {
    let (new, old) = (Version::HTTP_11, Version::HTTP_10);
    let (keep, close) = (After::KeepAlive, After::Close);
    let length: (&str, &str) = ("content-length", "4");
    let chunked: (&str, &str) = ("transfer-encoding", "chunked");
    let said = |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}");
    let get = Method::GET;
    for (method, version, after, (status, fields), exact, expected, then) in [
        (&get, new, keep, (200, &[][..]), Some(4), said("content-length: 4\r\n", "body"), keep),
        (&get, new, keep, (200, &[length]), None, said("content-length: 4\r\n", "body"), keep),
        (
            &get,
            new,
            close,
            (200, &[length]),
            Some(4),
            said("content-length: 4\r\nconnection: close\r\n", "body"),
            close,
        ),
        (
            &get,
            new,
            keep,
            (200, &[chunked, ("connection", "close")]),
            None,
            said(
                "connection: close\r\ntransfer-encoding: chunked\r\n",
                "2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
            ),
            close,
        ),
        (&get, old, keep, (200, &[chunked]), None, "HTTP/1.0 200 OK\r\n\r\nbody".into(), close),
        (
            &get,
            old,
            keep,
            (404, &[length]),
            None,
            "HTTP/1.0 404 Not Found\r\ncontent-length: 4\r\nconnection: keep-alive\r\n\r\nbody"
                .into(),
            keep,
        ),
        (
            &get,
            old,
            close,
            (200, &[]),
            Some(4),
            "HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\nbody".into(),
            close,
        ),
        (&Method::HEAD, new, keep, (200, &[length]), None, said("content-length: 4\r\n", ""), keep),
        (&Method::HEAD, new, keep, (200, &[chunked]), None, said("", ""), keep),
        (&get, new, keep, (204, &[length]), None, "HTTP/1.1 204 No Content\r\n\r\n".into(), keep),
        (
            &get,
            new,
            keep,
            (304, &[chunked]),
            None,
            "HTTP/1.1 304 Not Modified\r\n\r\n".into(),
            keep,
        ),
        (
            &get,
            new,
            close,
            (101, &[("connection", "upgrade"), length]),
            None,
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n".into(),
            close,
        ),
        (
            &get,
            new,
            keep,
            (599, &[]),
            Some(4),
            "HTTP/1.1 599 \r\ncontent-length: 4\r\n\r\nbody".into(),
            keep,
        ),
    ] {
        let asked = Asked { method: method.clone(), version, takes_trailers: false };
        for width in [1, 7, 1 << 16] {
            let answer = answer(status, fields, pieces(&[b"bo", b"", b"dy"], exact));
            let (seen, sent, became) = written(&asked, answer, after, width).await;
            assert!(sent.is_ok(), "{expected}: {sent:?}");
            assert_eq!((&seen, became), (&expected, then), "{width}");
        }
    }
}

/// Fails when an answer that breaks off, or is not as long as was said, looks like a whole one.
#[tokio::test]
async fn a_cut_answer_never_looks_complete() {
    let asked = Asked { method: Method::GET, version: Version::HTTP_11, takes_trailers: false };
    for exact in [None, Some(4)] {
        let body = Pieces { left: vec![Some("bo".into()), None], exact };
        let (seen, sent, _) = written(&asked, answer(200, &[], body), After::KeepAlive, 99).await;
        assert!(matches!(sent, Err(Cut::Body(_))), "{sent:?}");
        let end = if exact.is_some() { "\r\n\r\nbo" } else { "\r\n\r\n2\r\nbo\r\n" };
        assert!(seen.ends_with(end), "{seen}");
    }
    for exact in [3, 5] {
        let body = pieces(&[b"bo", b"dy"], Some(exact));
        let (_, sent, _) = written(&asked, answer(200, &[], body), After::KeepAlive, 99).await;
        assert!(matches!(sent, Err(Cut::Length)), "{sent:?}");
    }
    let old = Asked { version: Version::HTTP_10, ..asked };
    let body = Pieces { left: vec![Some("bo".into()), None], exact: None };
    let (head, framing, _) =
        answer::head(StatusCode::OK, &Fields::new(), &body, &old, After::KeepAlive);
    assert_eq!(framing, Framing::Close);
    assert!(Outgoing::new(head, body, framing, &old).ends_by_close());
}

/// Fails when a long piece, or what frames it, is lost, doubled or out of order.
#[tokio::test]
async fn long_pieces_are_framed_like_short_ones() {
    let asked = Asked { method: Method::GET, version: Version::HTTP_11, takes_trailers: false };
    let long = "x".repeat(100_000);
    for width in [5, 4099, 1 << 20] {
        let body = pieces(&[b"a", long.as_bytes(), b"b", long.as_bytes()], None);
        let (seen, sent, _) =
            written(&asked, answer(200, &[], body), After::KeepAlive, width).await;
        sent.unwrap();
        let (_, body) = seen.split_once("\r\n\r\n").unwrap();
        let chunk = format!("186a0\r\n{long}\r\n");
        assert!(body == format!("1\r\na\r\n{chunk}1\r\nb\r\n{chunk}0\r\n\r\n"), "{width}");
    }
}

/// Fails when a long answer keeps a core for itself where there are many, or does not where there are
/// few, or waits for nothing; and when an answer that has ended still counts.
#[tokio::test(start_paused = true)]
async fn long_answers_take_turns_on_a_crowded_core() {
    const PIECE_BYTES: usize = 32 * 1024;
    const PIECES: usize = 40;
    let asked = Asked { method: Method::GET, version: Version::HTTP_11, takes_trailers: false };
    let begun = || {
        let body = pieces(&[&[b'x'; PIECE_BYTES][..]; PIECES], None);
        let (head, framing, _) =
            answer::head(StatusCode::OK, &Fields::new(), &body, &asked, After::KeepAlive);
        Outgoing::new(head, body, framing, &asked)
    };
    // How often a task runs that sends a long answer where so many others have begun, and their
    // clients have taken so much of each.
    let runs = async |others: usize, taken: usize| {
        let mut others: Vec<_> = (0..others)
            .map(|_| {
                let (client, server) = duplex(taken);
                (client, Wire::new(server, HalfClosed::Left), begun())
            })
            .collect();
        // A task of the runtime's would have to stop now and then by itself.
        unconstrained(poll_fn(|context| {
            for (_, wire, outgoing) in &mut others {
                _ = outgoing.poll(wire, context);
            }
            Poll::Ready(())
        }))
        .await;
        let (_client, server) = duplex(2 * PIECES * PIECE_BYTES);
        let (wire, mut runs, mut outgoing) = (Wire::new(server, HalfClosed::Left), 0, begun());
        let sending = unconstrained(poll_fn(|context| {
            runs += 1;
            outgoing.poll(&wire, context)
        }));
        tokio::time::timeout(Duration::from_secs(1), sending).await.unwrap().unwrap();
        runs
    };
    let long = usize::try_from(LONG_BYTES).unwrap();
    assert_eq!(runs(0, long).await, 1, "alone");
    assert_eq!(runs(LONG_MAX - 1, long).await, 1, "few");
    assert_eq!(runs(2 * LONG_MAX, long - 1).await, 1, "others are short so far");
    let turns = (PIECES * PIECE_BYTES - long).div_ceil(TURN_BYTES);
    assert_eq!(runs(LONG_MAX, long).await, 1 + turns, "many");
    assert_eq!(runs(0, long).await, 1, "the others have ended");
}

/// Fails when two long answers go on at a time, when one that has nothing to write keeps its turn, or
/// when somebody is forgotten.
#[tokio::test(start_paused = true)]
async fn long_answers_go_on_one_at_a_time() {
    let mut crowd: Vec<_> = (0..=LONG_MAX).map(|_| Turns::default()).collect();
    crowd.iter_mut().for_each(|turns| turns.wrote(LONG_BYTES.try_into().unwrap()));
    let mut context = Context::from_waker(Waker::noop());
    let other = Context::from_waker(Waker::noop());
    let mut begins = |turns: &mut Turns| turns.poll_begin(&mut context).is_ready();
    let [first, second, third, ..] = &mut crowd[..] else { panic!("too few") };
    assert!(begins(first) && !first.is_over());
    first.wrote(TURN_BYTES);
    assert!(first.is_over());
    first.end(true, &other);
    // It runs on until everything else has run.
    assert!(!begins(second) && !begins(third) && !begins(second));
    assert!(!begins(first), "others were first");
    assert!(!begins(third) && begins(second));
    // It has nothing to write, and so need not run again.
    second.end(true, &other);
    // It leaves while it is its turn.
    drop(std::mem::take(third));
    assert!(begins(first));
    first.wrote(TURN_BYTES);
    // It has ended, though something keeps it.
    first.end(false, &other);
    assert!(begins(second));
    second.end(false, &other);
    let mut short = Turns::default();
    assert!(begins(&mut short) && !short.is_over());
}

/// Fails when streams of events crowd a core once each of them has sent much in all.
#[test]
fn who_writes_little_at_a_time_is_not_long() {
    let context = Context::from_waker(Waker::noop());
    let mut streams: Vec<_> = (0..=LONG_MAX).map(|_| Turns::default()).collect();
    streams.iter_mut().for_each(|turns| turns.wrote(LONG_BYTES.try_into().unwrap()));
    assert!(is_crowded());
    for turns in &mut streams {
        turns.end(true, &context);
        assert!(turns.poll_begin(&mut Context::from_waker(Waker::noop())).is_ready());
        turns.wrote(PIECE_BYTES_MIN - 1);
        turns.end(true, &context);
    }
    assert!(!is_crowded());
    drop(streams);
    assert!(!is_crowded());
}
