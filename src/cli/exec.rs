//! `doorward exec`: a gateway of its own for as long as a command runs.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::runtime::Builder;

use super::signals::PassedSignals;
use super::{ConfigFiles, Exit, print_chain, print_not_started};
use crate::access::key::ClientKey;
use crate::app::{self, App, Inherited, Listening, Resolver, Surroundings};
use crate::clock::Clock;
use crate::diagnosis::Paint;
use crate::secret::Environment;
use crate::settings::Loaded;
use crate::telemetry::{Format, Log};

/// Run a command with a gateway of its own: a base URL and a key, good as long as it runs, stand in
/// its environment
///
/// The command finds DOORWARD_URL and DOORWARD_KEY in its environment. The gateway listens on
/// loopback, lets nobody in without that key, and logs out when the command has ended.
/// Standard input and output are the command's.
#[derive(Clone, Debug, clap::Args)]
pub struct Exec {
    #[command(flatten)]
    config: ConfigFiles,
    /// The upstream's name in the configuration
    #[arg(long, value_name = "NAME")]
    upstream: String,
    /// The account's name; needed where the upstream has more than one
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// A further variable for the command; {url} and {key} in it stand for the base URL and the key
    #[arg(long = "env", value_name = "NAME=TEXT", value_parser = variable)]
    variables: Vec<(String, String)>,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Where the command finds the base URL.
const URL: &str = "DOORWARD_URL";

/// Where the command finds the key.
const KEY: &str = "DOORWARD_KEY";

/// Two gateways with one account each would count its login attempts for itself.
const HELD: &str = "a gateway runs with this state already: give the command that one's address, and a key of its own \
                    (`doorward key new`)";

/// What a shell exits with when there is no such command, or when it cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;

/// What a shell adds to the number of the signal that has ended a command.
const ENDED_BY_SIGNAL: i32 = 128;

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=TEXT".to_owned()),
    }
}

impl Exec {
    /// Prints nothing to standard output: that is the command's. Faults go to `errors`.
    ///
    /// # Errors
    /// What `errors` refuses, and a machine without random bytes.
    pub fn run(
        &self,
        environment: Environment,
        paint: Paint,
        errors: &mut impl Write,
    ) -> io::Result<Exit> {
        let Some(mut loaded) = self.config.load(environment, paint, errors)? else {
            return Ok(Exit::Config);
        };
        let key = match app::only(&mut loaded, &self.upstream, self.account.as_deref()) {
            Ok(key) => key,
            Err(error) => {
                print_chain(&error, errors);
                return Ok(Exit::Config);
            }
        };
        for warning in &loaded.warnings {
            writeln!(errors, "warning: {warning}")?;
        }
        // What goes well is not told: standard error is the command's, too.
        Log::install(format(), "warn");
        let control = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let exit = control.block_on(self.beside(&loaded, &key, paint, errors));
        control.shutdown_background();
        exit
    }

    async fn beside(
        &self,
        loaded: &Loaded,
        key: &ClientKey,
        paint: Paint,
        errors: &mut impl Write,
    ) -> io::Result<Exit> {
        let surroundings = Surroundings {
            clock: Clock::system(),
            resolver: Resolver::System,
            readers: vec![Box::new(Log)],
            without: None,
            inherited: Inherited::default(),
            admin_socket: None,
        };
        // Caught before the command is there: none is lost.
        let mut signals = PassedSignals::catch()?;
        let app = match App::start(loaded, surroundings) {
            Ok(app) => app,
            Err(error) => {
                print_not_started(&error, paint, errors);
                if error.is_held() {
                    writeln!(errors, "  help: {HELD}")?;
                }
                return Ok(Exit::Config);
            }
        };
        let url = app.listening().first().map(Listening::url).unwrap_or_default();
        let ended = match self.start(&url, key) {
            Ok(child) => pass(child, &mut signals).await,
            Err(error) => {
                let not_found = error.kind() == io::ErrorKind::NotFound;
                let program = self.command.first().map(String::as_str).unwrap_or_default();
                writeln!(errors, "error: {program} cannot be run\n  caused by: {error}")?;
                Ok(Exit::OfCommand(if not_found { NOT_FOUND } else { NOT_RUN }))
            }
        };
        let report = app.stop().await;
        if report.unconfirmed > 0 {
            writeln!(errors, "warning: {} sessions may be left open", report.unconfirmed)?;
        }
        ended
    }

    fn start(&self, url: &str, key: &ClientKey) -> io::Result<Child> {
        let mut words = self.command.iter();
        let mut command = Command::new(words.next().map(String::as_str).unwrap_or_default());
        command.args(words).stdin(Stdio::inherit());
        command.env(URL, url).env(KEY, key.expose());
        for (name, text) in &self.variables {
            command.env(
                name,
                filled(text, &BTreeMap::from([("{url}", url), ("{key}", key.expose())])),
            );
        }
        command.spawn()
    }
}

/// A text with what its placeholders stand for; what was put in is not looked at again.
fn filled(text: &str, values: &BTreeMap<&str, &str>) -> String {
    let (mut filled, mut rest) = (String::new(), text);
    while !rest.is_empty() {
        let found = values.iter().find_map(|(name, value)| Some((value, rest.strip_prefix(name)?)));
        if let Some((value, after)) = found {
            filled.push_str(value);
            rest = after;
        } else {
            let mut letters = rest.chars();
            filled.extend(letters.next());
            rest = letters.as_str();
        }
    }
    filled
}

/// Waits for the command, and passes on what this process is told. What a terminal sends, the
/// command has heard itself: it is in the same group.
async fn pass(mut child: Child, signals: &mut PassedSignals) -> io::Result<Exit> {
    let at_a_terminal = io::stdin().is_terminal();
    loop {
        tokio::select! {
            ended = child.wait() => return ended.map(exit),
            signal = signals.next() => {
                let from_terminal = matches!(signal, Signal::INT | Signal::QUIT);
                let id = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
                if let Some(id) = id.filter(|_| !(from_terminal && at_a_terminal)) {
                    // It may have ended in this moment; then there is nobody to tell.
                    _ = kill_process(id, signal);
                }
            }
        }
    }
}

fn exit(status: ExitStatus) -> Exit {
    let code = status.code().or(status.signal().map(|signal| ENDED_BY_SIGNAL + signal));
    Exit::OfCommand(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

fn format() -> Format {
    match io::stderr().is_terminal() {
        true => Format::Human,
        false => Format::Json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_once() {
        let values = BTreeMap::from([("{url}", "http://{key}"), ("{key}", "k")]);
        assert_eq!(filled("{url}/v3?x={key}{", &values), "http://{key}/v3?x=k{");
    }
}
