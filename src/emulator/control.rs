//! The judge's handle on a running emulator.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::Vendor;
use super::counters::Counters;
use super::force::{Forced, ForcedError};
use super::hold::Hold;
use super::house::House;
use super::record::RequestRecord;
use super::site::Site;
use super::switches::UnknownSwitch;
use super::user::User;
use crate::clock::Clock;

/// Reads and moves an emulator from outside the vendor's namespace. Clones are the same handle.
#[derive(Clone)]
pub struct Control {
    house: Arc<House>,
    site: Arc<dyn Site>,
}

impl Control {
    pub(super) fn new(house: Arc<House>, site: Arc<dyn Site>) -> Self {
        Self { house, site }
    }

    /// Whose server this is.
    pub fn vendor(&self) -> Vendor {
        self.house.vendor
    }

    /// The counters now.
    pub fn counters(&self) -> Counters {
        self.house.tally.counters(self.site.live_sessions())
    }

    /// Sets every counter to nothing and forgets the recorded requests. Live sessions stay.
    pub fn reset_counters(&self) {
        self.house.tally.reset();
        self.house.records.clear();
        self.house.mint.reset_requests();
    }

    /// How many requests carried this token or cookie value, in a header or in the query.
    pub fn requests_with(&self, credential: &str) -> u64 {
        self.house.mint.requests_with(credential)
    }

    /// Ends every session on the server; returns how many were live.
    pub fn expire_sessions(&self) -> usize {
        self.site.expire_sessions()
    }

    /// Ends the session that this token or cookie value belongs to; says whether it was live.
    pub fn expire_session(&self, credential: &str) -> bool {
        self.site.expire_session(credential)
    }

    /// Ends the other sessions of this session's user, as "terminate other sessions" does in a
    /// vendor's user interface; returns how many were live.
    pub fn expire_other_sessions(&self, credential: &str) -> usize {
        self.site.expire_others(credential)
    }

    /// Adds a user, or replaces the one of this login: a new password does to old sessions what
    /// the vendor does.
    pub fn add_user(&self, user: User) {
        self.house.mint.remember(&user.password);
        self.site.add_user(user);
    }

    /// Turns a switch of the vendor; the fields of its `Switches` are the list.
    ///
    /// # Errors
    /// No such switch, or a value that it does not take.
    pub fn switch(&self, name: &str, value: Value) -> Result<(), UnknownSwitch> {
        self.site.switch(name, value)
    }

    /// Every switch of the vendor with its present value.
    pub fn switches(&self) -> Value {
        self.site.switches()
    }

    /// Changes the answers of the next matching requests.
    ///
    /// # Errors
    /// The status or a header cannot be sent, or too many forced answers wait already.
    pub fn force(&self, forced: Forced) -> Result<(), ForcedError> {
        self.house.forced.add(forced)
    }

    /// Forgets the forced answers that nobody asked for yet.
    pub fn clear_forced(&self) {
        self.house.forced.clear();
    }

    /// Keeps back the answers of requests whose `METHOD /path?query` contains `matching`, until
    /// the hold is released or dropped. They are judged and executed at arrival all the same.
    #[must_use = "a hold that is dropped is released"]
    pub fn hold(&self, matching: &str) -> Hold {
        self.house.holds.add(matching)
    }

    /// Shows or takes down the vendor's maintenance page, on every path.
    pub fn maintenance(&self, on: bool) {
        self.house.maintenance.store(on, Ordering::Relaxed);
    }

    /// The time that sessions live in; `advance` makes hours pass.
    pub fn clock(&self) -> &Clock {
        &self.house.clock
    }

    /// Every token and cookie value ever given out and every password known, oldest first, up to
    /// 200 000. Search client-side bytes for them.
    pub fn issued(&self) -> Vec<String> {
        self.house.mint.issued()
    }

    /// The last 4096 requests in order of arrival.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.house.records.all()
    }

    pub(super) fn house(&self) -> &House {
        &self.house
    }

    pub(super) fn site(&self) -> &Arc<dyn Site> {
        &self.site
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Control").field("house", &self.house).finish_non_exhaustive()
    }
}
