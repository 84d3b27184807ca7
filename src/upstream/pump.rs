//! An answer whose request's body still goes out is read by a task of its own: what a client sends
//! must go on while it takes nothing of the answer, or a client that sends all before it reads would
//! wait for ever.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::connection::Connection;
use super::error::Broken;
use super::http1::{Incoming, Over};
use super::idle::Idle;

/// An answer's body that a task reads. Dropped before its end, it closes the connection.
#[derive(Debug)]
pub(super) struct Pumped {
    frames: mpsc::Receiver<Result<Frame<Bytes>, Broken>>,
    /// What is still to come, where that is known.
    left: Option<u64>,
    /// The task has read all of it. One that dies before has not.
    is_whole: Arc<AtomicBool>,
    has_ended: bool,
}

impl Pumped {
    /// Starts the task. It ends with the answer and with the request's body, and gives the
    /// connection back.
    pub(super) fn start<B>(incoming: Incoming<B>, idle: Idle<B>) -> Self
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let left = incoming.size_hint().exact();
        let (sender, frames) = mpsc::channel(1);
        let is_whole = Arc::<AtomicBool>::default();
        tokio::spawn(pump(incoming, idle, sender, Arc::clone(&is_whole)));
        Self { frames, left, is_whole, has_ended: false }
    }

    /// The next bytes, never none; then the fields behind them, where there are some.
    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = ready!(self.frames.poll_recv(context));
        let is_cut = !self.has_ended && !self.is_whole.load(Ordering::Acquire);
        let frame = frame.or_else(|| is_cut.then_some(Err(Broken::Closed)));
        match frame.as_ref().map(|frame| frame.as_ref().map(Frame::data_ref)) {
            Some(Ok(Some(bytes))) => {
                self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
            }
            Some(Ok(None) | Err(_)) | None => self.has_ended = true,
        }
        Poll::Ready(frame)
    }

    pub(super) fn is_end(&self) -> bool {
        self.has_ended || self.left == Some(0)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

async fn pump<B>(
    mut incoming: Incoming<B>,
    idle: Idle<B>,
    sender: mpsc::Sender<Result<Frame<Bytes>, Broken>>,
    is_whole: Arc<AtomicBool>,
) where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    while !incoming.is_end() {
        let room = tokio::select! {
            room = sender.reserve() => room,
            never = poll_fn(|context| incoming.poll_send_on(context)) => match never {},
        };
        // Nobody takes the answer any more.
        let Ok(room) = room else { return };
        let piece = tokio::select! {
            piece = poll_fn(|context| incoming.poll_piece(context)) => piece,
            () = sender.closed() => return,
        };
        let frame = match piece {
            Some(piece) => piece.map(Frame::data),
            // The answer has ended; nothing comes behind its trailers.
            None => match incoming.take_trailers() {
                Some(trailers) => Ok(Frame::trailers(trailers)),
                None => break,
            },
        };
        room.send(frame);
    }
    is_whole.store(true, Ordering::Release);
    drop(sender);
    finish(incoming.over(), &idle).await;
}

/// Gives a connection back whose answer has ended, after what is left of its request.
pub(super) async fn finish<B>(over: Option<Over<B>>, idle: &Idle<B>)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let usable = match over {
        None => None,
        Some(Over::Usable(connection)) => Some(connection),
        Some(Over::Outgoing(rest)) => rest.send().await,
    };
    if let Some(connection) = usable {
        idle.give_back(Connection::Http1(connection));
    }
}
