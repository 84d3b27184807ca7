//! What is told of whether upstreams can be reached.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Something has changed in how an upstream can be reached.
#[derive(Clone, Debug)]
pub struct Reachability {
    /// The upstream's name in the configuration.
    pub upstream: Arc<str>,
    /// What.
    pub change: ReachChange,
}

/// What has changed in how an upstream can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReachChange {
    /// It could not be reached, again and again: no connection is tried for a while. Told again
    /// each time when one was tried in vain.
    CircuitOpened {
        /// How often in a row.
        failures: u32,
        /// For how long none is tried.
        pause: Duration,
        /// Why the last one was in vain.
        cause: String,
    },
    /// It can be reached again.
    CircuitClosed {
        /// After so long.
        after: Duration,
    },
    /// One of its addresses failed, again and again, and is left out for a while.
    AddressLeftOut {
        /// The address.
        address: SocketAddr,
        /// For how long.
        pause: Duration,
        /// Why it failed last.
        cause: String,
    },
    /// An address that was left out has answered again.
    AddressBack {
        /// The address.
        address: SocketAddr,
    },
    /// Its name has other addresses than before.
    AddressesChanged {
        /// How many.
        addresses: usize,
    },
    /// Its name leads to an address to which no connection is made.
    AddressProhibited {
        /// The address.
        address: IpAddr,
    },
    /// Nobody says which addresses its name has. Told once, and once more when the last ones are
    /// given up.
    NameUnresolved {
        /// Why.
        why: String,
        /// For how long the last ones are used on; nothing where there are none.
        kept_for: Option<Duration>,
    },
    /// Its name has addresses again.
    NameResolved,
}

impl ReachChange {
    /// In words, for people who watch.
    pub fn phrase(&self) -> &'static str {
        match self {
            Self::CircuitOpened { .. } => {
                "the upstream cannot be reached: no connection is tried for a while"
            }
            Self::CircuitClosed { .. } => "the upstream can be reached again",
            Self::AddressLeftOut { .. } => "an address of the upstream fails: it is left out",
            Self::AddressBack { .. } => "an address of the upstream answers again",
            Self::AddressesChanged { .. } => "the upstream's name has other addresses",
            Self::AddressProhibited { .. } => {
                "the upstream's name leads to an address to which no connection is made"
            }
            Self::NameUnresolved { kept_for: Some(_), .. } => {
                "the upstream's name cannot be resolved: its last addresses are used on"
            }
            Self::NameUnresolved { kept_for: None, .. } => {
                "the upstream's name cannot be resolved: it has no address"
            }
            Self::NameResolved => "the upstream's name can be resolved again",
        }
    }
}
