//! Login, logout and the user's own record.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::accounts::Attempt;
use super::entrance::Session;
use super::profile;
use super::refusal::Refusal;
use super::{Contentstack, Shared};
use crate::emulator::house::lock;
use crate::emulator::user::Kind;

pub async fn login(State(site): State<Shared>, body: Bytes) -> Result<Json<Value>, Refusal> {
    site.login(&attempt(&body)).map(Json)
}

pub async fn logout(State(site): State<Shared>, session: Session) -> Json<Value> {
    lock(&site.tokens).end(&session.token);
    site.house.tally.logged_out();
    Json(json!({ "notice": "You've logged out successfully!" }))
}

/// No code is sent: nobody here has a telephone. The vendor does not say whether the account
/// exists either.
pub async fn request_code() -> Json<Value> {
    Json(json!({ "notice": "Please use the security token sent to your mobile number." }))
}

pub async fn user(State(site): State<Shared>, session: Session) -> Result<Json<Value>, Refusal> {
    site.user(&session).map(|user| Json(json!({ "user": user })))
}

pub async fn update_user(
    State(site): State<Shared>,
    session: Session,
    body: Bytes,
) -> Result<Response, Refusal> {
    let update: Value = serde_json::from_slice(&body).unwrap_or_default();
    let fields = update.get("user").and_then(Value::as_object);
    let fields = fields.ok_or_else(|| Refusal::required("user"))?;
    if let Some(account) = lock(&site.accounts).of_mut(&session.email) {
        account.changed.extend(profile::changeable(fields));
    }
    site.house.tally.wrote("PUT /user", &body);
    let user = site.user(&session)?;
    let answer = json!({ "notice": "Profile updated successfully.", "user": user });
    Ok((StatusCode::OK, Json(answer)).into_response())
}

impl Contentstack {
    fn login(&self, attempt: &Attempt) -> Result<Value, Refusal> {
        let switches = self.switches_now();
        let (clock, tally) = (&self.house.clock, &self.house.tally);
        let mut accounts = lock(&self.accounts);
        let account = accounts.prove(attempt, clock, tally).map_err(|denied| {
            tally.login_refused();
            Refusal::login(denied, &switches)
        })?;

        // At the identity provider's users the vendor says 200 and gives no token.
        let token = if matches!(account.user.kind, Kind::SingleSignOn) {
            tally.login_refused();
            None
        } else {
            let token = self.house.mint.blt();
            let email = &account.user.login;
            lock(&self.tokens).add(token.clone(), email, clock.now(), switches.token_cap);
            tally.logged_in();
            Some(token)
        };
        let user = profile::user(account, token.as_deref(), switches.roles);
        Ok(json!({ "notice": "Login Successful.", "user": user }))
    }

    fn user(&self, session: &Session) -> Result<Value, Refusal> {
        let roles = lock(&self.switches).roles;
        let accounts = lock(&self.accounts);
        let account = accounts.of(&session.email).ok_or_else(Refusal::not_logged_in)?;
        Ok(profile::user(account, Some(&session.token), roles))
    }
}

/// What the body says; what it does not say is empty, and no account is called that.
fn attempt(body: &[u8]) -> Attempt {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |pointer| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Attempt {
        email: text("/user/email").unwrap_or_default(),
        password: text("/user/password").unwrap_or_default(),
        code: text("/user/tfa_token").filter(|code| !code.is_empty()),
    }
}
