//! An upstream that breaks in a way that the test chooses, at one request, and is good again at the
//! next. It knows which connection each request came by.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use doorward::emulator::Certificate;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::harness::within;
use crate::puppet::session_calls;

/// What goes wrong at a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// These bytes, then the end of the connection.
    Close(Vec<u8>),
    /// These bytes, then a reset.
    Reset(Vec<u8>),
    /// These bytes, and the connection stays.
    Stay(Vec<u8>),
    /// These bytes, each by itself; the connection stays.
    ByteByByte(Vec<u8>),
    /// These bytes as soon as the head is there; then the rest of the request is read.
    BeforeItsEnd(Vec<u8>),
    /// A good answer, and later these bytes.
    Later(Vec<u8>),
    /// A good answer, and the end of the connection when the next request arrives on it.
    AtTheNext,
    /// Nothing is read, and nothing is said.
    Deaf,
}

/// An answer that is good.
pub const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                        content-length: 4\r\n\r\ngood";

/// A request that is neither login nor logout.
#[derive(Clone, Debug)]
pub struct Seen {
    pub connection: usize,
}

/// A listener on loopback, plain or with TLS.
pub struct Faulty {
    address: SocketAddr,
    stage: Arc<Stage>,
    accepted: watch::Receiver<usize>,
    authority_pem: Option<String>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Stage {
    next: Mutex<Option<Fault>>,
    seen: Mutex<Vec<Seen>>,
    logins: Mutex<[usize; 2]>,
    /// Tells a fault that goes on later to go on.
    later: watch::Sender<usize>,
    closed: watch::Sender<usize>,
    /// Requests that have come to one who is deaf.
    knocks: watch::Sender<usize>,
}

type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

impl Faulty {
    pub async fn start(certificate: Option<Certificate>) -> Faulty {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stage = Arc::<Stage>::default();
        let acceptor = certificate.as_ref().map(acceptor);
        let accepted = watch::Sender::new(0);
        let subscribed = accepted.subscribe();
        let on_stage = Arc::clone(&stage);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let number = *accepted.borrow();
                let (stage, acceptor) = (Arc::clone(&on_stage), acceptor.clone());
                connections.spawn(async move {
                    let stream = match acceptor {
                        None => Either::Left(stream),
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => Either::Right(Box::new(stream)),
                            Err(_) => return,
                        },
                    };
                    stage.converse(stream, number).await;
                    stage.closed.send_modify(|count| *count += 1);
                });
                accepted.send_modify(|count| *count += 1);
            }
        });
        let authority_pem = certificate.map(|one| one.authority_pem().to_owned());
        Faulty { address, stage, accepted: subscribed, authority_pem, accepting }
    }

    pub fn origin(&self) -> String {
        let scheme = if self.authority_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    pub fn authority_pem(&self) -> Option<&str> {
        self.authority_pem.as_deref()
    }

    /// Breaks so at the next request.
    pub fn breaks(&self, fault: Fault) {
        *self.stage.next.lock().unwrap() = Some(fault);
    }

    /// The requests since the last look.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.stage.seen.lock().unwrap())
    }

    /// How many logins and logouts there were.
    pub fn logins_and_logouts(&self) -> [usize; 2] {
        *self.stage.logins.lock().unwrap()
    }

    /// Waits for a request that nobody reads.
    pub async fn knocked(&self) {
        let mut knocks = self.stage.knocks.subscribe();
        within(knocks.wait_for(|knocks| *knocks > 0)).await.unwrap();
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        *self.accepted.borrow()
    }

    /// What comes later comes now; waits until it has.
    pub async fn goes_on(&self) {
        let mut closed = self.stage.closed.subscribe();
        let before = *closed.borrow();
        self.stage.later.send_modify(|count| *count += 1);
        within(closed.wait_for(|now| *now > before)).await.unwrap();
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn acceptor(certificate: &Certificate) -> TlsAcceptor {
    let chain = CertificateDer::from_pem_slice(certificate.certificate_pem().as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Sends, and minds no one who has gone.
async fn say(stream: &mut Stream, bytes: &[u8]) {
    if stream.write_all(bytes).await.is_ok() {
        _ = stream.flush().await;
    }
}

impl Stage {
    async fn converse(&self, mut stream: Stream, connection: usize) {
        let mut come = Vec::new();
        let mut closes_at_the_next = false;
        loop {
            let is_deaf = matches!(*self.next.lock().unwrap(), Some(Fault::Deaf));
            if is_deaf && come.is_empty() {
                *self.next.lock().unwrap() = None;
                let tcp = match &stream {
                    Either::Left(stream) => stream,
                    Either::Right(stream) => stream.get_ref().0,
                };
                // Looked at, and left where it is.
                _ = tcp.peek(&mut [0]).await;
                self.knocks.send_modify(|count| *count += 1);
                // Until the other side gives up: nothing that it has sent is taken.
                std::future::pending::<()>().await;
            }
            let Some(head) = read_to(&mut stream, &mut come, head_end).await else { return };
            let text = String::from_utf8_lossy(&come[..head]).into_owned();
            let session_call = session_calls(&text);
            if session_call.is_none() {
                self.seen.lock().unwrap().push(Seen { connection });
                if closes_at_the_next {
                    return;
                }
            }
            let early =
                self.next.lock().unwrap().take_if(|fault| {
                    session_call.is_none() && matches!(fault, Fault::BeforeItsEnd(_))
                });
            if let Some(Fault::BeforeItsEnd(bytes)) = &early {
                say(&mut stream, bytes).await;
            }
            let Some(end) = read_to(&mut stream, &mut come, request_end).await else { return };
            come.drain(..end);
            if early.is_some() {
                continue;
            }
            if session_call.is_some() {
                let is_login = text.starts_with("POST");
                self.logins.lock().unwrap()[usize::from(!is_login)] += 1;
                say(&mut stream, login_answer(is_login).as_bytes()).await;
                continue;
            }
            let fault = self.next.lock().unwrap().take();
            match fault {
                None => say(&mut stream, GOOD.as_bytes()).await,
                Some(Fault::Stay(bytes)) => {
                    say(&mut stream, &bytes).await;
                }
                Some(Fault::ByteByByte(bytes)) => {
                    for byte in bytes {
                        say(&mut stream, &[byte]).await;
                        tokio::task::yield_now().await;
                    }
                }
                Some(Fault::Close(bytes)) => {
                    say(&mut stream, &bytes).await;
                    // Without a word of TLS, as where a process dies.
                    return;
                }
                Some(Fault::Reset(bytes)) => {
                    say(&mut stream, &bytes).await;
                    let tcp = match &stream {
                        Either::Left(stream) => stream,
                        Either::Right(stream) => stream.get_ref().0,
                    };
                    SockRef::from(tcp).set_linger(Some(std::time::Duration::ZERO)).unwrap();
                    return;
                }
                Some(Fault::Later(bytes)) => {
                    let mut later = self.later.subscribe();
                    let before = *later.borrow();
                    say(&mut stream, GOOD.as_bytes()).await;
                    _ = later.wait_for(|now| *now > before).await;
                    say(&mut stream, &bytes).await;
                    return;
                }
                Some(Fault::AtTheNext) => {
                    say(&mut stream, GOOD.as_bytes()).await;
                    closes_at_the_next = true;
                }
                Some(other) => unreachable!("{other:?} is for another moment"),
            }
        }
    }
}

fn login_answer(is_login: bool) -> String {
    let token = crate::puppet::TOKEN;
    let body = match is_login {
        true => format!(r#"{{"user":{{"authtoken":"{token}"}}}}"#),
        false => "{}".to_owned(),
    };
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads until `end` is there, and tells where; nothing when the connection ends before.
async fn read_to(
    stream: &mut Stream,
    come: &mut Vec<u8>,
    end: fn(&[u8]) -> Option<usize>,
) -> Option<usize> {
    loop {
        if let Some(end) = end(come) {
            return Some(end);
        }
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await.ok().filter(|length| *length > 0)?;
        come.extend_from_slice(&buffer[..length]);
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|part| part == b"\r\n\r\n").map(|at| at + 4)
}

/// Where the first request ends; its chunks have no extensions and no trailers.
fn request_end(bytes: &[u8]) -> Option<usize> {
    let head = head_end(bytes)?;
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    if text.contains("transfer-encoding: chunked") {
        let end = bytes[head..].windows(5).position(|part| part == b"0\r\n\r\n")?;
        return Some(head + end + 5);
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let end = head + length.map_or(0, |length| length.parse::<usize>().unwrap());
    (bytes.len() >= end).then_some(end)
}
