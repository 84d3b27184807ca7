//! The addresses of one upstream: how each fares, how much each has to do, and in which order they
//! are tried (RFC 8305 section 4).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::health::Health;
use crate::clock::Moment;

/// One address of an upstream, shared by all who connect to it.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    /// Connections to it, and attempts at one, of all cores.
    open: AtomicUsize,
    is_gone: AtomicBool,
    health: Mutex<Health>,
}

/// Counts as a connection to an address as long as it is there.
#[derive(Debug)]
pub(super) struct Lease(Arc<Endpoint>);

/// Whether the addresses of both families are one choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preference {
    /// They are: any of them is as good as another.
    None,
    /// IPv6 comes first, and the families take turns (RFC 8305 section 4).
    Ipv6,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            open: AtomicUsize::new(0),
            is_gone: AtomicBool::new(false),
            health: Mutex::default(),
        }
    }

    /// Whether the upstream has this address no longer.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    pub(super) fn goes(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }

    /// How it fares. Nothing panics under the lock.
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn out_until(&self, now: Moment) -> Option<Moment> {
        self.health().out_until(now)
    }

    /// Connections to it, and attempts at one.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Lease {
    pub(super) fn of(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(endpoint))
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// In which order a new connection tries the addresses: last those to which one that is idle leads
/// already. Those that are left alone are left out; if that are all, the one that is due back first
/// is tried.
pub(super) fn order(
    endpoints: &[Arc<Endpoint>],
    idle: &[Arc<Endpoint>],
    preference: Preference,
    now: Moment,
    random: u64,
) -> Vec<Arc<Endpoint>> {
    let well = endpoints.iter().filter(|endpoint| endpoint.out_until(now).is_none());
    let well: Vec<_> = well.cloned().collect();
    if well.is_empty() {
        let first_back = endpoints.iter().min_by_key(|endpoint| endpoint.out_until(now));
        return first_back.cloned().into_iter().collect();
    }
    match preference {
        Preference::None => spread(well, idle, random),
        Preference::Ipv6 => {
            let (ipv6, ipv4) = well.into_iter().partition(|endpoint| endpoint.address.is_ipv6());
            interleaved(spread(ipv6, idle, random), spread(ipv4, idle, random))
        }
    }
}

/// How many of the addresses are as good as the first one.
pub(super) fn peers(endpoints: &[Arc<Endpoint>], preference: Preference) -> usize {
    let ipv6 = endpoints.iter().filter(|endpoint| endpoint.address.is_ipv6()).count();
    match preference {
        Preference::Ipv6 if ipv6 > 0 => ipv6,
        Preference::None | Preference::Ipv6 => endpoints.len(),
    }
}

/// The less busy one of two that are drawn comes first: that spreads nearly as well as the least
/// busy one of all, and a new address is not stormed. The others follow by how busy they are.
fn spread(
    endpoints: Vec<Arc<Endpoint>>,
    idle: &[Arc<Endpoint>],
    random: u64,
) -> Vec<Arc<Endpoint>> {
    let is_idle = |one: &Arc<Endpoint>| idle.iter().any(|other| Arc::ptr_eq(one, other));
    let (mut known, mut new): (Vec<_>, Vec<_>) = endpoints.into_iter().partition(is_idle);
    known.sort_by_key(|endpoint| endpoint.open());
    new.sort_by_key(|endpoint| endpoint.open());
    let drawn = if new.is_empty() { &mut known } else { &mut new };
    let count = drawn.len() as u64;
    if count > 1 {
        // They are sorted: of two, the first one is the less busy one.
        let first = (random % count).min((random >> 32) % count) as usize;
        let first = drawn.remove(first);
        drawn.insert(0, first);
    }
    new.append(&mut known);
    new
}

fn interleaved<T>(first: Vec<T>, second: Vec<T>) -> Vec<T> {
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::with_capacity(first.len() + second.len());
    loop {
        let before = all.len();
        all.extend(first.next());
        all.extend(second.next());
        if all.len() == before {
            return all;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::health::Tolerance;
    use super::*;

    const TOLERANCE: Tolerance = Tolerance {
        failures_max: 1,
        pause: Duration::from_secs(10),
        pause_max: Duration::from_secs(10),
    };

    fn endpoints(addresses: &[&str]) -> Vec<Arc<Endpoint>> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        addresses.map(|address| Arc::new(Endpoint::new(address))).collect()
    }

    fn shown(order: &[Arc<Endpoint>]) -> Vec<String> {
        order.iter().map(|endpoint| endpoint.address.to_string()).collect()
    }

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn the_families_take_turns_and_ipv6_begins() {
        let all = endpoints(&["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1", "[2001:db8::1]:1"]);
        let order = shown(&order(&all, &[], Preference::Ipv6, at(0), 0));
        assert_eq!(order[0], "[2001:db8::1]:1");
        assert!(order[1..].iter().all(|address| address.starts_with("192.0.2.")), "{order:?}");
        let all = endpoints(&["192.0.2.1:1", "[2001:db8::1]:1", "[2001:db8::2]:1"]);
        let order = shown(&super::order(&all, &[], Preference::Ipv6, at(0), 0));
        assert_eq!(order, ["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1"]);
        assert_eq!(peers(&all, Preference::Ipv6), 2);
        assert_eq!(peers(&all, Preference::None), 3);
    }

    #[test]
    fn every_address_is_in_the_order_once_whatever_is_drawn() {
        let all = endpoints(&["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1", "[2001:db8::1]:1"]);
        let mut sorted = shown(&all);
        sorted.sort();
        for random in 0..10_000_u64 {
            let random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for preference in [Preference::None, Preference::Ipv6] {
                let mut order = shown(&order(&all, &[], preference, at(0), random));
                order.sort();
                assert_eq!(order, sorted);
            }
        }
    }

    #[test]
    fn an_address_to_which_an_idle_connection_leads_comes_last() {
        let all = endpoints(&["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"]);
        let _busy = [Lease::of(&all[1]), Lease::of(&all[1])];
        for random in 0..1000_u64 {
            let random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let idle = [Arc::clone(&all[0]), Arc::clone(&all[2])];
            let order = shown(&order(&all, &idle, Preference::None, at(0), random));
            assert_eq!(order[0], "192.0.2.2:1");
            assert_eq!(order.len(), 3);
        }
    }

    #[test]
    fn new_connections_are_spread() {
        let all = endpoints(&["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"]);
        let mut leases = Vec::new();
        for number in 0..300_u64 {
            let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let order = order(&all, &[], Preference::None, at(0), random);
            leases.push(Lease::of(&order[0]));
        }
        for endpoint in &all {
            assert!((85..=115).contains(&endpoint.open()), "{}", endpoint.open());
        }
        drop(leases);
        assert_eq!(all[0].open(), 0);
    }

    #[test]
    fn what_fails_is_left_out_and_never_all() {
        let all = endpoints(&["192.0.2.1:1", "192.0.2.2:1"]);
        assert!(all[0].health().failed(&TOLERANCE, at(0), 0).is_some());
        for random in 0..100 {
            let order = shown(&order(&all, &[], Preference::Ipv6, at(5), random));
            assert_eq!(order, ["192.0.2.2:1"]);
        }
        assert!(all[1].health().failed(&TOLERANCE, at(5), 0).is_some());
        let order = |seconds| shown(&super::order(&all, &[], Preference::Ipv6, at(seconds), 0));
        assert_eq!(order(6), ["192.0.2.1:1"]);
        assert_eq!(order(11), ["192.0.2.1:1"]);
        assert_eq!(order(15).len(), 2);
    }
}
