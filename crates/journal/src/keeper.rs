//! The thread that does what can wait: spares, seals, the manifest.

use crate::error::JournalError;
use crate::fs::{Access, File, is_full};
use crate::scan::{Bounds, scan};
use crate::sealed::{SealedLog, SealedRoot};
use crate::segment::{Footer, SegmentHead, segment_name};
use crate::shared::{Making, SealedBlocks, SegmentEntry, Shared, State};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

pub(crate) enum Chore {
    /// There may be segments to seal, and a spare to make.
    Seal,
    Stop,
}

/// Cursors are durable after this long at the latest.
const ROUND: Duration = Duration::from_secs(1);

/// How long a piece of zeros is rested after, in multiples of what it took: most of the disk stays the
/// writer's, and a spare is ready after some seconds all the same.
const ZEROS_REST: u32 = 3;
/// Longest rest between two pieces.
const ZEROS_REST_MAX: Duration = Duration::from_millis(40);

/// The tables of senders are saved after so many seals: a start then reads at most as many segments.
const SEALS_PER_SAVE: u32 = 4;

pub(crate) struct Keeper {
    shared: Arc<Shared>,
    chores: Receiver<Chore>,
    sealed_log: SealedLog,
    saved_durable: Option<u64>,
    seals: u32,
    scrub: Scrub,
    /// A spare that is not finished, and how long to rest before its next piece.
    making: Option<Making>,
    rest: Duration,
}

