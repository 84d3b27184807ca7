//! Sessions and users in REST API v2.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::StatusCode;
use serde_json::Value;

use super::ThoughtSpot;
use super::accounts::Proof;
use super::answers::{self, Failure};
use super::call::{Incoming, V2, flag, number, text};
use super::gate::{Caller, with_cookies};
use super::sessions::{Owner, Presented};
use super::v1::REFUSED;
use crate::emulator::house::lock;

type Site = State<Arc<ThoughtSpot>>;

pub fn routes() -> Router<Arc<ThoughtSpot>> {
    Router::new()
        .route(&format!("{V2}/auth/session/login"), post(login))
        .route(&format!("{V2}/auth/session/logout"), post(logout))
        .route(&format!("{V2}/auth/session/user"), get(current_user))
        .route(&format!("{V2}/users/search"), post(search_users))
        .route(&format!("{V2}/users/force-logout"), post(force_logout))
}

/// By password, or by a bearer token that becomes a session.
async fn login(State(site): Site, call: Incoming) -> Response {
    let asked = call.json();
    let owner = match (text(&asked, "username"), text(&asked, "password")) {
        (Some(username), Some(password)) => {
            let org = number(&asked, "org_identifier");
            site.owner_proved(username, Proof::Password(password), org)
        }
        (None, None) => site.bearer_owner(&call),
        _ => {
            site.house.tally.login_refused();
            Err(Failure::BadParameters("username or password is missing"))
        }
    };
    match owner {
        Err(failure) => site.refuse(&call.head, failure),
        Ok(owner) => {
            let status = site.switches().login_status;
            with_cookies(status, site.open_session(owner, flag(&asked, "remember_me")))
        }
    }
}

async fn logout(State(site): Site, Extension(caller): Extension<Caller>) -> StatusCode {
    site.log_out(&caller);
    StatusCode::NO_CONTENT
}

async fn current_user(
    State(site): Site,
    Extension(caller): Extension<Caller>,
    call: Incoming,
) -> Response {
    match lock(&site.accounts).of(&caller.owner.login) {
        Some(account) => Json(answers::user(account, caller.owner.org)).into_response(),
        None => site.refuse(&call.head, Failure::Unauthorized(REFUSED)),
    }
}

async fn search_users(
    State(site): Site,
    Extension(caller): Extension<Caller>,
    call: Incoming,
) -> Response {
    let asked = call.json();
    let accounts = lock(&site.accounts);
    let open = accounts.of(&caller.owner.login).map_or(&[][..], |account| &account.orgs);
    let orgs = asked.get("org_identifiers").and_then(Value::as_array);
    for wanted in orgs.into_iter().flatten().filter_map(org_number) {
        if !open.iter().any(|org| u64::from(*org) == wanted) {
            return site.refuse(&call.head, Failure::NoOrg(wanted));
        }
    }
    let wanted = text(&asked, "user_identifier");
    let users: Vec<Value> = accounts
        .all()
        .filter(|account| account.orgs.contains(&caller.owner.org))
        .filter(|account| wanted.is_none_or(|name| name == account.login() || name == account.id))
        .map(|account| answers::user(account, caller.owner.org))
        .collect();
    Json(users).into_response()
}

/// Ends the sessions of the users named, or of **everybody** when none is.
async fn force_logout(
    State(site): Site,
    Extension(caller): Extension<Caller>,
    call: Incoming,
) -> Response {
    if !site.is_administrator(&caller) {
        return site.refuse(&call.head, Failure::NoPrivilege);
    }
    let asked = call.json();
    let named = asked.get("user_identifiers").and_then(Value::as_array);
    let picked = |owner: &Owner| {
        named.is_none_or(|named| named.iter().any(|name| name.as_str() == Some(&owner.login)))
    };
    lock(&site.sessions).end(&site.switches(), site.now(), |owner, _| picked(owner));
    site.house.tally.wrote(call.target(), &call.body);
    StatusCode::NO_CONTENT.into_response()
}

impl ThoughtSpot {
    fn bearer_owner(&self, call: &Incoming) -> Result<Owner, Failure> {
        let bearer = Presented::on(&call.head.headers).bearer;
        let sessions = lock(&self.sessions);
        let key = bearer
            .as_deref()
            .and_then(|bearer| sessions.by_bearer(bearer, &self.switches(), self.now()));
        let owner = key.and_then(|key| sessions.owner(key));
        owner.ok_or_else(|| {
            self.house.tally.login_refused();
            match bearer {
                Some(_) => Failure::Unauthorized(REFUSED),
                None => Failure::BadParameters("username and password are missing"),
            }
        })
    }
}

fn org_number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
