//! Bearer tokens: v1's trusted authentication and v2's `auth/token`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::StatusCode;
use serde_json::Value;

use super::ThoughtSpot;
use super::accounts::{Account, Proof};
use super::answers::{self, Failure};
use super::call::{Incoming, V1, V2, flag, number, text};
use super::gate::Caller;
use super::sessions::{Owner, Scope, Sessions, Token};
use super::v1::REFUSED;
use crate::emulator::house::lock;

/// How long a token lives that a session asks for (`auth/session/token`).
const SESSION_TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

type Site = State<Arc<ThoughtSpot>>;

pub fn routes() -> Router<Arc<ThoughtSpot>> {
    Router::new()
        .route(&format!("{V1}/session/auth/token"), post(trusted))
        .route(&format!("{V2}/auth/token/full"), post(full))
        .route(&format!("{V2}/auth/token/object"), post(object))
        .route(&format!("{V2}/auth/token/custom"), post(custom))
        .route(&format!("{V2}/auth/session/token"), get(of_session))
        .route(&format!("{V2}/auth/token/revoke"), post(revoke))
        .route(&format!("{V2}/auth/token/validate"), post(validate))
}

/// v1: a token as plain text, for the cluster's secret key.
async fn trusted(State(site): Site, call: Incoming) -> Response {
    let form = call.form();
    let (Some(key), Some(username)) = (form.value("secret_key"), form.value("username")) else {
        site.house.tally.login_refused();
        return site
            .refuse(&call.head, Failure::BadParameters("secret_key or username is missing"));
    };
    if form.is_true("autocreate") && key == super::SECRET_KEY {
        lock(&site.accounts).add_unless_known(username);
    }
    let org = form.value("orgid").and_then(|org| org.parse().ok());
    let scope = match (form.value("access_level"), form.value("id")) {
        (Some("REPORT_BOOK_VIEW"), Some(id)) => Scope::Object(id.to_owned()),
        _ => Scope::Full,
    };
    match site.owner_proved(username, Proof::SecretKey(key), org) {
        Err(failure) => site.refuse(&call.head, failure),
        Ok(owner) => {
            site.house.tally.logged_in();
            site.granted(owner, scope, site.token_life(None)).value.into_response()
        }
    }
}

async fn full(State(site): Site, call: Incoming) -> Response {
    let asked = call.json();
    site.token_answer(&call, &asked, "org_id", |_| Ok(Scope::Full), answers::token)
}

async fn object(State(site): Site, call: Incoming) -> Response {
    let asked = call.json();
    let scope = |asked: &Value| {
        let object = text(asked, "object_id").ok_or(Failure::BadParameters("object_id is missing"));
        object.map(|object| Scope::Object(object.to_owned()))
    };
    site.token_answer(&call, &asked, "org_id", scope, answers::token)
}

async fn custom(State(site): Site, call: Incoming) -> Response {
    let asked = call.json();
    let scope = |asked: &Value| {
        let option = text(asked, "persist_option");
        option.map(|_| Scope::Full).ok_or(Failure::BadParameters("persist_option is missing"))
    };
    let mint = &site.house.mint;
    let shape = |account: &Account, token: &Token| answers::access_token(account, token, mint);
    site.token_answer(&call, &asked, "org_identifier", scope, shape)
}

/// Any live session gets a token for a day: the way around whoever keeps the session.
async fn of_session(
    State(site): Site,
    Extension(caller): Extension<Caller>,
    call: Incoming,
) -> Response {
    let token = site.granted(caller.owner, Scope::Full, SESSION_TOKEN_LIFE);
    match lock(&site.accounts).of(&token.owner.login) {
        Some(account) => Json(answers::token(account, &token)).into_response(),
        None => site.refuse(&call.head, Failure::Unauthorized(REFUSED)),
    }
}

