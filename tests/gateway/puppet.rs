//! An upstream that sends exactly the bytes that a test gives it, right or wrong.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use doorward::emulator::Vendor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::harness::{Scene, Setup, within};

/// A listener on loopback that answers each request as its script says.
pub struct Puppet {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    heard: Arc<Mutex<Vec<u8>>>,
    early: Arc<Mutex<Vec<Reply>>>,
    expecting: Arc<Mutex<Expecting>>,
    arrived: watch::Receiver<usize>,
    begun: watch::Receiver<usize>,
    /// How many connections ended before their request's body was whole.
    pub broken_off: watch::Receiver<usize>,
    handed_over: Mutex<mpsc::UnboundedReceiver<TcpStream>>,
    accepting: JoinHandle<()>,
}

/// What becomes of requests that ask first whether their body is wanted.
#[derive(Default)]
struct Expecting {
    /// Sent as soon as the head is there, one for each.
    replies: VecDeque<Reply>,
    /// The heads so far.
    heads: Vec<String>,
}

/// What a puppet sends.
#[derive(Clone, Debug)]
pub struct Reply {
    bytes: Vec<u8>,
    then: Then,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    Close,
    Keep,
    HandOver,
    Stall,
}

impl Reply {
    /// These bytes, then the connection is closed.
    pub fn close(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), then: Then::Close }
    }

    /// These bytes, then the next request.
    pub fn keep(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), then: Then::Keep }
    }

    /// These bytes, then the connection is the test's.
    pub fn hand_over(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), then: Then::HandOver }
    }

    /// These bytes, then nothing more is read or sent, and the connection stays.
    pub fn stall(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), then: Then::Stall }
    }

    /// The body is wanted.
    pub fn go_on() -> Self {
        Self::keep("HTTP/1.1 100 Continue\r\n\r\n")
    }

    /// A whole answer with JSON.
    pub fn json(body: &str) -> Self {
        Self::keep(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }
}

/// What a puppet gives a Contentstack login, so that the calls after it can be answered wrongly.
pub const TOKEN: &str = "blt0123456789abcdef0123456789abcdef01234567";

