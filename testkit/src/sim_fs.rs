//! A disk in memory that can fail at the k-th call and lose what was not synced.
//!
//! What it models, after what real file systems were seen to do (Rebello et al., ATC 2020; Alagappan
//! et al., OSDI 2018):
//! - Of unsynced writes any subset of 512-byte sectors survives a power loss, in any order.
//! - Of unsynced changes to a folder any subset survives; a rename is one change.
//! - A failed fdatasync marks the pages clean: each sector is on the disk or not, and the page cache
//!   shows the new or the old contents. The next fdatasync says yes.
//! - Writes fail before, after a part, or altogether (EIO, ENOSPC); reads fail (EIO).
//! - A crash at any call, the call itself half done.
//! - A lying disk: a write that goes nowhere, or to another place.

use crate::Rng;
use journal::{Access, File, Fs, Space};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

const SECTOR: usize = 512;
const EIO: i32 = 5;

/// What goes wrong with calls of one sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// fdatasync fails, of a file or of the folder.
    Sync,
    /// Writes, creation and allocation report a full disk; nothing is written.
    Full,
    /// The same after a part of the bytes.
    ShortFull,
    /// Any changing call fails; nothing is written.
    Write,
    /// Writes fail after a part of the bytes.
    Short,
    /// Reads fail.
    Read,
    /// Opening what is there, its length, the list of names, the free space, the lock, and removing fail.
    Name,
    /// A write succeeds and changes nothing.
    Phantom,
    /// A write succeeds and lands eight sectors further on.
    Misdirected,
}

/// The sorts of calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Sync,
    Change,
    Write,
    Read,
    Name,
}

impl Fault {
    fn hits(self, sort: Sort) -> bool {
        match self {
            Self::Sync => sort == Sort::Sync,
            Self::Full | Self::Write => matches!(sort, Sort::Change | Sort::Write),
            Self::ShortFull | Self::Short | Self::Phantom | Self::Misdirected => {
                sort == Sort::Write
            }
            Self::Read => sort == Sort::Read,
            Self::Name => sort == Sort::Name,
        }
    }

    fn error(self) -> io::Error {
        match self {
            Self::Full | Self::ShortFull => io::ErrorKind::StorageFull.into(),
            _ => io::Error::from_raw_os_error(EIO),
        }
    }
}

#[derive(Default)]
struct Node {
    /// What a process sees.
    now: Vec<u8>,
    /// What is on the disk for sure.
    synced: Vec<u8>,
    /// Sectors written since the last fdatasync.
    dirty: BTreeSet<usize>,
}

impl Node {
    fn write(&mut self, bytes: &[u8], pos: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = pos + bytes.len();
        if self.now.len() < end {
            self.now.resize(end, 0);
        }
        self.now[pos..end].copy_from_slice(bytes);
        self.dirty.extend(pos / SECTOR..=(end - 1) / SECTOR);
    }

    /// Puts those dirty sectors on the disk that `keep` says.
    fn settle(&mut self, mut keep: impl FnMut() -> bool) {
        for sector in std::mem::take(&mut self.dirty) {
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(self.now.len()));
            if from < to && keep() {
                if self.synced.len() < to {
                    self.synced.resize(to, 0);
                }
                self.synced[from..to].copy_from_slice(&self.now[from..to]);
            }
        }
    }
}

#[derive(Clone)]
enum Change {
    Create(String, usize),
    Rename(String, String),
    Unlink(String),
}

#[derive(Default)]
struct Disk {
    nodes: Vec<Node>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    /// Changes to the folder since it was synced.
    pending: Vec<Change>,
    dead: bool,
    /// Calls of the armed fault's sort, and which of them fail.
    calls: u64,
    fault: Option<(Fault, u64, u64)>,
    fired: u64,
    /// Changing calls of all sorts, and at which the machine dies.
    changes: u64,
    crash_at: Option<u64>,
    available: u64,
    locked: bool,
    rng: Option<Rng>,
}

impl Disk {
    fn rng(&mut self) -> &mut Rng {
        self.rng.get_or_insert_with(|| Rng::new(1))
    }

