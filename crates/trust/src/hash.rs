//! A SHA-256 value: its text form, and comparison that takes the same time whatever differs.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::fmt;

/// SHA-256 of something, 32 bytes. As text: 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads 64 hex digits, either case.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut out = [0; 32];
        from_hex(text.as_bytes(), &mut out).then_some(Self(out))
    }

    /// Whether both are equal, in a time that does not depend on where they differ.
    pub fn eq_constant_time(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        // The accumulated difference goes through a black box so that the loop is not cut short.
        std::hint::black_box(pairs.fold(0u8, |difference, (a, b)| difference | (a ^ b))) == 0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("expected 64 hex digits"))
    }
}

/// Lower-case hex digits of `bytes`.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

/// Fills `out` from exactly `2 * out.len()` hex digits; false, with `out` undefined, otherwise.
pub(crate) fn from_hex(text: &[u8], out: &mut [u8]) -> bool {
    let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
    text.len() == out.len() * 2
        && text.chunks_exact(2).zip(out).all(|(pair, byte)| {
            match (digit(pair[0]), digit(pair[1])) {
                (Some(high), Some(low)) => {
                    *byte = high << 4 | low;
                    true
                }
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_reads_back_and_comparison_sees_every_bit() {
        let hash = Hash::of(b"abc");
        assert_eq!(
            hash.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(Hash::from_hex(&hash.to_string()), Some(hash));
        assert_eq!(Hash::from_hex("ba78"), None);
        assert_eq!(Hash::from_hex(&"g".repeat(64)), None);
        for bit in 0..256 {
            let mut other = hash;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!hash.eq_constant_time(&other));
        }
        assert!(hash.eq_constant_time(&hash.clone()));
    }
}
