//! Looking at a journal that no process has open. Nothing in its folder is changed, not even when
//! it is damaged; `salvage` writes to another one.

use crate::block::{Block, RecordView};
use crate::error::JournalError;
use crate::fs::{Access, File, Fs, OsFs};
use crate::manifest;
use crate::reader::{Joined, Rejoin};
use crate::salvage::{Rescue, rescue};
use crate::scan::{Bounds, Hole, scan};
use crate::sealed;
use crate::segment::{Footer, SegmentHead, parse_segment_name, segment_name};
use crate::senders;
use std::path::Path;
use std::sync::Arc;

/// How far a long look has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of segments looked at.
    pub done_bytes: u64,
    /// Bytes of all segments.
    pub total_bytes: u64,
}

/// Told after every segment.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress);

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
    /// Oldest offset kept.
    pub first_offset: u64,
    /// Cursors by name.
    pub cursors: Vec<(String, u64)>,
    /// Acknowledged records that are gone, over all segments.
    pub holes: Vec<Hole>,
    /// Files set aside by an earlier start because their header could not be read.
    pub set_aside: Vec<String>,
    /// Whether there is what only a journal leaves that was written to: a table of senders, or roots.
    pub was_used: bool,
}

impl Report {
    /// Whether nothing that was acknowledged is missing and all structures validate. A torn tail
    /// does not count: the next start removes it; nor does one of the manifest's two copies.
    pub fn is_sound(&self) -> bool {
        self.holes.is_empty()
            && !self.is_manifest_lost()
            && self.segments.iter().all(|s| s.header_valid && !s.header_damaged)
    }

