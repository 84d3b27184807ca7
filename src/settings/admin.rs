//! Where operators reach a running Doorward, and where those who watch over it do.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::addresses::{Address, is_loopback};
use super::meaning::{Meaning, under};
use super::{Field, Listener, Loaded, Sources, Upstream, Way, layers, written};
use crate::diagnosis::Faults;
use crate::secret::{SecretText, Source};

/// The admin API.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Whether there is one.
    pub enabled: bool,
    /// Its Unix socket; the place that is usual on this machine where nothing is said.
    pub socket: Option<PathBuf>,
    /// Where it is reached besides.
    pub tcp: Option<AdminTcp>,
    /// Of how many requests the story is kept.
    pub requests_kept: usize,
}

/// The admin API over TCP.
#[derive(Clone, Debug)]
pub struct AdminTcp {
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// Where the token is kept that callers must show.
    pub token: Source,
    /// The names that it is called by, besides `localhost` and IP addresses.
    pub hosts: Vec<String>,
}

/// The listener for those who watch over Doorward.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether an account that cannot log in makes the whole gateway not ready.
    pub ready_requires_login: bool,
}

/// The admin API: `doorward status` and the other commands that ask a running gateway, and what they
/// ask.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Admin")]
pub(super) struct Written {
    /// Whether there is an admin API.
    pub(super) enabled: bool,
    /// The Unix socket that it listens at, with mode 0600: only the user that Doorward runs as, and
    /// the superuser. Without it, `doorward/admin.sock` in the folder that `XDG_RUNTIME_DIR` names,
    /// else `/run/doorward/admin.sock`, where that folder is there or can be made; where neither is
    /// possible there is no admin API, and the log says so.
    #[schemars(extend("examples" = ["/run/doorward/admin.sock"]))]
    pub(super) socket: Option<String>,
    /// An IP address with a port, for those who cannot use the socket. It is no listener for
    /// clients. Nothing is encrypted: anywhere but on loopback it needs something in front that is.
    #[schemars(extend("examples" = ["127.0.0.1:8081"]))]
    pub(super) address: Option<String>,
    /// What callers at `address` must show (`Authorization: Bearer ...`): at least 32 bytes of random
    /// text, kept like any secret. It is read at start only.
    #[schemars(extend("examples" = [{"file": "secrets/admin_token"}]))]
    pub(super) token: Option<written::Field>,
    /// The host names by which `address` is called. `localhost` and IP addresses are always taken;
    /// any other name is refused, so that no web page can lead a browser here by a name of its own.
    #[schemars(extend("examples" = [["doorward.internal"]]))]
    pub(super) hosts: Vec<String>,
    /// Of how many requests the story is kept in memory: who, what, by which session, how long; no
    /// query, no field and no body. Each core has room for so many, at 256 bytes each, which it takes
    /// as they come. 0 keeps none; then requests are told only while somebody watches.
    #[schemars(range(max = 100_000))]
    pub(super) requests_kept: usize,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            enabled: true,
            socket: None,
            address: None,
            token: None,
            hosts: Vec::new(),
            requests_kept: REQUESTS_KEPT,
        }
    }
}

/// At 256 bytes each: a quarter of a mebibyte on each core, and a quiet day of one client.
const REQUESTS_KEPT: usize = 1000;

/// A listener for those who watch over Doorward: `/livez`, `/readyz` and `/metrics`, and nothing
/// else. It asks nobody who it is, shows no secret and changes nothing. Without this table there is
/// none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Health")]
pub(super) struct WrittenHealth {
    /// An IP address with a port.
    #[schemars(required, extend("examples" = ["127.0.0.1:8082", "0.0.0.0:8082"]))]
    pub(super) address: Option<String>,
    /// Whether an account that may not log in (in quarantine, or held back after a failure) makes
    /// `/readyz` answer 503. Without it such accounts are only listed there: clients of other
    /// accounts are served, and no restart mends a refused login.
    #[serde(default)]
    pub(super) ready_requires_login: bool,
}

/// The shortest token, in bytes.
const TOKEN_BYTES_MIN: usize = 32;

