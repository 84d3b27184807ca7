//! One sending of a body, as whoever sends it sees it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{BodyError, Gate, Sending, lock, note};

impl<B> Sending<B> {
    pub(super) fn empty() -> Self {
        Self { kept: None, number: 0, left: Some(0), written: None }
    }

    /// A body that is sent in the place of the client's, which has been taken whole.
    pub fn written(body: Vec<u8>) -> Self {
        let left = Some(body.len() as u64);
        let written = Some(Bytes::from(body)).filter(|body| !body.is_empty());
        Self { left, written, ..Self::empty() }
    }
}

impl<B> Body for Sending<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(shared) = self.kept.clone() else {
            self.left = Some(0);
            return Poll::Ready(self.written.take().map(|body| Ok(Frame::data(body))));
        };
        let mut kept = lock(&shared);
        if kept.newest != self.number {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        let Poll::Ready(polled) = kept.poll_next(context) else {
            note(&mut kept.sending, context);
            return Poll::Pending;
        };
        if let Some(Ok(chunk)) = &polled {
            self.left = self.left.map(|left| left.saturating_sub(chunk.len() as u64));
        }
        Poll::Ready(polled.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.kept.as_ref().map_or(self.written.is_none(), |shared| {
            let kept = lock(shared);
            kept.newest == self.number && kept.gate != Gate::Shut && kept.has_passed_all()
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}
