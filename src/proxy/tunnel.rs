//! A tunnel: after an upgrade the bytes of both sides are passed on unread, until they end,
//! nothing moves for too long, or their session is replaced.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use super::ending::{Ending, Why};
use super::error::Problem;
use super::extended_connect::{self, Handshake};
use super::inspect::Looked;
use super::message::{Answer, Head};
pub use super::passage::Duplex;
use super::passage::{Side, Who, pass};
use super::record::Record;
use crate::clock::Clock;
use crate::forward::upgrade;
use crate::session::Hold;
use crate::upstream::Origin;

/// A tunnel is looked at so often in the time that it may idle: it ends at most a quarter late, and
/// no byte sets a timer.
const LOOKS: u32 = 4;

/// A stream of HTTP/2 has no end but one.
impl Duplex for TokioIo<Upgraded> {}

/// Gives the client's connection to its tunnel; dropped, it says that the client is gone.
pub type Giver = oneshot::Sender<Box<dyn Duplex>>;

type Given = oneshot::Receiver<Box<dyn Duplex>>;

/// The client's connection, once it has been told that it is a tunnel. Comes with a request that
/// asks for an upgrade.
#[derive(Clone)]
pub struct HandOver(Arc<Mutex<Option<Given>>>);

impl HandOver {
    /// Both ends.
    pub fn new() -> (Giver, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(Arc::new(Mutex::new(Some(receiver)))))
    }

    async fn connection(self) -> Option<Box<dyn Duplex>> {
        let receiver = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        receiver?.await.ok()
    }
}

impl fmt::Debug for HandOver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("HandOver").finish_non_exhaustive()
    }
}

/// The client's side of an upgrade, by who serves its connection.
#[derive(Debug)]
enum Client {
    Http1(HandOver),
    Hyper(OnUpgrade),
}

impl Client {
    /// The client's side of the request that `head` belongs to, if its protocol offers one.
    fn of(head: &mut Head) -> Option<Self> {
        let handed = head.extensions.remove::<HandOver>().map(Self::Http1);
        handed.or_else(|| head.extensions.remove::<OnUpgrade>().map(Self::Hyper))
    }

    async fn connection(self) -> Option<Box<dyn Duplex>> {
        match self {
            Self::Http1(handed) => handed.connection().await,
            Self::Hyper(client) => Some(Box::new(TokioIo::new(client.await.ok()?))),
        }
    }
}

/// An upgrade that a client may have.
#[derive(Debug)]
pub(super) struct Wanted {
    /// What the connection is to speak.
    pub(super) protocol: HeaderValue,
    client: Client,
    /// What is asked in the place of a client of HTTP/2.
    handshake: Option<Handshake>,
}

/// The client's side of an upgrade. Only HTTP/1.1 and a CONNECT offer one.
pub(super) struct Offered(Client);

/// The connection that comes with a request's head, to be upgraded.
pub(super) fn offered(head: &mut Head) -> Option<Offered> {
    Client::of(head).map(Offered)
}

/// The upgrade that a request asks for and may have; with any other the fields are dropped.
pub(super) fn wanted(
    head: &Head,
    offered: Option<Offered>,
    has_body: bool,
    origin: &Origin,
) -> Option<Wanted> {
    let Offered(client) = offered?;
    // Whether a body goes to the old or to the new protocol is not for us to guess.
    if has_body || head.method != Method::GET {
        return None;
    }
    let handshake = extended_connect::handshake(head);
    let protocol = match &handshake {
        Some(handshake) => handshake.protocol(&origin.upgrades),
        None => upgrade::requested(&head.headers, &origin.upgrades),
    };
    Some(Wanted { protocol: protocol?.clone(), client, handshake })
}

impl Wanted {
    /// `Sec-WebSocket-Key`, where it is asked in the place of a client of HTTP/2.
    pub(super) fn key(&self) -> Option<&HeaderValue> {
        self.handshake.as_ref().map(Handshake::key)
    }
}

/// Both sides of an upgrade, before the client has been told.
#[derive(Debug)]
pub(super) struct Agreed {
    protocol: HeaderValue,
    client: Client,
    upstream: OnUpgrade,
    is_connect: bool,
}

