//! `doorward try`: one login, one probe, one logout at a real upstream, with a trace that shows no
//! secret.

mod json;
mod record;
mod trace;

use std::io::{self, Write};
use std::path::PathBuf;

use tokio::runtime::Builder;

use super::{ConfigFiles, Exit, print_chain};
use crate::app::{self, Subject, TrialError, Tried, Watcher};
use crate::diagnosis::Paint;
use crate::secret::Environment;
use crate::session::trial::{Ending, Progress};
use record::Place;
use trace::Trace;

/// Log in to an upstream once, probe, log out, and show every step without a secret
#[derive(Clone, Debug, clap::Args)]
pub struct Try {
    #[command(flatten)]
    config: ConfigFiles,
    /// The upstream's name in the configuration
    upstream: String,
    /// The account's name; needed where the upstream has more than one
    #[arg(long)]
    account: Option<String>,
    /// Print everything as one JSON object when it is over
    #[arg(long)]
    json: bool,
    /// Write a recording into this folder, with stand-ins for all values
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
}

/// Where a trace is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// The colours of the trace.
    pub out: Paint,
    /// The colours of faults.
    pub errors: Paint,
    /// Whether a line can be written over: a terminal.
    pub live: bool,
}

impl Try {
    /// Prints the trace to `out` as it happens, faults to `errors`.
    ///
    /// # Errors
    /// What `out` and `errors` refuse.
    pub fn run(
        &self,
        environment: Environment,
        screen: Screen,
        out: &mut impl Write,
        errors: &mut impl Write,
    ) -> io::Result<Exit> {
        let Some(loaded) = self.config.load(environment, screen.errors, errors)? else {
            return Ok(Exit::Config);
        };
        let place = match self.record.as_deref().map(Place::prove).transpose() {
            Ok(place) => place,
            Err(error) => {
                print_chain(&error, errors);
                writeln!(errors, "nothing was sent")?;
                return Ok(Exit::Failed);
            }
        };
        let control = Builder::new_current_thread().enable_all().build()?;
        let mut silence = Silence { errors };
        let mut trace = Trace::new(screen, out);
        let watcher: &mut dyn Watcher = if self.json { &mut silence } else { &mut trace };
        let tried = app::try_out(&loaded, &self.upstream, self.account.as_deref(), watcher);
        match control.block_on(tried) {
            Ok(tried) => {
                match self.json {
                    true => writeln!(out, "{}", json::of(&tried))?,
                    false => trace.ends(&tried)?,
                }
                match place.map(|place| place.write(&tried)) {
                    None => {}
                    // Whoever reads JSON reads nothing else there.
                    Some(Ok(path)) if self.json => {
                        writeln!(errors, "recorded in {}", path.display())?;
                    }
                    Some(Ok(path)) => writeln!(out, "recorded in {}", path.display())?,
                    Some(Err(error)) => {
                        print_chain(&error, errors);
                        return Ok(Exit::Failed);
                    }
                }
                Ok(exit(&tried))
            }
            Err(TrialError::Faults(faults)) => {
                write!(errors, "{}", faults.report(screen.errors))?;
                Ok(Exit::Config)
            }
            Err(error) => {
                print_chain(&error, errors);
                Ok(Exit::Config)
            }
        }
    }
}

/// Whoever wants JSON waits for the end. People who wait with it are told why, beside it.
struct Silence<'w, W> {
    errors: &'w mut W,
}

impl<W: Write> Watcher for Silence<'_, W> {
    fn begins(&mut self, _: &Subject<'_>) {}

    fn sees(&mut self, progress: Progress<'_>) {
        if let Progress::Waiting(wait) = progress {
            // Nobody to tell is no reason to end a trial in the middle.
            _ = writeln!(self.errors, "wait    {}", trace::wait_words(&wait));
        }
    }
}

fn exit(tried: &Tried) -> Exit {
    match &tried.report.ending {
        Ending::Good => Exit::Ok,
        Ending::Refused { .. } | Ending::HeldBack(_) | Ending::Incomplete(_) => Exit::Refused,
        Ending::Unreachable(_) => Exit::Unreachable,
    }
}
