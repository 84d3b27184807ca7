//! Contentstack's refusals: a status, and JSON with a number of its own.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::accounts::Denied;
use super::switches::{Switches, UnknownApiKey};

/// An answer that says no.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    body: Value,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

impl Refusal {
    fn new(status: StatusCode, code: u32, message: &str, errors: Value) -> Self {
        let body = json!({ "error_message": message, "error_code": code, "errors": errors });
        Self { status, body }
    }

    /// No token, or a dead one: what a session's end looks like.
    pub fn not_logged_in() -> Self {
        let message = "You're not allowed in here unless you're logged in.";
        let errors = json!({ "authtoken": ["is not valid."] });
        Self::new(StatusCode::UNAUTHORIZED, 105, message, errors)
    }

    /// The session is good, the user lacks the right.
    pub fn denied_environment() -> Self {
        let message = "You don't have the permission to do this operation.";
        let errors = json!({ "environment": ["is not accessible."] });
        Self::new(StatusCode::UNAUTHORIZED, 161, message, errors)
    }

    pub fn api_key_missing() -> Self {
        Self::unknown_stack(StatusCode::PRECONDITION_FAILED, 109)
    }

    pub fn api_key_unknown(switches: &Switches) -> Self {
        match switches.unknown_api_key {
            UnknownApiKey::PreconditionFailed => Self::api_key_missing(),
            UnknownApiKey::Unauthorized => Self::unknown_stack(StatusCode::UNAUTHORIZED, 105),
        }
    }

    fn unknown_stack(status: StatusCode, code: u32) -> Self {
        let message = "We can't find that Stack. Please try again.";
        Self::new(status, code, message, json!({ "api_key": ["is not valid."] }))
    }

    pub fn organization_missing() -> Self {
        let message = "Please provide the organization UID.";
        let errors = json!({ "organization_uid": ["is a required field."] });
        Self::new(StatusCode::PRECONDITION_FAILED, 109, message, errors)
    }

    pub fn unknown_content_type(content_type: &str) -> Self {
        let message = format!("The Content Type '{content_type}' was not found. Please try again.");
        let errors = json!({ "uid": ["is not valid."] });
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, 118, &message, errors)
    }

    pub fn required(field: &str) -> Self {
        let errors = json!({ field: ["is a required field."] });
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, 119, "Bad data provided.", errors)
    }

    pub fn no_such_object() -> Self {
        let message = "The requested object doesn't exist.";
        Self::new(StatusCode::NOT_FOUND, 141, message, json!({ "uid": ["is not valid."] }))
    }

    pub fn too_many_requests() -> Self {
        let message = "API rate limit exceeded. Please try again later.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, 429, message, json!({}))
    }

    /// A login that gives no session. The codes are the vendor's; that a wrong or used one-time
    /// code has code 294 too is not documented.
    pub fn login(denied: Denied, switches: &Switches) -> Self {
        let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
        match denied {
            Denied::BadPassword => {
                let message = "Looks like your email or password is invalid. Please try again or \
                               reset your password.";
                let errors = json!({ "auth": ["is not valid."] });
                Self::new(unprocessable, 104, message, errors)
            }
            Denied::Locked => {
                let message = "Your account is temporarily locked because of too many failed \
                               login attempts. Please try again later.";
                let errors = json!({ "auth": ["is locked."] });
                Self::new(switches.locked_status.code(), 104, message, errors)
            }
            Denied::CodeMissing => Self::second_factor(
                switches.second_factor_status.code(),
                "Please login using the Two-Factor verification Token",
            ),
            Denied::CodeWrong => {
                Self::second_factor(unprocessable, "The Two-Factor verification Token is invalid.")
            }
            Denied::CodeUsed => Self::second_factor(unprocessable, "Totp has already been used."),
        }
    }

    fn second_factor(status: StatusCode, message: &str) -> Self {
        let body = json!({
            "error_message": message,
            "error_code": 294,
            "errors": [],
            "tfa_type": "totp_authenticator",
        });
        Self { status, body }
    }
}
