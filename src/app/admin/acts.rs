//! What operators may have done.

use std::time::SystemTime;

use super::super::StartError;
use super::View;
use super::described::Current;
use crate::access::key::{ClientId, Digest};
use crate::access::tombstones::{self, Outcome as Marked};
use crate::admin::gateway::{Action, Outcome, Refusal, Whose};
use crate::session::{Account, Broker, Pause, Scope, SessionKey, Unavailable, Upstream};
use crate::upstream::Unreached;

/// Fewer hex digits of a digest could be another key's tomorrow; as `doorward key revoke` has it.
const BEGINNING_CHARACTERS_MIN: usize = "sha256:".len() + 8;

pub(super) async fn act(view: &View, action: Action) -> Result<Outcome, Refusal> {
    let shared = view.shared().filter(|_| !view.stopping.is_cancelled());
    let shared = shared.ok_or(Refusal::Stopping)?;
    let (broker, current) = (&shared.broker, view.reloader.current());
    match action {
        Action::LogIn(whose) => log_in(broker, &current, &whose).await,
        Action::LogOut(whose) => log_out(broker, &current, &whose),
        Action::Clear { upstream, account } => {
            let (_, account) = named(&current, &upstream, &account)?;
            clear(broker, account).await
        }
        Action::Pause { upstream, retry_after } => {
            let was_paused = pause_of(&current, &upstream)?.begin(retry_after);
            Ok(done(match was_paused {
                true => "was paused already; clients are told to wait so long from now on",
                false => "nothing is sent there until it is resumed; what is under way goes on",
            }))
        }
        Action::Resume { upstream } => match pause_of(&current, &upstream)?.end() {
            true => Ok(done("requests are sent there again")),
            false => Err(Refusal::Conflict(format!("{upstream} is not paused"))),
        },
        Action::Revoke { digest } => revoke(&current, &digest).await,
        Action::Drain => {
            view.stop_asked.cancel();
            Ok(done("running requests end, then sessions are logged out, then the gateway ends"))
        }
        Action::Reload => reload(view).await,
    }
}

async fn log_in(broker: &Broker, current: &Current, whose: &Whose) -> Result<Outcome, Refusal> {
    let key = key(current, whose)?;
    let generation = broker.log_in_again(key).await.map_err(unavailable)?;
    let detail = "logged in; the session before is logged out once no request carries it";
    Ok(Outcome { generation: Some(generation.0), ..done(detail) })
}

fn log_out(broker: &Broker, current: &Current, whose: &Whose) -> Result<Outcome, Refusal> {
    match broker.log_out(key(current, whose)?) {
        Some(generation) => {
            let detail = "logged out once no request carries it; the next request logs in";
            Ok(Outcome { generation: Some(generation.0), ..done(detail) })
        }
        None => Err(Refusal::Conflict("there is no session to log out".to_owned())),
    }
}

async fn clear(broker: &Broker, account: &Account) -> Result<Outcome, Refusal> {
    let cleared = broker.clear(account.id).await.map_err(|error| {
        let detail = format!("cleared until the next start alone: {error}");
        Refusal::Unavailable { detail, retry_after: None }
    })?;
    let (was, left) = (cleared.was, cleared.attempts_left);
    Ok(done(&format!("was {was}, {left} attempts left; it has a whole budget now")))
}

/// Where anything is wrong nothing changes, and the faults are told, as `doorward check` does.
async fn reload(view: &View) -> Result<Outcome, Refusal> {
    let reloaded = view.reloader.reload().await;
    match &reloaded.outcome {
        Ok(()) => {
            let took = reloaded.took.as_millis();
            Ok(done(&format!("read again and in force, after {took} ms")))
        }
        Err(error) => match &**error {
            StartError::Stopping => Err(Refusal::Stopping),
            _ => {
                let faults = reloaded.faults().join("; ");
                Err(Refusal::Conflict(format!("nothing has changed: {faults}")))
            }
        },
    }
}

