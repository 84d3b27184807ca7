//! A small HTTP client that hides nothing and notes every byte it is sent.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use doorward::server::Address;
use http::{HeaderMap, Request, StatusCode, Version, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::harness::within;

/// Where a gateway listens and how it is trusted.
#[derive(Clone, Debug)]
pub struct Door {
    pub address: Address,
    /// The authority of its certificate; plain without.
    pub authority_pem: Option<String>,
}

/// Everything that clients were sent: bytes as they came (below TLS' encryption), and heads and
/// bodies after the content codings.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Mutex<Vec<u8>>>);

impl Record {
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    pub fn note(&self, bytes: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(bytes);
    }
}

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Call {
    door: Door,
    record: Record,
    method: String,
    target: String,
    host: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// The error types of RFC 9209 section 2.3 (IANA, "HTTP Proxy Error Types").
const PROXY_ERRORS: [&str; 32] = [
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "tls_alert_received",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size",
    "http_response_header_size",
    "http_response_body_size",
    "http_response_trailer_section_size",
    "http_response_trailer_size",
    "http_response_transfer_coding",
    "http_response_content_coding",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_configuration_error",
    "proxy_loop_detected",
];

/// An answer, read whole and decoded.
#[derive(Clone, Debug)]
pub struct Answer {
    pub version: Version,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Which protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    /// By ALPN over TLS, by prior knowledge without.
    Http2,
}

impl Call {
    pub fn new(door: Door, record: Record, method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        let (host, headers) = ("localhost".to_owned(), Vec::new());
        Self { door, record, method, target, host, headers, body: Bytes::new() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends over HTTP/1.1 on a connection of its own; an answer must come.
    pub async fn send(self) -> Answer {
        self.send_by(Protocol::Http1).await
    }

    /// Sends in a task of its own.
    pub fn spawn(self) -> tokio::task::JoinHandle<Answer> {
        tokio::spawn(self.send())
    }

    pub async fn send_by(self, protocol: Protocol) -> Answer {
        within(self.try_send_by(protocol)).await.unwrap()
    }

    pub async fn try_send_by(self, protocol: Protocol) -> io::Result<Answer> {
        self.exchange(protocol).await.map(|(answer, _)| answer)
    }

    /// The answer and the trailers that came after it.
    pub async fn send_for_trailers(self, protocol: Protocol) -> (Answer, Option<HeaderMap>) {
        within(self.exchange(protocol)).await.unwrap()
    }

    async fn exchange(self, protocol: Protocol) -> io::Result<(Answer, Option<HeaderMap>)> {
        let stream = self.door.connect(self.record.clone(), protocol).await?;
        let io = TokioIo::new(stream);
        let response = match protocol {
            Protocol::Http1 => {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(io).await.map_err(io::Error::other)?;
                tokio::spawn(connection);
                sender.send_request(self.request(protocol)).await
            }
            Protocol::Http2 => {
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                        .await
                        .map_err(io::Error::other)?;
                tokio::spawn(connection);
                sender.send_request(self.request(protocol)).await
            }
        };
        let (head, body) = response.map_err(io::Error::other)?.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?;
        let trailers = body.trailers().cloned();
        let body = body.to_bytes();
        self.record.note(format!("{:?}", head.headers).as_bytes());
        self.record.note(&decoded(&head.headers, &body));
        let body = decoded(&head.headers, &body);
        let (version, status, headers) = (head.version, head.status, head.headers);
        Ok((Answer { version, status, headers, body }, trailers))
    }

    /// An HTTP/2 connection to where this call goes, for many calls.
    pub async fn http2_connection(&self) -> Http2Connection {
        let stream = self.door.connect(self.record.clone(), Protocol::Http2).await.unwrap();
        let io = TokioIo::new(stream);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Http2Connection { sender }
    }

    fn request(&self, protocol: Protocol) -> Request<Full<Bytes>> {
        let scheme = if self.door.authority_pem.is_some() { "https" } else { "http" };
        let mut request = Request::builder().method(self.method.as_str());
        request = match protocol {
            Protocol::Http1 => request.uri(&self.target).header(header::HOST, &self.host),
            Protocol::Http2 => request.uri(format!("{scheme}://{}{}", self.host, self.target)),
        };
        for (name, value) in &self.headers {
            request = request.header(name, value.as_bytes());
        }
        request.body(Full::new(self.body.clone())).unwrap()
    }
}

/// An HTTP/2 connection with many requests at once.
pub struct Http2Connection {
    sender: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
}

impl Http2Connection {
    /// Sends a call as one of the connection's streams.
    pub fn send(&mut self, call: &Call) -> impl Future<Output = Answer> + Send + 'static {
        let answer = self.sender.send_request(call.request(Protocol::Http2));
        let record = call.record.clone();
        async move {
            let (head, body) = answer.await.unwrap().into_parts();
            let body = decoded(&head.headers, &body.collect().await.unwrap().to_bytes());
            record.note(format!("{:?}", head.headers).as_bytes());
            record.note(&body);
            let (version, status, headers) = (head.version, head.status, head.headers);
            Answer { version, status, headers, body }
        }
    }
}

fn decoded(headers: &HeaderMap, body: &Bytes) -> Bytes {
    doorward::forward::coding::decode(&headers.clone().into(), body, 64 << 20)
        .map_or(body.clone(), Bytes::from)
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// A header's only value; empty when it is not there.
    pub fn one(&self, name: &str) -> &str {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} is there {} times", all.len());
        all.first().copied().unwrap_or_default()
    }

    /// The code of a problem in Doorward's own name; empty for the upstream's answers.
    pub fn problem(&self) -> String {
        if self.one("content-type") != "application/problem+json" {
            return String::new();
        }
        let body = self.json();
        let code = body["code"].as_str().unwrap();
        assert_eq!(body["status"], self.status.as_u16());
        assert_eq!(body["type"], format!("urn:doorward:problem:{code}"));
        assert_eq!(body["instance"], self.one("x-request-id"));
        let error = self.one("proxy-status").strip_prefix("doorward; error=").unwrap();
        let error = error.split(';').next().unwrap();
        assert!(PROXY_ERRORS.contains(&error), "{error}");
        assert_eq!(self.one("cache-control"), "no-store");
        let seconds = self.one("retry-after").parse::<u64>().ok();
        assert_eq!(body["retry_after_seconds"].as_u64(), seconds);
        assert_ne!(seconds, Some(0));
        // RFC 9110 sections 15.5.2 and 15.5.6.
        let challenged = self.one("www-authenticate").starts_with("Bearer realm=\"doorward\"");
        assert_eq!(challenged, self.status == StatusCode::UNAUTHORIZED);
        let allows = !self.one("allow").is_empty();
        assert_eq!(allows, self.status == StatusCode::METHOD_NOT_ALLOWED);
        code.to_owned()
    }
}

/// A connection on which a test writes its own bytes.
pub struct Raw {
    stream: Box<dyn Stream>,
    seen: Vec<u8>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Raw {
    /// A connection ahead of which these bytes are sent, before TLS.
    pub async fn connect_after(before: &[u8], door: &Door, record: &Record) -> io::Result<Raw> {
        let stream = door.connect_after(before, record.clone(), Protocol::Http1).await?;
        Ok(Raw { stream: Box::new(stream), seen: Vec::new() })
    }

    pub async fn connect(door: &Door, record: &Record) -> Raw {
        let stream = door.connect(record.clone(), Protocol::Http1).await.unwrap();
        Raw { stream: Box::new(stream), seen: Vec::new() }
    }

    /// Whether somebody listens.
    pub async fn try_connect(door: &Door) -> io::Result<()> {
        door.connect(Record::default(), Protocol::Http1).await.map(drop)
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.stream.write_all(bytes.as_ref())).await.unwrap();
        // TLS keeps back what the socket did not take at once.
        within(self.stream.flush()).await.unwrap();
    }

    /// Writes to a side that may have closed already.
    pub async fn write_if_open(&mut self, bytes: impl AsRef<[u8]>) {
        _ = within(self.stream.write_all(bytes.as_ref())).await;
        _ = within(self.stream.flush()).await;
    }

    /// Writes for as long as the other side takes it; how much that was.
    pub async fn write_until_closed(&mut self) -> usize {
        let (piece, mut written) = (vec![b'x'; 64 * 1024], 0);
        while self.stream.write_all(&piece).await.is_ok() && self.stream.flush().await.is_ok() {
            written += piece.len();
        }
        written
    }

    /// Reads until `text` is there; returns all that was read so far.
    pub async fn read_to(&mut self, text: &str) -> String {
        let mut buffer = [0; 16 * 1024];
        loop {
            let seen = String::from_utf8_lossy(&self.seen).into_owned();
            if seen.contains(text) {
                return seen;
            }
            let length = within(self.stream.read(&mut buffer)).await.unwrap_or(0);
            assert_ne!(length, 0, "closed before {text:?}: {seen:?}");
            self.seen.extend_from_slice(&buffer[..length]);
        }
    }

    /// Reads what comes next, and keeps it with what was read before.
    pub async fn read_more(&mut self) {
        let mut buffer = [0; 64 * 1024];
        let length = within(self.stream.read(&mut buffer)).await.unwrap();
        assert_ne!(length, 0, "closed");
        self.seen.extend_from_slice(&buffer[..length]);
    }

    /// Reads at least `bytes` more bytes of a body and forgets them.
    pub async fn read_some(&mut self, bytes: usize) {
        let mut buffer = vec![0; 64 * 1024];
        let mut read = 0;
        while read < bytes {
            let length = within(self.stream.read(&mut buffer)).await.unwrap();
            assert_ne!(length, 0, "closed after {read} bytes");
            read += length;
        }
    }

    /// Says that nothing more will be written.
    pub async fn end(&mut self) {
        within(self.stream.shutdown()).await.unwrap();
    }

    /// Reads until the other side closes; returns all that was read.
    pub async fn read_to_end(self) -> String {
        let seen = self.read_bytes_to_end().await;
        String::from_utf8_lossy(&seen).into_owned()
    }
}

impl Raw {
    /// As [`Raw::read_to_end`], for what is no text.
    pub async fn read_bytes_to_end(mut self) -> Vec<u8> {
        // A reset ends a connection as well as a clean close.
        _ = within(self.stream.read_to_end(&mut self.seen)).await;
        self.seen
    }
}

impl Door {
    async fn connect(&self, record: Record, protocol: Protocol) -> io::Result<Tap> {
        self.connect_after(b"", record, protocol).await
    }

    /// A connection ahead of which these bytes are sent, before TLS.
    pub async fn connect_after(
        &self,
        before: &[u8],
        record: Record,
        protocol: Protocol,
    ) -> io::Result<Tap> {
        let mut stream: Box<dyn Stream> = match &self.address {
            Address::Tcp(address) => Box::new(TcpStream::connect(address).await?),
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        };
        stream.write_all(before).await?;
        let Some(pem) = &self.authority_pem else { return Ok(Tap { stream, record }) };
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(trusting(pem, protocol)));
        let stream = connector.connect(name, stream).await?;
        Ok(Tap { stream: Box::new(stream), record })
    }
}

fn trusting(authority_pem: &str, protocol: Protocol) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = match protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    config
}

/// Notes what is read.
pub struct Tap {
    stream: Box<dyn Stream>,
    record: Record,
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.record.note(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
