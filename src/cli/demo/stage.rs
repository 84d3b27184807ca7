//! What the demonstration starts: every emulator, and Doorward in front of them as its users run
//! it, from a configuration file with the passwords in files of their own. All of it is on
//! loopback.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::configuration;
use crate::app::{self, App, Listening, StartError, Surroundings};
use crate::diagnosis::Faults;
use crate::emulator::{Emulator, Options, Vendor};
use crate::secret::Environment;
use crate::session::LogoutReport;
use crate::settings::Sources;

/// Which ports are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ports {
    /// Any that are free.
    Free,
    /// This one for Doorward and the next ones for the emulators; where one is taken, any that is
    /// free.
    From(u16),
}

/// Everything that runs.
#[derive(Debug)]
pub(super) struct Stage {
    app: App,
    address: SocketAddr,
    emulators: Vec<Emulator>,
    folder: TempDir,
    taken_ports: Vec<u16>,
}

/// Why the demonstration does not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StageError {
    /// The private folder or a file in it.
    #[error("the demo's folder cannot be written")]
    Folder(#[source] io::Error),
    /// An emulator.
    #[error("the emulator {vendor} cannot listen")]
    Emulator {
        /// Which.
        vendor: Vendor,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Doorward's port.
    #[error("Doorward cannot listen")]
    Port(#[source] io::Error),
    /// The configuration is not good: a fault of the demonstration itself.
    #[error("{0}")]
    Configuration(Faults),
    /// Doorward.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Doorward listens somewhere else than it was told to.
    #[error("Doorward does not listen where the demo can reach it")]
    NotListening,
}

impl Stage {
    /// Starts the emulators, then Doorward in front of them.
    ///
    /// # Errors
    /// See [`StageError`]; then nothing goes on running.
    pub(super) async fn start(
        ports: Ports,
        surroundings: Surroundings,
    ) -> Result<Self, StageError> {
        let folder = tempfile::Builder::new()
            .prefix("doorward-demo-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir();
        let folder = folder.map_err(StageError::Folder)?;
        let mut taken = Vec::new();
        let listener = listener_address(ports, &mut taken)?;
        let mut emulators = Vec::new();
        for (place, vendor) in (1..).zip(Vendor::ALL) {
            emulators.push(emulator(vendor, ports.nth(place), &mut taken).await?);
        }
        for emulator in &emulators {
            let password = emulator.vendor().seeded_user().password;
            let file = configuration::password_file(emulator.vendor());
            write_private(&folder.path().join(file), &password)?;
        }
        let text = configuration::text(listener, &emulators);
        write_private(&configuration_file(&folder), &text)?;

        // The variables of whoever tries the demo are about another Doorward.
        let environment = Environment::given([]);
        let sources = Sources { files: vec![configuration_file(&folder)], environment };
        let loaded = app::load(&sources).map_err(StageError::Configuration)?;
        let admin_socket = Some(folder.path().join("admin.sock"));
        let surroundings = Surroundings { admin_socket, ..surroundings };
        let app = App::start(&loaded, surroundings)?;
        let address = app.listening().first().and_then(Listening::tcp);
        let address = address.ok_or(StageError::NotListening)?;
        Ok(Self { app, address, emulators, folder, taken_ports: taken })
    }

    /// Where Doorward listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The emulators, in the order of [`Vendor::ALL`].
    pub(super) fn emulators(&self) -> &[Emulator] {
        &self.emulators
    }

    /// The configuration that Doorward was started with.
    pub(super) fn configuration_file(&self) -> PathBuf {
        configuration_file(&self.folder)
    }

    /// Where operators come in, unless the folder's name is too long for a socket.
    pub(super) fn admin_socket(&self) -> Option<&Path> {
        self.app.admin_socket()
    }

    /// The ports that were wanted and that somebody else has.
    pub(super) fn taken_ports(&self) -> &[u16] {
        &self.taken_ports
    }

    /// Stops Doorward; the emulators go on, so that they can be asked what they saw of it.
    pub(super) async fn stop_doorward(self) -> (LogoutReport, Vec<Emulator>) {
        (self.app.stop().await, self.emulators)
    }
}

impl Ports {
    /// The port of the nth listener; 0 where any will do.
    fn nth(self, place: u16) -> u16 {
        match self {
            Self::Free => 0,
            Self::From(first) => first.checked_add(place).unwrap_or(0),
        }
    }
}

async fn emulator(vendor: Vendor, port: u16, taken: &mut Vec<u16>) -> Result<Emulator, StageError> {
    let at = |port| Options { address: loopback(port), ..Options::default() };
    let started = match Emulator::start(vendor, at(port)).await {
        Err(error) if port != 0 && error.kind() == io::ErrorKind::AddrInUse => {
            taken.push(port);
            Emulator::start(vendor, at(0)).await
        }
        started => started,
    };
    started.map_err(|source| StageError::Emulator { vendor, source })
}

/// Where Doorward is told to listen. Its own sockets share a port with each other, and so with
/// those of a second demo: whether the port is taken, only a socket that shares nothing can tell.
fn listener_address(ports: Ports, taken: &mut Vec<u16>) -> Result<SocketAddr, StageError> {
    let wanted = ports.nth(0);
    match TcpListener::bind(loopback(wanted)) {
        Ok(_) => Ok(loopback(wanted)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            taken.push(wanted);
            Ok(loopback(0))
        }
        Err(error) => Err(StageError::Port(error)),
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn configuration_file(folder: &TempDir) -> PathBuf {
    folder.path().join("doorward.toml")
}

fn write_private(path: &Path, content: &str) -> Result<(), StageError> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(content.as_bytes())).map_err(StageError::Folder)
}
