//! One connection of a client, from the first byte to the last answer, or to the end of the tunnel
//! that it becomes: HTTP/1.1 by a server of our own, HTTP/2 by hyper.

use std::convert::Infallible;
use std::error::Error;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use super::http1::{self, End, Transport};
use super::linger::Lingering;
use super::metered::Metered;
use super::pace::{Pace, Paced, Traffic, Underway};
use super::patience::Patience;
use super::prefixed::Prefixed;
use super::socket::{end_writing, first_word, reset_on_close};
use super::tunnels::Tunnels;
use super::{HalfClosed, Limits, boxed};
use crate::access::identity::{Credentials, UnixPeer};
use crate::outbox::{self, Stream};
use crate::proxy::body::{CutOff, ReplyBody};
use crate::proxy::exchange::exchange;
use crate::proxy::incoming::Incoming;
use crate::proxy::message::Head;
use crate::proxy::patience::Ward;
use crate::proxy::{Core, Peer};

/// A client of HTTP/2 that has made no request and is told to leave has this long to say that it has
/// heard that, so that what it had asked by then is still answered.
const FAREWELL_WAIT_MAX: Duration = Duration::from_secs(1);

/// What a connection is served with.
pub(super) struct Conversation {
    pub(super) core: Arc<Core>,
    pub(super) peer: Peer,
    /// The client's own process, where it is known.
    pub(super) unix: Option<UnixPeer>,
    pub(super) limits: Limits,
    pub(super) half_closed: HalfClosed,
}

/// Serves one connection. It ends when the client leaves, errs or idles too long, or after its
/// running requests when the server stops accepting.
pub(super) async fn serve(
    stream: Stream,
    tls: Option<TlsAcceptor>,
    conversation: Conversation,
    stopping: &CancellationToken,
) {
    let Conversation { core, peer, unix, limits, half_closed } = conversation;
    let traffic = Arc::new(Traffic::new(&core.shared.overload));
    let stream = Metered::new(stream, Arc::clone(&traffic));
    let client = |certificate: Option<&[u8]>| {
        let peer = peer.connected(&Credentials { certificate, unix });
        // TLS has taken a certificate that cannot be read here: whose it is cannot be known.
        let peer = peer.inspect_err(|error| tracing::debug!(%error, "a connection is refused"));
        let traffic = Arc::clone(&traffic);
        peer.ok().map(|peer| Client { core, peer: Arc::new(peer), limits, half_closed, traffic })
    };
    match tls {
        None => {
            if let Some(client) = client(None) {
                client.converse(stream, false, stopping).await;
            }
        }
        Some(tls) => match handshake(tls, stream, limits.head_timeout, stopping).await {
            Ok(None) => {}
            Ok(Some(stream)) => {
                let session = stream.get_ref().1;
                let http2 = session.alpn_protocol() == Some(b"h2");
                let certificate = session.peer_certificates().and_then(<[_]>::first);
                if let Some(client) = client(certificate.map(|der| der.as_ref())) {
                    client.converse(stream, http2, stopping).await;
                }
            }
            // A scan, a client that does not trust us, or one that idles: nothing an operator must
            // act on.
            Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
        },
    }
}

/// The encrypted stream; nothing when the server stops before the client has said anything.
async fn handshake(
    tls: TlsAcceptor,
    stream: Metered,
    time: Duration,
    stopping: &CancellationToken,
) -> io::Result<Option<Box<TlsStream<Metered>>>> {
    let accepting = async {
        if first_word(stream.stream(), stopping).await.is_none() {
            return Ok(None);
        }
        outbox::ahead_of(tls.accept(stream)).await.map(|stream| Some(Box::new(stream)))
    };
    // Boxed: the handshake is over soon, and what is left of it is large, too.
    timeout(time, Box::pin(accepting)).await?
}

/// Whose process is at the other end of a Unix socket. Where the system does not say, it is
/// nobody's.
pub(super) fn unix_peer(stream: &Stream) -> Option<UnixPeer> {
    let Either::Right(stream) = stream.socket() else { return None };
    let peer = stream.peer_cred().ok()?;
    Some(UnixPeer { uid: peer.uid(), gid: peer.gid() })
}

/// Whom a connection is with, and what it may do.
pub(super) struct Client {
    pub(super) core: Arc<Core>,
    pub(super) peer: Arc<Peer>,
    pub(super) limits: Limits,
    pub(super) half_closed: HalfClosed,
    pub(super) traffic: Arc<Traffic>,
}

impl Client {
    async fn converse<S: Transport>(self, stream: S, http2: bool, stopping: &CancellationToken) {
        let Limits { head_timeout: head, idle_timeout: idle, write, .. } = self.limits;
        let pace = Pace { head, idle, write };
        let stream = Paced::new(stream, Arc::clone(&self.traffic), pace);
        if http2 {
            return Box::pin(self.converse_in_http2(stream, stopping)).await;
        }
        // By ALPN it is HTTP/1.1; without TLS a client may know that we speak HTTP/2.
        match http1::serve(stream, &self, stopping).await {
            End::Closed => {}
            End::Http2(stream, read) => {
                let stream = Prefixed::new(read.freeze(), stream);
                Box::pin(self.converse_in_http2(stream, stopping)).await;
            }
        }
    }

