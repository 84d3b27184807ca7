//! The body of an answer, as it comes.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, SizeHint};
use tokio::io::AsyncWrite;

use super::head::End;
use super::outgoing::Outgoing;
use super::{Http1, READ_BYTES, Wire};
use crate::http1::chunked::{Chunked, Piece};
use crate::http1::turns;
use crate::upstream::error::Broken;

/// Room for what is read first of a body that says that it is as long.
const READ_BYTES_LONG: usize = 64 * 1024;

/// Room for what is read at once of a body that comes fast.
const READ_BYTES_MAX: usize = 512 * 1024;

/// A body on its way in. What is left of the request's body goes out meanwhile.
#[derive(Debug)]
pub(in crate::upstream) struct Incoming<B> {
    /// Nothing when the answer has ended or failed.
    wire: Option<Box<Wire>>,
    /// What is left of the request; mostly nothing.
    outgoing: Option<Box<Outgoing<B>>>,
    /// The request's body broke off, and the upstream is being told that nothing more of it comes.
    is_cutting: bool,
    /// Why it failed, until that is told.
    error: Option<Broken>,
    left: Left,
    /// The fields that came behind it.
    trailers: Option<Box<HeaderMap>>,
    keeps_alive: bool,
    /// How much room the next reading gets; it grows with what comes.
    room: usize,
}

#[derive(Debug)]
enum Left {
    Length(u64),
    Chunked(Chunked),
    Close,
}

/// What becomes of a connection after an answer.
#[derive(Debug)]
pub(in crate::upstream) enum Over<B> {
    /// It takes another request.
    Usable(Http1),
    /// The request's body still goes out.
    Outgoing(Rest<B>),
}

/// The rest of a request whose answer is over.
#[derive(Debug)]
pub(in crate::upstream) struct Rest<B> {
    wire: Box<Wire>,
    outgoing: Box<Outgoing<B>>,
    keeps_alive: bool,
}

