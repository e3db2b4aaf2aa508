//! Random bytes that nobody can foresee.

use std::io;

/// Fills `place` from the kernel's random source. It waits only while the machine is too young to have any.
pub fn fill(place: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while let Some(rest) = place.get_mut(done..).filter(|rest| !rest.is_empty()) {
        // SAFETY: `rest` is a live place of that many bytes.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(n) {
            Ok(n) => done += n,
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => return Err(e),
            },
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_are_filled_and_never_the_same() {
        let mut places = [[0u8; 1000]; 2];
        for place in &mut places {
            fill(place).unwrap();
            assert!(place.chunks(50).all(|c| c.iter().any(|&b| b != 0)));
        }
        assert_ne!(places[0], places[1]);
    }
}
