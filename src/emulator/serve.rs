//! Accepts connections and walks each request: judge, force or answer, hold, send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::admin;
use super::compress::{Coding, compressed};
use super::control::Control;
use super::force::Forced;
use super::record::raw_target;

/// So many connections are open at once; further ones wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 16_384;

/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A client that does not finish its TLS handshake by then is dropped.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// The longest request body; a longer one gets 413.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Answers on every connection of one emulator.
pub struct Server {
    control: Control,
    vendor: Router,
    admin: Router,
    acceptor: Option<TlsAcceptor>,
}

/// The connection is to be reset instead of an answer.
#[derive(Debug, thiserror::Error)]
#[error("a forced connection reset")]
struct Reset;

/// The tasks of connections and, on HTTP/2, of their streams: all end at the stop, which waits for
/// them.
#[derive(Clone)]
struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
}

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let stopping = self.stopping.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = task => {}
            }
        });
    }
}

/// One client's connection, as its requests see it.
struct Peer {
    address: SocketAddr,
    /// A second handle of the socket: closing is otherwise not ours to shape.
    socket: Option<Socket>,
}

impl Server {
    pub fn new(control: Control, acceptor: Option<TlsAcceptor>) -> Arc<Self> {
        let vendor = Arc::clone(control.site()).router();
        // The walk below has bounded the body already.
        let vendor = vendor.layer(DefaultBodyLimit::disable());
        let admin = admin::router(control.clone());
        Arc::new(Self { control, vendor, admin, acceptor })
    }

    /// Serves until `stopping`; then ends every connection.
    pub async fn run(self: Arc<Self>, listener: TcpListener, stopping: CancellationToken) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let tasks = Tasks { tracker: TaskTracker::new(), stopping: stopping.clone() };
        loop {
            tokio::select! {
                () = stopping.cancelled() => break,
                (permit, accepted) = accept(&listener, &room) => {
                    // A connection that failed in the backlog is not ours; that no more files
                    // can be opened passes only with time.
                    let Ok((stream, address)) = accepted else {
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    };
                    let (server, streams) = (Arc::clone(&self), tasks.clone());
                    tasks.execute(async move {
                        server.connection(stream, address, streams).await;
                        drop(permit);
                    });
                }
            }
        }
        drop(listener);
        tasks.tracker.close();
        tasks.tracker.wait().await;
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, address: SocketAddr, tasks: Tasks) {
        _ = stream.set_nodelay(true);
        let socket = SockRef::from(&stream).try_clone().ok();
        let peer = Arc::new(Peer { address, socket });
        match self.acceptor.clone() {
            None => self.serve(stream, peer, tasks).await,
            Some(acceptor) => {
                let handshake = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream));
                if let Ok(Ok(stream)) = handshake.await {
                    self.serve(stream, peer, tasks).await;
                }
            }
        }
    }

    async fn serve<S>(self: Arc<Self>, stream: S, peer: Arc<Peer>, tasks: Tasks)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(move |request| {
            let (server, peer) = (Arc::clone(&self), Arc::clone(&peer));
            async move { server.answer(request, &peer).await }
        });
        let mut builder = Builder::new(tasks);
        builder.http1().timer(TokioTimer::new());
        builder.http2().timer(TokioTimer::new());
        // However the client ended it, there is nobody left to tell.
        _ = builder.serve_connection(TokioIo::new(stream), service).await;
    }

    /// One request, straight through.
    async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Result<Response, Reset> {
        let (mut head, body) = request.into_parts();
        head.extensions.insert(ConnectInfo(peer.address));
        if admin::is_admin(&head) {
            let request = Request::from_parts(head, Body::new(body));
            return Ok(routed(&self.admin, request).await);
        }

        let house = self.control.house();
        let judged = self.control.site().judge(&head);
        let under_way = house.tally.arrived(judged);
        let record = house.records.arrived(&head, judged.credential);
        house.mint.seen_in(&head);
        let line = format!("{} {}", head.method, raw_target(&head));
        let held = house.holds.matching(&line);
        let forced = house.forced.take(&line);
        let coding = self.control.site().compresses().then(|| Coding::accepted(&head.headers));

        // Read whole before anything is said, as the vendors' front servers do: an answer that
        // overtakes its request would reach the client as a broken connection.
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let body = body.map(Collected::to_bytes);
        let read = body.as_ref().map_or(0, |body| body.len() as u64);
        let response = match body {
            Ok(body) => self.response(head, Body::from(body), forced.as_ref()).await,
            Err(error) if error.is::<LengthLimitError>() => {
                StatusCode::PAYLOAD_TOO_LARGE.into_response()
            }
            Err(_) => return Err(Reset),
        };
        let response = match coding.flatten() {
            Some(coding) => compressed(response, coding).await,
            None => response,
        };
        if let Some(forced) = &forced {
            house.tally.forced();
            house.clock.sleep(forced.delay).await;
        }
        if let Some(place) = held {
            place.wait().await;
        }
        drop(under_way);

        if forced.is_some_and(|forced| forced.reset) {
            house.records.answered(record, None, read);
            peer.reset();
            return Err(Reset);
        }
        house.records.answered(record, Some(response.status().as_u16()), read);
        Ok(response)
    }

    async fn response(&self, head: Parts, body: Body, forced: Option<&Forced>) -> Response {
        // What was forced was judged when it was asked for, so it can be sent.
        if let Some(response) = forced.and_then(|forced| forced.answer().ok().flatten()) {
            return response;
        }
        if self.control.house().maintenance.load(Ordering::Relaxed) {
            return self.control.site().maintenance();
        }
        routed(&self.vendor, Request::from_parts(head, body)).await
    }
}

impl Peer {
    /// Has the kernel send a reset instead of a clean end once the connection is dropped.
    fn reset(&self) {
        if let Some(socket) = &self.socket {
            _ = socket.set_linger(Some(Duration::ZERO));
        }
    }
}

type Accepted = std::io::Result<(TcpStream, SocketAddr)>;

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (Option<OwnedSemaphorePermit>, Accepted) {
    // The semaphore is never closed.
    let permit = Arc::clone(room).acquire_owned().await.ok();
    (permit, listener.accept().await)
}

async fn routed(router: &Router, request: Request<Body>) -> Response {
    match router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
