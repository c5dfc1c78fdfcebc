//! What the writer remembers of senders: whose numbers are stored already, which batches came under
//! an idempotency key, and which connections are open.
//!
//! All of it follows from the records; a snapshot only saves reading all of them at every start.

use crate::announce;
use crate::block::{Block, RecordView};
use crate::codec::{Cut, put_text, put_varint};
use crate::fs::{Access, Fs, replace};
use crate::piece::{put_envelope, read_envelope};
use event::{Envelope, Producer, Protocol, RawBatch, RecordKind};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The most numbering senders remembered; past it, those silent for longest are forgotten. A million
/// followed files are more than the agents of one installation have.
const NUMBERED_MAX: usize = 1 << 20;
/// The most idempotency keys remembered; past it, the oldest are forgotten.
const KEYS_MAX: usize = 1_000_000;
/// How long an idempotency key is remembered, ns of stream time: ten minutes.
const KEYS_NS: i64 = 600 * 1_000_000_000;
/// The most open connections remembered: sources cap theirs at 4,096 each.
const CONNECTIONS_MAX: usize = 65_536;
const MAGIC: &[u8; 8] = b"ALCDSND3";
/// Of snapshots that do not know which batch came under a key.
const MAGIC_BEFORE: &[u8; 8] = b"ALCDSND2";
pub(crate) const NAME: &str = "senders.snap";
/// A snapshot of full tables with the longest usual envelopes; a longer file is not ours.
const SNAPSHOT_BYTES_MAX: u64 = 256 << 20;

/// Whether an epoch is that of one batch under an idempotency key: its upper half says so, its lower one
/// says which batch, see [`of_batch`].
pub(crate) fn is_once(epoch: u64) -> bool {
    epoch >> 32 == Producer::ONCE >> 32
}

/// The producer of a batch as it is stored: that of a key names the batch, so that another one is never
/// taken for its repeat. [`Producer::ONCE`] itself stands for a batch that is not known.
pub(crate) fn of_batch(batch: &RawBatch) -> Option<Producer> {
    let producer = batch.producer?;
    if producer.epoch != Producer::ONCE {
        return Some(producer);
    }
    let whole = batch.records.iter().fold(0, |crc, record| {
        let crc = crc32c::crc32c_append(crc, &record.len.to_le_bytes());
        crc32c::crc32c_append(crc, batch.record_bytes(record))
    });
    let named = Producer::ONCE << 32 | u64::from(whole.min(u32::MAX - 1));
    Some(Producer { epoch: named, ..producer })
}

/// Stands for a CRC that is not known, so that nothing is held against it.
const CRC_UNKNOWN: u32 = 0;

/// How far a numbering sender has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// Its run.
    pub epoch: u64,
    /// The number of its last durable record.
    pub seq: u64,
    /// CRC-32C of that record's bytes: a sender that has another record under this number is not
    /// the one we know.
    pub tail_crc: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Last {
    state: ProducerState,
    /// Offset of the record with that number: how long the sender has been silent.
    offset: u64,
    /// Known from before this run only: it may come back with numbers that we lost.
    restored: bool,
}

/// What was stored under an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Which batch it is, see [`of_batch`].
    epoch: u64,
    /// Number of its last durable record, from 0.
    pub(crate) seq: u64,
    pub(crate) tail_crc: u32,
    pub(crate) first_offset: u64,
    pub(crate) last_offset: u64,
    stream_ns: i64,
}

/// A record that became durable, as the tables see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) id: u128,
    pub(crate) state: ProducerState,
    /// Offset of the first record of its batch that is known, and of the record itself.
    pub(crate) first_offset: u64,
    pub(crate) offset: u64,
    pub(crate) stream_ns: i64,
}

/// What a batch is held against.
struct Known {
    epoch: u64,
    seq: u64,
    crc: u32,
    restored: bool,
    stored_at: Option<(u64, u64)>,
}

/// Why a numbered batch may not be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It does not follow what is stored.
    OutOfOrder { expected_seq: u64 },
    /// It repeats a number with other bytes.
    Fork { seq: u64 },
}

