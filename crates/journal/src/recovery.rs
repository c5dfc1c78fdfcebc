//! Opening a folder: find out what is there, repair the tail, report the rest.

use crate::error::JournalError;
use crate::fs::{Access, File, Fs};
use crate::manifest::{self, Manifest};
use crate::scan::{Bounds, Hole, Scan, scan};
use crate::sealed::{SealedLog, SealedRoot};
use crate::segment::{Footer, SegmentHead, parse_segment_name, segment_name};
use crate::senders::Senders;
use crate::shared::SPARES_MAX;
use crate::shared::Spare;
use crate::told::ToldHoles;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What was found when the journal was opened.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Nothing was there before.
    pub created: bool,
    /// The last run closed the journal; otherwise it crashed.
    pub clean: bool,
    /// Last offset that is readable and durable.
    pub last_offset: Option<u64>,
    /// Oldest offset kept.
    pub first_offset: u64,
    /// Bytes of an unfinished, unacknowledged write that were removed from the tail.
    pub torn_bytes: u64,
    /// Acknowledged records that cannot be read.
    pub holes: Vec<Hole>,
    /// Segment files without a readable header; kept under `*.bad`.
    pub unreadable: Vec<String>,
    /// Segments with one damaged copy of the header, or a shortened file.
    pub damaged_headers: Vec<String>,
    /// Segments that were sealed and whose footer no longer validates.
    pub damaged_footers: Vec<String>,
    /// Manifest slots that were there and not valid. One is normal after a crash.
    pub damaged_manifests: u32,
    /// No valid manifest although there are segments: the cursors are lost.
    pub manifest_lost: bool,
    /// Roots of sealed segments, oldest first.
    pub sealed: Vec<SealedRoot>,
    /// Damaged entries of `roots.log`.
    pub damaged_roots: u32,
}

/// The last segment: its first offset, its file, and what was found in it.
pub(crate) type FoundLive = (u64, Arc<dyn File>, Scan);

/// What the rest of the journal starts from.
pub(crate) struct Found {
    pub(crate) recovery: Recovery,
    pub(crate) manifest: Manifest,
    /// Readable segments and whether they have a footer.
    pub(crate) segments: BTreeMap<u64, (SegmentHead, bool)>,
    /// The last segment and its scan, when writing can go on in it.
    pub(crate) live: Option<FoundLive>,
    pub(crate) next_offset: u64,
    pub(crate) senders: Senders,
    pub(crate) sealed_log: SealedLog,
    pub(crate) spares: Vec<Spare>,
    /// Damage that the stream tells of already.
    pub(crate) told: ToldHoles,
    pub(crate) last_stream_ns: i64,
}

