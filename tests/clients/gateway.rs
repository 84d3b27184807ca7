//! Doorward as its users run it: the binary, a configuration file, a signal to stop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use doorward::access::key::ClientKey;
use doorward::emulator::{Certificate, Emulator, Vendor, mfiles};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long starting or stopping may take; a stop waits for its logout calls.
const STEP_TIME_MAX: Duration = Duration::from_secs(60);

/// A running Doorward in front of one emulator.
pub struct Gateway {
    child: Child,
    address: SocketAddr,
    output: JoinHandle<String>,
}

/// The files of one Doorward, in a folder of its own.
pub struct Files<'a> {
    pub folder: &'a Path,
    /// For its listener; http without.
    pub certificate: Option<&'a Certificate>,
    /// The authority that signed the upstream's certificate.
    pub upstream_authority: Option<&'a Path>,
    /// The key of the only client; without it everybody may call.
    pub key: Option<&'a ClientKey>,
    pub search_bodies: &'static str,
}

impl Gateway {
    /// Starts the binary and waits until it has said where it listens.
    pub async fn start(emulator: &Emulator, files: &Files<'_>) -> Gateway {
        let config = files.folder.join("doorward.toml");
        std::fs::write(&config, configuration(emulator, files)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_doorward"))
            .arg("run")
            .arg("-c")
            .arg(&config)
            .env_clear()
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
        Gateway { child, address, output }
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

/// The whole configuration: one listener on loopback, one upstream with the vendor's recipe, one
/// account whose password is in a file.
fn configuration(emulator: &Emulator, files: &Files<'_>) -> String {
    let vendor = emulator.vendor();
    let user = vendor.seeded_user();
    let password_file = write(files.folder, "password", &user.password);
    let listener_tls = files.certificate.map_or_else(String::new, |certificate| {
        let chain = write(files.folder, "listener.crt", certificate.certificate_pem());
        let key = write(files.folder, "listener.key", &certificate.key_pem());
        format!("tls = {{ certificate = {chain:?}, key = {key:?} }}\n")
    });
    let upstream_tls = files
        .upstream_authority
        .map_or_else(String::new, |authority| format!("tls = {{ ca_file = {authority:?} }}\n"));
    // A client that names no vault works in the one that the operator named.
    let parameters = match vendor {
        Vendor::MFiles => format!("vault = {:?}", mfiles::VAULT),
        Vendor::Contentstack | Vendor::ThoughtSpot => String::new(),
    };
    let access = match files.key {
        None => "access = \"open\"".to_owned(),
        Some(_) => "access = \"clients\"".to_owned(),
    };
    let clients = files.key.map_or_else(String::new, |key| {
        format!("[clients.{}]\nkeys = [\"{}\"]\ngrants = [{{}}]\n", key.id(), key.digest())
    });
    format!(
        r#"[listeners.main]
address = "127.0.0.1:0"
{access}
{listener_tls}
[log]
level = "debug"
format = "json"

[upstreams.vendor]
url = {origin:?}
recipe = "{vendor}"
parameters = {{ {parameters} }}
search_bodies = "{search_bodies}"
{upstream_tls}
[upstreams.vendor.accounts.user]
username = {login:?}
password = {{ file = {password_file:?} }}

[[routes]]
path = "/"
upstream = "vendor"

[[routes]]
host = "gateway.doorward.test"
upstream = "vendor"

{clients}"#,
        origin = emulator.origin(),
        search_bodies = files.search_bodies,
        login = user.login,
    )
}

fn write(folder: &Path, name: &str, content: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;

    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}
