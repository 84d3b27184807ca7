//! Rows for operators out of what rooms show of themselves.

use std::time::SystemTime;

use super::described::Current;
use super::{milliseconds, time};
use crate::access::revoked::Revocations;
use crate::admin::answers::{
    self, AccountState, Address, Key, KeyState, LimitLevel, Paused, RateLevel, SessionState,
};
use crate::limit::{Level, Limits};
use crate::session::account::{State, class_name};
use crate::session::{AccountView, Broker, Scope, SessionStage, SessionView};
use crate::telemetry;

/// Sessions, logins under way, and accounts without either.
pub(super) fn sessions(broker: &Broker, current: &Current) -> Vec<answers::Session> {
    let views = broker.sessions();
    let mut rows = Vec::new();
    for account in accounts(broker, current) {
        let before = rows.len();
        let own = views.iter().filter(|view| view.id == account.id);
        rows.extend(own.map(|view| session(view, &account, current)));
        if rows.len() == before {
            rows.push(without_session(&account));
        }
    }
    rows
}

/// How the accounts of the configuration stand.
fn accounts(broker: &Broker, current: &Current) -> Vec<AccountView> {
    let accounts = current.upstreams.iter().flat_map(|(upstream, _)| &upstream.accounts);
    accounts.map(|account| broker.account(account.id)).collect()
}

fn session(view: &SessionView, account: &AccountView, current: &Current) -> answers::Session {
    let client = match view.scope {
        Scope::Shared => None,
        Scope::Client(number) => {
            let client = current.clients.iter().find(|client| client.number == Some(number));
            Some(client.map_or_else(|| format!("number {}", number.0), |one| one.name.clone()))
        }
    };
    let life = view.life_began.zip(view.expires_in).map(|(began, ends)| began + ends);
    answers::Session {
        client,
        state: match view.stage {
            SessionStage::LoggingIn => SessionState::LoggingIn,
            SessionStage::Live => SessionState::Live,
            SessionStage::Renewing => SessionState::Renewing,
        },
        generation: Some(view.generation.0),
        opened_as: Some(view.opened_as.0),
        age_ms: view.age.map(milliseconds),
        life_ms: life.map(milliseconds),
        expires_in_ms: view.expires_in.map(milliseconds),
        unused_for_ms: view.unused_for.map(milliseconds),
        holds: view.holds,
        waiters: view.waiters,
        ..without_session(account)
    }
}

/// The row of an account, as if it had no session.
fn without_session(account: &AccountView) -> answers::Session {
    let standing = Standing::of(account);
    answers::Session {
        upstream: account.upstream.to_string(),
        account: account.name.to_string(),
        client: None,
        state: match standing.state {
            AccountState::Open => SessionState::None,
            AccountState::HeldBack => SessionState::HeldBack,
            AccountState::Quarantined => SessionState::Quarantined,
        },
        cause: standing.cause.map(str::to_owned),
        retry_in_ms: standing.retry_in_ms,
        generation: None,
        opened_as: None,
        age_ms: None,
        life_ms: None,
        expires_in_ms: None,
        learned_life_ms: account.learned_life.map(milliseconds),
        unused_for_ms: None,
        holds: 0,
        waiters: 0,
        last_login: None,
    }
}

/// Whether an account may log in now, and why not.
struct Standing {
    state: AccountState,
    cause: Option<&'static str>,
    retry_in_ms: Option<u64>,
}

impl Standing {
    fn of(account: &AccountView) -> Self {
        let held = |cause, retry_in| Self {
            state: AccountState::HeldBack,
            cause: Some(cause),
            retry_in_ms: Some(milliseconds(retry_in)),
        };
        match (&account.state, account.held_for, account.displaced_for) {
            (State::Quarantined { cause, .. }, _, _) => Self {
                state: AccountState::Quarantined,
                cause: Some(cause.map_or("unclassified", class_name)),
                retry_in_ms: None,
            },
            (_, _, Some(displaced)) => held("displaced", displaced),
            (State::HeldBack { cause, .. }, Some(retry_in), None) => held(cause.as_str(), retry_in),
            _ if account.attempts_left == 0 && account.logins_under_way == 0 => {
                held("budget_spent", account.refills_in.unwrap_or_default())
            }
            _ => Self { state: AccountState::Open, cause: None, retry_in_ms: None },
        }
    }
}