    /// Counts a call; the error if it fails, or the fault that bends it.
    fn call(&mut self, sort: Sort) -> io::Result<Option<Fault>> {
        if self.dead {
            return Err(io::Error::other("crashed"));
        }
        if !matches!(sort, Sort::Read | Sort::Name) {
            self.changes += 1;
            if self.crash_at.is_some_and(|at| self.changes >= at) {
                self.dead = true;
                // The call under way may have done a part of its work.
                return if sort == Sort::Write { Ok(Some(Fault::Short)) } else { Err(dead()) };
            }
        }
        let Some((fault, from, to)) = self.fault.filter(|(fault, ..)| fault.hits(sort)) else {
            return Ok(None);
        };
        self.calls += 1;
        if !(from..to).contains(&self.calls) {
            return Ok(None);
        }
        self.fired += 1;
        match fault {
            Fault::Short | Fault::ShortFull | Fault::Phantom | Fault::Misdirected => {
                Ok(Some(fault))
            }
            _ => Err(fault.error()),
        }
    }
}

impl Disk {
    /// Counts a call that asks for a file by its name, or about it; a dead machine answers as before.
    fn name_call(&mut self) -> io::Result<()> {
        match self.dead {
            true => Ok(()),
            false => self.call(Sort::Name).map(|_| ()),
        }
    }
}

fn dead() -> io::Error {
    io::Error::other("crashed")
}

/// A disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimFs(Arc<Mutex<Disk>>);

impl Default for SimFs {
    fn default() -> Self {
        Self::new(1)
    }
}

/// Room on a disk that nobody has set: more than any test writes.
const AVAILABLE_DEFAULT: u64 = 1 << 40;

impl SimFs {
    /// An empty disk whose luck comes from `seed`.
    pub fn new(seed: u64) -> Self {
        let rng = Some(Rng::new(seed));
        Self(Arc::new(Mutex::new(Disk { available: AVAILABLE_DEFAULT, rng, ..Disk::default() })))
    }

    /// Calls of the fault's sort number `from..to` (from 1, counted from now) fail.
    pub fn arm(&self, fault: Fault, from: u64, to: u64) {
        let mut disk = self.0.lock();
        (disk.calls, disk.fired) = (0, 0);
        disk.fault = Some((fault, from, to));
    }

    /// Nothing fails any more, and no crash is ahead.
    pub fn disarm(&self) {
        let mut disk = self.0.lock();
        (disk.fault, disk.crash_at) = (None, None);
    }

    /// How often the armed fault has struck.
    pub fn fired(&self) -> u64 {
        self.0.lock().fired
    }

    /// Room left, bytes.
    pub fn set_available(&self, bytes: u64) {
        self.0.lock().available = bytes;
    }

    /// From here on every call fails: the process is about to die.
    pub fn crash(&self) {
        self.0.lock().dead = true;
    }

    /// The machine dies at the n-th changing call from now (from 1).
    pub fn crash_after(&self, calls: u64) {
        let mut disk = self.0.lock();
        disk.crash_at = Some(disk.changes + calls);
    }

    /// Whether it has died.
    pub fn is_dead(&self) -> bool {
        self.0.lock().dead
    }

    /// Unsynced sectors of the last file, by name, whose name ends so.
    pub fn dirty_sectors_of_last(&self, ending: &str) -> usize {
        let disk = self.0.lock();
        let last = disk.names.iter().rev().find(|(name, _)| name.ends_with(ending));
        last.map_or(0, |(_, node)| disk.nodes[*node].dirty.len())
    }

    /// Whether `bytes` stand on the disk for sure, in a file whose name ends so.
    pub fn has_synced(&self, ending: &str, bytes: &[u8]) -> bool {
        let disk = self.0.lock();
        let mut of = disk.names.iter().filter(|(name, _)| name.ends_with(ending));
        of.any(|(_, node)| disk.nodes[*node].synced.windows(bytes.len()).any(|w| w == bytes))
    }

