//! The bytes to and from an upstream, plain or encrypted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::addresses::{Endpoint, Lease};

/// A plain or an encrypted stream.
#[derive(Debug)]
pub(super) struct Stream(Either<TcpStream, Box<TlsStream<TcpStream>>>, Option<Lease>);

impl Stream {
    pub(super) fn plain(stream: TcpStream) -> Self {
        Self(Either::Left(stream), None)
    }

    pub(super) fn encrypted(stream: TlsStream<TcpStream>) -> Self {
        Self(Either::Right(Box::new(stream)), None)
    }

    /// The same, which counts as a connection to an address as long as it is there.
    pub(super) fn counted(self, lease: Lease) -> Self {
        Self(self.0, Some(lease))
    }

    /// Where it leads.
    pub(super) fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        self.1.as_ref().map(Lease::endpoint)
    }

    pub(super) fn chose_http2(&self) -> bool {
        match &self.0 {
            Either::Left(_) => false,
            Either::Right(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    fn inner(self: Pin<&mut Self>) -> Pin<&mut Either<TcpStream, Box<TlsStream<TcpStream>>>> {
        Pin::new(&mut self.get_mut().0)
    }
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
        self.inner().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(context)
    }
}
