//! Before parsing: bytes exactly as received, with who sent them and when.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How bytes reached us. Stored in the journal as its number: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Made by Alcedo itself (ticks, gaps, audit copies).
    Internal = 0,
    /// Syslog over UDP (RFC 5426).
    SyslogUdp = 1,
    /// Syslog over TCP (RFC 6587).
    SyslogTcp = 2,
    /// Syslog over TLS (RFC 5425).
    SyslogTls = 3,
    /// HTTP ingest.
    Http = 4,
    /// Our own agent.
    Agent = 5,
    /// A file read without a server (`hunt`, `parse`).
    File = 6,
    /// Splunk HTTP event collector.
    Hec = 7,
    /// OpenTelemetry logs.
    Otlp = 8,
    /// Elasticsearch bulk.
    Bulk = 9,
    /// RELP.
    Relp = 10,
    /// Kafka.
    Kafka = 11,
}

impl Protocol {
    /// Every protocol with its lower-case name, as shown in fields and metrics.
    pub const ALL: &[(Protocol, &'static str)] = &[
        (Protocol::Internal, "internal"),
        (Protocol::SyslogUdp, "syslogudp"),
        (Protocol::SyslogTcp, "syslogtcp"),
        (Protocol::SyslogTls, "syslogtls"),
        (Protocol::Http, "http"),
        (Protocol::Agent, "agent"),
        (Protocol::File, "file"),
        (Protocol::Hec, "hec"),
        (Protocol::Otlp, "otlp"),
        (Protocol::Bulk, "bulk"),
        (Protocol::Relp, "relp"),
        (Protocol::Kafka, "kafka"),
    ];

    /// The protocol with this stored number, if there is one.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.iter().map(|(p, _)| *p).find(|p| *p as u8 == number)
    }

    /// Whether a sender can be told that a record is durable. Where it cannot, what was on its way
    /// when we crashed may be lost without anybody knowing.
    pub fn can_ack(self) -> bool {
        !matches!(self, Self::SyslogUdp | Self::SyslogTcp | Self::SyslogTls)
    }

    /// Lower-case name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(p, _)| *p == self).map_or("unknown", |(_, n)| n)
    }
}

/// What a record is. Stored in the journal as its number: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum RecordKind {
    /// An event's bytes.
    Data = 0,
    /// One second passed (control).
    Tick = 1,
    /// Rules, packs, tables or settings changed here (control); the bytes are JSON.
    Generation = 2,
    /// Known or possible loss (control); the bytes are JSON.
    Gap = 3,
    /// A record of the `ledger` stream; the bytes are JSON.
    Ledger = 4,
    /// An audit record of the `ledger` stream; the bytes are JSON.
    Audit = 5,
    /// The journal was opened here, after a crash or not, or something else in its life: a fault, a step given
    /// up, a listener that opened (control); the bytes are JSON.
    Lifecycle = 6,
    /// The envelope's connection ended in order (control); no bytes.
    ConnectionEnd = 7,
}

impl RecordKind {
    /// The kind with this stored number, if there is one.
    pub fn from_u8(number: u8) -> Option<Self> {
        use RecordKind::*;
        [Data, Tick, Generation, Gap, Ledger, Audit, Lifecycle, ConnectionEnd]
            .into_iter()
            .find(|k| *k as u8 == number)
    }
}

/// Who sent a record and over what: chosen by configuration and the authenticated channel only,
/// never by the record's own bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Envelope {
    /// Name of the configured source.
    pub source: Arc<str>,
    /// Verified identity of the sender (`token:web`, `cert:agent-7`), or `unauthenticated`.
    pub identity: Arc<str>,
    /// Address of the peer as text, without port; empty when there is none.
    pub peer: Arc<str>,
    /// Protocol the bytes came over.
    pub protocol: Protocol,
    /// Number of the connection within this process run; 0 where there is none.
    pub connection: u64,
    /// File the bytes were read from, or empty.
    pub path: Arc<str>,
    /// Pack the source is configured to, or empty for automatic detection.
    pub pack: Arc<str>,
    /// Header lines in force for this record's stream (`#Fields: date time ...`), joined by line
    /// ends: what the stream's reader remembers for text whose columns mean nothing without them.
    /// Never part of the journal.
    #[serde(skip)]
    pub header: Option<Arc<[u8]>>,
}

impl Envelope {
    /// An envelope of Alcedo's own records.
    pub fn internal() -> Self {
        Self {
            source: "alcedo".into(),
            identity: "alcedo".into(),
            peer: "".into(),
            protocol: Protocol::Internal,
            connection: 0,
            path: "".into(),
            pack: "".into(),
            header: None,
        }
    }

