//! The upstream: gives sessions, and answers 401 to whoever carries none.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Bytes of every answer's body.
pub const BODY_BYTES: usize = 1024;

static BODY: [u8; BODY_BYTES] = [b'd'; BODY_BYTES];

/// The field that carries a session.
pub const SESSION: HeaderName = HeaderName::from_static("x-session");

/// What every session's token begins with.
pub const TOKEN_PREFIX: &str = "session-of-the-benches-";

/// An upstream on a thread of its own; it lives as long as the process.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
    held: watch::Sender<bool>,
}

/// What an upstream has seen.
#[derive(Debug, Default)]
struct Seen {
    logins: AtomicU64,
    logouts: AtomicU64,
}

impl Upstream {
    /// Starts an upstream on any free port of loopback.
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let counters = Arc::clone(&seen);
        let (held, holding) = watch::channel(false);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(serve(listener, counters, holding));
        });
        Self { address, seen, held }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many logins it has seen.
    pub fn logins(&self) -> u64 {
        self.seen.logins.load(Ordering::Relaxed)
    }

    /// How many logouts it has seen.
    pub fn logouts(&self) -> u64 {
        self.seen.logouts.load(Ordering::Relaxed)
    }

    /// Answers no login, or all that wait and those to come.
    pub fn hold_logins(&self, held: bool) {
        self.held.send_replace(held);
    }
}

async fn serve(listener: std::net::TcpListener, seen: Arc<Seen>, holding: watch::Receiver<bool>) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (seen, holding) = (Arc::clone(&seen), holding.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let (seen, holding) = (Arc::clone(&seen), holding.clone());
                async move { Ok::<_, Infallible>(answer(&seen, holding, request).await) }
            });
            let connection = Builder::new(TokioExecutor::new());
            // A gateway that stops closes its connections; nobody here has to know.
            _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    seen: &Seen,
    mut holding: watch::Receiver<bool>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/session") => {
            let number = seen.logins.fetch_add(1, Ordering::Relaxed);
            holding.wait_for(|held| !held).await.unwrap();
            plain(StatusCode::OK, format!(r#"{{"token":"{TOKEN_PREFIX}{number:08}"}}"#))
        }
        (&Method::DELETE, "/session") => {
            seen.logouts.fetch_add(1, Ordering::Relaxed);
            plain(StatusCode::NO_CONTENT, String::new())
        }
        _ if !carries_a_session(request.headers()) => {
            plain(StatusCode::UNAUTHORIZED, "no session".to_owned())
        }
        _ => {
            request.into_body().collect().await.unwrap();
            content()
        }
    }
}

fn carries_a_session(headers: &HeaderMap) -> bool {
    headers.get(SESSION).is_some_and(|value| value.as_bytes().starts_with(TOKEN_PREFIX.as_bytes()))
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

/// 1 KiB with the seven fields that an API's answer commonly has; `Date` and `Content-Length` come
/// from the server.
fn content() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(Bytes::from_static(&BODY)));
    for (name, value) in [
        (header::CONTENT_TYPE, "application/json"),
        (header::SERVER, "bench"),
        (header::CACHE_CONTROL, "private, no-cache"),
        (header::ETAG, "\"5d8c72a5edda8d6a\""),
        (header::VARY, "accept-encoding"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
