//! Space that is kept for the index.
//!
//! The stream has files that are ready when the disk has no byte left, the index has not: SQLite's log and its
//! shared memory grow as it is written, and both are made anew at a start. So a file of zeros lies beside it,
//! whose space the index gets when it finds none.

use rusqlite::ErrorCode::{DiskFull, SystemIoFailure};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Name of the file.
const FILE: &str = "room";
/// Twice what SQLite's log takes before it is written back, and some thousand alerts in the index.
const BYTES: u64 = 16 << 20;
/// It is made when so much is free: whoever is short of space needs it for something else.
const FREE_MIN: u64 = 4 * BYTES;

/// The extended code of SQLite for shared memory that could not be made longer.
const SHM_SIZE: i32 = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

/// The file, there or given away.
pub(crate) struct Room {
    path: PathBuf,
    is_there: AtomicBool,
}

impl Room {
    /// As an earlier run left it.
    pub(crate) fn of(dir: &Path) -> Self {
        let path = dir.join(FILE);
        let is_there = std::fs::metadata(&path).is_ok_and(|file| file.len() >= BYTES);
        Self { path, is_there: AtomicBool::new(is_there) }
    }

    /// Gives the space to the index; false if there is none any more.
    pub(crate) fn give(&self) -> bool {
        let given = self.is_there.swap(false, Relaxed) && std::fs::remove_file(&self.path).is_ok();
        if given {
            tracing::error!(
                "the disk is full: the ledger's index goes on in the space that is kept for it"
            );
        }
        given
    }

    /// Whether the file has to be made.
    pub(crate) fn is_given(&self) -> bool {
        !self.is_there.load(Relaxed)
    }

    /// Takes the space again, or for the first time, where so much is free.
    pub(crate) fn take(&self, free_bytes: u64) {
        if free_bytes < FREE_MIN || !self.is_given() {
            return;
        }
        match self.write() {
            Ok(()) => self.is_there.store(true, Relaxed),
            Err(error) => {
                tracing::warn!(%error, "no space can be kept for the ledger's index");
                let _ = std::fs::remove_file(&self.path);
            }
        }
    }

    /// Written and not only promised: a file system may give away the space of a file that is all holes.
    fn write(&self) -> io::Result<()> {
        let mut file: File = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)?;
        let zeros = vec![0; 1 << 20];
        for _ in 0..BYTES / zeros.len() as u64 {
            file.write_all(&zeros)?;
        }
        file.sync_all()
    }
}

/// Whether SQLite failed for want of space.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(error, _) => {
            error.code == DiskFull
                || (error.code == SystemIoFailure && error.extended_code == SHM_SIZE)
        }
        _ => false,
    }
}
