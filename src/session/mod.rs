//! The life of upstream sessions. The walk asks the [`Broker`] for a session and tells it when one
//! was found dead; everything else happens here, on the control side.

pub mod account;
mod broker;
mod cause;
mod change;
pub mod counted;
mod credentials;
mod displacement;
mod entry;
mod flight;
mod gate;
mod helper;
mod jitter;
mod learned;
mod ledger;
mod mechanism;
mod members;
mod overview;
mod operate;
mod pause;
mod places;
mod probe;
mod prolong;
mod refresh;
pub mod rehearsal;
mod renew;
mod restart;
mod retire;
mod roll;
mod room;
mod rotate;
mod schedule;
mod slots;
mod snapshot;
mod standing;
mod store;
mod tenure;
mod transport;
pub mod trial;
mod upkeep;
mod view;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Moment;
use crate::forward::inject::Injector;
use crate::login::Material;
use crate::recipe::{Recipe, RefusalClass};
use crate::secret::{Fingerprint, Search};
use crate::upstream::{Origin, Unreached};
pub use broker::{Broker, Limits, Parts};
pub use change::Change;
pub use credentials::Credentials;
pub use entry::recipe_print;
pub use helper::Helper;
pub use ledger::{AtStop, Ledger, OnFailure};
pub use mechanism::Mechanism;
pub use operate::Cleared;
pub use overview::Overview;
pub use pause::Pause;
pub use places::{Place, Places};
pub use probe::{Aliveness, Doubt};
pub use restart::Kept;
pub use retire::{Evidence, LogoutReport};
use tenure::Tenure;
pub use transport::{Exchange, ExchangeError, Sites, Transport};
pub use view::{AccountView, SessionStage, SessionView};

/// Which upstream. While Doorward runs, an id means one place with one recipe and one way to it: an
/// upstream of which that changes gets another id, and no id is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamId(pub u32);

/// Which account, of whatever upstream. While Doorward runs, an id means one login name and what else
/// is no secret of it: an account of which that changes gets another id, and no id is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub u32);

/// Who shares a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everybody who uses the account.
    Shared,
    /// One client alone.
    Client(ClientNumber),
}

/// Which client. While Doorward runs, no number is given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientNumber(pub u32);

/// Which of an upstream's worlds a session belongs to, as a digest of its address and its recipe's
/// parameters: a vault, an organization, a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(pub Fingerprint);

/// Everything that tells one session from another. Two requests share a session only if all of it
/// is equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// The upstream.
    pub upstream: UpstreamId,
    /// Its region, vault or organization.
    pub tenant: Tenant,
    /// The account.
    pub account: AccountId,
    /// The fingerprint of the account's secrets.
    pub fingerprint: Fingerprint,
    /// Who shares it.
    pub scope: Scope,
}

impl SessionKey {
    /// The key of the session that a request carries now. Made for each sending: the account's
    /// secret may have changed since the last one.
    pub fn now(upstream: &Upstream, account: &Account, scope: Scope) -> Self {
        Self {
            upstream: upstream.id,
            tenant: upstream.tenant,
            account: account.id,
            fingerprint: account.vault.fingerprint(),
            scope,
        }
    }
}

/// Tells a session from its successor; counted up through the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// What a login gave: one immutable value, swapped whole.
#[derive(Debug)]
pub struct Session {
    /// What it belongs to.
    pub key: SessionKey,
    /// Which of its key's sessions it is.
    pub generation: Generation,
    /// What it puts into requests.
    pub injector: Arc<Injector>,
    /// What the logout may need.
    material: Arc<Material>,
    /// When its life began: with its login, its last refresh, or an answer that moved its end.
    began: Moment,
    /// When it ends, as far as is known.
    expires: Option<Moment>,
    /// What it shares with its other versions.
    tenure: Arc<Tenure>,
    /// Finds the values that must not leave: its own, and those of the version before.
    guarded: Arc<Search>,
    /// Where its requests go, if that is not the upstream's own place.
    place: Option<Arc<Place>>,
}