const ADDRESS: &str = "/admin/address";
const SOCKET: &str = "/admin/socket";
const TOKEN: &str = "/admin/token";
const HOSTS: &str = "/admin/hosts";
const HEALTH_ADDRESS: &str = "/health/address";

impl Meaning<'_> {
    pub(super) fn admin(&mut self, written: Written) -> Admin {
        let Written { enabled, socket, address, token, hosts, requests_kept } = written;
        let socket = socket.map(|text| self.path(SOCKET, &text));
        let address = address.and_then(|text| self.tcp_address(ADDRESS, &text));
        for (index, host) in hosts.iter().enumerate() {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
            if host.is_empty() || !host.bytes().all(is_name) {
                let message = "this is no host name: it has no scheme and no port";
                self.fault(&under(HOSTS, &index.to_string()), message);
            }
        }
        if address.is_none() && !hosts.is_empty() && !self.layers.broken(ADDRESS) {
            self.fault(HOSTS, "without `address` nobody calls it by a name");
        }
        let token = token.and_then(|field| self.admin_token(field));
        let tcp = match (address, token) {
            (Some(address), Some(token)) => {
                let hosts = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
                Some(AdminTcp { address, token, hosts })
            }
            (Some(_), None) => {
                if !self.layers.broken(TOKEN) && self.layers.merged().pointer(TOKEN).is_none() {
                    let fault = self.layers.fault(ADDRESS, "the admin API over TCP needs `token`");
                    self.faults
                        .push(fault.help("write `token = { file = \"secrets/admin_token\" }`"));
                }
                None
            }
            (None, Some(_)) => {
                if !self.layers.broken(ADDRESS) && self.layers.merged().pointer(ADDRESS).is_none() {
                    self.fault(TOKEN, "without `address` no token is asked for");
                }
                None
            }
            (None, None) => None,
        };
        if let Some(tcp) = tcp.as_ref().filter(|tcp| !is_loopback(tcp.address.ip())) {
            self.warnings.push(format!(
                "the admin API listens at {}, which others reach, and its token travels in the clear: \
                 put something in front that encrypts",
                tcp.address
            ));
        }
        Admin { enabled, socket, tcp, requests_kept }
    }

    fn admin_token(&mut self, written: written::Field) -> Option<Source> {
        match self.field(TOKEN, written) {
            Field::Secret(source) => Some(source),
            Field::Text(_) => {
                let message = "the token is a secret and must not stand in the configuration";
                let fault = self.layers.secret_fault(TOKEN, message);
                self.faults.push(fault.help("write `token = { file = \"secrets/admin_token\" }`"));
                None
            }
        }
    }

    pub(super) fn health(&mut self, written: WrittenHealth) -> Option<Health> {
        let WrittenHealth { address, ready_requires_login } = written;
        let address = self.tcp_address(HEALTH_ADDRESS, &address?)?;
        Some(Health { address, ready_requires_login })
    }

    fn tcp_address(&mut self, pointer: &str, text: &str) -> Option<SocketAddr> {
        let (message, help) = match Address::parse(text) {
            Ok(Address::Tcp(address)) => return Some(address),
            Ok(Address::Unix(_) | Address::Inherited(_)) => {
                ("this is an IP address with a port".to_owned(), None)
            }
            Err(wrong) => wrong,
        };
        let fault = self.layers.fault(pointer, message);
        self.faults.push(help.into_iter().fold(fault, |fault, help| fault.help(help)));
        None
    }

    /// Judges that nobody else listens where operators come in, and that no client is led there.
    pub(super) fn keep_apart(
        &mut self,
        admin: &Admin,
        health: Option<&Health>,
        listeners: &[Listener],
        upstreams: &[Upstream],
    ) {
        let tcp = admin.tcp.as_ref().map(|tcp| (ADDRESS, Address::Tcp(tcp.address)));
        let socket = admin.socket.clone().map(|path| (SOCKET, Address::Unix(path)));
        let health = health.map(|health| (HEALTH_ADDRESS, Address::Tcp(health.address)));
        let ours: Vec<_> = tcp.into_iter().chain(socket).chain(health).collect();
        for (number, (pointer, address)) in ours.iter().enumerate() {
            if let Some(listener) = listeners.iter().find(|one| one.address.clashes(address)) {
                let message = format!("listener `{}` has this address already", listener.name);
                self.fault(pointer, message);
            }
            let before = ours.iter().take(number);
            if let Some((other, _)) = before.into_iter().find(|(_, one)| one.clashes(address)) {
                let other = other.trim_start_matches('/').replace('/', ".");
                self.fault(pointer, format!("`{other}` is this address already"));
            }
            for upstream in upstreams.iter().filter(|upstream| leads_to(upstream, address)) {
                let at = under("/upstreams", &upstream.name);
                let message = "this upstream is Doorward's own admin API";
                let fault = self.layers.key_fault(&at, message);
                let why =
                    "clients would act as its operators: nothing that forwards may lead there";
                self.faults.push(fault.help(why));
            }
        }
    }
}

