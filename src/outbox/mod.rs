//! What a core writes leaves together. Short messages of all its connections wait in one place while the
//! tasks run that are ready, and then go to the system one after the other. Whoever reads them is woken
//! once for many of them instead of once for each: where it sleeps in between, waking it costs the writer as
//! much as all the rest of a write.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio::task::AbortHandle;
use tokio_util::either::Either;

/// So many messages wait at most; with one more all of them leave.
const MESSAGES_MAX: usize = 64;

/// So much of them: it has to stay in the processor's caches until it leaves.
const BYTES_MAX: usize = 64 * 1024;

/// What is longer goes to the system at once, behind all that waits: waking somebody costs little beside it.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

thread_local! {
    /// What waits on this thread, which is a core.
    static OUTBOX: RefCell<Outbox> = RefCell::default();
}

/// The messages of one core that wait.
#[derive(Debug, Default)]
struct Outbox {
    /// All of them, one behind the other.
    bytes: Vec<u8>,
    /// Whose they are, and where each one ends.
    messages: Vec<(Arc<Outgoing>, usize)>,
    /// The task that sends them at the end of the turn; nothing where there is none, and nothing waits.
    sender: Option<Waker>,
}

/// Sends what waits whenever all tasks have run that were ready. Each core spawns it once, on its own
/// runtime; it never ends. Where a thread has none, writes go to the system at once, and so they do
/// when it is dropped, behind what waits by then.
pub async fn run() {
    let _closing = Closing;
    poll_fn(|context| {
        OUTBOX.with_borrow_mut(|outbox| {
            outbox.send();
            let sender = outbox.sender.get_or_insert_with(|| context.waker().clone());
            sender.clone_from(context.waker());
        });
        Poll::<()>::Pending
    })
    .await;
}

/// What `work` comes to, whose steps take so long that nothing waits for them: all leaves ahead of each.
pub async fn ahead_of<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|context| {
        OUTBOX.with_borrow_mut(Outbox::send);
        work.as_mut().poll(context)
    })
    .await
}

/// Nobody sends any more what waits.
struct Closing;

impl Drop for Closing {
    fn drop(&mut self) {
        OUTBOX.with_borrow_mut(|outbox| {
            outbox.sender = None;
            outbox.send();
        });
    }
}

impl Outbox {
    /// Takes a message whole, or nothing of it: then it is to be written at once, and nothing waits
    /// that comes before it.
    fn take(&mut self, outgoing: &Arc<Outgoing>, parts: &[IoSlice<'_>]) -> Option<usize> {
        let length = parts.iter().map(|part| part.len()).sum();
        let Some(sender) = &self.sender else { return None };
        if length == 0 || length > MESSAGE_BYTES_MAX {
            self.send();
            return None;
        }
        if !outgoing.lock().may_wait() {
            return None;
        }
        if self.messages.is_empty() {
            sender.wake_by_ref();
        }
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        let end = self.bytes.len();
        match self.messages.last_mut() {
            // TLS and HTTP/2 write what belongs together in many parts.
            Some((last, its_end)) if Arc::ptr_eq(last, outgoing) => *its_end = end,
            _ => self.messages.push((Arc::clone(outgoing), end)),
        }
        if self.messages.len() == MESSAGES_MAX || self.bytes.len() >= BYTES_MAX {
            self.send();
        }
        Some(length)
    }

    /// Hands all that waits to the system.
    fn send(&mut self) {
        let mut begin = 0;
        for (outgoing, end) in self.messages.drain(..) {
            let message = self.bytes.get(begin..end).unwrap_or_default();
            outgoing.lock().send(message, &outgoing);
            begin = end;
        }
        self.bytes.clear();
    }
}

/// A connection of a client or to an upstream whose short messages leave together with those of others.
/// A message that was taken is on its way: that it could not be handed to the system is told by the next
/// write, or by a read, which then finds the end.
#[derive(Debug)]
pub struct Stream {
    incoming: Either<tcp::OwnedReadHalf, unix::OwnedReadHalf>,
    outgoing: Arc<Outgoing>,
}

/// The side that is written to: its stream's, and the outbox's while something waits.
#[derive(Debug)]
struct Outgoing(Mutex<Side>);

#[derive(Debug)]
struct Side {
    /// Taken only when it is dropped.
    half: Option<Either<tcp::OwnedWriteHalf, unix::OwnedWriteHalf>>,
    /// How many bytes the system has taken.
    handed_over: u64,
    /// Something waits in the outbox.
    is_waiting: bool,
    /// What the system did not take when it left the outbox, of at most [`BYTES_MAX`] and a message.
    left: Vec<u8>,
    /// Writes what is left.
    writing: Option<AbortHandle>,
    /// Whoever waits for that.
    waker: Option<Waker>,
    /// Why it could not be handed over.
    error: Option<io::Error>,
    /// Its stream is gone: nobody waits for what the system does not take at once.
    is_abandoned: bool,
}

impl Outgoing {
    /// Nothing panics under the lock: what it holds is whole.
    fn lock(&self) -> MutexGuard<'_, Side> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // Dropped as it is, it would tell the other end that this one has ended: nobody may take a
        // message that is cut for a whole one.
        match self.half.take() {
            Some(Either::Left(half)) => half.forget(),
            Some(Either::Right(half)) => half.forget(),
            None => {}
        }
    }
}

impl Side {
    /// Whether a message may wait in the outbox, as it then does: not behind what is left of one, nor
    /// where it would fail.
    fn may_wait(&mut self) -> bool {
        self.is_waiting = self.left.is_empty() && self.error.is_none();
        self.is_waiting
    }

