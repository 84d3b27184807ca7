//! The commands. Each is a struct of its arguments with a `run` that writes to what it is handed;
//! only `main` knows the terminal.

pub mod admin;
pub mod audit;
pub mod check;
pub mod clear;
pub mod completions;
mod conform;
#[cfg(feature = "emulator")]
pub mod demo;
mod draft;
#[cfg(feature = "emulator")]
pub mod emulate;
pub mod exec;
pub mod explain;
pub mod init;
mod ink;
pub mod key;
pub mod man;
pub mod recipes;
mod replay;
pub mod run;
pub mod schema;
mod signals;
pub mod trial;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::app::{self, StartError};
use crate::diagnosis::Paint;
use crate::secret::Environment;
use crate::settings::{Loaded, Sources};

/// How a command ended. The numbers above 2 are those of sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what it should.
    Ok,
    /// It looked for something that should be, and found that it is not.
    Failed,
    /// It was called in a way that it does not know.
    Usage,
    /// An upstream, or a gateway that is to be asked, cannot be reached (`EX_UNAVAILABLE`).
    Unreachable,
    /// An upstream refused a login (`EX_NOPERM`).
    Refused,
    /// The configuration cannot be used (`EX_CONFIG`).
    Config,
    /// Another command ran, and ended so.
    OfCommand(u8),
}

impl Exit {
    /// The code that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 69,
            Self::Refused => 77,
            Self::Config => 78,
            Self::OfCommand(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Which configuration to use.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigFiles {
    /// Configuration file; may be given more than once, later files add to earlier ones
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE",
        env = "DOORWARD_CONFIG",
        default_value = "doorward.toml"
    )]
    pub files: Vec<PathBuf>,
}

impl ConfigFiles {
    /// These files with the variables of `environment` on top.
    pub fn sources(&self, environment: Environment) -> Sources {
        Sources { files: self.files.clone(), environment }
    }

    /// The configuration; nothing where it cannot be used, and then its faults are printed to
    /// `errors`.
    ///
    /// # Errors
    /// What `errors` refuses.
    pub fn load(
        &self,
        environment: Environment,
        paint: Paint,
        errors: &mut impl Write,
    ) -> io::Result<Option<Loaded>> {
        match app::load(&self.sources(environment)) {
            Ok(loaded) => Ok(Some(loaded)),
            Err(faults) => {
                write!(errors, "{}", faults.report(paint))?;
                Ok(None)
            }
        }
    }
}

/// Prints why a gateway has not started.
fn print_not_started(error: &StartError, paint: Paint, errors: &mut impl Write) {
    match error {
        // Where even this cannot be written, the exit code still tells.
        StartError::Faults(faults) => _ = write!(errors, "{}", faults.report(paint)),
        other => print_chain(other, errors),
    }
}

/// Prints an error and its causes, one a line.
pub fn print_chain(error: &dyn std::error::Error, errors: &mut impl std::io::Write) {
    // Where even this cannot be written, the exit code still tells.
    _ = writeln!(errors, "error: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        _ = writeln!(errors, "  caused by: {inner}");
        cause = inner.source();
    }
}
