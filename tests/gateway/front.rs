//! What stands between Doorward and an upstream: a server that ends TLS and notes what it is shown, a
//! proxy that makes tunnels, and the authorities that issue their certificates.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::harness::write;

/// An authority that issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    pub pin: String,
}

/// A chain and its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    pub chain: String,
    pub key: String,
    pub pin: String,
}

/// The years in which a certificate is good.
pub const NOW: (i32, i32) = (2020, 2099);
pub const PAST: (i32, i32) = (2020, 2021);

fn pin(key: &KeyPair) -> String {
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key.subject_public_key_info());
    format!("sha256/{}", BASE64.encode(digest.as_ref()))
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let (params, key) = (authority_params(name), KeyPair::generate().unwrap());
        let (pem, pin) = (params.self_signed(&key).unwrap().pem(), pin(&key));
        Self { issuer: Issuer::new(params, key), pem, pin }
    }

    /// An authority below this one.
    pub fn below(&self, name: &str) -> Self {
        let (params, key) = (authority_params(name), KeyPair::generate().unwrap());
        let (pem, pin) = (params.signed_by(&key, &self.issuer).unwrap().pem(), pin(&key));
        Self { issuer: Issuer::new(params, key), pem, pin }
    }

    pub fn issue(&self, names: &[&str], (from, until): (i32, i32)) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { chain, key: key.serialize_pem(), pin: pin(&key) }
    }
}

impl Pair {
    /// The same, with another certificate sent along.
    pub fn along(mut self, pem: &str) -> Self {
        self.chain.push_str(pem);
        self
    }

    /// The keys `certificate` and `key`, after files of these names have been written.
    pub fn keys(&self, folder: &Path, name: &str) -> String {
        let chain = write(folder, &format!("{name}.crt"), &self.chain);
        let key = write(folder, &format!("{name}.key"), &self.key);
        format!("certificate = {chain:?}, key = {key:?}")
    }
}

/// How a server speaks TLS.
pub fn tls(
    pair: &Pair,
    clients: Option<&Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = match clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
            let roots = Arc::new(roots);
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .unwrap()
        }
    };
    let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// What a server was shown in a handshake that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub sni: Option<String>,
    pub alpn: Option<String>,
    pub has_certificate: bool,
}

/// What has come of all connections.
#[derive(Default)]
struct Notes {
    shown: Vec<Shown>,
    /// What came inside TLS.
    bytes: Vec<u8>,
    connections: usize,
    refused: usize,
}

/// Where a front listens.
enum At {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A server in front of a backend that speaks plain HTTP.
pub struct Front {
    pub port: u16,
    notes: Arc<Mutex<Notes>>,
    accepting: JoinHandle<()>,
}

impl Front {
    pub async fn tls(config: ServerConfig, backend: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self::serve(At::Tcp(listener), port, Some(config), backend)
    }

    pub fn unix(path: &Path, config: Option<ServerConfig>, backend: SocketAddr) -> Self {
        Self::serve(At::Unix(UnixListener::bind(path).unwrap()), 0, config, backend)
    }

    fn serve(at: At, port: u16, config: Option<ServerConfig>, backend: SocketAddr) -> Self {
        let notes = Arc::<Mutex<Notes>>::default();
        let (noted, acceptor) =
            (Arc::clone(&notes), config.map(|config| TlsAcceptor::from(Arc::new(config))));
        let accepting = tokio::spawn(async move {
            loop {
                let (noted, acceptor) = (Arc::clone(&noted), acceptor.clone());
                let stream: Box<dyn Io> = match &at {
                    At::Tcp(listener) => Box::new(listener.accept().await.unwrap().0),
                    At::Unix(listener) => Box::new(listener.accept().await.unwrap().0),
                };
                noted.lock().unwrap().connections += 1;
                tokio::spawn(converse(stream, acceptor, backend, noted));
            }
        });
        Self { port, notes, accepting }
    }

