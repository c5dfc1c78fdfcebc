//! The real binary, from outside: command line, doors, restarts, the page.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod answers;
mod big_answers;
mod browser;
mod bulk;
mod cli;
mod contract;
mod degraded;
mod destinations;
mod detection;
mod exports;
mod flow;
mod grafana;
mod guarded_topics;
mod harness;
mod hec;
mod hostile;
mod kill9;
mod ledger_age;
mod otlp;
mod packs;
mod page;
mod page_work;
mod problems;
mod redact;
mod relp;
mod scarce;
mod stored;
mod stuck_store;
mod topics;
mod work;
