//! `alcedo run` and `alcedo agent`: until they are told to stop.

use super::check::config_of;
use super::complain;
use crate::cli::{Global, Run};
use crate::config::Transport;
use crate::exit::{Exit, Failure, Outcome};
use crate::run::{Server, Start};
use detect::Changed;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How often the running parts are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// `alcedo run`
pub fn run(args: &Run, global: &Global) -> Outcome {
    let mut config = config_of(global)?;
    config.rules.extend_from_slice(&args.rules);
    let runtime = crate::runtime()?;
    let quiet = global.quiet;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let terminal: Option<crate::run::app::Terminal> =
            if quiet { None } else { Some(Box::new(complain)) };
        let server = Server::start(config, Start { demo: false, terminal }).await?;
        if !quiet {
            introduce(&server);
        }
        let alerts = crate::run::terminal::follow(&server);
        let reason = until_stopped(&server, &mut signals).await;
        complain(&format!("stopping: {reason}"));
        alerts.abort();
        let failed = server.has_failed();
        server.stop().await?;
        Ok(if failed { Exit::Bug } else { Exit::Ok })
    })
}

/// Prints where to send events and where to look.
pub fn introduce(server: &Server) {
    let scheme = if server.app.has_tls() { "https" } else { "http" };
    let generation = server.app.generation();
    complain(&format!("  data       {}", server.app.config.data_dir.display()));
    let problems = detect::RefusedRule::of(&*server.app.archive.problems()).len();
    complain(&format!(
        "  rules      {} live, {problems} not in force",
        generation.rules.rules().len()
    ));
    super::check::warn_of_retention(&server.app.config);
    for (transport, address) in &server.syslog {
        complain(&format!("  syslog     {} {address}", transport.name()));
    }
    if let Some(address) = server.agents {
        complain(&format!("  agents     {address}"));
    }
    complain(&format!("  http       {scheme}://{}", server.http));
    complain(&format!("  open       {scheme}://{}/#setup={}", server.http, server.setup_token));
    complain("             (one time, 15 minutes)");
    // What `logger` speaks.
    let flag = |transport| match transport {
        Transport::Udp => Some("-d"),
        Transport::Tcp => Some("-T"),
        Transport::Tls | Transport::Relp | Transport::Relps => None,
    };
    let plain = server.syslog.iter().find_map(|(transport, at)| Some((flag(*transport)?, at)));
    if let Some((flag, address)) = plain {
        let (ip, port) = (address.ip(), address.port());
        complain(&format!("  try        logger {flag} -n {ip} -P {port} 'hello from this host'"));
    }
    let token = server.ingest_token.as_deref().unwrap_or("$ALCEDO_TOKEN");
    complain(&format!(
        "  try        curl -s {scheme}://{}/api/v1/ingest -H 'Authorization: Bearer {token}' -d '{{\"message\":\"hello\"}}'",
        server.http
    ));
}

/// The signals that a server answers to.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Listens from now on. Before the server starts: until then a signal ends the process.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Waits for a signal, or for a part that ended by itself. SIGHUP reads the rules again.
pub async fn until_stopped(server: &Server, signals: &mut Signals) -> &'static str {
    let mut look = tokio::time::interval(WATCH_EVERY);
    loop {
        let reload = tokio::select! {
            _ = signals.interrupt.recv() => return "interrupted",
            _ = signals.terminate.recv() => return "asked to",
            _ = signals.hangup.recv() => Some(Changed::Anything),
            changed = server.rules_changed() => Some(changed),
            _ = look.tick() => None,
        };
        if server.has_failed() {
            return "a part of the pipeline has failed";
        }
        if let Some(changed) = reload {
            reload_rules(server, changed).await;
        }
    }
}

async fn reload_rules(server: &Server, changed: Changed) {
    let app = server.app.clone();
    let now_ns = io::intake::wall_ns();
    let actor = ledger::Actor { who: "alcedo".into(), at_ns: now_ns, client: "watcher".into() };
    let reloaded = tokio::task::spawn_blocking(move || app.reload(actor, &changed)).await;
    match reloaded {
        Ok(Ok(done)) => complain(&format!(
            "  rules      generation {}: {} live, {} not covered, {} failed{} ({:.1} ms)",
            done.generation,
            done.live,
            done.not_covered,
            done.failed,
            super::rules::kept(done.kept as u64),
            done.elapsed_ms
        )),
        Ok(Err(failure)) => complain(&format!("  rules      unchanged: {failure}")),
        Err(error) => complain(&format!("  rules      unchanged: {error}")),
    }
}

/// `alcedo agent`
pub fn agent(args: &agent::Args) -> Outcome {
    let runtime = crate::runtime()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        tokio::spawn(async move {
            let term = signal(SignalKind::terminate());
            match term {
                Ok(mut term) => tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = term.recv() => {}
                },
                Err(_) => {
                    let _ = tokio::signal::ctrl_c().await;
                }
            }
            stopping.cancel();
        });
        let ran = agent::run(args.clone(), stop).await;
        ran.map_err(|e| {
            let exit = if e.is_invalid() { Exit::Invalid } else { Exit::Unreachable };
            Failure::new(exit, e, "see `alcedo agent --help`")
        })?;
        Ok(Exit::Ok)
    })
}
