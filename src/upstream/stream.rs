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
use crate::outbox;

/// A plain or an encrypted stream.
#[derive(Debug)]
pub(super) struct Stream {
    kind: Kind,
    /// It counts as a connection to an address as long as it is there.
    lease: Option<Lease>,
}

/// What a request is written to.
pub(super) trait Outlet: AsyncWrite + Unpin {
    /// How many bytes have been handed to the system, those of TLS itself included. A write that
    /// fails may have handed some over before: TLS writes what it makes of it in several parts.
    fn handed_over(&self) -> u64;
}

impl Outlet for Stream {
    fn handed_over(&self) -> u64 {
        match &self.kind {
            Either::Left(stream) => stream.handed_over(),
            Either::Right(stream) => stream.get_ref().0.handed_over(),
        }
    }
}

type Kind = Either<outbox::Stream, Box<TlsStream<Stream>>>;

impl Stream {
    pub(super) fn tcp(stream: TcpStream) -> Self {
        Self::plain(outbox::Stream::tcp(stream))
    }

    pub(super) fn unix(stream: UnixStream) -> Self {
        Self::plain(outbox::Stream::unix(stream))
    }

    pub(super) fn encrypted(stream: TlsStream<Stream>) -> Self {
        Self { kind: Either::Right(Box::new(stream)), lease: None }
    }

    fn plain(stream: outbox::Stream) -> Self {
        Self { kind: Either::Left(stream), lease: None }
    }

    /// The same, which counts as a connection to an address.
    pub(super) fn counted(self, lease: Lease) -> Self {
        Self { lease: Some(lease), ..self }
    }

    /// Where it leads.
    pub(super) fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        match &self.kind {
            Either::Right(stream) => stream.get_ref().0.endpoint(),
            Either::Left(_) => self.lease.as_ref().map(Lease::endpoint),
        }
    }

    pub(super) fn chose_http2(&self) -> bool {
        match &self.kind {
            Either::Right(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            Either::Left(_) => false,
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

#[cfg(test)]
mod tests {
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::upstream::tls::{self, Terms};

    /// Fails when bytes are counted that TLS has taken and not handed over yet.
    #[tokio::test]
    async fn over_tls_what_has_reached_the_socket_is_counted() {
        tls::install_crypto_provider();
        let folder = tempfile::tempdir().unwrap();
        let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, signed.cert.pem()).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
        let config = rustls::ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![signed.cert.der().clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            let stream = listener.accept().await.unwrap().0;
            TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap()
        });
        let terms = tls::client(&Terms::usual("localhost", Some(&file))).unwrap();
        let stream = Stream::tcp(TcpStream::connect(address).await.unwrap());
        let mut stream = tls::encrypt(stream, &terms, &terms.config).await.unwrap();
        let _server = accepting.await.unwrap();
        let handshake = stream.handed_over();
        assert!(handshake > 0);
        stream.write_all(b"sixteen and more").await.unwrap();
        assert!(stream.handed_over() > handshake + 16, "{}", stream.handed_over() - handshake);
    }
}