/// The upgrade that the upstream's answer makes.
///
/// # Errors
/// When it makes one that nobody asked for, or none where anything but an error stands for one.
pub(super) fn agreed(
    answer: &mut Looked,
    wanted: Option<Wanted>,
) -> Result<Option<Agreed>, Problem> {
    if answer.status != StatusCode::SWITCHING_PROTOCOLS {
        // It would say that there is a tunnel.
        let is_connect = wanted.is_some_and(|wanted| wanted.handshake.is_some());
        return match is_connect && answer.status.is_success() {
            true => Err(Problem::UpstreamBroken),
            false => Ok(None),
        };
    }
    let accepts = |handshake: &Handshake| handshake.is_accepted(&answer.headers);
    match (wanted, answer.upgrade.take()) {
        (Some(Wanted { protocol, client, handshake }), Some(upstream))
            if upgrade::agrees(&answer.headers, &protocol)
                && handshake.as_ref().is_none_or(accepts) =>
        {
            // RFC 9110 section 8.6: no length, whatever the upstream says.
            answer.headers.remove(header::CONTENT_LENGTH);
            answer.headers.remove(header::TRANSFER_ENCODING);
            Ok(Some(Agreed { protocol, client, upstream, is_connect: handshake.is_some() }))
        }
        _ => Err(Problem::UpstreamBroken),
    }
}

impl Agreed {
    /// Tells the client that there is a tunnel from now on.
    pub(super) fn tell<B>(&self, answer: &mut Answer<B>) {
        if self.is_connect {
            answer.status = StatusCode::OK;
            extended_connect::tell(&mut answer.headers);
        } else {
            upgrade::set(&mut answer.headers, &self.protocol);
        }
    }
}

/// A tunnel that begins when the client has been told.
#[derive(Debug)]
pub struct Tunnel {
    client: Client,
    upstream: OnUpgrade,
    bytes: Bytes,
    clock: Clock,
    idle_max: Duration,
    ending: Option<Ending>,
    /// Keeps the session from being logged out.
    _hold: Hold,
}

/// What has passed so far; tells the request's record when the tunnel ends, however it does.
#[derive(Debug)]
struct Bytes {
    from_client: AtomicU64,
    from_upstream: AtomicU64,
    record: Box<Record>,
}

impl Tunnel {
    pub(super) fn new(
        agreed: Agreed,
        record: Box<Record>,
        hold: Hold,
        ending: Option<Ending>,
        idle_max: Duration,
    ) -> Self {
        let Agreed { client, upstream, .. } = agreed;
        let clock = record.clock().clone();
        let bytes = Bytes { from_client: 0.into(), from_upstream: 0.into(), record };
        Self { client, upstream, bytes, clock, idle_max, ending, _hold: hold }
    }

    /// Passes bytes on until both sides have ended, or one has failed and the other one has what came
    /// before, nothing has moved in either direction for the idle time, or it is cut. Dropped, it
    /// cuts both off.
    pub async fn run(self) {
        let Self { client, upstream, mut bytes, clock, idle_max, ending, _hold } = self;
        let passing = async {
            // Either is gone if its side broke before the tunnel began. A client that does not let
            // itself be told is no other than one that sends nothing.
            let client = async { client.connection().await.ok_or(()) };
            let upstream = async { upstream.await.map_err(|_| ()) };
            let Ok((client, upstream)) = tokio::try_join!(client, upstream) else { return };
            let client = Side::new(Who::Client, client, &bytes.from_client);
            let upstream = Box::new(TokioIo::new(upstream));
            pass(client, Side::new(Who::Upstream, upstream, &bytes.from_upstream)).await;
        };
        let end = tokio::select! {
            () = passing => None,
            () = idle(&clock, idle_max, &bytes) => Some("tunnel_idle"),
            why = cut(ending) => Some(why.as_str()),
        };
        if let Some(reason) = end {
            bytes.record.reason = reason;
        }
    }
}

async fn cut(ending: Option<Ending>) -> Why {
    match ending {
        Some(ending) => ending.await,
        None => std::future::pending().await,
    }
}

/// Waits until nothing has moved for `idle_max`, give or take one look.
async fn idle(clock: &Clock, idle_max: Duration, bytes: &Bytes) {
    let (mut seen, mut still) = (bytes.passed(), 0);
    while still < LOOKS {
        clock.sleep(idle_max / LOOKS).await;
        let now = bytes.passed();
        still = if now == seen { still + 1 } else { 0 };
        seen = now;
    }
}

impl Bytes {
    fn passed(&self) -> (u64, u64) {
        (self.from_client.load(Ordering::Relaxed), self.from_upstream.load(Ordering::Relaxed))
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.record.tunnelled_bytes = *self.from_client.get_mut();
        self.record.body_bytes = *self.from_upstream.get_mut();
    }
}
