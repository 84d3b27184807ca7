//! The listening side: sockets for every core, TLS, hyper connections, and their drain.

mod connection;
mod heads;
mod pace;
mod patience;
mod socket;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::access::identity::Ways;
use crate::proxy::{Core, Peer};
pub use socket::{Address, Bound, Socket, Unregistered, bind};
pub use tls::{ClientCertificates, Presence, Tls, TlsError, server as tls_server};

/// After an accept that failed for want of descriptors, this long until the next: trying at once
/// would only burn CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest request head.
    pub request_head_bytes_max: usize,
    /// The most fields in it.
    pub header_fields_max: usize,
    /// The most requests at a time on one HTTP/2 connection.
    pub streams_max: u32,
    /// The most connections at a time, on one core.
    pub connections_max: usize,
    /// How long a TLS handshake may take, and the head of a request from its first byte to its
    /// last.
    pub head_timeout: Duration,
    /// How long a connection waits for its next request.
    pub idle_timeout: Duration,
}

/// A listener as one core serves it.
#[derive(Clone)]
pub struct Listener {
    /// `https` where there is one.
    pub tls: Option<TlsAcceptor>,
    /// Who may call.
    pub access: Access,
    /// By what callers can show who they are.
    pub ways: Ways,
    /// How the origin of its own pages begins, `http` or `https`; nothing where nobody here knows.
    pub pages: Option<&'static str>,
}

/// When to stop: first no new connections, then no connections at all.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// No new connections; those that are there end after their running requests.
    pub accepting: CancellationToken,
    /// What still runs is cut off.
    pub everything: CancellationToken,
}

/// Serves one socket on this core until told to stop, and until its connections are done. The task
/// must run on the core's own runtime.
pub async fn serve(
    socket: Socket,
    listener: Listener,
    core: Arc<Core>,
    limits: Limits,
    stop: Stop,
) {
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.accepting.cancelled() => break,
            accepted = accept(&socket, &room) => accepted,
        };
        let Some((stream, address, permit)) = accepted else { continue };
        let scheme = if listener.tls.is_some() { "https" } else { "http" };
        let peer = Peer::new(address, scheme, listener.access.clone(), listener.ways);
        let peer = peer.of_pages(listener.pages);
        let (core, stop, tls) = (Arc::clone(&core), stop.clone(), listener.tls.clone());
        connections.spawn(async move {
            let served = connection::serve(stream, tls, core, peer, limits, &stop);
            tokio::select! {
                () = served => {}
                () = stop.everything.cancelled() => {}
            }
            drop(permit);
        });
    }
    // The socket is closed first: nobody waits in its queue for an answer that will not come.
    drop(socket);
    connections.close();
    connections.wait().await;
}

async fn accept(
    socket: &Socket,
    room: &Arc<Semaphore>,
) -> Option<(socket::Stream, Option<std::net::IpAddr>, tokio::sync::OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok((stream, address)) => Some((stream, address, permit)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
