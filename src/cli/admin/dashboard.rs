//! `doorward dashboard`: the page of a running gateway in a browser, by a link that is good once.

use std::io::{self, Write};
use std::process::{Command, Stdio};

use tokio_util::sync::CancellationToken;

use super::super::signals::StopSignals;
use super::super::{Exit, print_chain};
use super::door::{AskError, Door};
use super::{Gateway, Shown, runtime, tell};
use crate::admin::Relay;
use crate::admin::answers::{Link, Status};
use crate::secret::Environment;
use serde_json::json;

/// Open the page of a running gateway in a browser, by a link that is good once and for a minute
#[derive(Clone, Debug, clap::Args)]
pub struct Dashboard {
    #[command(flatten)]
    gateway: Gateway,
    /// Only print the link
    #[arg(long)]
    print: bool,
}

impl Dashboard {
    /// Prints the link to `out`, and to `errors` why there is none. Where the gateway is reached by
    /// its socket alone, this command opens a port of this machine and serves it until a signal
    /// comes.
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
        let door = match self.gateway.door(environment) {
            Ok(door) => door,
            Err(error) => return tell(&error, errors),
        };
        let is_opened = shown.is_terminal && !self.print;
        runtime()?.block_on(async {
            match door.post::<Link>("/admin/v1/links", &json!({})).await {
                Ok(link) => {
                    writeln!(out, "{}", link.url)?;
                    out.flush()?;
                    if is_opened {
                        open(&link.url);
                    }
                    Ok(Exit::Ok)
                }
                // It is reached by its socket alone.
                Err(AskError::Refused { code, .. }) if code == "conflict" => {
                    relay(&door, is_opened, out, errors).await
                }
                Err(error) => tell(&error, errors),
            }
        })
    }
}

async fn relay(
    door: &Door,
    is_opened: bool,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<Exit> {
    // Whoever cannot ask need not open a port.
    if let Err(error) = door.get::<Status>("/admin/v1/status").await {
        return tell(&error, errors);
    }
    let mut signals = StopSignals::catch()?;
    let opened = Relay::open(door.path()).and_then(|relay| Ok((relay.link()?, relay)));
    let (link, relay) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            print_chain(&error, errors);
            return Ok(Exit::Failed);
        }
    };
    writeln!(out, "{link}")?;
    out.flush()?;
    writeln!(errors, "the page is served as long as this command runs: stop it with Ctrl-C")?;
    if is_opened {
        open(&link);
    }
    let stop = CancellationToken::new();
    let mut running = std::pin::pin!(relay.run(stop.clone()));
    tokio::select! {
        ended = running.as_mut() => ended?,
        () = signals.next() => {
            stop.cancel();
            running.await?;
        }
    }
    Ok(Exit::Ok)
}

/// Has the desktop open the link, where there is one. The link is printed in any case.
fn open(link: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    let command =
        command.arg(link).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Without a desktop nobody opens it.
    _ = command.spawn();
}
