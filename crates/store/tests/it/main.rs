//! The store as its callers see it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod crash;
mod parity;
mod pipes;
mod samples;
mod searches;
mod together;
mod upkeep;
