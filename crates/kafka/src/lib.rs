//! Topics of Kafka as a source: what stands in them is in the journal before the group's offsets say so.
//!
//! ```text
//! brokers --librdkafka--> reader --RawBatch {producer = partition, number = offset}--> Intake (journal)
//!                           ^                                                             |
//!               offsets of the group  <------------------ Durable -----------------------+
//! ```
//!
//! Invariants:
//! - An offset is stored for the group only after the journal says that its record is durable.
//! - Where reading begins says the journal, not the group: it knows the last offset of each partition that is
//!   durable, and drops what comes again. The group's offsets count where they are ahead of that (another
//!   member went on) or where the journal knows nothing.
//! - The last durable record is read once more at each beginning: if another one stands there now, the topic is
//!   not the one that was read, and all of it is taken under a new epoch. So is one that is shorter than what
//!   was read. Both leave a gap record, and so does what the broker dropped before it was read.
//! - Nothing waits here without bound: what is prefetched has a limit, and a full budget stops the polling.
//!
//! Not here: keys, headers and timestamps of messages; schemas (a message is one record, as it is); producing.
#![forbid(unsafe_code)]

mod begin;
mod client;
mod group;
mod reader;
mod trouble;

pub use client::{Config, ConfigError, Sasl, Tls, check};
#[doc(hidden)]
pub use rdkafka;

use io::{Context, Running};
use reader::Reader;
use std::net::SocketAddr;

/// Where reading begins in a partition that neither the journal nor the group knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record that is there.
    #[default]
    Earliest,
    /// Behind the newest one.
    Latest,
}

impl Start {
    /// Every choice with its name.
    pub const ALL: &[(Self, &'static str)] =
        &[(Self::Earliest, "earliest"), (Self::Latest, "latest")];
}

/// Starts to read. Brokers that are not there are no error: it goes on trying, and says so in the log.
///
/// # Errors
/// The settings are none that the client takes.
pub fn start(context: Context, config: &Config) -> Result<Running, ConfigError> {
    // Nothing listens.
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let running = Running::new("kafka", nowhere, context.budget.clone());
    let reader = Reader::new(context, config, running.stop_token())?;
    running.spawn_blocking(move || reader.run());
    Ok(running)
}
