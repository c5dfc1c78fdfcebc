//! A journal's life under one seed: appends, faults, crashes, power losses, restarts, and an oracle
//! that knows what was promised.
//!
//! The oracle: what was acknowledged is read back, byte for byte, once; nothing is read that was not
//! sent; nothing is acknowledged that the disk does not have, synced; offsets and stream time only
//! grow; an honest disk shows no holes; a block inside event bytes is only bytes. One thread, one
//! order of calls: the same seed does the same.

use crate::{Fault, Rng, SimClock, SimFs};
use event::{Durable, Envelope, Producer, Protocol, RawBatch, RecordKind};
use journal::{AppendError, Joined, Journal, JournalError, Options, Recovery, Rejoin, Steps};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What a run met, so that a test can see that it met something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Records acknowledged.
    pub acked: u64,
    /// Appends that failed.
    pub failed: u64,
    /// Crashes, and those of them during recovery.
    pub crashes: u64,
    /// See `crashes`.
    pub crashes_in_recovery: u64,
    /// Bytes of torn tails that recovery removed.
    pub torn_bytes: u64,
    /// Repeats that the writer dropped.
    pub repeats: u64,
    /// Segments retired.
    pub retired: u64,
    /// Damaged ranges told (lying disks only).
    pub holes: u64,
    /// Records lost with the last write before a crash, about which the disk lied: nobody can tell.
    pub untold: u64,
}

impl Summary {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.acked += other.acked;
        self.failed += other.failed;
        self.crashes += other.crashes;
        self.crashes_in_recovery += other.crashes_in_recovery;
        self.torn_bytes += other.torn_bytes;
        self.repeats += other.repeats;
        self.retired += other.retired;
        self.holes += other.holes;
        self.untold += other.untold;
    }
}

/// The kind of disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// Fails and loses, but never lies about a success.
    Honest,
    /// Now and then a write goes nowhere or elsewhere: then loss must be told, nothing more.
    Lying,
}

/// Lives one life; the error is a broken promise.
///
/// # Errors
/// What was broken, for a person; the caller adds the seed.
pub fn run(seed: u64, disk: Disk) -> Result<Summary, String> {
    World::new(seed, disk).live()
}

/// An append on its way and what came of it.
struct Sent {
    ids: Vec<u64>,
    producer: Option<usize>,
    base_seq: u64,
}

/// A numbering sender as the agent is: it keeps what is not acknowledged and sends it again.
struct SenderSide {
    epoch: u64,
    /// Numbers and ids that are not acknowledged, in order.
    unacked: VecDeque<(u64, u64)>,
    next_seq: u64,
    /// How many of `unacked` are on their way.
    in_flight: usize,
    /// The last batch acknowledged: base number and ids, to be repeated now and then.
    last: Option<(u64, Vec<u64>)>,
}

type Answer = (u64, Result<Durable, AppendError>, bool);

struct World {
    rng: Rng,
    disk: Disk,
    fs: SimFs,
    clock: SimClock,
    options: Options,
    payloads: Vec<Vec<u8>>,
    /// By id: the first offset of its batch, 0 for a repeat, and whether it was acknowledged as one.
    acked: BTreeMap<u64, (u64, bool)>,
    /// What a lying disk has lost and is not asked for again. Later batches of the same sender make the
    /// journal take it for a repeat when it is sent once more.
    given_up: BTreeSet<u64>,
    numbered: HashMap<u64, ()>,
    senders: Vec<SenderSide>,
    sent: HashMap<u64, Sent>,
    next_send: u64,
    answers: Arc<Mutex<Vec<Answer>>>,
    /// Everything below is done with, and may be retired.
    cursor: u64,
    /// Bytes of segments as they were on the disk: the best a forger can have.
    loot: Vec<u8>,
    summary: Summary,
    lied: bool,
    /// The disk lied since the journal was last judged.
    lied_lately: bool,
}

