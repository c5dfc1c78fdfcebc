//! Relates matches over time: Sigma correlations as a pure state machine.
//!
//! ```text
//! Match --Extractor--> Hit {key, value} --key hash--> 256 shards --> windows --> Firing
//!  workers                                  ticks ------^     \--chained--^
//! ```
//! **Windows** slide over event time; two events exactly `timespan` apart share one. An event that
//! is up to [`Settings::lateness_ns`] late is put in its place and decided as if it had been on time;
//! a later one is counted and left out. **Growing conditions** (`gt`, `gte` of counts, sums and
//! occurrences) fire on the arrival that makes them true. Others (`eq`, ranges, averages,
//! percentiles, regular intervals, `not`) are decided when the window can no longer change, and absence (`lt`, `lte`)
//! when an event slides out of the window of a key that was seen before.
//!
//! **Episodes.** Qualifying windows that share evidence are one episode and one alert: `New` when it
//! begins, `Update` with ticks while it grows, `MergedInto` when a late event joins two. The
//! content of episodes does not depend on the order of arrival within the lateness.
//!
//! **Chaining.** A correlation over a correlation of the same group-by sees each of its qualifying
//! windows as one occurrence that begins where the shortest sufficient part begins: "five failures,
//! then a success, within 10 minutes" needs all six within the 10 minutes, and its evidence is every
//! failure of the child's episodes in the 10 minutes before the success, and the success.
//!
//! A correlation over one of another group-by is fed by its own group-by alone: see `lift`, `rise`.
//!
//! **Not here:** clocks, I/O, threads, alert suppression.
//!
//! Reading order: [`spec`] (what is asked), [`hit`], [`key`], [`extract`] (what comes in), `window`
//! (one key), `stretch` (many windows of it at once), `lift` and `rise` (keys of chains), `shard` (many), [`engine`] (all), `seen`, `snapshot`, [`firing`] (what comes out),
//! `replay` (finished logs), [`explain`] (what a group lacks).

pub mod engine;
mod evidence;
pub mod explain;
pub mod extract;
pub mod firing;
pub mod from_rules;
mod gaps;
pub mod hit;
pub mod key;
mod keys;
pub mod lags;
mod lift;
mod packed;
mod ranks;
mod replay;
mod rise;
mod seen;
pub mod settings;
mod shard;
mod sketch;
mod snapshot;
mod speak;
pub mod spec;
mod stretch;
mod total;
mod window;

pub use engine::{Engine, Part, RuleStats};
pub use extract::Extractor;
pub use firing::{Contribution, Firing, FiringKind, sort_firings};
pub use gaps::Regular;
pub use hit::{Hit, HitValue, Key};
pub use key::KeyHasher;
pub use keys::Counters;
pub use lags::{Lags, source_hash};
pub use replay::in_event_time;
pub use settings::{EVIDENCE_MAX, SHARDS, Settings};
pub use shard::ShardState;
pub use snapshot::SnapshotError;
pub use spec::{Condition, Frame, Reference, SlotExpr, Spec, SpecError, SpecKind, SpecSet, Target};

#[cfg(test)]
mod tests;
