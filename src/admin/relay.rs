//! A port of its own for a browser, which knows no Unix sockets: every request that was let in by a
//! link is passed on to the socket of a running gateway, for as long as whoever opened it wants.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::doors::{Doors, LINK_LIFE, NoRandomness};
use super::gateway::Refusal;
use super::problem::Problem;
use super::serve::Visitors;
use super::sockets::{Bound, Place, bind_tcp};
use super::{guard, serve};
use crate::clock::Clock;

/// The port and what is behind it.
#[derive(Debug)]
pub struct Relay {
    bound: Bound,
    address: SocketAddr,
    doors: Arc<Doors>,
    socket: PathBuf,
}

/// Why there is no such port.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// None can be listened at.
    #[error("no port of this machine can be listened at")]
    Listen(#[source] io::Error),
    /// Nobody could be let in safely.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

impl Relay {
    /// Takes a free port of this machine for the gateway at `socket`. Needs a runtime.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub fn open(socket: &Path) -> Result<Self, RelayError> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bound = bind_tcp(any).map_err(RelayError::Listen)?;
        let address = match bound.place() {
            Place::Tcp(address) => address,
            Place::Unix(_) => any,
        };
        let doors = Doors::new(None, Vec::new(), address.port(), Clock::system());
        Ok(Self { bound, address, doors: Arc::new(doors), socket: socket.to_owned() })
    }

    /// A link that opens the page once, within a minute.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub fn link(&self) -> Result<String, RelayError> {
        self.link_for(LINK_LIFE)
    }

    /// The same for somebody who may want it later: within `life`.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub fn link_for(&self, life: Duration) -> Result<String, RelayError> {
        Ok(format!("http://{}{}", self.address, self.doors.link(life)?))
    }

    /// Passes requests on until `stop`.
    ///
    /// # Errors
    /// When the runtime has no descriptor left.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let Self { bound, doors, socket, .. } = self;
        let router = Router::new()
            .fallback(pass_on)
            .layer(middleware::from_fn_with_state(doors, guard::guard))
            .with_state(Arc::<Path>::from(socket));
        serve::serve(bound, router, Visitors::Operators, stop)?.await;
        Ok(())
    }
}

async fn pass_on(State(socket): State<Arc<Path>>, mut request: Request) -> Response {
    let headers = request.headers_mut();
    // They were for this port alone.
    for name in [header::COOKIE, header::ORIGIN, header::AUTHORIZATION, header::CONNECTION] {
        headers.remove(name);
    }
    headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    match sent(&socket, request).await {
        Ok(response) => response,
        Err(error) => {
            let detail = format!("the gateway does not answer: {error}");
            Problem::from(Refusal::Unavailable { detail, retry_after: None }).into_response()
        }
    }
}

async fn sent(socket: &Path, request: Request) -> io::Result<Response> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // It ends with the answer's body.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    Ok(response.map(Body::new))
}
