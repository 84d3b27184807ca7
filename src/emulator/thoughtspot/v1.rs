//! Sessions in REST API v1.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::{StatusCode, header};
use serde_json::json;

use super::ThoughtSpot;
use super::accounts::{Proof, Refused};
use super::answers::{Failure, org_name, session_info};
use super::call::{Fields, Incoming, V1, V1_INTERNAL};
use super::gate::{Caller, requested_by, set_cookies, with_cookies};
use super::sessions::Owner;
use crate::emulator::house::lock;

/// What every refused login says: it does not tell why.
pub const REFUSED: &str = "Login or logout failure. Unauthorized";

type Site = State<Arc<ThoughtSpot>>;

pub fn routes() -> Router<Arc<ThoughtSpot>> {
    Router::new()
        .route(&format!("{V1}/session/login"), post(login))
        .route(&format!("{V1}/session/login/token"), get(login_by_token).post(login_by_token))
        .route(&format!("{V1}/session/logout"), post(logout))
        .route(&format!("{V1}/session/info"), get(info))
        .route(&format!("{V1_INTERNAL}/session/info"), get(info))
        .route("/prism/preauth/info", get(preauth_info))
        .route(&format!("{V1_INTERNAL}/session/isactive"), get(|| async { StatusCode::NO_CONTENT }))
        .route(&format!("{V1}/session/orgs"), get(orgs).put(move_to_org))
}

/// Anything that is nowhere.
pub async fn nothing_here(State(site): Site, call: Incoming) -> Response {
    site.refuse(&call.head, Failure::NotFound)
}

async fn login(State(site): Site, call: Incoming) -> Response {
    if !requested_by(&call.head.headers) {
        site.house.tally.login_refused();
        let status = site.switches().requested_by_refusal;
        return site.refuse(&call.head, Failure::NotRequestedBy(status));
    }
    let form = call.form();
    let (Some(username), Some(password)) = (form.value("username"), form.value("password")) else {
        site.house.tally.login_refused();
        return site.refuse(&call.head, Failure::BadParameters("username or password is missing"));
    };
    match site.owner_proved(username, Proof::Password(password), None) {
        Err(failure) => site.refuse(&call.head, failure),
        Ok(owner) => {
            let status = site.switches().login_status;
            with_cookies(status, site.open_session(owner, form.is_true("rememberme")))
        }
    }
}

/// `POST` with the fields in a form, or `GET` with them in the query.
async fn login_by_token(State(site): Site, call: Incoming) -> Response {
    let fields = if call.body.is_empty() { call.query() } else { call.form() };
    let (Some(username), Some(token)) = (fields.value("username"), fields.value("auth_token"))
    else {
        site.house.tally.login_refused();
        return site
            .refuse(&call.head, Failure::BadParameters("username or auth_token is missing"));
    };
    let owner = {
        let sessions = lock(&site.sessions);
        let key = sessions.by_bearer(token, &site.switches(), site.now());
        key.and_then(|key| sessions.owner(key)).filter(|owner| owner.login == username)
    };
    let Some(owner) = owner else {
        site.house.tally.login_refused();
        return site.refuse(&call.head, Failure::Unauthorized(REFUSED));
    };
    let cookies = site.open_session(owner, false);
    if fields.is_true("no_url_redirection") {
        return with_cookies(204, cookies);
    }
    let to = redirect_target(&fields);
    let mut response = (StatusCode::FOUND, [(header::LOCATION, to)]).into_response();
    set_cookies(&mut response, cookies);
    response
}

fn redirect_target(fields: &Fields) -> String {
    // A location is one line of text.
    let wanted =
        fields.value("redirect_url").filter(|url| url.bytes().all(|byte| byte.is_ascii_graphic()));
    wanted.unwrap_or("/").to_owned()
}

async fn logout(State(site): Site, Extension(caller): Extension<Caller>) -> StatusCode {
    site.log_out(&caller);
    StatusCode::NO_CONTENT
}

async fn info(State(site): Site, Extension(caller): Extension<Caller>, call: Incoming) -> Response {
    let token = lock(&site.sessions).shown_token(caller.key).unwrap_or_default();
    match lock(&site.accounts).of(&caller.owner.login) {
        Some(account) => Json(session_info(account, caller.owner.org, &token)).into_response(),
        None => site.refuse(&call.head, Failure::Unauthorized(REFUSED)),
    }
}

