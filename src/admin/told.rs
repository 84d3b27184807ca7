//! Events as answers show them, and the story of a request in words.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::answers::{self, Decision, LastLogin, LoginOutcome, SessionChange, milliseconds, time};
use crate::telemetry::stories::Story;
use crate::telemetry::{self, About, Event, Login, ReloadStage, Stage};

/// How many requests waited for each login, by upstream and generation, as far as they are kept.
#[derive(Debug, Default)]
pub(super) struct Shares(HashMap<(Arc<str>, u64), usize>);

impl Shares {
    /// Of requests that waited for a login at this upstream, which gave this session.
    pub(super) fn of(awaited: impl IntoIterator<Item = (Arc<str>, u64)>) -> Self {
        let mut shares = HashMap::new();
        for login in awaited {
            *shares.entry(login).or_insert(0) += 1;
        }
        Self(shares)
    }

    fn with(&self, upstream: Option<&Arc<str>>, generation: Option<u64>) -> usize {
        let of = |upstream: &Arc<str>| self.0.get(&(Arc::clone(upstream), generation?)).copied();
        upstream.and_then(of).unwrap_or(0)
    }
}

/// A request that ended.
pub(super) fn request(one: &Story, shares: &Shares) -> answers::Request {
    let shared = match one.awaited {
        true => shares.with(one.upstream.as_ref(), one.generation).max(1),
        false => 0,
    };
    answers::Request {
        id: one.id.to_string(),
        at: time(one.at),
        client: one.client.as_deref().map(str::to_owned),
        peer: one.peer.map(|peer| peer.to_string()),
        upstream: one.upstream.as_deref().map(str::to_owned),
        account: one.account.as_deref().map(str::to_owned),
        method: one.method.to_string(),
        path: one.path.clone(),
        decision: match one.decision {
            telemetry::Decision::Forwarded => Decision::Forwarded,
            telemetry::Decision::AnsweredLocally => Decision::AnsweredLocally,
            telemetry::Decision::Refused => Decision::Refused,
            telemetry::Decision::Abandoned => Decision::Abandoned,
        },
        status: one.status,
        reason: one.reason.to_owned(),
        generation: one.generation,
        replayed: one.replayed,
        refused: one.refused.map(|refused| answers::Refused {
            generation: refused.generation,
            status: refused.status.as_u16(),
        }),
        awaited_login: one.awaited,
        login_shared_by: shared,
        waited_ms: one.waited.map(milliseconds),
        session_ms: one.session_after.map(milliseconds),
        head_ms: one.head_after.map(milliseconds),
        took_ms: milliseconds(one.took),
        body_bytes: one.body_bytes,
        redacted: one.redacted,
        story: story(one, shared),
    }
}

/// What happened to a request, step by step.
fn story(one: &Story, shared: usize) -> String {
    let mut steps = Vec::new();
    let waited = one.waited.map(milliseconds).filter(|waited| *waited > 0);
    if let Some(waited) = waited {
        steps.push(format!("waited {waited} ms for its turn"));
    }
    if let Some(refused) = one.refused {
        let (generation, status) = (refused.generation, refused.status.as_u16());
        steps.push(format!("session {generation} was refused ({status})"));
    }
    if one.awaited {
        steps.push(match shared {
            0 | 1 => "waited for a login".to_owned(),
            shared => format!("1 login shared by {shared} waiting requests"),
        });
    }
    match (one.generation, one.replayed) {
        (Some(generation), true) => steps.push(format!("replayed with session {generation}")),
        (Some(generation), false) if one.refused.is_none() => {
            steps.push(format!("sent with session {generation}"));
        }
        _ => {}
    }
    if one.redacted > 0 {
        steps.push(format!("{} secrets were taken out of the answer", one.redacted));
    }
    let (status, took) = (one.status, milliseconds(one.took));
    steps.push(match (one.decision, one.reason) {
        (_, "forwarded" | "replayed") => format!("{status} from the upstream after {took} ms"),
        (telemetry::Decision::Abandoned, _) | (_, "client_left") => {
            format!("the client left after {took} ms")
        }
        (telemetry::Decision::AnsweredLocally, _) => {
            format!("{status} by Doorward in the upstream's place after {took} ms")
        }
        (telemetry::Decision::Refused, reason) => {
            format!("{status} by Doorward after {took} ms ({reason})")
        }
        (telemetry::Decision::Forwarded, reason) => {
            format!("{status} after {took} ms ({reason})")
        }
    });
    steps.join("; ")
}

/// A login that ended.
pub(super) fn login(at: SystemTime, login: &Login, shares: &Shares) -> answers::Login {
    let (outcome, cause, generation) = outcome(login);
    answers::Login {
        at: time(at),
        upstream: login.upstream.to_string(),
        account: login.account.to_string(),
        trigger: login.trigger.as_str().to_owned(),
        outcome,
        cause,
        generation,
        took_ms: milliseconds(login.took),
        shared_by: shares.with(Some(&login.upstream), generation),
    }
}

pub(super) fn last_login(at: SystemTime, login: &Login) -> LastLogin {
    let (outcome, cause, _) = outcome(login);
    LastLogin {
        at: time(at),
        trigger: login.trigger.as_str().to_owned(),
        outcome,
        cause,
        took_ms: milliseconds(login.took),
    }
}

