//! The bytes to and from an upstream: over TCP, over a Unix socket, or encrypted over either, once
//! or, through a proxy that speaks TLS itself, twice.

use std::future::poll_fn;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::addresses::{Endpoint, Lease};

/// A plain or an encrypted stream.
#[derive(Debug)]
pub(super) struct Stream {
    kind: Kind,
    /// It counts as a connection to an address as long as it is there.
    lease: Option<Lease>,
}

type Kind = Either<TcpStream, Either<UnixStream, Box<TlsStream<Stream>>>>;

impl Stream {
    pub(super) fn tcp(stream: TcpStream) -> Self {
        Self { kind: Either::Left(stream), lease: None }
    }

    pub(super) fn unix(stream: UnixStream) -> Self {
        Self { kind: Either::Right(Either::Left(stream)), lease: None }
    }

    pub(super) fn encrypted(stream: TlsStream<Stream>) -> Self {
        Self { kind: Either::Right(Either::Right(Box::new(stream))), lease: None }
    }

    /// The same, which counts as a connection to an address.
    pub(super) fn counted(self, lease: Lease) -> Self {
        Self { lease: Some(lease), ..self }
    }

    /// Where it leads.
    pub(super) fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        match &self.kind {
            Either::Right(Either::Right(stream)) => stream.get_ref().0.endpoint(),
            _ => self.lease.as_ref().map(Lease::endpoint),
        }
    }

    pub(super) fn chose_http2(&self) -> bool {
        match &self.kind {
            Either::Right(Either::Right(stream)) => {
                stream.get_ref().1.alpn_protocol() == Some(b"h2")
            }
            _ => false,
        }
    }

    fn inner(self: Pin<&mut Self>) -> Pin<&mut Kind> {
        Pin::new(&mut self.get_mut().kind)
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
        self.kind.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(context)
    }
}

/// Waits until the server has said something after the handshake, and reads none of it that is
/// not TLS's own.
///
/// # Errors
/// When what it says is an alert, or that it ends.
pub(super) async fn welcome(stream: &mut TlsStream<Stream>) -> io::Result<()> {
    poll_fn(|context| poll_welcome(stream, context)).await
}

fn poll_welcome(stream: &mut TlsStream<Stream>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
    let (io, session) = stream.get_mut();
    loop {
        let state = session
            .process_new_packets()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if state.plaintext_bytes_to_read() > 0 || session.tls13_tickets_received() > 0 {
            return Poll::Ready(Ok(()));
        }
        if state.peer_has_closed() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        match session.read_tls(&mut Blocking { io, context }) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// A stream as rustls reads it.
struct Blocking<'s, 'c, 'w> {
    io: &'s mut Stream,
    context: &'c mut Context<'w>,
}

impl Read for Blocking<'_, '_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        match Pin::new(&mut *self.io).poll_read(self.context, &mut buffer) {
            Poll::Ready(read) => read.map(|()| buffer.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}
