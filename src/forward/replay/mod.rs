//! A request body that can be sent a second time: what passes is kept up to a bound, first in memory
//! and then in a file.
//!
//! The first sending streams from the client and keeps what it saw. A second sending begins with
//! what was kept and goes on with what the client still has to send; from that moment the first one
//! fails, so no byte is taken by both. A sending can be held until the upstream wants the body; a
//! body that was held back has not been sent, however long it is.

pub mod keeping;
mod memory;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
mod refusal;
mod sending;
mod store;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::Body;

use keeping::{Keeping, SpillError};
pub use refusal::Refusal;
use store::Store;

/// Keeps a client's body so that it can be sent again. When it is dropped, nothing is kept any more,
/// and a sending that is still held, or has not passed all on that was kept, fails.
#[derive(Debug)]
pub struct Replay<B>(Option<Arc<Mutex<Kept<B>>>>);

/// One sending of the body.
#[derive(Debug)]
pub struct Sending<B> {
    /// Nothing for an empty body.
    kept: Option<Arc<Mutex<Kept<B>>>>,
    /// Which sending this is; an older one than the newest fails.
    number: u32,
    /// What the client announced and this sending has not passed on yet.
    left: Option<u64>,
    /// What is sent in the place of the client's body.
    written: Option<Bytes>,
}

#[derive(Debug)]
struct Kept<B> {
    source: B,
    store: Store,
    /// The bytes that the source has given.
    taken: u64,
    /// The bytes that the newest sending has passed on.
    position: u64,
    gate: Gate,
    /// The client has to send before anything can go on.
    waits_for_client: bool,
    /// The source has given all.
    ended: bool,
    /// The client's side broke.
    client_failed: bool,
    /// What was kept could not be read.
    storage_failed: bool,
    newest: u32,
    announced: Option<u64>,
    /// Whoever waits for the newest sending to go on.
    sending: Option<Waker>,
    /// Whoever waits for a held sending to be asked for.
    holder: Option<Waker>,
}

/// Whether the newest sending may pass bytes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// Until the upstream wants the body; `asked` when the head is on its way.
    Held {
        asked: bool,
    },
    /// Until it is known whether what was kept can be sent again.
    Paused,
    /// The answer is over, and the body was never wanted or not taken whole.
    Shut,
}

/// When a sending begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With its head.
    AtOnce,
    /// When the upstream wants it ([`Replay::go_ahead`]).
    WhenWanted,
}

/// Whether a body can be sent again, as far as is known before its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// There is no body.
    Empty,
    /// It is kept, or is most likely not longer than is kept.
    Kept,
    /// Its length is not known, and there are no files for a long one.
    Unknown,
    /// It is longer than is kept.
    NotKept,
}

/// How far a sending has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes have passed, and more are to come.
    Passed(u64),
    /// All has passed.
    Ended,
}

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client's side broke, or its framing is wrong.
    #[error("the client's request body broke off")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A newer sending has taken over.
    #[error("the request is being sent again")]
    Superseded,
    /// The upstream has answered and does not take the body, or the rest of it.
    #[error("the upstream did not want the body")]
    Unwanted,
    /// What was kept outside memory cannot be read.
    #[error("what was kept of the request body cannot be read")]
    Storage(#[source] SpillError),
}

