//! Organizations and their stacks.

use axum::Json;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::entrance::{Session, Stack, api_key};
use super::refusal::Refusal;
use super::{API_KEY, ORGANIZATION, OTHER_API_KEY, OTHER_ORGANIZATION, Shared};
use crate::emulator::house::lock;

/// A stack that is always there.
pub struct StackFacts {
    pub api_key: &'static str,
    pub organization: &'static str,
    pub name: &'static str,
}

pub const STACKS: [StackFacts; 2] = [
    StackFacts { api_key: API_KEY, organization: ORGANIZATION, name: "Site" },
    StackFacts { api_key: OTHER_API_KEY, organization: OTHER_ORGANIZATION, name: "Other site" },
];

/// The organization that a call asks for, by header or query.
pub struct Organization(Option<String>);

#[derive(Deserialize)]
struct OrganizationQuery {
    organization_uid: Option<String>,
}

impl FromRequestParts<Shared> for Organization {
    type Rejection = Refusal;

    async fn from_request_parts(head: &mut Parts, _: &Shared) -> Result<Self, Refusal> {
        let header = head.headers.get("organization_uid").and_then(|value| value.to_str().ok());
        let header = header.map(str::to_owned);
        let query = Query::<OrganizationQuery>::try_from_uri(&head.uri).ok();
        Ok(Organization(header.or_else(|| query.and_then(|query| query.0.organization_uid))))
    }
}

pub async fn organizations(_: Session) -> Json<Value> {
    let organizations: Vec<Value> = STACKS
        .iter()
        .map(|stack| json!({ "uid": stack.organization, "name": format!("{} Ltd", stack.name) }))
        .collect();
    Json(json!({ "organizations": organizations }))
}

/// The stack of the call's key, or without one every stack of the user.
pub async fn stacks(
    State(site): State<Shared>,
    _: Session,
    Organization(organization): Organization,
    mut head: Parts,
) -> Result<Json<Value>, Refusal> {
    if api_key(&head.headers).is_some() {
        let Stack(stack) = Stack::from_request_parts(&mut head, &site).await?;
        return Ok(Json(json!({ "stack": described(stack) })));
    }
    if lock(&site.switches).single_sign_on_organization && organization.is_none() {
        return Err(Refusal::organization_missing());
    }
    let shown = STACKS.iter().filter(|stack| {
        organization.as_deref().is_none_or(|organization| organization == stack.organization)
    });
    Ok(Json(json!({ "stacks": shown.map(described).collect::<Vec<_>>() })))
}

/// A bulk operation is only taken in; nothing is published here.
pub async fn bulk(
    State(site): State<Shared>,
    _: Session,
    Stack(stack): Stack,
    Path(operation): Path<String>,
    body: Bytes,
) -> Response {
    site.house.tally.wrote(&format!("POST /bulk/{operation} {}", stack.api_key), &body);
    let notice = format!("Your bulk {operation} request is in progress.");
    Json(json!({ "notice": notice })).into_response()
}

fn described(stack: &StackFacts) -> Value {
    json!({
        "uid": stack.api_key,
        "name": stack.name,
        "api_key": stack.api_key,
        "org_uid": stack.organization,
        "master_locale": "en-us",
        "created_at": "2016-03-21T10:15:09.434Z",
        "updated_at": "2018-06-20T10:44:19.618Z",
        "settings": { "version": "2016-01-01" },
    })
}
