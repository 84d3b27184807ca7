//! The configuration of a Doorward in front of one emulator.

use std::path::{Path, PathBuf};

use doorward::access::key::ClientKey;
use doorward::emulator::{Certificate, Emulator, Vendor, mfiles};

use crate::running::{Running, binary};

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

/// Starts the binary in front of this emulator and waits until it has said where it listens.
pub async fn start(emulator: &Emulator, files: &Files<'_>) -> Running {
    let config = files.folder.join("doorward.toml");
    std::fs::write(&config, configuration(emulator, files)).unwrap();
    Running::start(binary(&config)).await
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
