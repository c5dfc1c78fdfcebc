//! One file per verb. Data goes to standard output, everything else to standard error.

pub mod ask;
pub mod backup;
pub mod certs;
pub mod check;
pub mod export;
pub mod hunt;
pub mod journal;
pub mod keep;
pub mod packs;
pub mod parse;
pub mod redact;
pub mod reparse;
pub mod rules;
pub mod serve;
pub mod store;
mod tree;
pub mod verify;

use crate::cli::{Global, Output};
use crate::exit::{Exit, Failure};
use std::io::IsTerminal;

/// The output form: as asked for, else a table on a terminal and NDJSON otherwise.
pub fn output(global: &Global) -> Output {
    global.output.unwrap_or(match std::io::stdout().is_terminal() {
        true => Output::Table,
        false => Output::Ndjson,
    })
}

/// Says something on standard error, with control characters made visible.
pub fn complain(text: &str) {
    for line in text.lines() {
        report(&event::text::render(line.as_bytes()));
    }
}

/// Says that pseudonyms made here are not those of the server, if so: for verbs that can do without.
pub fn note_other_key(config: &crate::config::Config) {
    if let Err(failure) = crate::generation::server_key(config) {
        complain(&format!("note: pseudonyms made here are not the server's: {failure}"));
    }
}

/// Prints text of our own making on standard error as it is.
#[expect(clippy::print_stderr, reason = "verbs talk to people on standard error")]
pub fn report(text: &str) {
    eprintln!("{text}");
}

/// Prints a line of data on standard output. A closed pipe (`| head`) ends the verb.
pub fn say(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").is_err() {
        std::process::exit(0);
    }
}

/// Whether a server has this data folder open.
pub fn is_running(data_dir: &std::path::Path) -> bool {
    let lock = data_dir.join("data").join("LOCK");
    let held = ::journal::Fs::lock(&::journal::OsFs, &lock, false);
    held.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
}

/// The key `rate` of a progress bar: whole rows a second.
pub fn rate(state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write) {
    let _ = write!(out, "{}/s", indicatif::HumanCount(state.per_sec() as u64));
}

/// A closed pipe ends a verb quietly; any other failure to write is told.
pub fn written(result: std::io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => Err(Failure::new(Exit::Partial, e, "standard output cannot be written")),
        Ok(()) => Ok(()),
    }
}