/// What an embedded page asks first: the same, wrapped.
async fn preauth_info(
    State(site): Site,
    Extension(caller): Extension<Caller>,
    call: Incoming,
) -> Response {
    let token = lock(&site.sessions).shown_token(caller.key).unwrap_or_default();
    match lock(&site.accounts).of(&caller.owner.login) {
        Some(account) => {
            Json(json!({ "info": session_info(account, caller.owner.org, &token) })).into_response()
        }
        None => site.refuse(&call.head, Failure::Unauthorized(REFUSED)),
    }
}

async fn orgs(State(site): Site, Extension(caller): Extension<Caller>) -> Response {
    let accounts = lock(&site.accounts);
    let orgs = accounts.of(&caller.owner.login).map_or(&[][..], |account| &account.orgs);
    let orgs: Vec<_> = orgs
        .iter()
        .map(|org| json!({ "orgId": org, "orgName": org_name(*org), "isActive": true }))
        .collect();
    Json(json!({ "currentOrgId": caller.owner.org, "orgs": orgs })).into_response()
}

/// Moves the whole session, for everybody who uses it.
async fn move_to_org(
    State(site): Site,
    Extension(caller): Extension<Caller>,
    call: Incoming,
) -> Response {
    let form = call.form();
    let Some(wanted) = form.value("orgid").and_then(|org| org.parse::<u64>().ok()) else {
        return site.refuse(&call.head, Failure::BadParameters("orgid is missing or no number"));
    };
    let org = {
        let mut accounts = lock(&site.accounts);
        let account = accounts.of_mut(&caller.owner.login);
        account.and_then(|account| {
            let org = account.orgs.iter().copied().find(|org| u64::from(*org) == wanted)?;
            account.last_org = org;
            Some(org)
        })
    };
    let Some(org) = org else { return site.refuse(&call.head, Failure::NoOrg(wanted)) };
    lock(&site.sessions).move_to(caller.key, org);
    site.house.tally.wrote(call.target(), &call.body);
    StatusCode::NO_CONTENT.into_response()
}

impl ThoughtSpot {
    /// Whose session a proved login opens, and in which org. Counts a refusal.
    pub fn owner_proved(
        &self,
        login: &str,
        proof: Proof<'_>,
        wanted_org: Option<u64>,
    ) -> Result<Owner, Failure> {
        let owner = self.owner_if_proved(login, proof, wanted_org);
        if owner.is_err() {
            self.house.tally.login_refused();
        }
        owner
    }

    fn owner_if_proved(
        &self,
        login: &str,
        proof: Proof<'_>,
        wanted_org: Option<u64>,
    ) -> Result<Owner, Failure> {
        if matches!(proof, Proof::SecretKey(_)) && !self.switches().trusted_authentication {
            return Err(Failure::Off("Trusted authentication is not enabled."));
        }
        let mut accounts = lock(&self.accounts);
        if let Err(refused) = accounts.prove(login, proof, self.now()) {
            if refused == Refused::WrongAndLocked {
                self.house.tally.locked_out();
            }
            return Err(Failure::Unauthorized(refused.text()));
        }
        let account = accounts.of(login).ok_or(Failure::Unauthorized(REFUSED))?;
        let org = match wanted_org {
            None => account.last_org,
            Some(wanted) => {
                let open = account.orgs.iter().copied().find(|org| u64::from(*org) == wanted);
                open.ok_or(Failure::NoOrg(wanted))?
            }
        };
        Ok(Owner { login: login.to_owned(), org })
    }

    /// Opens a session; its cookies. Counts a login.
    pub fn open_session(&self, owner: Owner, remembered: bool) -> Vec<String> {
        let (switches, now) = (self.switches(), self.now());
        let mut sessions = lock(&self.sessions);
        let mint = &self.house.mint;
        let session = sessions.open(owner, remembered, switches.affinity_cookie, mint, now);
        self.house.tally.logged_in();
        sessions.cookies(session)
    }

    /// Ends the caller's session or token.
    pub fn log_out(&self, caller: &Caller) {
        let ended =
            lock(&self.sessions).end(&self.switches(), self.now(), |_, key| key == caller.key);
        if ended > 0 {
            self.house.tally.logged_out();
        }
    }
}

impl Refused {
    fn text(self) -> &'static str {
        match self {
            Refused::Wrong | Refused::WrongAndLocked => REFUSED,
            Refused::Locked => "Login or logout failure. The account is locked.",
            Refused::NotByPassword => "Login or logout failure. A password is not enough.",
        }
    }
}
