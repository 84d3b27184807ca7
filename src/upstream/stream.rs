//! The bytes to and from an upstream, plain or encrypted.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// A plain or an encrypted stream.
#[derive(Debug)]
pub(super) struct Stream {
    inner: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    closed: Closed,
}

/// What writing comes to where the upstream has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closed {
    /// It counts as written. An upstream that answers in the middle of a body and closes makes
    /// writing fail, and its answer is still there to be read; where there is none, reading tells
    /// the end.
    Unnoticed,
    /// It fails. A tunnel has no answer to wait for, and reading may have told the end long ago.
    Told,
}

impl Stream {
    pub(super) fn plain(stream: TcpStream) -> Self {
        Self { inner: Either::Left(stream), closed: Closed::Unnoticed }
    }

    pub(super) fn encrypted(stream: TlsStream<TcpStream>) -> Self {
        Self { inner: Either::Right(Box::new(stream)), closed: Closed::Unnoticed }
    }

    /// The same stream, to become a tunnel.
    pub(super) fn for_tunnel(self) -> Self {
        Self { closed: Closed::Told, ..self }
    }

    pub(super) fn chose_http2(&self) -> bool {
        match &self.inner {
            Either::Left(_) => false,
            Either::Right(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    fn inner(self: Pin<&mut Self>) -> Pin<&mut Either<TcpStream, Box<TlsStream<TcpStream>>>> {
        Pin::new(&mut self.get_mut().inner)
    }
}

impl Closed {
    /// What was written; `all` where it cannot be any more and nobody is to notice.
    fn make_of<T>(self, written: Poll<io::Result<T>>, all: T) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Err(error)) if self == Self::Unnoticed && is_closed(&error) => {
                Poll::Ready(Ok(all))
            }
            written => written,
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
    )
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.inner().poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let closed = self.closed;
        closed.make_of(self.inner().poll_write(context, bytes), bytes.len())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let closed = self.closed;
        let written = self.inner().poll_write_vectored(context, slices);
        closed.make_of(written, slices.iter().map(|slice| slice.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = self.closed;
        closed.make_of(self.inner().poll_flush(context), ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(context)
    }
}
