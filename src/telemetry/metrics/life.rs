//! Events of sessions, accounts and upstreams as counts. Each label is a name of the configuration or
//! a word of a closed list.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::families::{self, Family};
use super::histogram::Histogram;
use crate::telemetry::{
    About, AuditTrouble, Event, IssuerKeys, KeysOutcome, Login, ReachChange, Reachability, Reader,
    Reload, ReloadStage, Revocation, Rotation, SecretTrouble, Stage, Trigger,
};

/// What is counted of an account from the beginning: who watches it waits for a rise.
const BEGINNING: [(&Family, &[&str]); 7] = [
    (&families::EXPIRIES, &["current"]),
    (&families::DISPLACEMENTS, &[]),
    (&families::LOGOUTS, &["confirmed"]),
    (&families::LOGOUTS, &["unconfirmed"]),
    (&families::PAUSES, &[]),
    (&families::ROTATIONS, &["refused"]),
    (&families::STATE_FAILURES, &[]),
];

/// The values of a family's labels, in its order.
pub(super) type Labels = Vec<Arc<str>>;

/// What has happened so far.
#[derive(Debug, Default)]
pub(super) struct Life(Mutex<Counted>);

#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) counts: BTreeMap<&'static str, BTreeMap<Labels, u64>>,
    /// By upstream.
    pub(super) login_durations: BTreeMap<Arc<str>, Histogram>,
    /// Whether lines of the audit trail can be written.
    pub(super) is_audit_failing: bool,
}

impl Life {
    /// Nothing panics under the lock: what it holds is whole.
    pub(super) fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An account is there: what will be counted of it begins with nothing, so that its first time
    /// shows as a rise.
    pub(super) fn begin(&self, upstream: &Arc<str>, account: &Arc<str>) {
        let mut counted = self.lock();
        let of = |words: &[&str]| {
            let words = words.iter().map(|word| Arc::from(*word));
            [upstream, account].into_iter().cloned().chain(words).collect::<Labels>()
        };
        for trigger in Trigger::ALL {
            counted.add(&families::LOGINS, of(&[trigger.as_str(), Login::SUCCESS]), 0);
        }
        for (family, words) in BEGINNING {
            counted.add(family, of(words), 0);
        }
        counted.add(&families::REDACTIONS, vec![Arc::clone(upstream)], 0);
        for word in ["unreadable", "unwatched"] {
            counted.add(&families::SECRET_FAULTS, vec![Arc::from(word)], 0);
        }
        counted.login_durations.entry(Arc::clone(upstream)).or_default();
    }
}

impl Counted {
    fn add(&mut self, family: &Family, labels: Labels, more: u64) {
        *self.counts.entry(family.name).or_default().entry(labels).or_default() += more;
    }