impl<B> Incoming<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) fn new(wire: Box<Wire>, outgoing: Outgoing<B>, end: End, keeps_alive: bool) -> Self {
        let left = match end {
            End::Length(length) => Left::Length(length),
            End::Chunked => Left::Chunked(Chunked::default()),
            End::Close => Left::Close,
        };
        let keeps_alive = keeps_alive && end != End::Close && !outgoing.has_stopped();
        let is_left = !outgoing.is_over() && !outgoing.has_stopped();
        let outgoing = is_left.then(|| Box::new(outgoing));
        let (wire, error, trailers) = (Some(wire), None, None);
        let (is_cutting, room) = (false, left.first_room());
        Self { wire, outgoing, is_cutting, error, left, trailers, keeps_alive, room }
    }

    /// The next bytes; never empty. Nothing at the end. After an error the connection is closed;
    /// it is told one turn late, so that what came before it can leave.
    pub(in crate::upstream) fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Broken>>> {
        if let Some(error) = self.error.take() {
            self.left = Left::Length(0);
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(self.poll_next(context)).transpose() {
            Ok(piece) => Poll::Ready(piece.map(Ok)),
            Err(error) => {
                (self.wire, self.outgoing, self.error) = (None, None, Some(error));
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if is_over(&self.left) {
            return Poll::Ready(None);
        }
        self.send_some(context)?;
        let Some(wire) = self.wire.as_deref_mut() else { return Poll::Ready(None) };
        loop {
            match self.left.take(&mut wire.read)? {
                Piece::Data(bytes) => return Poll::Ready(Some(Ok(bytes))),
                Piece::End => {
                    if let Left::Chunked(chunked) = &self.left {
                        self.trailers = chunked.trailers().map(Box::new);
                    }
                    self.left = Left::Length(0);
                    return Poll::Ready(None);
                }
                Piece::NotYet => {}
            }
            // More would make a turn longer than it may be.
            let room_max = if turns::is_crowded() { turns::TURN_BYTES } else { READ_BYTES_MAX };
            let count = ready!(wire.poll_read(context, self.room.min(room_max)))?;
            if count == 0 {
                let Left::Close = self.left else {
                    return Poll::Ready(Some(Err(Broken::Closed)));
                };
                self.left = Left::Length(0);
                return Poll::Ready(None);
            }
            // There may have been more.
            if wire.read.capacity() == wire.read.len() {
                self.room = (self.room * 2).min(READ_BYTES_MAX);
            }
        }
    }

    /// The fields that came behind the answer's body, once it has ended.
    pub(in crate::upstream) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take().map(|trailers| *trailers)
    }

    /// Whether the request's body still goes out.
    pub(in crate::upstream) fn is_outgoing(&self) -> bool {
        self.outgoing.is_some()
    }

    /// Sends on with the request's body, without reading. Never ready: a failure is the next piece.
    pub(in crate::upstream) fn poll_send_on(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Infallible> {
        if let Err(error) = self.send_some(context) {
            (self.wire, self.error) = (None, Some(error));
        }
        Poll::Pending
    }

    /// Sends what can be sent of the request's body.
    fn send_some(&mut self, context: &mut Context<'_>) -> Result<(), Broken> {
        let Some(wire) = &mut self.wire else { return Ok(()) };
        if let Some(outgoing) = &mut self.outgoing {
            let Poll::Ready(sent) = outgoing.poll(&mut wire.stream, context) else { return Ok(()) };
            self.keeps_alive &= !outgoing.has_stopped();
            self.outgoing = None;
            match sent {
                // It has answered, and needs nothing more for that.
                Err(Broken::Stalled) => self.keeps_alive = false,
                // Nor does the client that broke it off. What was sent is no whole body.
                Err(Broken::Body(_)) => (self.keeps_alive, self.is_cutting) = (false, true),
                sent => sent?,
            }
        }
        // One that takes it no more needs not be told.
        self.is_cutting =
            self.is_cutting && Pin::new(&mut wire.stream).poll_shutdown(context).is_pending();
        Ok(())
    }

    /// What becomes of the connection, once the answer has ended; nothing if it is closed.
    pub(in crate::upstream) fn over(&mut self) -> Option<Over<B>> {
        if !is_over(&self.left) {
            return None;
        }
        let (wire, keeps_alive) = (self.wire.take()?, self.keeps_alive);
        match self.outgoing.take() {
            None => {
                let mut usable = usable(wire, keeps_alive);
                if let (Some(Http1(wire)), true) = (&mut usable, self.room > READ_BYTES_LONG) {
                    // A connection that waits does not keep what a long answer needed.
                    wire.read = BytesMut::new();
                }
                usable.map(Over::Usable)
            }
            Some(outgoing) => Some(Over::Outgoing(Rest { wire, outgoing, keeps_alive })),
        }
    }

    pub(in crate::upstream) fn is_end(&self) -> bool {
        is_over(&self.left) && self.trailers.is_none()
    }

    pub(in crate::upstream) fn size_hint(&self) -> SizeHint {
        match self.left {
            Left::Length(length) => SizeHint::with_exact(length),
            Left::Chunked(_) | Left::Close => SizeHint::default(),
        }
    }
}

fn is_over(left: &Left) -> bool {
    matches!(left, Left::Length(0))
}

impl Left {
    /// Room for what is read first.
    fn first_room(&self) -> usize {
        match self {
            Self::Length(length) if *length >= READ_BYTES_LONG as u64 => READ_BYTES_LONG,
            _ => READ_BYTES,
        }
    }

    fn take(&mut self, read: &mut BytesMut) -> Result<Piece, Broken> {
        match self {
            Self::Chunked(chunked) => Ok(chunked.next(read)?),
            _ if read.is_empty() => Ok(Piece::NotYet),
            Self::Close => Ok(Piece::Data(read.split().freeze())),
            Self::Length(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= length as u64;
                Ok(Piece::Data(read.split_to(length).freeze()))
            }
        }
    }
}

/// The connection, if it takes another request: the upstream agrees, and has said nothing that
/// would be taken for the next answer.
fn usable(wire: Box<Wire>, keeps_alive: bool) -> Option<Http1> {
    (keeps_alive && wire.read.is_empty()).then_some(Http1(wire))
}

impl<B> Rest<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Sends what is left of the request, as long as the upstream has not closed. The connection
    /// comes back where it takes another one.
    pub(in crate::upstream) async fn send(mut self) -> Option<Http1> {
        let Self { wire, outgoing, .. } = &mut self;
        let sent = poll_fn(|context| {
            let sent = outgoing.poll(&mut wire.stream, context);
            // What else may come ends the use of the connection, but is nobody's.
            if sent.is_pending() && wire.read.is_empty() && ready!(wire.poll_read(context, 1))? == 0
            {
                return Poll::Ready(Err(Broken::Closed));
            }
            sent
        });
        let sent = sent.await;
        let keeps_alive = self.keeps_alive && !self.outgoing.has_stopped();
        sent.ok().and_then(|()| usable(self.wire, keeps_alive))
    }
}
