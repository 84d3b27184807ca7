//! Doorward as its users run it: the binary, a signal to stop.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long starting or stopping may take; a stop waits for its logout calls.
const STEP_TIME_MAX: Duration = Duration::from_secs(60);

/// A running Doorward.
pub struct Running {
    child: Child,
    address: SocketAddr,
    output: JoinHandle<String>,
}

/// The binary with this configuration, no variable of the environment, and its own folder for sockets
/// beside that.
pub fn binary(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command.arg("run").arg("-c").arg(config).env_clear();
    if let Some(folder) = config.parent() {
        command.env("XDG_RUNTIME_DIR", folder);
    }
    command
}

impl Running {
    /// Starts it and waits until it has said where it listens.
    pub async fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut errors = child.stderr.take().unwrap();
        let errors = tokio::spawn(async move {
            let mut text = Vec::new();
            _ = errors.read_to_end(&mut text).await;
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = String::new();
        let address = loop {
            match timeout(STEP_TIME_MAX, lines.next_line()).await {
                Err(_) => panic!("doorward does not say where it listens:\n{said}"),
                Ok(Ok(Some(line))) => {
                    said.push_str(&line);
                    said.push('\n');
                    if let Some(address) = bound_address(&line) {
                        break address;
                    }
                }
                Ok(_) => panic!("doorward ended at its start:\n{said}{}", errors.await.unwrap()),
            }
        };
        let output = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                said.push_str(&line);
                said.push('\n');
            }
            said + &errors.await.unwrap()
        });
        Self { child, address, output }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks it to stop, as a service manager does; its output, after an exit with code 0.
    pub async fn stop(mut self) -> String {
        let id = self.child.id().expect("doorward runs until it is stopped");
        let asked = Command::new("kill").arg("-TERM").arg(id.to_string()).status().await.unwrap();
        assert!(asked.success());
        let status = timeout(STEP_TIME_MAX, self.child.wait()).await.expect("doorward stops");
        let output = self.output.await.unwrap();
        let status = status.unwrap();
        assert!(status.success(), "doorward ended with {status}:\n{output}");
        output
    }
}

/// The address in a line such as `listening on http://127.0.0.1:40213`.
fn bound_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening")?.1.split_once("://")?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
    rest[..end.unwrap_or(rest.len())].parse().ok()
}