/// Reads the folder and brings it to a state that can be appended to.
pub(crate) fn recover(fs: &dyn Fs, dir: &Path, segment_size: u64) -> Result<Found, JournalError> {
    let io = |what| JournalError::io(what, dir);
    let (manifest, damaged) = manifest::read(fs, dir).map_err(io("read the manifest of"))?;
    let (sealed_log, sealed, damaged_roots) =
        SealedLog::open(fs, dir).map_err(io("read roots.log of"))?;
    let names = fs.list(dir).map_err(io("list"))?;
    let mut recovery =
        Recovery { damaged_manifests: damaged, damaged_roots, sealed, ..Recovery::default() };
    let mut kept = manifest.clone().unwrap_or_default();
    recovery.clean = kept.clean;
    let mut spares = Vec::new();
    let mut files = BTreeMap::new();
    for name in names {
        if name.ends_with(".tmp") {
            fs.unlink(&dir.join(&name)).map_err(io("clean up"))?;
        } else if name.ends_with(".spare") {
            keep_spare(fs, dir, name, segment_size, &mut spares).map_err(io("clean up"))?;
        } else if let Some(first) = parse_segment_name(&name) {
            if first < kept.retired_below {
                fs.unlink(&dir.join(&name)).map_err(io("finish retiring in"))?;
            } else if let Some(file) = open_segment(fs, dir, first, &mut recovery)? {
                files.insert(first, file);
            }
        }
    }
    fs.sync_dir(dir).map_err(io("sync"))?;
    let any = !files.is_empty() || !recovery.unreadable.is_empty();
    recovery.manifest_lost = manifest.is_none() && any;
    recovery.created = manifest.is_none() && !any;
    recovery.clean |= recovery.created;
    recovery.first_offset = kept.retired_below;
    let mut walk = Walk {
        dir,
        recovery,
        segments: BTreeMap::new(),
        live: None,
        next_offset: kept.retired_below,
        senders: Senders::read(fs, dir).map_err(io("read"))?.unwrap_or_default(),
        proven_next: kept.durable_next,
        last_stream_ns: kept.last_stream_ns,
        before: String::new(),
    };
    if manifest.is_none() {
        // Without a manifest, what is missing in front cannot be told from what was retired.
        walk.next_offset = files.keys().next().copied().unwrap_or(0);
        walk.recovery.first_offset = walk.next_offset;
    }
    walk.all(&files)?;
    kept.torn_bytes += walk.recovery.torn_bytes;
    walk.recovery.last_offset = walk.next_offset.checked_sub(1);
    walk.senders.covers = walk.next_offset;
    let told = ToldHoles::read(fs, dir, walk.recovery.first_offset);
    Ok(Found {
        told,
        recovery: walk.recovery,
        manifest: kept,
        segments: walk.segments,
        live: walk.live,
        next_offset: walk.next_offset,
        senders: walk.senders,
        sealed_log,
        spares,
        last_stream_ns: walk.last_stream_ns,
    })
}

fn keep_spare(
    fs: &dyn Fs,
    dir: &Path,
    name: String,
    segment_size: u64,
    spares: &mut Vec<Spare>,
) -> std::io::Result<()> {
    let path = dir.join(&name);
    let fits = fs.open(&path, Access::ReadWrite)?.len()? == segment_size;
    if fits && spares.len() < SPARES_MAX {
        // Its life before is not known: salts make that safe.
        spares.push(Spare { name, recycled: true, size: segment_size });
        return Ok(());
    }
    fs.unlink(&path)
}

type Opened = (Arc<dyn File>, SegmentHead);

fn open_segment(
    fs: &dyn Fs,
    dir: &Path,
    first: u64,
    recovery: &mut Recovery,
) -> Result<Option<Opened>, JournalError> {
    let name = segment_name(first);
    let path = dir.join(&name);
    let file = fs.open(&path, Access::ReadWrite).map_err(JournalError::io("open", &path))?;
    let read = SegmentHead::read(&*file).map_err(JournalError::io("read", &path))?;
    let Some((head, damaged)) = read.filter(|(head, _)| head.first_offset == first) else {
        let bad = dir.join(format!("{name}.bad"));
        fs.rename(&path, &bad).map_err(JournalError::io("set aside", &path))?;
        recovery.unreadable.push(name);
        return Ok(None);
    };
    let short = file.len().map_err(JournalError::io("read", &path))? < head.size;
    if damaged || short {
        recovery.damaged_headers.push(name);
    }
    Ok(Some((file, head)))
}

struct Walk<'a> {
    dir: &'a Path,
    recovery: Recovery,
    segments: BTreeMap<u64, (SegmentHead, bool)>,
    live: Option<FoundLive>,
    next_offset: u64,
    senders: Senders,
    proven_next: u64,
    last_stream_ns: i64,
    before: String,
}

