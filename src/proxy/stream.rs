//! An answer's body as it comes from the upstream, without its codings and without the secrets that
//! stand in it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, SizeHint};

use super::body::CutOff;
use super::upload::Upload;
use crate::fields::Fields;
use crate::forward::coding::{Decoded, Decoder};
use crate::forward::grpc::Messages;
use crate::forward::replay::Sending;
use crate::forward::trailers;
use crate::shield::{self, Passed, Redactor};
use crate::upstream::AnswerBody;

/// A body on its way from the upstream to the client.
#[derive(Debug)]
pub(super) struct Stream {
    /// What was looked at already.
    pub(super) seen: Bytes,
    pub(super) rest: AnswerBody<Sending<Upload>>,
    pub(super) filters: Filters,
    /// What may be passed on next.
    ready: Bytes,
    has_ended: bool,
    /// The fields that came behind the body.
    pub(super) trailers: Option<HeaderMap>,
}

/// What a body goes through, in this order.
#[derive(Debug, Default)]
pub(super) struct Filters {
    /// Nothing where it is in no coding, or nobody looks into it.
    pub(super) decoder: Option<Box<Decoder>>,
    /// Nothing where bodies are not searched.
    pub(super) redactor: Option<Redactor>,
    /// Where the search may begin anew, so that nobody waits for what is held back.
    pub(super) messages: Option<Messages>,
    /// What is searched for behind a body that is not searched. Without either, nothing behind the
    /// body is passed on.
    pub(super) behind: Option<Redactor>,
}

impl Filters {
    /// Searches the next chunk, behind which there may be others or not.
    fn search(&mut self, chunk: Bytes, is_last: bool) -> Passed {
        let Some(redactor) = &mut self.redactor else {
            return Passed { before: Bytes::new(), now: chunk };
        };
        if is_last {
            return redactor.push_last(chunk);
        }
        let is_whole = self.messages.as_mut().is_some_and(|messages| messages.end_with(&chunk));
        let passed = redactor.push(chunk);
        // The next message's length stands before what it says: nothing goes on there.
        match is_whole && redactor.held_bytes() > 0 {
            true => Passed { now: [passed.now, redactor.finish()].concat().into(), ..passed },
            false => passed,
        }
    }
}

/// Stands in place of a field's value that holds a secret.
const MASKED: &str = "*";

impl Stream {
    /// One of which nothing has come, and that goes through nothing yet.
    pub(super) fn new(rest: AnswerBody<Sending<Upload>>) -> Self {
        Self {
            seen: Bytes::new(),
            rest,
            filters: Filters::default(),
            ready: Bytes::new(),
            has_ended: false,
            trailers: None,
        }
    }

    /// The fields that may be passed on behind the body, when it has ended; once.
    pub(super) fn take_trailers(&mut self) -> Option<HeaderMap> {
        let mut trailers = Fields::from(self.trailers.take()?);
        let Filters { redactor, behind, .. } = &self.filters;
        let secrets = redactor.as_ref().or(behind.as_ref())?.secrets();
        trailers::keep_harmless(&mut trailers);
        shield::mask_headers(&mut trailers, None, secrets, MASKED);
        (!trailers.is_empty()).then(|| trailers.into())
    }

    /// How many stretches were replaced so far.
    pub(super) fn redacted(&self) -> u64 {
        self.filters.redactor.as_ref().map_or(0, Redactor::redacted)
    }

    /// How many bytes have come in a coding that was taken off.
    pub(super) fn coded_bytes(&self) -> Option<u64> {
        self.filters.decoder.as_ref().map(|decoder| decoder.read_bytes())
    }

    /// The next bytes for the client; never empty.
    pub(super) fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, CutOff>>> {
        loop {
            if !self.ready.is_empty() {
                return Poll::Ready(Some(Ok(std::mem::take(&mut self.ready))));
            }
            if self.has_ended {
                return Poll::Ready(None);
            }
            let chunk = match ready!(self.poll_content(context)) {
                Some(Ok(chunk)) => chunk,
                // The connection breaks off at once: what is held back would not arrive.
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.has_ended = true;
                    self.ready =
                        self.filters.redactor.as_mut().map_or_else(Bytes::new, Redactor::finish);
                    continue;
                }
            };
            let is_last = self.filters.decoder.is_none() && self.rest.is_end_stream();
            let Passed { before, now } = self.filters.search(chunk, is_last);
            self.ready = now;
            if !before.is_empty() {
                return Poll::Ready(Some(Ok(before)));
            }
        }
    }

    /// The next bytes without their codings. Nothing is decoded before it is asked for.
    fn poll_content(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutOff>>> {
        loop {
            match self.filters.decoder.as_mut().map(|decoder| decoder.next_content()) {
                Some(Ok(Decoded::Content(content))) => return Poll::Ready(Some(Ok(content))),
                Some(Ok(Decoded::End)) => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(CutOff::Undecodable(error)))),
                Some(Ok(Decoded::Hungry)) | None => {}
            }
            let chunk = ready!(self.poll_upstream(context));
            match (&mut self.filters.decoder, chunk) {
                (Some(decoder), Some(Ok(chunk))) => decoder.push(chunk),
                (Some(decoder), None) => decoder.finish(),
                (_, chunk) => return Poll::Ready(chunk),
            }
        }
    }

    /// The next bytes that were looked at, or come in.
    fn poll_upstream(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutOff>>> {
        if !self.seen.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.seen))));
        }
        Poll::Ready(match ready!(Pin::new(&mut self.rest).poll_frame(context)) {
            None => None,
            Some(Err(error)) => Some(Err(CutOff::Upstream(error))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) => Some(Ok(chunk)),
                // Nothing comes behind them.
                Err(frame) => {
                    self.trailers = frame.into_trailers().ok();
                    None
                }
            },
        })
    }

    /// How much has come in and has not been passed on.
    fn waiting(&self) -> usize {
        let held = self.filters.redactor.as_ref().map_or(0, Redactor::held_bytes);
        self.seen.len() + self.ready.len() + held
    }

    pub(super) fn is_end(&self) -> bool {
        // Whether a coded body is whole, only its decoder knows.
        let is_end = || self.filters.decoder.is_none() && self.rest.is_end_stream();
        self.waiting() == 0 && self.trailers.is_none() && (self.has_ended || is_end())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        if self.filters.decoder.is_some() {
            return SizeHint::new();
        }
        // What is replaced keeps its length.
        let (waiting, rest) = (self.waiting() as u64, self.rest.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(waiting));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(waiting));
        }
        hint
    }
}
