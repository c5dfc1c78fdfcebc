//! Where events stay and how they are found again.
//!
//! ```text
//! Arc<EventBatch> --append--> hot rows --flush--> events/date=/hour=/*.parquet + manifest/*.log
//!                                |                       |
//!                                +-------- snapshot -----+---> search, histogram, values, SQL
//!                                          (one lock)          scan: same Plan, same verdicts
//! ```
//! Invariants, each tested:
//! - a row is in a hot batch or in a listed file, never in neither or both, at any moment of any
//!   flush, compaction or search;
//! - reading a file back gives every cell of every row: name, kind, bytes, order within a field;
//! - a plan holds for a stored row exactly if it held for the hot row;
//! - after a crash at any step the store opens, loses nothing that [`Store::flush`] reported and
//!   keeps nothing twice;
//! - a file goes from the manifest before it goes from the disk or the far tier, and not while a search
//!   reads it;
//! - a local file goes only after its object in the far tier was read back and listed.
//!
//! The only room that names Arrow, Parquet and DataFusion: none of them shows in its public types,
//! so that all of their generic code is compiled here, once.
//!
//! Not here: sockets, the search text's grammar (crate `filter`), rules, the journal.
//!
//! Reading order: [`store`] (the whole), [`search`] (requests and answers), `scan` (one pass),
//! `kernel` (a plan over columns), `coded`, `pipes`, `planning` and `table` (DataFusion), `layout`, `fine`, `write`,
//! `read`, `pages`, `recent`, `unpack`, `checks`, `residual`, `template`,
//! `texts`, `stamp` (the files), `words`, `sidecar` (the index beside them),
//! [`manifest`] (which files), `upkeep` (joining, retention), [`mod@reparse`] (shaped
//! anew), [`verify`], [`tier`] (old files elsewhere), `far_file`, `far`, `cells`, `places` (how they
//! are reached), [`mod@backup`], `vault`, `lease` (copies elsewhere).
#![forbid(unsafe_code)]

pub mod backup;
mod budget;
mod cells;
mod checks;
mod coded;
pub mod error;
pub mod export;
mod far;
mod far_file;
mod fine;
mod kernel;
mod layout;
mod lease;
pub mod manifest;
mod pages;
mod pipes;
mod places;
mod planning;
pub mod policy;
mod prune;
mod read;
mod recent;
mod render;
pub mod reparse;
mod replay;
mod residual;
mod rows;
mod scan;
pub mod search;
mod sidecar;
mod stamp;
pub mod store;
mod table;
mod template;
mod texts;
pub mod tier;
mod unpack;
mod upkeep;
mod vault;
pub mod verify;
mod watched;
mod words;
mod write;

pub use checks::FooterSum;
pub use error::{SearchError, StoreError};
pub use export::{ExportFile, ExportFormat, ExportManifest};
pub use manifest::{FarCopy, FileEntry, check_format};
pub use policy::{AuditRecord, DeletionPlan, Forecast, Hold, RetentionRule, RulePlan, Tombstone};
pub use reparse::{Reparse, ReparseCounts, StoredRow};
pub use replay::Replayed;
pub use search::{
    Estimate, FieldValues, Histogram, LookupTable, Row, SearchRequest, SearchSummary,
};
pub use sidecar::IndexEntry;
pub use store::{OpenReport, Options, Stats, StepHook, Store, Upkeep};
pub use tier::{TierOptions, TierPlan, TierRound, TierStats};
pub use upkeep::Reindexed;
pub use verify::{Problem, VerifyReport};