impl World {
    fn new(seed: u64, disk: Disk) -> Self {
        let mut rng = Rng::new(seed);
        let options = Options {
            segment_size_bytes: 256 << 10,
            disk_reserve_bytes: 0,
            group_bytes_max: rng.pick(&[4 << 10, 64 << 10, 1 << 20]),
            tick: rng.percent(50),
            spares: rng.pick(&[1, 1, 3]),
            scrub_every: Some(Duration::from_secs(rng.pick(&[1, 600]))),
            sealer: rng.percent(30).then(|| Arc::new(count_records) as journal::Sealer),
            ..Options::default()
        };
        let side = |n: u64| SenderSide {
            epoch: 7 + n,
            unacked: VecDeque::new(),
            next_seq: n * 100,
            in_flight: 0,
            last: None,
        };
        Self {
            fs: SimFs::new(rng.draw()),
            clock: SimClock::new(rng.draw()),
            senders: (0..3).map(side).collect(),
            rng,
            disk,
            options,
            payloads: Vec::new(),
            acked: BTreeMap::new(),
            given_up: BTreeSet::new(),
            numbered: HashMap::new(),
            sent: HashMap::new(),
            next_send: 0,
            answers: Arc::default(),
            cursor: 0,
            loot: Vec::new(),
            summary: Summary::default(),
            lied: false,
            lied_lately: false,
        }
    }

    fn live(mut self) -> Result<Summary, String> {
        for _ in 0..2 + self.rng.below(4) {
            let Some((journal, mut steps, recovery)) = self.open(true)? else { continue };
            self.judge(&journal, &recovery)?;
            self.trouble_ahead();
            for _ in 0..self.rng.below(60) {
                self.act(&journal, &mut steps)?;
            }
            if !self.fs.is_dead() && self.rng.percent(30) {
                self.fs.disarm();
                let closed = steps.close(journal);
                self.collect()?;
                if closed.is_err() && !self.fs.is_dead() {
                    return Err(format!("a close without faults failed: {closed:?}"));
                }
                self.start_over();
            } else {
                self.fs.crash();
                drop((journal, steps));
                self.collect()?;
                self.power_loss();
            }
        }
        let Some((journal, mut steps, recovery)) = self.open(false)? else {
            return Err("a disk without faults did not open".into());
        };
        self.judge(&journal, &recovery)?;
        self.finish(&journal, &mut steps)?;
        Ok(self.summary)
    }

    /// Opens; `None` when the machine died on the way (it is up again then).
    fn open(&mut self, crash: bool) -> Result<Option<(Journal, Steps, Recovery)>, String> {
        if crash && self.rng.percent(25) {
            self.fs.crash_after(1 + self.rng.below(25));
        }
        let (fs, clock) = (Arc::new(self.fs.clone()), Arc::new(self.clock.clone()));
        match Journal::open_stepped("/sim", self.options.clone(), fs, clock) {
            Ok(opened) => {
                self.summary.torn_bytes += opened.2.torn_bytes;
                Ok(Some(opened))
            }
            Err(_) if self.fs.is_dead() => {
                self.summary.crashes_in_recovery += 1;
                self.power_loss();
                Ok(None)
            }
            Err(error) => Err(format!("it does not open: {error}")),
        }
    }

    fn power_loss(&mut self) {
        self.summary.crashes += 1;
        self.fs = self.fs.after_power_loss(self.rng.draw());
        self.clock.advance(self.rng.below(5_000_000_000));
        self.start_over();
    }

    /// Senders connect anew: what was under way has no answer and is sent again.
    fn start_over(&mut self) {
        self.sent.clear();
        for side in &mut self.senders {
            side.in_flight = 0;
        }
    }

    fn trouble_ahead(&mut self) {
        let (at, len) = (1 + self.rng.below(40), 1 + self.rng.below(3));
        match self.rng.below(10) {
            0..=2 => self.fs.crash_after(1 + self.rng.below(150)),
            3 => self.fs.arm(Fault::Sync, at, at + len.min(2)),
            4 => self.fs.arm(Fault::Write, at, at + len),
            5 => self.fs.arm(Fault::Full, at, at + len),
            6 => {
                let short = if self.rng.percent(50) { Fault::Short } else { Fault::ShortFull };
                self.fs.arm(short, at, at + len);
            }
            7 if self.disk == Disk::Lying => {
                let lie = if self.rng.percent(50) { Fault::Phantom } else { Fault::Misdirected };
                self.fs.arm(lie, at, at + 1);
                (self.lied, self.lied_lately) = (true, true);
            }
            _ => {}
        }
    }

