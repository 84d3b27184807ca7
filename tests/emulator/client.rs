//! A small HTTP client: one request on one fresh connection, nothing hidden.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use doorward::emulator::Emulator;
use http::header::HOST;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Call {
    address: SocketAddr,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub fn call(emulator: &Emulator, method: &str, target: &str) -> Call {
    Call {
        address: emulator.address(),
        method: method.to_owned(),
        target: target.to_owned(),
        headers: Vec::new(),
        body: Bytes::new(),
    }
}

impl Call {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends over HTTP/1.1; the answer must come.
    pub async fn send(self) -> Answer {
        self.try_send().await.unwrap()
    }

    pub async fn try_send(self) -> io::Result<Answer> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(other)?;
        let driver = tokio::spawn(connection);
        let response = sender.send_request(self.request("")).await.map_err(other)?;
        let answer = whole(response).await;
        drop(sender);
        _ = driver.await;
        answer
    }

    /// Sends over HTTP/2 with prior knowledge.
    pub async fn send_h2(self) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.over_h2(TokioIo::new(stream), "http").await
    }

    /// Sends over TLS and the protocol that the server chose, which is returned too.
    pub async fn send_tls(self, authority_pem: &str, alpn: &[&str]) -> (Answer, String) {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority_pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();

        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let chosen = stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec();
        let chosen = String::from_utf8(chosen).unwrap();
        if chosen == "h2" {
            return (self.over_h2(TokioIo::new(stream), "https").await, chosen);
        }
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(self.request("")).await.unwrap();
        (whole(response).await.unwrap(), chosen)
    }

    async fn over_h2<I>(self, io: I, scheme: &str) -> Answer
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let origin = format!("{scheme}://{}", self.address);
        let response = sender.send_request(self.request(&origin)).await.unwrap();
        whole(response).await.unwrap()
    }

    fn request(&self, origin: &str) -> Request<Full<Bytes>> {
        let target = format!("{origin}{}", self.target);
        let mut request = Request::builder().method(self.method.as_str()).uri(target);
        if origin.is_empty() {
            request = request.header(HOST, self.address.to_string());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value.as_bytes());
        }
        request.body(Full::new(self.body.clone())).unwrap()
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<String> {
        let values = self.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    }
}

async fn whole(response: http::Response<hyper::body::Incoming>) -> io::Result<Answer> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(other)?.to_bytes();
    Ok(Answer { status: head.status, headers: head.headers, body })
}

fn other(error: hyper::Error) -> io::Error {
    io::Error::other(error)
}