/// The accounts that may not log in.
pub(super) fn cannot_log_in(broker: &Broker, current: &Current) -> Vec<String> {
    let named = accounts(broker, current).into_iter().filter_map(|account| {
        let cause = Standing::of(&account).cause?;
        Some(format!("{}.{} ({cause})", account.upstream, account.name))
    });
    named.collect()
}

/// Upstreams with their accounts.
pub(super) fn upstreams(broker: &Broker, current: &Current) -> Vec<answers::Upstream> {
    let rows = current.upstreams.iter().map(|(upstream, written)| {
        let reach = upstream.origin.dialler.view();
        let own = upstream.accounts.iter().map(|account| broker.account(account.id));
        answers::Upstream {
            name: upstream.name.to_string(),
            url: written.url.clone(),
            recipe: written.recipe.clone(),
            paused: upstream
                .pause
                .retry_after()
                .map(|pause| Paused { retry_after_seconds: pause.as_secs() }),
            circuit_open_for_ms: reach.circuit_open_for.map(milliseconds),
            unresolved: reach.unresolved,
            addresses: reach
                .addresses
                .iter()
                .map(|one| Address {
                    address: one.address.to_string(),
                    left_out_for_ms: one.left_out_for.map(milliseconds),
                    connections: one.connections,
                })
                .collect(),
            accounts: own.map(|one| account(&one, &current.admission)).collect(),
        }
    });
    rows.collect()
}

fn account(account: &AccountView, limits: &Limits) -> answers::Account {
    let standing = Standing::of(account);
    let limit = limits.account(account.id.0);
    answers::Account {
        name: account.name.to_string(),
        state: standing.state,
        cause: standing.cause.map(str::to_owned),
        retry_in_ms: standing.retry_in_ms,
        attempts_left: account.attempts_left,
        attempts_max: account.attempts_max,
        window_ms: milliseconds(account.window),
        refills_in_ms: account.refills_in.map(milliseconds),
        failures_in_a_row: account.failures_in_a_row,
        logins_under_way: account.logins_under_way,
        learned_life_ms: account.learned_life.map(milliseconds),
        limit: limit.map(|limit| level(limit.level())),
    }
}

fn level(level: Level) -> LimitLevel {
    let Level { in_flight, in_flight_max, waiting, waiting_max, rates } = level;
    let rates = rates.into_iter().map(|one| {
        let (rate, left) = one.rate.unzip();
        let per_second = rate.map(|rate| 1.0 / rate.interval.as_secs_f64());
        RateLevel {
            counts: one.kind.map_or("all", crate::limit::Kind::as_str).to_owned(),
            // No rate is that fast; what is none has no number in JSON.
            per_second: per_second.filter(|rate| rate.is_finite()),
            burst: rate.map(|rate| rate.burst),
            left,
            paused_for_ms: one.paused_for.map(milliseconds),
        }
    });
    LimitLevel { in_flight, in_flight_max, waiting, waiting_max, rates: rates.collect() }
}

/// Clients with their keys and limits.
pub(super) fn clients(
    current: &Current,
    revocations: &Revocations,
    now: SystemTime,
) -> Vec<answers::Client> {
    let rows = current.clients.iter().map(|client| {
        let keys = client.keys.iter().map(|key| Key {
            digest: key.digest.beginning(),
            expires_at: key.expires.map(time),
            state: match (revocations.is_revoked(&key.digest), key.expires) {
                (true, _) => KeyState::Revoked,
                (false, Some(end)) if end <= now => KeyState::Expired,
                (false, _) => KeyState::Good,
            },
        });
        let limit = client.number.and_then(|number| current.admission.of_client(number.0));
        answers::Client {
            keys: keys.collect(),
            limit: limit.map(|limit| level(limit.level())),
            ..client.row()
        }
    });
    rows.collect()
}

/// A message that was rejected.
pub(super) fn rejected(one: &telemetry::Rejected) -> answers::Rejected {
    let head = one.head.as_ref();
    answers::Rejected {
        at: time(one.at),
        listener: one.listener.to_string(),
        peer: one.peer.map(|peer| peer.to_string()),
        reason: one.reason.to_owned(),
        method: head.map(|head| head.method.to_string()),
        path: head.map(|head| head.path.to_string()),
        fields: head.into_iter().flat_map(|head| &head.fields).map(ToString::to_string).collect(),
    }
}
