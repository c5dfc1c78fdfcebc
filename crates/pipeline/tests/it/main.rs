//! The core over a real journal, from bytes to alerts.
#![allow(clippy::unwrap_used, reason = "tests")]

mod backfill;
mod balance;
mod clock;
mod headers;
mod joins;
mod relay;
mod repeats;
mod replay;
mod revisions;
mod stage;
