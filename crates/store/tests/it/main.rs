//! The store as its callers see it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

#[cfg(feature = "cloud")]
mod azure_server;
#[cfg(feature = "cloud")]
mod backup_s3;
#[cfg(feature = "cloud")]
mod clouds;
mod copies;
mod crash;
mod damage;
mod engine_limits;
#[cfg(feature = "cloud")]
mod google_server;
mod index;
mod kill9;
mod open_files;
mod parity;
mod pipes;
mod policy;
mod reparse;
#[cfg(feature = "cloud")]
mod s3_server;
mod samples;
mod searches;
mod tier;
#[cfg(feature = "cloud")]
mod tier_s3;
mod together;
mod upkeep;