/// Proof that a request carries a session: the session is not logged out while one lives.
pub type Hold = tokio_util::task::task_tracker::TaskTrackerToken;

/// A session for one request, held from before anybody could log it out.
#[derive(Debug)]
pub struct Held {
    /// The session.
    pub session: Arc<Session>,
    /// Kept to the end of the answer's body.
    pub hold: Hold,
    /// Whether it was waited for.
    pub awaited: bool,
}

impl Held {
    fn of(session: &Arc<Session>) -> Self {
        let hold = session.tenure.users.token();
        Self { session: Arc::clone(session), hold, awaited: false }
    }
}

impl Session {
    /// Where its requests go.
    pub fn origin<'a>(&'a self, upstream: &'a Upstream) -> &'a Arc<Origin> {
        self.place.as_ref().map_or(&upstream.origin, |place| &place.origin)
    }

    /// Cancelled when the streams that carry the session are to end, which
    /// [`Streams::Close`] asks for.
    pub fn cut(&self) -> CancellationToken {
        self.tenure.cut.clone()
    }

    /// Finds the token, cookie and password values that must not leave, and those that the next
    /// version brought, which finds ours, too.
    pub fn guarded_with(&self, next: Option<&Self>) -> Arc<Search> {
        match next {
            None => Arc::clone(&self.guarded),
            Some(next) => Arc::clone(&next.guarded),
        }
    }

    /// Notes that a request that was sent again on this session was answered as if it were dead,
    /// too.
    pub fn contradict(&self, now: Moment) {
        self.tenure.contradicted.get_or_init(|| now);
    }

    /// Whether a verdict about this session has to be confirmed by the probe.
    pub fn is_contradicted(&self) -> bool {
        self.tenure.contradicted.get().is_some()
    }
}

/// An upstream as sessions see it.
#[derive(Debug)]
pub struct Upstream {
    /// Which one it is.
    pub id: UpstreamId,
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// How its sessions live.
    pub recipe: Arc<Recipe>,
    /// Where it is.
    pub origin: Arc<Origin>,
    /// What tells its sessions from those of the same upstream set up otherwise.
    pub tenant: Tenant,
    /// Its accounts.
    pub accounts: Vec<Arc<Account>>,
    /// Places that its logins tell of.
    pub places: Places,
    /// How the control side talks to it.
    pub transport: Transport,
    /// What becomes of streams on a session that was replaced.
    pub streams: Streams,
    /// Whether bodies of answers are searched for session values.
    pub search_bodies: SearchBodies,
    /// Tells its recipe with its parameters from others: [`recipe_print`].
    pub recipe_print: Fingerprint,
    /// Whether an operator has it left alone.
    pub pause: Arc<Pause>,
}

impl Upstream {
    /// Its account with this id.
    pub fn account(&self, id: AccountId) -> Option<&Arc<Account>> {
        self.accounts.iter().find(|account| account.id == id)
    }
}

/// What becomes of streams (tunnels, event streams, long answers) on a session that was replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Streams {
    /// The session is logged out after the last of them, however long that takes.
    Keep,
    /// They have the drain time; then the session is logged out.
    #[default]
    Drain,
    /// They are cut, and the session is logged out.
    Close,
}

/// Whether bodies of answers are searched for session values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SearchBodies {
    /// All of them; the upstream is asked for bodies without a content coding.
    #[default]
    Identity,
    /// All of them; the upstream is asked for content codings that can be taken off.
    Decode,
    /// None.
    Off,
}

/// One account of an upstream.
#[derive(Debug)]
pub struct Account {
    /// Which one it is.
    pub id: AccountId,
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The name that the upstream knows it by; with the upstream's name it is the budget's key.
    pub login_name: String,
    vault: credentials::Vault,
}

