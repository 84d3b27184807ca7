//! The listening side: sockets for every core, TLS, connections, and their drain.

mod connection;
mod http1;
mod inherited;
mod linger;
mod listener;
mod metered;
mod pace;
mod patience;
mod prefixed;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties {
    //! What must hold for any request.
    pub use super::http1::properties::requests;
}
mod proxy_protocol;
mod socket;
mod tls;
mod tunnels;

use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::coop::unconstrained;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::outbox::Stream;
use crate::proxy::overload::{Load, Overload};
use crate::proxy::patience::Slowness;
use crate::proxy::{Core, Peer};
use connection::Conversation;
pub use inherited::{Inherited, InheritedError};
pub use listener::{Connections, Listener, Open};
use listener::{Place, Room};
use proxy_protocol::HeaderError;
pub use proxy_protocol::Senders;
pub use socket::{Address, Bound, Ownership, Socket, Unregistered, bind};
pub use tls::{ClientCertificates, Presence, Tls, TlsError, server as tls_server};

/// After an accept that failed for want of descriptors or memory, this long until the next, unless a
/// connection ends: trying at once would only burn CPU.
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
    /// How slowly a client may take what is written.
    pub write: Slowness,
}

/// What it means when a client ends its side of an HTTP/1 connection while its request is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfClosed {
    /// It has left; its request is given up.
    Left,
    /// It still gets its answer. Whether it has left shows when the answer is written.
    Answered,
}

/// When to stop: first nobody is sent here any more, then there are no new connections, then no
/// connections at all.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Whoever asks whether this process is ready is told that it is not. Everything is served.
    pub leaving: CancellationToken,
    /// No new connections; those that are there end after their running requests.
    pub accepting: CancellationToken,
    /// What still runs is cut off.
    pub everything: CancellationToken,
}

/// Serves one socket on this core until its listener is closed, and until its connections are done, or
/// cut off when `everything` is cancelled, which is not before the listener is closed. The task must run
/// on the core's own runtime.
pub async fn serve(socket: Socket, open: Open, core: Arc<Core>, everything: CancellationToken) {
    let mut connections = JoinSet::new();
    let room = Room::new();
    let overload = Arc::clone(&core.shared.overload);
    let mut accepting = Accepting::Well;
    let (mut closing, mut late) = (pin!(heard_out(open.closing())), 0);
    // Whoever has connected before the socket closes is served; who comes all the time does not keep
    // it open.
    while late < socket::BACKLOG {
        let accepted = tokio::select! {
            biased;
            // What became of it, it has told itself.
            Some(_) = connections.join_next() => continue,
            accepted = accept(&socket, &room, &open, &overload, &mut accepting) => accepted,
            () = &mut closing => break,
        };
        late += i32::from(open.closing().is_cancelled());
        let Some((stream, address, place)) = accepted else { continue };
        let now = open.now();
        let listener = &now.listener;
        let scheme = if listener.tls.is_some() { "https" } else { "http" };
        let name = Arc::clone(&listener.name);
        let peer = Peer::new(name, address, scheme, listener.entry, listener.ways);
        let mut peer = peer.of_pages(listener.pages);
        let connected = (overload.connected(), core.shared.connections.begin(&listener.name));
        let stopping = now.ending.clone();
        let (core, tls) = (Arc::clone(&core), listener.tls.clone());
        let (half_closed, limits) = (listener.half_closed, listener.limits);
        let proxies = listener.proxies.clone().filter(|proxies| proxies.contain(address));
        connections.spawn(async move {
            let _counted = (place, connected);
            let mut stream = stream;
            let mut unix = connection::unix_peer(&stream);
            if proxies.is_some() {
                // Boxed: few connections need the room.
                let time = limits.head_timeout;
                let client = Box::pin(presented(&mut stream, address, time, &stopping));
                let Some(client) = client.await else { return };
                peer = peer.behind_proxy(client);
                // The process is the proxy's.
                unix = None;
            }
            let conversation = Conversation { core, peer, unix, limits, half_closed };
            connection::serve(stream, tls, conversation, &stopping).await;
        });
    }
    // The socket is closed first: nobody waits in its queue for an answer that will not come.
    drop(socket);
    let ended = async { while connections.join_next().await.is_some() {} };
    if everything.run_until_cancelled(ended).await.is_none() {
        connections.shutdown().await;
    }
}