impl Walk<'_> {
    fn all(&mut self, files: &BTreeMap<u64, Opened>) -> Result<(), JournalError> {
        let starts: Vec<u64> = files.keys().copied().collect();
        for (number, first) in starts.iter().enumerate() {
            if *first > self.next_offset {
                self.missing(*first);
            }
            let (file, head) = &files[first];
            self.one(*first, file, head, starts.get(number + 1).copied())?;
            self.before = segment_name(*first);
        }
        if self.proven_next > self.next_offset {
            self.missing(self.proven_next);
            self.live = None;
        }
        Ok(())
    }

    /// Notes that everything up to `to_offset` is gone with its file.
    fn missing(&mut self, to_offset: u64) {
        self.recovery.holes.push(Hole {
            segment: self.before.clone(),
            from_offset: self.next_offset,
            to_offset,
            from_pos: 0,
            to_pos: 0,
        });
        self.next_offset = to_offset;
    }

    fn one(
        &mut self,
        first: u64,
        file: &Arc<dyn File>,
        head: &SegmentHead,
        next_first: Option<u64>,
    ) -> Result<(), JournalError> {
        let name = segment_name(first);
        let io = |what| JournalError::io(what, Path::new(&name));
        restore_length(&**file, head).map_err(io("restore the length of"))?;
        let footer = Footer::read(&**file, head).map_err(io("read the footer of"))?;
        let logged = self.recovery.sealed.iter().any(|s| s.segment_id == head.id);
        if logged && footer.is_none() {
            self.recovery.damaged_footers.push(name.clone());
        }
        let sealed = footer.is_some() || logged;
        self.segments.insert(first, (head.clone(), sealed));
        let end_offset = next_first.unwrap_or(u64::MAX);
        if let Some(footer) = &footer {
            self.last_stream_ns = self.last_stream_ns.max(footer.last_stream_ns);
            let end = footer.next_offset.min(end_offset);
            if end <= self.senders.covers {
                self.next_offset = end;
                return Ok(());
            }
        }
        // A segment that has a successor or a footer was synced to its end.
        let proven_next = next_first.or(footer.map(|f| f.next_offset)).unwrap_or(self.proven_next);
        let bounds = Bounds { end_offset, proven_next };
        let senders = &mut self.senders;
        let found = scan(file, head, &name, &bounds, &mut |block| senders.learn(block))
            .map_err(io("read"))?;
        self.last_stream_ns = self.last_stream_ns.max(found.last_stream_ns);
        self.next_offset = found.next_offset.min(end_offset);
        self.recovery.holes.extend(found.holes.iter().cloned());
        if next_first.is_none() && !sealed {
            settle_tail(&**file, &found).map_err(io("settle the tail of"))?;
        }
        if next_first.is_none() && !sealed && found.holes.is_empty() {
            self.repair_tail(&**file, &found).map_err(io("repair the tail of"))?;
            self.live = Some((first, file.clone(), found));
        }
        Ok(())
    }

    /// Zeroes what a crash left behind the last good block, so that no later scan can take it for
    /// damage.
    fn repair_tail(&mut self, file: &dyn File, found: &Scan) -> std::io::Result<()> {
        if found.torn_bytes() > 0 {
            tracing::info!(
                dir = %self.dir.display(),
                bytes = found.torn_bytes(),
                "torn tail removed"
            );
            let zeros = vec![0; found.torn_bytes() as usize];
            file.write_at(&zeros, found.end_pos)?;
            file.sync_data()?;
            self.recovery.torn_bytes += found.torn_bytes();
        }
        Ok(())
    }
}

/// Writes and syncs once more what nothing proves to have been synced. After an fdatasync that failed the
/// kernel takes the pages for clean: a later start reads them, another sync has nothing to do, and they
/// are gone with the power (Rebello et al., ATC 2020, on what file systems do after a failed fsync).
fn settle_tail(file: &dyn File, found: &Scan) -> std::io::Result<()> {
    const PIECE_BYTES: u64 = 1 << 20;
    let mut pos = found.unproven_pos();
    if pos == found.end_pos {
        return Ok(());
    }
    let mut bytes = Vec::new();
    while pos < found.end_pos {
        bytes.resize((found.end_pos - pos).min(PIECE_BYTES) as usize, 0);
        let len = file.read_at(&mut bytes, pos)?;
        if len == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        file.write_at(&bytes[..len], pos)?;
        pos += len as u64;
    }
    file.sync_data()
}

/// Gives a shortened file its length back, before it is judged: zeros that were cut off are no
/// loss, and a later footer must not change what a scan finds.
fn restore_length(file: &dyn File, head: &SegmentHead) -> std::io::Result<()> {
    if file.len()? < head.size {
        file.allocate(head.size)?;
        file.set_len(head.size)?;
        file.sync_data()?;
    }
    Ok(())
}
