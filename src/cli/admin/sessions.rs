//! `doorward sessions`: the sessions of a running gateway, and what can be done to them.

use std::io::{self, Write};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::super::Exit;
use super::super::ink::{Colour, coloured};
use super::door::{AskError, Door};
use super::words::{maybe, plain, table};
use super::{Gateway, Shown, runtime, tell};
use crate::admin::answers::{Done, LoginOutcome, Session, SessionState};
use crate::secret::Environment;

/// List the sessions of a running gateway, log in again, log out, lift a quarantine
#[derive(Clone, Debug, clap::Args)]
pub struct Sessions {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    gateway: Gateway,
    /// Print one JSON object, as is done where standard output is no terminal
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// List sessions, logins under way, and accounts without either (what is done without a command)
    List,
    /// Log in again; the session that is there serves until then
    Relogin(OfClient),
    /// Log a session out once no request carries it
    Logout(OfClient),
    /// Give an account a whole budget of login attempts and lift its quarantine
    Clear(Whose),
}

#[derive(Clone, Debug, clap::Args)]
struct Whose {
    /// The upstream's name in the configuration
    upstream: String,
    /// The account's name
    account: String,
}

#[derive(Clone, Debug, clap::Args)]
struct OfClient {
    #[command(flatten)]
    whose: Whose,
    /// The client that has the session for itself; without it, the one that is shared
    #[arg(long)]
    client: Option<String>,
}

/// What names are made of, in a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

impl Sessions {
    /// Prints to `out`, and to `errors` why nothing was done.
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
        let (runtime, is_json) = (runtime()?, shown.is_json(self.json));
        let acted = match &self.command {
            None | Some(Command::List) => {
                let listed = runtime.block_on(door.list::<Session>("/admin/v1/sessions"));
                return match listed {
                    Ok(sessions) => print(&sessions, is_json, shown, out).map(|()| Exit::Ok),
                    Err(error) => tell(&error, errors),
                };
            }
            Some(Command::Relogin(of)) => runtime.block_on(act(&door, "log_in", of)),
            Some(Command::Logout(of)) => runtime.block_on(act(&door, "log_out", of)),
            Some(Command::Clear(whose)) => {
                runtime.block_on(door.post(&path(whose, "clear"), &json!({})))
            }
        };
        match acted {
            Ok(done) if is_json => writeln!(out, "{}", serde_json::to_string(&done)?)?,
            Ok(Done { subject, detail, generation, .. }) => {
                let session = generation.map(|number| format!(" session {number}:"));
                let session = session.unwrap_or_default();
                writeln!(out, "{}:{session} {}", plain(&subject), plain(&detail))?;
            }
            Err(error) => return tell(&error, errors),
        }
        Ok(Exit::Ok)
    }
}

async fn act(door: &Door, action: &str, of: &OfClient) -> Result<Done, AskError> {
    let body: Value = match &of.client {
        Some(client) => json!({ "client": client }),
        None => json!({}),
    };
    door.post(&path(&of.whose, action), &body).await
}

fn path(Whose { upstream, account }: &Whose, action: &str) -> String {
    let [upstream, account] = [upstream, account].map(|name| utf8_percent_encode(name, SEGMENT));
    format!("/admin/v1/sessions/{upstream}/{account}/{action}")
}

fn print(
    sessions: &[Session],
    is_json: bool,
    shown: Shown,
    out: &mut impl Write,
) -> io::Result<()> {
    if is_json {
        return writeln!(out, "{}", json!({ "sessions": sessions }));
    }
    let rows: Vec<Vec<String>> = sessions.iter().map(row).collect();
    let head = [
        "upstream",
        "account",
        "client",
        "state",
        "session",
        "age",
        "ends in",
        "in use",
        "waiting",
        "last login",
    ];
    table(&head, &rows, out)?;
    for session in sessions {
        let advice = match session.state {
            SessionState::Quarantined => "no login until the secret changes or it is cleared",
            SessionState::HeldBack => "no login for a while",
            _ => continue,
        };
        let cause = session.cause.as_deref().unwrap_or("unknown");
        let line = format!("{}.{}: {advice} ({cause})", session.upstream, session.account);
        writeln!(out, "{}", coloured(shown.paint, Colour::Yellow, &plain(&line)))?;
    }
    Ok(())
}

fn row(session: &Session) -> Vec<String> {
    let state = match session.state {
        SessionState::None => "none".to_owned(),
        SessionState::LoggingIn => "logging in".to_owned(),
        SessionState::Live => "live".to_owned(),
        SessionState::Renewing => "renewing".to_owned(),
        SessionState::HeldBack => format!("held back {}", maybe(session.retry_in_ms)),
        SessionState::Quarantined => "quarantined".to_owned(),
    };
    let login = session.last_login.as_ref().map(|login| match login.outcome {
        LoginOutcome::LoggedIn => format!("{} in {}", login.trigger, maybe(Some(login.took_ms))),
        LoginOutcome::Failed => {
            format!("failed: {}", login.cause.as_deref().unwrap_or("unknown"))
        }
    });
    vec![
        session.upstream.clone(),
        session.account.clone(),
        session.client.clone().unwrap_or_else(|| "all".to_owned()),
        state,
        session.generation.map_or_else(|| "-".to_owned(), |number| number.to_string()),
        maybe(session.age_ms),
        maybe(session.expires_in_ms),
        session.holds.to_string(),
        session.waiters.to_string(),
        login.unwrap_or_else(|| "-".to_owned()),
    ]
}
