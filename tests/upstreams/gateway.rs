//! Doorward in front of one of the servers, with its built-in recipe and a tap between them.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::running::{Running, binary};
use crate::server::Server;
use crate::subjects::Subject;
use crate::tap::{Seen, Tap};

/// A running Doorward.
pub struct Gateway {
    folder: TempDir,
    running: Running,
    pub tap: Tap,
}

impl Gateway {
    /// Starts one that logs in with this password.
    pub async fn start(subject: &Subject, server: &Server, password: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tap = Tap::start(folder.path().join("tap.sock"), server.address());
        write(&folder.path().join("password"), password);
        let config = folder.path().join("doorward.toml");
        write(&config, &configuration(subject, server, folder.path(), &tap));
        let running = Running::start(binary(&config)).await;
        Self { folder, running, tap }
    }

    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// What operators see of its only account.
    pub async fn account(&self) -> Value {
        let mut socket = UnixStream::connect(self.folder.path().join("admin.sock")).await.unwrap();
        let request =
            "GET /admin/v1/sessions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let body = &answer[answer.find('{').expect("a JSON answer")..=answer.rfind('}').unwrap()];
        let told: Value = serde_json::from_str(body).unwrap();
        let rows = told.as_object().unwrap().values().find_map(Value::as_array).unwrap();
        assert_eq!(rows.len(), 1, "{told}");
        rows[0].clone()
    }

    /// Asks it to stop: its log, and all that the server was sent.
    pub async fn stop(self) -> (String, Vec<Seen>) {
        let log = self.running.stop().await;
        (log, self.tap.seen())
    }
}

/// The upstream is reached by the tap's socket, and is told its own authority: some servers look at it.
fn configuration(subject: &Subject, server: &Server, folder: &Path, tap: &Tap) -> String {
    format!(
        r#"[listeners.main]
address = "127.0.0.1:0"
access = "open"

[admin]
socket = {admin:?}

[log]
level = "debug"
format = "json"

[timeouts]
login_distance = "0s"

[upstreams.real]
url = "http://{address}"
unix_socket = {socket:?}
recipe = "{recipe}"

[upstreams.real.accounts.user]
password = {{ file = {password:?}, verbatim = true }}
{login_name}

[[routes]]
upstream = "real"
"#,
        admin = folder.join("admin.sock"),
        address = server.address(),
        socket = tap.socket(),
        recipe = subject.name,
        password = folder.join("password"),
        login_name = subject.login_name.replace("USER", &server.user),
    )
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
