//! How an upstream can be reached, for an operator who looks at it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Dialler;
use super::dial::Source;

/// How an upstream can be reached at one moment.
#[derive(Clone, Debug)]
pub struct ReachView {
    /// For how long no connection is tried; nothing where the circuit is closed.
    pub circuit_open_for: Option<Duration>,
    /// Its addresses, as far as they are known.
    pub addresses: Vec<AddressView>,
    /// Why the last question for the addresses of its name had no answer, if it had none.
    pub unresolved: Option<String>,
}

/// How one address fares.
#[derive(Clone, Copy, Debug)]
pub struct AddressView {
    /// The address.
    pub address: SocketAddr,
    /// For how long it is left out; nothing where it is used.
    pub left_out_for: Option<Duration>,
    /// Connections to it of all cores, and attempts at one.
    pub connections: usize,
}

impl Dialler {
    /// How the upstream can be reached now. Asks nobody.
    pub fn view(&self) -> ReachView {
        let now = self.observer.clock.now();
        let (endpoints, unresolved) = match &self.source {
            Source::Listed(endpoints) => (Arc::clone(endpoints), None),
            Source::Named(name) => name.told_last(),
        };
        let addresses = endpoints.iter().map(|endpoint| AddressView {
            address: endpoint.address,
            left_out_for: endpoint.out_until(now).map(|until| until.saturating_since(now)),
            connections: endpoint.open(),
        });
        ReachView { circuit_open_for: self.open_for(), addresses: addresses.collect(), unresolved }
    }
}
