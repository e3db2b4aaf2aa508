//! The network interfaces of this host.

use nix::net::if_::InterfaceFlags;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;

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

/// The number of the interface with this name, as link-local addresses need it.
pub fn interface_number(name: &[u8]) -> io::Result<u32> {
    Ok(nix::net::if_::if_nametoindex(std::ffi::OsStr::from_bytes(name))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_have_numbers() {
        assert_eq!(interface_number(b"lo").unwrap(), 1);
        for none in [&b""[..], b"none0", b"l\0o"] {
            assert!(interface_number(none).is_err());
        }
    }

    #[test]
    fn the_loopback_and_the_unspecified_addresses_are_local() {
        let list = local_addresses().unwrap();
        assert!(list.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert!(list.contains(&IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        assert!(list.contains(&IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
    }
}