/// The answer to a Contentstack login or logout; nothing for other requests.
pub fn session_calls(request: &str) -> Option<Reply> {
    if request.starts_with("POST /v3/user-session") {
        return Some(Reply::json(&format!(r#"{{"user":{{"authtoken":"{TOKEN}"}}}}"#)));
    }
    request.starts_with("DELETE /v3/user-session").then(|| Reply::json("{}"))
}

type Script = dyn Fn(&str) -> Reply + Send + Sync;

struct Stage {
    script: Box<Script>,
    seen: Arc<Mutex<Vec<String>>>,
    heard: Arc<Mutex<Vec<u8>>>,
    early: Arc<Mutex<Vec<Reply>>>,
    expecting: Arc<Mutex<Expecting>>,
    arrived: watch::Sender<usize>,
    begun: watch::Sender<usize>,
    broken_off: watch::Sender<usize>,
    handing_over: mpsc::UnboundedSender<TcpStream>,
}

impl Puppet {
    /// Listens; `script` is asked with each whole request, its head and its body.
    pub async fn start(script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Puppet {
        Self::behind(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    /// The same, behind a listener of the test's own.
    pub fn behind(
        listener: TcpListener,
        script: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Puppet {
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let early = Arc::<Mutex<Vec<Reply>>>::default();
        let expecting = Arc::<Mutex<Expecting>>::default();
        let (handing_over, handed_over) = mpsc::unbounded_channel();
        let stage = Arc::new(Stage {
            script: Box::new(script),
            seen: Arc::clone(&seen),
            heard: Arc::clone(&heard),
            early: Arc::clone(&early),
            expecting: Arc::clone(&expecting),
            arrived: watch::Sender::new(0),
            begun: watch::Sender::new(0),
            broken_off: watch::Sender::new(0),
            handing_over,
        });
        let (arrived, begun) = (stage.arrived.subscribe(), stage.begun.subscribe());
        let broken_off = stage.broken_off.subscribe();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(Arc::clone(&stage).converse(stream));
            }
        });
        let handed_over = Mutex::new(handed_over);
        Puppet {
            address,
            seen,
            heard,
            early,
            expecting,
            arrived,
            begun,
            broken_off,
            handed_over,
            accepting,
        }
    }

    /// Answers logins and logouts as Contentstack does, everything else as `script` says.
    pub async fn logged_in(script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Puppet {
        Self::start(move |request| session_calls(request).unwrap_or_else(|| script(request))).await
    }

    /// A gateway in front of this upstream.
    pub async fn scene(&self, vendor: Vendor) -> Scene {
        self.setup(vendor).start().await
    }

    pub fn setup(&self, vendor: Vendor) -> Setup {
        let mut setup = Setup::of(vendor);
        setup.origin = Some(self.origin());
        setup
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every whole request so far.
    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Every byte so far, of whole requests and of others.
    pub fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }

    /// The requests that are neither login nor logout.
    pub fn calls(&self) -> Vec<String> {
        let mut requests = self.requests();
        requests.retain(|request| session_calls(request).is_none());
        requests
    }

    /// The requests that are neither login nor logout; they are forgotten.
    pub fn take_calls(&self) -> Vec<String> {
        let calls = self.calls();
        self.seen.lock().unwrap().retain(|request| session_calls(request).is_some());
        calls
    }

    /// The next request whose body is not whole yet gets this answer at once.
    pub fn answer_early(&self, reply: Reply) {
        self.early.lock().unwrap().push(reply);
    }

    /// The next request that asks whether its body is wanted gets this as soon as its head is
    /// there; one for which there is nothing is left without an answer until its body is whole.
    pub fn answer_expecting(&self, reply: Reply) {
        self.expecting.lock().unwrap().replies.push_back(reply);
    }

    /// The heads of all requests that asked whether their body is wanted.
    pub fn expecting(&self) -> Vec<String> {
        self.expecting.lock().unwrap().heads.clone()
    }

    /// How many requests there were of which a part of the body has come before the rest.
    pub fn bodies_begun(&self) -> usize {
        *self.begun.borrow()
    }

    /// Waits for so many requests of which a part of the body has come.
    pub async fn body_begun(&self, requests: usize) {
        let mut begun = self.begun.clone();
        within(begun.wait_for(|now| *now >= requests)).await.unwrap();
    }

    /// The next connection that the script hands over.
    pub async fn handed_over(&self) -> TcpStream {
        let next =
            std::future::poll_fn(|context| self.handed_over.lock().unwrap().poll_recv(context));
        within(next).await.unwrap()
    }

    /// Waits for so many whole requests.
    pub async fn arrived(&self, requests: usize) {
        let mut arrived = self.arrived.clone();
        within(arrived.wait_for(|now| *now >= requests)).await.unwrap();
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Stage {
    async fn converse(self: Arc<Self>, mut stream: TcpStream) {
        let mut waiting = Vec::new();
        loop {
            let Some(request) = self.next(&mut stream, &mut waiting).await else {
                if !waiting.is_empty() {
                    self.broken_off.send_modify(|count| *count += 1);
                }
                return;
            };
            let reply = (self.script)(&request);
            self.seen.lock().unwrap().push(request);
            self.arrived.send_modify(|count| *count += 1);
            if stream.write_all(&reply.bytes).await.is_err() {
                return;
            }
            match reply.then {
                Then::Keep => {}
                Then::Close => {
                    _ = stream.shutdown().await;
                    return;
                }
                Then::HandOver => {
                    assert!(waiting.is_empty(), "it is not for the test to lose {waiting:?}");
                    // The test may be over.
                    _ = self.handing_over.send(stream);
                    return;
                }
                Then::Stall => std::future::pending().await,
            }
        }
    }

    /// The next whole request; nothing when the connection ends before it.
    async fn next(&self, stream: &mut TcpStream, waiting: &mut Vec<u8>) -> Option<String> {
        let mut buffer = [0; 16 * 1024];
        let mut begun = false;
        let mut asked = false;
        loop {
            if let Some(end) = end_of(waiting) {
                let rest = waiting.split_off(end);
                let request = std::mem::replace(waiting, rest);
                return Some(String::from_utf8_lossy(&request).into_owned());
            }
            if !asked && let Some(head) = asking_head(waiting) {
                asked = true;
                let reply = {
                    let mut expecting = self.expecting.lock().unwrap();
                    expecting.heads.push(head);
                    expecting.replies.pop_front()
                };
                if let Some(reply) = reply {
                    stream.write_all(&reply.bytes).await.ok()?;
                    if matches!(reply.then, Then::Close) {
                        _ = stream.shutdown().await;
                    }
                }
            }
            if !begun && has_begun(waiting) {
                begun = true;
                self.begun.send_modify(|count| *count += 1);
                let early = self.early.lock().unwrap().pop();
                if let Some(reply) = early {
                    stream.write_all(&reply.bytes).await.ok()?;
                    match reply.then {
                        // What is still coming in is not read.
                        Then::Close => return None,
                        Then::Stall => std::future::pending().await,
                        Then::Keep | Then::HandOver => {}
                    }
                }
            }
            let length = stream.read(&mut buffer).await.ok().filter(|length| *length > 0)?;
            waiting.extend_from_slice(&buffer[..length]);
            self.heard.lock().unwrap().extend_from_slice(&buffer[..length]);
        }
    }
}

/// How far back the end of a chunked body is looked for: further than one read reaches.
const TAIL_BYTES: usize = 32 * 1024;

/// Where the first request in `bytes` ends, if it is whole.
fn end_of(bytes: &[u8]) -> Option<usize> {
    let head = find(bytes, b"\r\n\r\n")? + 4;
    let lower = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    if lower.contains("transfer-encoding: chunked") {
        let tail = head.max(bytes.len().saturating_sub(TAIL_BYTES));
        return find(&bytes[tail..], b"0\r\n\r\n").map(|end| tail + end + 5);
    }
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    let end = head + length.map_or(0, |length| length.trim().parse::<usize>().unwrap());
    (bytes.len() >= end).then_some(end)
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|part| part == text)
}

/// The head, when it asks whether the body is wanted.
fn asking_head(bytes: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(&bytes[..find(bytes, b"\r\n\r\n")?]).into_owned();
    head.contains("expect: 100-continue").then_some(head)
}

/// Whether a head and something of a body is there.
fn has_begun(bytes: &[u8]) -> bool {
    find(bytes, b"\r\n\r\n").is_some_and(|end| bytes.len() > end + 4)
}
