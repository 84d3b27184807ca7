//! The body of a client's request. An answer may come before its end; then the rest is still read
//! for a while, and an upstream that still takes it gets it.
//!
//! A connection that is closed while its client sends is reset, and with it goes the answer that
//! the client has not read yet (RFC 9112 section 9.6). HTTP/2 ends streams one by one.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::incoming::{BrokenOff, Incoming};
use super::message::Head;
use super::patience::{Ward, Watch};
use crate::forward::replay::Replay;

/// How long the rest of a body is read after its answer.
const REST_TIME_MAX: Duration = Duration::from_secs(5);

/// How much of it is read.
const REST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A client that sends nothing for so long has read its answer, or never will.
const REST_PAUSE_MAX: Duration = Duration::from_millis(500);

/// An upstream that has answered and takes nothing of what is sent again for so long, or for twice
/// as long at most, takes no more of it.
const TAKING_PAUSE_MAX: Duration = Duration::from_secs(1);

/// The body of a client's request; its rest is read when it is dropped.
#[derive(Debug)]
pub struct Upload {
    /// Nothing once the client has sent all, or has failed.
    incoming: Option<Incoming>,
    /// Whether the client sends without being told to, on a connection of its own.
    is_coming: bool,
    is_http1: bool,
    watch: Option<Arc<Watch>>,
    /// Once it had to be waited for.
    ward: Option<Ward>,
    is_too_slow: bool,
    received: Received,
}

/// How many bytes of its body a client has sent. Clones are the same; a request without a body has
/// none.
#[derive(Clone, Debug, Default)]
pub(super) struct Received(Option<Arc<AtomicU64>>);

impl Received {
    /// How many so far.
    pub(super) fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |bytes| bytes.load(Ordering::Relaxed))
    }

    fn more(&self, bytes: u64) {
        if let Some(all) = &self.0 {
            all.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

/// Why a request's body does not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It broke off, or is framed wrongly.
    #[error("the body broke off or is framed wrongly")]
    Broken(#[source] BrokenOff),
    /// It comes too slowly, or not at all.
    #[error("the body comes too slowly")]
    TooSlow,
}

impl Upload {
    /// The body that belongs to `head`.
    pub(super) fn new(incoming: Incoming, head: &Head, watch: &Arc<Watch>) -> Self {
        let is_http1 = head.version <= Version::HTTP_11;
        let has_some = !incoming.is_end_stream();
        let watch = has_some.then(|| Arc::clone(watch));
        let is_coming = has_some && is_http1 && !head.headers.contains(header::EXPECT);
        let incoming = Some(incoming);
        let received = Received(has_some.then(Arc::default));
        Self { incoming, is_coming, is_http1, watch, ward: None, is_too_slow: false, received }
    }

    /// What is counted of it while it comes.
    pub(super) fn received(&self) -> Received {
        self.received.clone()
    }

    /// Whether it was given up because it came too slowly.
    pub(super) fn is_too_slow(&self) -> bool {
        self.is_too_slow
    }

    /// The client has to go on.
    fn poll_wait(&mut self, context: &Context<'_>) -> Poll<()> {
        match (&self.ward, &self.watch) {
            (Some(ward), _) => ward.poll_wait(context),
            (None, Some(watch)) => self.ward.insert(watch.body()).poll_wait(context),
            (None, None) => Poll::Pending,
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        // The first poll gives a client leave that waits for it.
        self.is_coming = self.is_http1;
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(incoming).poll_frame(context) else {
            std::task::ready!(self.poll_wait(context));
            // Nothing more is read of it: an HTTP/1.1 connection ends with the answer.
            (self.incoming, self.ward, self.is_too_slow) = (None, None, true);
            return Poll::Ready(Some(Err(UploadError::TooSlow)));
        };
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.received.more(bytes);
                if let Some(ward) = &self.ward {
                    ward.went_on(bytes);
                }
            }
            None | Some(Err(_)) => (self.incoming, self.ward) = (None, None),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(UploadError::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.is_end_stream() || !self.is_coming {
            return;
        }
        // The task ends with the client's connection at the latest, which is waited for at stop.
        if let (Some(rest), Ok(runtime)) = (self.incoming.take(), Handle::try_current()) {
            runtime.spawn(timeout(REST_TIME_MAX, read_rest(rest)));
        }
    }
}

async fn read_rest(mut rest: Incoming) {
    let mut bytes = 0;
    while bytes < REST_BYTES_MAX {
        match timeout(REST_PAUSE_MAX, rest.frame()).await {
            Ok(Some(Ok(frame))) => bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            _ => return,
        }
    }
}

/// A body that its upstream has not taken whole when it answers. It is held until the answer has
/// been sent; what was kept of it is then given up when the upstream takes no more.
#[derive(Debug)]
pub(super) struct Unwanted(Option<Replay<Upload>>);

impl Unwanted {
    pub(super) fn new(replay: Replay<Upload>) -> Self {
        Self(Some(replay))
    }
}

impl Drop for Unwanted {
    fn drop(&mut self) {
        let taken = self.0.take().filter(|replay| !replay.is_held() && replay.has_left());
        // The task ends with what was kept: each of its waits sees some of that pass, or is the last.
        if let (Some(replay), Ok(runtime)) = (taken, Handle::try_current()) {
            runtime.spawn(give_rest(replay));
        }
    }
}

async fn give_rest(replay: Replay<Upload>) {
    let mut seen = replay.progress();
    while replay.has_left() {
        sleep(TAKING_PAUSE_MAX).await;
        let now = replay.progress();
        if now == seen {
            return;
        }
        seen = now;
    }
}
