//! Identity of an alert: the same rule, entity and event give the same id on every run.

use event::EventId;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The only tenant of an installation. The number is part of every id, so a second tenant can come
/// later without changing the ids that exist.
pub const TENANT: u32 = 0;

/// Bytes of the hash that an id keeps: 128 bits, far beyond any chance of two alerts meeting.
const ID_BYTES: usize = 16;

/// Separates these hashes from every other use of SHA-256 in the product.
const DOMAIN: &[u8] = b"alcedo alert 1\0";

/// Id of the alert that `rule_id` raised about the entity `key` when `fired_by` arrived: 32 lower
/// case hex digits, the first half of SHA-256 over tenant, rule id, key and event id. Every part has
/// its length in front, so no two different inputs hash the same bytes.
pub fn alert_id(rule_id: &str, key: &[u8], fired_by: EventId) -> String {
    let mut hash = keyed(rule_id, key);
    hash.update(fired_by.partition.to_be_bytes());
    hash.update(fired_by.offset.to_be_bytes());
    hash.update(fired_by.sub.to_be_bytes());
    hex(&hash.finalize()[..ID_BYTES])
}

/// Canonical bytes of an entity (group-by fields and values), to be used as `key` of [`alert_id`].
pub fn entity_key(entity: &BTreeMap<String, String>) -> Vec<u8> {
    let size = entity.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
    let mut out = Vec::with_capacity(size);
    for part in entity.iter().flat_map(|(name, value)| [name, value]) {
        out.extend_from_slice(&(part.len() as u32).to_be_bytes());
        out.extend_from_slice(part.as_bytes());
    }
    out
}

/// The part of the hash that all firings of one (rule, entity) share.
pub(crate) fn keyed(rule_id: &str, key: &[u8]) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    hash.update(TENANT.to_be_bytes());
    for part in [rule_id.as_bytes(), key] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash
}

/// Lower-case hex digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_depends_on_every_part_and_on_nothing_else() {
        let id = alert_id("r", b"k", EventId::at(7));
        assert_eq!(id.len(), 32);
        assert_eq!(id, alert_id("r", b"k", EventId::at(7)));
        for other in [
            alert_id("s", b"k", EventId::at(7)),
            alert_id("r", b"l", EventId::at(7)),
            alert_id("r", b"k", EventId::at(8)),
            alert_id("r", b"k", EventId { partition: 1, ..EventId::at(7) }),
            alert_id("r", b"k", EventId { sub: 1, ..EventId::at(7) }),
            alert_id("rk", b"", EventId::at(7)),
        ] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn the_id_is_the_one_that_was_published() {
        // Computed with another implementation of SHA-256 over the documented bytes.
        assert_eq!(alert_id("r", b"k", EventId::at(7)), "d081706f5b0f6c32df7ee57dc1659412");
    }

    #[test]
    fn entities_that_differ_only_in_where_a_name_ends_have_different_keys() {
        let one = BTreeMap::from([("ab".to_owned(), "c".to_owned())]);
        let two = BTreeMap::from([("a".to_owned(), "bc".to_owned())]);
        assert_ne!(entity_key(&one), entity_key(&two));
        assert!(entity_key(&BTreeMap::new()).is_empty());
    }
}
