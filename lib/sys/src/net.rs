//! The network interfaces of this host.

use nix::net::if_::InterfaceFlags;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of all interfaces that are up, and the two unspecified ones, 0.0.0.0 and ::, which mean this host to
/// itself (RFC 1122 3.2.1.3). Scopes of link-local addresses are left out; nothing comes twice in a row.
pub fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let mut list = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    for interface in nix::ifaddrs::getifaddrs()? {
        if !interface.flags.contains(InterfaceFlags::IFF_UP) {
            continue;
        }
        let Some(address) = interface.address else { continue };
        if let Some(v4) = address.as_sockaddr_in() {
            list.push(IpAddr::V4(v4.ip()));
        } else if let Some(v6) = address.as_sockaddr_in6() {
            list.push(IpAddr::V6(v6.ip()));
        }
    }
    list.dedup();
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_and_the_unspecified_addresses_are_local() {
        let list = local_addresses().unwrap();
        assert!(list.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert!(list.contains(&IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        assert!(list.contains(&IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
    }
}
