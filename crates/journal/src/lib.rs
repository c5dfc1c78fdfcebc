//! The durable journal: append records, be told when they are on disk, read them in order.
//!
//! ```text
//! Appender --encode in the caller's thread--> queue --> writer thread: group, pwrite, fdatasync
//!    ^                                       (bytes)      |               |
//!    +------ done(Ok(Durable)) <--------------------------+               v
//!                                                      durable offset --> Reader (wakes up)
//! keeper thread: zeroes spare segments, seals full ones, writes the manifest every second
//! ```
//!
//! Invariants:
//! - `done(Ok)` is called after `fdatasync` returned success for all bytes of the batch; never else.
//! - Offsets only grow. A record that was acknowledged is read back byte for byte, or its absence
//!   is reported as a [`Hole`] or [`JournalError::Corrupt`].
//! - What event bytes contain cannot change what recovery decides: checksums are salted, and a
//!   secret tag stands in every block header.
//! - After one failed sync nothing more is written to that file.
//! - A segment is unlinked only after the manifest that retires it is durable.
//!
//! Not here: what is inside a record, sockets, async runtimes, retention by age.
//!
//! Reading order: [`fs`](Fs), [`clock`](Clock), then the format from small to large (`piece`,
//! `block`, `segment`, `scan`), the files beside it (`manifest`, `senders`, `sealed`, `told`), then what
//! moves: `recovery`, `fair`, `writer`, `announce`, `keeper`, `reader`, `behind`, `aging`, and [`Journal`]. The
//! bytes on disk are described in `docs/formats/journal.md`.
#![forbid(unsafe_code)]

mod aging;
mod announce;
mod behind;
mod block;
mod clock;
mod codec;
mod error;
mod fair;
mod fs;
pub mod inspect;
mod journal;
mod keeper;
mod manifest;
mod piece;
mod reader;
mod recovery;
mod salvage;
mod scan;
mod sealed;
mod segment;
mod senders;
mod shared;
mod told;
mod writer;

pub use behind::Behind;
pub use block::{Block, RecordView};
pub use clock::{Clock, OsClock};
pub use error::{AppendError, JournalError, Rejected};
pub use fs::{Access, File, Fs, OsFs, Space};
pub use journal::{Appender, Journal, Steps};
pub use manifest::{CURSOR_NAME_BYTES_MAX, CURSORS_MAX};
pub use piece::{ENVELOPE_TEXT_BYTES_MAX, RECORD_BYTES_MAX};
pub use reader::{Joined, Reader, Rejoin};
pub use recovery::Recovery;
pub use salvage::Rescue;
pub use scan::Hole;
pub use sealed::SealedRoot;
pub use senders::ProducerState;
pub use shared::{Options, Retired, SealedBlocks, Sealer, State, Stats};
