//! Session tickets of a server that makes a process for each connection.
//!
//! The keys belong to the process that accepts: the others have them by being made from it, and throw them away with
//! their connection. There are two, the present one and the one before it, so that a ticket is good for at least one
//! period and at most two.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long a key is the present one.
pub const PERIOD: Duration = Duration::from_secs(6 * 3600);
/// Bytes that tell keys apart.
const NAME_LEN: usize = 16;

struct Key {
    name: [u8; NAME_LEN],
    key: LessSafeKey,
}

struct Keys {
    present: Option<Key>,
    previous: Option<Key>,
    made: Instant,
}

/// Makes tickets, and reads those that were made with one of the two keys.
pub struct Tickets(Mutex<Keys>);

impl Tickets {
    /// With a fresh key.
    pub fn new() -> Tickets {
        Tickets(Mutex::new(Keys { present: new_key(), previous: None, made: Instant::now() }))
    }

    /// To be called now and then by the process that owns the keys: changes them when it is time.
    pub fn rotate(&self) {
        self.rotate_at(Instant::now());
    }

    fn rotate_at(&self, now: Instant) {
        let Ok(mut keys) = self.0.lock() else { return };
        let age = now.saturating_duration_since(keys.made);
        if age < PERIOD {
            return;
        }
        keys.previous = if age < 2 * PERIOD { keys.present.take() } else { None };
        keys.present = new_key();
        keys.made = now;
    }
}

impl Default for Tickets {
    fn default() -> Tickets {
        Tickets::new()
    }
}

/// `None` if there is no randomness to be had: then there are no tickets.
fn new_key() -> Option<Key> {
    let mut secret = Zeroizing::new([0; 32]);
    let mut name = [0; NAME_LEN];
    let random = SystemRandom::new();
    random.fill(&mut *secret).ok()?;
    random.fill(&mut name).ok()?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*secret).ok()?);
    Some(Key { name, key })
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

/// A ticket: the key's name, the nonce, what is sealed.
impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(PERIOD.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.0.lock().ok()?;
        let Key { name, key } = keys.present.as_ref()?;
        // A number that counts would tell whoever watches which sessions belong together, and would repeat itself in
        // processes that know nothing of each other.
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(name), &mut sealed).ok()?;
        Some([&name[..], &nonce, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME_LEN)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let keys = self.0.lock().ok()?;
        // The name is no secret: anybody sees it.
        let key = [&keys.present, &keys.previous].into_iter().flatten().find(|k| k.name == name)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = sealed.to_vec();
        let length = key.key.open_in_place(nonce, Aad::from(&key.name), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_for_one_period_and_at_most_two() {
        let tickets = Tickets::new();
        let start = Instant::now();
        let ticket = tickets.encrypt(b"session").unwrap();
        let opens = || tickets.decrypt(&ticket).as_deref() == Some(b"session");
        assert!(opens());
        tickets.rotate_at(start + PERIOD / 2);
        assert!(opens());
        tickets.rotate_at(start + PERIOD + PERIOD / 2);
        assert!(opens());
        assert_ne!(tickets.encrypt(b"session").unwrap()[..NAME_LEN], ticket[..NAME_LEN]);
        tickets.rotate_at(start + 3 * PERIOD);
        assert!(!opens());
    }

    #[test]
    fn keys_that_were_not_changed_in_time_are_both_gone() {
        let tickets = Tickets::new();
        let ticket = tickets.encrypt(b"session").unwrap();
        tickets.rotate_at(Instant::now() + 3 * PERIOD);
        assert_eq!(tickets.decrypt(&ticket), None);
    }

    #[test]
    fn what_was_changed_does_not_open() {
        let tickets = Tickets::new();
        let ticket = tickets.encrypt(b"x").unwrap();
        for i in 0..ticket.len() {
            let mut other = ticket.clone();
            other[i] ^= 1;
            assert_eq!(tickets.decrypt(&other), None, "{i}");
            assert_eq!(tickets.decrypt(&ticket[..i]), None, "{i}");
        }
        assert_ne!(tickets.encrypt(b"x").unwrap(), ticket);
        assert_eq!(Tickets::new().decrypt(&ticket), None);
    }
}