    /// The envelope of a sample record of a pack's or a rule's tests: source `test`, or Alcedo itself
    /// for a record with the key `alcedo.record`, which only Alcedo's own records may have.
    pub fn of_sample(raw: &[u8]) -> Self {
        let key = b"\"alcedo.record\"";
        match raw.windows(key.len()).any(|part| part == key) {
            true => Self::internal(),
            false => Self::of("test", Protocol::File),
        }
    }

    /// An envelope for bytes of `source` that came over `protocol` from nobody in particular.
    pub fn of(source: &str, protocol: Protocol) -> Self {
        Self {
            source: source.into(),
            identity: "unauthenticated".into(),
            protocol,
            ..Self::internal()
        }
    }
}

/// A sender that numbers its records, so that repeats can be dropped by the journal's writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Producer {
    /// The sender.
    pub id: u128,
    /// Its run: a random number per spool; a new one starts a new sequence.
    pub epoch: u64,
    /// Sequence number of the first record of the batch; the rest follow without holes.
    pub base_seq: u64,
}

impl Producer {
    /// The epoch of senders that send one batch only: idempotency keys. They are remembered for a
    /// limited time, apart from senders that go on.
    pub const ONCE: u64 = u64::MAX;

    /// Upper half of the epochs of senders whose numbers have holes by nature: offsets of a topic that is
    /// compacted, or has transactions. A batch has none; it may begin beyond what is expected.
    pub const WITH_HOLES: u64 = 0xFFFF_FFFE << 32;

    /// Whether numbers of this epoch may be left out.
    pub fn has_holes(epoch: u64) -> bool {
        epoch >> 32 == Self::WITH_HOLES >> 32
    }

    /// The producer of a batch that is to be stored once, whoever repeats it. `key` is a hash over
    /// the verified identity and what the sender calls the batch.
    pub fn once(key: u128) -> Self {
        Self { id: key, epoch: Self::ONCE, base_seq: 0 }
    }
}

/// One record within a [`RawBatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// Start of the bytes in the arena.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
    /// Index into [`RawBatch::envelopes`].
    pub envelope: u32,
    /// What the record is.
    pub kind: RecordKind,
    /// Wall clock at receipt, ns since 1970-01-01 UTC.
    pub wall_ns: i64,
}

/// Records on their way to the journal: one arena, many records.
///
/// Shape: `records.len()` records, `bytes.len()` bytes in all (below 4 GiB).
#[derive(Clone, Debug, Default)]
pub struct RawBatch {
    /// All bytes, back to back.
    pub bytes: Vec<u8>,
    /// The records in order of receipt.
    pub records: Vec<RawRecord>,
    /// The envelopes that the records point at.
    pub envelopes: Vec<Arc<Envelope>>,
    /// The numbering sender, if it is one.
    pub producer: Option<Producer>,
}

impl RawBatch {
    /// An empty batch whose records all share `envelope`.
    pub fn of(envelope: Arc<Envelope>) -> Self {
        Self { envelopes: vec![envelope], ..Self::default() }
    }

    /// Appends one data record under the first envelope.
    pub fn push(&mut self, wall_ns: i64, bytes: &[u8]) {
        self.push_as(RecordKind::Data, 0, wall_ns, bytes);
    }

    /// Appends one record of `kind` under `envelopes[envelope]`.
    pub fn push_as(&mut self, kind: RecordKind, envelope: u32, wall_ns: i64, bytes: &[u8]) {
        let start = u32::try_from(self.bytes.len()).expect("a batch stays below 4 GiB");
        self.bytes.extend_from_slice(bytes);
        let len = u32::try_from(bytes.len()).expect("a record stays below 4 GiB");
        self.records.push(RawRecord { start, len, envelope, kind, wall_ns });
    }

    /// The bytes of one record of this batch.
    pub fn record_bytes(&self, record: &RawRecord) -> &[u8] {
        &self.bytes[record.start as usize..(record.start + record.len) as usize]
    }

    /// Whether there is nothing to append.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// The journal's yes: everything up to and including `offset` is on disk, fdatasync'ed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Partition.
    pub partition: u32,
    /// Offset of the batch's first record (of the first that was not a repeat).
    pub first: u64,
    /// Offset of the batch's last record. When all were repeats: the last durable offset.
    pub last: u64,
    /// How many records of the batch were repeats and were dropped by the writer.
    pub repeats: u32,
}