    /// Puts a file there, synced.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut disk = self.0.lock();
        let node = Node { synced: bytes.clone(), now: bytes, dirty: BTreeSet::new() };
        let at = disk.names.get(name).copied().filter(|at| disk.synced_names.get(name) == Some(at));
        if let Some(at) = at {
            // In its place: a test that damages one file a million times keeps one of them.
            disk.nodes[at] = node;
            return;
        }
        disk.nodes.push(node);
        let at = disk.nodes.len() - 1;
        disk.names.insert(name.to_owned(), at);
        disk.synced_names.insert(name.to_owned(), at);
    }

    /// Removes a file, for good.
    pub fn remove(&self, name: &str) {
        let mut disk = self.0.lock();
        disk.names.remove(name);
        disk.synced_names.remove(name);
    }

    /// The contents of a file, as a thief with the disk in hand has them.
    pub fn bytes_of(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.0.lock();
        disk.names.get(name).map(|node| disk.nodes[*node].now.clone())
    }

    /// Names of the files.
    pub fn names(&self) -> Vec<String> {
        self.0.lock().names.keys().cloned().collect()
    }

    /// The disk after power came back: of what was not synced, any subset has survived.
    pub fn after_power_loss(&self, seed: u64) -> Self {
        let mut disk = self.0.lock();
        let mut rng = Rng::new(seed);
        // From "nothing survives" to "all survives", so that both ends are met often.
        let keep = rng.pick(&[0, 10, 50, 90, 100]);
        let mut after = Disk { available: AVAILABLE_DEFAULT, ..Disk::default() };
        for node in &mut disk.nodes {
            node.settle(|| rng.percent(keep));
            let mut bytes = node.synced.clone();
            if bytes.len() < node.now.len() && rng.percent(keep) {
                bytes.resize(node.now.len(), 0);
            }
            after.nodes.push(Node { now: bytes.clone(), synced: bytes, dirty: BTreeSet::new() });
        }
        let mut names = disk.synced_names.clone();
        for change in &disk.pending {
            if rng.percent(keep) {
                apply(&mut names, change);
            }
        }
        after.names.clone_from(&names);
        after.synced_names = names;
        after.rng = Some(rng);
        Self(Arc::new(Mutex::new(after)))
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &Change) {
    match change {
        Change::Create(name, node) => {
            names.insert(name.clone(), *node);
        }
        Change::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
        Change::Unlink(name) => {
            names.remove(name);
        }
    }
}

struct SimFile(Arc<Mutex<Disk>>, usize);

impl File for SimFile {
    fn write_at(&self, bytes: &[u8], pos: u64) -> io::Result<()> {
        let mut disk = self.0.lock();
        let bent = disk.call(Sort::Write)?;
        let pos = pos as usize;
        let part = disk.rng().below(bytes.len() as u64 + 1) as usize;
        let was_dead = disk.dead;
        let node = &mut disk.nodes[self.1];
        match bent {
            None => node.write(bytes, pos),
            Some(Fault::Phantom) => {}
            Some(Fault::Misdirected) => node.write(bytes, pos + 8 * SECTOR),
            Some(fault) => {
                node.write(&bytes[..part], pos);
                return Err(if was_dead { dead() } else { fault.error() });
            }
        }
        Ok(())
    }

