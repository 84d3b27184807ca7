//! What must hold for any bytes that an upstream answers with, beside hyper as an oracle.

// What does not hold ends the test.
#![allow(clippy::panic)]

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::head::{self, BadHead, End, FIELDS_MAX, HEAD_BYTES_MAX};
use crate::http1::chunked::{Chunked, Piece};
use crate::properties::{Draws, pieces};
use crate::upstream::error::Broken;

/// Longer answers tell nothing that shorter ones do not.
const ANSWER_BYTES_MAX: usize = 60_000;

/// An answer is read alike however it comes in, and not otherwise than hyper reads it; where its end
/// could be told in two ways it is refused.
pub fn answers(data: &[u8]) {
    let mut draws = Draws::new(data);
    let method = if draws.byte() & 1 == 1 { Method::HEAD } else { Method::GET };
    let lengths = draws.line();
    let bytes = draws.rest();
    if bytes.len() > ANSWER_BYTES_MAX {
        return;
    }
    let at_once = read(&method, &[bytes]);
    let by_pieces = read(&method, &pieces(bytes, lengths));
    match (&at_once, &by_pieces) {
        (Ok(one), Ok(other)) => assert_eq!(one, other),
        (Err(_), Err(_)) => {}
        _ => panic!("{at_once:?} at once, {by_pieces:?} by pieces"),
    }
    if let Ok(answer) = &at_once {
        assert!(answer.headers.len() <= FIELDS_MAX && answer.body.len() <= bytes.len());
        assert!(!answer.status.is_informational());
    }
    // Empty lines before an answer: hyper passes over any number of them, we over one.
    let bare: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'\r').collect();
    if bare.starts_with(b"\n\n") || bare.windows(3).any(|lines| lines == b"\n\n\n") {
        return;
    }
    // A line feed by itself among the trailers: hyper passes over it, and others would end a line.
    let has_bare_end =
        bytes.split(|byte| *byte == b'\n').rev().skip(1).any(|line| line.last() != Some(&b'\r'));
    if has_bare_end && matches!(at_once, Err(Broken::Chunk(_))) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let Ok(runtime) = runtime else { return };
    not_otherwise(at_once, runtime.block_on(read_by_hyper(method, bytes)));
}

/// Whether an answer was read as hyper reads it. What is refused beyond hyper
/// has more than one end, or switches protocols.
pub(super) fn not_otherwise(ours: Result<Answer, Broken>, theirs: Result<Answer, hyper::Error>) {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs),
        // Trailers are passed over here, whatever they are called.
        (Ok(_), Err(error)) if format!("{error:?}").contains("Header") => {}
        (Ok(ours), Err(error)) => panic!("{ours:?}, hyper: {error:?}"),
        (Err(Broken::Head(BadHead::Ambiguous | BadHead::Unasked)), Ok(_)) | (Err(_), Err(_)) => {}
        (Err(error), Ok(theirs)) => panic!("{error:?}, hyper: {theirs:?}"),
    }
}

/// An answer that was read whole.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Reads an answer out of all that an upstream sends before it closes, piece by piece.
pub(super) fn read(method: &Method, pieces: &[&[u8]]) -> Result<Answer, Broken> {
    let (mut buffer, mut looked_at) = (BytesMut::new(), 0);
    let mut coming = pieces.iter();
    let head = loop {
        match head::of_answer(&mut buffer, &mut looked_at)? {
            Some(head) if head.status == StatusCode::SWITCHING_PROTOCOLS => {
                return Err(BadHead::Unasked.into());
            }
            Some(head) if head.status.is_informational() => continue,
            Some(head) => break head,
            None => buffer.extend_from_slice(coming.next().ok_or(Broken::Closed)?),
        }
        assert!(looked_at <= HEAD_BYTES_MAX);
    };
    let mut body = Vec::new();
    let mut chunked = Chunked::default();
    let end = head.end(method)?;
    loop {
        let is_over = match end {
            End::Close => {
                body.extend_from_slice(&buffer.split());
                false
            }
            End::Length(length) => {
                let left = usize::try_from(length).unwrap_or(usize::MAX) - body.len();
                body.extend_from_slice(&buffer.split_to(left.min(buffer.len())));
                body.len() as u64 == length
            }
            End::Chunked => loop {
                match chunked.next(&mut buffer)? {
                    Piece::Data(piece) => body.extend_from_slice(&piece),
                    Piece::End => break true,
                    Piece::NotYet => break false,
                }
            },
        };
        match coming.next() {
            _ if is_over => break,
            Some(piece) => buffer.extend_from_slice(piece),
            None if end == End::Close => break,
            None => return Err(Broken::Closed),
        }
    }
    Ok(Answer { status: head.status, headers: head.headers.into(), body })
}

/// What hyper reads.
pub(super) async fn read_by_hyper(method: Method, bytes: &[u8]) -> Result<Answer, hyper::Error> {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_headers(FIELDS_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(ours)).await?;
    let driven = tokio::spawn(connection);
    let upstream = async {
        // The request has come when something has.
        _ = theirs.read_u8().await;
        _ = theirs.write_all(bytes).await;
        _ = theirs.shutdown().await;
        theirs
    };
    let request = Request::builder().method(method).uri("/");
    let Ok(request) = request.body(Empty::<Bytes>::new()) else { unreachable!("it is plain") };
    let answer = async {
        let answer = sender.send_request(request).await?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes().to_vec();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    };
    let (answer, _theirs) = tokio::join!(answer, upstream);
    driven.abort();
    answer
}
