//! Pseudonyms: a name for a value that tells nothing of it to whoever has not the key, and that is
//! the same wherever the value occurs.
//!
//! ```text
//! alice, ALICE  ->  anon-     + base32 of 10 bytes of HMAC(key, value) and 5 that prove whose it is
//! 10.1.2.3      ->  fd + 5 bytes of HMAC(key) and 10 of HMAC(key, address): an address still
//! ```
//! Equal is what search finds equal: letters in any case, an address in any spelling. A pseudonym
//! is known again, so that a record that was redacted can be shaped anew. Eighty bits: among a
//! billion values two with the same pseudonym are as likely as one in two million.

use crate::value;
use sha2::{Digest, Sha256};
use std::net::{IpAddr, Ipv6Addr};

/// What is put in place of a value that is masked.
pub const MASK: &str = "REDACTED";
/// What is put in place of an address: still one, so that the record is read as before. Of the
/// network that RFC 6666 sets aside for what is thrown away.
pub const MASK_ADDRESS: &str = "100::1";

const PREFIX: &str = "anon-";
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const ID_BYTES: usize = 10;
const PROOF_BYTES: usize = 5;
/// Length of what stands behind the prefix: five bits a letter.
const LETTERS: usize = (ID_BYTES + PROOF_BYTES) * 8 / 5;

/// Block of SHA-256, which HMAC's padded keys fill.
const BLOCK_BYTES: usize = 64;

/// The key of pseudonyms.
#[derive(Clone)]
pub struct Key {
    /// HMAC's two hashes with the padded key worked in.
    inner: Sha256,
    outer: Sha256,
    /// First bytes of all addresses that are pseudonyms.
    network: [u8; 6],
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// A key of `secret`; it should have at least 16 bytes that nobody can guess.
    pub fn new(secret: &[u8]) -> Self {
        let mut block = [0; BLOCK_BYTES];
        match secret.len() > BLOCK_BYTES {
            true => block[..32].copy_from_slice(&Sha256::digest(secret)),
            false => block[..secret.len()].copy_from_slice(secret),
        }
        let padded = |pad: u8| Sha256::new().chain_update(block.map(|b| b ^ pad));
        let mut key = Self { inner: padded(0x36), outer: padded(0x5c), network: [0xfd; 6] };
        let network = key.mac(b'n', b"");
        key.network[1..].copy_from_slice(&network[..5]);
        key
    }

    /// The pseudonym of a value.
    pub fn pseudonym(&self, value: &[u8]) -> String {
        match value::parse_ip(value) {
            Some(address) => self.address(address).to_string(),
            None => self.name(value),
        }
    }

    /// Whether a value is a pseudonym of this key.
    pub fn is_pseudonym(&self, value: &[u8]) -> bool {
        match value.get(..PREFIX.len()) {
            Some(start) if start.eq_ignore_ascii_case(PREFIX.as_bytes()) => {
                decode(&value[PREFIX.len()..]).is_some_and(|bytes| {
                    let (id, proof) = bytes.split_at(ID_BYTES);
                    self.mac(b'p', id)[..PROOF_BYTES] == *proof
                })
            }
            _ => matches!(value::parse_ip(value),
                Some(IpAddr::V6(address)) if address.octets().starts_with(&self.network)),
        }
    }

    fn name(&self, value: &[u8]) -> String {
        let id = match std::str::from_utf8(value) {
            Ok(text) => self.mac(b'v', text.to_lowercase().as_bytes()),
            Err(_) => self.mac(b'v', value),
        };
        let id = &id[..ID_BYTES];
        let mut bytes = id.to_vec();
        bytes.extend_from_slice(&self.mac(b'p', id)[..PROOF_BYTES]);
        encode(&bytes)
    }

    fn address(&self, address: IpAddr) -> Ipv6Addr {
        let id = self.mac(b'a', address.to_canonical().to_string().as_bytes());
        let mut octets = [0; 16];
        octets[..6].copy_from_slice(&self.network);
        octets[6..].copy_from_slice(&id[..ID_BYTES]);
        Ipv6Addr::from(octets)
    }

    /// HMAC-SHA256 over what the text is used for and the text.
    fn mac(&self, purpose: u8, text: &[u8]) -> [u8; 32] {
        self.hmac(&[&[purpose], text])
    }

    fn hmac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut inner = self.inner.clone();
        parts.iter().for_each(|part| inner.update(part));
        self.outer.clone().chain_update(inner.finalize()).finalize().into()
    }
}

fn encode(bytes: &[u8]) -> String {
    let mut out = PREFIX.to_owned();
    for group in bytes.chunks_exact(5) {
        let number = group.iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
        out.extend((0..8).rev().map(|at| char::from(ALPHABET[(number >> (at * 5)) as usize & 31])));
    }
    out
}

fn decode(letters: &[u8]) -> Option<Vec<u8>> {
    if letters.len() != LETTERS {
        return None;
    }
    let mut out = Vec::with_capacity(ID_BYTES + PROOF_BYTES);
    for group in letters.chunks_exact(8) {
        let number = group.iter().try_fold(0_u64, |n, letter| {
            let letter = letter.to_ascii_lowercase();
            let five = ALPHABET.iter().position(|known| *known == letter)?;
            Some(n << 5 | five as u64)
        })?;
        out.extend_from_slice(&number.to_be_bytes()[3..]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, cases 1, 2 and 6 (a key longer than a block).
    #[test]
    fn it_is_hmac_sha256() {
        let hex =
            |bytes: [u8; 32]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        let cases: [(&[u8], &str, &str); 3] = [
            (
                &[0x0b; 20],
                "Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, text, wanted) in cases {
            assert_eq!(hex(Key::new(key).hmac(&[text.as_bytes()])), wanted);
        }
    }

    #[test]
    fn equal_values_have_one_pseudonym_and_other_keys_others() {
        let (key, other) = (Key::new(&[1; 16]), Key::new(&[2; 16]));
        let of = |text: &str| key.pseudonym(text.as_bytes());
        assert_eq!(of("alice"), of("ALICE"));
        assert_ne!(of("alice"), of("alice2"));
        assert_ne!(of("alice"), other.pseudonym(b"alice"));
        assert_eq!(of("alice").len(), "anon-".len() + 24);
        assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
        assert_eq!(of("2001:DB8:0::1"), of("2001:db8::1"));
        assert!(of("10.0.0.1").parse::<Ipv6Addr>().is_ok());
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        for value in ["alice", "10.0.0.1", "", "\u{fc}"] {
            let pseudonym = of(value);
            assert!(key.is_pseudonym(pseudonym.as_bytes()), "{pseudonym}");
            assert!(key.is_pseudonym(pseudonym.to_uppercase().as_bytes()));
            assert!(!other.is_pseudonym(pseudonym.as_bytes()));
        }
        // What only looks like one is none: a sender cannot hide a value behind the form.
        for value in ["anon-aaaaaaaaaaaaaaaaaaaaaaaa", "anon-", "fd00::1", "alice", "anon-\u{fc}"] {
            assert!(!key.is_pseudonym(value.as_bytes()), "{value}");
        }
    }
}