    fn note(&mut self, family: &Family, labels: &[&Arc<str>], words: &[&'static str]) {
        let words = words.iter().map(|word| Arc::from(*word));
        self.add(family, labels.iter().map(|label| Arc::clone(label)).chain(words).collect(), 1);
    }

    fn about(&mut self, family: &Family, about: &About, words: &[&'static str]) {
        self.note(family, &[&about.upstream, &about.account], words);
    }

    fn login(&mut self, login: &Login) {
        let labels = [&login.upstream, &login.account];
        self.note(&families::LOGINS, &labels, &[login.trigger.as_str(), login.word]);
        self.login_durations.entry(Arc::clone(&login.upstream)).or_default().note(login.took);
    }

    fn reach(&mut self, reachability: &Reachability) {
        let upstream = [&reachability.upstream];
        match &reachability.change {
            ReachChange::CircuitOpened { .. } => {
                self.note(&families::CIRCUIT_OPENINGS, &upstream, &[]);
            }
            ReachChange::AddressLeftOut { .. } => {
                self.note(&families::ADDRESSES_LEFT_OUT, &upstream, &[]);
            }
            ReachChange::NameUnresolved { .. } => {
                self.note(&families::NAME_FAILURES, &upstream, &["unresolved"]);
            }
            ReachChange::AddressProhibited { .. } => {
                self.note(&families::NAME_FAILURES, &upstream, &["prohibited"]);
            }
            ReachChange::CircuitClosed { .. }
            | ReachChange::AddressBack { .. }
            | ReachChange::AddressesChanged { .. }
            | ReachChange::NameResolved => {}
        }
    }

    fn rotation(&mut self, Rotation { upstream, account, stage }: &Rotation) {
        let word = match stage {
            Stage::Begun => "begun",
            Stage::Waiting { .. } => "waiting",
            Stage::Done { .. } => "done",
            Stage::Refused { .. } => "refused",
        };
        self.note(&families::ROTATIONS, &[upstream, account], &[word]);
    }

    fn audit(&mut self, trouble: &AuditTrouble) {
        match trouble {
            AuditTrouble::Unwritable { .. } => {
                self.is_audit_failing = true;
                self.note(&families::AUDIT_FAILURES, &[], &[]);
            }
            AuditTrouble::Lost { lost } => {
                self.is_audit_failing = false;
                self.add(&families::AUDIT_LOST, Labels::new(), *lost);
            }
        }
    }

    fn issuer(&mut self, IssuerKeys { issuer, outcome }: &IssuerKeys) {
        let word = match outcome {
            KeysOutcome::New { .. } => "new",
            KeysOutcome::Same => "same",
            KeysOutcome::Failed { .. } => "failed",
            KeysOutcome::Dropped => "dropped",
        };
        self.note(&families::ISSUER_KEYS, &[issuer], &[word]);
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Login(login) => self.login(login),
            Event::Expired(about) => self.about(&families::EXPIRIES, about, &["current"]),
            Event::LateExpiry(about) => self.about(&families::EXPIRIES, about, &["late"]),
            Event::Probe { about, alive, .. } => {
                let word = if *alive { "alive" } else { "dead" };
                self.about(&families::PROBES, about, &[word]);
            }
            Event::Logout { about, confirmed, .. } => {
                let word = if *confirmed { "confirmed" } else { "unconfirmed" };
                self.about(&families::LOGOUTS, about, &[word]);
            }
            Event::Refreshed { about, outcome, .. } => {
                self.about(&families::REFRESHES, about, &[succeeded(outcome)]);
            }
            Event::Renewed { about, outcome, .. } => {
                self.about(&families::RENEWALS, about, &[succeeded(outcome)]);
            }
            Event::LetGo { about, why } => self.about(&families::LET_GO, about, &[why.as_str()]),
            Event::Displaced { about, .. } => self.about(&families::DISPLACEMENTS, about, &[]),
            Event::Paused { upstream, account, .. } => {
                self.note(&families::PAUSES, &[upstream, account], &[]);
            }
            Event::Quarantined { upstream, account, cause } => {
                self.note(&families::QUARANTINES, &[upstream, account], &[cause]);
            }
            Event::Rotation(rotation) => self.rotation(rotation),
            Event::SecretTrouble(trouble) => {
                let word = match trouble {
                    SecretTrouble::Unreadable { .. } => "unreadable",
                    SecretTrouble::Unwatched { .. } => "unwatched",
                };
                self.note(&families::SECRET_FAULTS, &[], &[word]);
            }
            Event::Adopted(about) => self.about(&families::ADOPTED, about, &[]),
            Event::LeftOpen { upstream, account, closed } => {
                let word = if *closed { "closed" } else { "open" };
                self.note(&families::LEFT_OPEN, &[upstream, account], &[word]);
            }
            Event::AnswerLost { upstream, account, what } => {
                self.note(&families::ANSWERS_LOST, &[upstream, account], &[what.name()]);
            }
            Event::StateUnwritable { upstream, account, .. } => {
                self.note(&families::STATE_FAILURES, &[upstream, account], &[]);
            }
            Event::Revocation(Revocation::Taken { .. }) => {
                self.note(&families::REVOCATIONS, &[], &[]);
            }
            Event::IssuerKeys(keys) => self.issuer(keys),
            Event::Reach(reachability) => self.reach(reachability),
            Event::Audit(trouble) => self.audit(trouble),
            // Requests are counted by the cores, and strain is looked at when somebody asks.
            _ => {}
        }
    }
}

/// Counts events.
pub(super) struct Counting(pub(super) Arc<super::Inner>);

impl Reader for Counting {
    fn read(&mut self, at: SystemTime, event: &Event) {
        if let Event::Reload(Reload { stage, .. }) = event {
            match stage {
                ReloadStage::Begun => {}
                ReloadStage::Done { .. } => self.0.reloaded(at),
                ReloadStage::Failed { .. } => self.0.reload_refused(),
            }
        }
        self.0.life.lock().event(event);
    }

    fn dropped(&mut self, count: u64) {
        self.0.life.lock().add(&families::EVENTS_DROPPED, Labels::new(), count);
    }
}

fn succeeded(outcome: &Result<u64, &'static str>) -> &'static str {
    if outcome.is_ok() { "success" } else { "failed" }
}
