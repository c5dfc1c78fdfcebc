//! Real sockets on loopback against an intake that records, and against the journal itself.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod agents;
mod clones;
mod outbox;
mod recorder;
mod relp;
mod rsyslog;
mod ship;
mod syslog;
