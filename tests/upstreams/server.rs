//! One of the servers: `tests/upstreams/NAME/server` starts it, restarts it, ends its sessions and ends it.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

/// A running server; dropped, it ends.
pub struct Server {
    name: &'static str,
    folder: TempDir,
    port: u16,
    pub user: String,
    pub password: String,
}

impl Server {
    /// A new instance.
    pub async fn start(name: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self {
            name,
            folder,
            port: two_free_ports(),
            user: String::new(),
            password: String::new(),
        };
        let told = server.run("server", "start").await;
        let value = |key: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_else(|| panic!("{name} says no {key}\n{told}")).to_owned()
        };
        server.user = value("USER=");
        server.password = value("PASS=");
        server
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Whether it still answers as its `flow.md` says, and starts it again, where that is in there.
    pub async fn answers_as_described(&self) {
        self.run("check", "restart").await;
    }

    /// `restart` or `kill`.
    pub async fn act(&self, verb: &str) {
        self.run("server", verb).await;
    }

    async fn run(&self, script: &str, verb: &str) -> String {
        let mut command = tokio::process::Command::from(self.command(script, verb));
        let output = command.kill_on_drop(true).output().await.unwrap();
        assert!(output.status.success(), "{} {script} {verb}:\n{}", self.name, said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self, script: &str, verb: &str) -> Command {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upstreams").join(self.name);
        let mut command = Command::new(scripts.join(script));
        command
            .arg(verb)
            .env("PORT", self.port.to_string())
            .env("RUN", self.folder.path().join("run"))
            .env("OWNER", std::process::id().to_string())
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let output = self.command("server", "stop").output().unwrap();
        // A test that has failed already tells why.
        assert!(std::thread::panicking() || output.status.success(), "{}", said(&output));
    }
}

fn said(output: &Output) -> String {
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    said.concat()
}

/// The first of two ports to be written down before anybody listens there: below those that the system gives to
/// whoever takes any, so that no other test gets them meanwhile.
fn two_free_ports() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 5_000).unwrap() * 2;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let port = first + TAKEN.fetch_add(2, Ordering::Relaxed);
        assert!(port < 32_000, "no port is free");
        if is_free(port) && is_free(port + 1) {
            return port;
        }
    }
}