    fn act(&mut self, journal: &Journal, steps: &mut Steps) -> Result<(), String> {
        match self.rng.below(20) {
            0..=5 => self.append(journal, None),
            6..=9 => {
                let number = self.rng.below(self.senders.len() as u64) as usize;
                self.append(journal, Some(number));
            }
            10 => self.repeat(journal),
            11..=15 => {
                steps.write();
                self.collect()?;
            }
            16..=17 => steps.keep(),
            18 => {
                self.clock.advance(self.rng.below(1_500_000_000));
                if self.rng.percent(20) {
                    let days = self.rng.below(7) as i64 - 3;
                    self.clock.jump(days * 86_400_000_000_000);
                }
            }
            _ => self.move_on(journal),
        }
        Ok(())
    }

    /// A new record; its contents follow from its id and the seed.
    fn record(&mut self, numbered: bool) -> u64 {
        let id = self.payloads.len() as u64;
        let len = match self.rng.below(40) {
            0 => 8 + self.rng.below(120_000),
            1..=4 => 8 + self.rng.below(12_000),
            _ => 8 + self.rng.below(300),
        };
        let mut bytes = id.to_le_bytes().to_vec();
        if !self.loot.is_empty() && self.rng.percent(30) {
            let from = self.rng.below(self.loot.len() as u64) as usize & !7;
            bytes.extend(self.loot[from..].iter().take(len as usize));
        }
        while (bytes.len() as u64) < len {
            bytes.extend_from_slice(&self.rng.draw().to_le_bytes());
        }
        self.payloads.push(bytes);
        if numbered {
            self.numbered.insert(id, ());
        }
        id
    }

    fn append(&mut self, journal: &Journal, sender: Option<usize>) {
        let count = 1 + self.rng.below(8);
        let Some(number) = sender else {
            let ids = (0..count).map(|_| self.record(false)).collect();
            return self.send(journal, Sent { ids, producer: None, base_seq: 0 });
        };
        for _ in 0..count {
            let id = self.record(true);
            let side = &mut self.senders[number];
            side.unacked.push_back((side.next_seq, id));
            side.next_seq += 1;
        }
        let side = &mut self.senders[number];
        let batch: Vec<(u64, u64)> = side.unacked.iter().skip(side.in_flight).copied().collect();
        let Some((base_seq, _)) = batch.first().copied() else { return };
        side.in_flight = side.unacked.len();
        let ids = batch.into_iter().map(|(_, id)| id).collect();
        self.send(journal, Sent { ids, producer: Some(number), base_seq });
    }

    /// Sends what was acknowledged already once more.
    fn repeat(&mut self, journal: &Journal) {
        let number = self.rng.below(self.senders.len() as u64) as usize;
        if let Some((base_seq, ids)) = self.senders[number].last.clone() {
            self.send(journal, Sent { ids, producer: Some(number), base_seq });
        }
    }

    fn send(&mut self, journal: &Journal, sent: Sent) {
        let (source, protocol) = match sent.producer {
            Some(0) => ("agent-0", Protocol::Agent),
            Some(_) => ("agents", Protocol::Agent),
            None => ("syslog", Protocol::SyslogTcp),
        };
        let mut batch = RawBatch::of(Arc::new(Envelope::of(source, protocol)));
        for id in &sent.ids {
            batch.push(*id as i64, &self.payloads[*id as usize]);
        }
        batch.producer = sent.producer.map(|number| Producer {
            id: number as u128,
            epoch: self.senders[number].epoch,
            base_seq: sent.base_seq,
        });
        let ticket = self.next_send;
        self.next_send += 1;
        let (answers, fs) = (self.answers.clone(), self.fs.clone());
        let last = sent.ids.last().map_or(&[][..], |id| &self.payloads[*id as usize]);
        let mark = last[..last.len().min(64)].to_vec();
        let count = sent.ids.len();
        self.sent.insert(ticket, sent);
        let taken = journal.appender().append(batch, move |result| {
            // Whatever is said now, the disk has to bear it out now.
            let all_synced = result.is_err() || fs.dirty_sectors_of_last(".wal") == 0;
            // A repeat was acknowledged before, and may have been retired since.
            let known = result.as_ref().is_ok_and(|durable| durable.repeats as usize == count);
            // Sectors of a later part of the group that failed may be left.
            let held = all_synced || known || fs.has_synced(".wal", &mark);
            answers.lock().push((ticket, result, held));
        });
        if let Err(rejected) = taken {
            self.answers.lock().push((ticket, Err(rejected.why), true));
        }
    }

