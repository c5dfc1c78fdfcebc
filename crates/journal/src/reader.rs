//! Reads durable blocks in order, over sealed and live segments alike.

use crate::block::{BLOCK_HEAD_LEN, Block, EnvelopeCache, RecordView};
use crate::error::JournalError;
use crate::fs::Access;
use crate::piece::RECORD_BYTES_MAX;
use crate::scan::{Hole, Window, block_at, next_valid};
use crate::segment::{Footer, HEADER_LEN, SegmentHead, segment_name};
use crate::shared::{Shared, Tally};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// A place in the journal that moves forward. Outlives the journal's closing.
pub struct Reader {
    shared: Arc<Shared>,
    next_offset: u64,
    place: Option<Place>,
    cache: EnvelopeCache,
}

struct Place {
    head: SegmentHead,
    window: Window,
    pos: u64,
    /// Of a segment that this run writes: how far it has come.
    live: Option<Arc<Mutex<Tally>>>,
}

impl Place {
    /// Lets the window reach as far as blocks are durable.
    fn follow(&mut self) {
        if let Some(tally) = &self.live {
            self.window.end_pos = tally.lock().end_pos;
        }
    }
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, next_offset: u64) -> Self {
        Self { shared, next_offset, place: None, cache: EnvelopeCache::default() }
    }

    /// Offset that the next block starts with.
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// The next durable block; waits for one up to `timeout`, then `None`.
    ///
    /// `Corrupt` and `Retired` are told once; the reader then stands behind what is missing, and
    /// the caller decides whether to go on.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Block>, JournalError> {
        if !self.shared.wait_durable(self.next_offset, timeout) {
            return Ok(None);
        }
        let durable_next = self.shared.durable_next.load(SeqCst);
        loop {
            let end_offset = self.stand()?.min(durable_next);
            if let Some(block) = self.read_block(end_offset)? {
                self.next_offset = block.next_offset();
                return Ok(Some(block));
            }
        }
    }

    /// Opens the segment that holds the next offset; returns where the segment after it starts.
    fn stand(&mut self) -> Result<u64, JournalError> {
        let segments = self.shared.segments.read();
        let Some((_, entry)) = segments.range(..=self.next_offset).next_back() else {
            let wanted = self.next_offset;
            self.next_offset = segments.keys().next().copied().unwrap_or(wanted + 1);
            return Err(JournalError::Retired { wanted, first_offset: self.next_offset });
        };
        let after = entry.head.first_offset.saturating_add(1);
        let end = segments.range(after..).next().map_or(u64::MAX, |(first, _)| *first);
        if self.place.as_ref().is_some_and(|p| p.head.id == entry.head.id) {
            return Ok(end);
        }
        let entry = entry.clone();
        let name = segment_name(entry.head.first_offset);
        let path = self.shared.path(&name);
        let open = self.shared.fs.open(&path, Access::Read);
        // Held until here: retirement unlinks only after it has taken the segment off the list.
        drop(segments);
        let file = open.map_err(JournalError::io("open", &path))?;
        let index = match entry.sealed {
            true => Footer::read(&*file, &entry.head)
                .map_err(JournalError::io("read", &path))?
                .map_or_else(Vec::new, |f| f.index),
            false => entry.index.lock().clone(),
        };
        let near = index.partition_point(|e| e.first_offset <= self.next_offset);
        let pos = near.checked_sub(1).map_or(HEADER_LEN, |i| index[i].pos);
        let is_live = !entry.sealed && entry.tally.lock().whole;
        let live = is_live.then_some(entry.tally);
        self.place = Some(Place { head: entry.head, window: Window::new(file), pos, live });
        Ok(end)
    }

    /// The next block of this segment that reaches past the next offset. `None`: look for the
    /// segment again.
    fn read_block(&mut self, end_offset: u64) -> Result<Option<Block>, JournalError> {
        let Some(place) = &mut self.place else { return Ok(None) };
        let name = segment_name(place.head.first_offset);
        let path = self.shared.path(&name);
        let mut fresh = false;
        place.follow();
        loop {
            let found = block_at(&mut place.window, &place.head, place.pos)
                .map_err(JournalError::io("read", &path))?;
            if let Some((head, stored)) = found
                && head.first_offset <= self.next_offset
            {
                let pos = place.pos;
                place.pos += head.stored_len();
                if head.next_offset() <= self.next_offset {
                    continue;
                }
                let payload = &stored[BLOCK_HEAD_LEN..][..head.payload_len as usize];
                if let Some(block) = Block::decode(head, payload, &mut self.cache) {
                    return Ok(Some(block.between(self.next_offset, end_offset)));
                }
                let to_offset = head.next_offset();
                return Err(self.hole(name, to_offset, pos));
            }
            if !fresh {
                // The window may date from before the writer came here.
                place.window.forget();
                fresh = true;
                continue;
            }
            let known = self.shared.segments.read();
            let current = known.get(&place.head.first_offset);
            if current.is_none_or(|entry| entry.head.id != place.head.id) {
                self.place = None;
                return Ok(None);
            }
            drop(known);
            let pos = place.pos;
            let expect = self.next_offset;
            let later = next_valid(&mut place.window, &place.head, pos, expect, end_offset)
                .map_err(JournalError::io("read", &path))?;
            let Some((at, head)) = later else {
                self.place = None;
                return Err(self.hole(name, end_offset, pos));
            };
            place.pos = at;
            if head.first_offset > expect {
                return Err(self.hole(name, head.first_offset, pos));
            }
        }
    }

    fn hole(&mut self, segment: String, to_offset: u64, pos: u64) -> JournalError {
        let from_offset = std::mem::replace(&mut self.next_offset, to_offset);
        let (from_pos, to_pos) = (pos, pos);
        let hole = Hole { segment: segment.clone(), from_offset, to_offset, from_pos, to_pos };
        self.shared.announce_hole(&hole);
        JournalError::Corrupt { segment, from_offset, to_offset, pos }
    }
}

/// A whole record: one view, or the parts of a split one put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// More parts are needed.
    Pending,
    /// The record stands in the view alone; its bytes are the view's.
    Whole,
    /// The bytes of all parts; offset and the rest are those of the view, the last part.
    Parts(Vec<u8>),
    /// The parts grew past the longest record; they came from a damaged place and are dropped.
    TooLong,
}

/// Puts split records together. Parts that a crash cut short were never acknowledged; they are
/// dropped and counted.
#[derive(Debug, Default)]
pub struct Rejoin {
    parts: Vec<u8>,
    next_offset: Option<u64>,
    /// Records dropped because parts of them are missing.
    pub incomplete: u64,
}

impl Rejoin {
    /// Takes the next record in order.
    pub fn push(&mut self, view: &RecordView<'_>) -> Joined {
        let follows = view.continuation && self.next_offset == Some(view.offset);
        if self.next_offset.is_some() && !follows {
            self.reset();
        }
        if view.continuation && !follows {
            // The tail of a record whose front is missing.
            self.incomplete += u64::from(!view.continued);
            return Joined::Pending;
        }
        if !view.continued && !view.continuation {
            return Joined::Whole;
        }
        if self.parts.len() + view.bytes.len() > RECORD_BYTES_MAX {
            self.reset();
            return Joined::TooLong;
        }
        self.parts.extend_from_slice(view.bytes);
        if view.continued {
            self.next_offset = Some(view.offset + 1);
            return Joined::Pending;
        }
        self.next_offset = None;
        Joined::Parts(std::mem::take(&mut self.parts))
    }

    fn reset(&mut self) {
        self.parts = Vec::new();
        self.next_offset = None;
        self.incomplete += 1;
    }
}
