//! A faithful local ThoughtSpot: REST API v1 (form login, cookies) and v2 (JSON login, cookies or
//! bearer tokens).
//!
//! It knows two orgs, a user who may do everything in both ([`LOGIN`], [`PASSWORD`]), the key of
//! trusted authentication ([`SECRET_KEY`]) and a Liveboard that nobody may read
//! ([`PRIVATE_LIVEBOARD`]). The contract's rows T-1 to T-11 are tested in
//! `tests/emulator/thoughtspot*.rs`. Where public sources disagree or are silent there is a switch
//! ([`Switches`]). Source: developers.thoughtspot.com/docs.

mod accounts;
mod answers;
mod call;
mod demonstration;
mod gate;
mod library;
mod metadata;
mod rate;
mod report;
mod sessions;
mod switches;
mod tokens;
mod v1;
mod v2;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use http::request::Parts;
use serde_json::Value;

pub use accounts::SECRET_KEY;
pub(super) use demonstration::demonstration;
pub use library::PRIVATE_LIVEBOARD;
pub use switches::Switches;

use super::house::{House, lock};
use super::site::{Judged, Site};
use super::switches::{UnknownSwitch, turned};
use super::user::User;
use crate::clock::Moment;
use accounts::Accounts;
use library::Library;
use rate::Rates;
use sessions::Sessions;

/// The login of the user that is there from the start.
pub const LOGIN: &str = "kettle@thoughtspot.example";

/// That user's password.
pub const PASSWORD: &str = "p\"w%&=+é-thoughtspot-31";

pub(super) fn site(house: &Arc<House>) -> Arc<dyn Site> {
    house.mint.remember(SECRET_KEY);
    Arc::new(ThoughtSpot {
        house: Arc::clone(house),
        switches: Mutex::default(),
        accounts: Mutex::default(),
        sessions: Mutex::default(),
        library: Mutex::default(),
        rates: Mutex::default(),
    })
}

/// The cluster. Where two of its books are locked at once, it is in the order of the fields.
struct ThoughtSpot {
    house: Arc<House>,
    switches: Mutex<Switches>,
    accounts: Mutex<Accounts>,
    sessions: Mutex<Sessions>,
    library: Mutex<Library>,
    rates: Mutex<Rates>,
}

impl ThoughtSpot {
    fn switches(&self) -> Switches {
        lock(&self.switches).clone()
    }

    fn now(&self) -> Moment {
        self.house.clock.now()
    }
}

impl Site for ThoughtSpot {
    fn router(self: Arc<Self>) -> Router {
        Router::new()
            .merge(v1::routes())
            .merge(v2::routes())
            .merge(tokens::routes())
            .merge(metadata::routes())
            .merge(report::routes())
            .route("/", get(answers::front_page))
            .route("/login", get(answers::front_page))
            .fallback(v1::nothing_here)
            .method_not_allowed_fallback(v1::nothing_here)
            .layer(from_fn_with_state(Arc::clone(&self), gate::gate))
            .with_state(self)
    }

    fn judge(&self, head: &Parts) -> Judged {
        self.judge_head(head)
    }

    fn add_user(&self, user: User) {
        let login = user.login.clone();
        if lock(&self.accounts).add(user) {
            let (switches, now) = (self.switches(), self.now());
            lock(&self.sessions).end(&switches, now, |owner, _| owner.login == login);
        }
    }

    fn switch(&self, name: &str, value: Value) -> Result<(), UnknownSwitch> {
        let mut switches = lock(&self.switches);
        *switches = turned(&*switches, name, value)?;
        Ok(())
    }

    fn switches(&self) -> Value {
        serde_json::to_value(self.switches()).unwrap_or_default()
    }

    fn live_sessions(&self) -> u64 {
        lock(&self.sessions).live_count(&self.switches(), self.now()) as u64
    }

    fn expire_sessions(&self) -> usize {
        lock(&self.sessions).end(&self.switches(), self.now(), |_, _| true)
    }

    fn expire_session(&self, credential: &str) -> bool {
        let (switches, now) = (self.switches(), self.now());
        let mut sessions = lock(&self.sessions);
        let called = sessions.called(credential, now);
        called.is_some_and(|called| sessions.end(&switches, now, |_, key| key == called) > 0)
    }

    fn expire_others(&self, credential: &str) -> usize {
        let (switches, now) = (self.switches(), self.now());
        let mut sessions = lock(&self.sessions);
        let Some(kept) = sessions.called(credential, now) else { return 0 };
        let Some(owner) = sessions.owner(kept) else { return 0 };
        sessions.end(&switches, now, |other, key| other.login == owner.login && key != kept)
    }

    fn maintenance(&self) -> Response {
        answers::maintenance_page()
    }
}
