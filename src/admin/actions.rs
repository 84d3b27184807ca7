//! What operators do. Everything that was asked for is told to all who keep a record, with who asked
//! and what came of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Api;
use super::answers::{Done, Link};
use super::doors::LINK_LIFE;
use super::gateway::{Action, Refusal, Whose};
use super::guard::Caller;
use super::problem::Problem;
use crate::telemetry::Operation;

/// The longest that an action is waited for; what it has begun goes on.
const ACTION_TIME_MAX: Duration = Duration::from_secs(120);

/// What clients of a paused upstream are told to wait where nobody says for how long.
const PAUSE: Duration = Duration::from_secs(60);

/// An empty object.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Whose session is meant.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OfClient {
    /// The client that has the session for itself; without it, the one that is shared.
    client: Option<String>,
}

/// How an upstream is paused.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pause {
    /// What clients are told to wait (`Retry-After`); 60 where nothing is said. The pause itself
    /// lasts until an operator ends it.
    #[schemars(range(min = 1, max = 86_400))]
    retry_after_seconds: Option<u64>,
}

/// Which key is revoked.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoke {
    /// The key's digest, or as much of it as logs show.
    digest: String,
}

type Body<T> = Result<Json<T>, JsonRejection>;

type Answered = Result<Json<Done>, Problem>;

pub(super) async fn log_in(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path((upstream, account)): Path<(String, String)>,
    body: Body<OfClient>,
) -> Answered {
    let OfClient { client } = read(body)?;
    act(&api, &caller, Action::LogIn(Whose { upstream, account, client })).await
}

pub(super) async fn log_out(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path((upstream, account)): Path<(String, String)>,
    body: Body<OfClient>,
) -> Answered {
    let OfClient { client } = read(body)?;
    act(&api, &caller, Action::LogOut(Whose { upstream, account, client })).await
}

pub(super) async fn clear(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path((upstream, account)): Path<(String, String)>,
    body: Body<Nothing>,
) -> Answered {
    read(body)?;
    act(&api, &caller, Action::Clear { upstream, account }).await
}

pub(super) async fn pause(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(upstream): Path<String>,
    body: Body<Pause>,
) -> Answered {
    let retry_after = match read(body)?.retry_after_seconds {
        None => PAUSE,
        Some(seconds @ 1..=86_400) => Duration::from_secs(seconds),
        Some(_) => return Err(Problem::bad_request("`retry_after_seconds` is 1 to 86400")),
    };
    act(&api, &caller, Action::Pause { upstream, retry_after }).await
}

pub(super) async fn resume(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(upstream): Path<String>,
    body: Body<Nothing>,
) -> Answered {
    read(body)?;
    act(&api, &caller, Action::Resume { upstream }).await
}

pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Body<Revoke>,
) -> Answered {
    let Revoke { digest } = read(body)?;
    act(&api, &caller, Action::Revoke { digest }).await
}

pub(super) async fn drain(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Body<Nothing>,
) -> Answered {
    read(body)?;
    act(&api, &caller, Action::Drain).await
}

pub(super) async fn reload(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Body<Nothing>,
) -> Answered {
    read(body)?;
    act(&api, &caller, Action::Reload).await
}

pub(super) async fn link(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Body<Nothing>,
) -> Result<Json<Link>, Problem> {
    read(body)?;
    let Some(address) = api.tcp else {
        let why = "the admin API is not reached over TCP: `doorward dashboard` opens a port itself";
        return Err(Refusal::Conflict(why.to_owned()).into());
    };
    let path = api.doors.link(LINK_LIFE).map_err(|error| Refusal::Conflict(error.to_string()))?;
    report(&api, &caller, "link", String::new(), Ok(()));
    let url = format!("http://{}{path}", reached_by(address, api.doors.hosts()));
    Ok(Json(Link { url, expires_in_seconds: LINK_LIFE.as_secs() }))
}

/// Host and port of a link: an address that stands for all of a machine's leads nowhere, so that a
/// name of it is taken, or else this machine.
fn reached_by(address: SocketAddr, hosts: &[String]) -> String {
    let port = address.port();
    match (address.ip().is_unspecified(), hosts.first()) {
        (false, _) => address.to_string(),
        (true, Some(host)) => format!("{host}:{port}"),
        (true, None) => format!("localhost:{port}"),
    }
}

fn read<T>(body: Body<T>) -> Result<T, Problem> {
    match body {
        Ok(Json(body)) => Ok(body),
        Err(rejection) => Err(Problem::bad_request(rejection.body_text())),
    }
}

/// Does it in a task of its own: what was begun goes on, and is told of, when whoever asked leaves.
async fn act(api: &Arc<Api>, caller: &Caller, action: Action) -> Answered {
    let (name, subject) = (action.name(), action.subject());
    let (api, caller) = (Arc::clone(api), caller.clone());
    let told = subject.clone();
    let acting = tokio::spawn(async move {
        let acted = tokio::time::timeout(ACTION_TIME_MAX, api.gateway.act(action)).await;
        let outcome = match &acted {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(refusal)) => Err(refusal.to_string()),
            Err(_) => Err("it has not ended in time".to_owned()),
        };
        report(&api, &caller, name, told, outcome);
        acted
    });
    match acting.await {
        Ok(Ok(Ok(outcome))) => Ok(Json(Done {
            action: name.to_owned(),
            subject,
            detail: outcome.detail,
            generation: outcome.generation,
        })),
        Ok(Ok(Err(refusal))) => Err(refusal.into()),
        // A task that died has said so itself.
        Ok(Err(_)) | Err(_) => Err(Problem::timeout()),
    }
}

fn report(
    api: &Api,
    caller: &Caller,
    action: &'static str,
    subject: String,
    outcome: Result<(), String>,
) {
    let who = Arc::clone(&caller.0);
    api.gateway.report(Operation { who, action, subject, outcome });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a link names an address that leads nowhere.
    #[test]
    fn a_link_leads_to_where_the_port_is_reached() {
        let named = ["doorward.internal".to_owned()];
        for (address, hosts, expected) in [
            ("127.0.0.1:81", &named[..], "127.0.0.1:81"),
            ("[::1]:81", &[], "[::1]:81"),
            ("0.0.0.0:81", &named, "doorward.internal:81"),
            ("[::]:81", &[], "localhost:81"),
        ] {
            assert_eq!(reached_by(address.parse().unwrap(), hosts), expected);
        }
    }
}
