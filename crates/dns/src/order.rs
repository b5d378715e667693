//! The order in which to try addresses: RFC 6724, section 6.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv6Addr};

/// Prefix, its length, precedence, label: RFC 6724, section 2.1.
const POLICIES: [(Ipv6Addr, u32, u8, u8); 9] = [
    (Ipv6Addr::LOCALHOST, 128, 50, 0),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 35, 4),
    (Ipv6Addr::UNSPECIFIED, 96, 1, 3),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 5, 5),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 30, 2),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, 1, 12),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 1, 11),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 3, 13),
    (Ipv6Addr::UNSPECIFIED, 0, 40, 1),
];

const LINK_LOCAL: u8 = 2;
const SITE_LOCAL: u8 = 5;
const GLOBAL: u8 = 14;

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn common_bits(one: Ipv6Addr, other: Ipv6Addr) -> u32 {
    (one.to_bits() ^ other.to_bits()).leading_zeros()
}

/// Returns the precedence and the label of an address.
fn policy(address: IpAddr) -> (u8, u8) {
    let address = mapped(address);
    POLICIES
        .iter()
        .find(|(prefix, length, ..)| common_bits(address, *prefix) >= *length)
        .map_or((40, 1), |&(.., precedence, label)| (precedence, label))
}

fn scope(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) if address.is_loopback() || address.is_link_local() => LINK_LOCAL,
        IpAddr::V4(_) => GLOBAL,
        IpAddr::V6(address) if address.is_multicast() => address.octets()[1] & 0xf,
        IpAddr::V6(address) if address.is_loopback() => LINK_LOCAL,
        IpAddr::V6(address) => match address.segments()[0] & 0xffc0 {
            0xfe80 => LINK_LOCAL,
            0xfec0 => SITE_LOCAL,
            _ => GLOBAL,
        },
    }
}

/// A function that returns the local address from which datagrams to an address would be sent; `None` if none can be sent.
pub type Route = fn(IpAddr) -> Option<IpAddr>;

/// Returns true if a `gai.conf` does not change the order of RFC 6724: gai.conf(5).
#[must_use]
pub fn is_default(gai_conf: &str) -> bool {
    gai_conf
        .lines()
        .all(|line| matches!(line.trim_start().bytes().next(), None | Some(b'#')))
}

/// The key by which destinations are compared, best first. Rules 3, 4 and 7 are left out, as they need information that
/// only the kernel has.
type Rank = (
    Reverse<bool>,
    Reverse<bool>,
    Reverse<bool>,
    Reverse<u8>,
    u8,
    Reverse<u32>,
);

fn rank(destination: IpAddr, route: Route) -> Rank {
    let source = route(destination);
    let (precedence, label) = policy(destination);
    let scope_of_it = scope(destination);
    let same_scope = source.is_some_and(|source| scope(source) == scope_of_it);
    let same_label = source.is_some_and(|source| policy(source).1 == label);
    let shared = match (source, destination) {
        // Rule 9 compares the network's part of the addresses.
        (Some(IpAddr::V6(source)), IpAddr::V6(destination)) => {
            common_bits(source, destination).min(64)
        }
        _ => 0,
    };
    (
        Reverse(source.is_some()),
        Reverse(same_scope),
        Reverse(same_label),
        Reverse(precedence),
        scope_of_it,
        Reverse(shared),
    )
}

/// Puts addresses in the order in which to try them.
pub fn sort(addresses: &mut [IpAddr], route: Route) {
    if addresses.len() > 1 {
        addresses.sort_by_cached_key(|address| rank(*address, route));
    }
}
