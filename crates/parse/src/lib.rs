//! Bytes to fields: the formats that logs come in, each as pure functions over a slice.
//!
//! ```text
//! body --records--> one record --syslog--> header + message --json|kv|cef|leef|...--> cells of a row
//! ```
//!
//! Invariants: every function is total (any bytes in, no panic, linear time, bounded memory); what
//! cannot be read is a [`ParseError`] with its byte offset and the raw bytes stay whole; results
//! are pieces of the input wherever the input has them as such.
//! Not here: clocks, files, network, ECS names (crate `shape` maps), what an event means.
//!
//! Reading order: [`error`], [`format`] (the table of formats), [`records`] (a body to records),
//! [`csv_file`], [`otlp`] (a request to records), [`timestamp`], [`syslog`], [`json`], [`kv`], [`cef`], [`leef`], [`csv`] (one line),
//! [`access_log`], [`auth`], [`netfilter`], [`auditd`], [`windows`], [`windows_text`], [`columns`]
//! (named by a header line), [`zeek`].
#![forbid(unsafe_code)]

pub mod access_log;
pub mod auditd;
pub mod auth;
pub mod cef;
pub mod columns;
pub mod csv;
pub mod csv_file;
pub mod error;
pub mod format;
pub mod json;
mod json_names;
pub mod kv;
pub mod leef;
pub mod netfilter;
pub mod otlp;
pub mod records;
pub mod syslog;
pub mod timestamp;
pub mod windows;
pub mod windows_text;
pub mod zeek;

pub use error::ParseError;
pub use format::{Confidence, Format};
pub use json::{Flattener, JsonShape, Limits, flatten};