/// Where the next check of what was sealed long ago stands.
struct Scrub {
    next_offset: u64,
    due_ns: u64,
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>, chores: Receiver<Chore>, sealed_log: SealedLog) -> Self {
        let due_ns = shared.clock.mono_ns();
        let scrub = Scrub { next_offset: 0, due_ns };
        Self {
            shared,
            chores,
            sealed_log,
            saved_durable: None,
            seals: 0,
            scrub,
            making: None,
            rest: Duration::ZERO,
        }
    }

    pub(crate) fn run(mut self) {
        let mut round_due = Instant::now() + ROUND;
        loop {
            let until_round = round_due.saturating_duration_since(Instant::now());
            let is_making = self.making.is_some() && self.shared.wants_spare();
            let wait = if is_making { self.rest.min(until_round) } else { until_round };
            match self.chores.recv_timeout(wait) {
                Ok(Chore::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Chore::Seal) | Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= round_due {
                self.round();
                round_due = Instant::now() + ROUND;
            }
            // Segments come round again only once they are sealed: that goes before zeros.
            self.seal_due();
            self.advance_spare();
        }
        self.abandon();
    }

    /// All there is to do, once.
    pub(crate) fn step(&mut self) {
        while self.chores.try_recv().is_ok() {}
        self.round();
        self.seal_due();
        while self.advance_spare() {}
    }

    fn round(&mut self) {
        let durable = self.shared.durable_next.load(SeqCst);
        if self.shared.cursors.lock().dirty || self.saved_durable != Some(durable) {
            self.saved_durable = Some(durable);
            self.note("manifest", self.shared.save_manifest(|_| ()));
        }
        self.note("room", self.shared.watch_room());
        let scrubbed = self.scrub();
        self.note("scrub", scrubbed);
    }

    fn seal_due(&mut self) {
        let sealed = self.seal_all();
        self.note("seal", sealed);
    }

    /// Goes on with a spare if one is wanted: true when there is more to do.
    fn advance_spare(&mut self) -> bool {
        if self.shared.state() != State::Ok {
            // What there is of space is for records.
            self.abandon();
            return false;
        }
        match self.write_piece() {
            Ok(more) => more,
            Err(error) => {
                self.abandon();
                self.note("spare", Err(error));
                false
            }
        }
    }

    fn write_piece(&mut self) -> io::Result<bool> {
        if !self.shared.wants_spare() {
            return Ok(false);
        }
        let making = match &mut self.making {
            Some(making) => making,
            none => none.insert(self.shared.begin_spare()?),
        };
        let began = Instant::now();
        making.write_piece()?;
        self.rest = (began.elapsed() * ZEROS_REST).min(ZEROS_REST_MAX);
        if let Some(made) = self.making.take_if(|making| making.is_whole()) {
            let spare = self.shared.finish_spare(made)?;
            self.shared.spares.lock().push(spare);
        }
        Ok(self.shared.wants_spare())
    }

    fn abandon(&mut self) {
        if let Some(making) = self.making.take() {
            self.shared.abandon_spare(making);
        }
    }

    fn note(&self, what: &'static str, result: io::Result<()>) {
        if let Err(error) = result {
            self.shared.counters.keeper_errors.fetch_add(1, SeqCst);
            // A full disk is told by the writer, once.
            if !is_full(&error) {
                tracing::warn!(%error, what, "will be tried again");
            }
        }
    }

    /// Seals every segment that has a successor.
    fn seal_all(&mut self) -> io::Result<()> {
        loop {
            let segments = self.shared.segments.read();
            let mut pairs = segments.iter().zip(segments.keys().skip(1));
            let Some((entry, next)) =
                pairs.find(|((_, s), _)| !s.sealed).map(|((_, s), n)| (s.clone(), *n))
            else {
                return Ok(());
            };
            drop(segments);
            self.seal(&entry, next)?;
            if let Some(entry) = self.shared.segments.write().get_mut(&entry.head.first_offset) {
                entry.sealed = true;
                entry.index.lock().clear();
            }
            self.seals += 1;
            if self.seals.is_multiple_of(SEALS_PER_SAVE) {
                self.shared.save_senders()?;
            }
        }
    }

    fn seal(&mut self, entry: &SegmentEntry, next_offset: u64) -> io::Result<()> {
        let head = &entry.head;
        let name = segment_name(head.first_offset);
        let file = self.shared.fs.open(&self.shared.path(&name), Access::ReadWrite)?;
        let tally = *entry.tally.lock();
        let mut footer = match tally.whole {
            true => tally.footer(head, next_offset, entry.index.lock().clone()),
            // Begun in an earlier run: what it holds has to be read.
            false => self.read_footer(&file, head, next_offset)?,
        };
        let blocks = SealedBlocks { file: &file, head, next_offset };
        footer.root = self.shared.options.sealer.as_ref().map(|sealer| sealer(&blocks));
        file.write_at(&footer.encode(head.salt), head.footer_pos)?;
        file.sync_data()?;
        self.sealed_log.append(&SealedRoot {
            segment_id: head.id,
            first_offset: head.first_offset,
            next_offset,
            records: footer.records,
            root: footer.root.unwrap_or_default(),
            sealed_wall_ns: self.shared.clock.wall_ns(),
        })
    }

    fn read_footer(
        &self,
        file: &Arc<dyn File>,
        head: &SegmentHead,
        next_offset: u64,
    ) -> io::Result<Footer> {
        let name = segment_name(head.first_offset);
        let bounds = Bounds { end_offset: next_offset, proven_next: next_offset };
        let found = scan(file, head, &name, &bounds, &mut |_| ())?;
        found.holes.iter().for_each(|hole| self.shared.announce_hole(hole));
        Ok(Footer {
            first_offset: head.first_offset,
            next_offset,
            records: found.records,
            blocks: found.blocks,
            end_pos: found.end_pos,
            wall_min_ns: found.wall_min_ns,
            wall_max_ns: found.wall_max_ns,
            last_stream_ns: found.last_stream_ns,
            root: None,
            index: found.index,
        })
    }

    /// Reads one sealed segment again when its turn has come: rot is found before it is asked for.
    fn scrub(&mut self) -> io::Result<()> {
        let Some(every) = self.shared.options.scrub_every else { return Ok(()) };
        let now = self.shared.clock.mono_ns();
        if now < self.scrub.due_ns || self.shared.counters.scrub_waits.load(SeqCst) {
            return Ok(());
        }
        let segments = self.shared.segments.read();
        let sealed = segments.values().filter(|s| s.sealed).count() as u64;
        let every_ns = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
        self.scrub.due_ns = now.saturating_add(every_ns / sealed.max(1));
        let next = segments.range(self.scrub.next_offset..).find(|(_, s)| s.sealed);
        let Some((first, head)) = next.map(|(first, s)| (*first, s.head.clone())) else {
            self.scrub.next_offset = 0;
            return Ok(());
        };
        let after = segments.range(first + 1..).next().map(|(next, _)| *next);
        drop(segments);
        self.scrub.next_offset = first + 1;
        let name = segment_name(first);
        let file = match self.shared.fs.open(&self.shared.path(&name), Access::Read) {
            // Retired meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let end_offset = after.unwrap_or(first);
        let bounds = Bounds { end_offset, proven_next: end_offset };
        let found = scan(&file, &head, &name, &bounds, &mut |_| ())?;
        if self.shared.segments.read().get(&first).is_some_and(|s| s.head.id == head.id) {
            found.holes.iter().for_each(|hole| self.shared.announce_hole(hole));
            self.shared.counters.scrubbed.fetch_add(1, SeqCst);
        }
        Ok(())
    }
}

/// The last manifest of a run; `clean` says that nothing was lost on the way out.
pub(crate) fn farewell(shared: &Shared, clean: bool) -> Result<(), JournalError> {
    if clean && let Err(error) = shared.save_senders() {
        // The next start reads more, that is all.
        tracing::warn!(%error, "the senders' tables were not saved");
    }
    shared
        .save_manifest(|m| m.clean = clean)
        .map_err(JournalError::io("write", &shared.path("MANIFEST")))
}