impl Account {
    /// An account that logs in with these credentials.
    pub fn new(id: AccountId, name: &str, login_name: String, credentials: Credentials) -> Self {
        let vault = credentials::Vault::new(credentials);
        Self { id, name: Arc::from(name), login_name, vault }
    }

    /// It is no account any more: no login is begun for it.
    fn retire(&self) {
        self.vault.close();
    }

    /// Whether it is no account any more.
    fn is_retired(&self) -> bool {
        self.vault.is_closed()
    }

    /// The credentials that it logs in with now.
    pub fn credentials(&self) -> Arc<Credentials> {
        self.vault.current()
    }
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The upstream refused the login.
    #[error("the upstream refused the login")]
    Refused(Option<RefusalClass>),
    /// No login may be tried yet.
    #[error("no login may be tried yet")]
    HeldBack {
        /// When it is worth asking again.
        retry_after: Duration,
        /// Why.
        cause: HoldCause,
    },
    /// The login did not end within the request's deadline.
    #[error("the login did not end in time")]
    Timeout,
    /// The upstream cannot be reached.
    #[error("the upstream cannot be reached for a login")]
    Unreachable(Unreached),
    /// Doorward is stopping.
    #[error("no login is begun while stopping")]
    Stopping,
}

/// Why no login may be tried yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldCause {
    /// A refusal that the recipe does not classify.
    UnclassifiedRefusal,
    /// The account has no room for one more session.
    SlotsFull,
    /// Too many logins or requests.
    Throttled,
    /// The upstream is out of order.
    UpstreamBroken,
    /// The upstream could not be reached.
    Unreachable,
    /// The answer to a login never came.
    AnswerLost,
    /// Somebody else logs in with this account and so ends our sessions.
    Displaced,
    /// All sessions that may be open at a time are in use.
    SessionsFull,
    /// The login attempts are used up, and their window has not passed.
    BudgetSpent,
    /// Too many logins of the account wait for their turn.
    LoginsQueued,
    /// The attempt cannot be recorded.
    StateUnwritable,
    /// An operator has paused the upstream.
    Paused,
}

impl HoldCause {
    /// Every cause.
    pub const ALL: [HoldCause; 12] = [
        Self::UnclassifiedRefusal,
        Self::SlotsFull,
        Self::Throttled,
        Self::UpstreamBroken,
        Self::Unreachable,
        Self::AnswerLost,
        Self::Displaced,
        Self::SessionsFull,
        Self::BudgetSpent,
        Self::LoginsQueued,
        Self::StateUnwritable,
        Self::Paused,
    ];

    /// The word in logs and problem details.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnclassifiedRefusal => "unclassified_refusal",
            Self::SlotsFull => "slots_full",
            Self::Throttled => "throttled",
            Self::UpstreamBroken => "upstream_broken",
            Self::Unreachable => "unreachable",
            Self::AnswerLost => "answer_lost",
            Self::Displaced => "displaced",
            Self::SessionsFull => "sessions_full",
            Self::BudgetSpent => "budget_spent",
            Self::LoginsQueued => "logins_queued",
            Self::StateUnwritable => "state_unwritable",
            Self::Paused => "paused",
        }
    }

    /// The cause in words, for a client.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::UnclassifiedRefusal => "the last login was refused in a way that is not known",
            Self::SlotsFull => "the upstream has no room for one more session",
            Self::Throttled => "the upstream asks to wait",
            Self::UpstreamBroken => "the upstream is out of order",
            Self::Unreachable => "the upstream could not be reached",
            Self::AnswerLost => "the answer to the last login never came",
            Self::Displaced => "somebody else logs in with this account and ends its sessions",
            Self::SessionsFull => "all sessions that may be open are in use",
            Self::BudgetSpent => "the account's login attempts are used up for now",
            Self::LoginsQueued => "too many logins of the account wait for their turn",
            Self::StateUnwritable => "the login attempt cannot be recorded",
            Self::Paused => "the operator has paused the upstream",
        }
    }
}
