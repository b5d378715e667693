//! Asks the system for interfaces, routes and randomness.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use dns::ServerAddress;

/// Returns the number of a network interface.
pub fn interface(name: &str) -> Option<u32> {
    let plain = !name.contains('/') && name != "..";
    let index = plain.then(|| format!("/sys/class/net/{name}/ifindex"))?;
    let text = std::fs::read_to_string(index).ok()?;
    text.trim().parse().ok()
}

/// Returns the local address that datagrams to `destination` would have; `None` if they cannot be sent.
pub fn route(destination: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(any_like(destination)).ok()?;
    // No datagram is sent: this only asks the kernel for the route.
    socket.connect((destination, 53)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Returns the unspecified address with port 0 in the family of `address`: a socket bound to it has any free port.
pub fn any_like(address: IpAddr) -> SocketAddr {
    match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Returns the socket address of a name server.
pub fn socket_address(server: ServerAddress, port: u16) -> SocketAddr {
    match server.ip {
        IpAddr::V4(ip) => (ip, port).into(),
        IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, server.scope).into(),
    }
}

/// Returns a number that cannot be guessed, for the id of a message. Where the system has no randomness to give, replies could
/// be forged more easily, but names are still found.
pub fn random() -> u16 {
    let mut octets = [0; 2];
    if getrandom::fill(&mut octets).is_err() {
        let now = reactor::Time::now().as_nanos();
        return (now >> 4) as u16 ^ std::process::id() as u16;
    }
    u16::from_ne_bytes(octets)
}
