//! What metrics need of the other rooms: the names of a configuration, and how everything stands.

use std::sync::{Arc, Weak};

use super::Reloader;
use super::ids::Ids;
use crate::admin;
use crate::limit::Limits;
use crate::proxy::Shared;
use crate::session::{self, Overview};
use crate::settings::Settings;
use crate::telemetry::Missing;
use crate::telemetry::metrics::{
    Account, CLIENTS_MAX, Catalog, Format, Limit, Listener, Metrics, RouteNames, State, Upstream,
    UpstreamNames,
};

/// Counts of what could not be handed on, where somebody wants it.
pub(super) struct MissingLines {
    pub(super) access_log: Option<Missing>,
    pub(super) spans: Option<Missing>,
}

/// Metrics as the admin API hands them to collectors.
pub(super) struct Collected(pub(super) Metrics);

impl admin::Metrics for Collected {
    fn exposition(&self, accept: Option<&str>) -> admin::Exposition {
        let format = Format::accepted(accept);
        let content_type = format.content_type().to_owned();
        admin::Exposition { content_type, text: self.0.render(format) }
    }
}

/// Begins to count what happens to the accounts of these upstreams, with nothing.
pub(super) fn begin(metrics: &Metrics, upstreams: &[Arc<session::Upstream>]) {
    for upstream in upstreams {
        for account in &upstream.accounts {
            metrics.begin(&upstream.name, &account.name);
        }
    }
}

/// What the numbers of a configuration are called.
pub(super) fn catalog(
    settings: &Settings,
    upstreams: &[Arc<session::Upstream>],
    ids: &Ids,
) -> Arc<Catalog> {
    let routes = settings.routes.iter().map(|route| {
        let host = route.host.as_deref().unwrap_or_default();
        let known = upstreams.iter().position(|known| *known.name == *route.upstream);
        let route = Arc::from(format!("{host}{}", route.path));
        RouteNames { route, upstream: known.unwrap_or(usize::MAX) }
    });
    let names = upstreams.iter().map(|upstream| UpstreamNames {
        name: Arc::clone(&upstream.name),
        address: Arc::from(upstream.origin.host.as_str()),
        port: upstream.origin.port,
        scheme: if upstream.origin.tls.is_some() { "https" } else { "http" },
    });
    let clients = settings.clients.iter().take(CLIENTS_MAX).filter_map(|client| {
        let name = client.id.as_str();
        Some((ids.client(name).ok()?.0, Arc::from(name)))
    });
    Arc::new(Catalog {
        routes: routes.collect(),
        upstreams: names.collect(),
        clients: clients.collect(),
    })
}

/// Has metrics look at how everything stands, for as long as it is there.
pub(super) fn watch(
    metrics: &Metrics,
    shared: &Weak<Shared>,
    reloader: Reloader,
    missing: MissingLines,
) {
    let shared = Weak::clone(shared);
    metrics.look_by(move || match shared.upgrade() {
        Some(shared) => State {
            access_log_lost: missing.access_log.as_ref().map(Missing::count),
            spans_lost: missing.spans.as_ref().map(Missing::count),
            ..state(&shared, &reloader.admission())
        },
        None => State::default(),
    });
}

fn state(shared: &Shared, admission: &Limits) -> State {
    let overview = shared.broker.overview();
    let mut upstreams: Vec<Upstream> = Vec::new();
    for account in &overview {
        let name = &account.upstream.name;
        match upstreams.iter_mut().find(|known| known.upstream == *name) {
            Some(known) => known.login_waiters += account.login_waiters,
            None => upstreams.push(upstream(account)),
        }
    }
    let listeners = shared.connections.counts().into_iter();
    let listeners =
        listeners.map(|(listener, open, accepted)| Listener { listener, open, accepted });
    State {
        accounts: overview.iter().map(|seen| account(shared, admission, seen)).collect(),
        upstreams,
        limits: limits(admission),
        listeners: listeners.collect(),
        rejected: shared.rejections.counts(),
        load: shared.overload.load().as_str(),
        access_log_lost: None,
        spans_lost: None,
    }
}

fn account(shared: &Shared, admission: &Limits, seen: &Overview) -> Account {
    let (now, wall) = (shared.clock.now(), shared.clock.wall());
    let limit = admission.account(seen.account.id.0);
    Account {
        upstream: Arc::clone(&seen.upstream.name),
        account: Arc::clone(&seen.account.name),
        logging_in: seen.logging_in,
        live: seen.live,
        renewing: seen.renewing,
        expires: seen.expires.map(|end| wall + end.saturating_since(now)),
        attempts_left: seen.attempts_left,
        attempts_max: seen.attempts_max,
        state: seen.state.as_str(),
        held_back: seen.held_back(now),
        paused: limit.map(|limit| limit.paused_for()).unwrap_or_default(),
    }
}

fn upstream(of: &Overview) -> Upstream {
    let dialler = &of.upstream.origin.dialler;
    let (all, left_out) = dialler.addresses();
    Upstream {
        upstream: Arc::clone(&of.upstream.name),
        login_waiters: of.login_waiters,
        is_circuit_open: dialler.open_for().is_some(),
        addresses_used: all.saturating_sub(left_out) as u64,
        addresses_left_out: left_out as u64,
    }
}

fn limits(admission: &Limits) -> Vec<Limit> {
    let all = admission.waiting_at().into_iter().zip(admission.decisions.all());
    let all = all.map(|((whose, waiting), (_, decided))| Limit {
        limit: whose.as_str(),
        waiting: waiting as u64,
        admitted: decided.admitted,
        waited: decided.waited,
        rate_limited: decided.rate_limited,
        overloaded: decided.overloaded,
    });
    all.collect()
}
