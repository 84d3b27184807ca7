//! Connections of operators: few, each in a task of its own on the control side, bounded in number,
//! heads and bodies. The data path knows nothing of them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::unistd::Uid;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::doors::Arrival;
use super::prompt::Prompt;
use super::sockets::{Bound, Unregistered};

/// Connections at a time of one socket: some watch, some ask, probes come and go.
const CONNECTIONS_MAX: usize = 64;

/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long a head may take, and a connection be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long answers under way have at the end.
const GOODBYE: Duration = Duration::from_secs(1);

/// After an accept that failed for want of descriptors, this long until the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who comes to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visitors {
    /// Operators. One of them may read a stream as slowly as it is read to them.
    Operators,
    /// Whoever reaches it: nobody may keep the others out by taking nothing of an answer.
    Anybody,
}

/// Serves one socket until told to stop, and until its connections are done. Needs a runtime.
///
/// # Errors
/// When the runtime has no descriptor left.
pub(super) fn serve(
    bound: Bound,
    router: Router,
    visitors: Visitors,
    stop: CancellationToken,
) -> io::Result<impl Future<Output = ()>> {
    let (socket, file) = bound.into_parts();
    let socket = match socket {
        Unregistered::Unix(listener) => Socket::Unix(UnixListener::from_std(listener)?),
        Unregistered::Tcp(listener) => Socket::Tcp(TcpListener::from_std(listener)?),
    };
    Ok(async move {
        let connections = TaskTracker::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = accept(&socket, &room) => accepted,
            };
            let Some((stream, arrival, permit)) = accepted else { continue };
            let (router, stop) = (router.clone(), stop.clone());
            connections.spawn(async move {
                match (stream, visitors) {
                    (Stream::Unix(stream), _) => converse(stream, arrival, router, stop).await,
                    (Stream::Tcp(stream), Visitors::Operators) => {
                        converse(stream, arrival, router, stop).await;
                    }
                    (Stream::Tcp(stream), Visitors::Anybody) => {
                        converse(Prompt::new(stream), arrival, router, stop).await;
                    }
                }
                drop(permit);
            });
        }
        drop((socket, file));
        connections.close();
        // What still goes on ends with its task, which is dropped with the runtime.
        _ = tokio::time::timeout(GOODBYE, connections.wait()).await;
    })
}

enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

enum Stream {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

async fn accept(
    socket: &Socket,
    room: &Arc<Semaphore>,
) -> Option<(Stream, Arrival, tokio::sync::OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    let accepted = match socket {
        Socket::Unix(listener) => match listener.accept().await {
            // Whoever is not ours has come before the file's mode was set, and is not heard.
            Ok((stream, _)) => user_of(&stream).map(|arrival| (Stream::Unix(stream), arrival)),
            Err(error) => Err(error),
        },
        Socket::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
            // Nothing depends on it.
            _ = stream.set_nodelay(true);
            (Stream::Tcp(stream), Arrival::Tcp)
        }),
    };
    match accepted {
        Ok((stream, arrival)) => Some((stream, arrival, permit)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        Err(error) => {
            tracing::debug!(%error, "an operator's connection cannot be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// The user at the other end, if it is ours or the superuser.
fn user_of(stream: &tokio::net::UnixStream) -> io::Result<Arrival> {
    let user = stream.peer_cred()?.uid();
    match user == Uid::effective().as_raw() || user == 0 {
        true => Ok(Arrival::Unix { who: Arc::from(format!("uid:{user}")) }),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

async fn converse<I>(stream: I, arrival: Arrival, router: Router, stop: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let answering = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(arrival.clone());
        service.call(request)
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), answering)
    );
    let mut is_stopping = false;
    loop {
        tokio::select! {
            // How a connection of an operator ends is of no use to anybody.
            _ = connection.as_mut() => return,
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
