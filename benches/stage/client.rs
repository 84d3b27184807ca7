//! The calls of the benches and the connections that make them.

use std::net::SocketAddr;

use bytes::Bytes;
use doorward::access::key::ClientKey;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::Listeners;
use super::upstream::BODY_BYTES;

/// Bytes of the body that [`Case::Post`] sends.
pub const POST_BYTES: usize = 16 * 1024;

static POSTED: [u8; POST_BYTES] = [b'w'; POST_BYTES];

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// GET 1 KiB, HTTP/1.1.
    Get,
    /// The same with a client key.
    GetWithKey,
    /// POST 16 KiB, HTTP/1.1.
    Post,
    /// GET 1 KiB, HTTP/2.
    GetHttp2,
}

impl Case {
    /// All cases.
    pub const ALL: [Self; 4] = [Self::Get, Self::GetWithKey, Self::Post, Self::GetHttp2];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetWithKey => "get_with_key",
            Self::Post => "post_16_kib",
            Self::GetHttp2 => "get_http2",
        }
    }

    /// Where its clients connect to.
    pub fn listener(self, listeners: Listeners) -> SocketAddr {
        match self {
            Self::GetWithKey => listeners.keys,
            Self::Get | Self::Post | Self::GetHttp2 => listeners.open,
        }
    }

    /// The request, with the six fields that a client library commonly sends.
    pub fn request(self, to: SocketAddr, key: &ClientKey) -> Request<Full<Bytes>> {
        let body = match self {
            Self::Post => Bytes::from_static(&POSTED),
            Self::Get | Self::GetWithKey | Self::GetHttp2 => Bytes::new(),
        };
        let target = match self {
            Self::GetHttp2 => format!("http://{to}/v3/items/42?locale=en-us"),
            Self::Get | Self::GetWithKey | Self::Post => "/v3/items/42?locale=en-us".to_owned(),
        };
        let mut request = Request::new(Full::from(body));
        *request.uri_mut() = target.parse().unwrap();
        if self == Self::Post {
            *request.method_mut() = Method::POST;
        }
        let headers = request.headers_mut();
        if self != Self::GetHttp2 {
            headers.insert(header::HOST, to.to_string().parse().unwrap());
        }
        for (name, value) in [
            (header::USER_AGENT, "bench/1.0"),
            (header::ACCEPT, "application/json"),
            (header::ACCEPT_ENCODING, "gzip, deflate"),
            (header::ACCEPT_LANGUAGE, "en-us"),
            (header::CONTENT_TYPE, "application/json"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self == Self::GetWithKey {
            headers
                .insert(header::AUTHORIZATION, format!("Bearer {}", key.expose()).parse().unwrap());
        }
        request
    }
}

/// A connection that is kept.
#[derive(Debug)]
pub enum Client {
    /// HTTP/1.1.
    Http1(http1::SendRequest<Full<Bytes>>),
    /// HTTP/2 by prior knowledge.
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    /// Connects in the way of `case`.
    pub async fn connect(case: Case, to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let io = TokioIo::new(stream);
        if case == Case::GetHttp2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            Self::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            Self::Http1(sender)
        }
    }

    /// Makes one call and reads its whole answer; any but the expected one ends the bench.
    pub async fn call(&mut self, request: Request<Full<Bytes>>) {
        let answer: Response<Incoming> = match self {
            Self::Http1(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
            Self::Http2(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
        };
        assert_eq!(answer.status(), StatusCode::OK);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), BODY_BYTES);
    }
}
