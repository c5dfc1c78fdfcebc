//! The vocabulary of Alcedo: what an event is, how it is named, and what crosses each door.
//!
//! ```text
//! intake --RawBatch--> journal --records--> feeder --&mut EventBatch--> workers
//!        <--Durable---                       sequencer --Arc<EventBatch>--> store, tail, forward
//!                                            sequencer --Match--> correlate --Alert--> ledger
//! ```
//!
//! Plain data and the pure functions over it. Not here: I/O, threads, clocks, Arrow, Sigma's syntax.
//!
//! Reading order: [`id`] (identity), [`raw`] (before parsing), [`field`] (names), [`batch`] (after
//! parsing), [`gap`] (what is missing), [`finding`] (what detection says), [`time`] and [`text`] (the two shared basics).
#![forbid(unsafe_code)]

pub mod batch;
pub mod field;
pub mod finding;
pub mod gap;
pub mod id;
pub mod raw;
pub mod text;
pub mod time;

pub use batch::{
    Constants, Edit, EventBatch, EventView, Kind, Marks, Room, RowHead, RowWriter, Value,
};
pub use field::{Dictionary, DictionaryBuilder, FieldId, FieldType};
pub use finding::{Alert, Disposition, Evidence, Explanation, Level, Match, Outcome};
pub use gap::{Certainty, Gap, GapCause};
pub use id::EventId;
pub use raw::{Durable, Envelope, Producer, Protocol, RawBatch, RawRecord, RecordKind};