impl<B> Replay<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// Keeps `source` within the bounds of `keeping`.
    pub fn new(source: B, keeping: &Arc<Keeping>) -> Self {
        if source.is_end_stream() {
            return Self(None);
        }
        let announced = source.size_hint().exact();
        Self(Some(Arc::new(Mutex::new(Kept {
            source,
            store: Store::new(Arc::clone(keeping), announced),
            taken: 0,
            position: 0,
            gate: Gate::Open,
            waits_for_client: false,
            ended: false,
            client_failed: false,
            storage_failed: false,
            newest: 0,
            announced,
            sending: None,
            holder: None,
        }))))
    }

    /// The body, from its beginning, while none of it has passed.
    ///
    /// # Errors
    /// As [`Self::poll_send_again`].
    pub fn send(&self, start: Start) -> Result<Sending<B>, Refusal> {
        match &self.0 {
            None => Ok(Sending::empty()),
            Some(shared) => send(shared, lock(shared), start),
        }
    }

    /// The body, from its beginning, as soon as it is known that what was kept of it is there: a
    /// disk can fail long after the last byte has passed. Meanwhile a sending from before passes
    /// nothing on, and from then on it fails, so that it takes nothing more from the client.
    ///
    /// # Errors
    /// When more has been taken from the client than was kept; a sending from before goes on.
    pub fn poll_send_again(
        &self,
        context: &mut Context<'_>,
        start: Start,
    ) -> Poll<Result<Sending<B>, Refusal>> {
        let Some(shared) = &self.0 else { return Poll::Ready(Ok(Sending::empty())) };
        let mut kept = lock(shared);
        if kept.store.poll_stored(context).is_pending() {
            kept.pause();
            return Poll::Pending;
        }
        Poll::Ready(send(shared, kept, start))
    }

    /// Adds nothing to what is kept from now on: the sending after which there is none begins.
    pub fn keep_no_more(&self) {
        if let Some(shared) = &self.0 {
            lock(shared).store.close();
        }
    }

    /// What is to be expected of the whole body, before its first byte.
    pub fn outlook(&self) -> Outlook {
        self.0.as_ref().map_or(Outlook::Empty, |shared| lock(shared).store.outlook())
    }

    /// Whether the newest sending is held back.
    pub fn is_held(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| matches!(lock(shared).gate, Gate::Held { .. }))
    }

    /// Ready when the newest sending is not held, or has been asked for: its head is on its way. One
    /// may wait at a time.
    pub fn poll_asked_for(&self, context: &Context<'_>) -> Poll<()> {
        let Some(shared) = &self.0 else { return Poll::Ready(()) };
        let mut kept = lock(shared);
        if kept.gate != (Gate::Held { asked: false }) {
            return Poll::Ready(());
        }
        note(&mut kept.holder, context);
        Poll::Pending
    }

    /// The upstream wants the body, or has said nothing for long enough.
    pub fn go_ahead(&self) {
        if let Some(shared) = &self.0 {
            go_ahead(shared);
        }
    }

    /// How far the newest sending has come, so that a client or an upstream that goes on is told
    /// from one that has stopped.
    pub fn progress(&self) -> Progress {
        match &self.0 {
            None => Progress::Ended,
            Some(shared) => {
                let kept = lock(shared);
                match kept.has_passed_all() {
                    true => Progress::Ended,
                    false => Progress::Passed(kept.position),
                }
            }
        }
    }

    /// Whether it is the client that has to go on, and not the upstream.
    pub fn waits_for_client(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| lock(shared).waits_for_client)
    }

    /// Whether it was the client's side that broke.
    pub fn client_failed(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| lock(shared).client_failed)
    }

    /// Looks at where the body comes from; nothing for an empty body.
    pub fn source<T>(&self, look: impl FnOnce(&B) -> T) -> Option<T> {
        self.0.as_ref().map(|shared| look(&lock(shared).source))
    }

    /// Whether what was kept could not be read when it was needed.
    pub fn storage_failed(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| lock(shared).storage_failed)
    }

    /// The answer is found: nothing more is kept. What is returned has to live as long as the
    /// answer: a body that was held back, or not taken whole, is failed with it, which closes its
    /// connection (RFC 9110 section 10.1.1), and would take the answer with it before.
    pub fn answered(self) -> Option<Self> {
        self.keep_no_more();
        (self.is_held() || self.has_left()).then_some(self)
    }

    /// Whether the newest sending has not passed all on that was kept.
    pub fn has_left(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| lock(shared).has_left())
    }
}

impl<B> Replay<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    /// What [`Self::go_ahead`] does, for somebody else to call.
    pub fn permission(&self) -> impl Fn() + Send + Sync + 'static {
        let shared = self.0.clone();
        move || shared.iter().for_each(go_ahead)
    }
}

