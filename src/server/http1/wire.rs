//! The stream of a connection and what was read of it: shared by whoever answers and by the body of
//! the request, which may be read from another task. Both run on the connection's own core, so that
//! nobody ever waits for the lock.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http1::reading;
use crate::proxy::patience::Ward;
use crate::server::HalfClosed;

/// Room for what is read at once of heads: most come whole, and with them small bodies. It lies on
/// the stack, so that a connection that waits has no buffer.
const READ_BYTES: usize = 8 * 1024;

/// Tells a client to go on with its body (RFC 9110 section 15.2.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A connection that can end in a way that nobody takes for the end of an answer.
pub(in crate::server) trait Transport:
    AsyncRead + AsyncWrite + Unpin + Send + 'static
{
    /// From now on the connection ends with a reset, where its protocol has one.
    fn reset_at_end(&self);

    /// Ends our side below TLS, which would tell a clean end.
    fn cut(&self);
}

/// The stream of a connection, behind a lock.
pub(super) struct Wire<S>(Mutex<State<S>>);

/// The stream, and how far the request on it has been read.
pub(super) struct State<S> {
    /// Nothing when the connection is over.
    stream: Option<S>,
    /// What it means when the client ends its side.
    half_closed: HalfClosed,
    /// It has.
    has_ended: bool,
    /// It has left in the middle of a body.
    has_left: bool,
    /// What was read and has not been taken.
    pub(super) read: BytesMut,
    body: Body,
    /// Whether the client waits to be told to send its body.
    waits: bool,
    /// What has not been written of the leave to go on; empty while it may not have left.
    leave: Option<&'static [u8]>,
    /// Whether the answer has begun: then a leave would be a part of it.
    has_answered: bool,
    /// Who waits for the end of the body.
    waker: Option<Waker>,
    /// Who waits for more of it: a stream that is dropped wakes nobody.
    reader: Option<Waker>,
    /// How much more of it may come, when its request is answered.
    rest: Option<Box<Rest>>,
}

/// What may still come of a body.
pub(super) struct Rest {
    /// Looks at how fast it does.
    ward: Ward,
    bytes_max: u64,
}

impl Rest {
    /// So much, and as fast as `ward` says.
    pub(super) fn new(ward: Ward, bytes_max: u64) -> Box<Self> {
        Box::new(Self { ward, bytes_max })
    }

    /// So much has come. Whether that was too much.
    fn came(&mut self, bytes: usize) -> bool {
        let left = self.bytes_max.checked_sub(bytes as u64);
        self.bytes_max = left.unwrap_or_default();
        self.ward.went_on(bytes as u64);
        // Whoever takes it may be what is waited for: it must go on in either case.
        self.ward.wait();
        left.is_none()
    }
}

/// How far the body of the present request is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// To its end: what follows is the next request.
    Over,
    /// Somebody reads it, or will.
    Coming,
    /// Nobody will.
    GivenUp,
    /// It broke off.
    Failed,
}