/// Whether an upstream is at this address, as far as its configuration tells.
fn leads_to(upstream: &Upstream, address: &Address) -> bool {
    match (address, &upstream.way) {
        (Address::Unix(path), Way::Unix(socket)) => path == socket,
        (Address::Unix(_) | Address::Inherited(_), _) | (_, Way::Unix(_)) => false,
        (Address::Tcp(address), _) => {
            let listed = upstream.reach.addresses.iter().copied();
            let host = match upstream.origin.host.parse() {
                Ok(host) => Some(host),
                // Names of this machine (RFC 6761, section 6.3).
                Err(_) if upstream.origin.is_loopback() => Some([127, 0, 0, 1].into()),
                Err(_) => None,
            };
            let own = host.map(|host| SocketAddr::new(host, upstream.origin.port));
            let own = own.filter(|_| upstream.reach.addresses.is_empty());
            listed.chain(own).any(|one| is_same(one, *address))
        }
    }
}

fn is_same(one: SocketAddr, listened: SocketAddr) -> bool {
    let (from, to) = (one.ip().to_canonical(), listened.ip().to_canonical());
    let both_here = is_loopback(from) && is_loopback(to);
    one.port() == listened.port()
        && listened.port() != 0
        && (from == to || both_here || listened.ip().is_unspecified() && is_loopback(from))
}

impl Loaded {
    /// Reads the token of the admin API; nothing where it is not reached over TCP. Blocks on the file
    /// system.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn read_admin_token(&self) -> Result<Option<SecretText>, Faults> {
        let Some(tcp) = self.settings.admin.tcp.as_ref() else { return Ok(None) };
        self.read_key(TOKEN, &tcp.token, TOKEN_BYTES_MIN, "secrets/admin_token").map(Some)
    }
}

/// Where a running gateway is asked, as its configuration says, whatever else is wrong with that by
/// now.
#[derive(Clone, Debug, Default)]
pub struct Doors {
    /// The socket of the admin API, where one is named.
    pub socket: Option<PathBuf>,
    /// The listener for those who watch over it, where there is one.
    pub health: Option<SocketAddr>,
}

impl Doors {
    /// Reads what the configuration says; nothing of what cannot be read.
    pub fn read(sources: &Sources) -> Self {
        let Some(layers) = layers::Layers::read(sources, &mut Faults::new()) else {
            // Without files the variables may still say it.
            let variable = |name| sources.environment.variable(name)?.into_string().ok();
            let health = variable("DOORWARD_HEALTH__ADDRESS");
            return Self {
                socket: variable("DOORWARD_ADMIN__SOCKET").map(PathBuf::from),
                health: health.and_then(|address| address.parse().ok()),
            };
        };
        let text = |pointer: &str| layers.merged().pointer(pointer)?.as_str().map(str::to_owned);
        Self {
            socket: text(SOCKET).map(|path| layers.folder(SOCKET).join(path)),
            health: text(HEALTH_ADDRESS).and_then(|address| address.parse().ok()),
        }
    }
}
