//! The store as its callers see it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod copies;
mod crash;
mod index;
mod parity;
mod pipes;
mod policy;
mod reparse;
mod samples;
mod searches;
mod together;
mod upkeep;
