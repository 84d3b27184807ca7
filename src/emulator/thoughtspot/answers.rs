//! What ThoughtSpot answers: its errors in the shape of each version, its pages, and the objects
//! that both versions show.

use axum::Json;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::accounts::{Account, ORGS, grouped, stable_guid};
use super::call::Version;
use super::sessions::{Scope, Token};
use crate::emulator::mint::Mint;

/// Why a call is refused.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The cluster cannot do it: trusted authentication is off.
    Off(&'static str),
    /// A field is missing or wrong.
    BadParameters(&'static str),
    /// No live session, or a login that is refused.
    Unauthorized(&'static str),
    /// The session is fine, its user may not.
    NoPrivilege,
    /// The session is fine, its user has no access to this org.
    NoOrg(u64),
    /// The call lacks `X-Requested-By`; the status is a switch.
    NotRequestedBy(u16),
    /// Nothing is there.
    NotFound,
    /// Too many calls.
    TooMany,
}

impl Failure {
    pub fn answer(&self, version: Version, mint: &Mint) -> Response {
        let debug = Value::from(vec![self.text()]).to_string();
        let failure = json!({
            "code": self.code(),
            "incident_id_guid": object_guid(mint),
            "trace_id_guid": object_guid(mint),
            "debug": debug,
        });
        let body = match version {
            Version::V1 => failure,
            Version::V2 => json!({ "error": { "message": { "debug": failure } } }),
        };
        (self.status(), Json(body)).into_response()
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Off(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BadParameters(_) | Self::NoOrg(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::NoPrivilege => StatusCode::FORBIDDEN,
            Self::NotRequestedBy(status) => {
                StatusCode::from_u16(*status).unwrap_or(StatusCode::FORBIDDEN)
            }
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    fn code(&self) -> u32 {
        match self {
            Self::Off(_) | Self::TooMany => 10000,
            Self::BadParameters(_) | Self::NotFound => 10002,
            Self::Unauthorized(_) => 10003,
            Self::NoPrivilege | Self::NotRequestedBy(_) => 10023,
            Self::NoOrg(_) => 13090,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Off(text) | Self::BadParameters(text) | Self::Unauthorized(text) => {
                (*text).to_owned()
            }
            Self::NoPrivilege => "You do not have the privilege for this operation.".to_owned(),
            Self::NoOrg(org) => format!("You do not have access to org {org}."),
            Self::NotRequestedBy(_) => "Header X-Requested-By is missing.".to_owned(),
            Self::NotFound => "Nothing is here.".to_owned(),
            Self::TooMany => "Too many requests.".to_owned(),
        }
    }
}

/// The page that answers everything during maintenance, with 200.
pub fn maintenance_page() -> Response {
    Html(
        "<!DOCTYPE html><html><head><title>Site Maintenance</title></head><body>\
          <h1>Site Maintenance</h1><p>Service will be online shortly.</p></body></html>\n",
    )
    .into_response()
}

/// The page of the cluster's own front end.
pub async fn front_page() -> Html<&'static str> {
    Html("<!DOCTYPE html><html><head><title>ThoughtSpot</title></head><body></body></html>\n")
}

/// An identity that is no credential.
pub fn object_guid(mint: &Mint) -> String {
    grouped(&(mint.id() + &mint.id()))
}

/// The name of an org.
pub fn org_name(org: u32) -> &'static str {
    ORGS.iter().find(|(number, _)| *number == org).map_or("Unknown", |(_, name)| name)
}

/// The `User` of v2, complete.
pub fn user(account: &Account, org: u32) -> Value {
    let orgs: Vec<Value> =
        account.orgs.iter().map(|org| json!({ "id": org, "name": org_name(*org) })).collect();
    let mut user = json!({
        "id": account.id,
        "name": account.login(),
        "display_name": account.display_name,
        "visibility": "SHARABLE",
        "author_id": account.id,
        "current_org": { "id": org, "name": org_name(org) },
        "account_type": "LOCAL_USER",
        "account_status": "ACTIVE",
        "email": account.login(),
        "modifier_id": account.id,
        "orgs": orgs,
        "owner_id": account.id,
        "parent_type": "GROUP",
        "privileges": privileges(account),
        "super_user": account.administrator,
        "tenant_id": stable_guid("tenant"),
        "org_privileges": { org.to_string(): privileges(account) },
    });
    if let (Value::Object(user), Value::Object(traits)) = (&mut user, user_traits()) {
        user.extend(traits);
    }
    user
}

/// What is the same for every user.
fn user_traits() -> Value {
    json!({
        "can_change_password": true,
        "complete_detail": true,
        "creation_time_in_millis": CREATED_MILLIS,
        "deleted": false,
        "deprecated": false,
        "expiration_time_in_millis": null,
        "external": false,
        "favorite_metadata": [],
        "first_login_time_in_millis": CREATED_MILLIS,
        "group_mask": 4,
        "hidden": false,
        "home_liveboard": null,
        "incomplete_details": {},
        "is_first_login": false,
        "modification_time_in_millis": CREATED_MILLIS,
        "notify_on_share": true,
        "onboarding_experience_completed": true,
        "show_onboarding_experience": false,
        "system_user": false,
        "tags": [],
        "user_groups": [],
        "user_inherited_groups": [],
        "welcome_email_sent": true,
        "preferred_locale": "en-US",
        "extended_properties": {},
        "extended_preferences": {},
        "user_parameters": {},
        "access_control_properties": {},
        "variable_values": {},
    })
}

/// What v1's `session/info` says; it shows a bearer of the session.
pub fn session_info(account: &Account, org: u32, token: &str) -> Value {
    json!({
        "userName": account.login(),
        "userGUID": account.id,
        "userDisplayName": account.display_name,
        "userEmail": account.login(),
        "userType": "LOCAL_USER",
        "currentOrgId": org,
        "authToken": token,
        "privileges": privileges(account),
        "isSuperUser": account.administrator,
        "isSystemUser": false,
        "timezone": "UTC",
        "releaseVersion": "26.2.0.cl",
    })
}

/// The `Token` of v2, complete.
pub fn token(account: &Account, token: &Token) -> Value {
    json!({
        "token": token.value,
        "creation_time_in_millis": token.created,
        "expiration_time_in_millis": token.expires,
        "scope": scope(token),
        "valid_for_user_id": account.id,
        "valid_for_username": account.login(),
    })
}

/// The `AccessToken` of v2, which `auth/token/custom` gives.
pub fn access_token(account: &Account, token: &Token, mint: &Mint) -> Value {
    json!({
        "id": object_guid(mint),
        "token": token.value,
        "org": { "id": token.owner.org, "name": org_name(token.owner.org) },
        "user": { "id": account.id, "name": account.login() },
        "creation_time_in_millis": token.created,
        "expiration_time_in_millis": token.expires,
        "scope": { "access_type": "FULL", "objects": null },
    })
}

/// What `auth/token/validate` says of a live token.
pub fn validation(account: &Account, token: &Token) -> Value {
    json!({
        "creation_time_in_millis": token.created,
        "expiration_time_in_millis": token.expires,
        "scope": scope(token),
        "valid_for_user_id": account.login(),
        "token_type": "BEARER",
    })
}

fn scope(token: &Token) -> Value {
    let (access, object) = match &token.scope {
        Scope::Full => ("FULL", None),
        Scope::Object(object) => ("REPORT_BOOK_VIEW", Some(object)),
    };
    json!({ "access_type": access, "org_id": token.owner.org, "metadata_id": object })
}

fn privileges(account: &Account) -> Vec<&'static str> {
    let mut privileges = vec!["AUTHORING", "DATADOWNLOADING"];
    if account.administrator {
        privileges.push("ADMINISTRATION");
    }
    privileges
}

/// When everything on the cluster was made: 2026-01-01.
pub const CREATED_MILLIS: u64 = 1_767_225_600_000;
