//! What of a journal is old, for whoever lets it go by age: that is never decided here.

use crate::block::RecordView;
use crate::error::JournalError;
use crate::fs::Access;
use crate::journal::Journal;
use crate::sealed::{self, SealedRoot};
use crate::segment::{Footer, SegmentHead, segment_name};
use crate::shared::{Retired, SealedBlocks};
use std::time::Duration;

impl Journal {
    /// The oldest sealed segments, as far as all their records are older than `stream_ns`. A root that no
    /// log and no footer has is zeros.
    ///
    /// # Errors
    /// When `roots.log` or a segment cannot be read.
    pub fn sealed_before(&self, stream_ns: i64) -> Result<Vec<SealedRoot>, JournalError> {
        let segments = self.shared.segments.read();
        let all: Vec<_> = segments.values().map(|s| (s.head.clone(), s.sealed)).collect();
        drop(segments);
        // Stream time never goes back: what a segment begins with is not older than all before it.
        let is_old = |next: &SegmentHead| {
            let begun_ns = self.first_from(next.first_offset, |record| record.stream_ns);
            begun_ns.is_some_and(|ns| ns < stream_ns)
        };
        let pairs = all.windows(2).map(|pair| (&pair[0], &pair[1].0));
        let old: Vec<(&SegmentHead, u64)> = pairs
            .take_while(|((_, sealed), next)| *sealed && is_old(next))
            .map(|((head, _), next)| (head, next.first_offset))
            .collect();
        if old.is_empty() {
            return Ok(Vec::new());
        }
        let logged = sealed::read(&*self.shared.fs, &self.shared.dir)
            .map_err(JournalError::io("read", &self.shared.path("roots.log")))?;
        let root = |(head, next_offset): (&SegmentHead, u64)| match logged
            .iter()
            .rev()
            .find(|root| root.segment_id == head.id)
        {
            Some(root) => Ok(root.clone()),
            None => self.root_in_footer(head, next_offset),
        };
        old.into_iter().map(root).collect()
    }

    /// A crash between the footer and the log leaves the root in the footer alone.
    fn root_in_footer(
        &self,
        head: &SegmentHead,
        next_offset: u64,
    ) -> Result<SealedRoot, JournalError> {
        let path = self.shared.path(&segment_name(head.first_offset));
        let file = self.shared.fs.open(&path, Access::Read);
        let file = file.map_err(JournalError::io("open", &path))?;
        let footer = Footer::read(&*file, head).map_err(JournalError::io("read", &path))?;
        let footer = footer.unwrap_or_default();
        Ok(SealedRoot {
            segment_id: head.id,
            first_offset: head.first_offset,
            next_offset,
            records: footer.records,
            root: footer.root.unwrap_or_default(),
            sealed_wall_ns: 0,
        })
    }

    /// The root over the records of the sealed segment that begins with `first_offset`, made anew of what its
    /// file holds now: to be held against [`SealedRoot::root`]. `None` without a sealer or such a segment.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn root_now(&self, first_offset: u64) -> Result<Option<[u8; 32]>, JournalError> {
        let segments = self.shared.segments.read();
        let found = segments.get(&first_offset).filter(|s| s.sealed).map(|s| s.head.clone());
        let next = segments.range(first_offset + 1..).next().map(|(next, _)| *next);
        drop(segments);
        let (Some(head), Some(next_offset)) = (found, next) else { return Ok(None) };
        let Some(sealer) = &self.shared.options.sealer else { return Ok(None) };
        let path = self.shared.path(&segment_name(first_offset));
        let file = self.shared.fs.open(&path, Access::Read);
        let file = file.map_err(JournalError::io("open", &path))?;
        Ok(Some(sealer(&SealedBlocks { file: &file, head: &head, next_offset })))
    }

    /// The first offset from `offset` on whose record is not older than `stream_ns`; the end where all are.
    pub fn first_since(&self, offset: u64, stream_ns: i64) -> u64 {
        let mut reader = self.reader(offset);
        loop {
            match reader.next(Duration::ZERO) {
                Ok(Some(block)) => {
                    let is_new =
                        |r: &RecordView<'_>| r.offset >= offset && r.stream_ns >= stream_ns;
                    if let Some(record) = block.records().find(is_new) {
                        return record.offset;
                    }
                }
                Err(JournalError::Corrupt { .. } | JournalError::Retired { .. }) => {}
                Ok(None) | Err(_) => return reader.next_offset(),
            }
        }
    }

    /// Whether the record at `offset` is the rest of one that begins before it.
    pub fn splits_record(&self, offset: u64) -> bool {
        self.first_from(offset, |record| record.continuation).unwrap_or(false)
    }

    /// As [`Journal::retire`], of segments that end at or before `offset`, cursors or not.
    ///
    /// # Errors
    /// When the manifest cannot be written, or a file not removed.
    pub fn retire_below(&self, offset: u64) -> Result<Retired, JournalError> {
        self.retire_to(Some(offset))
    }

    /// What `read` makes of the record at `offset`, or of the first one after it that can be read; `None`
    /// when there is none yet.
    pub(crate) fn first_from<T>(
        &self,
        offset: u64,
        read: impl Fn(&RecordView<'_>) -> T,
    ) -> Option<T> {
        let mut reader = self.reader(offset);
        loop {
            match reader.next(Duration::ZERO) {
                Ok(block) => {
                    let block = block?;
                    let found = block.records().find(|record| record.offset >= offset);
                    return found.map(|record| read(&record));
                }
                Err(JournalError::Corrupt { .. } | JournalError::Retired { .. }) => {}
                Err(_) => return None,
            }
        }
    }
}