    /// Takes in the answers that came.
    fn collect(&mut self) -> Result<(), String> {
        let answers = std::mem::take(&mut *self.answers.lock());
        for (ticket, result, held) in answers {
            // A write that the disk swallowed left nothing that could be seen to be unsynced.
            if !held && !self.lied {
                return Err(format!("acknowledged what is not on the disk: {result:?}"));
            }
            let Some(sent) = self.sent.remove(&ticket) else { continue };
            match result {
                Ok(durable) => self.acknowledged(sent, &durable),
                Err(_) => {
                    self.summary.failed += 1;
                    if let Some(number) = sent.producer {
                        self.senders[number].in_flight = 0;
                    }
                }
            }
        }
        Ok(())
    }

    fn acknowledged(&mut self, sent: Sent, durable: &Durable) {
        self.summary.repeats += u64::from(durable.repeats);
        self.summary.acked += sent.ids.len() as u64 - u64::from(durable.repeats);
        for (at, id) in sent.ids.iter().enumerate() {
            // Of a repeat the offset is not told; it was not above the last one.
            let is_repeat = at < durable.repeats as usize;
            if is_repeat && self.given_up.contains(id) {
                continue;
            }
            let first = if is_repeat { 0 } else { durable.first };
            self.acked.entry(*id).or_insert((first, is_repeat));
        }
        let Some(number) = sent.producer else { return };
        let side = &mut self.senders[number];
        let end = sent.base_seq + sent.ids.len() as u64;
        while side.unacked.front().is_some_and(|(seq, _)| *seq < end) {
            side.unacked.pop_front();
            side.in_flight = side.in_flight.saturating_sub(1);
        }
        side.last = Some((sent.base_seq, sent.ids));
    }

    /// The consumer moves on, and what is behind it may go; a thief copies a segment.
    fn move_on(&mut self, journal: &Journal) {
        let durable = journal.durable().map_or(0, |last| last + 1);
        if self.rng.percent(50) && durable > self.cursor {
            let next = self.cursor + self.rng.below(durable - self.cursor + 1);
            if journal.set_cursor("c", next).is_ok() {
                self.cursor = next;
            }
        }
        if let Ok(retired) = journal.retire() {
            self.summary.retired += retired.segments;
        }
        let segments: Vec<String> =
            self.fs.names().into_iter().filter(|name| name.ends_with(".wal")).collect();
        if segments.len() > 1 {
            let of = &segments[self.rng.below(segments.len() as u64 - 1) as usize];
            self.loot = self.fs.bytes_of(of).unwrap_or_default();
        }
    }

    /// Holds what a journal shows against what was promised.
    fn judge(&mut self, journal: &Journal, recovery: &Recovery) -> Result<(), String> {
        if self.fs.is_dead() {
            return Ok(());
        }
        let told = recovery.holes.len() as u64 + recovery.unreadable.len() as u64;
        let seen = match self.read(journal) {
            Ok(seen) => seen,
            Err(_) if self.fs.is_dead() => return Ok(()),
            Err(error) => return Err(format!("{error}: {recovery:?}")),
        };
        let loss_told = told + seen.errors > 0;
        if loss_told {
            self.summary.holes += told + seen.errors;
            if !self.lied {
                return Err(format!("holes on an honest disk: {recovery:?}, {}", seen.errors));
            }
        }
        let lied_lately = std::mem::take(&mut self.lied_lately);
        if loss_told {
            // It is told once; what is gone is not asked for again.
            self.give_up(|id, _| seen.ids.contains_key(id));
        } else if lied_lately {
            self.forgive_the_end(&seen);
        }
        for (id, (first, _)) in &self.acked {
            if *first >= self.cursor && !seen.ids.contains_key(id) {
                return Err(format!(
                    "record {id} was acknowledged at {first} and is gone: {recovery:?}"
                ));
            }
        }
        let twice = seen.ids.iter().find(|(id, n)| **n > 1 && self.numbered.contains_key(id));
        match twice {
            Some((id, n)) if !self.lied => Err(format!("numbered record {id} is there {n} times")),
            _ => Ok(()),
        }
    }