    async fn converse_in_http2<S>(self, stream: S, stopping: &CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { core, peer, limits, traffic, .. } = self;
        traffic.speaks_http2();
        let told = (Arc::clone(&core.shared), Arc::clone(&peer));
        let (seen, farewell) = (Arc::clone(&traffic), Arc::clone(&traffic));
        let patience = Arc::<Patience>::default();
        let asked = Arc::clone(&patience);
        let (tunnels, streams) = (Arc::new(Tunnels::default()), Streams::default());
        let (led, begun) = (Arc::clone(&tunnels), streams.clone());
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let (underway, unanswered) = (seen.begin(), asked.begin());
            // An answer is asked for only as far as the client has room for it.
            let ward = begun.begin(core.watch.answer());
            let (core, peer) = (Arc::clone(&core), Arc::clone(&peer));
            let (seen, tunnels) = (Arc::clone(&seen), Arc::clone(&led));
            // Boxed: it is moved several times before it runs.
            boxed(|| async move {
                let (head, body) = request.into_parts();
                let (mut head, body) = (Head::from(head), Incoming::Http2(body));
                let mut answer = exchange(core, peer, &mut head, body).await;
                unanswered.answered(answer.status);
                if let Some(tunnel) = answer.body.take_tunnel() {
                    tunnels.run(tunnel, seen.begin());
                }
                let answer = answer.map(|body| Counted::new(body, underway, ward));
                Ok::<_, Infallible>(Response::from(answer))
            })
        });
        let builder = builder(limits, streams);
        let stream = TokioIo::new(Lingering::new(stream));
        let mut connection = Box::pin(builder.serve_connection(stream, service));
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            // Requests that have begun are still answered.
            () = async {
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = patience.exhausted() => {}
                    // Only the connection's own look at its pace finds out.
                    () = poll_fn(|_| match traffic.is_to_leave() {
                        true => Poll::Ready(()),
                        false => Poll::Pending,
                    }) => {}
                }
            } => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = connection.as_mut() => ended,
                    // It waits for nothing, and may never answer.
                    () = unasked(&farewell) => Ok(()),
                }
            }
        };
        // One that could not write has not told its streams.
        drop(connection);
        if let Err(error) = ended {
            // Clients that leave, idle or err: what there is to say, hyper has said.
            tracing::debug!(%error, "a connection ended early");
            if let Some(reason) = rejection(&error) {
                told.0.reject_unread(&told.1, reason);
            }
        }
        // Nothing reaches the client any more. What it has said may still reach the upstreams.
        _ = timeout(limits.write.pause_max, tunnels.end()).await;
    }
}

/// Waits for as long as a client without a request may take to leave; for ever where one has begun.
async fn unasked(traffic: &Traffic) {
    sleep(FAREWELL_WAIT_MAX).await;
    if traffic.has_had_requests() {
        pending::<()>().await;
    }
}

/// Why hyper has rejected what never became a request; nothing where it has not. It tells by the type
/// of an error that has lost its type.
fn rejection(error: &hyper::Error) -> Option<&'static str> {
    let is_parted = error.is_closed()
        || error.is_canceled()
        || error.is_incomplete_message()
        || error.is_body_write_aborted()
        || error.is_shutdown()
        || error.is_timeout()
        || error.is_user()
        || error.source().is_some_and(|source| source.is::<io::Error>());
    (!is_parted).then_some("bad_frames")
}

/// An answer's body; its request is under way until it has been sent.
struct Counted {
    body: ReplyBody,
    underway: Underway,
    /// The client has to make room for what comes next.
    ward: Arc<Ward>,
    /// How much it was given last.
    given: u64,
}

impl Counted {
    fn new(body: ReplyBody, underway: Underway, ward: Arc<Ward>) -> Self {
        ward.wait();
        Self { body, underway, ward, given: 0 }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.underway.is_cut() || self.ward.is_over() {
            self.body.was_not_taken();
        }
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        let given = std::mem::take(&mut self.given);
        self.ward.went_on(given);
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.ward.wait();
            self.given = frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Streams of one connection that the client has reset before they were looked at; with one more the
/// connection ends (CVE-2023-44487).
const RESET_UNSEEN_MAX: usize = 20;

/// Streams of one connection that the client has made us reset; with one more it ends
/// (CVE-2025-8671).
const RESET_BY_US_MAX: usize = 100;

/// What is kept of an answer whose client does not take it, for each stream.
const UNSENT_BYTES_MAX: usize = 128 * 1024;

/// How much a client may send of one body before it is taken: a megabyte for each round trip.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// The same of all streams of a connection. h2 ends a connection with more small frames waiting than
/// one for each 512 bytes of this window: many WebSockets and gRPC streams may send at a time.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// The tasks of one HTTP/2 connection's streams. One whose client takes nothing of its answer is
/// ended, which resets its stream.
#[derive(Clone, Default)]
struct Streams(Arc<Mutex<Option<Arc<Ward>>>>);

impl Streams {
    /// A request begins, and its task is next to be started.
    fn begin(&self, ward: Ward) -> Arc<Ward> {
        let ward = Arc::new(ward);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&ward));
        ward
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let task = tokio::spawn(stream);
        if let Some(ward) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            ward.end_task(task.abort_handle());
        }
    }
}

fn builder(limits: Limits, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        // WebSockets (RFC 8441).
        .enable_connect_protocol()
        .max_concurrent_streams(limits.streams_max)
        .max_pending_accept_reset_streams(RESET_UNSEEN_MAX)
        .max_local_error_reset_streams(RESET_BY_US_MAX)
        .max_send_buf_size(UNSENT_BYTES_MAX)
        .max_header_list_size(u32::try_from(limits.request_head_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.idle_timeout)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    builder
}

impl Transport for Metered {
    fn reset_at_end(&self) {
        reset_on_close(self.stream());
    }

    fn cut(&self) {
        end_writing(self.stream());
    }
}

impl<S: Transport> Transport for Box<TlsStream<S>> {
    fn reset_at_end(&self) {
        self.get_ref().0.reset_at_end();
    }

    fn cut(&self) {
        self.get_ref().0.cut();
    }
}
