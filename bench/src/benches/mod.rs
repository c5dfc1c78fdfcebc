//! Every bench: one file, one line in the table.

mod cold_start;
mod e2e_latency;
mod intake;
mod journal;
mod pipeline;
mod store;

use crate::error::BenchError;
use crate::figure::Report;

/// A bench.
pub(crate) struct Bench {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What it measures, in one line.
    pub(crate) what: &'static str,
    /// Runs it.
    pub(crate) run: fn(&mut Report) -> Result<(), BenchError>,
}

/// All of them.
pub(crate) const ALL: &[Bench] = &[
    Bench {
        name: "e2e_latency",
        what: "from send to webhook, under a steady load and thousands of rules",
        run: e2e_latency::run,
    },
    Bench {
        name: "intake",
        what: "syslog over TCP until durable, beside rsyslog writing a file",
        run: intake::run,
    },
    Bench {
        name: "pipeline",
        what: "real Windows events through parsing, thousands of rules and the store",
        run: pipeline::run,
    },
    Bench {
        name: "cold_start",
        what: "from `alcedo demo` to its first alert, and its memory",
        run: cold_start::run,
    },
    Bench {
        name: "store",
        what: "a day of events taken, on disk, and searched, beside DuckDB",
        run: store::run,
    },
    Bench {
        name: "journal",
        what: "acks of durable batches over 1, 8 and 64 connections, beside the bare disk",
        run: journal::run,
    },
];
