//! One raw record becomes one or more events with one meaning, whatever product sent it.
//!
//! ```text
//! raw --expand--> element --transport--> body --product?--> pack: parse, move, map, route
//!                 ([..],     (syslog                |          |
//!                 Records)    header)               |          +-> normalised ECS cells
//!                                                   |          +-> product's own cells, as sent
//!        tables (geo, assets, indicators) ----------+--------> enrich, tags, time, redact --> row(s)
//! ```
//!
//! Invariants: shaping never fails and never loses bytes; it is a pure function of (record,
//! generation); ECS fields hold normalised values while the product's own names keep the value as
//! sent, and Sigma's names answer to the latter; what the event says about intrinsic fields goes to
//! `alcedo.claimed.*`. The steps that remember ([`Dedupe`], [`Drops`]) are plain state machines that
//! the sequencer drives in order; they mark rows and never remove them.
//!
//! Not here: threads, sockets, clocks, files other than packs and tables given by path.
//!
//! Reading order: [`shaper`] (the steps of one record), [`packs`] (the table of products), `spec`
//! (pack.yaml), `program` (a pack compiled to ids), `ops` and `when` (its steps and their
//! conditions), `specialise` and `layouts` (what is left of them for rows of one form), [`script`]
//! (programs of users), `extract`, `tail`, `grok` and `dissect` (patterns), `product`, `recognise` and `gate` (which pack),
//! [`sniff`] (what a source usually sends), `transport` (syslog), `text` (encodings), `native` (hot
//! parsers), `routes` (Windows channels), `carried` (lines in objects), `value` (normalising), `zone` (clocks of senders), [`feeds`] (what packs can feed),
//! [`tables`] (enrichment), [`redact`] (values that nobody may see), [`remember`] (dedupe, drops), [`render`] (JSON), [`testing`] (samples).
#![forbid(unsafe_code)]

mod audit;
mod carried;
mod dissect;
mod envelope;
mod extract;
pub mod feeds;
mod gate;
mod grok;
pub mod headers;
pub mod joins;
mod layouts;
mod native;
mod ops;
mod origin;
pub mod packs;
mod pairs;
mod product;
mod program;
mod recognise;
pub mod redact;
pub mod remember;
pub mod render;
mod routes;
pub mod script;
pub mod shaper;
pub mod sniff;
mod spec;
mod specialise;
pub mod tables;
mod tail;
pub mod testing;
mod text;
mod transport;
mod value;
mod when;
mod zone;

pub use headers::{HeaderState, Headers};
pub use joins::{JoinChange, Joins, Multiline};
pub use packs::{PackError, PackFiles, PackInfo, PackSet};
pub use redact::{Redaction, RedactionError};
pub use remember::{Dedupe, DedupeState, DedupeSummary, Drops};
pub use render::to_json;
pub use script::ScriptCompiler;
pub use shaper::{Detected, Explanation, Scratch, Settings, Shaped, Shaper, Stage, StageField};
pub use sniff::{Decision, Sniffer, SnifferState};
pub use tables::{TableConfig, TableError, Tables};
pub use zone::Zone;
