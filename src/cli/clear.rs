//! `doorward clear`: an operator lifts a quarantine.

use std::io::{self, Write};

use tokio::runtime::Builder;

use super::{ConfigFiles, Exit, print_chain};
use crate::app::{self, ClearError, TrialError};
use crate::diagnosis::Paint;
use crate::secret::Environment;

/// Give accounts of an upstream a whole budget of login attempts and lift their quarantine
#[derive(Clone, Debug, clap::Args)]
pub struct Clear {
    #[command(flatten)]
    config: ConfigFiles,
    /// The upstream's name in the configuration
    upstream: String,
    /// The account's name; without it, all accounts of the upstream
    #[arg(long)]
    account: Option<String>,
}

impl Clear {
    /// Prints how each account stood to `out`, faults to `errors`.
    ///
    /// # Errors
    /// What `out` and `errors` refuse.
    pub fn run(
        &self,
        environment: Environment,
        paint: Paint,
        out: &mut impl Write,
        errors: &mut impl Write,
    ) -> io::Result<Exit> {
        let Some(loaded) = self.config.load(environment, paint, errors)? else {
            return Ok(Exit::Config);
        };
        let control = Builder::new_current_thread().enable_all().build()?;
        let cleared = app::clear(&loaded, &self.upstream, self.account.as_deref());
        match control.block_on(cleared) {
            Ok(cleared) => {
                for account in cleared {
                    writeln!(
                        out,
                        "cleared {}.{}: was {}, {} attempts left",
                        self.upstream, account.account, account.was, account.attempts_left
                    )?;
                }
                Ok(Exit::Ok)
            }
            Err(ClearError::Account(TrialError::Faults(faults))) => {
                write!(errors, "{}", faults.report(paint))?;
                Ok(Exit::Config)
            }
            Err(error) => {
                print_chain(&error, errors);
                Ok(Exit::Config)
            }
        }
    }
}
