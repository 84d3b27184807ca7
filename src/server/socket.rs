//! Sockets that clients connect to: one for each core and address, so that no core waits for
//! another.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use super::heard_out;
use crate::outbox::Stream;

/// Connections that may wait to be accepted, on each socket.
pub(super) const BACKLOG: i32 = 1024;

/// The system takes no more than about this of an answer beside what is on its way to the client.
/// By itself it would take megabytes for each client that reads slowly, all of which have to be made
/// first. With less, whoever takes a long answer as fast as it can be made is woken up too often.
const UNSENT_BYTES_MAX: u32 = 1024 * 1024;

/// Only the user who runs Doorward, and the group, may connect.
const UNIX_SOCKET_MODE: u32 = 0o660;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP; port 0 is any free port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// The sockets of one listener, at least one for each core.
#[derive(Debug)]
pub struct Bound {
    /// Where they listen, with the real port.
    pub address: Address,
    /// The sockets; the cores take them in turn.
    pub sockets: Vec<Unregistered>,
    /// Whose they are.
    pub ownership: Ownership,
}

/// Whose a listener's sockets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// This process has bound them, and removes what they leave in the file system.
    Ours,
    /// Somebody has handed them over, who also looks after what they leave.
    Inherited,
}

/// A socket that no runtime knows yet.
#[derive(Debug)]
pub enum Unregistered {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// Unix.
    Unix(StdUnixListener),
}

/// A socket on its core's runtime.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// Unix.
    Unix(UnixListener),
}

/// Waits until a client has said something, or has left. Nothing when `stopping` is cancelled before
/// that: whoever has said nothing waits for nothing.
pub(super) async fn first_word(stream: &Stream, stopping: &CancellationToken) -> Option<()> {
    let mut look = [0];
    tokio::select! {
        biased;
        // Whoever reads finds out what became of it.
        _ = peek(stream, &mut look) => Some(()),
        () = heard_out(stopping) => None,
    }
}

/// Waits for bytes and looks at them; they can still be read.
pub(super) async fn peek(stream: &Stream, look: &mut [u8]) -> io::Result<usize> {
    let mut look = |socket: &dyn AsFd| -> io::Result<usize> {
        Ok(recv(socket.as_fd(), &mut *look, RecvFlags::PEEK)?.1)
    };
    match stream.socket() {
        Either::Left(stream) => stream.async_io(Interest::READABLE, || look(stream)).await,
        Either::Right(stream) => stream.async_io(Interest::READABLE, || look(stream)).await,
    }
}

/// Binds `cores` sockets to one address.
///
/// # Errors
/// When the address is taken or not allowed. A Unix socket that nobody listens at any more is
/// replaced.
pub fn bind(address: &Address, cores: usize) -> io::Result<Bound> {
    match address {
        Address::Tcp(address) => {
            if address.port() != 0 {
                refuse_taken(*address)?;
            }
            let first = bind_tcp(*address)?;
            let address = first.local_addr()?;
            let mut sockets = vec![Unregistered::Tcp(first)];
            for _ in 1..cores {
                sockets.push(Unregistered::Tcp(bind_tcp(address)?));
            }
            Ok(Bound { address: Address::Tcp(address), sockets, ownership: Ownership::Ours })
        }
        Address::Unix(path) => {
            let first = bind_unix(path)?;
            let mut sockets = Vec::with_capacity(cores);
            for _ in 1..cores {
                sockets.push(Unregistered::Unix(first.try_clone()?));
            }
            sockets.push(Unregistered::Unix(first));
            let address = Address::Unix(path.clone());
            Ok(Bound { address, sockets, ownership: Ownership::Ours })
        }
    }
}

/// Our own sockets share their port, and would with those of another process, which then answered a
/// part of the connections. A socket that shares nothing finds out.
fn refuse_taken(address: SocketAddr) -> io::Result<()> {
    socket(address)?.bind(&address.into())
}

fn socket(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket =
        socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<StdUnixListener> {
    let listener = match StdUnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
            std::fs::remove_file(path)?;
            StdUnixListener::bind(path)?
        }
        bound => bound?,
    };
    let ready = std::fs::set_permissions(path, std::fs::Permissions::from_mode(UNIX_SOCKET_MODE))
        .and_then(|()| listener.set_nonblocking(true));
    match ready {
        Ok(()) => Ok(listener),
        Err(error) => {
            Address::Unix(path.to_owned()).clean_up();
            Err(error)
        }
    }
}

/// A socket file that a process left behind when it died.
fn is_abandoned(path: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

impl Unregistered {
    /// Another descriptor of the same socket.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            Self::Unix(listener) => listener.try_clone().map(Self::Unix),
        }
    }

    /// Registers the socket with the current runtime.
    ///
    /// # Errors
    /// When the runtime has no descriptor left.
    pub fn register(self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                // Its connections have it from the beginning. Without it all works as well.
                _ = socket2::SockRef::from(&listener).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
                TcpListener::from_std(listener).map(Socket::Tcp)
            }
            Self::Unix(listener) => UnixListener::from_std(listener).map(Socket::Unix),
        }
    }
}

impl Socket {
    /// Waits for a connection. Cancel safe.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::tcp(stream), Some(peer.ip().to_canonical())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::unix(stream), None))
            }
        }
    }
}

/// Has the system throw away what a client has not taken when its stream is closed.
pub(super) fn reset_on_close(stream: &Stream) {
    if let Either::Left(stream) = stream.socket() {
        // Without it what is left is offered for a while longer.
        _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
}

/// Ends our side, behind what has been written.
pub(super) fn end_writing(stream: &Stream) {
    // Who is gone needs not be told.
    _ = stream.end_writing();
}

impl Address {
    /// Whether only this machine reaches it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Removes what the address leaves behind in the file system.
    pub fn clean_up(&self) {
        if let Self::Unix(path) = self {
            // It may be gone already; then there is nothing to remove.
            _ = std::fs::remove_file(path);
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(out, "{address}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn every_core_gets_a_socket_at_the_same_port() {
        let bound = bind(&Address::Tcp("127.0.0.1:0".parse().unwrap()), 3).unwrap();
        assert_eq!(bound.sockets.len(), 3);
        let Address::Tcp(address) = bound.address else { panic!("not TCP") };
        assert_ne!(address.port(), 0);
    }

    /// Fails when an answer piles up in the system for a client that does not read.
    #[tokio::test]
    async fn the_system_takes_little_of_an_answer_that_nobody_reads() {
        let bound = bind(&Address::Tcp("127.0.0.1:0".parse().unwrap()), 1).unwrap();
        let Address::Tcp(address) = bound.address else { panic!("not TCP") };
        let socket = bound.sockets.into_iter().next().unwrap().register().unwrap();
        let (_client, accepted) = tokio::join!(TcpStream::connect(address), socket.accept());
        let (stream, _) = accepted.unwrap();
        let Either::Left(stream) = stream.socket() else { panic!("not TCP") };
        let unsent_max = socket2::SockRef::from(stream).tcp_notsent_lowat().unwrap();
        assert_eq!(unsent_max, UNSENT_BYTES_MAX);
    }

    #[tokio::test]
    async fn an_abandoned_unix_socket_is_replaced_and_a_used_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Unix(folder.path().join("doorward.sock"));
        drop(bind(&address, 1).unwrap());
        let used = bind(&address, 2).unwrap();
        assert_eq!(bind(&address, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        used.address.clean_up();
        drop(bind(&address, 1).unwrap());
    }
}
