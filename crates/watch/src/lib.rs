//! Is everything that should be arriving still arriving, and is every event accounted for?
//!
//! ```text
//! EventBatch --observe--> Registry  every (source, host): seen, rates, failures, lag
//!                            |        Silence (too long since the last event)
//! Tick ------tick----------->|        Volume  (many more events than usual)
//! gap reports --gap--------->+--Finding--> event::Alert (rule ids `alcedo.*`)
//! counts per minute --> Balance --close--> Finding::Imbalance
//! load ----------> Ladder --assess--> Change (what is given up, in order)
//! far tier's round > FarWatch --assess--> FarNews (it fails, it is late)
//! ```
//!
//! Invariants
//! - No clock: stream and wall time come with events and ticks, so a replay finds the same things.
//! - Constant work and memory per event; the number of hosts and sources is bounded and what is
//!   beyond the bound is counted together, under [`registry::OVERFLOW_HOST`].
//! - A state of alarm is told once when it begins and once when it ends.
//! - While a volume alarm lasts, the baseline learns nothing.
//!
//! Not here: thresholds' configuration syntax, delivery, metrics endpoints.
//!
//! Reading order: [`finding`], [`rate`], [`silence`], [`volume`], [`registry`], [`balance`],
//! [`degrade`], [`far`].
#![forbid(unsafe_code)]

pub mod balance;
pub mod degrade;
pub mod far;
pub mod finding;
pub mod rate;
pub mod registry;
pub mod silence;
pub mod volume;

pub use balance::{Balance, Counter, Counts, Receipt, Receipts};
pub use degrade::{Change, Ladder, Load, Step, Strain, fair_shares};
pub use far::{FarNews, FarWatch};
pub use finding::{Certainty, Finding, GapCause, Monitor, Tick};
pub use registry::{HostStatus, Registry, Settings, SourceSettings, SourceStatus};
pub use silence::Silence;
pub use volume::{Volume, VolumeSettings};
