//! 1500 clients at a time that are too slow: with their heads, with their bodies, or in taking their
//! answers. All of them must be cut off by their deadline, and nobody else may notice.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::stage::{self, Stage};

pub const HEADS: &str = "slow-heads";
pub const BODIES: &str = "slow-bodies";
pub const READERS: &str = "slow-readers";

const SLOW: usize = 1500;

/// What Doorward allows here, in place of 10, 30 and 60 seconds.
const BOUND: Duration = Duration::from_secs(4);

/// A slow client does something so often.
const DRIP: Duration = Duration::from_millis(500);

/// Bounds are looked at seldom, and 1500 clients take their time to begin.
const LATE_MAX: Duration = Duration::from_secs(6);

/// It stops by itself, whatever hangs.
const ALL_MAX: Duration = Duration::from_secs(60);

/// Segments as they are outside of loopback, so that the system buffers as much as it does there.
const SEGMENT_BYTES: u32 = 1460;

const RECEIVE_BUFFER_BYTES: u32 = 4096;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Head,
    Body,
    Reader,
}

pub fn run(name: &str) -> Result<(), String> {
    let kind = match name {
        HEADS => Kind::Head,
        BODIES => Kind::Body,
        _ => Kind::Reader,
    };
    stage::descriptors(SLOW as u64 + 100)?;
    let seconds = BOUND.as_secs();
    let stage = Stage::start(&format!(
        "[timeouts]\nhead = \"{seconds}s\"\nbody = \"{seconds}s\"\nwrite = \"{seconds}s\"\n"
    ));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = stage.client();
    let before = stage.memory();
    let ended = runtime.block_on(async { timeout(ALL_MAX, attack(stage.address, kind)).await });
    let peak = stage.memory();
    let mut failed = Vec::new();
    match ended {
        Ok(mut lasted) => {
            lasted.sort_unstable();
            let (cut, last) = (lasted.len(), lasted.last().copied().unwrap_or_default());
            println!(
                "{name}: {cut} of {SLOW} cut off, the first after {:?}, the last after {last:?}",
                lasted.first().copied().unwrap_or_default()
            );
            if cut < SLOW {
                failed.push(format!("{} were not cut off in the right way", SLOW - cut));
            }
            if last > BOUND + LATE_MAX {
                failed.push(format!("one was cut off after {last:?}"));
            }
        }
        Err(_) => failed.push(format!("not all were cut off within {ALL_MAX:?}")),
    }
    client.stop().judge(&mut failed);
    println!("memory of Doorward: {before:?} before, {peak:?} when all were cut off");
    if failed.is_empty() { Ok(()) } else { Err(failed.join(", ")) }
}

/// How long each of those lasted that were cut off as they should be.
async fn attack(to: SocketAddr, kind: Kind) -> Vec<Duration> {
    let mut clients = JoinSet::new();
    for number in 0..SLOW {
        clients.spawn(slow(to, kind));
        if number % 50 == 49 {
            sleep(Duration::from_millis(20)).await;
        }
    }
    clients.join_all().await.into_iter().flatten().collect()
}

async fn slow(to: SocketAddr, kind: Kind) -> Option<Duration> {
    let socket = TcpSocket::new_v4().unwrap();
    if kind == Kind::Reader {
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).unwrap();
        SockRef::from(&socket).set_tcp_mss(SEGMENT_BYTES).unwrap();
    }
    let mut stream = socket.connect(to).await.ok()?;
    let begun = Instant::now();
    let head = match kind {
        Kind::Head => "GET /short HTTP/1.1\r\nhost: localhost\r\nx: ",
        Kind::Body => "POST /short HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n",
        Kind::Reader => "GET /long HTTP/1.1\r\nhost: localhost\r\n\r\n",
    };
    stream.write_all(head.as_bytes()).await.ok()?;
    let was_right = match kind {
        Kind::Head => drip(&mut stream).await.is_empty(),
        Kind::Body => drip(&mut stream).await.starts_with("HTTP/1.1 408 "),
        Kind::Reader => sip(&mut stream).await,
    };
    was_right.then(|| begun.elapsed())
}

/// Sends a byte now and then, until the connection is closed; what was answered.
async fn drip(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    loop {
        match timeout(DRIP, stream.read_buf(&mut said)).await {
            Ok(Ok(0) | Err(_)) => return String::from_utf8_lossy(&said).into_owned(),
            Ok(Ok(_)) => {}
            // A failed write shows in the next read.
            Err(_) => _ = stream.write_all(b"x").await,
        }
    }
}

/// Takes a byte now and then, until the connection is reset.
async fn sip(stream: &mut TcpStream) -> bool {
    loop {
        sleep(DRIP).await;
        // What has come before can still be read after a reset.
        if matches!(stream.take_error(), Ok(Some(_))) {
            return true;
        }
        match stream.read(&mut [0; 1]).await {
            Ok(0) => return false,
            Ok(_) => {}
            Err(_) => return true,
        }
    }
}
