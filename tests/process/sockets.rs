//! Sockets that a service manager hands over.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use doorward::emulator::{Emulator, Options, Vendor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::site::{Doorward, Site, ask, prepared};

/// Hands its standard input over as a service manager does.
fn hands_over(name: &str) -> String {
    format!(
        "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name} exec \"$0\" \"$@\""
    )
}

fn with_address(site: &Site, address: &str) {
    let text = fs::read_to_string(site.path().join("doorward.toml")).unwrap();
    let text = text.replace("127.0.0.1:0", address).replace("cores = 1", "cores = 2");
    site.write("doorward.toml", &text);
}

fn stdio(socket: impl Into<OwnedFd>) -> Stdio {
    Stdio::from(socket.into())
}

/// Fails when the sockets of cores are not the one that was handed over, when a core does not serve
/// it, or when what comes between two runs is refused.
#[tokio::test]
async fn a_socket_that_is_handed_over_is_served_by_all_cores_and_outlives_them() {
    let emulator = Emulator::start(Vendor::MFiles, Options::default()).await.unwrap();
    for address in ["fd:main", "127.0.0.1:0"] {
        let site = Site::new(&emulator);
        with_address(&site, address);
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let bound = socket.local_addr().unwrap();
        let start = async |run| {
            let socket = stdio(socket.try_clone().unwrap());
            Doorward::start_prepared(&site, run, &hands_over("main"), socket).await
        };
        let mut doorward = start(0).await;
        assert_eq!(doorward.address, bound);
        let calls: Vec<_> = (0..64).map(|_| tokio::spawn(ask(bound, Vendor::MFiles))).collect();
        for call in calls {
            let answer = call.await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        doorward.stop().await;

        // Nobody serves it, and nobody is refused.
        let waiting = tokio::spawn(ask(bound, Vendor::MFiles));
        let _connected = TcpStream::connect(bound).await.unwrap();
        let mut doorward = start(1).await;
        assert!(waiting.await.unwrap().starts_with("HTTP/1.1 200"), "{}", doorward.log());
        doorward.stop().await;
    }
}

/// Fails when the file of a Unix socket that is somebody else's is removed.
#[tokio::test]
async fn the_file_of_a_unix_socket_that_was_handed_over_is_left() {
    let emulator = Emulator::start(Vendor::MFiles, Options::default()).await.unwrap();
    let site = Site::new(&emulator);
    let path = site.path().join("door.sock");
    let socket = UnixListener::bind(&path).unwrap();
    // The process finds its port in the other listener's line.
    let text = fs::read_to_string(site.path().join("doorward.toml")).unwrap();
    let text = format!("[listeners.door]\naddress = \"unix:door.sock\"\naccess = \"open\"\n{text}");
    site.write("doorward.toml", &text);
    let mut doorward = Doorward::start_prepared(&site, 0, &hands_over("door"), stdio(socket)).await;
    let mut client = UnixStream::connect(&path).await.unwrap();
    let head = "GET /REST/views/items HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    doorward.stop().await;
    assert!(path.exists());
}

/// Fails when a socket is missing, is not where the configuration says, is nobody's, or is no
/// listening socket, and Doorward starts all the same.
#[tokio::test]
async fn what_does_not_fit_is_told_and_nothing_is_started() {
    let emulator = Emulator::start(Vendor::MFiles, Options::default()).await.unwrap();
    let listening = || stdio(TcpListener::bind("127.0.0.1:0").unwrap());
    let connected = || {
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        stdio(std::net::TcpStream::connect(peer.local_addr().unwrap()).unwrap())
    };
    let elsewhere: SocketAddr = "127.0.0.2:0".parse().unwrap();
    let elsewhere = elsewhere.to_string();
    for (address, name, socket, told) in [
        ("fd:main", "other", listening(), "waits for a socket with the name `main`"),
        ("127.0.0.1:0", "other", listening(), "no listener takes the socket"),
        (&elsewhere, "main", listening(), "was handed over under its name listens at 127.0.0.1:"),
        ("fd:main", "main", connected(), "`main` that was handed over is no listening"),
        ("fd:main", "main", Stdio::null(), "`main` that was handed over is no listening"),
        ("fd:main", "main:more", listening(), "LISTEN_FDS hands over 1 descriptors"),
    ] {
        let site = Site::new(&emulator);
        with_address(&site, address);
        let mut shell = prepared(&hands_over(name));
        let config = site.path().join("doorward.toml");
        shell.args(["run", "-c"]).arg(config).stdin(socket).kill_on_drop(true);
        let output = shell.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{name}: {said}");
        assert!(said.contains(told), "{name}: {said}");
    }
}
