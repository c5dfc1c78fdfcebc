//! Gap records: known or possible loss, written into the stream where it happened.

use event::{RawBatch, RecordKind};
use serde::{Deserialize, Serialize};

/// Why records may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The kernel dropped datagrams before we read them.
    UdpDrop,
    /// A frame was over the size limit and was skipped.
    Oversize,
    /// A connection ended inside a frame; what had arrived was kept.
    CutOff,
    /// A followed file was truncated or replaced before its end was read.
    RotationRace,
    /// The journal turned records away and the protocol cannot ask the sender to repeat them.
    Refused,
}

/// How sure the loss is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// Records are missing.
    Known,
    /// Records may be missing.
    Possible,
}

/// The body of a [`RecordKind::Gap`] record, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Why.
    pub cause: Cause,
    /// How sure.
    pub certainty: Certainty,
    /// Name of the source, or the file for tails.
    pub source: String,
    /// Number of records lost; 0 when unknown.
    pub count: u64,
    /// Bytes lost; 0 when unknown.
    pub bytes: u64,
    /// Start of the interval, ns since 1970-01-01 UTC.
    pub from_ns: i64,
    /// End of the interval, ns since 1970-01-01 UTC.
    pub to_ns: i64,
}

impl Gap {
    /// The record's bytes.
    pub fn to_json(&self) -> Vec<u8> {
        // Plain numbers and strings always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Appends the gap to `batch` under `envelopes[envelope]`.
    pub fn push_to(&self, batch: &mut RawBatch, envelope: u32) {
        batch.push_as(RecordKind::Gap, envelope, self.to_ns, &self.to_json());
    }
}
