//! The accounts that the broker knows, each with what it takes to keep its sessions. A configuration
//! that is read again adds some and retires others; an account that is retired is known on, as long
//! as a session of it is there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

use super::entry::Entry;
use super::gate::Gate;
use super::restart::Restore;
use super::standing::Standing;
use super::{Account, AccountId, Tenant, Upstream};
use crate::clock::{Clock, Moment};
use crate::state::RecordKey;

/// An account, its upstream as it is now, and what it shares with all who have its login name there.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) upstream: Arc<Upstream>,
    pub(super) account: Arc<Account>,
    pub(super) gate: Arc<Gate>,
    pub(super) standing: Arc<Standing>,
}

type ById = HashMap<AccountId, Arc<Member>, RandomState>;

/// All accounts that are known.
#[derive(Debug)]
pub(super) struct Members {
    /// Replaced whole; looked into without a lock.
    by_id: ArcSwap<ById>,
    login_names: Mutex<LoginNames>,
}

/// What is known of login names, for as long as the process lives: a configuration that comes and
/// goes gives nobody an attempt.
#[derive(Debug)]
struct LoginNames {
    known: HashMap<(Arc<str>, String), Known>,
    /// What an earlier run has left of those that are not known yet.
    kept: Restore,
}

#[derive(Debug)]
struct Known {
    gate: Arc<Gate>,
    standing: Arc<Standing>,
    /// Where, and how many sessions, its standing is about.
    about: (Tenant, Option<u32>),
}

impl Members {
    /// Nobody is known yet.
    pub(super) fn new(kept: Restore) -> Self {
        let login_names = Mutex::new(LoginNames { known: HashMap::new(), kept });
        Self { by_id: ArcSwap::default(), login_names }
    }

    /// The account with this id, which must be that of a session or of a configuration in use.
    #[expect(clippy::indexing_slicing, reason = "ids come from what is known, and keep it known")]
    pub(super) fn of(&self, id: AccountId) -> Arc<Member> {
        Arc::clone(&self.by_id.load()[&id])
    }

    /// Everybody who is known, those among them who are retired, too.
    pub(super) fn all(&self) -> Vec<Arc<Member>> {
        self.by_id.load().values().map(Arc::clone).collect()
    }

    /// From now on these are the upstreams, with all that is new about them. Whoever is not among
    /// their accounts is returned, and stays known until nobody asks any more.
    pub(super) fn set(
        &self,
        upstreams: &[Arc<Upstream>],
        clock: &Clock,
        distance: Duration,
    ) -> Vec<Arc<Member>> {
        let mut login_names = self.login_names();
        let mut by_id = ById::default();
        for upstream in upstreams {
            for account in &upstream.accounts {
                let (gate, standing) = login_names.of(upstream, account, clock, distance);
                let (upstream, account) = (Arc::clone(upstream), Arc::clone(account));
                let member = Member { upstream, account, gate, standing };
                by_id.insert(member.account.id, Arc::new(member));
            }
        }
        let before = self.by_id.load_full();
        let left = before.values().filter(|one| !by_id.contains_key(&one.account.id));
        let left: Vec<_> = left.map(Arc::clone).collect();
        by_id.extend(left.iter().map(|one| (one.account.id, Arc::clone(one))));
        self.by_id.store(Arc::new(by_id));
        left.into_iter().filter(|one| !one.account.is_retired()).collect()
    }

    /// Forgets accounts that are retired and of which nothing is left, and login names that nobody
    /// has and that there is nothing to know of.
    pub(super) fn forget(&self, now: Moment) {
        let mut login_names = self.login_names();
        let before = self.by_id.load_full();
        // A member has one of each, and its upstream has one of its account.
        let of_upstream = |one: &Arc<Member>| {
            before.values().filter(|other| Arc::ptr_eq(&other.upstream, &one.upstream)).count()
        };
        let left = before.values().filter(|one| {
            !one.account.is_retired()
                || Arc::strong_count(one) > 1
                || Arc::strong_count(&one.account) > 2
                || Arc::strong_count(&one.upstream) > of_upstream(one)
        });
        let left: ById = left.map(|one| (one.account.id, Arc::clone(one))).collect();
        if left.len() < before.len() {
            self.by_id.store(Arc::new(left));
        }
        drop(before);
        login_names.known.retain(|_, known| {
            Arc::strong_count(&known.gate) > 1 || !known.gate.with(|guard| guard.is_blank(now))
        });
    }
}

impl Members {
    /// The restored budgets, once those of the start are known.
    pub(super) fn take_entries(&self) -> Vec<(RecordKey, Entry)> {
        self.login_names().kept.take_entries()
    }

    /// Nothing panics under the lock: what it holds is whole.
    fn login_names(&self) -> MutexGuard<'_, LoginNames> {
        self.login_names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LoginNames {
    fn of(
        &mut self,
        upstream: &Upstream,
        account: &Account,
        clock: &Clock,
        distance: Duration,
    ) -> (Arc<Gate>, Arc<Standing>) {
        let sessions_max = upstream.recipe.session.sessions_max;
        let about = (upstream.tenant, sessions_max);
        let name = (Arc::clone(&upstream.name), account.login_name.clone());
        let Self { known, kept } = self;
        let known = known.entry(name).or_insert_with(|| {
            let guard = kept.guard(upstream, &account.login_name, distance, clock);
            kept.was_taken_over(upstream, &account.login_name);
            let standing = Arc::new(Standing::new(sessions_max));
            Known { gate: Arc::new(Gate::new(guard)), standing, about }
        });
        known.gate.with(|guard| guard.obeys(upstream.recipe.budget));
        if known.about != about {
            // What was learned was learned of another place, or the room is another one.
            (known.standing, known.about) = (Arc::new(Standing::new(sessions_max)), about);
        }
        (Arc::clone(&known.gate), Arc::clone(&known.standing))
    }
}
