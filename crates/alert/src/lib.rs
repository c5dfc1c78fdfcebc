//! From "a rule fired" to "somebody is told, once": identity, grouping, triage, wording.
//!
//! ```text
//! match, correlation, monitor --Firing--> Desk --Fired(Alert)---> ledger, webhook, page, terminal
//!                                          |  one open episode per (rule, entity)
//!                                          +---Folded(count, new evidence)---> ledger
//! analyst --- State, transition() ---> Triage record in the ledger
//! ```
//!
//! Invariants
//! - The first firing of an episode goes out at once; nothing is held back to see what follows.
//! - No firing is lost: what goes out plus what is folded adds up to what was offered.
//! - Ids are a function of (tenant, rule, entity, event): a replay gives the same ids.
//! - Windows are counted in the stream time the caller passes; no clock is read here.
//! - Text that came out of a log is escaped where it is shown, and nowhere else.
//!
//! Not here: how a message is delivered (`io`), where alerts are kept (`ledger`), rule conditions.
//!
//! Reading order: [`id`], [`desk`], [`revision`], [`triage`], [`meta`], [`render`].
#![forbid(unsafe_code)]

pub mod desk;
pub mod id;
pub mod meta;
pub mod render;
pub mod revision;
pub mod triage;

pub use desk::{Desk, DeskCounters, Firing, Folded, Limits, Offered};
pub use id::{alert_id, entity_key};
pub use meta::RuleMeta;
pub use revision::Revision;
pub use triage::{State, TriageError, transition};
