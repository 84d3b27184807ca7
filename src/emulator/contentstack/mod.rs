//! A faithful local Contentstack Content Management API, under `/v3`.
//!
//! The contract's rows C-1 to C-10 are tested in `tests/emulator/contentstack*.rs`. Where public
//! sources disagree or are silent there is a switch ([`Switches`]).
//! Source: contentstack.com/docs/developers/apis/content-management-api.

mod accounts;
mod content;
mod demonstration;
mod entrance;
mod profile;
mod rate;
mod refusal;
mod session;
mod stacks;
mod switches;
mod tokens;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use http::request::Parts;
use serde_json::Value;

use super::house::{House, lock};
use super::record::Credential;
use super::site::{Call, Judged, Site};
use super::switches::{UnknownSwitch, turned};
use super::user::User;
use accounts::Accounts;
use content::Content;
use rate::Rates;
use refusal::Refusal;
use tokens::Tokens;

pub(super) use demonstration::demonstration;
pub use switches::{Switches, UnknownApiKey};

/// The e-mail address of the user that is there from the start.
pub const LOGIN: &str = "kettle@contentstack.example";

/// That user's password. Its characters need escaping in JSON, forms, URLs and shells.
pub const PASSWORD: &str = "p\"w%&=+é-contentstack-47";

/// The key of the stack that belongs to [`ORGANIZATION`].
pub const API_KEY: &str = "bltd0a1e7c35b92f846";

/// The organization whose rate limits [`API_KEY`] spends.
pub const ORGANIZATION: &str = "blt0f6e2b91c7d3a485";

/// The key of a stack in another organization, with limits of its own.
pub const OTHER_API_KEY: &str = "blt93c5e80d6a2b17f4";

/// The organization of [`OTHER_API_KEY`].
pub const OTHER_ORGANIZATION: &str = "blt7b40d9f2e6a1c853";

/// The content types that every stack has.
pub const CONTENT_TYPES: [&str; 3] = ["page", "p", "article"];

pub(super) fn site(house: &Arc<House>) -> Arc<dyn Site> {
    Arc::new(Contentstack {
        house: Arc::clone(house),
        switches: Mutex::default(),
        accounts: Mutex::default(),
        tokens: Mutex::default(),
        content: Mutex::default(),
        rates: Mutex::default(),
    })
}

/// One Contentstack region: its users, tokens, stacks and limits.
struct Contentstack {
    house: Arc<House>,
    switches: Mutex<Switches>,
    accounts: Mutex<Accounts>,
    tokens: Mutex<Tokens>,
    content: Mutex<Content>,
    rates: Mutex<Rates>,
}

type Shared = Arc<Contentstack>;

impl Contentstack {
    fn switches_now(&self) -> Switches {
        lock(&self.switches).clone()
    }

    /// What a token is worth now.
    fn credential(&self, token: &str) -> Credential {
        let ttl = lock(&self.switches).token_ttl();
        if lock(&self.tokens).owner(token, self.house.clock.now(), ttl).is_some() {
            Credential::Live
        } else if self.house.mint.knows(token) {
            Credential::Dead
        } else {
            Credential::Foreign
        }
    }
}

impl Site for Contentstack {
    fn router(self: Arc<Self>) -> Router {
        let api = Router::new()
            .route("/user-session", post(session::login).delete(session::logout))
            .route("/user/request_token_sms", post(session::request_code))
            .route("/user", get(session::user).put(session::update_user))
            .route("/organizations", get(stacks::organizations))
            .route("/stacks", get(stacks::stacks))
            .route("/content_types", get(content::types))
            .route("/content_types/{type}", get(content::of_type))
            .route("/content_types/{type}/entries", get(content::entries).post(content::create))
            .route(
                "/content_types/{type}/entries/{entry}",
                get(content::entry).put(content::update).delete(content::delete),
            )
            .route("/assets", get(content::assets).post(content::upload))
            .route("/assets/{asset}", get(content::asset).delete(content::delete_asset))
            .route("/bulk/{operation}", post(stacks::bulk))
            .fallback(unknown_path)
            .layer(from_fn_with_state(Arc::clone(&self), rate::limit));
        let bare = api.clone().layer(from_fn_with_state(Arc::clone(&self), bare_path));
        Router::new().nest("/v3", api).merge(bare).with_state(self)
    }

    fn judge(&self, head: &Parts) -> Judged {
        let path = head.uri.path();
        let path = path.strip_prefix("/v3").unwrap_or(path);
        let call = match (head.method.as_str(), path) {
            ("POST", "/user-session") => Call::Login,
            ("POST", "/user/request_token_sms") => Call::Open,
            _ => Call::Guarded,
        };
        let credential = match entrance::presented(&head.headers) {
            entrance::Presented::Nothing => Credential::None,
            entrance::Presented::Authtoken(token) => self.credential(token),
            entrance::Presented::Authorization => Credential::Foreign,
        };
        Judged { call, credential }
    }

    fn add_user(&self, user: User) {
        let outlived = lock(&self.switches).sessions_outlive_password;
        if !outlived && lock(&self.accounts).password_changes(&user) {
            lock(&self.tokens).end_all_of(&user.login);
        }
        lock(&self.accounts).add(user, self.house.mint.id());
    }

    fn switch(&self, name: &str, value: Value) -> Result<(), UnknownSwitch> {
        let mut switches = lock(&self.switches);
        *switches = turned(&*switches, name, value)?;
        Ok(())
    }

    fn switches(&self) -> Value {
        serde_json::to_value(&*lock(&self.switches)).unwrap_or_default()
    }

    fn live_sessions(&self) -> u64 {
        let ttl = lock(&self.switches).token_ttl();
        lock(&self.tokens).live(self.house.clock.now(), ttl)
    }

    fn expire_sessions(&self) -> usize {
        lock(&self.tokens).end_all()
    }

    fn expire_session(&self, credential: &str) -> bool {
        lock(&self.tokens).end(credential)
    }

    fn expire_others(&self, credential: &str) -> usize {
        lock(&self.tokens).end_others(credential)
    }

    fn maintenance(&self) -> Response {
        let page = Html("<html><title>Maintenance</title><h1>We'll be back soon.</h1></html>");
        (StatusCode::SERVICE_UNAVAILABLE, page).into_response()
    }

    fn compresses(&self) -> bool {
        lock(&self.switches).compress
    }
}

/// The administration API's own page writes its paths without `/v3`.
async fn bare_path(State(site): State<Shared>, request: Request, next: Next) -> Response {
    if lock(&site.switches).bare_paths {
        return next.run(request).await;
    }
    Refusal::no_such_object().into_response()
}

async fn unknown_path(_: entrance::Session) -> Refusal {
    Refusal::no_such_object()
}
