//! An upstream with long bodies, events and WebSockets.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// The length of a long body.
pub const BODY_BYTES: u64 = 2 << 30;

const PIECE_BYTES: usize = 64 * 1024;

static PIECE: [u8; PIECE_BYTES] = [b'z'; PIECE_BYTES];

/// Time between events.
const EVENT_PAUSE: Duration = Duration::from_millis(100);

/// A body of the same byte.
pub struct Zeros(u64);

impl Zeros {
    pub fn new(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.0.min(PIECE_BYTES as u64);
        self.0 -= length;
        let piece = Bytes::from_static(PIECE.get(..length as usize).unwrap_or_default());
        Poll::Ready((length > 0).then(|| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

/// Prints where it listens, and serves until it is killed.
pub async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(converse(stream));
    }
}

async fn converse(stream: TcpStream) {
    let mut begin = [0; 16];
    let read = stream.peek(&mut begin).await.unwrap_or(0);
    if begin.get(..read).is_some_and(|begin| begin.starts_with(b"GET /v3/live")) {
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() && socket.send(message).await.is_err() {
                return;
            }
        }
        return;
    }
    // The client may leave at any time.
    _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

type AnyBody = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>) -> Result<Response<AnyBody>, Infallible> {
    let path = request.uri().path().to_owned();
    let whole = |text: String| UnsyncBoxBody::new(Full::new(Bytes::from(text)));
    Ok(match path.as_str() {
        "/v3/download" => Response::new(UnsyncBoxBody::new(Zeros::new(BODY_BYTES))),
        "/v3/upload" => {
            let (mut body, mut bytes) = (request.into_body(), 0);
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame.data_ref().map_or(0, Bytes::len);
            }
            Response::new(whole(bytes.to_string()))
        }
        "/v3/events" => {
            let events = futures_util::stream::unfold((), async |()| {
                tokio::time::sleep(EVENT_PAUSE).await;
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
                let event = Bytes::from(format!("data: {}\n\n", now.as_nanos()));
                Some((Ok(Frame::data(event)), ()))
            });
            let mut response = Response::new(UnsyncBoxBody::new(StreamBody::new(events)));
            let kind = http::HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
            response
        }
        "/v3/user-session" => Response::new(whole(
            r#"{"user":{"authtoken":"blt0123456789abcdef0123456789abcdef"}}"#.to_owned(),
        )),
        _ => Response::new(whole("{}".to_owned())),
    })
}
