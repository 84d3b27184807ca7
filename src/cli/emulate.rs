//! `doorward emulate`: one emulator by itself, to develop and test against.

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Builder;

use super::signals::StopSignals;
use super::{Exit, print_chain};
use crate::clock::Clock;
use crate::emulator::{Certificate, CertificateError, Emulator, Options, UnknownSwitch, Vendor};

/// The names that a certificate is for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Run the local server of one vendor until it is told to stop (SIGTERM, SIGINT)
#[derive(Clone, Debug, clap::Args)]
pub struct Emulate {
    /// Whose server
    #[arg(value_parser = vendor())]
    vendor: Vendor,
    /// Where it listens, on this machine only; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = any_port())]
    address: SocketAddr,
    /// Speak TLS, with a certificate made for this run
    #[arg(long)]
    tls: bool,
    /// How many times faster its time runs: sessions and lock-outs end sooner
    #[arg(long, value_name = "TIMES", default_value_t = NonZeroU32::MIN)]
    speed: NonZeroU32,
    /// Turn a switch; may be given more than once. The admin lists them under /__admin/switches
    #[arg(long = "switch", value_name = "NAME=JSON")]
    switches: Vec<Switch>,
}

#[derive(Clone, Debug)]
struct Switch {
    name: String,
    value: Value,
}

/// Why an emulator does not start.
#[derive(Debug, thiserror::Error)]
enum EmulateError {
    #[error("{0} is not on this machine only, and an emulator tells everybody what it knows")]
    NotLoopback(SocketAddr),
    #[error("it cannot listen at {0}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the certificate's file cannot be written")]
    Folder(#[source] io::Error),
    #[error(transparent)]
    Switch(#[from] UnknownSwitch),
}

/// The authority to trust, in a file that is gone when the emulator ends.
struct Authority {
    _folder: TempDir,
    file: PathBuf,
}

impl Emulate {
    /// Prints where everything is to `out`; what keeps it from starting to `errors`.
    ///
    /// # Errors
    /// What `out` and `errors` refuse.
    pub fn run(&self, out: &mut impl Write, errors: &mut impl Write) -> io::Result<Exit> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let mut signals = StopSignals::catch()?;
            let (emulator, authority) = match self.start().await {
                Ok(started) => started,
                Err(error) => {
                    print_chain(&error, errors);
                    return Ok(error.exit());
                }
            };
            announce(&emulator, authority.as_ref(), out)?;
            signals.next().await;
            emulator.stop().await;
            writeln!(out, "stopped")?;
            Ok(Exit::Ok)
        })
    }

    async fn start(&self) -> Result<(Emulator, Option<Authority>), EmulateError> {
        if !self.address.ip().is_loopback() {
            return Err(EmulateError::NotLoopback(self.address));
        }
        let certificate = self.tls.then(|| Certificate::for_names(&NAMES)).transpose()?;
        let authority = certificate.as_ref().map(authority).transpose()?;
        let clock = match self.speed {
            NonZeroU32::MIN => Clock::system(),
            times => Clock::scaled(times.get()),
        };
        let options = Options { address: self.address, tls: certificate, clock };
        let started = Emulator::start(self.vendor, options).await;
        let emulator = started.map_err(|error| EmulateError::Listen(self.address, error))?;
        for Switch { name, value } in &self.switches {
            emulator.control().switch(name, value.clone())?;
        }
        Ok((emulator, authority))
    }
}

impl EmulateError {
    fn exit(&self) -> Exit {
        match self {
            Self::NotLoopback(_) | Self::Switch(_) => Exit::Usage,
            Self::Listen(..) | Self::Certificate(_) | Self::Folder(_) => Exit::Failed,
        }
    }
}

fn authority(certificate: &Certificate) -> Result<Authority, EmulateError> {
    let folder = tempfile::Builder::new().prefix("doorward-emulate-").tempdir();
    let folder = folder.map_err(EmulateError::Folder)?;
    let file = folder.path().join("authority.pem");
    fs::write(&file, certificate.authority_pem()).map_err(EmulateError::Folder)?;
    Ok(Authority { _folder: folder, file })
}

/// The account is made up and good at this emulator only, so its password is no secret.
fn announce(
    emulator: &Emulator,
    authority: Option<&Authority>,
    out: &mut impl Write,
) -> io::Result<()> {
    let (vendor, origin, user) =
        (emulator.vendor(), emulator.origin(), emulator.vendor().seeded_user());
    writeln!(out, "{vendor}, emulated at {origin}")?;
    writeln!(out, "  login     {}", user.login)?;
    writeln!(out, "  password  {}", user.password)?;
    writeln!(
        out,
        "  admin     {origin}/__admin/counters (also: expire, switches, requests, clock)"
    )?;
    let reads = vendor.demonstration().reads;
    if let Some(read) = reads.iter().find(|read| read.headers.is_empty()) {
        writeln!(out, "  a call    {origin}{}", read.target)?;
    }
    if let Some(authority) = authority {
        writeln!(out, "  trust     {}", authority.file.display())?;
    }
    writeln!(out, "Ctrl-C stops.")?;
    out.flush()
}

/// Vendors by their names, which the help lists.
fn vendor() -> impl TypedValueParser<Value = Vendor> {
    PossibleValuesParser::new(Vendor::ALL.map(Vendor::name)).try_map(|name| name.parse::<Vendor>())
}

fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

impl FromStr for Switch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("write NAME=JSON")?;
        let value = serde_json::from_str(value).map_err(|error| {
            format!("the value is no JSON ({error}); a text has double quotes around it")
        })?;
        Ok(Self { name: name.to_owned(), value })
    }
}
