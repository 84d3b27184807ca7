//! The body of an answer to a client. While it lives the session it came by is held and the request
//! is not over.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::ending::{Ending, Why};
use super::error::Problem;
use super::record::{CLIENT_LEFT, NOT_TAKEN, Record, UNDECODABLE};
use super::stream::Stream;
use super::tunnel::Tunnel;
use super::upload::{Unwanted, Upload};
use crate::forward::coding::Undecodable;
use crate::forward::replay::Replay;
use crate::session::Hold;
use crate::upstream::Broken;

/// The body of an answer to a client.
#[derive(Debug)]
pub struct ReplyBody {
    content: Content,
    /// Reports the request when the body ends or is dropped.
    record: Option<Box<Record>>,
    /// Keeps the session from being logged out.
    _hold: Option<Hold>,
    /// Its end closes the connection on which the upstream has not taken the request's body whole.
    _unwanted: Option<Unwanted>,
    /// When the body is cut.
    ending: Option<Ending>,
    /// What follows the answer.
    tunnel: Option<Box<Tunnel>>,
}

/// Where the bytes come from.
#[derive(Debug)]
pub(super) enum Content {
    /// Made here.
    Whole(Bytes),
    /// From the upstream.
    Streamed(Box<Stream>),
}

impl Content {
    /// What has been read whole, with the fields that came behind it.
    pub(super) fn whole(body: Box<Stream>) -> Self {
        match body.trailers {
            None => Self::Whole(body.seen),
            Some(_) => Self::Streamed(body),
        }
    }
}

impl ReplyBody {
    pub(super) fn new(
        content: Content,
        record: Box<Record>,
        hold: Option<Hold>,
        unwanted: Option<Replay<Upload>>,
        ending: Option<Ending>,
    ) -> Self {
        let record = Some(record);
        let _unwanted = unwanted.map(Unwanted::new);
        Self { content, record, _hold: hold, _unwanted, ending, tunnel: None }
    }

    /// The empty body of an answer that a tunnel follows.
    pub(super) fn before(tunnel: Tunnel) -> Self {
        let content = Content::Whole(Bytes::new());
        let tunnel = Some(Box::new(tunnel));
        Self { content, record: None, _hold: None, _unwanted: None, ending: None, tunnel }
    }

    /// The tunnel that follows the answer; whoever serves the connection runs it.
    pub fn take_tunnel(&mut self) -> Option<Box<Tunnel>> {
        self.tunnel.take()
    }
}

/// Why an answer's body does not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum CutOff {
    /// The upstream's answer broke off.
    #[error("the upstream's answer broke off")]
    Upstream(#[source] Broken),
    /// It was to be decoded and searched, and is not what its coding says.
    #[error("the upstream's answer cannot be decoded")]
    Undecodable(#[source] Undecodable),
    /// The session that it came by was replaced.
    #[error("the session of this stream was replaced")]
    SessionReplaced,
    /// The key that it was asked for with is revoked.
    #[error("the client key of this stream was revoked")]
    KeyRevoked,
}

impl ReplyBody {
    fn cut(&mut self, why: Why) -> CutOff {
        self.ending = None;
        self.content = Content::Whole(Bytes::new());
        if let Some(record) = &mut self.record {
            record.reason = why.as_str();
        }
        match why {
            Why::SessionReplaced => CutOff::SessionReplaced,
            Why::KeyRevoked => CutOff::KeyRevoked,
        }
    }
}

impl ReplyBody {
    /// The client has not taken it in time.
    pub fn was_not_taken(&mut self) {
        if let Some(record) = &mut self.record {
            record.broke_off(NOT_TAKEN);
        }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        // Whoever knows the length from the head does not ask for the end.
        let is_whole = self.is_end_stream() || self.size_hint().exact() == Some(0);
        if let (Some(record), false) = (&mut self.record, is_whole) {
            record.broke_off(CLIENT_LEFT);
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        let ending = self.ending.as_mut().map(|ending| Pin::new(ending).poll(context));
        if let Some(Poll::Ready(why)) = ending {
            return Poll::Ready(Some(Err(self.cut(why))));
        }
        let this = &mut *self;
        let chunk = match &mut this.content {
            Content::Whole(bytes) if bytes.is_empty() => None,
            Content::Whole(bytes) => Some(Ok(std::mem::take(bytes))),
            Content::Streamed(stream) => {
                let chunk = std::task::ready!(stream.poll_chunk(context));
                if let Some(record) = &mut this.record {
                    record.redacted = stream.redacted();
                    if let (Some(decoded), Some(bytes)) =
                        (&mut record.decoded, stream.coded_bytes())
                    {
                        decoded.coded_bytes = bytes;
                    }
                }
                chunk
            }
        };
        if chunk.is_none() {
            let trailers = match &mut this.content {
                Content::Streamed(stream) => stream.take_trailers(),
                Content::Whole(_) => None,
            };
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        if let (Some(Ok(chunk)), Some(record)) = (&chunk, &mut this.record) {
            record.body_bytes += chunk.len() as u64;
        }
        if let (Some(Err(error)), Some(record)) = (&chunk, &mut this.record) {
            record.broke_off(match error {
                CutOff::Undecodable(_) => UNDECODABLE,
                _ => Problem::UpstreamBroken.code(),
            });
        }
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Streamed(stream) => stream.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Streamed(stream) => stream.size_hint(),
        }
    }
}
