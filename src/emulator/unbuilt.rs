//! The site of a vendor that is not built: 501 for everything.

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::Credential;
use super::site::{Call, Judged, Site};
use super::switches::{UnknownSwitch, turned};
use super::user::User;

/// Answers 501.
#[derive(Debug)]
pub struct Unbuilt;

#[derive(Serialize, Deserialize)]
struct NoSwitches {}

impl Site for Unbuilt {
    fn router(self: Arc<Self>) -> Router {
        Router::new().fallback(|| async { StatusCode::NOT_IMPLEMENTED })
    }

    fn judge(&self, _: &Parts) -> Judged {
        Judged { call: Call::Open, credential: Credential::None }
    }

    fn add_user(&self, _: User) {}

    fn switch(&self, name: &str, value: Value) -> Result<(), UnknownSwitch> {
        turned(&NoSwitches {}, name, value).map(drop)
    }

    fn switches(&self) -> Value {
        Value::Object(serde_json::Map::new())
    }

    fn live_sessions(&self) -> u64 {
        0
    }

    fn expire_sessions(&self) -> usize {
        0
    }

    fn expire_session(&self, _: &str) -> bool {
        false
    }

    fn expire_others(&self, _: &str) -> usize {
        0
    }

    fn maintenance(&self) -> Response {
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    }
}
