//! Keyed hashing of group-by values, stable across restarts and machines.

use super::hit::Key;
use super::settings::KEY_TEXT_MAX;
use event::text::fold_into;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// SipHash-1-3 with 128-bit output under a secret of the data folder. The secret must never change
/// while state keyed by it is kept.
#[derive(Clone)]
pub struct KeyHasher {
    secret: [u8; 16],
    folded: Vec<u8>,
}

impl std::fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHasher(secret)")
    }
}

impl KeyHasher {
    /// With the data folder's secret.
    pub fn new(secret: [u8; 16]) -> Self {
        Self { secret, folded: Vec::new() }
    }

    /// The key made of `values`, compared without regard to case.
    pub fn key<'a>(&mut self, values: impl IntoIterator<Item = &'a [u8]>) -> Key {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        let mut text = Vec::with_capacity(48);
        for value in values {
            self.write(&mut hasher, value);
            let shown = &value[..value.len().min(KEY_TEXT_MAX)];
            text.extend_from_slice(&(shown.len() as u32).to_le_bytes());
            text.extend_from_slice(shown);
        }
        Key { hash: hasher.finish128().as_u128(), text: text.into_boxed_slice() }
    }

    /// Fingerprint of a value or tuple of values, compared without regard to case.
    pub fn print<'a>(&mut self, values: impl IntoIterator<Item = &'a [u8]>) -> u128 {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        for value in values {
            self.write(&mut hasher, value);
        }
        hasher.finish128().as_u128()
    }

    fn write(&mut self, hasher: &mut SipHasher13, value: &[u8]) {
        self.folded.clear();
        fold_into(value, &mut self.folded);
        hasher.write(&(self.folded.len() as u64).to_le_bytes());
        hasher.write(&self.folded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ignore_case_keep_borders_and_depend_on_the_secret() {
        let mut h = KeyHasher::new([7; 16]);
        let of = |h: &mut KeyHasher, v: &[&str]| h.key(v.iter().map(|s| s.as_bytes()));
        let a = of(&mut h, &["Bob", "10.0.0.1"]);
        assert_eq!(a.hash, of(&mut h, &["bOB", "10.0.0.1"]).hash);
        assert_ne!(a.hash, of(&mut h, &["bob1", "0.0.0.1"]).hash);
        assert_ne!(a.hash, of(&mut h, &["bob10.0.0.1"]).hash);
        assert_ne!(a.hash, of(&mut KeyHasher::new([8; 16]), &["Bob", "10.0.0.1"]).hash);
        assert_eq!(a.values(), ["Bob", "10.0.0.1"]);
    }

    #[test]
    fn the_hash_is_fixed_for_ever() {
        // State on disk is keyed by it: a change would silently lose every window.
        let key = KeyHasher::new([1; 16]).key([&b"alice"[..], b"192.0.2.7"]);
        let again = KeyHasher::new([1; 16]).key([&b"ALICE"[..], b"192.0.2.7"]);
        assert_eq!(format!("{:032x}", key.hash), FIXED);
        assert_eq!(key.hash, again.hash);
    }
    const FIXED: &str = "6cd4186714d233c4253e87153a5b99c8";
}
