//! One detection match as one correlation sees it.

use event::EventId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A match that takes part in one correlation, with its key and value already read from the event.
/// Made by workers ([`super::Extractor`]), consumed in EventId order.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Index of the correlation in its [`super::SpecSet`].
    pub spec: u32,
    /// Which of the correlation's references matched.
    pub slot: u8,
    /// Which event.
    pub id: EventId,
    /// When it happened, ns since 1970-01-01 UTC.
    pub event_ns: i64,
    /// The journal's stream time at receipt, ns.
    pub stream_ns: i64,
    /// Which sender's stream it came by ([`super::source_hash`]): lag is known per source.
    pub source: u64,
    /// It came too late for windows to be held open for it ([`super::settings::HOLD_MAX_NS`]) and is
    /// worked in a pass of its own.
    pub backfill: bool,
    /// How many occurrences it stands for.
    pub weight: u32,
    /// The group-by values.
    pub key: Key,
    /// What is counted.
    pub value: HitValue,
    /// Keys that the event has in correlations which build on this one and group otherwise; none if
    /// there are no such.
    pub outer: Option<Arc<[Option<Key>]>>,
}

/// Group-by values: a keyed 128-bit hash of their folded text, and the text for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Hash over the folded values; equal values in any case give the same. Depends on the
    /// installation's secret, so nobody outside can aim at one shard.
    pub hash: u128,
    /// The values as sent, each as u32 little-endian length and bytes.
    pub text: Box<[u8]>,
}

impl Key {
    /// The shard that owns the key.
    pub fn shard(&self) -> usize {
        (self.hash >> 120) as usize
    }

    /// The values, lossily as text.
    pub fn values(&self) -> Vec<String> {
        values(&self.text)
    }
}

pub(super) fn values(text: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let len = (u32::from_le_bytes(*len) as usize).min(after.len());
        out.push(String::from_utf8_lossy(&after[..len]).into_owned());
        rest = &after[len..];
    }
    out
}

/// The counted part of a hit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HitValue {
    /// The kind reads none.
    None,
    /// Keyed hash of the folded value (or tuple).
    Print(u128),
    /// The number, for sums and the like.
    Number(f64),
}