/// A future in a box. [`Box::pin`] is given one that has been made, and copies all of its room, most of
/// which says nothing yet: several kilobytes for each request. Here there is room first, and the compiler
/// writes into it the little that there is.
fn boxed<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    let room = Box::new_uninit();
    Box::into_pin(Box::write(room, make()))
}

/// Waits until `stopping` is cancelled, and then until the runtime has asked the system once more: who
/// looks for something ahead of this finds what had come by then. Must run on tokio's runtime.
async fn heard_out(stopping: &CancellationToken) {
    // A task that has used up its turn would else be told to come again, and would not be waiting.
    unconstrained(stopping.cancelled()).await;
    yield_now().await;
}

/// The same, asked for again and again in one task: whoever has been told once to wait is waiting, and as
/// long as nothing has changed, to ask again costs one look.
struct Stopped<'a> {
    stopping: &'a CancellationToken,
    heard_out: Pin<&'a mut (dyn Future<Output = ()> + Send)>,
    /// Whoever is woken.
    waker: Option<Waker>,
}

impl<'a> Stopped<'a> {
    /// Of `stopping`, by what [`heard_out`] makes of it.
    fn new(
        stopping: &'a CancellationToken,
        heard_out: Pin<&'a mut (dyn Future<Output = ()> + Send)>,
    ) -> Self {
        Self { stopping, heard_out, waker: None }
    }

    /// As of a future, until it is ready.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let is_waited_for = |waker: &Waker| waker.will_wake(context.waker());
        if self.waker.as_ref().is_some_and(is_waited_for) && !self.stopping.is_cancelled() {
            return Poll::Pending;
        }
        self.waker = Some(context.waker().clone());
        self.heard_out.as_mut().poll(context)
    }
}

/// The client's address as a proxy in front presents it; nothing where the connection is refused, or
/// where the server stops before the proxy has said anything.
async fn presented(
    stream: &mut Stream,
    peer: Option<IpAddr>,
    time: Duration,
    stopping: &CancellationToken,
) -> Option<Option<IpAddr>> {
    let peer_shown = || peer.map_or("unix".to_owned(), |peer| peer.to_string());
    let reading = async {
        socket::first_word(stream, stopping).await?;
        Some(proxy_protocol::client(stream, peer).await)
    };
    match timeout(time, reading).await.map(Option::transpose) {
        Ok(Ok(client)) => return client,
        // Whoever watches whether somebody listens does so all the time.
        Ok(Err(HeaderError::Closed)) => {}
        Ok(Err(error)) => {
            tracing::warn!(peer = peer_shown(), %error, "a connection of a listed proxy is refused");
        }
        Err(_) => {
            tracing::warn!(peer = peer_shown(), "a listed proxy has sent no PROXY protocol header");
        }
    }
    None
}

/// How the last accept went: a want that lasts is told once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accepting {
    Well,
    InWant,
}

async fn accept(
    socket: &Socket,
    room: &Room,
    open: &Open,
    overload: &Overload,
    accepting: &mut Accepting,
) -> Option<(Stream, Option<IpAddr>, Place)> {
    let place = room.enter(open).await;
    overload.accepting().await;
    match socket.accept().await {
        Ok((stream, address)) => {
            *accepting = Accepting::Well;
            Some((stream, address, place))
        }
        Err(error) if is_of_one_connection(&error) => {
            tracing::debug!(%error, "a connection was gone before it was accepted");
            None
        }
        Err(error) => {
            if *accepting == Accepting::Well {
                tracing::warn!(%error, "connections cannot be accepted");
            }
            *accepting = Accepting::InWant;
            overload.raise(Load::Full);
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Whether the next connection can be accepted at once (accept(2), "Error handling").
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, PermissionDenied,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | PermissionDenied
    )
}