/// How a numbered batch meets the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Fit {
    /// Records at its front that are stored already.
    pub(crate) repeats: u64,
    /// Numbers before it that never came, and will not.
    pub(crate) missing: Option<(u64, u64)>,
    /// Where the repeats of an idempotency key are.
    pub(crate) stored_at: Option<(u64, u64)>,
}

/// The tables; they hold durable records only. The maps' hashers are keyed: ids come from outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Senders {
    numbered: HashMap<u128, Last>,
    keys: HashMap<u128, Key>,
    /// Keys by age; one that was seen twice stands here twice.
    key_ages: VecDeque<(i64, u128)>,
    connections: HashMap<Arc<Envelope>, i64>,
    /// Connections that were not remembered for want of room.
    pub(crate) connections_over: u64,
    /// Records below this offset are included.
    pub(crate) covers: u64,
    /// CRC of the parts read so far of a split record; `None` when its front was not read.
    parts_crc: Option<u32>,
}

impl Senders {
    pub(crate) fn last(&self, id: u128) -> Option<ProducerState> {
        self.numbered.get(&id).map(|last| last.state)
    }

    /// Senders and keys remembered.
    pub(crate) fn len(&self) -> usize {
        self.numbered.len() + self.keys.len()
    }

    /// What is stored of a sender's run, or under a key.
    fn known(&self, p: &Producer) -> Option<Known> {
        if is_once(p.epoch) {
            let Key { epoch, seq, tail_crc: crc, first_offset, last_offset, .. } =
                *self.keys.get(&p.id)?;
            let stored_at = Some((first_offset, last_offset));
            return Some(Known { epoch, seq, crc, restored: false, stored_at });
        }
        let last = self.numbered.get(&p.id).filter(|last| last.state.epoch == p.epoch)?;
        let (seq, crc, restored) = (last.state.seq, last.state.tail_crc, last.restored);
        Some(Known { epoch: p.epoch, seq, crc, restored, stored_at: None })
    }

    /// Holds a batch against what is stored, or against `ahead`, what the group being made already
    /// has of the same sender. `crc_of` gives the CRC of its record number n.
    pub(crate) fn fit(
        &self,
        p: &Producer,
        records: u64,
        ahead: Option<&Stored>,
        crc_of: impl Fn(u64) -> Option<u32>,
    ) -> Result<Fit, Misfit> {
        let is_key = is_once(p.epoch);
        let is_of = |epoch| epoch == p.epoch || is_key && is_once(epoch);
        let ahead = ahead.filter(|a| is_of(a.state.epoch)).map(|a| Known {
            epoch: a.state.epoch,
            seq: a.state.seq,
            crc: a.state.tail_crc,
            restored: false,
            stored_at: Some((a.first_offset, a.offset)).filter(|_| is_key),
        });
        // Its first batch, or a new run, may start at any number.
        let Some(known) = ahead.or_else(|| self.known(p)) else { return Ok(Fit::default()) };
        let Known { epoch, seq, crc, restored, stored_at } = known;
        if epoch != p.epoch && ![epoch, p.epoch].contains(&Producer::ONCE) {
            return Err(Misfit::Fork { seq });
        }
        if p.base_seq > seq + 1 {
            if Producer::has_holes(p.epoch) {
                return Ok(Fit::default());
            }
            let expected_seq = seq + 1;
            return match restored {
                true => Ok(Fit { missing: Some((expected_seq, p.base_seq - 1)), ..Fit::default() }),
                false => Err(Misfit::OutOfOrder { expected_seq }),
            };
        }
        let repeats = (seq + 1 - p.base_seq).min(records);
        let covers_last = repeats > 0 && p.base_seq + repeats == seq + 1;
        let differs = |own| own != crc && crc != CRC_UNKNOWN;
        if covers_last && crc_of(repeats - 1).is_some_and(differs) {
            return Err(Misfit::Fork { seq });
        }
        Ok(Fit { repeats, missing: None, stored_at })
    }

