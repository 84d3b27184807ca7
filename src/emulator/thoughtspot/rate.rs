//! How fast one address may call.

use std::collections::HashMap;
use std::net::IpAddr;

use super::switches::Switches;
use crate::clock::Moment;

/// So many addresses have a rate of their own; beyond that all begin anew.
const ADDRESSES_MAX: usize = 1024;

/// How much each address may still ask.
///
/// The vendor documents 100 requests a second with a burst of 10; here that is a bucket of 110
/// which gains 100 a second.
#[derive(Debug, Default)]
pub struct Rates(HashMap<IpAddr, Bucket>);

#[derive(Debug)]
struct Bucket {
    left: f64,
    filled: Moment,
}

impl Rates {
    /// Whether one more call is within the rate; counts it if so.
    pub fn admit(&mut self, address: IpAddr, switches: &Switches, now: Moment) -> bool {
        if switches.requests_per_second == 0 {
            return true;
        }
        let gain = f64::from(switches.requests_per_second);
        let full = gain + f64::from(switches.burst);
        if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(&address) {
            self.0.clear();
        }
        let bucket = self.0.entry(address).or_insert(Bucket { left: full, filled: now });
        let passed = now.saturating_since(bucket.filled).as_secs_f64();
        bucket.left = (bucket.left + passed * gain).min(full);
        bucket.filled = now;
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }
}
