//! Faithful local Contentstack, ThoughtSpot and M-Files servers, for `doorward demo`,
//! `doorward emulate` and the tests.
//!
//! An [`Emulator`] is a running server; its [`Control`] is the judge's handle: counters, killed
//! sessions, forced answers, held answers, switches. Everything of [`Control`] is also served as
//! JSON under `/__admin/`, off the vendor's namespace, for tests in other languages ([`admin`]).
//!
//! Each vendor is a `site::Site` in a room of its own; it knows nothing of connections, and the
//! frame knows nothing of vendors.

pub mod admin;
mod certificate;
mod compress;
pub mod contentstack;
mod control;
mod counters;
mod demonstration;
mod download;
mod force;
mod hold;
mod house;
pub mod mfiles;
mod mint;
mod record;
mod serve;
mod site;
mod switches;
pub mod thoughtspot;
mod totp;
mod user;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use certificate::{Certificate, CertificateError};
pub use control::Control;
pub use counters::Counters;
pub use demonstration::{Call, Demonstration};
pub use force::{Forced, ForcedError};
pub use hold::Hold;
pub use record::{Credential, RequestRecord};
pub use switches::{Status, UnknownSwitch};
pub use totp::{Totp, TotpError};
pub use user::{Kind, User};

use crate::clock::Clock;
use house::House;
use site::Site;

/// Whose server an emulator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// Contentstack's Content Management API: JSON login, header token, 401 when dead.
    Contentstack,
    /// ThoughtSpot's REST APIs v1 and v2: form or JSON login, cookies or bearer.
    ThoughtSpot,
    /// The M-Files Web Service: a token for any password, 403 when dead.
    MFiles,
}

impl Vendor {
    /// Every vendor.
    pub const ALL: [Vendor; 3] = [Vendor::Contentstack, Vendor::ThoughtSpot, Vendor::MFiles];

    /// The user that every emulator of this vendor knows from its start.
    pub fn seeded_user(self) -> User {
        let (login, password) = match self {
            Vendor::Contentstack => (contentstack::LOGIN, contentstack::PASSWORD),
            Vendor::ThoughtSpot => (thoughtspot::LOGIN, thoughtspot::PASSWORD),
            Vendor::MFiles => (mfiles::LOGIN, mfiles::PASSWORD),
        };
        User::new(login, password)
    }

    /// The vendor's name as the command line takes it.
    pub fn name(self) -> &'static str {
        match self {
            Vendor::Contentstack => "contentstack",
            Vendor::ThoughtSpot => "thoughtspot",
            Vendor::MFiles => "mfiles",
        }
    }

    /// What a demonstration does with this vendor's server.
    pub fn demonstration(self) -> Demonstration {
        match self {
            Vendor::Contentstack => contentstack::demonstration(),
            Vendor::ThoughtSpot => thoughtspot::demonstration(),
            Vendor::MFiles => mfiles::demonstration(),
        }
    }

    fn site(self, house: &Arc<House>) -> Arc<dyn Site> {
        match self {
            Vendor::Contentstack => contentstack::site(house),
            Vendor::ThoughtSpot => thoughtspot::site(house),
            Vendor::MFiles => mfiles::site(house),
        }
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A name that is no vendor's.
#[derive(Debug, thiserror::Error)]
#[error("no emulator is called {0:?}; there are contentstack, thoughtspot and mfiles")]
pub struct UnknownVendor(String);

impl FromStr for Vendor {
    type Err = UnknownVendor;

    fn from_str(name: &str) -> Result<Self, UnknownVendor> {
        let known = Vendor::ALL.into_iter().find(|vendor| vendor.name() == name);
        known.ok_or_else(|| UnknownVendor(name.to_owned()))
    }
}

/// How an emulator is started.
#[derive(Debug)]
pub struct Options {
    /// Where it listens; port 0 takes any free port. Anybody who reaches it can read every
    /// credential it knows from `/__admin/`, so keep it on loopback.
    pub address: SocketAddr,
    /// With a certificate it speaks TLS only.
    pub tls: Option<Certificate>,
    /// The time that sessions, lock-outs and rate limits live in.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: None,
            clock: Clock::system(),
        }
    }
}

/// A running server on the current tokio runtime. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Emulator {
    vendor: Vendor,
    address: SocketAddr,
    scheme: Scheme,
    control: Control,
    stopping: CancellationToken,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug)]
enum Scheme {
    Http,
    Https,
}

impl Emulator {
    /// Listens and serves until [`Emulator::stop`].
    ///
    /// # Errors
    /// The address cannot be bound, or the certificate cannot be served.
    pub async fn start(vendor: Vendor, options: Options) -> io::Result<Emulator> {
        let listener = TcpListener::bind(options.address).await?;
        let address = listener.local_addr()?;
        let acceptor = options.tls.as_ref().map(Certificate::acceptor).transpose();
        let acceptor = acceptor.map_err(io::Error::other)?;
        let scheme = if acceptor.is_some() { Scheme::Https } else { Scheme::Http };

        let house = Arc::new(House::new(vendor, address, options.clock));
        let site = vendor.site(&house);
        let control = Control::new(house, site);
        control.add_user(vendor.seeded_user());

        let stopping = CancellationToken::new();
        let server = serve::Server::new(control.clone(), acceptor);
        let accepting = tokio::spawn(server.run(listener, stopping.clone()));
        Ok(Emulator { vendor, address, scheme, control, stopping, accepting: Some(accepting) })
    }

    /// Whose server this is.
    pub fn vendor(&self) -> Vendor {
        self.vendor
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, or `https://localhost:PORT` with TLS.
    pub fn origin(&self) -> String {
        match self.scheme {
            Scheme::Http => format!("http://{}", self.address),
            Scheme::Https => format!("https://localhost:{}", self.address.port()),
        }
    }

    /// The judge's handle.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Closes the listener, ends every connection and waits for their tasks.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        if let Some(accepting) = self.accepting.take() {
            // The accept task neither panics nor is aborted by anybody else.
            _ = accepting.await;
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}
