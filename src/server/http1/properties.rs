//! What must hold for any bytes that a client sends, beside hyper as an oracle.

// What does not hold ends the test.
#![allow(clippy::panic)]

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Empty};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

use super::head::Bounds;
use super::wire::{Body, Transport, Wire};
use super::{Age, Next, body, next};
use crate::properties::{Draws, pieces};
use crate::server::pace::Traffic;
use crate::server::{HalfClosed, Stopped, heard_out};

/// What is sent at most: several heads that are too large.
const SENT_BYTES_MAX: usize = 40_000;

/// The least that hyper can be told.
const BOUNDS: Bounds = Bounds { bytes_max: 8 * 1024, fields_max: 12 };

/// What may be read at once beyond a bound.
const READ_BYTES_MAX: usize = 8 * 1024;

/// However a client's bytes come in, the same requests are read of them, within the bounds, and not
/// otherwise than hyper reads them; where the end of one could be told in two ways it is refused.
pub fn requests(data: &[u8]) {
    let mut draws = Draws::new(data);
    let lengths = draws.line();
    let bytes = draws.rest();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let (Ok(runtime), true) = (runtime, bytes.len() <= SENT_BYTES_MAX) else { return };
    let (ours, ended) = runtime.block_on(read_by_us(&[bytes], BOUNDS));
    let (others, also) = runtime.block_on(read_by_us(&pieces(bytes, lengths), BOUNDS));
    assert_eq!(ours, others, "at once and by pieces");
    let is_alike = ended == also || (ended.is_no_head() && also.is_no_head());
    assert!(is_alike, "{ended:?} at once, {also:?} by pieces");
    let bodies = ours.iter().map(|seen| seen.body.len()).sum::<usize>();
    assert!(bodies <= bytes.len());
    assert!(ours.iter().all(|seen| seen.headers.len() <= BOUNDS.fields_max));
    // What hyper counts of a head is a little more than we do. It ends its part of a connection that
    // becomes a tunnel.
    let leads_to_tunnel = ours.iter().any(|seen| seen.method == Method::CONNECT);
    if bytes.len() < BOUNDS.bytes_max && !leads_to_tunnel {
        let theirs = runtime.block_on(read_by_hyper(&[bytes], BOUNDS));
        not_otherwise(bytes, &ours, &ended, &theirs);
    }
}

/// Whether requests were read out of `bytes` as hyper reads them. What is refused beyond hyper has more
/// than one end, or its chunks are no chunks; and after a request that says `close` among other things
/// none is read.
pub(super) fn not_otherwise(bytes: &[u8], ours: &[Seen], ended: &Ended, theirs: &[Seen]) {
    // Trailers are passed over here, whatever they are called.
    let has_trailers = ours
        .get(theirs.len())
        .is_some_and(|seen| seen.headers.contains_key(header::TRANSFER_ENCODING));
    let ours = if has_trailers { ours.get(..theirs.len()).unwrap_or_default() } else { ours };
    assert!(theirs.starts_with(ours), "{ours:?}, hyper: {theirs:?}");
    let is_stricter = match ended {
        Ended::Ambiguous | Ended::BrokenOff => true,
        Ended::LastOne => ours.last().is_some_and(says_more),
        // Empty lines before a head that are bare line feeds: hyper passes over any number of them.
        Ended::Refused(_) => empty_lines(bytes) > ours.len() + 1,
        _ => false,
    };
    assert!(is_stricter || has_trailers || ours == theirs, "{ended:?} {ours:?}, hyper: {theirs:?}");
}

/// How many lines are empty.
fn empty_lines(bytes: &[u8]) -> usize {
    // Behind the last line feed is no line.
    let lines = bytes.split(|byte| *byte == b'\n').rev().skip(1);
    lines.filter(|line| line.strip_suffix(b"\r").unwrap_or(line).is_empty()).count()
}

