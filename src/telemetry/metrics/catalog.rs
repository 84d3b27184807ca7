//! What the numbers of a configuration are called in labels. The data path counts by numbers; names
//! come in when somebody reads.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// So many clients are counted by name; those that stand behind them in the configuration are counted
/// together as `_other`.
pub const CLIENTS_MAX: usize = 500;

/// The names of one configuration, each at its number.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// By route.
    pub routes: Vec<RouteNames>,
    /// In the order of the configuration.
    pub upstreams: Vec<UpstreamNames>,
    /// By the client's number; no more than [`CLIENTS_MAX`].
    pub clients: HashMap<u32, Arc<str>, RandomState>,
}

/// How a route is called.
#[derive(Clone, Debug)]
pub struct RouteNames {
    /// What it is for: a host, where it is for one, and a path prefix.
    pub route: Arc<str>,
    /// Its upstream's place among the upstreams.
    pub upstream: usize,
}

/// How an upstream is called.
#[derive(Clone, Debug)]
pub struct UpstreamNames {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The host of its URL.
    pub address: Arc<str>,
    /// The port of its URL.
    pub port: u16,
    /// `http` or `https`.
    pub scheme: &'static str,
}

impl Catalog {
    pub(super) fn route(&self, number: Option<u16>) -> Option<&RouteNames> {
        self.routes.get(usize::from(number?))
    }

    pub(super) fn upstream(&self, place: usize) -> Option<&UpstreamNames> {
        self.upstreams.get(place)
    }

    /// The name of a route's upstream.
    pub(super) fn upstream_of(&self, route: Option<u16>) -> Option<Arc<str>> {
        let route = self.route(route)?;
        self.upstream(route.upstream).map(|upstream| Arc::clone(&upstream.name))
    }
}
