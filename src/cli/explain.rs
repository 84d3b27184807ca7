//! `doorward explain`: which rule decides about a client's request.

use std::io::{self, Write};

use http::{Method, Uri};
use serde_json::json;

use super::{ConfigFiles, Exit, print_chain};
use crate::app::{self, Explained, Outcome, Question};
use crate::diagnosis::Paint;
use crate::secret::Environment;

/// Say what would become of a client's request, and which rule decides; nothing is sent
#[derive(Clone, Debug, clap::Args)]
pub struct Explain {
    #[command(flatten)]
    config: ConfigFiles,
    /// The client's name in the configuration
    client: String,
    /// The method, in capitals
    method: Method,
    /// The URL at Doorward, or its path and query alone
    url: Uri,
    /// The account that the client names in `Doorward-Account`
    #[arg(long)]
    account: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Explain {
    /// Prints what decides to `out`, faults to `errors`.
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
        let question = Question {
            client: &self.client,
            method: self.method.clone(),
            url: self.url.clone(),
            account: self.account.as_deref(),
        };
        let explained = match app::explain(&loaded, &question) {
            Ok(explained) => explained,
            Err(error) => {
                print_chain(&error, errors);
                return Ok(Exit::Config);
            }
        };
        match self.json {
            true => writeln!(out, "{}", self.document(&explained))?,
            false => self.lines(&explained, out)?,
        }
        Ok(match explained.outcome {
            Outcome::Refused(_) => Exit::Failed,
            Outcome::Forwarded | Outcome::Masked | Outcome::Answered | Outcome::LoggedIn => {
                Exit::Ok
            }
        })
    }

    fn lines(&self, explained: &Explained, out: &mut impl Write) -> io::Result<()> {
        let Explained { route, upstream, reading, grant, account, outcome } = explained;
        writeln!(out, "request   {} {}", self.method, self.url)?;
        if let (Some((host, path)), Some(upstream)) = (route, upstream) {
            let host = host.as_deref().unwrap_or("any host");
            writeln!(out, "route     {host}, {path} -> {upstream}")?;
        }
        if let Some(reading) = reading {
            writeln!(out, "read as   {} {}", reading.method, reading.path)?;
        }
        if let Some((place, at)) = grant {
            writeln!(out, "grant     clients.{}.grants[{place}] ({at})", self.client)?;
        }
        if let Some(account) = account {
            writeln!(out, "account   {account}")?;
        }
        match outcome {
            Outcome::Forwarded => writeln!(out, "allowed: it is forwarded"),
            Outcome::Masked => {
                writeln!(
                    out,
                    "allowed: it is forwarded, and session values in its answer are replaced"
                )
            }
            Outcome::Answered => {
                writeln!(out, "allowed: Doorward answers it in the upstream's place")
            }
            Outcome::LoggedIn => writeln!(
                out,
                "allowed: answered here (login): the client's key as the password gives it a token"
            ),
            Outcome::Refused(problem) => {
                let (status, code) = (problem.status().as_u16(), problem.code());
                writeln!(out, "refused: {status} {code}: {problem}")
            }
        }
    }

    fn document(&self, explained: &Explained) -> serde_json::Value {
        let Explained { route, upstream, reading, grant, account, outcome } = explained;
        let (outcome, problem) = match outcome {
            Outcome::Forwarded => ("forwarded", None),
            Outcome::Masked => ("masked", None),
            Outcome::Answered => ("answered", None),
            Outcome::LoggedIn => ("logged_in", None),
            Outcome::Refused(problem) => ("refused", Some(problem)),
        };
        json!({
            "version": 1,
            "client": self.client,
            "method": self.method.as_str(),
            "url": self.url.to_string(),
            "route": route.as_ref().map(|(host, path)| json!({ "host": host, "path": path })),
            "upstream": upstream,
            "read_as": reading.as_ref().map(|reading| {
                json!({ "method": reading.method.as_str(), "path": reading.path })
            }),
            "grant": grant.as_ref().map(|(place, at)| json!({ "index": place, "at": at })),
            "account": account,
            "outcome": outcome,
            "problem": problem.map(|problem| {
                json!({
                    "status": problem.status().as_u16(),
                    "code": problem.code(),
                    "detail": problem.to_string(),
                })
            }),
        })
    }
}
