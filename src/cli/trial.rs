//! `doorward try`: one login, one probe, one logout at a real upstream, with a trace that shows no
//! secret.

use std::io::{self, Write};

use serde_json::json;
use tokio::runtime::Builder;

use super::{ConfigFiles, Exit, print_chain};
use crate::app::{self, TrialError};
use crate::diagnosis::Paint;
use crate::secret::Environment;
use crate::session::account::class_name;
use crate::session::trial::{Ending, StepReport, TakenReport, TrialReport};

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
    /// Print the trace as one JSON object
    #[arg(long)]
    json: bool,
}

impl Try {
    /// Prints the trace to `out`, faults to `errors`.
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
        let loaded = match app::load(&self.config.sources(environment)) {
            Ok(loaded) => loaded,
            Err(faults) => {
                write!(errors, "{}", faults.report(paint))?;
                return Ok(Exit::Config);
            }
        };
        let control = Builder::new_current_thread().enable_all().build()?;
        let tried =
            control.block_on(app::try_out(&loaded, &self.upstream, self.account.as_deref()));
        match tried {
            Ok(report) => {
                match self.json {
                    true => writeln!(out, "{}", as_json(&report))?,
                    false => print(&report, out)?,
                }
                Ok(exit(&report.ending))
            }
            Err(TrialError::Faults(faults)) => {
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

fn exit(ending: &Ending) -> Exit {
    match ending {
        Ending::Good => Exit::Ok,
        Ending::Refused { .. } | Ending::Incomplete(_) => Exit::Refused,
        Ending::Unreachable(_) => Exit::Unreachable,
    }
}

fn print(report: &TrialReport, out: &mut impl Write) -> io::Result<()> {
    for StepReport { phase, step, method, path, status, took, ok } in &report.steps {
        let verdict = if *ok { "ok  " } else { "FAIL" };
        let status = status.map_or("no answer".to_owned(), |status| status.as_u16().to_string());
        let ms = took.as_millis();
        writeln!(out, "{phase:<7} {verdict}  {method} {path} -> {status} in {ms} ms  ({step})")?;
    }
    for TakenReport { name, characters, fingerprint } in &report.taken {
        writeln!(out, "        took  {name}: {characters} characters, #{fingerprint}")?;
    }
    if let Some(life) = report.lives {
        writeln!(out, "        lives {} s", life.as_secs())?;
    }
    match &report.ending {
        Ending::Good => writeln!(out, "good: this account can be used"),
        Ending::Refused { class, why } => {
            writeln!(out, "refused: {why}")?;
            writeln!(out, "{}", remedy(*class))?;
            writeln!(out, "tried once; not repeated, so the account cannot be locked")
        }
        Ending::Unreachable(why) => writeln!(out, "unreachable: {why}"),
        Ending::Incomplete(why) => writeln!(out, "incomplete: {why}"),
    }
}

/// What an operator can do.
fn remedy(class: Option<crate::recipe::RefusalClass>) -> &'static str {
    use crate::recipe::RefusalClass::{
        BadSecret, Locked, NotAllowed, SecondFactor, SlotsFull, Throttled, UpstreamBroken,
    };
    match class {
        Some(BadSecret) => {
            "check the account's name and secret: the upstream says that they do not fit"
        }
        Some(Locked) => {
            "the account is locked: wait, or have it unlocked, before anything else is tried"
        }
        Some(SecondFactor) => "the account asks for a second factor: use one that does not",
        Some(NotAllowed) => {
            "the account may not log in this way, for example for single sign-on: use another"
        }
        Some(SlotsFull) => "the account has no room for one more session: end others first",
        Some(Throttled) => "too many logins or requests: wait, then try again",
        Some(UpstreamBroken) => {
            "the upstream is out of order, for example in maintenance: try again later"
        }
        None => {
            "the recipe has no rule for this answer: compare its steps with the vendor's documentation"
        }
    }
}

fn as_json(report: &TrialReport) -> serde_json::Value {
    let (ending, class, why) = match &report.ending {
        Ending::Good => ("good", None, None),
        Ending::Refused { class, why } => ("refused", class.map(class_name), Some(why.as_str())),
        Ending::Unreachable(why) => ("unreachable", None, Some(why.as_str())),
        Ending::Incomplete(why) => ("incomplete", None, Some(*why)),
    };
    json!({
        "ending": ending,
        "class": class,
        "why": why,
        "lives_seconds": report.lives.map(|life| life.as_secs()),
        "steps": report.steps.iter().map(|step| json!({
            "phase": step.phase,
            "step": step.step,
            "method": step.method.as_str(),
            "path": step.path,
            "status": step.status.map(|status| status.as_u16()),
            "took_ms": step.took.as_millis() as u64,
            "ok": step.ok,
        })).collect::<Vec<_>>(),
        "taken": report.taken.iter().map(|taken| json!({
            "name": taken.name,
            "characters": taken.characters,
            "fingerprint": taken.fingerprint.to_string(),
        })).collect::<Vec<_>>(),
    })
}
