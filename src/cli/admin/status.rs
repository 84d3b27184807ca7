//! `doorward status`: how a running gateway is.

use std::io::{self, Write};

use super::super::Exit;
use super::super::ink::{Colour, coloured};
use super::words::{duration, plain, table};
use super::{Gateway, Shown, runtime, tell};
use crate::admin::answers::{GatewayState, Recent, Status as Answer};
use crate::secret::Environment;

/// Say how a running gateway is: what needs a look, what goes on, how fast
#[derive(Clone, Debug, clap::Args)]
pub struct Status {
    #[command(flatten)]
    gateway: Gateway,
    /// Print one JSON object, as is done where standard output is no terminal
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Prints to `out`, and to `errors` why nothing is known. Exits with 1 where something needs a
    /// look.
    ///
    /// # Errors
    /// What `out` and `errors` refuse.
    pub fn run(
        &self,
        environment: Environment,
        shown: Shown,
        out: &mut impl Write,
        errors: &mut impl Write,
    ) -> io::Result<Exit> {
        let asked = self.gateway.door(environment).and_then(|door| {
            let runtime = runtime().map_err(super::AskError::Broken)?;
            runtime.block_on(door.get::<Answer>("/admin/v1/status"))
        });
        let status = match asked {
            Ok(status) => status,
            Err(error) => return tell(&error, errors),
        };
        match shown.is_json(self.json) {
            true => writeln!(out, "{}", serde_json::to_string(&status)?)?,
            false => print(&status, shown, out)?,
        }
        Ok(match status.troubles.is_empty() && status.state == GatewayState::Running {
            true => Exit::Ok,
            false => Exit::Failed,
        })
    }
}

fn print(status: &Answer, shown: Shown, out: &mut impl Write) -> io::Result<()> {
    let colour = match (status.state, status.troubles.is_empty()) {
        (GatewayState::Running, true) => Colour::Green,
        (GatewayState::Running, false) => Colour::Yellow,
        (GatewayState::Stopping, _) => Colour::Red,
    };
    writeln!(out, "{}", coloured(shown.paint, colour, &plain(&status.summary)))?;
    for trouble in &status.troubles {
        writeln!(out, "  ! {}", plain(trouble))?;
    }
    let configuration = &status.configuration;
    writeln!(
        out,
        "doorward {}, up {}, configuration {} ({})",
        plain(&status.version),
        duration(status.uptime_seconds.saturating_mul(1000)),
        plain(&configuration.files.join(", ")),
        plain(&configuration.sha256)
    )?;
    for listener in &status.listeners {
        let open = if listener.asks_for_clients { "" } else { ", open" };
        writeln!(out, "listening on {} ({}{open})", plain(&listener.url), plain(&listener.name))?;
    }
    let traffic = &status.traffic;
    writeln!(
        out,
        "clients {} -> routes {} -> sessions {} -> upstreams {}; {} connections, {} waiting",
        traffic.clients,
        traffic.routes,
        traffic.sessions,
        traffic.upstreams,
        traffic.connections,
        traffic.waiting
    )?;
    writeln!(out)?;
    let mut rows = Vec::new();
    let mut all = (0, 0);
    for upstream in &status.upstreams {
        let logins = (upstream.logins, upstream.logins_failed);
        all = (all.0 + logins.0, all.1 + logins.1);
        rows.push(row(&upstream.name, &upstream.recent, logins));
    }
    rows.push(row("all", &status.recent, all));
    let head = ["upstream", "req/s", "p50", "p95", "p99", "errors", "logins (1 h)"];
    table(&head, &rows, out)
}

/// A line of the table; `logins` are all and those of them that failed.
fn row(name: &str, recent: &Recent, logins: (usize, usize)) -> Vec<String> {
    let milliseconds =
        |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.0} ms"));
    let number = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |one| one.to_string());
    vec![
        name.to_owned(),
        number(recent.per_second),
        milliseconds(recent.p50_ms),
        milliseconds(recent.p95_ms),
        milliseconds(recent.p99_ms),
        recent.errors.map_or_else(|| "-".to_owned(), |errors| errors.to_string()),
        match logins {
            (all, 0) => all.to_string(),
            (all, failed) => format!("{all} ({failed} failed)"),
        },
    ]
}
