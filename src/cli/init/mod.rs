//! `doorward init`: a configuration to begin with, every key of it explained, its secrets in files
//! of their own; judged as `doorward check` does before the command ends.

mod ask;
mod plan;
mod write;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

pub use ask::{Asking, Terminal};

use super::check::Check;
use super::{ConfigFiles, Exit, print_chain};
use crate::app;
use crate::diagnosis::Paint;
use crate::recipe::{self, Recipe};
use crate::secret::Environment;
use plan::{Plan, PlanError};

/// Write a configuration to begin with: asks on a terminal for what the options do not say
///
/// Writes doorward.toml, its schema for editors, and the secrets, each in a file of its own that
/// only you can read. Nothing that is there is overwritten.
#[derive(Clone, Debug, clap::Args)]
pub struct Init {
    /// Whose API it is: a built-in recipe (`doorward recipes list`)
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// Where the API is, as in `https://api.example.com`
    #[arg(long)]
    url: Option<String>,
    /// What the recipe asks for and is no secret: a field of the account or a parameter
    #[arg(long = "set", value_name = "NAME=TEXT", value_parser = pair)]
    set: Vec<(String, String)>,
    /// A secret field of the account: its file, which stays where it is; `-` reads standard input
    #[arg(long = "secret", value_name = "NAME=FILE", value_parser = pair)]
    secrets: Vec<(String, String)>,
    /// Where clients reach Doorward
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: String,
    /// The folder to write to
    #[arg(long, value_name = "DIR", default_value = ".")]
    directory: PathBuf,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=...".to_owned()),
    }
}

impl Init {
    /// Asks by `asking`, prints what was written to `out`, faults to `errors`.
    ///
    /// # Errors
    /// What `out`, `errors` and `asking` refuse.
    pub fn run(
        &self,
        asking: &mut dyn Asking,
        paint: Paint,
        out: &mut impl Write,
        errors: &mut impl Write,
    ) -> io::Result<Exit> {
        let name = match &self.recipe {
            Some(name) => name.clone(),
            None if asking.can() => choose(asking)?,
            None => {
                writeln!(errors, "error: say which recipe: --recipe {}", names().join(", "))?;
                return Ok(Exit::Usage);
            }
        };
        let document = match recipe::built_in(&name) {
            Ok(document) => document,
            Err(error) => {
                print_chain(&error, errors);
                writeln!(errors, "there are: {}", names().join(", "))?;
                return Ok(Exit::Usage);
            }
        };
        let asks = match Recipe::asks(&document) {
            Ok(asks) => asks,
            Err(faults) => {
                write!(errors, "{}", faults.report(paint))?;
                return Ok(Exit::Config);
            }
        };
        let plan = match Plan::make(self, &name, asks, asking) {
            Ok(plan) => plan,
            Err(PlanError::Input(error)) => return Err(error),
            Err(error) => {
                print_chain(&error, errors);
                writeln!(errors, "nothing was written")?;
                return Ok(Exit::Usage);
            }
        };
        let written = match write::write(&plan) {
            Ok(written) => written,
            Err(error) => {
                print_chain(&error, errors);
                return Ok(Exit::Failed);
            }
        };
        writeln!(out)?;
        for (path, what) in &written {
            writeln!(out, "wrote {:<30} {what}", path.display())?;
        }
        writeln!(out)?;
        out.flush()?;
        let files = ConfigFiles { files: vec![plan.configuration()] };
        // Variables are judged, too: `doorward run` will obey them.
        let check = Check::of(files);
        let exit = check.run(Environment::Process, &app::recipe_shape, paint, out, errors)?;
        if exit != Exit::Ok {
            writeln!(errors, "correct {}, then: {}", plan.shown(), plan.command("check"))?;
            return Ok(exit);
        }
        let trial = plan.command(&format!("try {}", plan.upstream));
        let run = plan.command("run");
        let width = trial.len().max(run.len());
        writeln!(out, "\nnext:")?;
        writeln!(out, "  {trial:<width$}  # one login, shown step by step, and its logout")?;
        // A port that is yet to be chosen is printed once it is.
        let reached = self.listen.parse().is_ok_and(|address: SocketAddr| address.port() != 0);
        match reached {
            true => {
                let call = format!("curl http://{}/", self.listen);
                writeln!(out, "  {run:<width$}  # then, without any credential: {call}")?;
            }
            false => writeln!(out, "  {run:<width$}  # it prints where it listens")?,
        }
        Ok(Exit::Ok)
    }
}

fn names() -> Vec<&'static str> {
    recipe::BUILT_IN.iter().map(|(name, _)| *name).collect()
}

/// Asks which recipe.
fn choose(asking: &mut dyn Asking) -> io::Result<String> {
    asking.tell("Which API? Its recipe says how to log in.")?;
    let longest = recipe::BUILT_IN.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, _) in recipe::BUILT_IN {
        let title = recipe::built_in(name).ok().and_then(|document| Recipe::asks(&document).ok());
        let title = title.map(|asks| asks.title).unwrap_or_default();
        asking.tell(&format!("  {name:<longest$}  {title}"))?;
    }
    asking.ask("recipe")
}
