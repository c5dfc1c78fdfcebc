//! Copies every block that still validates to a new folder.
//!
//! Unlike recovery this asks nothing of the order of blocks, of chains or of neighbours: a block that
//! carries its segment's secret tag and fits its salted checksum was written by us. Where the same
//! offsets were written twice (a group that went to a second file after a failed sync), the later
//! file counts, as it does for readers.

use crate::block::{BlockHead, rehead};
use crate::clock::{Clock, OsClock};
use crate::error::JournalError;
use crate::fs::{Access, File, Fs};
use crate::inspect::{OnProgress, Progress};
use crate::manifest::{Manifest, Slots};
use crate::scan::{Hole, Window, block_at, next_valid};
use crate::segment::{HEADER_LEN, SegmentHead, segment_name};
use std::path::Path;
use std::sync::Arc;

/// What was saved.
#[derive(Clone, Debug, Default)]
pub struct Rescue {
    /// Files that were read.
    pub files: u64,
    /// Files without a readable header: without their salt no block of theirs can be trusted.
    pub unreadable: Vec<String>,
    /// Blocks and records (parts one by one) that are in the new folder.
    pub blocks: u64,
    /// See `blocks`.
    pub records: u64,
    /// Offsets that are not.
    pub holes: Vec<Hole>,
}

/// A block that can be saved.
struct Found {
    file: usize,
    pos: u64,
    head: BlockHead,
}

struct Source {
    name: String,
    window: Window,
    head: SegmentHead,
}

pub(crate) fn rescue(
    fs: &dyn Fs,
    dir: &Path,
    to: &Path,
    manifest: Option<&Manifest>,
    progress: OnProgress<'_>,
) -> Result<Rescue, JournalError> {
    fs.create_dir(to).map_err(JournalError::io("create", to))?;
    if !fs.list(to).map_err(JournalError::io("list", to))?.is_empty() {
        let exists = std::io::Error::other("it is not empty");
        return Err(JournalError::io("salvage into", to)(exists));
    }
    let mut rescue = Rescue::default();
    let mut sources = sources(fs, dir, &mut rescue)?;
    let total: u64 = sources.iter().map(|s| s.head.size).sum();
    let mut told = Progress { done_bytes: 0, total_bytes: total * 2 };
    let mut found = Vec::new();
    for (number, source) in sources.iter_mut().enumerate() {
        find_all(source, number, &mut found).map_err(JournalError::io("read", dir))?;
        told.done_bytes += source.head.size;
        progress(told);
    }
    let retired_below = manifest.map_or(0, |m| m.retired_below);
    found.retain(|one: &Found| one.head.next_offset() > retired_below);
    // By offset; of two with the same offset the one from the later file.
    found.sort_by_key(|one| (one.head.first_offset, std::cmp::Reverse(one.file)));
    let mut copy = Copy { fs, to, size: 0, out: None, next_offset: None };
    for one in found {
        let source = &mut sources[one.file];
        if copy.next_offset.is_some_and(|next| one.head.first_offset < next) {
            continue;
        }
        let expected = copy.next_offset.unwrap_or(retired_below);
        if one.head.first_offset > expected && (copy.next_offset.is_some() || manifest.is_some()) {
            rescue.holes.push(Hole {
                segment: source.name.clone(),
                from_offset: expected,
                to_offset: one.head.first_offset,
                from_pos: 0,
                to_pos: one.pos,
            });
        }
        copy.block(source, &one).map_err(JournalError::io("write", to))?;
        rescue.blocks += 1;
        rescue.records += u64::from(one.head.parts);
        told.done_bytes = (told.done_bytes + one.head.stored_len()).min(told.total_bytes);
        progress(told);
    }
    let next_offset = copy.next_offset.unwrap_or(retired_below);
    copy.finish().map_err(JournalError::io("write", to))?;
    let durable_next = manifest.map_or(next_offset, |m| m.durable_next.max(next_offset));
    if durable_next > next_offset {
        let segment = String::new();
        let (from_offset, to_offset) = (next_offset, durable_next);
        rescue.holes.push(Hole { segment, from_offset, to_offset, from_pos: 0, to_pos: 0 });
    }
    let mut kept = manifest.cloned().unwrap_or_default();
    (kept.durable_next, kept.clean) = (durable_next, true);
    write_manifest(fs, to, kept).map_err(JournalError::io("write", to))?;
    Ok(rescue)
}