    /// Takes in what became durable.
    pub(crate) fn set(&mut self, stored: &Stored) {
        self.put(stored, false);
    }

    fn put(&mut self, stored: &Stored, restored: bool) {
        let Stored { id, state, first_offset, offset, stream_ns } = *stored;
        if is_once(state.epoch) {
            let ProducerState { epoch, seq, tail_crc } = state;
            let first_offset = self.keys.get(&id).map_or(first_offset, |key| key.first_offset);
            let key = Key { epoch, seq, tail_crc, first_offset, last_offset: offset, stream_ns };
            self.keys.insert(id, key);
            self.key_ages.push_back((stream_ns, id));
            return self.expire_keys(stream_ns);
        }
        let fresh = Last { state, offset, restored };
        let last = self.numbered.entry(id).or_insert(fresh);
        if last.state.epoch != state.epoch || last.state.seq <= state.seq {
            *last = fresh;
        }
        if self.numbered.len() > NUMBERED_MAX {
            self.forget_oldest();
        }
    }

    /// Forgets keys past their time, or past their number.
    fn expire_keys(&mut self, stream_ns: i64) {
        while let Some((since, id)) = self.key_ages.front().copied()
            && (since < stream_ns.saturating_sub(KEYS_NS) || self.key_ages.len() > KEYS_MAX)
        {
            self.key_ages.pop_front();
            if self.keys.get(&id).is_some_and(|key| key.stream_ns == since) {
                self.keys.remove(&id);
            }
        }
    }

    /// Drops an eighth, so that the sort is paid once per many inserts.
    fn forget_oldest(&mut self) {
        let mut offsets: Vec<u64> = self.numbered.values().map(|l| l.offset).collect();
        let eighth = offsets.len() / 8;
        let (_, &mut cut, _) = offsets.select_nth_unstable(eighth);
        self.numbered.retain(|_, last| last.offset > cut);
    }

    /// Records arrived under this envelope: its sender cannot be told, so its connection counts as
    /// open until it ends.
    pub(crate) fn heard(&mut self, envelope: &Arc<Envelope>, wall_ns: i64) {
        if envelope.protocol.can_ack() {
            return;
        }
        let envelope = at_risk(envelope);
        if let Some(last_ns) = self.connections.get_mut(&envelope) {
            *last_ns = wall_ns;
        } else if self.connections.len() < CONNECTIONS_MAX {
            self.connections.insert(envelope, wall_ns);
        } else {
            self.connections_over += 1;
        }
    }

    /// The envelope's connection ended in order.
    pub(crate) fn ended(&mut self, envelope: &Arc<Envelope>) {
        self.connections.remove(envelope);
    }

    /// Takes all open connections out, with when they were last heard: a new run begins.
    pub(crate) fn take_connections(&mut self) -> Vec<(Arc<Envelope>, i64)> {
        self.connections_over = 0;
        let mut all: Vec<_> = self.connections.drain().collect();
        all.sort_by(|a, b| order(&a.0).cmp(&order(&b.0)));
        all
    }

    /// Takes in a block read at recovery.
    pub(crate) fn learn(&mut self, block: &Block) {
        let mut heard: Option<*const Envelope> = None;
        let mut first_offset = 0;
        let mut before = None;
        let covers = self.covers;
        for record in block.records().filter(|record| record.offset >= covers) {
            match record.kind {
                RecordKind::Lifecycle if announce::is_opening(record.bytes) => {
                    self.connections.clear();
                    heard = None;
                }
                RecordKind::ConnectionEnd => {
                    self.ended(record.envelope);
                    heard = None;
                }
                _ if heard != Some(Arc::as_ptr(record.envelope)) => {
                    self.heard(record.envelope, record.wall_ns);
                    heard = Some(Arc::as_ptr(record.envelope));
                }
                _ => {}
            }
            let id = record.producer.map(|p| (p.id, p.epoch));
            if before != id {
                (before, first_offset) = (id, record.offset);
            }
            self.learn_number(&record, first_offset);
        }
    }

