//! Addresses that no upstream's name may lead to: who answers a name's question could else have
//! passwords sent to what runs on this machine or beside it (CWE-918, DNS rebinding).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What answers at these addresses gives out the credentials of a cloud's machine; they are no
/// link-local ones, as 169.254.169.254 is.
const METADATA: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

/// Addresses whose first bits are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// The addresses that have their first `bits` in common with `address`.
    pub fn new(address: IpAddr, bits: u8) -> Self {
        Self { address, bits }
    }

    fn holds(&self, address: IpAddr) -> bool {
        let differing = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        differing >= u32::from(self.bits)
    }
}

/// Where a name may lead.
#[derive(Clone, Debug, Default)]
pub(super) struct Leads {
    /// It is a name of this machine.
    is_local: bool,
    /// What may be led to in any case.
    allowed: Vec<Network>,
}

impl Leads {
    pub(super) fn new(host: &str, allowed: Vec<Network>) -> Self {
        // RFC 6761, section 6.3.
        let is_local = host == "localhost" || host.ends_with(".localhost");
        Self { is_local, allowed }
    }

    /// Whether the name may lead to this address.
    pub(super) fn may_be(&self, address: IpAddr) -> bool {
        // An IPv4 address in IPv6 clothes leads to the IPv4 address.
        let address = address.to_canonical();
        // Logins to this machine may go in the clear: its names must not lead away, whatever is
        // allowed.
        if self.is_local {
            return address.is_loopback();
        }
        if self.allowed.iter().any(|network| network.holds(address)) {
            return true;
        }
        !is_never_meant(address) && !address.is_loopback()
    }
}

fn is_never_meant(address: IpAddr) -> bool {
    let is_special = match address {
        // 0.0.0.0/8 is "this network", and leads to this machine on many systems.
        IpAddr::V4(address) => {
            address.octets()[0] == 0 || address.is_link_local() || address.is_broadcast()
        }
        IpAddr::V6(address) => {
            address.is_unicast_link_local() || embedded(address).is_some_and(is_never_meant_v4)
        }
    };
    is_special || address.is_unspecified() || address.is_multicast() || METADATA.contains(&address)
}

fn is_never_meant_v4(address: Ipv4Addr) -> bool {
    address.is_loopback() || is_never_meant(IpAddr::V4(address))
}

/// The IPv4 address that a translator or a tunnel makes of an IPv6 one (64:ff9b::/96, RFC 6052;
/// 64:ff9b:1::/48, RFC 8215, in its usual form; ::ffff:0:0:0/96, RFC 2765; 2002::/16, RFC 3056), or
/// that the old form `::a.b.c.d` holds.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match address.segments() {
        [0x2002, high, low, ..] => (high, low),
        [0x64, 0xff9b, 0 | 1, .., high, low] => (high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] => (high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(host: &str, allowed: &[(&str, u8)]) -> Leads {
        let networks = allowed.iter().map(|(ip, bits)| Network::new(ip.parse().unwrap(), *bits));
        Leads::new(host, networks.collect())
    }

    #[test]
    fn a_name_leads_to_no_special_address() {
        let leads = leads("api.example", &[]);
        for (address, may) in [
            ("192.0.2.7", true),
            ("10.1.2.3", true),
            ("192.168.1.1", true),
            ("2001:db8::1", true),
            ("fd00::1", true),
            ("64:ff9b::192.0.2.7", true),
            ("127.0.0.1", false),
            ("127.8.8.8", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::7f00:1", false),
            ("64:ff9b::127.0.0.1", false),
            ("169.254.169.254", false),
            ("::ffff:169.254.169.254", false),
            ("64:ff9b::169.254.169.254", false),
            ("64:ff9b:1::169.254.169.254", false),
            ("2002:a9fe:a9fe::1", false),
            ("2002:c000:0207::1", true),
            ("::ffff:0:169.254.169.254", false),
            ("fd00:ec2::254", false),
            ("100.100.100.200", false),
            ("fe80::1", false),
            ("febf::1", false),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("::", false),
            ("224.0.0.1", false),
            ("ff02::1", false),
            ("255.255.255.255", false),
        ] {
            assert_eq!(leads.may_be(address.parse().unwrap()), may, "{address}");
        }
    }

    #[test]
    fn a_name_of_this_machine_leads_nowhere_else() {
        for (host, allowed) in [("localhost", &[][..]), ("a.localhost", &[("10.0.0.0", 8)])] {
            let leads = leads(host, allowed);
            assert!(leads.may_be("127.0.0.1".parse().unwrap()));
            assert!(leads.may_be("::1".parse().unwrap()));
            assert!(!leads.may_be("10.0.0.1".parse().unwrap()));
            assert!(!leads.may_be("169.254.169.254".parse().unwrap()));
        }
    }

    #[test]
    fn what_is_allowed_may_be_led_to() {
        let leads = leads("api.example", &[("127.0.0.0", 8), ("fe80::", 10)]);
        assert!(leads.may_be("127.0.0.53".parse().unwrap()));
        assert!(leads.may_be("::ffff:127.0.0.53".parse().unwrap()));
        assert!(leads.may_be("fe80::1".parse().unwrap()));
        assert!(!leads.may_be("::1".parse().unwrap()));
        assert!(!leads.may_be("169.254.169.254".parse().unwrap()));
        assert!(leads.may_be("192.0.2.7".parse().unwrap()));
    }
}
