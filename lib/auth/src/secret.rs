//! Bytes that must not stay in memory, and comparing them.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Bytes that are overwritten when they are dropped. Growing one leaves the old bytes behind: make it of one piece.
pub type Secret = zeroize::Zeroizing<Vec<u8>>;

/// Overwrites what must not stay in memory.
pub fn wipe(secret: &mut [u8]) {
    zeroize::Zeroize::zeroize(secret);
}

/// Whether both are the same. The time tells nothing about where they differ, nor, for passwords shorter than 56 bytes,
/// how long either is: what is compared are their hashes.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    Sha256::digest(one).ct_eq(&Sha256::digest(other)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equal_bytes_are_the_same() {
        let rows: &[(&[u8], &[u8], bool)] = &[
            (b"", b"", true),
            (b"a", b"a", true),
            (b"a", b"b", false),
            (b"a", b"a\0", false),
            (b"", b"\0", false),
            (b"secret", b"secreT", false),
            (&[0xff; 100], &[0xff; 100], true),
            (&[0xff; 100], &[0xff; 99], false),
        ];
        for &(one, other, expected) in rows {
            assert_eq!(same(one, other), expected, "{} {}", one.escape_ascii(), other.escape_ascii());
        }
    }

    /// Where two secrets differ must not show in the time. A compare that stops at the first difference is some hundred
    /// times faster for the first row than for the last.
    #[test]
    fn the_place_of_a_difference_does_not_show_in_the_time() {
        let stored = vec![b'x'; 65536];
        let differing = |at: usize| {
            let mut bytes = stored.clone();
            bytes[at] = b'y';
            bytes
        };
        let rows = [differing(0), differing(32768), differing(65535)];
        // The least of many runs: what the machine does besides only adds.
        let mut least = [std::time::Duration::MAX; 3];
        for _ in 0..25 {
            for (row, least) in rows.iter().zip(&mut least) {
                let start = std::time::Instant::now();
                assert!(!same(std::hint::black_box(&stored), std::hint::black_box(row)));
                *least = (*least).min(start.elapsed());
            }
        }
        let (shortest, longest) = (least.iter().min().unwrap(), least.iter().max().unwrap());
        assert!(*longest < *shortest * 2, "{least:?}");
    }
}
