//! What people and detection decided: the `ledger` stream and its SQLite index.
//!
//! ```text
//! alert, triage, note, audit, token --submit--> journal 'ledger' (durable: the truth)
//!                                                  |  catch up: one transaction per block,
//!                                                  v  with the offset applied so far in it
//!                                               index (SQLite) <--queries-- page, CLI, tokens
//! ```
//!
//! Invariants
//! - A change is a durable record first; the record is also its audit record.
//! - There is one way into the index: reading the journal. After a crash at any point, reading on
//!   from the applied offset gives what an undisturbed run would have given.
//! - The index can be deleted at any time; it is made again from the journal.
//! - What is gone from the front of the stream is named by a record in it, and what lives on of it stands
//!   before that record.
//! - A replayed alert whose id is known is compared, not appended; disagreements are counted.
//!
//! All calls block. Not here: sockets, rules, deciding who may do what (`trust`), delivery.
//!
//! Reading order: [`record`], [`ledger`], [`index`] (applying), [`query`], `retire` (what is old goes) with
//! `carry` (what lives on), `proof` (looking whether it went in order); `room` (a
//! disk without a byte left).
#![forbid(unsafe_code)]

mod carry;
pub mod index;
pub mod ledger;
mod proof;
pub mod query;
pub mod record;
mod retire;
mod room;

pub use ledger::{Ledger, LedgerCounters, LedgerError, Submitted, TriageRequest, journal_options};
pub use proof::{Front, check_retired};
pub use query::{
    AlertDetail, AlertFilter, AlertOrder, AlertRow, AuditFilter, AuditRow, Counts, Delivery,
    History, IDS_MAX, Page, SavedRow,
};
pub use record::{
    Actor, Audit, CarriedAlert, CarriedOver, CarriedRow, DeliveryStatus, LedgerRecord, Merging,
    RetiredRange, RetiredSegment, SavedSearch, SearchAlert, SearchRun,
};
pub use retire::Retirement;