    fn learn_number(&mut self, record: &RecordView<'_>, first_offset: u64) {
        let Some(p) = record.producer else { return };
        let so_far = if record.continuation { self.parts_crc } else { Some(0) };
        self.parts_crc = so_far.map(|crc| crc32c::crc32c_append(crc, record.bytes));
        if !record.continued {
            let tail_crc = self.parts_crc.take().unwrap_or(CRC_UNKNOWN);
            let state = ProducerState { epoch: p.epoch, seq: p.base_seq, tail_crc };
            let (offset, stream_ns) = (record.offset, record.stream_ns);
            self.put(&Stored { id: p.id, state, first_offset, offset, stream_ns }, true);
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.numbered.len() * 44 + self.keys.len() * 60);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.covers.to_le_bytes());
        put_varint(&mut out, self.numbered.len() as u64);
        for (id, last) in &self.numbered {
            out.extend_from_slice(&id.to_le_bytes());
            for number in [last.state.epoch, last.state.seq, last.offset] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&last.state.tail_crc.to_le_bytes());
        }
        put_varint(&mut out, self.keys.len() as u64);
        for (id, key) in &self.keys {
            out.extend_from_slice(&id.to_le_bytes());
            for number in [key.seq, key.first_offset, key.last_offset, key.stream_ns as u64] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&key.tail_crc.to_le_bytes());
            out.extend_from_slice(&key.epoch.to_le_bytes());
        }
        put_varint(&mut out, self.connections.len() as u64);
        let mut one = Vec::new();
        for (envelope, last_ns) in &self.connections {
            one.clear();
            put_envelope(&mut one, envelope);
            put_text(&mut out, &one);
            out.extend_from_slice(&last_ns.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc32c::crc32c(body).to_le_bytes() != crc {
            return None;
        }
        let mut cut = Cut::new(body);
        let knows_batches = match cut.take(8)? {
            magic if magic == MAGIC => true,
            magic if magic == MAGIC_BEFORE => false,
            _ => return None,
        };
        let mut senders = Self { covers: cut.u64()?, ..Self::default() };
        for _ in 0..cut.varint()? {
            let id = cut.u128()?;
            let (epoch, seq, offset) = (cut.u64()?, cut.u64()?, cut.u64()?);
            let state = ProducerState { epoch, seq, tail_crc: cut.u32()? };
            senders.numbered.insert(id, Last { state, offset, restored: true });
        }
        for _ in 0..cut.varint()? {
            let id = cut.u128()?;
            let (seq, first_offset, last_offset) = (cut.u64()?, cut.u64()?, cut.u64()?);
            let (stream_ns, tail_crc) = (cut.i64()?, cut.u32()?);
            let epoch = if knows_batches { cut.u64()? } else { Producer::ONCE };
            let key = Key { epoch, seq, tail_crc, first_offset, last_offset, stream_ns };
            senders.keys.insert(id, key);
        }
        for _ in 0..cut.varint()? {
            let envelope = read_envelope(cut.text()?)?;
            senders.connections.insert(Arc::new(envelope), cut.i64()?);
        }
        let mut ages: Vec<_> = senders.keys.iter().map(|(id, key)| (key.stream_ns, *id)).collect();
        ages.sort_unstable();
        senders.key_ages = ages.into();
        Some(senders)
    }

    /// Reads the snapshot; `None` when there is none or it is damaged (then all blocks are read).
    pub(crate) fn read(fs: &dyn Fs, dir: &Path) -> io::Result<Option<Self>> {
        let file = match fs.open(&dir.join(NAME), Access::Read) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let len = file.len()?;
        if len > SNAPSHOT_BYTES_MAX {
            return Ok(None);
        }
        let mut bytes = vec![0; len as usize];
        let got = file.read_at(&mut bytes, 0)?;
        Ok(Self::decode(&bytes[..got]))
    }

    /// Replaces the snapshot.
    pub(crate) fn write(&self, fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        replace(fs, dir, NAME, &self.encode())
    }
}

