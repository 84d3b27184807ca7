//! `doorward clear`: an operator lifts a quarantine.

use std::io::{self, Write};

use tokio::runtime::Builder;

use super::{ConfigFiles, Exit, print_chain};
use crate::app::{self, ClearError, StartError, TrialError};
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
            Err(
                ClearError::Account(TrialError::Faults(faults))
                | ClearError::State(StartError::Faults(faults)),
            ) => {
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        clear: Clear,
    }

    #[test]
    fn faults_of_keys_have_colours_where_others_have() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("doorward.toml");
        let text = r#"
            [listeners.main]
            address = "127.0.0.1:0"
            access = "open"
            [upstreams.cms]
            url = "http://127.0.0.1:9"
            recipe = "contentstack"
            [upstreams.cms.accounts.editor]
            username = "editor"
            password = { env = "PASSWORD" }
            [[routes]]
            upstream = "cms"
            [state]
            path = "state"
            key = { file = "no_key" }
        "#;
        std::fs::write(&config, text).unwrap();
        let line = Line::parse_from(["clear", "-c", config.to_str().unwrap(), "cms"]);
        let environment = Environment::given([("PASSWORD", "a password")]);
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let exit = line.clear.run(environment, Paint::Coloured, &mut out, &mut errors).unwrap();
        let errors = String::from_utf8(errors).unwrap();
        assert!(matches!(exit, Exit::Config), "{errors}");
        assert!(errors.contains("no_key") && errors.contains("\u{1b}["), "{errors}");
        assert!(out.is_empty());
    }
}