async fn revoke(current: &Current, digest: &str) -> Result<Outcome, Refusal> {
    let file = current.revoked_file.clone().ok_or_else(|| {
        let why = "there is no place for revoked keys: set `access.revoked_path`, or keep a \
                   `[state]`";
        Refusal::Conflict(why.to_owned())
    })?;
    let (digest, client) = found(current, digest)?;
    let keys = vec![(digest, client.clone())];
    let appending = move || {
        tombstones::append(&file, &keys, SystemTime::now()).map_err(|error| in_words(&error))
    };
    // A disk may be slow.
    let marked = tokio::task::spawn_blocking(appending).await;
    let failed = |detail| Refusal::Unavailable { detail, retry_after: None };
    let marked = match marked {
        Ok(marked) => marked.map_err(failed)?,
        Err(_) => return Err(failed("the file of revoked keys could not be written".to_owned())),
    };
    let whose = client.map_or_else(
        || "no client of the configuration".to_owned(),
        |client| format!("client {client}"),
    );
    Ok(done(&match marked.first() {
        Some(Marked::AlreadyRevoked) => format!("was revoked already, of {whose}"),
        _ => format!("revoked for ever, of {whose}; it is refused within a second"),
    }))
}

/// The key that is meant by its digest or the beginning of that, and whose it is.
fn found(current: &Current, text: &str) -> Result<(Digest, Option<ClientId>), Refusal> {
    let all = current.clients.iter();
    let all = all.flat_map(|client| client.keys.iter().map(move |key| (client, key.digest)));
    let of = |name: &str| name.parse::<ClientId>().ok();
    if let Ok(digest) = text.parse::<Digest>() {
        let holder = all.clone().find(|(_, known)| *known == digest);
        return Ok((digest, holder.and_then(|(client, _)| of(&client.name))));
    }
    // A key that was sent here by mistake is not repeated.
    if text.len() < BEGINNING_CHARACTERS_MIN || !text.starts_with("sha256:") {
        let why = "a digest is `sha256:` and 64 hex digits, or at least the first 8 of them";
        return Err(Refusal::Wrong(why.to_owned()));
    }
    let mut meant = all.filter(|(_, known)| known.to_string().starts_with(text));
    match (meant.next(), meant.next()) {
        (Some((client, digest)), None) => Ok((digest, of(&client.name))),
        (Some(_), Some(_)) => Err(Refusal::Wrong("more than one digest begins so".to_owned())),
        (None, _) => Err(Refusal::Unknown("no digest of the configuration begins so".to_owned())),
    }
}

fn key(current: &Current, whose: &Whose) -> Result<SessionKey, Refusal> {
    let (upstream, account) = named(current, &whose.upstream, &whose.account)?;
    let scope = match &whose.client {
        None => Scope::Shared,
        Some(name) => {
            let known = current.clients.iter().find(|client| client.name == *name);
            let number = known.and_then(|client| client.number);
            let unknown = || Refusal::Unknown(format!("there is no client `{name}`"));
            Scope::Client(number.ok_or_else(unknown)?)
        }
    };
    Ok(SessionKey::now(upstream, account, scope))
}

fn named<'c>(
    current: &'c Current,
    upstream: &str,
    account: &str,
) -> Result<(&'c Upstream, &'c Account), Refusal> {
    let known = current.upstreams.iter().map(|(known, _)| &**known);
    let known = known.filter(|known| *known.name == *upstream).find_map(|known| {
        let mut accounts = known.accounts.iter();
        accounts.find(|one| *one.name == *account).map(|account| (known, &**account))
    });
    known.ok_or_else(|| Refusal::Unknown(format!("there is no account `{upstream}.{account}`")))
}

fn pause_of<'c>(current: &'c Current, name: &str) -> Result<&'c Pause, Refusal> {
    let known = current.upstreams.iter().find(|(known, _)| *known.name == *name);
    let unknown = || Refusal::Unknown(format!("there is no upstream `{name}`"));
    known.map(|(upstream, _)| &*upstream.pause).ok_or_else(unknown)
}

fn done(detail: &str) -> Outcome {
    Outcome { detail: detail.to_owned(), generation: None }
}

/// Why there is no session, for an operator.
fn unavailable(why: Unavailable) -> Refusal {
    let retry_after = match &why {
        Unavailable::HeldBack { retry_after, .. }
        | Unavailable::Unreachable(Unreached::CircuitOpen { retry_after }) => Some(*retry_after),
        Unavailable::Stopping => return Refusal::Stopping,
        Unavailable::Refused(_) | Unavailable::Timeout | Unavailable::Unreachable(_) => None,
    };
    let detail = match &why {
        Unavailable::HeldBack { cause, .. } => {
            format!("{why} ({}): {}", cause.as_str(), cause.explanation())
        }
        Unavailable::Refused(Some(class)) => format!("{why} ({})", class.as_str()),
        _ => why.to_string(),
    };
    Refusal::Unavailable { detail, retry_after }
}

/// An error with its causes in one line.
fn in_words(error: &tombstones::TombstoneError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
