//! The keys of addresses and networks in a rules file, as ucspi-tcp6 makes them.
//!
//! The key of a network is a letter for the family and one character for each bit of the prefix: `0`, or for a 1 a
//! letter. In IPv4 (`_`) that letter tells the position of the bit, in IPv6 (`^`) how many 1s came before it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IPV4: u8 = b'_';
const IPV6: u8 = b'^';
/// What stands for a 1 at each position of an IPv4 address.
const POSITIONS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz123456";
/// What stands for the first 1 of an IPv6 address; each further one gets the next byte.
const FIRST_ONE: u8 = b'`';

/// The key of the network of all of `ip`'s bits; its first n + 1 bytes are the key of the network of n bits.
pub fn bits(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => {
            let number = u32::from(ip);
            let mut key = vec![IPV4];
            key.extend(POSITIONS.iter().enumerate().map(|(i, &one)| if number << i >> 31 == 1 { one } else { b'0' }));
            key
        }
        IpAddr::V6(ip) => {
            let number = u128::from(ip);
            let mut key = vec![IPV6];
            // At most 128 ones: the byte never wraps.
            let mut one = FIRST_ONE;
            for i in 0..128 {
                if number << i >> 127 == 1 {
                    key.push(one);
                    one = one.wrapping_add(1);
                } else {
                    key.push(b'0');
                }
            }
            key
        }
    }
}

/// The key of a single IPv6 address: eight groups of four digits, upper case.
pub fn full(ip: Ipv6Addr) -> Vec<u8> {
    ip.segments().map(|s| format!("{s:04X}")).join(":").into_bytes()
}

/// The network of the first `len` bits of `ip`, as text: `10.0.0.0/8`.
pub fn network(ip: IpAddr, len: usize) -> Vec<u8> {
    let first = match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(len as u32)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(ip) & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(len as u32)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(ip) & mask))
        }
    };
    format!("{first}/{len}").into_bytes()
}
