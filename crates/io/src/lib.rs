//! Where bytes come in and go out: the only room with sockets, TLS and HTTP clients.
//!
//! ```text
//!  syslog udp ---+
//!  syslog tcp/tls+-- framing --> RawBatch --> Intake (journal)
//!  relp ---------+   (pure)        ^             |
//!  http body ----+           Budget (bytes       +-- Durable --> ack
//!  agent --------+            in flight)
//!    ^
//!    +== agent_protocol == agent_client <-- tail <-- files    (on the far host)
//!
//!  Feed (alerts, in order) --> outbox --> Sink: webhook, file
//! ```
//!
//! Invariants:
//! - A sender that can be told "yes" is told so only after the [`Intake`] says durable.
//! - Bytes between a socket and the journal are counted against a [`Budget`]; when it is spent the
//!   source stops reading, so memory is bounded and TCP pushes back to the sender.
//! - Nothing is lost silently: what cannot be kept is counted in [`SourceStats`] and, where the
//!   amount is known, journaled as a gap record ([`event::Gap`]).
//! - A letter leaves the outbox's cursor behind only after its receiver said yes, or refused it
//!   for good, which is counted and reported.
//! - Identity comes from configuration and the authenticated channel, never from a record's bytes.
//!
//! Not here: rules, the store, Arrow, what a record means, HTTP routes (crate `server` calls
//! [`body`], [`bulk`] and [`hec`]).
#![forbid(unsafe_code)]

pub mod agent_client;
pub mod agent_protocol;
pub mod backoff;
pub mod body;
pub mod bulk;
pub mod door;
pub mod framing;
pub mod hec;
pub mod http_client;
pub mod intake;
pub mod outbox;
pub mod relp_framing;
pub mod running;
pub mod sinks;
pub mod sources;
pub mod stats;
pub mod tail;
pub mod tls;

pub use body::{BodyError, Limits};
pub use door::{Door, Lane, Overload, Shut};
pub use intake::{Answer, Budget, Context, Fate, Intake, IntakeError, Refused, RefusedCause};
pub use outbox::{Feed, Gauge, Letter, Outbox, OutboxHandle, OutboxStatus, Outcome, Report};
pub use running::{Drained, Running};
pub use sinks::{DeliverError, SINKS, Sink, SinkKind};
pub use sources::{Ack, SOURCES, SourceKind};
pub use stats::{SourceStats, StatsSnapshot};