    /// A write that went nowhere, with nothing written after it before the machine died, looks like one
    /// that was never synced: no journal on that disk can tell. What it held is no longer asked for.
    fn forgive_the_end(&mut self, seen: &Seen) {
        let there = self.acked.iter().filter(|(id, _)| seen.ids.contains_key(*id));
        let newest = there.map(|(_, (first, _))| *first).max().unwrap_or(0);
        let before = self.acked.len();
        // Of a repeat nobody knows where it stood: it may have been the last.
        self.give_up(|id, (first, is_repeat)| {
            (*first < newest && !is_repeat) || seen.ids.contains_key(id)
        });
        self.summary.untold += (before - self.acked.len()) as u64;
    }

    /// Asks no more for records but those that `stay`.
    fn give_up(&mut self, stay: impl Fn(&u64, &(u64, bool)) -> bool) {
        let gone = self.acked.extract_if(.., |id, place| !stay(id, place));
        self.given_up.extend(gone.map(|(id, _)| id));
    }

    fn read(&self, journal: &Journal) -> Result<Seen, String> {
        let mut seen = Seen::default();
        let (mut reader, mut rejoin) = (journal.reader(self.cursor), Rejoin::default());
        let (mut next_offset, mut stream_ns) = (0, i64::MIN);
        loop {
            let block = match reader.next(Duration::ZERO) {
                Ok(Some(block)) => block,
                Ok(None) => return Ok(seen),
                Err(JournalError::Corrupt { .. } | JournalError::Retired { .. }) => {
                    seen.errors += 1;
                    continue;
                }
                Err(error) => return Err(format!("reading: {error}")),
            };
            for view in block.records() {
                if view.offset < next_offset || view.stream_ns < stream_ns {
                    return Err(format!("offset or stream time went back at {}", view.offset));
                }
                (next_offset, stream_ns) = (view.offset + 1, view.stream_ns);
                if view.kind != RecordKind::Data {
                    continue;
                }
                let bytes = match rejoin.push(&view) {
                    Joined::Whole => view.bytes.to_vec(),
                    Joined::Parts(bytes) => bytes,
                    Joined::Pending => continue,
                    Joined::TooLong => return Err("a record grew too long".into()),
                };
                let id = bytes.first_chunk::<8>().map_or(u64::MAX, |b| u64::from_le_bytes(*b));
                if self.payloads.get(id as usize) != Some(&bytes) {
                    return Err(format!("offset {} holds bytes nobody sent", view.offset));
                }
                *seen.ids.entry(id).or_default() += 1;
            }
        }
    }

    /// Without faults everything is accepted, and senders end with nothing left over.
    fn finish(&mut self, journal: &Journal, steps: &mut Steps) -> Result<(), String> {
        for number in 0..self.senders.len() {
            self.append(journal, Some(number));
        }
        for _ in 0..40 {
            steps.write();
            steps.keep();
        }
        self.collect()?;
        let left: usize = self.senders.iter().map(|side| side.unacked.len()).sum();
        if left > 0 && !self.lied {
            return Err(format!("{left} records were not taken although nothing fails"));
        }
        let quiet = Recovery::default();
        self.judge(journal, &quiet)
    }
}

#[derive(Default)]
struct Seen {
    ids: HashMap<u64, u32>,
    errors: u64,
}

fn count_records(blocks: &journal::SealedBlocks<'_>) -> [u8; 32] {
    let mut records = 0u64;
    let _ = blocks.for_each(|block| records += block.len() as u64);
    let mut root = [1; 32];
    root[..8].copy_from_slice(&records.to_le_bytes());
    root
}
