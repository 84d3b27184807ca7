//! Messages on the wire: what is written, what is read, and that hyper reads no answer otherwise.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};
use http_body::{Body, Frame, SizeHint};
use proptest::prelude::*;
use tokio::io::AsyncWrite;

use super::head::{self, BadHead, Expect};
use super::outgoing::{Framing, Outgoing};
use super::properties::{self, Answer, not_otherwise, read_by_hyper};
use crate::upstream::RequestHead;
use crate::upstream::error::Broken;
use crate::upstream::stream::Outlet;

const STALL_MAX: Duration = Duration::from_secs(5);

/// A body in pieces.
struct Pieces {
    left: Vec<Bytes>,
    exact: Option<u64>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(self.left.remove(0)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.exact.map(SizeHint::with_exact).unwrap_or_default()
    }
}

fn pieces(left: &[&[u8]], exact: Option<u64>) -> Pieces {
    Pieces { left: left.iter().map(|piece| Bytes::copy_from_slice(piece)).collect(), exact }
}

/// Takes so many bytes at a time, then nothing more.
struct Narrow {
    width: usize,
    taken: Vec<u8>,
    taken_max: usize,
}

impl AsyncWrite for Narrow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let length = bytes.len().min(self.width).min(self.taken_max - self.taken.len());
        if length == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.taken.extend_from_slice(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Outlet for Narrow {
    fn handed_over(&self) -> u64 {
        self.taken.len() as u64
    }
}

/// What is written of a request, or why it is not.
fn written(
    method: Method,
    fields: &[(&'static str, &'static str)],
    body: Pieces,
    width: usize,
) -> Result<String, Broken> {
    let (target, mut headers) = (PathAndQuery::from_static("/a?b=c"), HeaderMap::new());
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    let request = RequestHead::new(&method, &target, &headers);
    let framing = Outgoing::framing(&body);
    let authority = HeaderValue::from_static("api.example");
    let head = head::of_request(&request, &authority, framing, Expect::Nothing);
    let mut outgoing = Outgoing::new(head, body, framing, STALL_MAX);
    let mut narrow = Narrow { width, taken: Vec::new(), taken_max: usize::MAX };
    let mut context = Context::from_waker(Waker::noop());
    match outgoing.poll(&mut narrow, &mut context) {
        Poll::Ready(Ok(())) => Ok(String::from_utf8(narrow.taken).unwrap()),
        Poll::Ready(Err(error)) => Err(error),
        Poll::Pending => panic!("nothing is waited for"),
    }
}

#[test]
fn the_framing_of_a_request_is_ours_alone() {
    let lies: [(&str, &str); 5] = [
        ("host", "evil.example"),
        ("content-length", "7"),
        ("transfer-encoding", "gzip"),
        ("expect", "100-continue"),
        ("accept", "a/b"),
    ];
    let nothing = || pieces(&[], None);
    let head = |method: &str| format!("{method} /a?b=c HTTP/1.1\r\nhost: api.example\r\n");
    for (method, fields, body, expected) in [
        (Method::GET, &lies[4..], nothing(), "accept: a/b\r\n\r\n"),
        (Method::GET, &lies[..], nothing(), "accept: a/b\r\ncontent-length: 0\r\n\r\n"),
        (Method::POST, &[], nothing(), "content-length: 0\r\n\r\n"),
        (Method::DELETE, &[], nothing(), "\r\n"),
        (
            Method::PUT,
            &lies[..],
            pieces(&[b"bo", b"dy"], Some(4)),
            "accept: a/b\r\ncontent-length: 4\r\n\r\nbody",
        ),
        (
            Method::GET,
            &lies[1..2],
            pieces(&[b"bo", b"", b"dy"], None),
            "transfer-encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
        ),
    ] {
        for width in [1, 7, usize::MAX] {
            let text = Pieces { left: body.left.clone(), exact: body.exact };
            let seen = written(method.clone(), fields, text, width).unwrap();
            assert_eq!(seen, head(method.as_str()) + expected);
        }
    }
}

#[test]
fn a_body_that_is_not_as_long_as_was_said_is_an_error() {
    for said in [3, 5] {
        let error = written(Method::PUT, &[], pieces(&[b"bo", b"dy"], Some(said)), 9).unwrap_err();
        assert!(matches!(error, Broken::Body(_)), "{error:?}");
    }
}

#[test]
fn an_upstream_that_takes_nothing_more_may_still_answer() {
    let framing = Framing::Length(4);
    for (taken_max, is_unsent) in [(0, true), (3, false), (10, false)] {
        let mut outgoing =
            Outgoing::new(b"head ".to_vec(), pieces(&[b"body"], None), framing, STALL_MAX);
        let mut narrow = Narrow { width: 2, taken: Vec::new(), taken_max };
        let mut context = Context::from_waker(Waker::noop());
        let ended = outgoing.poll(&mut narrow, &mut context);
        let Poll::Ready(ended) = ended else { panic!("nothing is waited for") };
        assert_eq!(ended.is_err(), is_unsent, "{taken_max}");
        assert_eq!(outgoing.has_stopped(), taken_max == 3, "{taken_max}");
    }
}

/// Breaks in the middle of a write, as TLS does that makes several parts of it.
struct Breaking {
    handed_over: u64,
    before_it_breaks: u64,
}

impl AsyncWrite for Breaking {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.handed_over += self.before_it_breaks;
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Outlet for Breaking {
    fn handed_over(&self) -> u64 {
        self.handed_over
    }
}

/// Fails when a request of which a part has left is taken for one of which nothing has, and sent
/// again, or when one of which nothing has left is lost.
#[test]
fn what_was_handed_over_before_a_write_failed_was_sent() {
    for (before_it_breaks, is_unsent) in [(0, true), (1, false), (17, false)] {
        let (head, framing) = (b"head ".to_vec(), Framing::Length(0));
        let mut outgoing = Outgoing::new(head, pieces(&[], None), framing, STALL_MAX);
        let mut breaking = Breaking { handed_over: 500, before_it_breaks };
        let ended = outgoing.poll(&mut breaking, &mut Context::from_waker(Waker::noop()));
        let Poll::Ready(ended) = ended else { panic!("nothing is waited for") };
        // The upstream may still say something of what it has seen.
        assert_eq!(ended.is_err(), is_unsent);
        let failed = outgoing.failed(&breaking, io::Error::from(io::ErrorKind::BrokenPipe).into());
        assert_eq!(failed.unsent.is_some(), is_unsent);
        assert_eq!(matches!(failed.error, Broken::Unsent(_)), is_unsent);
    }
}

/// A long piece goes out without being copied, between what frames it.
#[test]
fn long_pieces_are_framed_like_short_ones() {
    let long = vec![b'x'; 100_000];
    let seen = written(Method::PUT, &[], pieces(&[b"a", &long, b"b"], None), 65_536).unwrap();
    let (_, body) = seen.split_once("\r\n\r\n").unwrap();
    let long = String::from_utf8(long).unwrap();
    assert_eq!(body, format!("1\r\na\r\n186a0\r\n{long}\r\n1\r\nb\r\n0\r\n\r\n"));
}

/// Takes so many bytes, then waits once before each of the next ones.
struct Stalling {
    left: usize,
    is_ready: bool,
    taken: Vec<u8>,
}

impl AsyncWrite for Stalling {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let length = match (self.left, self.is_ready) {
            (0, false) => {
                self.is_ready = true;
                return Poll::Pending;
            }
            (0, true) => 1,
            (left, _) => left.min(bytes.len()),
        };
        self.left = self.left.saturating_sub(length);
        self.is_ready = false;
        self.taken.extend_from_slice(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Outlet for Stalling {
    fn handed_over(&self) -> u64 {
        self.taken.len() as u64
    }
}

/// Fails when what ends a long chunk is lost, or comes after the next one, where the upstream takes
/// nothing for a while just before it.
#[tokio::test]
async fn a_chunk_has_ended_before_the_next_one_begins() {
    let long = vec![b'x'; 20_000];
    let text = String::from_utf8(long.clone()).unwrap();
    for next in [&b"b"[..], b""] {
        let chunk = if next.is_empty() { "" } else { "1\r\nb\r\n" };
        let expected = format!("4e20\r\n{text}\r\n{chunk}0\r\n\r\n");
        for left in [19_999, 20_005, 20_006, 20_007, 20_008] {
            let body = pieces(&[&long, next], None);
            let mut outgoing = Outgoing::new(Vec::new(), body, Framing::Chunked, STALL_MAX);
            let mut stalling = Stalling { left, is_ready: false, taken: Vec::new() };
            let mut context = Context::from_waker(Waker::noop());
            while outgoing.poll(&mut stalling, &mut context).map(Result::unwrap).is_pending() {}
            assert!(stalling.taken == expected.as_bytes(), "{left}");
        }
    }
}

/// Takes a byte of whatever is written whenever it is let, and counts them.
#[derive(Default)]
struct Let(usize, u64);

impl AsyncWrite for Let {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.0 == 0 {
            return Poll::Pending;
        }
        (self.0, self.1) = (self.0 - 1, self.1 + 1);
        Poll::Ready(Ok(1))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Outlet for Let {
    fn handed_over(&self) -> u64 {
        self.1
    }
}

/// Fails when an upstream that takes nothing more holds a request for ever, or when one that is only
/// slow is given up.
#[tokio::test(start_paused = true)]
async fn an_upstream_that_takes_nothing_for_too_long_is_given_up() {
    let body = pieces(&[b"body"], Some(4));
    let mut outgoing = Outgoing::new(Vec::new(), body, Framing::Length(4), STALL_MAX);
    let mut upstream = Let::default();
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        assert!(outgoing.poll(&mut upstream, &mut context).is_pending());
        tokio::time::advance(STALL_MAX - Duration::from_millis(2)).await;
        upstream.0 = 1;
    }
    assert!(outgoing.poll(&mut upstream, &mut context).is_pending());
    tokio::time::advance(STALL_MAX - Duration::from_millis(2)).await;
    assert!(outgoing.poll(&mut upstream, &mut context).is_pending());
    tokio::time::advance(Duration::from_millis(4)).await;
    let given_up = outgoing.poll(&mut upstream, &mut context);
    assert!(matches!(given_up, Poll::Ready(Err(Broken::Stalled))), "{given_up:?}");
}

/// Reads an answer, `width` bytes at a time.
fn read(method: &Method, bytes: &[u8], width: usize) -> Result<Answer, Broken> {
    properties::read(method, &bytes.chunks(width).collect::<Vec<_>>())
}

#[test]
fn the_end_of_a_body_is_told_in_one_way() {
    let ok = |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}");
    for (bytes, body) in [
        (ok("content-length: 2\r\n", "{}more"), "{}"),
        (ok("content-length: 2\r\nContent-Length: 2\r\n", "{}"), "{}"),
        (ok("content-length: 2, 2\r\n", "{}"), "{}"),
        (ok("transfer-encoding: Chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"), "{}"),
        (ok("", "until the end"), "until the end"),
        ("HTTP/1.0 200\r\n\r\nold".to_owned(), "old"),
        ("HTTP/1.1 204 No\r\ncontent-length: 5\r\n\r\nnext.".to_owned(), ""),
        ("HTTP/1.1 304 No\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(), ""),
        ("HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx".to_owned(), "x"),
        ("HTTP/1.1 200 OK\ncontent-length: 1\n\nx".to_owned(), "x"),
    ] {
        for width in [1, 2, 3, usize::MAX] {
            let answer = read(&Method::GET, bytes.as_bytes(), width).unwrap();
            assert_eq!(answer.body, body.as_bytes(), "{bytes:?}");
        }
    }
    for fields in [
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: 2, 3\r\n",
        "content-length: +2\r\n",
        "content-length: \r\n",
        "content-length: 18446744073709551616\r\n",
        "content-length: 2\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: \x0bchunked\r\n",
    ] {
        for method in [Method::GET, Method::HEAD] {
            let bytes = ok(fields, "2\r\n{}\r\n0\r\n\r\n");
            let error = read(&method, bytes.as_bytes(), 5);
            let is_bad = matches!(error, Err(Broken::Head(_)));
            assert!(is_bad || method == Method::HEAD, "{fields:?}: {error:?}");
        }
    }
    let old = "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let ambiguous = read(&Method::GET, old.as_bytes(), 99);
    assert!(matches!(ambiguous, Err(Broken::Head(BadHead::Ambiguous))), "{ambiguous:?}");
}

/// Pieces of answers, most of them good.
fn answers() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 204 \r\n",
        "HTTP/1.1 304 Not Modified\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200\r\n",
        "HTTP/1.1 200 \u{7f}\r\n",
        "HTTP/2 200 OK\r\n",
        "HTTP/1.1 2000 OK\r\n",
    ]);
    let field = prop::sample::select(vec![
        "content-length: 4\r\n",
        "content-length: 4\r\n",
        "Content-Length: 4, 4\r\n",
        "content-length: 5\r\n",
        "content-length: 4 \r\n",
        "content-length:\t4\r\n",
        "transfer-encoding: chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: gzip\r\n",
        "connection: close\r\n",
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
        "body and more",
        "bo",
        "",
        "4\r\nbody\r\n0\r\n\r\n",
        "4;x=y\r\nbody\r\n0\r\nx-trailer: 1\r\n\r\n",
        "2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "4\r\nbody\r\n",
        "4\r\nbodyx\r\n0\r\n\r\n",
        "g\r\nbody\r\n0\r\n\r\n",
    ]);
    (line, prop::collection::vec(field, 0..3), body)
        .prop_map(|(line, fields, body)| format!("{line}{}\r\n{body}", fields.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Fails when an answer is read otherwise than hyper reads it, or one is taken that hyper
    /// refuses. What is refused beyond hyper has more than one end.
    #[test]
    fn no_answer_is_read_otherwise_than_by_hyper(
        bytes in answers(),
        is_head in any::<bool>(),
        width in 1_usize..40,
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let bytes = bytes.as_bytes();
        let bytes = cut.map_or(bytes, |cut| &bytes[..cut.index(bytes.len())]);
        let method = if is_head { Method::HEAD } else { Method::GET };
        let ours = read(&method, bytes, width);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let theirs = runtime.block_on(read_by_hyper(method.clone(), bytes));
        not_otherwise(ours, theirs);
    }

    #[test]
    fn nothing_that_comes_makes_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        width in 1_usize..40,
    ) {
        _ = read(&Method::GET, &bytes, width);
        _ = read(&Method::GET, &[b"HTTP/1.1 200 OK\r\n", &bytes[..]].concat(), width);
    }
}
