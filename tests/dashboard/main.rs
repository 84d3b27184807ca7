//! The page of the admin API, walked through in a real browser as an operator does (`walk.mjs`). Pictures of it lie in
//! `target/dashboard` afterwards.
//!
//! `tests/dashboard/install` must have run; without Chromium and Playwright the test here fails.

// A test ends where something is not as it must be, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../clients/running.rs"]
mod running;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use doorward::emulator::{Emulator, Options, Vendor, contentstack};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;
use tokio::time::timeout;

use running::{Running, binary};

/// How long the whole walk may take; each of its steps has a bound of its own.
const WALK_TIME_MAX: Duration = Duration::from_secs(180);

const TOKEN: &str = "a token of the test, long enough to be one";

#[tokio::test]
async fn an_operator_walks_through_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Emulator::start(Vendor::Contentstack, Options::default()).await.unwrap();
    let config = folder.path().join("doorward.toml");
    std::fs::write(&config, configuration(&emulator, folder.path())).unwrap();
    let gateway = Running::start(binary(&config)).await;
    let clients = gateway.address();

    // A session, one that was found dead, and a request that was sent again.
    assert_eq!(get(clients, "/v3/content_types").await, 200);
    assert_eq!(emulator.control().expire_sessions(), 1);
    assert_eq!(get(clients, "/v3/content_types").await, 200);

    let pictures = pictures();
    let walk = Command::new("node")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dashboard/walk.mjs"))
        .arg(link(&folder.path().join("admin.sock")).await)
        .arg(format!("http://{clients}"))
        .arg(contentstack::API_KEY)
        .arg(&config)
        .arg(&pictures)
        .kill_on_drop(true)
        .output();
    let walk = timeout(WALK_TIME_MAX, walk).await.expect("the walk ends").expect("node is there");
    let told = String::from_utf8_lossy(&walk.stdout).into_owned();
    let complained = String::from_utf8_lossy(&walk.stderr);
    assert!(walk.status.success(), "{told}{complained}\npictures are in {}", pictures.display());

    let output = gateway.stop().await;
    for secret in emulator.control().issued() {
        assert!(!told.contains(&secret) && !output.contains(&secret), "a session value is shown");
    }
    emulator.stop().await;
}

fn configuration(emulator: &Emulator, folder: &Path) -> String {
    let user = emulator.vendor().seeded_user();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let password = write("password", &user.password);
    let token = write("token", TOKEN);
    let socket = folder.join("admin.sock");
    format!(
        r#"[listeners.main]
address = "127.0.0.1:0"
access = "open"

[admin]
socket = {socket:?}
address = "127.0.0.1:0"
token = {{ file = {token:?} }}

[upstreams.cms]
url = {origin:?}
recipe = "contentstack"

[upstreams.cms.accounts.editor]
username = {login:?}
password = {{ file = {password:?} }}

[[routes]]
upstream = "cms"
"#,
        origin = emulator.origin(),
        login = user.login,
    )
}

/// Where pictures of the page go.
fn pictures() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("dashboard");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A link that opens the page once.
async fn link(socket: &Path) -> String {
    let message = "POST /admin/v1/links HTTP/1.1\r\nhost: localhost\r\n\
        content-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let (status, answer) = exchange(UnixStream::connect(socket).await.unwrap(), message).await;
    assert_eq!(status, 200, "{answer}");
    let link = &answer[answer.find("http://").expect("a link")..];
    link.split('"').next().unwrap().to_owned()
}

async fn get(clients: SocketAddr, path: &str) -> u16 {
    let message = format!(
        "GET {path} HTTP/1.1\r\nhost: {clients}\r\napi_key: {}\r\nconnection: close\r\n\r\n",
        contentstack::API_KEY
    );
    exchange(TcpStream::connect(clients).await.unwrap(), &message).await.0
}

/// The status and the whole of an answer.
async fn exchange(
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
    message: &str,
) -> (u16, String) {
    connection.write_all(message.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer[9..12].parse().unwrap(), answer)
}
