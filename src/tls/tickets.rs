//! Keys of session tickets: the same in all processes that are forked after they were made, without a word between
//! them.
//!
//! A chain of secrets, one per period, each the hash of the one before it. All processes begin with the same secret
//! and the same clock (the monotonic one, which they share), so they have the same keys at any time, whenever they
//! were forked. What is passed is forgotten: a key of the past cannot be had from the chain's present.
//!
//! ```text
//!   ticket = name of the key (16) | nonce (12) | sealed state | tag (16)
//! ```

use std::fmt;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use super::identity::TlsError;
use super::limits::TICKET_ROTATION;

const NAME_LEN: usize = 16;

/// One period's secret; everything else follows from it.
type Secret = Zeroizing<[u8; 32]>;

/// Seals and opens tickets.
pub struct Tickets {
    began: Instant,
    chain: Mutex<Chain>,
}

struct Chain {
    period: u64,
    secret: Secret,
    current: Option<TicketKey>,
    /// Opens the tickets of the period before.
    previous: Option<TicketKey>,
}

struct TicketKey {
    name: [u8; NAME_LEN],
    key: RandomizedNonceKey,
}

impl Tickets {
    /// With a secret that nobody else has.
    pub fn new() -> Result<Self, TlsError> {
        let mut secret = Secret::default();
        getrandom::fill(&mut *secret).map_err(TlsError::Random)?;
        Ok(Tickets { began: Instant::now(), chain: Mutex::new(Chain::new(secret)) })
    }

    /// Forgets what is passed.
    pub fn rotate(&self) {
        drop(self.chain());
    }

    /// The chain, at the present.
    fn chain(&self) -> MutexGuard<'_, Chain> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        chain.advance(self.began.elapsed().as_secs() / TICKET_ROTATION.as_secs());
        chain
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        TICKET_ROTATION.as_secs() as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.chain().current.as_ref()?.seal(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.chain().open(ticket)
    }
}

impl Chain {
    fn new(secret: Secret) -> Self {
        let current = TicketKey::of(&secret);
        Chain { period: 0, secret, current, previous: None }
    }

    /// Goes on to a period; never back.
    fn advance(&mut self, period: u64) {
        while self.period < period {
            self.secret = derive(&self.secret, b"next");
            self.period += 1;
            self.previous = mem::replace(&mut self.current, TicketKey::of(&self.secret));
        }
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, sealed) = ticket.split_first_chunk::<NAME_LEN>()?;
        let keys = [&self.current, &self.previous];
        keys.into_iter().flatten().find(|key| key.name == *name)?.open(sealed)
    }
}

impl TicketKey {
    fn of(secret: &Secret) -> Option<Self> {
        let mut name = [0; NAME_LEN];
        name.copy_from_slice(&derive(secret, b"name")[..NAME_LEN]);
        let key = RandomizedNonceKey::new(&AES_256_GCM, &*derive(secret, b"key")).ok()?;
        Some(TicketKey { name, key })
    }

    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let nonce = self.key.seal_in_place_append_tag(Aad::from(&self.name), &mut sealed).ok()?;
        Some([&self.name[..], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.key.open_in_place(nonce, Aad::from(&self.name), &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

fn derive(secret: &Secret, purpose: &[u8]) -> Secret {
    let tag = hmac::sign(&hmac::Key::new(HMAC_SHA256, &**secret), purpose);
    let mut derived = Secret::default();
    derived.copy_from_slice(tag.as_ref());
    derived
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(period: u64) -> Chain {
        let mut chain = Chain::new(Zeroizing::new([7; 32]));
        chain.advance(period);
        chain
    }

    #[test]
    fn processes_open_each_other_s_tickets_for_two_periods() {
        for (sealed_in, opened_in, opens) in [
            (0, 0, true),
            (0, 1, true),
            (0, 2, false),
            (3, 3, true),
            (3, 4, true),
            (3, 5, false),
            (4, 3, false),
        ] {
            let ticket = chain(sealed_in).current.unwrap().seal(b"state").unwrap();
            let opened = chain(opened_in).open(&ticket);
            assert_eq!(opened.as_deref() == Some(b"state"), opens, "{sealed_in} in {opened_in}");
        }
    }

    #[test]
    fn a_stranger_s_ticket_opens_nothing() {
        let tickets = Tickets::new().unwrap();
        let ticket = tickets.encrypt(b"state").unwrap();
        assert_eq!(tickets.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
        assert_eq!(Tickets::new().unwrap().decrypt(&ticket), None);
        for end in 0..ticket.len() {
            assert_eq!(tickets.decrypt(&ticket[..end]), None, "cut at {end}");
            let mut other = ticket.clone();
            other[end] ^= 1;
            assert_eq!(tickets.decrypt(&other), None, "changed at {end}");
        }
    }
}