    /// Hands a message to the system; what that does not take at once is written by a task of its own.
    fn send(&mut self, message: &[u8], outgoing: &Arc<Outgoing>) {
        self.is_waiting = false;
        if self.error.is_some() {
            return;
        }
        let taken = match self.left.is_empty() {
            true => self.try_write(message),
            // What waited in front of it.
            false => Ok(0),
        };
        let rest = match taken {
            Ok(length) => message.get(length..).unwrap_or_default(),
            Err(error) => return self.fail(error),
        };
        if rest.is_empty() || self.is_abandoned {
            return;
        }
        self.left.extend_from_slice(rest);
        if self.writing.is_none() {
            let outgoing = Arc::clone(outgoing);
            let writing = poll_fn(move |context| outgoing.lock().poll_write_left(context));
            self.writing = Some(tokio::spawn(writing).abort_handle());
        }
    }

    fn try_write(&mut self, message: &[u8]) -> io::Result<usize> {
        let written = match &self.half {
            Some(Either::Left(half)) => half.try_write(message),
            Some(Either::Right(half)) => half.try_write(message),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Ok(length) => {
                self.handed_over += length as u64;
                Ok(length)
            }
            failed => failed,
        }
    }

    /// Writes what is left until nothing is, or until it fails.
    fn poll_write_left(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while !self.left.is_empty() {
            let Some(half) = &mut self.half else { return Poll::Ready(()) };
            match ready!(Pin::new(half).poll_write(context, &self.left)) {
                Ok(0) => self.fail(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    self.handed_over += length as u64;
                    self.left.drain(..length);
                }
                Err(error) => self.fail(error),
            }
        }
        // A connection that waits has no buffer.
        self.left = Vec::new();
        self.writing = None;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Poll::Ready(())
    }

    /// The connection ends: whoever reads from it is not left to wait for an answer to what has not
    /// left.
    fn fail(&mut self, error: io::Error) {
        self.left.clear();
        self.error = Some(error);
        // It may have ended by itself.
        _ = self.shutdown(Shutdown::Both);
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match &self.half {
            Some(Either::Left(half)) => SockRef::from(half.as_ref()).shutdown(how),
            Some(Either::Right(half)) => SockRef::from(half.as_ref()).shutdown(how),
            None => Ok(()),
        }
    }

    /// Waits until nothing is left of what left the outbox.
    fn poll_left(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error));
        }
        if self.left.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.waker.get_or_insert_with(|| context.waker().clone()).clone_from(context.waker());
        Poll::Pending
    }

    /// Asks the system once nothing is left.
    fn poll_half<T>(
        &mut self,
        context: &mut Context<'_>,
        ask: impl FnOnce(
            Pin<&mut Either<tcp::OwnedWriteHalf, unix::OwnedWriteHalf>>,
            &mut Context<'_>,
        ) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        ready!(self.poll_left(context))?;
        match &mut self.half {
            Some(half) => ask(Pin::new(half), context),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl Stream {
    /// Over TCP.
    pub fn tcp(stream: TcpStream) -> Self {
        let (incoming, outgoing) = stream.into_split();
        Self::new(Either::Left(incoming), Either::Left(outgoing))
    }

    /// Over a Unix socket.
    pub fn unix(stream: UnixStream) -> Self {
        let (incoming, outgoing) = stream.into_split();
        Self::new(Either::Right(incoming), Either::Right(outgoing))
    }

    fn new(
        incoming: Either<tcp::OwnedReadHalf, unix::OwnedReadHalf>,
        half: Either<tcp::OwnedWriteHalf, unix::OwnedWriteHalf>,
    ) -> Self {
        let side = Side {
            half: Some(half),
            handed_over: 0,
            is_waiting: false,
            left: Vec::new(),
            writing: None,
            waker: None,
            error: None,
            is_abandoned: false,
        };
        Self { incoming, outgoing: Arc::new(Outgoing(Mutex::new(side))) }
    }

    /// The socket. What is written to it by itself overtakes what waits.
    pub fn socket(&self) -> Either<&TcpStream, &UnixStream> {
        match &self.incoming {
            Either::Left(half) => Either::Left(half.as_ref()),
            Either::Right(half) => Either::Right(half.as_ref()),
        }
    }

    /// How many bytes have been handed to the system, what waits included, which is handed over first.
    pub fn handed_over(&self) -> u64 {
        self.send().handed_over
    }

    /// Ends our side, behind what waits.
    ///
    /// # Errors
    /// When the connection has ended by itself.
    pub fn end_writing(&self) -> io::Result<()> {
        self.send().shutdown(Shutdown::Write)
    }

    /// Nothing of it waits any more.
    fn send(&self) -> MutexGuard<'_, Side> {
        if self.outgoing.lock().is_waiting {
            OUTBOX.with_borrow_mut(Outbox::send);
        }
        self.outgoing.lock()
    }

    fn wait(&self, parts: &[IoSlice<'_>]) -> Option<usize> {
        OUTBOX.with_borrow_mut(|outbox| outbox.take(&self.outgoing, parts))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut side = self.outgoing.lock();
        side.is_abandoned = true;
        if let Some(writing) = side.writing.take() {
            writing.abort();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.incoming).poll_read(context, buffer))?;
        if buffer.filled().len() == before
            && let Some(error) = this.outgoing.lock().error.take()
        {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(length) = self.wait(slices) {
            return Poll::Ready(Ok(length));
        }
        let mut side = self.outgoing.lock();
        let written = side.poll_half(context, |half, context| match slices {
            [one] => half.poll_write(context, one),
            all => half.poll_write_vectored(context, all),
        });
        if let Poll::Ready(Ok(length)) = &written {
            side.handed_over += *length as u64;
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Ready, too, while a message waits: it leaves by itself.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.lock().poll_left(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send().poll_half(context, |half, context| half.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests;
