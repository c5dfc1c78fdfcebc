//! Looking at a journal that no process has open. Nothing is changed.

use crate::block::RecordView;
use crate::error::JournalError;
use crate::fs::{Access, File, Fs, OsFs};
use crate::manifest;
use crate::scan::{Bounds, Hole, Scan, scan};
use crate::segment::{Footer, SegmentHead, parse_segment_name, segment_name};
use std::path::Path;
use std::sync::Arc;

/// What `fsck` found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The segments in order.
    pub segments: Vec<SegmentReport>,
    /// Whether a valid manifest was found.
    pub manifest: bool,
    /// Whether the last run closed the journal.
    pub clean: bool,
    /// All offsets below were synced, as the manifest says.
    pub durable_next: u64,
    /// Cursors by name.
    pub cursors: Vec<(String, u64)>,
    /// Acknowledged records that are gone, over all segments.
    pub holes: Vec<Hole>,
}

impl Report {
    /// Whether nothing that was acknowledged is missing and all structures validate. A torn tail
    /// does not count: the next start removes it.
    pub fn is_sound(&self) -> bool {
        self.holes.is_empty() && self.segments.iter().all(|s| s.header_valid && !s.header_damaged)
    }
}

/// One segment as `fsck` sees it.
#[derive(Clone, Debug, Default)]
pub struct SegmentReport {
    /// File name.
    pub name: String,
    /// Whether the header can be read; if not, nothing else is known.
    pub header_valid: bool,
    /// Whether one of the header's two copies is damaged.
    pub header_damaged: bool,
    /// Whether it has a valid footer.
    pub sealed: bool,
    /// Root from the footer.
    pub root: Option<[u8; 32]>,
    /// Good blocks.
    pub blocks: u64,
    /// Records in them.
    pub records: u64,
    /// First offset.
    pub first_offset: u64,
    /// First offset after the last good block.
    pub next_offset: u64,
    /// Bytes of an unfinished write after the last good block.
    pub torn_bytes: u64,
    /// Records that cannot be read.
    pub holes: Vec<Hole>,
}

/// Checks every block of every segment in `dir`. Fails when a process has the journal open.
pub fn fsck(dir: &Path) -> Result<Report, JournalError> {
    let fs = OsFs;
    let _lock = lock(&fs, dir)?;
    let mut report = Report::default();
    let manifest = manifest::read(&fs, dir).map_err(JournalError::io("read", dir))?.0;
    report.manifest = manifest.is_some();
    let manifest = manifest.unwrap_or_default();
    report.clean = manifest.clean;
    report.durable_next = manifest.durable_next;
    report.cursors = manifest.cursors.into_iter().collect();
    let mut next_offset = report.manifest.then_some(manifest.retired_below);
    let mut before = String::new();
    walk(
        &fs,
        dir,
        manifest.durable_next,
        manifest.retired_below,
        &mut |found| {
            let mut one = found.report;
            if one.header_valid {
                if let Some(next) = next_offset
                    && one.first_offset > next
                {
                    report.holes.push(gone(&before, next, one.first_offset));
                }
                next_offset = Some(one.next_offset);
            }
            before.clone_from(&one.name);
            if let Some(scan) = found.scan {
                one.holes = scan.holes;
            }
            report.holes.extend(one.holes.iter().cloned());
            report.segments.push(one);
            Ok(())
        },
        &mut |_| (),
    )?;
    let next = next_offset.unwrap_or(0);
    if manifest.durable_next > next {
        report.holes.push(gone(&before, next, manifest.durable_next));
    }
    Ok(report)
}

fn gone(segment: &str, from_offset: u64, to_offset: u64) -> Hole {
    Hole { segment: segment.to_owned(), from_offset, to_offset, from_pos: 0, to_pos: 0 }
}

