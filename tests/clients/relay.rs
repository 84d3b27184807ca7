//! A wire tap between an SDK and the server it talks to: it passes bytes on unchanged, in both
//! directions, and keeps what it saw.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// More than any run of an SDK here sends over one connection. Reaching it fails the test: a tap
/// that forgets would prove nothing.
const RECORDED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A listener on loopback that relays every connection to one server.
pub struct Relay {
    address: SocketAddr,
    conversations: Arc<Mutex<Vec<Arc<Conversation>>>>,
    accepting: tokio::task::JoinHandle<()>,
}

/// What went over one connection.
#[derive(Default)]
pub struct Conversation {
    sent: Mutex<Vec<u8>>,
    received: Mutex<Vec<u8>>,
}

impl Conversation {
    /// The bytes from the SDK.
    pub fn sent(&self) -> Vec<u8> {
        self.sent.lock().unwrap().clone()
    }

    /// The bytes to the SDK.
    pub fn received(&self) -> Vec<u8> {
        self.received.lock().unwrap().clone()
    }
}

impl Relay {
    /// Listens on any free port and relays to `server`.
    pub async fn start(server: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let conversations = Arc::default();
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&conversations)));
        Relay { address, conversations, accepting }
    }

    /// Where the SDK connects to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything seen so far, in the order of the connections.
    pub fn conversations(&self) -> Vec<Arc<Conversation>> {
        self.conversations.lock().unwrap().clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    conversations: Arc<Mutex<Vec<Arc<Conversation>>>>,
) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let conversation = Arc::new(Conversation::default());
        conversations.lock().unwrap().push(Arc::clone(&conversation));
        connections.spawn(relay(client, server, conversation));
    }
}

async fn relay(client: TcpStream, server: SocketAddr, conversation: Arc<Conversation>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        pass(from_client, to_server, &conversation.sent),
        pass(from_server, to_client, &conversation.received),
    );
}

/// Passes bytes on until either side closes. They are kept before they are passed on, so that
/// whatever an SDK has acted upon is in the record.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, record: &Mutex<Vec<u8>>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length) = from.read(&mut buffer).await {
        if length == 0 {
            break;
        }
        {
            let mut record = record.lock().unwrap();
            assert!(record.len() + length <= RECORDED_BYTES_MAX, "the tap is full");
            record.extend_from_slice(&buffer[..length]);
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    // A half-closed connection stays one on the other side.
    _ = to.shutdown().await;
}
