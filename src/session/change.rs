//! Other upstreams, accounts and clients than before, while Doorward runs: what stays the same keeps
//! its sessions, and what is gone is drained and logged out as it was opened, by its own recipe and
//! its own connections.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::broker::Inner;
use super::members::Member;
use super::{Broker, ClientNumber, Limits, Scope, SessionKey, Upstream, prolong, retire};

/// What is in force from now on.
#[derive(Debug)]
pub struct Change {
    /// All upstreams. One with an id that is known takes the place of the one before; an account with
    /// an id that is known must be that account.
    pub upstreams: Vec<Arc<Upstream>>,
    /// How long things may take.
    pub limits: Limits,
    /// Clients that there are not any more.
    pub clients_gone: Vec<ClientNumber>,
    /// Cancelled when no request goes by what was in force before.
    pub released: CancellationToken,
    /// After this time the sessions of those who are gone are retired in any case.
    pub released_within: Duration,
}

impl Broker {
    /// Takes a change over. Requests may ask for the sessions of new accounts from now on; those of
    /// accounts and clients that are gone are retired once no request is left that may ask for them.
    pub fn change(&self, change: Change) {
        let inner = &self.0;
        let Change { upstreams, limits, clients_gone, released, released_within } = change;
        inner.set_limits(limits);
        inner.members.forget(inner.clock.now());
        let gone = inner.members.set(&upstreams, &inner.clock, limits.login_distance);
        if gone.is_empty() && clients_gone.is_empty() {
            return;
        }
        let task = Arc::clone(inner);
        let retiring = async move {
            tokio::select! {
                () = released.cancelled() => {}
                () = task.clock.sleep(released_within) => {}
                // The stop takes all that there is.
                () = task.stopping.cancelled() => return,
            }
            retire_all(&task, &gone, &clients_gone);
        };
        inner.tasks.spawn_on(retiring, &inner.control);
    }
}

fn retire_all(inner: &Arc<Inner>, gone: &[Arc<Member>], clients_gone: &[ClientNumber]) {
    // First, so that a login under way, which lands from now on, finds that nobody wants it.
    gone.iter().for_each(|member| member.account.retire());
    let is_gone = |key: &SessionKey| match key.scope {
        Scope::Client(client) if clients_gone.contains(&client) => true,
        _ => gone.iter().any(|member| member.account.id == key.account),
    };
    for lapsed in inner.lapsed.take_all(is_gone) {
        prolong::end_lapsed(inner, lapsed);
    }
    for session in inner.store.take_all_that(is_gone) {
        retire::retire(inner, session);
    }
}