    pub fn origin(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// What was shown in each handshake that succeeded.
    pub fn shown(&self) -> Vec<Shown> {
        self.notes.lock().unwrap().shown.clone()
    }

    /// The names that were told, each once.
    pub fn names(&self) -> Vec<Option<String>> {
        let mut names: Vec<_> = self.shown().into_iter().map(|shown| shown.sni).collect();
        names.dedup();
        names
    }

    /// What came inside TLS.
    pub fn bytes(&self) -> Vec<u8> {
        self.notes.lock().unwrap().bytes.clone()
    }

    pub fn connections(&self) -> usize {
        self.notes.lock().unwrap().connections
    }

    /// How many handshakes failed.
    pub fn refused(&self) -> usize {
        self.notes.lock().unwrap().refused
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn converse(
    stream: Box<dyn Io>,
    acceptor: Option<TlsAcceptor>,
    backend: SocketAddr,
    noted: Arc<Mutex<Notes>>,
) {
    let Some(acceptor) = acceptor else { return relay(stream, backend, noted).await };
    match acceptor.accept(stream).await {
        Ok(stream) => {
            let session = stream.get_ref().1;
            let alpn =
                session.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap());
            noted.lock().unwrap().shown.push(Shown {
                sni: session.server_name().map(str::to_owned),
                alpn,
                has_certificate: session.peer_certificates().is_some(),
            });
            relay(stream, backend, noted).await;
        }
        Err(_) => noted.lock().unwrap().refused += 1,
    }
}

async fn relay(stream: impl Io + 'static, backend: SocketAddr, noted: Arc<Mutex<Notes>>) {
    let mut client = Tapped { io: Box::new(stream), notes: noted };
    let Ok(mut upstream) = TcpStream::connect(backend).await else { return };
    _ = copy_bidirectional(&mut client, &mut upstream).await;
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Notes what is read.
struct Tapped {
    io: Box<dyn Io>,
    notes: Arc<Mutex<Notes>>,
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        self.notes.lock().unwrap().bytes.extend_from_slice(&buffer.filled()[before..]);
        read
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// A proxy that makes tunnels, over TLS or in the clear.
pub struct Proxy {
    pub port: u16,
    state: Arc<Mutex<ProxyState>>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct ProxyState {
    heads: Vec<String>,
    /// What went through tunnels, towards the upstream.
    through: Vec<u8>,
    /// Said instead of making a tunnel; then the connection is closed.
    answers: VecDeque<String>,
}

impl Proxy {
    pub async fn start(config: Option<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<Mutex<ProxyState>>::default();
        let (shared, acceptor) =
            (Arc::clone(&state), config.map(|config| TlsAcceptor::from(Arc::new(config))));
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (state, acceptor) = (Arc::clone(&shared), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => make_tunnel(stream, state).await,
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            make_tunnel(stream, state).await;
                        }
                    }
                });
            }
        });
        Self { port, state, accepting }
    }

    /// The next one that asks for a tunnel is told this instead.
    pub fn answer(&self, answer: &str) {
        self.state.lock().unwrap().answers.push_back(answer.to_owned());
    }

    /// The heads of all requests.
    pub fn heads(&self) -> Vec<String> {
        self.state.lock().unwrap().heads.clone()
    }

    pub fn through(&self) -> Vec<u8> {
        self.state.lock().unwrap().through.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn make_tunnel(mut stream: impl Io, state: Arc<Mutex<ProxyState>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let answer = {
        let mut state = state.lock().unwrap();
        state.heads.push(head);
        state.answers.pop_front()
    };
    if let Some(answer) = answer {
        _ = stream.write_all(answer.as_bytes()).await;
        _ = stream.shutdown().await;
        return;
    }
    let mut upstream = TcpStream::connect(target).await.unwrap();
    let told = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 Connection established\r\n\r\n";
    stream.write_all(told.as_bytes()).await.unwrap();
    let mut buffers = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        tokio::select! {
            read = stream.read(&mut buffers.0) => {
                let length = read.unwrap_or(0);
                let bytes = &buffers.0[..length];
                state.lock().unwrap().through.extend_from_slice(bytes);
                if length == 0 || upstream.write_all(bytes).await.is_err() { return }
            }
            read = upstream.read(&mut buffers.1) => {
                let length = read.unwrap_or(0);
                if length == 0 || stream.write_all(&buffers.1[..length]).await.is_err() { return }
            }
        }
    }
}

/// A file with these authorities.
pub fn ca_file(folder: &Path, authority: &Authority) -> PathBuf {
    write(folder, "ca.pem", &authority.pem)
}

pub fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}
