//! The binary: verbs, configuration, wiring, the HTTP API, the page, the demo.
//!
//! ```text
//! command line --cli--> verb --+--> files, generation        (parse, hunt, check: no server)
//!                              +--> run::Server              (run, demo)
//!                              +--> client --HTTP--> api     (search, tail, alerts, rules, ...)
//! ```
//! Invariant: no algorithm lives here. What is measured, matched, stored or proven is another
//! room's; this one connects them.
//!
//! Reading order: [`cli`], [`config`], [`generation`], [`history`], [`run`], [`api`], [`verbs`], [`demo`].
#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod demo;
pub mod exit;
pub mod files;
pub mod generation;
pub mod history;
pub mod run;
pub mod verbs;

use clap::Parser;
use cli::{Cli, Verb};
use exit::{Exit, Outcome};
use std::process::ExitCode;

/// Reads the command line, runs the verb, tells how it ended.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let filter = tracing_subscriber::EnvFilter::try_from_env("ALCEDO_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    match run(&cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let exit = failure.exit;
            let report = miette::Report::new(failure);
            verbs::report(&format!("{report:?}"));
            exit.into()
        }
    }
}

fn run(cli: &Cli) -> Outcome {
    let global = &cli.global;
    match &cli.verb {
        Verb::Demo(args) => demo::run(args),
        Verb::Run(args) => verbs::serve::run(args, global),
        Verb::Agent(args) => verbs::serve::agent(args),
        Verb::Check(args) => verbs::check::all(global, &args.paths),
        Verb::Parse(args) => verbs::parse::run(args, global),
        Verb::Packs(verb) => verbs::packs::run(verb, global),
        Verb::Redact(args) => verbs::redact::run(args, global),
        Verb::Hunt(args) => verbs::hunt::run(args, global),
        Verb::Search(args) => verbs::ask::search(args, global),
        Verb::Searches(verb) => verbs::ask::searches(verb, global),
        Verb::Sql(args) => verbs::ask::sql(args, global),
        Verb::Export(args) => verbs::export::run(args, global),
        Verb::Tail(args) => verbs::ask::tail(args, global),
        Verb::Around(args) => verbs::ask::around(args, global),
        Verb::Alerts(verb) => verbs::ask::alerts(verb, global),
        Verb::Rules(verb) => verbs::rules::run(verb, global),
        Verb::Sources => verbs::ask::sources(global),
        Verb::Destinations(verb) => verbs::ask::destinations(verb, global),
        Verb::Tokens(verb) => verbs::ask::tokens(verb, global),
        Verb::Reparse(args) => verbs::reparse::run(args, global),
        Verb::Retention(args) => verbs::keep::retention(args, global),
        Verb::Hold(verb) => verbs::keep::hold(verb, global),
        Verb::Delete(args) => verbs::keep::delete(args, global),
        Verb::Backup(verb) => verbs::backup::run(verb, global),
        Verb::Restore(args) => verbs::backup::restore(args, global),
        Verb::Verify(what) => verbs::verify::run(&verbs::check::config_of(global)?, what.far),
        Verb::Store(verb) => verbs::store::run(verb, &verbs::check::config_of(global)?),
        Verb::Journal(verb) => {
            verbs::journal::run(verb, &verbs::check::config_of(global)?.data_dir, global)
        }
        Verb::Certs(verb) => verbs::certs::run(verb),
    }
}

/// A runtime for verbs that need sockets.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, exit::Failure> {
    let built = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(precedence::go_first)
        .build();
    built.map_err(|e| exit::Failure::new(Exit::Bug, e, "the system gives no threads"))
}
