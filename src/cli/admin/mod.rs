//! The commands that ask a running gateway, by the socket of its admin API.

pub mod dashboard;
mod door;
pub mod healthcheck;
pub mod sessions;
pub mod status;
pub mod tap;
mod words;

use std::io::{self, Write};
use std::path::PathBuf;

use tokio::runtime::{Builder, Runtime};

use super::{ConfigFiles, Exit};
use crate::diagnosis::Paint;
use crate::secret::Environment;
use door::{AskError, Door};

/// Which gateway is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Gateway {
    #[command(flatten)]
    config: ConfigFiles,
    /// The socket of the gateway's admin API; without it, the one that the configuration names, else
    /// the usual one
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// How something is shown: for people, or as JSON for a program.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Standard output is a terminal.
    pub is_terminal: bool,
    /// Colours for people.
    pub paint: Paint,
}

impl Shown {
    /// Whether it is JSON: where it was asked for, and where no person reads.
    fn is_json(self, asked: bool) -> bool {
        asked || !self.is_terminal
    }
}

impl Gateway {
    /// The socket where the gateway listens.
    fn door(&self, environment: Environment) -> Result<Door, AskError> {
        Door::find(self.socket.clone(), &self.config.sources(environment))
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Prints why the gateway did not do what it should.
fn tell(error: &AskError, errors: &mut impl Write) -> io::Result<Exit> {
    writeln!(errors, "error: {error}")?;
    for help in error.helps() {
        writeln!(errors, "  help: {help}")?;
    }
    Ok(match error {
        AskError::Nobody { .. } | AskError::Broken(_) => Exit::Unreachable,
        AskError::Refused { .. } | AskError::NotUnderstood(_) => Exit::Failed,
    })
}
