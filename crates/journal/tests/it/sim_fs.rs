//! A disk in memory that can fail at the k-th call and lose what was not synced.

use journal::{Access, File, Fs};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

const PAGE: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// fdatasync of a file fails; its unsynced writes are dropped and the pages are clean.
    Sync,
    /// Writes, creation and allocation report a full disk.
    Full,
    /// Any changing call fails.
    Write,
}

#[derive(Default)]
struct Node {
    now: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Default)]
struct Disk {
    nodes: Vec<Node>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    dead: bool,
    calls: u64,
    fault: Option<(Fault, u64, u64)>,
    available: u64,
    locked: bool,
}

impl Disk {
    /// Counts a call of the given sort; fails it when its turn has come, or after the crash.
    fn call(&mut self, sort: Fault) -> io::Result<()> {
        if self.dead {
            return Err(io::Error::other("crashed"));
        }
        let Some((fault, from, to)) = self.fault else { return Ok(()) };
        if fault != sort && !(fault == Fault::Full && sort == Fault::Write) {
            return Ok(());
        }
        self.calls += 1;
        if !(from..to).contains(&self.calls) {
            return Ok(());
        }
        Err(if fault == Fault::Full {
            io::ErrorKind::StorageFull.into()
        } else {
            io::Error::from_raw_os_error(5)
        })
    }
}

#[derive(Clone)]
pub(crate) struct SimFs(Arc<Mutex<Disk>>);

impl SimFs {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Disk { available: 1 << 40, ..Disk::default() })))
    }

    /// Calls of this sort number `from..to` (from 1, counted from now) fail.
    pub(crate) fn arm(&self, fault: Fault, from: u64, to: u64) {
        let mut disk = self.0.lock().unwrap();
        disk.calls = 0;
        disk.fault = Some((fault, from, to));
    }

    pub(crate) fn set_available(&self, bytes: u64) {
        self.0.lock().unwrap().available = bytes;
    }

    /// From here on every call fails: the process is about to die.
    pub(crate) fn crash(&self) {
        self.0.lock().unwrap().dead = true;
    }

    /// The disk after power came back: of what was not synced, any subset of sectors survived.
    pub(crate) fn after_power_loss(&self, seed: u64) -> Self {
        let disk = self.0.lock().unwrap();
        let mut state = seed | 1;
        let mut coin = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state & 4 == 0
        };
        let mut after = Disk { available: 1 << 40, ..Disk::default() };
        for node in &disk.nodes {
            let mut bytes = node.synced.clone();
            bytes.resize(node.now.len().max(bytes.len()), 0);
            for (at, page) in node.now.chunks(PAGE).enumerate() {
                let old = &mut bytes[at * PAGE..at * PAGE + page.len()];
                if old != page && coin() {
                    old.copy_from_slice(page);
                }
            }
            after.nodes.push(Node { now: bytes.clone(), synced: bytes });
        }
        after.names.clone_from(if coin() { &disk.names } else { &disk.synced_names });
        after.synced_names.clone_from(&after.names);
        Self(Arc::new(Mutex::new(after)))
    }
}

struct SimFile(Arc<Mutex<Disk>>, usize);

impl File for SimFile {
    fn write_at(&self, bytes: &[u8], pos: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.call(Fault::Write)?;
        let now = &mut disk.nodes[self.1].now;
        let end = pos as usize + bytes.len();
        now.resize(now.len().max(end), 0);
        now[pos as usize..end].copy_from_slice(bytes);
        Ok(())
    }
    fn read_at(&self, out: &mut [u8], pos: u64) -> io::Result<usize> {
        let disk = self.0.lock().unwrap();
        let from = disk.nodes[self.1].now.get(pos as usize..).unwrap_or_default();
        let len = from.len().min(out.len());
        out[..len].copy_from_slice(&from[..len]);
        Ok(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let result = disk.call(Fault::Sync);
        let dead = disk.dead;
        let node = &mut disk.nodes[self.1];
        match result {
            Ok(()) => node.synced.clone_from(&node.now),
            Err(_) if !dead => node.now.clone_from(&node.synced),
            Err(_) => {}
        }
        result
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.call(Fault::Write)?;
        let now = &mut disk.nodes[self.1].now;
        now.resize(now.len().max(len as usize), 0);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.call(Fault::Write)?;
        disk.nodes[self.1].now.resize(len as usize, 0);
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().nodes[self.1].now.len() as u64)
    }
}

struct Held(Arc<Mutex<Disk>>);
impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().unwrap().locked = false;
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl Fs for SimFs {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let mut disk = self.0.lock().unwrap();
        let known = disk.names.get(&name(path)).copied();
        let node = match (known, access) {
            (Some(_), Access::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(node), _) => node,
            (None, Access::CreateNew) => {
                disk.call(Fault::Write)?;
                disk.nodes.push(Node::default());
                let node = disk.nodes.len() - 1;
                disk.names.insert(name(path), node);
                node
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(SimFile(self.0.clone(), node)))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.call(Fault::Write)?;
        let node = disk.names.remove(&name(from)).ok_or(io::ErrorKind::NotFound)?;
        disk.names.insert(name(to), node);
        Ok(())
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        if disk.dead {
            return Err(io::Error::other("crashed"));
        }
        disk.names.remove(&name(path)).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.call(Fault::Sync)?;
        disk.synced_names = disk.names.clone();
        Ok(())
    }
    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().names.keys().cloned().collect())
    }
    fn available_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().available)
    }
    fn lock(&self, _: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut disk = self.0.lock().unwrap();
        if std::mem::replace(&mut disk.locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Held(self.0.clone())))
    }
}