fn write_manifest(fs: &dyn Fs, to: &Path, kept: Manifest) -> std::io::Result<()> {
    let mut slots = Slots::open(fs, to, kept.clone())?;
    slots.write(kept)?;
    fs.sync_dir(to)
}

/// Every file that is or was a segment, oldest first.
fn sources(fs: &dyn Fs, dir: &Path, rescue: &mut Rescue) -> Result<Vec<Source>, JournalError> {
    let mut names = fs.list(dir).map_err(JournalError::io("list", dir))?;
    names.retain(|name| name.ends_with(".wal") || name.ends_with(".wal.bad"));
    names.sort_unstable();
    let mut sources = Vec::new();
    for name in names {
        let path = dir.join(&name);
        let file = fs.open(&path, Access::Read).map_err(JournalError::io("open", &path))?;
        match SegmentHead::read(&*file).map_err(JournalError::io("read", &path))? {
            Some((head, _)) => {
                rescue.files += 1;
                sources.push(Source { name, window: Window::new(file), head });
            }
            None => rescue.unreadable.push(name),
        }
    }
    Ok(sources)
}

fn find_all(source: &mut Source, number: usize, out: &mut Vec<Found>) -> std::io::Result<()> {
    let mut pos = HEADER_LEN;
    while let Some((at, head)) =
        next_valid(&mut source.window, &source.head, pos, source.head.first_offset, u64::MAX)?
    {
        out.push(Found { file: number, pos: at, head });
        pos = at + head.stored_len();
    }
    Ok(())
}

/// The new folder being written.
struct Copy<'a> {
    fs: &'a dyn Fs,
    to: &'a Path,
    size: u64,
    out: Option<Out>,
    next_offset: Option<u64>,
}

struct Out {
    file: Arc<dyn File>,
    head: SegmentHead,
    pos: u64,
    prev_crc: u32,
}

impl Copy<'_> {
    fn block(&mut self, source: &mut Source, found: &Found) -> std::io::Result<()> {
        let first = found.head.first_offset;
        let follows = self.next_offset == Some(first);
        let len = found.head.stored_len();
        let fits = self.out.as_ref().is_some_and(|out| out.pos + len <= out.head.footer_pos);
        if !follows || !fits {
            self.finish()?;
            self.out = Some(self.begin(first, source.head.size.max(self.size))?);
        }
        let Some(out) = &mut self.out else { return Ok(()) };
        let Some((_, stored)) = block_at(&mut source.window, &source.head, found.pos)? else {
            return Err(std::io::Error::other("a block changed while it was read"));
        };
        let mut copy = stored.to_vec();
        let head = rehead(&mut copy, &found.head, &out.head, out.prev_crc);
        out.file.write_at(&copy, out.pos)?;
        out.pos += len;
        out.prev_crc = head.crc;
        self.next_offset = Some(head.next_offset());
        Ok(())
    }

    fn begin(&mut self, first: u64, size: u64) -> std::io::Result<Out> {
        self.size = size;
        let head = SegmentHead::fresh(&OsClock, first, OsClock.wall_ns(), size, false)?;
        let file = self.fs.open(&self.to.join(segment_name(first)), Access::CreateNew)?;
        file.allocate(size)?;
        file.write_at(&head.encode(), 0)?;
        let prev_crc = head.chain_start();
        Ok(Out { file, head, pos: HEADER_LEN, prev_crc })
    }

    fn finish(&mut self) -> std::io::Result<()> {
        match self.out.take() {
            Some(out) => out.file.sync_data(),
            None => Ok(()),
        }
    }
}
