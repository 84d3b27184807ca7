//! What a vendor's server must be able to do for the frame.

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use http::request::Parts;
use serde_json::Value;

use super::record::Credential;
use super::switches::UnknownSwitch;
use super::user::User;

/// One vendor's server. The frame asks it to judge each request's head once, at arrival; its
/// router then answers. Handlers report what they did to [`Tally`](super::counters::Tally).
pub trait Site: Send + Sync {
    /// Every route of the vendor's namespace. Targets arrive as the client wrote them.
    fn router(self: Arc<Self>) -> Router;

    /// What kind of call this is and what credential it carries. Changes nothing.
    fn judge(&self, head: &Parts) -> Judged;

    /// Adds or replaces a user.
    fn add_user(&self, user: User);

    /// Turns one of the vendor's switches.
    fn switch(&self, name: &str, value: Value) -> Result<(), UnknownSwitch>;

    /// Every switch with its present value.
    fn switches(&self) -> Value;

    /// How many sessions would be accepted now.
    fn live_sessions(&self) -> u64;

    /// Ends every session on the server; returns how many were live.
    fn expire_sessions(&self) -> usize;

    /// Ends the session that this token or cookie value belongs to; says whether it was live.
    fn expire_session(&self, credential: &str) -> bool;

    /// Ends every session of the same user but this one; returns how many were live.
    fn expire_others(&self, credential: &str) -> usize;

    /// The vendor's maintenance page.
    fn maintenance(&self) -> Response;

    /// Whether JSON answers are compressed for clients that accept it.
    fn compresses(&self) -> bool {
        false
    }
}

/// A request as judged at arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    pub call: Call,
    pub credential: Credential,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// It asks for a session. A credential on it is noted, but not needed.
    Login,
    /// Anybody may call it.
    Open,
    /// It needs a live credential.
    Guarded,
}
