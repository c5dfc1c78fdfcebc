//! The store as its callers see it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod backup_s3;
mod copies;
mod crash;
mod damage;
mod index;
mod kill9;
mod open_files;
mod parity;
mod pipes;
mod policy;
mod reparse;
mod s3_server;
mod samples;
mod searches;
mod tier;
mod tier_s3;
mod together;
mod upkeep;