    /// Whether there are segments, or traces of them, and no valid manifest: cursors are lost, and what was
    /// synced last or retired cannot be told from what is missing.
    pub fn is_manifest_lost(&self) -> bool {
        let has_segments = !self.segments.is_empty() || !self.set_aside.is_empty();
        (has_segments || self.was_used) && !self.manifest
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

/// Checks every block of every segment in `dir`.
///
/// # Errors
/// When a process has the journal open, or a file cannot be read.
pub fn fsck(dir: &Path, progress: OnProgress<'_>) -> Result<Report, JournalError> {
    fsck_on(&OsFs, dir, progress)
}

/// The same on any file system.
pub fn fsck_on(fs: &dyn Fs, dir: &Path, progress: OnProgress<'_>) -> Result<Report, JournalError> {
    let look = Look::begin(fs, dir)?;
    let mut report = Report {
        manifest: look.manifest.is_some(),
        set_aside: look.set_aside.clone(),
        was_used: look.was_used,
        ..Report::default()
    };
    let manifest = look.manifest.clone().unwrap_or_default();
    report.clean = manifest.clean;
    report.durable_next = manifest.durable_next;
    report.first_offset = manifest.retired_below;
    report.cursors = manifest.cursors.into_iter().collect();
    let at_the_end = look.walk(
        0..u64::MAX,
        progress,
        &mut |found| {
            report.holes.extend(found.before);
            report.holes.extend(found.report.holes.iter().cloned());
            report.segments.push(found.report);
        },
        &mut |_| (),
    )?;
    report.holes.extend(at_the_end);
    Ok(report)
}

/// The oldest offset that the manifest in `dir` says is kept; 0 without a manifest.
///
/// # Errors
/// As `fsck`.
pub fn first_offset(dir: &Path) -> Result<u64, JournalError> {
    Ok(Look::begin(&OsFs, dir)?.manifest.map_or(0, |manifest| manifest.retired_below))
}

fn gone(segment: &str, from_offset: u64, to_offset: u64) -> Hole {
    Hole { segment: segment.to_owned(), from_offset, to_offset, from_pos: 0, to_pos: 0 }
}

/// Calls `each` with every readable record whose offset is in `from..to`, parts one by one. Returns what
/// is missing there.
///
/// # Errors
/// As `fsck`.
pub fn dump(
    dir: &Path,
    from: u64,
    to: u64,
    mut each: impl FnMut(&RecordView<'_>),
) -> Result<Vec<Hole>, JournalError> {
    let mut holes = Vec::new();
    let mut visit = |block: &Block| {
        block.clone().between(from, to).records().for_each(|view| each(&view));
    };
    let look = Look::begin(&OsFs, dir)?;
    let at_the_end = look.walk(
        from..to,
        &mut |_| (),
        &mut |found| {
            holes.extend(found.before);
            holes.extend(found.report.holes);
        },
        &mut visit,
    )?;
    holes.extend(at_the_end);
    holes.retain(|hole| hole.overlaps(from, to));
    Ok(holes)
}

/// What `export` gives, in order.
#[derive(Debug)]
pub enum Exported<'a> {
    /// A whole record: the view of its last part, and all of its bytes.
    Record(&'a RecordView<'a>, &'a [u8]),
    /// Records that are missing here: an export that is evidence says so.
    Missing(&'a Hole),
}

/// Calls `each` with every whole record whose last offset is in `from..to`, split ones joined, and
/// with every damaged range between them.
///
/// # Errors
/// As `fsck`.
pub fn export(
    dir: &Path,
    from: u64,
    to: u64,
    progress: OnProgress<'_>,
    mut each: impl FnMut(Exported<'_>),
) -> Result<(), JournalError> {
    let look = Look::begin(&OsFs, dir)?;
    let mut rejoin = Rejoin::default();
    // Holes come with their segment, after its records: they are kept until then.
    let each = std::cell::RefCell::new(&mut each);
    let missing = |holes: &mut dyn Iterator<Item = &Hole>| {
        for hole in holes.filter(|hole| hole.overlaps(from, to)) {
            (*each.borrow_mut())(Exported::Missing(hole));
        }
    };
    let at_the_end = look.walk(
        0..to,
        progress,
        &mut |found| missing(&mut found.before.iter().chain(&found.report.holes)),
        &mut |block| {
            for view in block.records().filter(|view| view.offset < to) {
                let joined = rejoin.push(&view);
                if view.offset < from {
                    continue;
                }
                match &joined {
                    Joined::Whole => (*each.borrow_mut())(Exported::Record(&view, view.bytes)),
                    Joined::Parts(bytes) => (*each.borrow_mut())(Exported::Record(&view, bytes)),
                    Joined::Pending | Joined::TooLong => {}
                }
            }
        },
    )?;
    missing(&mut at_the_end.iter());
    Ok(())
}

/// Copies all that can be read of `dir` to the new folder `to`, offsets unchanged: whatever blocks
/// still validate, also from files that were set aside. A journal can be opened there; what is
/// missing is reported as holes.
///
/// # Errors
/// As `fsck`, and when `to` exists with files in it or cannot be written.
pub fn salvage(dir: &Path, to: &Path, progress: OnProgress<'_>) -> Result<Rescue, JournalError> {
    let look = Look::begin(&OsFs, dir)?;
    rescue(&OsFs, dir, to, look.manifest.as_ref(), progress)
}

/// The roots of sealed segments, oldest first; segments that were retired since are among them.
pub fn sealed_roots(dir: &Path) -> Result<Vec<crate::SealedRoot>, JournalError> {
    crate::sealed::read(&OsFs, dir).map_err(JournalError::io("read", dir))
}

/// Whether the root of a sealed segment was ever written.
fn has_roots(fs: &dyn Fs, dir: &Path) -> std::io::Result<bool> {
    match fs.open(&dir.join(sealed::NAME), Access::Read) {
        Ok(file) => Ok(file.len()? > 0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A folder under examination.
struct Look<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    manifest: Option<manifest::Manifest>,
    set_aside: Vec<String>,
    was_used: bool,
    _lock: Option<Box<dyn Send + Sync>>,
}

/// File, header, and whether one copy of the header is damaged.
type Opened = (Arc<dyn File>, SegmentHead, bool);

struct Walked {
    report: SegmentReport,
    /// What is missing in front of it, with its files.
    before: Option<Hole>,
}

impl<'a> Look<'a> {
    fn begin(fs: &'a dyn Fs, dir: &'a Path) -> Result<Self, JournalError> {
        let lock = match fs.lock(&dir.join("LOCK"), false) {
            Ok(lock) => Some(lock),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(JournalError::InUse { dir: dir.into() });
            }
            // Never opened, or a copy without the lock file: nobody can have it open.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(JournalError::io("lock", dir)(e)),
        };
        let manifest = manifest::read(fs, dir).map_err(JournalError::io("read", dir))?.0;
        let mut set_aside = fs.list(dir).map_err(JournalError::io("list", dir))?;
        let has_senders = set_aside.iter().any(|name| name == senders::NAME);
        let was_used = has_senders || has_roots(fs, dir).map_err(JournalError::io("read", dir))?;
        set_aside.retain(|name| name.ends_with(".wal.bad"));
        set_aside.sort_unstable();
        Ok(Self { fs, dir, manifest, set_aside, was_used, _lock: lock })
    }

    /// All segments in order, with what their headers say.
    fn segments(&self) -> Result<Vec<(String, Option<Opened>)>, JournalError> {
        let retired_below = self.manifest.as_ref().map_or(0, |m| m.retired_below);
        let names = self.fs.list(self.dir).map_err(JournalError::io("list", self.dir))?;
        let mut starts: Vec<u64> = names.iter().filter_map(|n| parse_segment_name(n)).collect();
        starts.retain(|first| *first >= retired_below);
        starts.sort_unstable();
        let mut files = Vec::with_capacity(starts.len());
        for first in starts {
            let name = segment_name(first);
            let path = self.dir.join(&name);
            let io = |what| JournalError::io(what, &path);
            let file = self.fs.open(&path, Access::Read).map_err(io("open"))?;
            let read = SegmentHead::read(&*file).map_err(io("read"))?;
            let read = read.filter(|(head, _)| head.first_offset == first);
            files.push((name, read.map(|(head, damaged)| (file, head, damaged))));
        }
        Ok(files)
    }

    /// Reads the segments that may hold offsets of `range`: `visit` gets every good block, `each`
    /// every segment after its blocks. Returns what is missing behind the last segment.
    fn walk(
        &self,
        range: std::ops::Range<u64>,
        progress: OnProgress<'_>,
        each: &mut dyn FnMut(Walked),
        visit: &mut dyn FnMut(&Block),
    ) -> Result<Option<Hole>, JournalError> {
        let manifest = self.manifest.as_ref();
        // Without a manifest, what is missing in front cannot be told from what was retired.
        let mut next_offset = manifest.map(|m| m.retired_below);
        let mut before = String::new();
        let files = self.segments()?;
        let size = |opened: &Option<Opened>| opened.as_ref().map_or(0, |(_, head, _)| head.size);
        let total_bytes = files.iter().map(|(_, opened)| size(opened)).sum();
        let mut told = Progress { done_bytes: 0, total_bytes };
        for (number, (name, opened)) in files.iter().enumerate() {
            let after = files[number + 1..].iter().find_map(|(_, f)| f.as_ref());
            let next_first = after.map(|(_, head, _)| head.first_offset);
            told.done_bytes += size(opened);
            let Some(opened) = opened else {
                let report = SegmentReport { name: name.clone(), ..SegmentReport::default() };
                before.clone_from(name);
                each(Walked { report, before: None });
                continue;
            };
            let first = opened.1.first_offset;
            let missing = next_offset.filter(|next| *next < first);
            let missing = missing.map(|next| gone(&before, next, first));
            let is_behind = next_first.is_some_and(|next| next <= range.start);
            // What was not looked at has no end that anything could be missing behind.
            next_offset = Some(next_first.unwrap_or(u64::MAX));
            if !is_behind && first < range.end {
                let report = self.one(name, opened, next_first, visit)?;
                next_offset = Some(report.next_offset);
                each(Walked { report, before: missing });
            }
            before.clone_from(name);
            progress(told);
        }
        let next = next_offset.unwrap_or(0);
        let durable_next = manifest.map_or(0, |m| m.durable_next);
        Ok((durable_next > next).then(|| gone(&before, next, durable_next)))
    }

    fn one(
        &self,
        name: &str,
        (file, head, header_damaged): &Opened,
        next_first: Option<u64>,
        visit: &mut dyn FnMut(&Block),
    ) -> Result<SegmentReport, JournalError> {
        let path = self.dir.join(name);
        let io = |what| JournalError::io(what, &path);
        let footer = Footer::read(&**file, head).map_err(io("read"))?;
        let end_offset = next_first.unwrap_or(u64::MAX);
        let proven_next = next_first
            .or(footer.as_ref().map(|f| f.next_offset))
            .unwrap_or_else(|| self.manifest.as_ref().map_or(0, |m| m.durable_next));
        let bounds = Bounds { end_offset, proven_next };
        let found = scan(file, head, name, &bounds, &mut |block| {
            visit(&block.clone().between(0, end_offset));
        })
        .map_err(io("read"))?;
        Ok(SegmentReport {
            name: name.to_owned(),
            header_valid: true,
            header_damaged: *header_damaged,
            sealed: footer.is_some(),
            root: footer.and_then(|f| f.root),
            blocks: found.blocks,
            records: found.records,
            first_offset: head.first_offset,
            next_offset: found.next_offset.min(end_offset),
            torn_bytes: found.torn_bytes(),
            holes: found.holes,
        })
    }
}
