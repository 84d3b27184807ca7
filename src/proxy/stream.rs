//! An answer's body as it comes from the upstream, without the secrets that stand in it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, SizeHint};

use super::upload::Upload;
use crate::forward::replay::Sending;
use crate::shield::{Passed, Redactor};
use crate::upstream::AnswerBody;

/// A body on its way from the upstream to the client.
#[derive(Debug)]
pub(super) struct Stream {
    /// What was looked at already.
    seen: Bytes,
    rest: AnswerBody<Sending<Upload>>,
    /// Nothing where bodies are not searched.
    redactor: Option<Redactor>,
    /// What may be passed on next.
    ready: Bytes,
    has_ended: bool,
}

impl Stream {
    pub(super) fn new(
        seen: Bytes,
        rest: AnswerBody<Sending<Upload>>,
        redactor: Option<Redactor>,
    ) -> Self {
        Self { seen, rest, redactor, ready: Bytes::new(), has_ended: false }
    }

    /// How many stretches were replaced so far.
    pub(super) fn redacted(&self) -> u64 {
        self.redactor.as_ref().map_or(0, Redactor::redacted)
    }

    /// The next bytes for the client; never empty.
    pub(super) fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        loop {
            if !self.ready.is_empty() {
                return Poll::Ready(Some(Ok(std::mem::take(&mut self.ready))));
            }
            if self.has_ended {
                return Poll::Ready(None);
            }
            let chunk = match ready!(self.poll_upstream(context)) {
                Some(Ok(chunk)) => chunk,
                // The connection breaks off at once: what is held back would not arrive.
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.has_ended = true;
                    self.ready = self.redactor.as_mut().map_or_else(Bytes::new, Redactor::finish);
                    continue;
                }
            };
            let Passed { before, now } = match &mut self.redactor {
                Some(redactor) => redactor.push(chunk),
                None => Passed { before: Bytes::new(), now: chunk },
            };
            self.ready = now;
            if !before.is_empty() {
                return Poll::Ready(Some(Ok(before)));
            }
        }
    }

    /// The next bytes that were looked at, or come in.
    fn poll_upstream(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        if !self.seen.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.seen))));
        }
        let frame = ready!(Pin::new(&mut self.rest).poll_frame(context));
        // Trailers are fields that nothing was stripped from: they end here.
        Poll::Ready(frame.and_then(|frame| frame.map(|frame| frame.into_data().ok()).transpose()))
    }

    /// How much has come in and has not been passed on.
    fn waiting(&self) -> usize {
        let held = self.redactor.as_ref().map_or(0, Redactor::held_bytes);
        self.seen.len() + self.ready.len() + held
    }

    pub(super) fn is_end(&self) -> bool {
        self.waiting() == 0 && (self.has_ended || self.rest.is_end_stream())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
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