fn send<B>(
    shared: &Arc<Mutex<Kept<B>>>,
    mut kept: MutexGuard<'_, Kept<B>>,
    start: Start,
) -> Result<Sending<B>, Refusal> {
    let sending = if kept.store.length() < kept.taken {
        kept.go_on();
        // What was not lost is missing because nothing was kept any more.
        Err(kept.store.lost().unwrap_or(Refusal::BodyTooLarge))
    } else {
        kept.newest += 1;
        kept.position = 0;
        // The older sending may have waited for it; this one begins with what is here.
        kept.waits_for_client = false;
        kept.gate = match start {
            Start::AtOnce => Gate::Open,
            Start::WhenWanted => Gate::Held { asked: false },
        };
        let (number, left) = (kept.newest, kept.announced);
        Ok(Sending { kept: Some(Arc::clone(shared)), number, left, written: None })
    };
    // The older sending learns that it goes on, or that it has failed, and ends its connection.
    let older = kept.sending.take();
    drop(kept);
    older.into_iter().for_each(Waker::wake);
    sending
}

fn go_ahead<B>(shared: &Arc<Mutex<Kept<B>>>) {
    let mut kept = lock(shared);
    if !matches!(kept.gate, Gate::Held { .. }) {
        return;
    }
    kept.gate = Gate::Open;
    let sending = kept.sending.take();
    drop(kept);
    sending.into_iter().for_each(Waker::wake);
}

impl<B> Drop for Replay<B> {
    fn drop(&mut self) {
        let Some(shared) = &self.0 else { return };
        let mut kept = lock(shared);
        kept.store.close();
        kept.forget();
        if kept.has_left() || matches!(kept.gate, Gate::Held { .. }) {
            kept.gate = Gate::Shut;
            kept.store.clear();
        }
        kept.go_on();
        let sending = kept.sending.take();
        drop(kept);
        sending.into_iter().for_each(Waker::wake);
    }
}

/// The lock is held for one poll only and nothing in it panics; a poisoned value is as good as
/// another.
fn lock<B>(kept: &Mutex<Kept<B>>) -> MutexGuard<'_, Kept<B>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(waker: &mut Option<Waker>, context: &Context<'_>) {
    match waker {
        Some(known) => known.clone_from(context.waker()),
        None => *waker = Some(context.waker().clone()),
    }
}

impl<B> Kept<B> {
    /// Forgets what is not needed: what nothing is added to and what has been passed on.
    fn forget(&mut self) {
        let length = self.store.length();
        if length > 0 && self.store.is_closed() && self.position >= length {
            self.store.clear();
        }
    }

    fn has_left(&self) -> bool {
        self.position < self.store.length()
    }

    fn pause(&mut self) {
        if self.gate == Gate::Open {
            self.gate = Gate::Paused;
        }
    }

    fn go_on(&mut self) {
        if self.gate == Gate::Paused {
            self.gate = Gate::Open;
        }
    }
}

impl<B> Kept<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    fn has_passed_all(&self) -> bool {
        // A source that broke has nothing more, either.
        !self.has_left() && !self.client_failed && (self.ended || self.source.is_end_stream())
    }
}

impl<B> Kept<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// What comes next for the newest sending: from what was kept, then from the client.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        match &mut self.gate {
            Gate::Open => {}
            Gate::Paused => return Poll::Pending,
            Gate::Shut => return Poll::Ready(Some(Err(BodyError::Unwanted))),
            Gate::Held { asked } => {
                *asked = true;
                self.holder.take().into_iter().for_each(Waker::wake);
                return Poll::Pending;
            }
        }
        let polled = if self.has_left() {
            Some(ready!(self.store.poll_read(context, self.position)).map_err(|error| {
                self.storage_failed = true;
                BodyError::Storage(error)
            }))
        } else {
            ready!(self.poll_source(context))
        };
        if let Some(Ok(chunk)) = &polled {
            self.position += chunk.len() as u64;
            self.forget();
        }
        Poll::Ready(polled)
    }

    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.client_failed {
            return Poll::Ready(Some(Err(BodyError::Client("it broke off before".into()))));
        }
        while !self.ended {
            ready!(self.store.poll_ready(context));
            self.waits_for_client = true;
            let frame = ready!(Pin::new(&mut self.source).poll_frame(context));
            self.waits_for_client = false;
            match frame {
                None => self.ended = true,
                Some(Err(error)) => {
                    self.client_failed = true;
                    return Poll::Ready(Some(Err(BodyError::Client(error.into()))));
                }
                // Trailers of clients are never forwarded: they could smuggle any field.
                Some(Ok(frame)) => {
                    if let Ok(chunk) = frame.into_data() {
                        self.taken += chunk.len() as u64;
                        self.store.keep(&chunk);
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                }
            }
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests;
