//! What is hashed of a record: its envelope in one canonical form, then its bytes as received.

use crate::hash::Hash;
use crate::merkle::{Frontier, leaf_hash};

/// Version of the canonical envelope, its first byte. A change of the form takes a new number, so
/// that old proofs stay checkable.
pub const ENVELOPE_VERSION: u8 = 1;

/// A record as it is sealed. The stored files keep exactly these columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedRecord<'a> {
    /// Its offset in the stream.
    pub offset: u64,
    /// Source from the envelope.
    pub source: &'a str,
    /// Verified sender from the envelope.
    pub identity: &'a str,
    /// Wall clock at receipt, ns since 1970-01-01 UTC.
    pub wall_ns: i64,
    /// Number of the protocol, see [`event::Protocol`].
    pub protocol: u8,
    /// Bytes as received.
    pub raw: &'a [u8],
}

/// Appends the canonical envelope: version u8, offset u64, wall_ns i64, protocol u8, then source and
/// identity as u32 length and UTF-8 bytes; numbers big-endian. It says itself where it ends, so no
/// part can pass for a part of the raw bytes that follow.
pub fn encode_envelope(record: &SealedRecord<'_>, out: &mut Vec<u8>) {
    out.push(ENVELOPE_VERSION);
    out.extend_from_slice(&record.offset.to_be_bytes());
    out.extend_from_slice(&record.wall_ns.to_be_bytes());
    out.push(record.protocol);
    for text in [record.source, record.identity] {
        out.extend_from_slice(&(text.len() as u32).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }
}

/// Leaf hash of one record: `SHA-256(0x00 || canonical envelope || raw)`.
pub fn record_leaf(record: &SealedRecord<'_>) -> Hash {
    let mut envelope = Vec::with_capacity(64);
    encode_envelope(record, &mut envelope);
    leaf_hash(&[&envelope, record.raw])
}

/// Root over a range of records in offset order, with their number and first and last offset;
/// `None` when there are none. Memory does not grow with the range.
pub fn range_root<'a>(
    records: impl IntoIterator<Item = SealedRecord<'a>>,
) -> Option<(Hash, u64, u64, u64)> {
    let (mut frontier, mut envelope) = (Frontier::default(), Vec::with_capacity(64));
    let mut span: Option<(u64, u64)> = None;
    for record in records {
        envelope.clear();
        encode_envelope(&record, &mut envelope);
        frontier.push(leaf_hash(&[&envelope, record.raw]));
        span = Some((span.map_or(record.offset, |(first, _)| first), record.offset));
    }
    span.map(|(first, last)| (frontier.root(), frontier.size(), first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: SealedRecord<'static> = SealedRecord {
        offset: 7,
        source: "web",
        identity: "token:1",
        wall_ns: -2,
        protocol: 4,
        raw: b"hello",
    };

    #[test]
    fn the_leaf_is_the_documented_bytes() {
        assert_eq!(
            record_leaf(&RECORD).to_string(),
            "35166d40e13b0ca35323d66a52d280d7c647c30219f329c127bae08f0d199499"
        );
        let (root, count, first, last) = range_root([RECORD]).unwrap();
        assert_eq!((root, count, first, last), (record_leaf(&RECORD), 1, 7, 7));
        assert_eq!(range_root([]), None);
    }

    #[test]
    fn every_part_counts_and_none_can_move_into_its_neighbour() {
        let r = RECORD;
        for other in [
            SealedRecord { offset: 8, ..r },
            SealedRecord { source: "we", identity: "btoken:1", ..r },
            SealedRecord { identity: "token:1hello", raw: b"", ..r },
            SealedRecord { wall_ns: -1, ..r },
            SealedRecord { protocol: 5, ..r },
            SealedRecord { raw: b"hellp", ..r },
        ] {
            assert_ne!(record_leaf(&other), record_leaf(&r), "{other:?}");
        }
    }
}
