//! What of a message waits to be written: its head, sizes of chunks, pieces of its body.

use std::io::{self, ErrorKind, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use tokio::io::AsyncWrite;

use super::head::field;

/// Pieces of a body up to this length are copied behind what waits: one write for all costs less
/// than a list of places.
pub const COPIED_BYTES_MAX: usize = 4 * 1024;

/// What waits to be written.
#[derive(Debug)]
pub struct Waiting {
    /// The head, sizes of chunks, short pieces.
    queue: Vec<u8>,
    /// So much of them has been written.
    written: usize,
    /// A long piece, behind the queue.
    piece: Bytes,
    /// What is behind the piece.
    tail: &'static [u8],
}

impl Waiting {
    /// A head.
    pub fn new(head: Vec<u8>) -> Self {
        Self { queue: head, written: 0, piece: Bytes::new(), tail: b"" }
    }

    /// Whether all has been written.
    pub fn is_empty(&self) -> bool {
        self.queued().is_empty() && self.piece.is_empty() && self.tail.is_empty()
    }

    /// Whether more may be put behind it. What is queued goes out before a long piece and its end:
    /// those have to be gone.
    pub fn takes_more(&self) -> bool {
        self.piece.is_empty() && self.tail.is_empty() && self.queued().len() < COPIED_BYTES_MAX
    }

    /// Puts a piece of a body behind it.
    pub fn push(&mut self, piece: Bytes) {
        if piece.len() <= COPIED_BYTES_MAX {
            self.queue.extend_from_slice(&piece);
            self.queue.extend_from_slice(std::mem::take(&mut self.tail));
        } else {
            self.piece = piece;
        }
    }

    /// Puts a piece behind it as a chunk (RFC 9112 section 7.1). An empty one would be the end.
    pub fn push_chunk(&mut self, piece: Bytes) {
        // Writing to memory cannot fail.
        _ = write!(self.queue, "{:x}\r\n", piece.len());
        self.tail = b"\r\n";
        self.push(piece);
    }

    /// Puts the last chunk behind it, and trailers, which are never behind a long piece.
    pub fn end_chunks(&mut self, trailers: Option<&HeaderMap>) {
        if !self.tail.is_empty() {
            self.tail = b"\r\n0\r\n\r\n";
            return;
        }
        self.queue.extend_from_slice(b"0\r\n");
        for (name, value) in trailers.into_iter().flatten() {
            field(&mut self.queue, name, value.as_bytes());
        }
        self.queue.extend_from_slice(b"\r\n");
    }

    /// Writes some of it, and tells how many bytes; there must be some.
    ///
    /// # Errors
    /// When the stream fails, or takes nothing at all.
    pub fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let written = match self.piece.is_empty() && self.tail.is_empty() {
            true => Pin::new(stream).poll_write(context, self.queued()),
            false => {
                let slices = [self.queued(), &self.piece[..], self.tail].map(IoSlice::new);
                Pin::new(stream).poll_write_vectored(context, &slices)
            }
        };
        Poll::Ready(match ready!(written)? {
            0 => Err(io::Error::from(ErrorKind::WriteZero)),
            length => {
                self.written(length);
                Ok(length)
            }
        })
    }

    /// What of the queue has not been written.
    fn queued(&self) -> &[u8] {
        self.queue.get(self.written..).unwrap_or_default()
    }

    fn written(&mut self, mut length: usize) {
        let queued = length.min(self.queued().len());
        self.written += queued;
        length -= queued;
        // More may be put behind it before all has been written.
        if self.written == self.queue.len() || self.written > COPIED_BYTES_MAX {
            self.queue.drain(..self.written);
            self.written = 0;
        }
        let from_piece = length.min(self.piece.len());
        self.piece.advance(from_piece);
        if self.piece.is_empty() {
            // An empty one would keep the buffer, which is used again where nobody has it.
            self.piece = Bytes::new();
        }
        length -= from_piece;
        self.tail = self.tail.get(length..).unwrap_or_default();
    }
}
