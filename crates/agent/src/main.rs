//! `alcedo-agent`: ships log files of this host to a server.
#![forbid(unsafe_code)]

use clap::Parser;
use std::io::IsTerminal;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Ship log files of this host to an Alcedo server.
#[derive(Parser)]
#[command(name = "alcedo-agent", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    args: agent::Args,
}

/// Options, settings or files are not valid; the same number as in `alcedo`.
const INVALID: u8 = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Cli { args } = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours);
    log.with_writer(std::io::stderr).init();
    let stop = CancellationToken::new();
    tokio::spawn(cancel_on_signal(stop.clone()));
    match agent::run(args, stop).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("alcedo-agent: {error}");
            ExitCode::from(if error.is_invalid() { INVALID } else { 1 })
        }
    }
}

async fn cancel_on_signal(stop: CancellationToken) {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    if let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    }
}
