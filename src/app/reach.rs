//! How upstreams are reached: settings become what makes their connections.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::words;
use crate::clock::Clock;
use crate::settings;
use crate::telemetry::WeakReporter;
use crate::upstream::{Dialler, Network, Observer, Reach, Resolver};

/// What upstreams are reached with.
#[derive(Clone)]
pub(super) struct Outside {
    /// The clock.
    pub(super) clock: Clock,
    /// Who hears of what happens to them.
    pub(super) reporter: Option<WeakReporter>,
    /// Who knows the addresses of their names.
    pub(super) resolver: Resolver,
}

impl Outside {
    /// By the machine's resolver, and told to nobody.
    pub(super) fn untold(clock: &Clock) -> Self {
        Self { clock: clock.clone(), reporter: None, resolver: Resolver::System }
    }
}

/// Makes the connections to an upstream.
pub(super) fn dialler(written: &settings::Upstream, outside: &Outside) -> Dialler {
    let settings::Reach { addresses, resolve_every, allowed, ejection, circuit } = &written.reach;
    let allowed = allowed.iter().map(|network| Network::new(network.address, network.bits));
    let (origin, addresses) = match &written.way {
        settings::Way::Direct => (&written.origin, addresses.clone()),
        settings::Way::Proxy(proxy) => (&proxy.origin, Vec::new()),
        // Nothing is dialled, and nothing need be resolved for it.
        settings::Way::Unix(_) => (&written.origin, vec![(Ipv4Addr::LOCALHOST, 0).into()]),
    };
    let reach = Reach {
        host: origin.host.clone(),
        port: origin.port,
        addresses,
        resolver: outside.resolver.clone(),
        resolve_every: *resolve_every,
        allowed: allowed.collect(),
        ejection: words::tolerance(*ejection),
        circuit: words::tolerance(*circuit),
    };
    let observer = Observer {
        upstream: Arc::from(written.name.as_str()),
        clock: outside.clock.clone(),
        reporter: outside.reporter.clone(),
    };
    Dialler::new(reach, observer)
}
