//! `alcedo demo`: the real server on a temporary folder, fed with an ordinary day and one attack.

pub mod lines;
pub mod noise;
pub mod story;

use crate::cli::Demo;
use crate::config::{Config, Notify, NotifyTo, Source, SourceKind, SyslogListen, Transport};
use crate::exit::{Exit, Failure, Outcome};
use crate::run::{Server, Start};
use crate::verbs::serve::{Signals, until_stopped};
use crate::verbs::{complain, say};
use io::http_client::HttpClient;
use noise::Noise;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use story::{Door, SCENES};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// The ordinary day runs alone for so long: rules that know what is new have to learn what is not.
const LEARN: Duration = Duration::from_secs(4);
/// How long our own `first_seen` rules learn, and how long they do in a demo of half a minute.
const LEARN_FOR: &str = "learn-for: 7d";
/// See [`LEARN_FOR`].
const LEARN_FOR_DEMO: &str = "learn-for: 5s";
/// Noise is sent in steps of this length.
const STEP: Duration = Duration::from_millis(50);
/// Seed of the noise: every demo shows the same day.
const SEED: u64 = 0x5eed;

/// The rules that tell the story, loaded from files like any others. The rest of our own rules would
/// comment on the noise around it.
#[derive(rust_embed::RustEmbed)]
#[folder = "../../rules"]
#[include = "demo/*.yml"]
#[include = "linux/ssh_guessed_password.yml"]
#[include = "linux/log_wiped.yml"]
#[include = "windows/connection_to_new_address.yml"]
#[include = "windows/encoded_powershell.yml"]
#[include = "windows/log_cleared.yml"]
#[include = "windows/logon_from_new_address.yml"]
#[include = "windows/office_child_process.yml"]
struct Rules;

/// Runs the verb.
pub fn run(args: &Demo) -> Outcome {
    let (data_dir, temporary) = folder(args)?;
    let runtime = crate::runtime()?;
    let played = runtime.block_on(play(args, &data_dir, temporary));
    drop(runtime);
    if temporary {
        let _ = std::fs::remove_dir_all(&data_dir);
    } else {
        complain(&format!("  kept       {}", data_dir.display()));
    }
    played
}

