//! A faithful local M-Files Web Service, under `/REST`.
//!
//! The contract's rows M-1 to M-10 are tested in `tests/emulator/mfiles*.rs`. Where public
//! sources disagree or are silent there is a switch ([`Switches`]).
//! Source: developer.m-files.com/APIs/REST-API.

mod address;
mod authentication;
mod books;
mod caller;
mod content;
mod cookies;
mod demonstration;
mod objects;
mod refusal;
mod server_calls;
mod session_calls;
mod switches;
mod vaults;
mod visit;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use serde_json::Value;

use super::house::{House, lock};
use super::site::{Judged, Site};
use super::switches::{UnknownSwitch, turned};
use super::user::User;
use books::Books;
use content::Content;
use cookies::Nodes;
use visit::Visit;

pub(super) use demonstration::demonstration;
pub use switches::{RefusalBody, Switches};
pub use vaults::{AMBIGUOUS_VAULT_NAME, OTHER_VAULT, VAULT};

/// The user name of the user that is there from the start.
pub const LOGIN: &str = "Kettle";

/// That user's password. Its characters need escaping in JSON, forms, URLs and shells.
pub const PASSWORD: &str = "p\"w%&=+é-mfiles-89";

pub(super) fn site(house: &Arc<House>) -> Arc<dyn Site> {
    Arc::new(MFiles {
        nodes: Nodes::new(&house.mint),
        house: Arc::clone(house),
        switches: Mutex::default(),
        books: Mutex::default(),
        content: Mutex::default(),
    })
}

/// One M-Files server: its users, sessions and vaults.
struct MFiles {
    house: Arc<House>,
    nodes: Nodes,
    switches: Mutex<Switches>,
    books: Mutex<Books>,
    content: Mutex<Content>,
}

type Shared = Arc<MFiles>;

impl MFiles {
    fn switches_now(&self) -> Switches {
        lock(&self.switches).clone()
    }
}

impl Site for MFiles {
    fn router(self: Arc<Self>) -> Router {
        // Addresses have aliases that no table of routes can hold; `visit` reads them.
        Router::new().fallback(visit::answer).with_state(self)
    }

    fn judge(&self, head: &Parts) -> Judged {
        self.judge_visit(&Visit::new(head, &self.switches_now()))
    }

    fn add_user(&self, user: User) {
        lock(&self.books).add_user(user);
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
        let times = self.times();
        lock(&self.books).live(&times).len() as u64
    }

    fn expire_sessions(&self) -> usize {
        let times = self.times();
        lock(&self.books).end_all(&times)
    }

    fn expire_session(&self, credential: &str) -> bool {
        let times = self.times();
        lock(&self.books).end(credential, &times)
    }

    fn expire_others(&self, credential: &str) -> usize {
        let times = self.times();
        lock(&self.books).end_others(credential, &times)
    }

    fn maintenance(&self) -> Response {
        let page =
            Html("<html><title>Service Unavailable</title><h2>Service Unavailable</h2></html>");
        (StatusCode::SERVICE_UNAVAILABLE, page).into_response()
    }

    fn compresses(&self) -> bool {
        lock(&self.switches).compress
    }
}
