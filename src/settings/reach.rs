//! How upstreams are reached: by which addresses, and what becomes of those that fail.

use std::net::{IpAddr, SocketAddr};

use super::addresses::Origin;
use super::meaning::{Meaning, under};
use super::written::{self, DurationText};
use super::{Network, Reach, Tolerance, Way};

/// What is written of how an upstream is reached.
pub(super) struct Written {
    pub(super) addresses: Vec<String>,
    pub(super) resolve_every: DurationText,
    pub(super) allowed_networks: Vec<String>,
    pub(super) ejection: written::Ejection,
    pub(super) circuit: written::Circuit,
}

impl Meaning<'_> {
    pub(super) fn reach(
        &mut self,
        at: &str,
        origin: Option<&Origin>,
        way: Option<&Way>,
        written: Written,
    ) -> Reach {
        let Written { addresses, resolve_every, allowed_networks, ejection, circuit } = written;
        let named = match way {
            Some(Way::Unix(_)) => None,
            Some(Way::Proxy(proxy)) => Some(&proxy.origin),
            Some(Way::Direct) | None => origin,
        };
        let is_literal = named.is_none_or(|named| named.host.parse::<IpAddr>().is_ok());
        let is_known = origin.is_some() && way.is_some();
        if !allowed_networks.is_empty() && is_known && (is_literal || !addresses.is_empty()) {
            let message = "no name is resolved for this upstream, so there is nothing to allow";
            let fault = self.layers.key_fault(&under(at, "allowed_networks"), message);
            self.faults.push(fault.help("it is about what the host of `url` leads to"));
        }
        let in_between = match way {
            Some(Way::Unix(_)) => Some("a Unix socket has no address"),
            Some(Way::Proxy(_)) => Some("the proxy connects to the upstream, by the host of `url`"),
            Some(Way::Direct) | None => None,
        };
        if let (Some(message), [_, ..]) = (in_between, addresses.as_slice()) {
            let fault = self.layers.key_fault(&under(at, "addresses"), message);
            self.faults.push(fault);
        }
        let written::Ejection { failures_max, pause, pause_max } = ejection;
        let ejection = self.tolerance(&under(at, "ejection"), failures_max, &pause, &pause_max);
        let written::Circuit { failures_max, pause, pause_max } = circuit;
        let circuit = self.tolerance(&under(at, "circuit"), failures_max, &pause, &pause_max);
        Reach {
            addresses: self.upstream_addresses(&under(at, "addresses"), &addresses),
            resolve_every: self.duration(&under(at, "resolve_every"), &resolve_every),
            allowed: self.networks(&under(at, "allowed_networks"), &allowed_networks),
            ejection,
            circuit,
        }
    }

    fn tolerance(
        &mut self,
        at: &str,
        failures_max: u32,
        pause: &DurationText,
        pause_max: &DurationText,
    ) -> Tolerance {
        let pause = self.duration(&under(at, "pause"), pause);
        let pause_max = self.duration(&under(at, "pause_max"), pause_max);
        if pause > pause_max && !pause_max.is_zero() {
            self.fault(&under(at, "pause"), "this is longer than `pause_max`");
        }
        Tolerance { failures_max, pause, pause_max }
    }

    fn upstream_addresses(&mut self, at: &str, written: &[String]) -> Vec<SocketAddr> {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for (index, text) in written.iter().enumerate() {
            let at = under(at, &index.to_string());
            let Ok(address) = text.parse::<SocketAddr>() else {
                let fault = self.layers.fault(&at, "this is no IP address with a port");
                self.faults.push(fault.help(match text.parse::<IpAddr>() {
                    Ok(IpAddr::V4(address)) => format!("for example \"{address}:443\""),
                    Ok(IpAddr::V6(address)) => format!("for example \"[{address}]:443\""),
                    Err(_) => "a name belongs into `url`; all its addresses are used".to_owned(),
                }));
                continue;
            };
            let (ip, port) = (address.ip(), address.port());
            if port == 0 || ip.is_unspecified() || ip.is_multicast() {
                self.fault(&at, "no upstream can be at this address");
            } else if addresses.contains(&address) {
                self.fault(&at, "this address is there already");
            }
            addresses.push(address);
        }
        addresses
    }

    fn networks(&mut self, at: &str, written: &[String]) -> Vec<Network> {
        let mut networks = Vec::new();
        for (index, text) in written.iter().enumerate() {
            let at = under(at, &index.to_string());
            match Network::parse(text) {
                Ok(network) => networks.push(network),
                Err(meant) => {
                    let fault = self.layers.fault(&at, "this is no network");
                    self.faults.push(match meant {
                        Some(meant) => fault.help(format!("did you mean \"{meant}\"?")),
                        None => fault.help("for example \"127.0.0.0/8\" or \"fd00::/8\""),
                    });
                }
            }
        }
        networks
    }
}

impl Network {
    /// Reads `10.0.0.0/8`, or an address alone. The error is what was probably meant.
    fn parse(text: &str) -> Result<Self, Option<String>> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| None)?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => bits_max,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= bits_max).ok_or(None)?,
        };
        let begin = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(u32::from(32 - bits)).unwrap_or(0);
                IpAddr::V4((address.to_bits() & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(u32::from(128 - bits)).unwrap_or(0);
                IpAddr::V6((address.to_bits() & mask).into())
            }
        };
        match begin == address {
            true => Ok(Self { address, bits }),
            false => Err(Some(format!("{begin}/{bits}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_slips_in_them_are_seen() {
        let network = |text: &str| Network::parse(text);
        let of = |address: &str, bits| Network { address: address.parse().unwrap(), bits };
        assert_eq!(network("127.0.0.0/8"), Ok(of("127.0.0.0", 8)));
        assert_eq!(network("0.0.0.0/0"), Ok(of("0.0.0.0", 0)));
        assert_eq!(network("::1"), Ok(of("::1", 128)));
        assert_eq!(network("fd00::/8"), Ok(of("fd00::", 8)));
        assert_eq!(network("::/0"), Ok(of("::", 0)));
        assert_eq!(network("127.0.0.1/8"), Err(Some("127.0.0.0/8".to_owned())));
        for wrong in ["", "/8", "127.0.0.0/33", "127.0.0.0/", "fd00::/129", "localhost"] {
            assert_eq!(network(wrong), Err(None), "{wrong}");
        }
    }
}