impl<S: Transport> Wire<S> {
    pub(super) fn new(stream: S, half_closed: HalfClosed) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            stream: Some(stream),
            half_closed,
            has_ended: false,
            has_left: false,
            read: BytesMut::new(),
            body: Body::Over,
            waits: false,
            leave: None,
            has_answered: false,
            waker: None,
            reader: None,
            rest: None,
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Transport> State<S> {
    /// The stream.
    ///
    /// # Errors
    /// When the connection is over.
    pub(super) fn stream(&mut self) -> io::Result<&mut S> {
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Takes the stream for good: the connection is over, or another protocol's.
    pub(super) fn take(&mut self) -> Option<(S, BytesMut)> {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Some((self.stream.take()?, std::mem::take(&mut self.read)))
    }

    /// Reads some bytes of a head; 0 at the end.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut room = ReadBuf::uninit(&mut room);
        ready!(Pin::new(self.stream()?).poll_read(context, &mut room))?;
        self.read.extend_from_slice(room.filled());
        Poll::Ready(Ok(room.filled().len()))
    }

    /// Reads some bytes of a body, with so much room; 0 at the end.
    pub(super) fn poll_read_body(
        &mut self,
        context: &mut Context<'_>,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let read = reading::poll_read(Pin::new(stream), context, &mut self.read, room);
        match read.is_pending() {
            true => note(&mut self.reader, context),
            false => self.reader = None,
        }
        self.has_left = match &read {
            Poll::Ready(Ok(0)) => self.half_closed == HalfClosed::Left,
            Poll::Ready(Err(_)) => true,
            _ => false,
        };
        if let (Poll::Ready(Ok(count)), Some(rest)) = (&read, &mut self.rest)
            && rest.came(*count)
        {
            self.body_ended(Body::Failed);
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        read
    }

    /// A request begins whose body is to come; `waits` says that the client waits for leave.
    pub(super) fn begin(&mut self, body: Body, waits: bool) {
        (self.body, self.waits, self.leave, self.has_answered) = (body, waits, None, false);
    }

    /// Somebody wants the body: a client that waits for leave gets it, unless it has its answer.
    pub(super) fn poll_leave(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.waits) && !self.has_answered {
            self.leave = Some(CONTINUE);
        }
        while let (Some(left), Some(stream)) = (self.leave, &mut self.stream) {
            let wrote = match left.is_empty() {
                true => Pin::new(stream).poll_flush(context).map_ok(|()| 0),
                false => Pin::new(stream).poll_write(context, left),
            };
            match wrote {
                // The answer may come in between, and write what is left: then it wakes us.
                Poll::Pending => {
                    note(&mut self.reader, context);
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(_)) if left.is_empty() => self.leave = None,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => self.leave = left.get(count..),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The answer begins; it comes behind what is returned.
    pub(super) fn answer(&mut self) -> &'static [u8] {
        self.has_answered = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        self.leave.take().unwrap_or_default()
    }

    /// Whether the client still waits for leave to send its body.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    pub(super) fn body(&self) -> Body {
        self.body
    }

    /// How the reading of the body ended. Whoever waits for that is told.
    pub(super) fn body_ended(&mut self, body: Body) {
        self.body = body;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits until nobody reads the body any more.
    pub(super) fn poll_body_end(&mut self, context: &mut Context<'_>) -> Poll<Body> {
        if self.body != Body::Coming {
            return Poll::Ready(self.body);
        }
        note(&mut self.waker, context);
        Poll::Pending
    }

    /// The request is answered: of its body only so much may still come.
    pub(super) fn watch(&mut self, rest: Box<Rest>) {
        self.rest = Some(rest);
    }

    /// Waits until nobody reads the body any more, or until it does not go on as it must: then
    /// whoever reads it is told that it has broken off.
    pub(super) fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<Body> {
        if self.body == Body::Coming
            && let Some(rest) = &self.rest
            && rest.ward.poll_wait(context).is_ready()
        {
            self.body = Body::Failed;
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        let ended = ready!(self.poll_body_end(context));
        self.rest = None;
        Poll::Ready(ended)
    }

    /// Waits until the client has gone away. While its request is not over, and after it has sent
    /// more, that cannot be seen. Before it has an answer it is told of a body that broke off.
    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match ready!(self.poll_body_end(context)) {
            Body::Failed if self.has_left && self.has_answered => Poll::Ready(()),
            Body::Over if self.read.is_empty() && !self.has_ended => {
                match (ready!(self.poll_read(context)), self.half_closed) {
                    (Ok(0), HalfClosed::Answered) => {
                        self.has_ended = true;
                        Poll::Pending
                    }
                    (Ok(0), HalfClosed::Left) | (Err(_), _) => Poll::Ready(()),
                    (Ok(_), _) => Poll::Pending,
                }
            }
            _ => Poll::Pending,
        }
    }

    /// Nothing is kept while the connection waits, of a buffer that is empty.
    pub(super) fn idle(&mut self) {
        // One without room may still hold the memory of what was taken out of it.
        self.read = BytesMut::new();
        self.waker = None;
    }
}

/// Notes whom to wake.
fn note(waker: &mut Option<Waker>, context: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(context.waker()),
        None => *waker = Some(context.waker().clone()),
    }
}
