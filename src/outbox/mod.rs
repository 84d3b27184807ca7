//! What a core writes leaves together. Short messages of all its connections wait in one place while the
//! tasks run that are ready, and then go to the system one after the other. Whoever reads them is woken
//! once for many of them instead of once for each: where it sleeps in between, waking it costs the writer as
//! much as all the rest of a write.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio::task::AbortHandle;
use tokio_util::either::Either;

/// When there are so many messages, all of them leave.
const MESSAGES_MAX: usize = 64;

/// The same of their bytes: what waits has to stay in the processor's caches until it leaves.
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
        {
            let mut side = outgoing.lock();
            if !side.left.is_empty() || side.failed.is_some() {
                return None;
            }
            side.is_waiting = true;
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
        // Whatever happens, nobody gets the bytes of another one.
        let (mut bytes, mut begin) = (std::mem::take(&mut self.bytes), 0);
        for (outgoing, end) in self.messages.drain(..) {
            outgoing.send(bytes.get(begin..end).unwrap_or_default());
            begin = end;
        }
        bytes.clear();
        self.bytes = bytes;
    }
}

/// A connection of a client or to an upstream whose short messages leave together with those of others.
/// That one was written, and that all was flushed, means that it is on its way: whether the system has
/// taken it is known a turn later, when a flush waits for what it has not, and fails where it never
/// will. Used on one core alone.
#[derive(Debug)]
pub struct Stream {
    incoming: Either<tcp::OwnedReadHalf, unix::OwnedReadHalf>,
    outgoing: Arc<Outgoing>,
}

/// The side that is written to: its stream's, and the outbox's while something waits.
#[derive(Debug)]
struct Outgoing {
    side: Mutex<Side>,
    /// How many bytes the system has taken.
    handed_over: AtomicU64,
}

type Half = Either<tcp::OwnedWriteHalf, unix::OwnedWriteHalf>;

#[derive(Debug)]
struct Side {
    /// Taken only when it is dropped.
    half: Option<Half>,
    /// Something waits in the outbox.
    is_waiting: bool,
    /// What the system did not take when it left the outbox: at most [`BYTES_MAX`] and a message.
    left: Vec<u8>,
    /// Writes what is left.
    writing: Option<AbortHandle>,
    /// Whoever waits until more can be written.
    waker: Option<Waker>,
    /// Why nothing can be handed over any more.
    failed: Option<io::ErrorKind>,
    /// Its stream is gone: nobody waits for what the system does not take at once.
    is_abandoned: bool,
}

impl Drop for Side {
    fn drop(&mut self) {
        // The halves of tokio end when they are dropped, each by itself; a socket is closed as a whole. Where
        // something is left, nobody may take that for its end.
        match self.half.take() {
            Some(Either::Left(half)) => {
                if !self.left.is_empty() || self.failed.is_some() {
                    _ = SockRef::from(half.as_ref()).set_linger(Some(Duration::ZERO));
                }
                half.forget();
            }
            Some(Either::Right(half)) => half.forget(),
            None => {}
        }
    }
}

impl Outgoing {
    /// Nothing panics under the lock: what it holds is whole.
    fn lock(&self) -> MutexGuard<'_, Side> {
        self.side.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_taken(&self, length: usize) {
        self.handed_over.fetch_add(length as u64, Ordering::Relaxed);
    }

    /// Hands a message to the system; what that does not take at once is written by a task of its own.
    fn send(self: &Arc<Self>, message: &[u8]) {
        let mut side = self.lock();
        side.is_waiting = false;
        if side.failed.is_some() {
            return;
        }
        let taken = match side.left.is_empty() {
            true => side.try_write(message),
            // It waited in front of this one.
            false => Ok(0),
        };
        let taken = match taken {
            Ok(length) => length,
            Err(error) => return side.fail(&error),
        };
        self.has_taken(taken);
        let rest = message.get(taken..).unwrap_or_default();
        side.left.extend_from_slice(rest);
        if !rest.is_empty() && side.writing.is_none() && !side.is_abandoned {
            let outgoing = Arc::clone(self);
            let writing = poll_fn(move |context| outgoing.poll_write_left(context));
            side.writing = Some(tokio::spawn(writing).abort_handle());
        }
    }

