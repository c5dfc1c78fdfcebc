//! Integration tests of the parsers.
#![allow(clippy::unwrap_used, reason = "tests")]

mod syslog_vectors;
