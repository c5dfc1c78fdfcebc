//! The order in which the rooms are called: from durable records to events, matches and alerts.
//!
//! ```text
//!            +--------+ Job n  +---------------+ Done n +-----------------------+--> events  (store, tail)
//! journal -->| feeder |------->| workers (pure)|------->| sequencer: restores   |--> alerts  (ledger)
//!            |        |        | shape, match  |        | order, remembers:     |--> progress
//!            |        |        +---------------+        | dedupe, watch,        |--> snapshots
//!            +--------+ Control n (ticks, generations)->| correlate, alert desk |
//!                                                       +-----------------------+
//! ```
//! Invariants: nothing here reads a clock; remembering happens in the sequencer only, in journal
//! order, so the same journal gives the same alerts whatever the number of workers; a row that
//! crashes a parser becomes an event with its raw bytes; a restart is a snapshot plus a replay.
//!
//! Not here: formats, protocols, SQL, and what becomes of events and alerts: that is [`Outlets`].
//!
//! Reading order: [`generation`] (what workers work with), [`feeder`], [`worker`], [`sequencer`]
//! (the core), `headers` and `joins` (header lines and waiting parts over a restart), [`snapshot`],
//! [`in_hand`] (records that end the process), [`run`] (threads), `precedence` (which of them go first),
//! [`relay`] (a store that could not take rows), [`reshape`] (stored events anew), [`hunt`] (finished logs, without a journal).
#![forbid(unsafe_code)]

pub mod feeder;
mod gaps;
pub mod generation;
mod headers;
pub mod hunt;
pub mod in_hand;
mod joins;
pub mod relay;
pub mod reshape;
pub mod run;
pub mod sequencer;
pub mod snapshot;
pub mod worker;

pub use detect::correlate::RuleStats;
pub use feeder::Loose;
pub use generation::{Generation, Generations};
pub use hunt::Hunt;
pub use in_hand::InHand;
pub use relay::{Refill, Relay, Shelf, Stretch};
pub use reshape::{Again, Reshaper};
pub use run::{KeepSnapshot, Pipeline, Settings};
pub use sequencer::{AlertChange, Core, CoreSettings, Outlets, Progress};
