//! [`Control`] as JSON over HTTP, for tests in any language.
//!
//! | Call | Body | Answer |
//! |---|---|---|
//! | `GET /__admin/counters` | | [`Counters`](super::Counters) |
//! | `POST /__admin/counters/reset` | | 204 |
//! | `POST /__admin/expire` | `{}` or `{"session": token or cookie}` or `{"others_than": ...}` | `{"expired": n}` |
//! | `POST /__admin/users` | [`User`]: `{"login", "password", "kind"}` | 204 |
//! | `GET /__admin/switches` | | every switch with its value |
//! | `POST /__admin/switches` | `{"name", "value"}` | 204, or 400 |
//! | `POST /__admin/force` | [`Forced`] | 204, or 400 |
//! | `POST /__admin/force/clear` | | 204 |
//! | `POST /__admin/hold` | `{"matching"}` | `{"hold": id}` |
//! | `GET /__admin/hold/ID?arrived=N` | | `{"waiting": n}`, once N answers are kept back |
//! | `POST /__admin/hold/ID/release` | | 204 |
//! | `POST /__admin/maintenance` | `{"on": bool}` | 204 |
//! | `POST /__admin/clock` | `{"advance_ms": n}` | 204 |
//! | `GET /__admin/clock` | | `{"wall_ms": since 1970}` |
//! | `GET /__admin/issued` | | `[value, ...]` |
//! | `POST /__admin/requests-with` | `{"session": token or cookie}` | `{"requests": n}` |
//! | `GET /__admin/requests` | | [`RequestRecord`](super::RequestRecord)s |
//!
//! A kind is `"normal"`, `"locked"`, `"single_sign_on"` or `{"second_factor": {"secret": base32}}`.
//! Requests that came through a proxy (`Via`, `Forwarded`) get 404: this is the judge's door.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use http::header::{FORWARDED, VIA};
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::control::Control;
use super::force::Forced;
use super::hold::Hold;
use super::house::lock;
use super::user::User;

/// So many holds are kept for HTTP; the oldest is released for a further one.
const HOLDS_MAX: usize = 64;

#[derive(Clone)]
struct Desk {
    control: Control,
    holds: Arc<Mutex<BTreeMap<u64, Arc<Hold>>>>,
}

/// Whether this request is for the judge and not for the vendor.
pub fn is_admin(head: &Parts) -> bool {
    head.uri.path().starts_with("/__admin/")
        && !head.headers.contains_key(VIA)
        && !head.headers.contains_key(FORWARDED)
}

/// Every call of the table above.
pub fn router(control: Control) -> Router {
    Router::new()
        .route("/__admin/counters", get(counters))
        .route("/__admin/counters/reset", post(reset_counters))
        .route("/__admin/expire", post(expire))
        .route("/__admin/users", post(add_user))
        .route("/__admin/switches", get(switches).post(switch))
        .route("/__admin/force", post(force))
        .route("/__admin/force/clear", post(clear_forced))
        .route("/__admin/hold", post(hold))
        .route("/__admin/hold/{id}", get(arrived))
        .route("/__admin/hold/{id}/release", post(release))
        .route("/__admin/maintenance", post(maintenance))
        .route("/__admin/clock", get(wall).post(advance))
        .route("/__admin/issued", get(issued))
        .route("/__admin/requests", get(requests))
        .route("/__admin/requests-with", post(requests_with))
        .with_state(Desk { control, holds: Arc::default() })
}

async fn counters(State(desk): State<Desk>) -> Response {
    Json(desk.control.counters()).into_response()
}

async fn reset_counters(State(desk): State<Desk>) -> StatusCode {
    desk.control.reset_counters();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expire {
    session: Option<String>,
    others_than: Option<String>,
}

async fn expire(State(desk): State<Desk>, Json(which): Json<Expire>) -> Json<Value> {
    let expired = match (which.session, which.others_than) {
        (Some(session), _) => usize::from(desk.control.expire_session(&session)),
        (None, Some(kept)) => desk.control.expire_other_sessions(&kept),
        (None, None) => desk.control.expire_sessions(),
    };
    Json(json!({ "expired": expired }))
}

async fn add_user(State(desk): State<Desk>, Json(user): Json<User>) -> StatusCode {
    desk.control.add_user(user);
    StatusCode::NO_CONTENT
}

async fn switches(State(desk): State<Desk>) -> Json<Value> {
    Json(desk.control.switches())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    name: String,
    value: Value,
}

async fn switch(State(desk): State<Desk>, Json(turn): Json<Turn>) -> Response {
    done(desk.control.switch(&turn.name, turn.value))
}

async fn force(State(desk): State<Desk>, Json(forced): Json<Forced>) -> Response {
    done(desk.control.force(forced))
}

async fn clear_forced(State(desk): State<Desk>) -> StatusCode {
    desk.control.clear_forced();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Matching {
    matching: String,
}

async fn hold(State(desk): State<Desk>, Json(which): Json<Matching>) -> Json<Value> {
    let hold = Arc::new(desk.control.hold(&which.matching));
    let mut holds = lock(&desk.holds);
    if holds.len() >= HOLDS_MAX {
        holds.pop_first();
    }
    let id = holds.last_key_value().map_or(1, |(last, _)| last + 1);
    holds.insert(id, hold);
    Json(json!({ "hold": id }))
}

#[derive(Deserialize)]
struct Arrived {
    #[serde(default)]
    arrived: usize,
}

async fn arrived(
    State(desk): State<Desk>,
    Path(id): Path<u64>,
    Query(until): Query<Arrived>,
) -> Response {
    let Some(hold) = lock(&desk.holds).get(&id).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    hold.arrived(until.arrived).await;
    Json(json!({ "waiting": hold.waiting() })).into_response()
}

async fn release(State(desk): State<Desk>, Path(id): Path<u64>) -> StatusCode {
    match lock(&desk.holds).remove(&id) {
        Some(hold) => {
            hold.release();
            StatusCode::NO_CONTENT
        }
        None => StatusCode::NOT_FOUND,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Maintenance {
    on: bool,
}

async fn maintenance(State(desk): State<Desk>, Json(page): Json<Maintenance>) -> StatusCode {
    desk.control.maintenance(page.on);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: u64,
}

async fn advance(State(desk): State<Desk>, Json(by): Json<Advance>) -> StatusCode {
    desk.control.clock().advance(Duration::from_millis(by.advance_ms));
    StatusCode::NO_CONTENT
}

async fn wall(State(desk): State<Desk>) -> Json<Value> {
    let wall = desk.control.clock().wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    Json(json!({ "wall_ms": u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }))
}

async fn issued(State(desk): State<Desk>) -> Json<Vec<String>> {
    Json(desk.control.issued())
}

async fn requests(State(desk): State<Desk>) -> Response {
    Json(desk.control.requests()).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Session {
    session: String,
}

async fn requests_with(State(desk): State<Desk>, Json(which): Json<Session>) -> Json<Value> {
    Json(json!({ "requests": desk.control.requests_with(&which.session) }))
}

fn done<E: Display>(result: Result<(), E>) -> Response {
    match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}
