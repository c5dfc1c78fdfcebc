//! Gap records: loss that is known or possible, written into the stream where it happened.
//!
//! One form for everybody: sources and agents write them, the journal writes them when it is opened,
//! the sequencer reads them. The bytes are JSON; fields are only ever added.

use crate::raw::{Protocol, RawBatch, RecordKind};
use serde::{Deserialize, Serialize};

/// Why records are missing, or may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// The kernel dropped datagrams before we read them: its receive buffer was full.
    UdpDrop,
    /// What a sender had handed to its kernel, and we had not made durable, when we crashed.
    CrashUnacked,
    /// Stored bytes that no longer read back.
    Corruption,
    /// Numbers missing in a sender's sequence.
    #[serde(alias = "agent_seq_hole")]
    SequenceHole,
    /// A followed file was truncated or replaced before its end was read.
    RotationRace,
    /// Two spools used one agent's identity, or one came back from an older image.
    AgentFork,
    /// A consumer skipped because it could not keep up.
    ConsumerSkip,
    /// We dropped under overload.
    Shed,
    /// The wall clock jumped.
    Clock,
    /// A frame was over the size limit and was skipped.
    Oversize,
    /// A connection ended inside a frame; what had arrived was kept.
    CutOff,
    /// We closed a connection whose sender had not ended it: at a stop, or because it held too much. What
    /// it had handed to its kernel meanwhile was not read.
    Unread,
    /// The journal turned records away and the protocol cannot ask the sender to repeat them.
    Refused,
}

impl GapCause {
    /// The word that records, searches and people have for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UdpDrop => "udp_drop",
            Self::CrashUnacked => "crash_unacked",
            Self::Corruption => "corruption",
            Self::SequenceHole => "sequence_hole",
            Self::RotationRace => "rotation_race",
            Self::AgentFork => "agent_fork",
            Self::ConsumerSkip => "consumer_skip",
            Self::Shed => "shed",
            Self::Clock => "clock",
            Self::Oversize => "oversize",
            Self::CutOff => "cut_off",
            Self::Unread => "unread",
            Self::Refused => "refused",
        }
    }
}

/// How sure a loss is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// Records are missing.
    Known,
    /// Records may be missing.
    Possible,
}

impl Certainty {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Possible => "possible",
        }
    }
}

/// The body of a [`RecordKind::Gap`] record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Why.
    pub cause: GapCause,
    /// How sure.
    pub certainty: Certainty,
    /// Name of the source, or the file for tails.
    pub source: String,
    /// Protocol the records came over, where it matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Number of the connection within its run; 0 where there is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub connection: u64,
    /// First missing offset (damage) or sequence number (holes); both ends or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq_from: Option<u64>,
    /// Last missing offset or sequence number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq_to: Option<u64>,
    /// Number of records lost; 0 when unknown.
    #[serde(default)]
    pub count: u64,
    /// Bytes lost; 0 when unknown.
    #[serde(default)]
    pub bytes: u64,
    /// Start of the interval, ns since 1970-01-01 UTC.
    #[serde(default)]
    pub from_ns: i64,
    /// End of the interval, ns since 1970-01-01 UTC.
    #[serde(default)]
    pub to_ns: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Gap {
    /// A gap of `source` at the moment `at_ns`; amounts are filled in by the caller.
    pub fn at(cause: GapCause, certainty: Certainty, source: &str, at_ns: i64) -> Self {
        Self {
            cause,
            certainty,
            source: source.to_owned(),
            protocol: None,
            connection: 0,
            seq_from: None,
            seq_to: None,
            count: 0,
            bytes: 0,
            from_ns: at_ns,
            to_ns: at_ns,
        }
    }

    /// The same, with the range `from..=to` and its count.
    #[must_use]
    pub fn over(mut self, from: u64, to: u64) -> Self {
        (self.seq_from, self.seq_to) = (Some(from), Some(to));
        self.count = to.saturating_sub(from).saturating_add(1);
        self
    }

    /// How many records are missing, where that is known.
    pub fn known_count(&self) -> Option<u64> {
        Some(self.count).filter(|n| *n > 0)
    }

    /// The record's bytes.
    pub fn to_json(&self) -> Vec<u8> {
        // Plain numbers and strings always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a record's bytes; `None` when they are not a gap.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Appends the gap to `batch` under `envelopes[envelope]`.
    pub fn push_to(&self, batch: &mut RawBatch, envelope: u32) {
        batch.push_as(RecordKind::Gap, envelope, self.to_ns, &self.to_json());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_reads_back_and_one_written_earlier_still_does() {
        let gap = Gap::at(GapCause::SequenceHole, Certainty::Known, "web", 7).over(10, 12);
        assert_eq!((gap.count, gap.known_count()), (3, Some(3)));
        assert_eq!(Gap::read(&gap.to_json()), Some(gap));
        let stored = br#"{"cause":"udp_drop","certainty":"known","source":"fw","count":5,"bytes":0,
            "from_ns":1,"to_ns":2,"added_later":[]}"#;
        let read = Gap::read(stored).unwrap();
        assert_eq!((read.cause, read.count, read.connection), (GapCause::UdpDrop, 5, 0));
        assert_eq!(Gap::read(b"{}"), None);
        let text = br#"{"cause":"agent_seq_hole","certainty":"possible","source":""}"#;
        assert_eq!(Gap::read(text).unwrap().cause, GapCause::SequenceHole);
    }
}
