//! A request's body in the hands of hyper, which asks for no more of it while an upstream takes
//! nothing. Nobody would ever wait for that to change: it is watched here, once the answer has begun.
//! One that breaks off by then does so when the answer has ended, or has had time to: the stream has
//! one end for both.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

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
    /// Nothing before the answer has begun.
    answer: Option<Begun>,
    /// Why it broke off.
    error: Option<Cause>,
}

/// An answer that has begun.
#[derive(Debug)]
struct Begun {
    /// Ready when it has ended.
    ended: oneshot::Receiver<Infallible>,
    /// How long it may go on when there is no more of what it answers.
    time_max: Duration,
    /// Runs once there is not.
    time: Option<Pin<Box<Sleep>>>,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The answer to an upload. Dropped, it has ended.
pub(super) type Answering = oneshot::Sender<Infallible>;

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
        let going = Going { rest, waits_since: None, answer: None, error: None };
        Self::Something(Arc::new(Mutex::new(going)))
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
    /// connection, which takes no further request. A body that breaks off takes its answer with it
    /// no sooner than after so long. What is returned has to live as long as the answer; nothing
    /// where no more of the body is to come.
    pub(super) fn watch(self, stall_max: Duration) -> Option<Answering> {
        let going = self.0.upgrade()?;
        let mut going = lock(&going);
        going.rest.as_ref()?;
        let (answering, ended) = oneshot::channel();
        going.answer = Some(Begun { ended, time_max: stall_max, time: None });
        tokio::spawn(self.stalls(stall_max));
        Some(answering)
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

impl<B> Going<B> {
    /// Tells that it broke off, as soon as that cuts no answer.
    fn poll_break_off<T>(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<T, Cause>>> {
        if let Some(Begun { ended, time_max, time }) = &mut self.answer
            && Pin::new(ended).poll(context).is_pending()
        {
            let time = time.get_or_insert_with(|| Box::pin(sleep(*time_max)));
            ready!(time.as_mut().poll(context));
        }
        self.answer = None;
        Poll::Ready(self.error.take().map(Err))
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
    type Error = Cause;

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
        if going.error.is_some() {
            return going.poll_break_off(context);
        }
        let Some(rest) = &mut going.rest else {
            return Poll::Ready(Some(Err(Broken::Stalled.into())));
        };
        let frame = Pin::new(&mut rest.body).poll_frame(context).map_err(Into::into);
        if let Poll::Ready(Some(Err(error))) = frame {
            (going.waits_since, going.error) = (None, Some(error));
            return going.poll_break_off(context);
        }
        going.waits_since = match &frame {
            Poll::Ready(Some(Ok(_))) => Some(Instant::now()),
            _ => None,
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