/// Calls `each` with every readable record whose offset is in `from..to`.
pub fn dump(
    dir: &Path,
    from: u64,
    to: u64,
    mut each: impl FnMut(&RecordView<'_>),
) -> Result<(), JournalError> {
    let fs = OsFs;
    let _lock = lock(&fs, dir)?;
    let manifest = manifest::read(&fs, dir).map_err(JournalError::io("read", dir))?.0;
    let manifest = manifest.unwrap_or_default();
    walk(&fs, dir, manifest.durable_next, manifest.retired_below, &mut |_| Ok(()), &mut |view| {
        if (from..to).contains(&view.offset) {
            each(view);
        }
    })
}

/// The roots of sealed segments, oldest first; segments that were retired since are among them.
pub fn sealed_roots(dir: &Path) -> Result<Vec<crate::SealedRoot>, JournalError> {
    crate::sealed::read(&OsFs, dir).map_err(JournalError::io("read", dir))
}

fn lock(fs: &dyn Fs, dir: &Path) -> Result<Option<Box<dyn Send + Sync>>, JournalError> {
    let path = dir.join("LOCK");
    if fs.open(&path, Access::Read).is_err() {
        // Never opened, or a copy without the lock file: nobody can have it open.
        return Ok(None);
    }
    match fs.lock(&path) {
        Ok(lock) => Ok(Some(lock)),
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
            Err(JournalError::InUse { dir: dir.into() })
        }
        // A folder mounted read-only cannot be in use either.
        Err(_) => Ok(None),
    }
}

/// File, header, and whether one copy of the header is damaged.
type Opened = (Arc<dyn File>, SegmentHead, bool);

struct Walked {
    report: SegmentReport,
    scan: Option<Scan>,
}

fn walk(
    fs: &dyn Fs,
    dir: &Path,
    durable_next: u64,
    retired_below: u64,
    each: &mut dyn FnMut(Walked) -> Result<(), JournalError>,
    visit: &mut dyn FnMut(&RecordView<'_>),
) -> Result<(), JournalError> {
    let names = fs.list(dir).map_err(JournalError::io("list", dir))?;
    let mut starts: Vec<u64> = names.iter().filter_map(|n| parse_segment_name(n)).collect();
    starts.retain(|first| *first >= retired_below);
    starts.sort_unstable();
    let mut files: Vec<(String, Option<Opened>)> = Vec::new();
    for first in starts {
        let name = segment_name(first);
        let path = dir.join(&name);
        let io = |what| JournalError::io(what, &path);
        let file = fs.open(&path, Access::Read).map_err(io("open"))?;
        let read = SegmentHead::read(&*file).map_err(io("read"))?;
        let read = read.filter(|(head, _)| head.first_offset == first);
        files.push((name, read.map(|(head, damaged)| (file, head, damaged))));
    }
    for number in 0..files.len() {
        let after = files[number + 1..].iter().find_map(|(_, f)| f.as_ref());
        let next_first = after.map(|(_, head, _)| head.first_offset);
        let (name, opened) = &files[number];
        let Some((file, head, header_damaged)) = opened else {
            let report = SegmentReport { name: name.clone(), ..SegmentReport::default() };
            each(Walked { report, scan: None })?;
            continue;
        };
        let path = dir.join(name);
        let io = |what| JournalError::io(what, &path);
        let footer = Footer::read(&**file, head).map_err(io("read"))?;
        let end_offset = next_first.unwrap_or(u64::MAX);
        let proven_next =
            next_first.or(footer.as_ref().map(|f| f.next_offset)).unwrap_or(durable_next);
        let bounds = Bounds { end_offset, proven_next };
        let found = scan(file, head, name, &bounds, &mut |block| {
            for view in block.clone().between(0, end_offset).records() {
                visit(&view);
            }
        })
        .map_err(io("read"))?;
        let report = SegmentReport {
            name: name.clone(),
            header_valid: true,
            header_damaged: *header_damaged,
            sealed: footer.is_some(),
            root: footer.and_then(|f| f.root),
            blocks: found.blocks,
            records: found.records,
            first_offset: head.first_offset,
            next_offset: found.next_offset.min(end_offset),
            torn_bytes: found.torn_bytes(),
            holes: Vec::new(),
        };
        each(Walked { report, scan: Some(found) })?;
    }
    Ok(())
}
