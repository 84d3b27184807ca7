//! `doorward explain`: which rule decides about a client's request.

use std::io::{self, Write};

use http::{Method, Uri};
use serde_json::json;

use super::{ConfigFiles, Exit, print_chain};
use crate::app::{self, Explained, Held, Outcome, Question};
use crate::diagnosis::Paint;
use crate::limit::Kind;
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
        let Explained { route, upstream, reading, grant, account, limits, outcome } = explained;
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
        for limit in limits {
            let (whose, bounds) = (limit.whose.as_str(), words(limit).join(", "));
            writeln!(out, "limit     {whose}: {bounds} ({})", limit.at)?;
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
        let Explained { route, upstream, reading, grant, account, limits, outcome } = explained;
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
            "limits": limits.iter().map(limit).collect::<Vec<_>>(),
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

/// What a limit bounds, for people.
fn words(limit: &Held) -> Vec<String> {
    let rate = limit.rate.map(|(rate, kind)| {
        let what = kind.map_or("requests", Kind::as_str);
        let per = jiff::SignedDuration::try_from(rate.per).unwrap_or(jiff::SignedDuration::MAX);
        format!("{} {what} in {per:#}, {} at once", rate.requests, rate.burst)
    });
    let in_flight = limit.in_flight_max.map(|most| format!("{most} under way"));
    let waiting = match limit.waiting_max {
        0 => "nobody waits".to_owned(),
        most => format!("{most} wait"),
    };
    rate.into_iter().chain(in_flight).chain([waiting]).collect()
}

fn limit(limit: &Held) -> serde_json::Value {
    json!({
        "of": limit.whose.as_str(),
        "at": limit.at,
        "rate": limit.rate.map(|(rate, kind)| {
            json!({
                "counts": kind.map_or("all", Kind::as_str),
                "requests": rate.requests,
                "per_ms": u64::try_from(rate.per.as_millis()).unwrap_or(u64::MAX),
                "burst": rate.burst,
            })
        }),
        "in_flight_max": limit.in_flight_max,
        "waiting_max": limit.waiting_max,
    })
}