fn outcome(login: &Login) -> (LoginOutcome, Option<String>, Option<u64>) {
    match &login.outcome {
        Ok(generation) => (LoginOutcome::LoggedIn, None, Some(*generation)),
        Err(cause) => (LoginOutcome::Failed, Some(cause.clone()), None),
    }
}

/// What else happened to sessions, accounts, upstreams or by operators; nothing of what is about the
/// process and its files, which the log tells.
pub(super) fn change(at: SystemTime, event: &Event) -> Option<SessionChange> {
    let new = |what: &str, upstream: Option<&str>, account: Option<&str>, detail: String| {
        Some(SessionChange {
            at: time(at),
            what: what.to_owned(),
            upstream: upstream.map(str::to_owned),
            account: account.map(str::to_owned),
            generation: None,
            detail,
        })
    };
    let about = |what: &str, one: &About, detail: String| {
        let change = new(what, Some(&one.upstream), Some(&one.account), detail)?;
        Some(SessionChange { generation: Some(one.generation), ..change })
    };
    match event {
        Event::Expired(one) => about("expired", one, "the session was found dead".to_owned()),
        Event::LateExpiry(one) => {
            about("late_expiry", one, "an older session was found dead: nothing to do".to_owned())
        }
        Event::Probe { about: one, alive, .. } => {
            let found = if *alive { "alive" } else { "dead" };
            about("probed", one, format!("the upstream was asked: {found}"))
        }
        Event::Logout { about: one, confirmed, .. } => {
            let confirmed = if *confirmed { "logged out" } else { "logout was not confirmed" };
            about("logged_out", one, confirmed.to_owned())
        }
        Event::Refreshed { about: one, outcome, took } => {
            let took = milliseconds(*took);
            let detail = match outcome {
                Ok(next) => format!("prolonged as session {next} in {took} ms"),
                Err(cause) => format!("could not be prolonged: {cause}"),
            };
            about("refreshed", one, detail)
        }
        Event::Renewed { about: one, outcome, took } => {
            let took = milliseconds(*took);
            let detail = match outcome {
                Ok(next) => format!("has fresh values as session {next} after {took} ms"),
                Err(cause) => format!("its values could not be renewed: {cause}"),
            };
            about("renewed", one, detail)
        }
        Event::LetGo { about: one, why } => about("let_go", one, why.as_str().to_owned()),
        Event::Displaced { about: one, pause } => {
            let seconds = pause.as_secs();
            let detail =
                format!("somebody else logs in with this account: no login for {seconds} s");
            about("displaced", one, detail)
        }
        Event::Paused { upstream, account, pause } => {
            let detail = format!("the upstream asks to wait {} s", pause.as_secs());
            new("paused", Some(upstream), Some(account), detail)
        }
        Event::Quarantined { upstream, account, cause } => {
            let detail = format!("no login until the secret changes ({cause})");
            new("quarantined", Some(upstream), Some(account), detail)
        }
        Event::Rotation(rotation) => {
            let detail = match &rotation.stage {
                Stage::Begun => "the secret has changed".to_owned(),
                Stage::Waiting { cause, .. } => {
                    format!("the new secret cannot be tried yet ({cause})")
                }
                Stage::Done { .. } => "the new secret is in use".to_owned(),
                Stage::Refused { cause } => format!("the new secret was refused ({cause})"),
            };
            new("rotation", Some(&rotation.upstream), Some(&rotation.account), detail)
        }
        Event::Adopted(one) => {
            about("adopted", one, "a session of an earlier run is used on".to_owned())
        }
        Event::LeftOpen { upstream, account, closed } => {
            let closed = if *closed { "closed" } else { "not closed" };
            let detail = format!("a session of an earlier run is {closed}");
            new("left_open", Some(upstream), Some(account), detail)
        }
        Event::AnswerLost { upstream, account, what } => {
            new("answer_lost", Some(upstream), Some(account), what.as_str().to_owned())
        }
        Event::Reach(one) => {
            new("reach", Some(&one.upstream), None, one.change.phrase().to_owned())
        }
        Event::Reload(one) => {
            let detail = match &one.stage {
                ReloadStage::Begun => "the configuration is read again".to_owned(),
                ReloadStage::Done { took } => {
                    format!("another configuration is in force, after {} ms", took.as_millis())
                }
                ReloadStage::Failed { .. } => {
                    "the configuration that was read cannot be used: nothing has changed".to_owned()
                }
            };
            new("reload", None, None, detail)
        }
        Event::Operator(one) => {
            let outcome = match &one.outcome {
                Ok(()) => String::new(),
                Err(cause) => format!(": {cause}"),
            };
            let detail = format!("{} {} by {}{outcome}", one.action, one.subject, one.who);
            new("operator", None, None, detail)
        }
        Event::Login(_)
        | Event::Request(_)
        | Event::Rejected(_)
        | Event::SecretTrouble(_)
        | Event::StateUnwritable { .. }
        | Event::StateNotice(_)
        | Event::Revocation(_)
        | Event::IssuerKeys(_)
        | Event::Audit(_)
        | Event::Strain(_) => None,
    }
}