/// Whether a client says more than one thing of what becomes of the connection.
fn says_more(seen: &Seen) -> bool {
    let mut said = seen.headers.get_all(header::CONNECTION).iter();
    let one = said.next();
    said.next().is_some() || one.is_some_and(|value| value.as_bytes().contains(&b','))
}

impl Transport for DuplexStream {
    fn reset_at_end(&self) {}

    fn cut(&self) {}
}

/// A request that was read whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// How a connection's requests ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ended {
    /// With the connection, or with a request that has not come whole.
    Closed,
    /// With a request whose client takes no other answer.
    LastOne,
    /// The head of one could not be read.
    Refused(StatusCode),
    /// The end of its body could not be told.
    Ambiguous,
    /// Its body broke off.
    BrokenOff,
    Http2,
}

impl Ended {
    /// Whether the last head has not come whole, or is none: it may be refused as soon as that can be
    /// told, or when all of it should have come.
    fn is_no_head(&self) -> bool {
        matches!(self, Self::Closed | Self::Refused(_))
    }
}

/// A client that sends these pieces and ends.
async fn sending(pieces: &[&[u8]], mut client: DuplexStream) {
    for piece in pieces {
        if client.write_all(piece).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
    _ = client.shutdown().await;
    // What is said to it is read: nobody waits for room.
    _ = client.read_to_end(&mut Vec::new()).await;
}

/// What is read of a connection until it ends.
pub(super) async fn read_by_us(pieces: &[&[u8]], bounds: Bounds) -> (Vec<Seen>, Ended) {
    let (client, server) = duplex(1 << 17);
    let (wire, traffic) = (Wire::new(server, HalfClosed::Left), Traffic::default());
    let reading = async {
        let mut seen = Vec::new();
        let mut age = Age::New;
        let never = CancellationToken::new();
        let heard_out = pin!(heard_out(&never));
        let mut stopped = Stopped::new(&never, heard_out);
        let ended = loop {
            let next = next(&wire, &traffic, bounds, age, &mut stopped).await;
            assert!(wire.lock().read.len() <= bounds.bytes_max + READ_BYTES_MAX);
            let head = match next {
                Next::Request(head) => head,
                Next::Refused(bad) => break Ended::Refused(bad.status()),
                Next::Http2 => break Ended::Http2,
                Next::Nothing => break Ended::Closed,
            };
            age = Age::Used;
            let Ok(length) = head.length else { break Ended::Ambiguous };
            let incoming = body::incoming(&wire, length, head.expects_continue);
            let Ok(body) = incoming.collect().await else { break Ended::BrokenOff };
            assert_eq!(wire.lock().body(), Body::Over);
            let request = head.request;
            seen.push(Seen {
                method: request.method,
                target: request.uri.to_string(),
                version: request.version,
                headers: HeaderMap::from(request.headers),
                body: body.to_bytes().to_vec(),
            });
            if !head.keeps_alive {
                break Ended::LastOne;
            }
        };
        drop(wire.lock().take());
        (seen, ended)
    };
    tokio::join!(reading, sending(pieces, client)).0
}

/// What hyper reads of it.
pub(super) async fn read_by_hyper(pieces: &[&[u8]], bounds: Bounds) -> Vec<Seen> {
    let (client, server) = duplex(1 << 17);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noting = Arc::clone(&seen);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let noting = Arc::clone(&noting);
        async move {
            let (parts, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                noting.lock().unwrap_or_else(PoisonError::into_inner).push(Seen {
                    method: parts.method,
                    target: parts.uri.to_string(),
                    version: parts.version,
                    headers: parts.headers,
                    body: body.to_bytes().to_vec(),
                });
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.half_close(true).max_headers(bounds.fields_max).max_buf_size(bounds.bytes_max);
    let serving = builder.serve_connection(TokioIo::new(server), service);
    _ = tokio::join!(serving, sending(pieces, client)).0;
    std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner))
}
