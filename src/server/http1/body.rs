//! The body of a request, as it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use super::head::Length;
use super::wire::{self, Transport, Wire};
use crate::http1::chunked::{BadChunk, Chunked, Piece};
use crate::proxy::incoming::{BrokenOff, Incoming};

/// Room for what is read first of a body whose length is not known.
const READ_BYTES: usize = 16 * 1024;

/// The same where it is known; less where less is to come.
const READ_BYTES_LONG: usize = 64 * 1024;

/// Room for what is read at once of a body that comes fast: that has once filled the room that it had.
const READ_BYTES_MAX: usize = 512 * 1024;

/// A body on its way in. Dropped before its end, it is given up.
struct Reading<S: Transport> {
    wire: Arc<Wire<S>>,
    left: Left,
    /// How much room the next reading gets.
    room: usize,
}

#[derive(Debug)]
enum Left {
    Exact(u64),
    Chunked(Chunked),
}

/// The body of the request that begins on `wire`. `waits` says that its client waits for leave to
/// send it.
pub(super) fn incoming<S: Transport>(wire: &Arc<Wire<S>>, length: Length, waits: bool) -> Incoming {
    let (left, room) = match length {
        Length::Exact(0) => {
            wire.lock().begin(wire::Body::Over, false);
            return Incoming::Empty;
        }
        Length::Exact(length) => (Left::Exact(length), READ_BYTES_LONG),
        Length::Chunked => (Left::Chunked(Chunked::default()), READ_BYTES),
    };
    wire.lock().begin(wire::Body::Coming, waits);
    Incoming::Http1(Box::new(Reading { wire: Arc::clone(wire), left, room }))
}

impl<S: Transport> Reading<S> {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        if self.left.is_over() {
            return Poll::Ready(None);
        }
        let mut wire = self.wire.lock();
        if wire.body() != wire::Body::Coming {
            // It was given up: what follows may be missing a part.
            return Poll::Ready(Some(Err(BrokenOff::Closed)));
        }
        ready!(wire.poll_leave(context))?;
        loop {
            match self.left.take(&mut wire.read)? {
                Piece::Data(bytes) => {
                    if self.left.is_over() {
                        wire.body_ended(wire::Body::Over);
                    }
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Piece::End => {
                    self.left = Left::Exact(0);
                    wire.body_ended(wire::Body::Over);
                    return Poll::Ready(None);
                }
                Piece::NotYet => {}
            }
            let room = self.left.at_most(self.room);
            if ready!(wire.poll_read_body(context, room))? == 0 {
                return Poll::Ready(Some(Err(BrokenOff::Closed)));
            }
            // There may have been more.
            if wire.read.capacity() == wire.read.len() {
                self.room = READ_BYTES_MAX;
            }
        }
    }
}

impl<S: Transport> Body for Reading<S> {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = self.get_mut();
        let piece = ready!(this.poll_piece(context));
        if let Some(Err(_)) = piece {
            this.left = Left::Exact(0);
            this.wire.lock().body_ended(wire::Body::Failed);
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Left::Exact(length) => SizeHint::with_exact(length),
            Left::Chunked(_) => SizeHint::default(),
        }
    }
}

impl<S: Transport> Drop for Reading<S> {
    fn drop(&mut self) {
        if !self.left.is_over() {
            self.wire.lock().body_ended(wire::Body::GivenUp);
        }
    }
}

impl Left {
    fn is_over(&self) -> bool {
        matches!(self, Self::Exact(0))
    }

    /// Takes the next piece out of what was read.
    fn take(&mut self, read: &mut BytesMut) -> Result<Piece, BadChunk> {
        match self {
            Self::Chunked(chunked) => chunked.next(read),
            Self::Exact(_) if read.is_empty() => Ok(Piece::NotYet),
            Self::Exact(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= length as u64;
                Ok(Piece::Data(read.split_to(length).freeze()))
            }
        }
    }

    /// So much room, or as much as is needed.
    fn at_most(&self, room: usize) -> usize {
        match self {
            Self::Exact(left) => usize::try_from(*left).unwrap_or(usize::MAX).min(room),
            Self::Chunked(_) => room,
        }
    }
}