/// What is at risk when we crash: a stream connection, or all datagrams of a source together.
fn at_risk(envelope: &Arc<Envelope>) -> Arc<Envelope> {
    match envelope.protocol {
        // Whoever sends datagrams can give any address: not one entry for each.
        Protocol::SyslogUdp => Arc::new(Envelope { peer: "".into(), ..(**envelope).clone() }),
        _ => envelope.clone(),
    }
}

fn order(e: &Envelope) -> (&str, u8, u64, &str) {
    (&e.source, e.protocol as u8, e.connection, &e.peer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::OsFs;

    fn stored(id: u128, epoch: u64, seq: u64, offset: u64, stream_ns: i64) -> Stored {
        let state = ProducerState { epoch, seq, tail_crc: seq as u32 };
        Stored { id, state, first_offset: offset, offset, stream_ns }
    }

    #[test]
    fn snapshot_round_trips_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Senders::read(&OsFs, dir.path()).unwrap().is_none());
        let mut senders = Senders { covers: 9, ..Senders::default() };
        for id in 0..50u128 {
            senders.set(&stored(id << 70, 3, id as u64, 4, 0));
            senders.set(&stored(id, Producer::ONCE, 1, 7, id as i64));
        }
        senders.set(&stored(0, 3, 7, 5, 0));
        senders.set(&stored(0, 3, 2, 6, 0));
        assert_eq!(senders.last(0).map(|s| (s.epoch, s.seq)), Some((3, 7)));
        senders.set(&stored(0, 4, 1, 7, 0));
        assert_eq!(senders.last(0).map(|s| (s.epoch, s.seq)), Some((4, 1)));
        let envelope = Arc::new(Envelope::of("fw", Protocol::SyslogTcp));
        senders.heard(&envelope, 5);
        senders.heard(&Arc::new(Envelope::of("web", Protocol::Http)), 5);
        senders.write(&OsFs, dir.path()).unwrap();
        senders.write(&OsFs, dir.path()).unwrap();
        let mut read = Senders::read(&OsFs, dir.path()).unwrap().unwrap();
        assert_eq!((read.covers, &read.keys), (9, &senders.keys));
        assert_eq!(read.last(0), senders.last(0));
        assert_eq!(read.take_connections(), [(envelope, 5)]);
        let mut bytes = senders.encode();
        bytes[60] ^= 1;
        assert!(Senders::decode(&bytes).is_none());
        assert!(Senders::decode(&[]).is_none());
    }

    #[test]
    fn the_longest_silent_are_forgotten_first() {
        let mut senders = Senders::default();
        for id in 0..800 {
            senders.set(&stored(id, 1, 1, id as u64, 0));
        }
        senders.forget_oldest();
        assert_eq!(senders.len(), 699);
        assert!(senders.last(100).is_none() && senders.last(101).is_some());
    }

    #[test]
    fn keys_live_ten_minutes_and_never_crowd_out_senders() {
        let mut senders = Senders::default();
        senders.set(&stored(1, 1, 1, 0, 0));
        senders.set(&stored(7, Producer::ONCE, 2, 0, 0));
        let again = Producer::once(7);
        let fit = senders.fit(&again, 3, None, |n| Some(n as u32)).unwrap();
        assert_eq!((fit.repeats, fit.stored_at), (3, Some((0, 0))));
        senders.set(&stored(8, Producer::ONCE, 0, 5, KEYS_NS));
        assert_eq!(senders.fit(&again, 3, None, |_| None).unwrap().repeats, 3);
        senders.set(&stored(9, Producer::ONCE, 0, 6, KEYS_NS + 1));
        assert_eq!(senders.fit(&again, 3, None, |_| None), Ok(Fit::default()));
        assert_eq!((senders.keys.len(), senders.numbered.len()), (2, 1));
    }

    /// Guarantees: a key stands for one batch, also within the group that is being made; under keys from
    /// before batches were named, the bytes of the last record decide.
    #[test]
    fn another_batch_is_no_repeat() {
        let named = |records: &[&[u8]]| {
            let mut batch = RawBatch::of(Arc::new(Envelope::of("web", Protocol::Http)));
            records.iter().for_each(|bytes| batch.push(0, bytes));
            batch.producer = Some(Producer::once(7));
            of_batch(&batch).unwrap()
        };
        let (one, other) = (named(&[b"a", b"bc"]), named(&[b"ab", b"c"]));
        assert!(is_once(one.epoch) && one.epoch != Producer::ONCE && one != other);
        let ahead = stored(7, one.epoch, 1, 0, 0);
        let senders = Senders::default();
        assert_eq!(senders.fit(&one, 2, Some(&ahead), |_| None).unwrap().repeats, 2);
        let refused = Err(Misfit::Fork { seq: 1 });
        assert_eq!(senders.fit(&other, 2, Some(&ahead), |_| None), refused);
        let mut senders = senders;
        senders.set(&ahead);
        let mut senders = Senders::decode(&senders.encode()).unwrap();
        assert_eq!(senders.fit(&other, 2, None, |_| None), refused);
        assert_eq!(senders.fit(&one, 2, None, |_| None).unwrap().repeats, 2);
        senders.set(&stored(8, Producer::ONCE, 1, 0, 0));
        let before = Producer { id: 8, ..one };
        assert_eq!(senders.fit(&before, 2, None, |_| Some(1)).unwrap().repeats, 2);
        assert_eq!(senders.fit(&before, 2, None, |_| Some(2)), refused);
    }

    #[test]
    fn holes_and_forks_are_told_from_repeats() {
        let mut senders = Senders::default();
        let p = |epoch, base_seq| Producer { id: 1, epoch, base_seq };
        assert_eq!(senders.fit(&p(1, 50), 5, None, |_| None), Ok(Fit::default()));
        senders.set(&stored(1, 1, 54, 0, 0));
        let same = |n| Some(50 + n as u32);
        assert_eq!(senders.fit(&p(1, 50), 5, None, same).unwrap().repeats, 5);
        assert_eq!(senders.fit(&p(1, 50), 9, None, same).unwrap().repeats, 5);
        assert_eq!(senders.fit(&p(1, 55), 1, None, same).unwrap().repeats, 0);
        let ahead = stored(1, 1, 60, 0, 0);
        assert_eq!(senders.fit(&p(1, 60), 2, Some(&ahead), |_| None).unwrap().repeats, 1);
        let hole = Err(Misfit::OutOfOrder { expected_seq: 55 });
        assert_eq!(senders.fit(&p(1, 56), 1, None, same), hole);
        assert_eq!(senders.fit(&p(1, 50), 5, None, |_| Some(9)), Err(Misfit::Fork { seq: 54 }));
        assert_eq!(senders.fit(&p(2, 0), 5, None, same), Ok(Fit::default()));
        // After a start the sender may know of more than we have kept.
        let senders = Senders::decode(&senders.encode()).unwrap();
        assert_eq!(senders.fit(&p(1, 58), 1, None, same).unwrap().missing, Some((55, 57)));
    }

    #[test]
    fn numbers_with_holes_may_be_left_out_and_are_compared_all_the_same() {
        let mut senders = Senders::default();
        let p = |epoch, base_seq| Producer { id: 1, epoch, base_seq };
        let first = Producer::WITH_HOLES;
        senders.set(&stored(1, first, 54, 0, 0));
        for senders in [senders.clone(), Senders::decode(&senders.encode()).unwrap()] {
            let same = |n| Some(54 + n as u32);
            assert_eq!(senders.fit(&p(first, 90), 5, None, same), Ok(Fit::default()));
            assert_eq!(senders.fit(&p(first, 54), 5, None, same).unwrap().repeats, 1);
            assert_eq!(
                senders.fit(&p(first, 54), 5, None, |_| Some(9)),
                Err(Misfit::Fork { seq: 54 })
            );
            assert_eq!(senders.fit(&p(first + 1, 0), 5, None, same), Ok(Fit::default()));
        }
        assert!(!Producer::has_holes(Producer::ONCE) && !is_once(first | u64::from(u32::MAX)));
    }
}
