//! A request's body in the hands of hyper, which asks for no more of it while an upstream takes
//! nothing. Nobody would ever wait for that to change: it is watched here, once the answer has begun.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use super::error::Broken;
use super::http2::Shared;

/// A body that hyper sends.
#[derive(Debug)]
pub(super) enum Given<B> {
    /// There is nothing to send.
    Nothing(B),
    /// There is.
    Something(Arc<Mutex<Going<B>>>),
}

/// A body on its way out.
#[derive(Debug)]
pub(super) struct Going<B> {
    /// Nothing when all of it has gone, or what is left was given up.
    rest: Option<Rest<B>>,
    /// Since when what it gave last waits to be taken; nothing while it has nothing to give.
    waits_since: Option<Instant>,
}

#[derive(Debug)]
struct Rest<B> {
    body: B,
    connection: Arc<Shared>,
}

/// An upload as it is watched.
#[derive(Debug)]
pub(super) struct Upload<B>(Weak<Mutex<Going<B>>>);

impl<B: Body> Given<B> {
    /// The body of a request on this connection.
    pub(super) fn new(body: B, connection: &Arc<Shared>) -> Self {
        if body.is_end_stream() {
            return Self::Nothing(body);
        }
        let rest = Some(Rest { body, connection: Arc::clone(connection) });
        Self::Something(Arc::new(Mutex::new(Going { rest, waits_since: None })))
    }

    /// What there is to be watched, if there is.
    pub(super) fn upload(&self) -> Option<Upload<B>> {
        match self {
            Self::Nothing(_) => None,
            Self::Something(going) => Some(Upload(Arc::downgrade(going))),
        }
    }

    /// The body again, of which nothing was taken.
    pub(super) fn into_inner(self) -> Option<B> {
        match self {
            Self::Nothing(body) => Some(body),
            Self::Something(going) => lock(&going).rest.take().map(|rest| rest.body),
        }
    }
}

impl<B: Send + 'static> Upload<B> {
    /// Gives the rest of the body up when the upstream takes nothing of it for `stall_max`, in a
    /// task that ends with the body. The answer is left alone, and so are all others on the
    /// connection, which takes no further request.
    pub(super) fn watch(self, stall_max: Duration) {
        if self.has_rest() {
            tokio::spawn(self.stalls(stall_max));
        }
    }

    fn has_rest(&self) -> bool {
        self.0.upgrade().is_some_and(|going| lock(&going).rest.is_some())
    }

    async fn stalls(self, stall_max: Duration) {
        let mut due = Instant::now() + stall_max;
        loop {
            sleep_until(due).await;
            let Some(going) = self.0.upgrade() else { return };
            let mut going = lock(&going);
            let now = Instant::now();
            // A client that is slow to send is for others to judge.
            due = going.waits_since.unwrap_or(now) + stall_max;
            let stuck = match due <= now {
                true => going.rest.take(),
                false if going.rest.is_some() => continue,
                false => None,
            };
            drop(going);
            if let Some(stuck) = stuck {
                stuck.connection.retire();
            }
            return;
        }
    }
}

/// Nothing that may panic is done under the lock but to ask the body, whose panic ends the request.
fn lock<B>(going: &Mutex<Going<B>>) -> MutexGuard<'_, Going<B>> {
    going.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B> Body for Given<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let going = match &mut *self {
            Self::Nothing(body) => {
                return Pin::new(body).poll_frame(context).map_err(Into::into);
            }
            Self::Something(going) => going,
        };
        let mut going = lock(going);
        let Some(rest) = &mut going.rest else {
            return Poll::Ready(Some(Err(Broken::Stalled.into())));
        };
        let frame = Pin::new(&mut rest.body).poll_frame(context).map_err(Into::into);
        going.waits_since = match &frame {
            Poll::Ready(Some(Ok(_))) => Some(Instant::now()),
            Poll::Ready(Some(Err(_)) | None) | Poll::Pending => None,
        };
        frame
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Nothing(body) => body.is_end_stream(),
            Self::Something(going) => {
                lock(going).rest.as_ref().is_some_and(|rest| rest.body.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Nothing(body) => body.size_hint(),
            Self::Something(going) => {
                lock(going).rest.as_ref().map_or_else(SizeHint::new, |rest| rest.body.size_hint())
            }
        }
    }
}