    fn read_at(&self, out: &mut [u8], pos: u64) -> io::Result<usize> {
        let mut disk = self.0.lock();
        disk.call(Sort::Read)?;
        let from = disk.nodes[self.1].now.get(pos as usize..).unwrap_or_default();
        let len = from.len().min(out.len());
        out[..len].copy_from_slice(&from[..len]);
        Ok(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock();
        let result = disk.call(Sort::Sync);
        if disk.dead {
            return Err(dead());
        }
        let evict = disk.rng().percent(50);
        let mut rng = Rng::new(disk.rng().draw());
        let node = &mut disk.nodes[self.1];
        match result {
            Ok(_) => {
                node.settle(|| true);
                node.synced.resize(node.now.len(), 0);
                Ok(())
            }
            Err(error) => {
                node.settle(|| rng.percent(50));
                if evict {
                    let len = node.now.len();
                    node.now.clone_from(&node.synced);
                    node.now.resize(len, 0);
                }
                Err(error)
            }
        }
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.call(Sort::Change)?;
        let available = disk.available;
        let now = &mut disk.nodes[self.1].now;
        if len.saturating_sub(now.len() as u64) > available {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if now.len() < len as usize {
            now.resize(len as usize, 0);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.call(Sort::Change)?;
        disk.nodes[self.1].now.resize(len as usize, 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut disk = self.0.lock();
        disk.name_call()?;
        Ok(disk.nodes[self.1].now.len() as u64)
    }
}

struct Held(Arc<Mutex<Disk>>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().locked = false;
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Fs for SimFs {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let mut disk = self.0.lock();
        let name = name_of(path);
        let node = match (disk.names.get(&name).copied(), access) {
            (Some(_), Access::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(node), _) => {
                disk.name_call()?;
                node
            }
            (None, Access::CreateNew) => {
                disk.call(Sort::Change)?;
                disk.nodes.push(Node::default());
                let node = disk.nodes.len() - 1;
                disk.names.insert(name.clone(), node);
                disk.pending.push(Change::Create(name, node));
                node
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(SimFile(self.0.clone(), node)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.call(Sort::Change)?;
        let (from, to) = (name_of(from), name_of(to));
        if !disk.names.contains_key(&from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let change = Change::Rename(from, to);
        apply(&mut disk.names, &change);
        disk.pending.push(change);
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        let name = name_of(path);
        if !disk.names.contains_key(&name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if disk.dead {
            return Err(dead());
        }
        disk.name_call()?;
        disk.changes += 1;
        let change = Change::Unlink(name);
        apply(&mut disk.names, &change);
        disk.pending.push(change);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.call(Sort::Sync)?;
        disk.synced_names = disk.names.clone();
        disk.pending.clear();
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        let mut disk = self.0.lock();
        disk.name_call()?;
        Ok(disk.names.keys().cloned().collect())
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let mut disk = self.0.lock();
        disk.name_call()?;
        let available = disk.available;
        Ok(Space { available, total: AVAILABLE_DEFAULT })
    }

    fn lock(&self, _: &Path, _: bool) -> io::Result<Box<dyn Send + Sync>> {
        let mut disk = self.0.lock();
        disk.name_call()?;
        if std::mem::replace(&mut disk.locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Held(self.0.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synced_bytes_survive_and_of_the_rest_some_do() {
        let dir = Path::new("/");
        let mut seen = BTreeSet::new();
        for seed in 0..400 {
            let fs = SimFs::new(seed);
            let file = fs.open(&dir.join("a"), Access::CreateNew).unwrap();
            file.write_at(&[1; 2048], 0).unwrap();
            file.sync_data().unwrap();
            fs.sync_dir(dir).unwrap();
            file.write_at(&[2; 1024], 512).unwrap();
            let _lost = fs.open(&dir.join("b"), Access::CreateNew).unwrap();
            let after = fs.after_power_loss(seed);
            let bytes = after.bytes_of("a").unwrap();
            assert_eq!((bytes.len(), bytes[0], bytes[2047]), (2048, 1, 1));
            seen.insert((bytes[512], bytes[1024], after.bytes_of("b").is_some()));
        }
        // Any order, any subset: the second sector without the first, a file without its name.
        assert!(seen.contains(&(1, 2, false)) && seen.contains(&(2, 1, false)), "{seen:?}");
        assert!(seen.contains(&(2, 2, true)) && seen.contains(&(1, 1, false)), "{seen:?}");
    }

    #[test]
    fn a_failed_sync_leaves_clean_pages() {
        let fs = SimFs::new(3);
        let file = fs.open(Path::new("/a"), Access::CreateNew).unwrap();
        file.write_at(&[7; 4096], 0).unwrap();
        fs.arm(Fault::Sync, 1, 2);
        assert!(file.sync_data().is_err());
        assert!(file.sync_data().is_ok(), "the second one lies");
        fs.sync_dir(Path::new("/")).unwrap();
        assert_eq!(fs.fired(), 1);
        let bytes = fs.after_power_loss(1).bytes_of("a").unwrap();
        assert!(bytes.contains(&0) || bytes.len() < 4096);
    }
}
