//! A long answer that is made while it is sent.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::clock::Clock;

/// How much is sent at a time.
const CHUNK_BYTES: u64 = 64 * 1024;

/// The period of the bytes: a prime, so that no chunk is like its neighbour.
const PERIOD: u64 = 251;

/// A body of so many bytes, the n-th being `n % 251`, with a pause on this clock before each chunk
/// of 64 KiB but the first.
pub fn download(bytes: u64, clock: Clock, pause: Duration) -> Body {
    Body::new(Download { bytes, sent: 0, clock, pause, pausing: None })
}

struct Download {
    bytes: u64,
    sent: u64,
    clock: Clock,
    pause: Duration,
    pausing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl http_body::Body for Download {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let left = self.bytes - self.sent;
        if left == 0 {
            return Poll::Ready(None);
        }
        if let Some(pausing) = &mut self.pausing {
            ready!(pausing.as_mut().poll(context));
            self.pausing = None;
        }
        let end = self.sent + left.min(CHUNK_BYTES);
        // The remainder is below 251.
        let chunk: Vec<u8> = (self.sent..end).map(|at| (at % PERIOD) as u8).collect();
        self.sent = end;
        if !self.pause.is_zero() {
            let (clock, pause) = (self.clock.clone(), self.pause);
            self.pausing = Some(Box::pin(async move { clock.sleep(pause).await }));
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(chunk)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes - self.sent)
    }
}
