//! A tap between Doorward and a server: a Unix socket that passes bytes on unchanged, and keeps every request that it saw.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

/// No head of a request here has more fields.
const FIELDS_MAX: usize = 100;

/// A request as the server was sent it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method and target.
    pub to: String,
    /// Header fields, their names in lower case.
    pub fields: Vec<(String, String)>,
    pub body: String,
}

impl Seen {
    pub fn field(&self, name: &str) -> Option<&str> {
        let is = |(field, _): &&(String, String)| field == name;
        self.fields.iter().find(is).map(|(_, value)| value.as_str())
    }

    /// Those fields that carry the session.
    pub fn only(&self, names: &[&str]) -> Vec<(String, String)> {
        let is = |(field, _): &&(String, String)| names.contains(&field.as_str());
        self.fields.iter().filter(is).cloned().collect()
    }
}

/// A Unix socket that leads to one server.
pub struct Tap {
    socket: PathBuf,
    seen: Arc<Mutex<Vec<Seen>>>,
    accepting: JoinHandle<()>,
}

impl Tap {
    pub fn start(socket: PathBuf, server: SocketAddr) -> Self {
        let listener = UnixListener::bind(&socket).unwrap();
        let seen = Arc::default();
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&seen)));
        Self { socket, seen, accepting }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// All requests so far, each from before the server got it.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: UnixListener, server: SocketAddr, seen: Arc<Mutex<Vec<Seen>>>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        connections.spawn(pass(client, server, Arc::clone(&seen)));
    }
}

async fn pass(client: UnixStream, server: SocketAddr, seen: Arc<Mutex<Vec<Seen>>>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = async {
        _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        _ = to_client.shutdown().await;
    };
    let requests = async {
        let (mut kept, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
        while let Ok(length) = from_client.read(&mut buffer).await {
            if length == 0 {
                break;
            }
            kept.extend_from_slice(&buffer[..length]);
            while let Some((request, bytes)) = first_request(&kept) {
                seen.lock().unwrap().push(request);
                kept.drain(..bytes);
            }
            if to_server.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
        _ = to_server.shutdown().await;
    };
    tokio::join!(answers, requests);
}

/// The first whole request, and how many bytes it has.
fn first_request(bytes: &[u8]) -> Option<(Seen, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let head_bytes = match head.parse(bytes).expect("a request") {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return None,
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let fields = head.headers.iter();
    let fields = fields.map(|field| (field.name.to_lowercase(), text(field.value))).collect();
    let to = format!("{} {}", head.method.unwrap(), head.path.unwrap());
    let mut seen = Seen { to, fields, body: String::new() };
    assert!(seen.field("transfer-encoding").is_none(), "the tap reads no such body: {}", seen.to);
    let body_bytes = seen.field("content-length").map_or(0, |length| length.parse().unwrap());
    let body = bytes.get(head_bytes..head_bytes + body_bytes)?;
    seen.body = text(body);
    Some((seen, head_bytes + body_bytes))
}
