//! What can go wrong, and what to do about it.

use event::RawBatch;
use std::io;
use std::path::{Path, PathBuf};

/// Opening, reading or keeping the journal failed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has the folder.
    #[error("{dir} is in use by another process; stop it first, or choose another data folder")]
    InUse {
        /// The journal's folder.
        dir: PathBuf,
    },
    /// A call to the operating system failed.
    #[error("cannot {what} {path}: {source}; check the disk and the folder's permissions")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A reader met bytes that are not what was written. It stands behind them now: the next call
    /// goes on at `to_offset`.
    #[error(
        "{segment}: records {from_offset}..{to_offset} are damaged (at byte {pos}); \
         restore the segment from a copy, `journal fsck` shows the extent"
    )]
    Corrupt {
        /// File name of the segment.
        segment: String,
        /// First offset that cannot be read.
        from_offset: u64,
        /// First readable offset after it.
        to_offset: u64,
        /// Where in the file the damage starts, bytes.
        pos: u64,
    },
    /// A reader asked for records that were retired. It stands at `first_offset` now.
    #[error("records before {first_offset} were retired (asked for {wanted}); read the store")]
    Retired {
        /// The offset asked for.
        wanted: u64,
        /// The oldest offset that is kept.
        first_offset: u64,
    },
    /// An option cannot be used.
    #[error("journal option {option}: {why}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What is wrong, and the range allowed.
        why: String,
    },
    /// A cursor cannot be registered.
    #[error("cursor `{name}`: {why}")]
    Cursor {
        /// Its name.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_path_buf(), source }
    }
}

/// Why a batch was not made durable. The sender has to keep it and try again (except `Invalid`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// More bytes wait for the disk than allowed; slow down.
    #[error("{queue_bytes} bytes wait for the disk already; try again shortly")]
    Overloaded {
        /// Bytes in the queue.
        queue_bytes: u64,
    },
    /// No room for another segment above the reserve. Resumes by itself.
    #[error("the disk is full up to the reserve; free space or raise the limit, it resumes itself")]
    DiskFull,
    /// Writing failed twice in a row on different files: the disk cannot be trusted.
    #[error("writing to the journal failed twice; check the disk, then restart")]
    Faulted,
    /// The journal is closed, or closed while the batch was on its way.
    #[error("the journal is closed")]
    Closed,
    /// The batch leaves out numbers of its sender's run: an earlier one failed or never came. Send
    /// from `expected_seq` on, or start a new run.
    #[error("the batch does not follow what is stored; send again from number {expected_seq}")]
    OutOfOrder {
        /// The number that comes next.
        expected_seq: u64,
    },
    /// The batch has other bytes under a number that is stored: its sender is a copy of the one we
    /// know, or came back from an older image. Start a new run.
    #[error(
        "record {seq} is stored with other bytes: two senders use one identity; start a new run"
    )]
    Fork {
        /// The number both have used.
        seq: u64,
    },
    /// The batch breaks a limit or points outside of itself; trying again cannot help.
    #[error("the batch cannot be stored: {why}")]
    Invalid {
        /// What is wrong.
        why: &'static str,
    },
}

/// A batch that was not taken; here it is back.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Rejected {
    /// The batch as it was handed in.
    pub batch: Box<RawBatch>,
    /// The reason.
    pub why: AppendError,
}