    /// Writes what is left until nothing is, or until it fails.
    fn poll_write_left(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut side = self.lock();
        let Side { half, left, .. } = &mut *side;
        let mut failed = None;
        while let Some(half) = half
            && !left.is_empty()
            && failed.is_none()
        {
            match ready!(Pin::new(half).poll_write(context, left)) {
                Ok(0) => failed = Some(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    self.has_taken(length);
                    left.drain(..length);
                }
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            side.fail(&error);
        }
        // A connection that waits has no buffer.
        side.left = Vec::new();
        side.writing = None;
        if let Some(waker) = side.waker.take() {
            waker.wake();
        }
        Poll::Ready(())
    }

    /// Asks the system, once nothing is left.
    fn poll_half<T>(
        &self,
        context: &mut Context<'_>,
        ask: impl FnOnce(Pin<&mut Half>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut side = self.lock();
        ready!(side.poll_left(context))?;
        let asked = match &mut side.half {
            Some(half) => ask(Pin::new(half), context),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        if asked.is_pending() {
            // The system wakes one alone: whoever writes what is left of a later message, too.
            side.note(context);
        }
        asked
    }
}

impl Side {
    fn try_write(&self, message: &[u8]) -> io::Result<usize> {
        let written = match &self.half {
            Some(Either::Left(half)) => half.try_write(message),
            Some(Either::Right(half)) => half.try_write(message),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            written => written,
        }
    }

    /// Whoever reads is not left to wait for the answer to what has not left: it finds the end behind
    /// what has come. A Unix socket would have the other end learn of that, which may still answer; it
    /// fails only where that has ended, or wants nothing more.
    fn fail(&mut self, error: &io::Error) {
        self.failed = Some(error.kind());
        self.left = Vec::new();
        if let Some(Either::Left(half)) = &self.half {
            // It may have ended by itself.
            _ = SockRef::from(half.as_ref()).shutdown(Shutdown::Read);
        }
    }

    /// Waits until nothing is left of what has left the outbox.
    fn poll_left(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        if self.left.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.note(context);
        Poll::Pending
    }

    fn note(&mut self, context: &Context<'_>) {
        self.waker.get_or_insert_with(|| context.waker().clone()).clone_from(context.waker());
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

    fn new(incoming: Either<tcp::OwnedReadHalf, unix::OwnedReadHalf>, half: Half) -> Self {
        let side = Mutex::new(Side {
            half: Some(half),
            is_waiting: false,
            left: Vec::new(),
            writing: None,
            waker: None,
            failed: None,
            is_abandoned: false,
        });
        let outgoing = Arc::new(Outgoing { side, handed_over: AtomicU64::new(0) });
        Self { incoming, outgoing }
    }

    /// The socket. What is written to it by itself overtakes what waits.
    pub fn socket(&self) -> Either<&TcpStream, &UnixStream> {
        match &self.incoming {
            Either::Left(half) => Either::Left(half.as_ref()),
            Either::Right(half) => Either::Right(half.as_ref()),
        }
    }

    /// How many bytes the system has taken up to now.
    pub fn taken(&self) -> u64 {
        self.outgoing.handed_over.load(Ordering::Relaxed)
    }

    /// The same when what waits has been handed over, which is done first.
    pub fn handed_over(&self) -> u64 {
        self.settle();
        self.taken()
    }

    /// Ends our side, behind what waits. Where the system has not taken all of that, the connection does
    /// not end before it is dropped: then it is reset, which a Unix socket cannot be.
    ///
    /// # Errors
    /// When the connection has ended by itself.
    pub fn end_writing(&self) -> io::Result<()> {
        self.settle();
        let side = self.outgoing.lock();
        match &side.half {
            _ if !side.left.is_empty() || side.failed.is_some() => Ok(()),
            Some(Either::Left(half)) => SockRef::from(half.as_ref()).shutdown(Shutdown::Write),
            Some(Either::Right(half)) => SockRef::from(half.as_ref()).shutdown(Shutdown::Write),
            None => Ok(()),
        }
    }

    /// Nothing of it waits any more.
    fn settle(&self) {
        if self.outgoing.lock().is_waiting {
            OUTBOX.with_borrow_mut(Outbox::send);
        }
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
        Pin::new(&mut self.get_mut().incoming).poll_read(context, buffer)
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
        let waits = OUTBOX.with_borrow_mut(|outbox| outbox.take(&self.outgoing, slices));
        if let Some(length) = waits {
            return Poll::Ready(Ok(length));
        }
        let written = self.outgoing.poll_half(context, |half, context| match slices {
            [one] => half.poll_write(context, one),
            all => half.poll_write_vectored(context, all),
        });
        if let Poll::Ready(Ok(length)) = &written {
            self.outgoing.has_taken(*length);
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
        self.settle();
        self.outgoing.poll_half(context, |half, context| half.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests;