/// One token, all of one user, or whatever the call came with.
async fn revoke(
    State(site): Site,
    Extension(caller): Extension<Caller>,
    call: Incoming,
) -> Response {
    let asked = call.json();
    let user = text(&asked, "user_identifier");
    if user.is_some_and(|user| user != caller.owner.login) && !site.is_administrator(&caller) {
        return site.refuse(&call.head, Failure::NoPrivilege);
    }
    let (switches, now) = (site.switches(), site.now());
    let mut sessions = lock(&site.sessions);
    let token = text(&asked, "token").map(|token| sessions.called(token, now));
    let ended = sessions.end(&switches, now, |owner, key| match (token, user) {
        (Some(called), _) => called == Some(key),
        (None, Some(user)) => owner.login == user,
        (None, None) => key == caller.key,
    });
    drop(sessions);
    if ended > 0 {
        site.house.tally.logged_out();
    }
    StatusCode::NO_CONTENT.into_response()
}

async fn validate(State(site): Site, call: Incoming) -> Response {
    let asked = call.json();
    let Some(value) = text(&asked, "token") else {
        return site.refuse(&call.head, Failure::BadParameters("token is missing"));
    };
    let token = {
        let sessions = lock(&site.sessions);
        let key = sessions.by_bearer(value, &site.switches(), site.now());
        key.and_then(|key| sessions.token(key))
    };
    let accounts = lock(&site.accounts);
    let valid = token.as_ref().and_then(|token| Some((accounts.of(&token.owner.login)?, token)));
    match valid {
        Some((account, token)) => Json(answers::validation(account, token)).into_response(),
        None => site.refuse(&call.head, Failure::Unauthorized("The token is not valid.")),
    }
}

impl ThoughtSpot {
    /// A login that gives a token, by password or by secret key.
    fn token_answer(
        &self,
        call: &Incoming,
        asked: &Value,
        org_field: &str,
        scope: impl FnOnce(&Value) -> Result<Scope, Failure>,
        shape: impl FnOnce(&Account, &Token) -> Value,
    ) -> Response {
        let proved = self.fields_proved(asked, org_field, scope);
        let (owner, scope) = match proved {
            Ok(proved) => proved,
            Err(failure) => return self.refuse(&call.head, failure),
        };
        self.house.tally.logged_in();
        let token =
            self.granted(owner, scope, self.token_life(number(asked, "validity_time_in_sec")));
        match lock(&self.accounts).of(&token.owner.login) {
            Some(account) => Json(shape(account, &token)).into_response(),
            None => self.refuse(&call.head, Failure::Unauthorized(REFUSED)),
        }
    }

    fn fields_proved(
        &self,
        asked: &Value,
        org_field: &str,
        scope: impl FnOnce(&Value) -> Result<Scope, Failure>,
    ) -> Result<(Owner, Scope), Failure> {
        let refused = |failure| {
            self.house.tally.login_refused();
            failure
        };
        let missing = |what| refused(Failure::BadParameters(what));
        let username = text(asked, "username").ok_or_else(|| missing("username is missing"))?;
        // The Python SDK sends an empty `secret_key` beside the password.
        let proof = match (text(asked, "secret_key"), text(asked, "password")) {
            (Some(key), _) => Proof::SecretKey(key),
            (None, Some(password)) => Proof::Password(password),
            (None, None) => return Err(missing("password or secret_key is missing")),
        };
        let scope = scope(asked).map_err(refused)?;
        if flag(asked, "auto_create") && matches!(proof, Proof::SecretKey(super::SECRET_KEY)) {
            lock(&self.accounts).add_unless_known(username);
        }
        Ok((self.owner_proved(username, proof, number(asked, org_field))?, scope))
    }

    fn granted(&self, owner: Owner, scope: Scope, life: Duration) -> Token {
        let wall = self.house.clock.wall();
        let token = Token {
            owner,
            value: Sessions::token_value(&self.house.mint),
            scope,
            created: milliseconds(wall),
            expires: milliseconds(wall + life),
            until: self.now() + life,
        };
        lock(&self.sessions).grant(token.clone());
        token
    }

    fn token_life(&self, asked_seconds: Option<u64>) -> Duration {
        let seconds = asked_seconds.filter(|seconds| *seconds > 0);
        Duration::from_secs(seconds.unwrap_or_else(|| self.switches().token_seconds))
    }

    pub fn is_administrator(&self, caller: &Caller) -> bool {
        let accounts = lock(&self.accounts);
        accounts.of(&caller.owner.login).is_some_and(|account| account.administrator)
    }
}

fn milliseconds(wall: SystemTime) -> u64 {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