fn folder(args: &Demo) -> Result<(PathBuf, bool), Failure> {
    if let Some(dir) = &args.keep {
        return Ok((dir.clone(), false));
    }
    let dir = std::env::temp_dir().join(format!("alcedo-demo-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    Ok((dir, true))
}

async fn play(args: &Demo, data_dir: &Path, temporary: bool) -> Outcome {
    let mut signals = Signals::listen()?;
    let server = Server::start(config(args, data_dir)?, start()).await?;
    introduce(&server, temporary);
    let alerts = crate::run::terminal::follow(&server);
    let doors = Doors::open(&server).await?;
    let (rate, stop_after) = (args.rate, args.stop_after);
    let player = tokio::spawn(async move { stream(doors, rate).await });
    let ended = tokio::select! {
        reason = until_stopped(&server, &mut signals) => reason,
        () = after(stop_after) => "the time is over",
        failed = player => {
            if let Ok(Err(error)) = failed {
                complain(&format!("the demo's senders failed: {error}"));
            }
            "the senders have ended"
        }
    };
    complain(&format!("  stopping   {ended}"));
    // What has fired but is not shown yet is shown before the end.
    tokio::time::sleep(Duration::from_millis(300)).await;
    alerts.abort();
    match temporary {
        true => server.discard().await?,
        false => server.stop().await?,
    }
    Ok(Exit::Ok)
}

async fn after(seconds: u64) {
    match seconds {
        0 => std::future::pending().await,
        seconds => tokio::time::sleep(Duration::from_secs(seconds)).await,
    }
}

fn start() -> Start {
    Start { demo: true, terminal: None }
}

fn config(args: &Demo, data_dir: &Path) -> Result<Config, Failure> {
    let rules = data_dir.join("rules");
    std::fs::create_dir_all(&rules)?;
    for name in Rules::iter() {
        let Some(file) = Rules::get(&name) else { continue };
        let text = String::from_utf8_lossy(&file.data).replace(LEARN_FOR, LEARN_FOR_DEMO);
        std::fs::write(rules.join(name.replace('/', "_")), text)?;
    }
    let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let listen = |transport| SyslogListen { transport, address: loopback(0) };
    let syslog = SourceKind::Syslog(vec![listen(Transport::Udp), listen(Transport::Tcp)]);
    Ok(Config {
        data_dir: data_dir.to_owned(),
        http: loopback(args.port),
        sources: vec![Source::of("syslog", syslog), Source::of("windows", SourceKind::Http)],
        rules: vec![rules],
        notify: vec![Notify {
            name: "terminal".into(),
            to: NotifyTo::Terminal,
            min_level: event::Level::Low,
        }],
        ..Config::default()
    })
}

fn introduce(server: &Server, temporary: bool) {
    let kept = if temporary { " (deleted on exit; --keep DIR keeps it)" } else { "" };
    complain(&format!("  data       {}{kept}", server.app.config.data_dir.display()));
    let syslog = server.syslog.iter().map(|(_, a)| a.to_string()).collect::<Vec<_>>().join(", ");
    complain(&format!("  listening  syslog {syslog}, http {}", server.http));
    let rules = server.app.generation().rules.rules().len();
    complain(&format!("  rules      {rules} of our own"));
    say(&format!("  open       http://{}/#setup={}", server.http, server.setup_token));
    complain("             (one time, 15 minutes)   Ctrl-C stops");
}

/// The senders' connections: what hosts and collectors would use.
struct Doors {
    syslog: TcpStream,
    http: HttpClient,
    url: String,
    held: Vec<u8>,
}

impl Doors {
    async fn open(server: &Server) -> Result<Self, Failure> {
        let tcp = server.syslog.iter().find(|(transport, _)| *transport == Transport::Tcp);
        let (_, address) = tcp.ok_or_else(|| Failure::new(Exit::Bug, "no TCP listener", ""))?;
        let token = server.ingest_token.clone().unwrap_or_default();
        let http = HttpClient::new(&token, None)
            .map_err(|e| Failure::new(Exit::Bug, e, "loopback HTTP"))?;
        Ok(Self {
            syslog: TcpStream::connect(address).await?,
            http,
            url: format!("http://{}/api/v1/ingest?source=windows", server.http),
            held: Vec::new(),
        })
    }

    async fn send(&mut self, door: Door, line: &str) -> std::io::Result<()> {
        match door {
            Door::Syslog => {
                self.syslog.write_all(line.as_bytes()).await?;
                self.syslog.write_all(b"\n").await
            }
            Door::Http => {
                self.held.extend_from_slice(line.as_bytes());
                self.held.push(b'\n');
                Ok(())
            }
        }
    }

    /// Posts what is held, as a collector does that sends what it has.
    async fn flush(&mut self) -> std::io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let body = std::mem::take(&mut self.held);
        let sent = self.http.bytes(&self.url, "application/x-ndjson", body).await;
        sent.map(|_| ()).map_err(std::io::Error::other)
    }
}

/// Plays: noise all the time, the attack once, after the rules have learned the ordinary day.
async fn stream(mut doors: Doors, rate: u32) -> std::io::Result<()> {
    let mut noise = Noise::new(SEED);
    let start = Instant::now();
    let mut step = tokio::time::interval(STEP);
    let mut sent = 0u64;
    let mut scenes = SCENES.iter().peekable();
    loop {
        step.tick().await;
        let elapsed = start.elapsed();
        let due = (elapsed.as_millis() as u64 * u64::from(rate)) / 1_000;
        while sent < due {
            let (door, line) = noise.line(io::intake::wall_ns());
            doors.send(door, &line).await?;
            sent += 1;
        }
        let played_ms = elapsed.saturating_sub(LEARN).as_millis() as u64;
        while elapsed > LEARN && scenes.peek().is_some_and(|s| s.at_ms <= played_ms) {
            if let Some(scene) = scenes.next() {
                doors.send(scene.door, &(scene.line)(io::intake::wall_ns())).await?;
            }
        }
        doors.flush().await?;
    }
}
