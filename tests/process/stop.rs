//! The stop of the binary under load: what is under way ends, and every session is logged out.

use std::net::SocketAddr;
use std::time::Duration;

use doorward::emulator::{Emulator, Options, Vendor, mfiles};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::site::{Site, ask};

/// More than the buffers on the way hold for a client that takes nothing.
const DOWNLOAD_BYTES: usize = 16 << 20;

const UPLOAD_BYTES: usize = 2 << 20;

/// As many of each.
const CLIENTS: usize = 4;

/// Longer than anything here takes.
const STEP_TIME_MAX: Duration = Duration::from_secs(60);

/// Fails when the stop cuts what is under way, refuses nobody, leaves a session open, or is told as a
/// failure.
#[tokio::test]
async fn uploads_and_downloads_under_way_end_and_then_every_session_is_logged_out() {
    let emulator = Emulator::start(Vendor::MFiles, Options::default()).await.unwrap();
    emulator.control().switch("download_bytes", DOWNLOAD_BYTES.into()).unwrap();
    let site = Site::new(&emulator);
    let mut doorward = site.start(0).await;
    assert!(ask(doorward.address, Vendor::MFiles).await.starts_with("HTTP/1.1 200"));

    let mut downloads = Vec::new();
    let mut uploads = Vec::new();
    for _ in 0..CLIENTS {
        downloads.push(Download::begin(doorward.address).await);
        uploads.push(Upload::begin(doorward.address).await);
    }
    doorward.signal().await;
    doorward.says("stopping").await;
    refused(doorward.address).await;
    assert_eq!(emulator.control().counters().live_sessions, 1, "it is logged out too early");

    for upload in uploads {
        let answer = upload.end().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(&format!("\"Size\":{UPLOAD_BYTES}")), "{answer}");
    }
    assert_eq!(emulator.control().counters().live_sessions, 1, "it is logged out too early");
    for download in downloads {
        download.end().await;
    }
    assert_eq!(doorward.says("logged out").await, "logged out 1 of 1 sessions");
    let status = doorward.ended().await;
    assert_eq!(status.code(), Some(0), "{}", doorward.log());
    assert_eq!(emulator.control().counters().live_sessions, 0);
}

/// Fails when requests are refused before whoever spreads them has heard of the stop, or when the
/// delay cannot be cut short.
#[tokio::test]
async fn requests_are_taken_during_the_shutdown_delay_until_a_second_signal() {
    let emulator = Emulator::start(Vendor::MFiles, Options::default()).await.unwrap();
    let site = Site::new(&emulator);
    let text = std::fs::read_to_string(site.path().join("doorward.toml")).unwrap();
    for (run, delay) in [(0, "1s"), (1, "1h")] {
        site.write(
            "doorward.toml",
            &text.replace("[timeouts]\n", &format!("[timeouts]\nshutdown_delay = {delay:?}\n")),
        );
        let mut doorward = site.start(run).await;
        doorward.signal().await;
        doorward.says("stopping").await;
        assert!(ask(doorward.address, Vendor::MFiles).await.starts_with("HTTP/1.1 200"));
        if run == 0 {
            refused(doorward.address).await;
            doorward.says("logged out 1 of 1").await;
        } else {
            doorward.signal().await;
        }
        assert!(doorward.ended().await.success());
    }
}

async fn refused(address: SocketAddr) {
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(STEP_TIME_MAX, refused).await.expect("connections are still accepted");
}

/// A client that has taken nothing but the head of its answer.
struct Download(TcpStream);

impl Download {
    async fn begin(address: SocketAddr) -> Self {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "GET /REST/objects/0/1/latest/files/1/content HTTP/1.1\r\nhost: localhost\r\n\
             x-vault: {}\r\n\r\n",
            mfiles::VAULT
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(connection.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(&format!("content-length: {DOWNLOAD_BYTES}")), "{answer}");
        Self(connection)
    }

    async fn end(mut self) {
        let mut body = vec![0; DOWNLOAD_BYTES];
        timeout(STEP_TIME_MAX, self.0.read_exact(&mut body)).await.unwrap().unwrap();
        assert!(body.iter().enumerate().all(|(at, byte)| *byte as usize == at % 251));
    }
}

/// A client that has sent half of its body.
struct Upload(TcpStream);

impl Upload {
    async fn begin(address: SocketAddr) -> Self {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /REST/files HTTP/1.1\r\nhost: localhost\r\nx-vault: {}\r\n\
             content-length: {UPLOAD_BYTES}\r\n\r\n",
            mfiles::VAULT
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(&vec![b'x'; UPLOAD_BYTES / 2]).await.unwrap();
        Self(connection)
    }

    async fn end(mut self) -> String {
        self.0.write_all(&vec![b'x'; UPLOAD_BYTES - UPLOAD_BYTES / 2]).await.unwrap();
        let mut answer = String::new();
        timeout(STEP_TIME_MAX, self.0.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }
}
