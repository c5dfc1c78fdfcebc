//! The measured server: a process of its own on a fresh folder, asked only what a user can ask.

use crate::corpus;
use crate::error::BenchError;
use crate::figure::tell;
use crate::http::Client;
use crate::process;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take: thousands of rules are compiled first, with a debug build slowly.
const START_WAIT: Duration = Duration::from_secs(180);
/// How long a clean stop may take before it is forced.
const STOP_WAIT: Duration = Duration::from_secs(60);
/// How long the pipeline may take to work off what was sent.
const DRAIN_WAIT: Duration = Duration::from_secs(1_800);
/// How often a process that starts or ends is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How often the overview is asked for: bounds the error of a measured end, and costs the server a
/// few queries each time.
const DRAIN_POLL: Duration = Duration::from_millis(50);
/// Detection lag that counts as caught up, ms: one batch in flight is no backlog.
const LAG_SETTLED_MS: f64 = 100.0;
/// Longest pause after a 429 or 503: the figures should show the server, not a sleeping sender.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Pause when the server does not say how long.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// What a bench wants of its server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// Folders and files of rules.
    pub(crate) rules: Vec<PathBuf>,
    /// Where alerts go.
    pub(crate) webhook: Option<String>,
}

/// A running server. Dropping it ends the process and deletes its folder.
pub(crate) struct Server {
    child: Child,
    /// Address of the HTTP listener.
    pub(crate) http: SocketAddr,
    /// Address of the syslog listener over TCP.
    pub(crate) syslog_tcp: SocketAddr,
    token: String,
    dir: tempfile::TempDir,
}

/// What `GET /api/v1/overview` says, as far as benches care.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Overview {
    /// Records taken.
    pub(crate) received: u64,
    /// Records and expanded events whose fate is settled.
    pub(crate) settled: u64,
    /// Detection lag, ms.
    pub(crate) detect_ms: f64,
    /// Rules that run.
    pub(crate) rules_live: u64,
    /// How far down the order of what is given up the server is; 0 = nothing is.
    pub(crate) degraded: u64,
}

/// The binary to measure: `$ALCEDO_BIN`, else `alcedo` beside this program.
pub(crate) fn binary() -> Result<PathBuf, BenchError> {
    let path = match std::env::var_os("ALCEDO_BIN") {
        Some(path) => PathBuf::from(path),
        None => own_folder()?.join("alcedo"),
    };
    match path.is_file() {
        true => Ok(path),
        false => Err(BenchError::Missing {
            what: path.display().to_string(),
            hint: "`cargo build --release -p server` makes it, ALCEDO_BIN names another".into(),
        }),
    }
}

/// A fresh folder on a real disk: below `$ALCEDO_BENCH_DIR`, else beside this program. The system's
/// temporary folder may be in memory, where `fdatasync` costs nothing.
pub(crate) fn fresh_folder() -> Result<tempfile::TempDir, BenchError> {
    let base = match std::env::var_os("ALCEDO_BENCH_DIR") {
        Some(path) => PathBuf::from(path),
        None => own_folder()?.join("bench-data"),
    };
    let failed = || BenchError::io(format!("folder below {}", base.display()));
    std::fs::create_dir_all(&base).map_err(failed())?;
    tempfile::Builder::new().prefix("run-").tempdir_in(&base).map_err(failed())
}

fn own_folder() -> Result<PathBuf, BenchError> {
    let own = std::env::current_exe().map_err(BenchError::io("path of this program"))?;
    Ok(own.parent().unwrap_or(Path::new(".")).to_path_buf())
}

impl Server {
    /// Starts `alcedo run` and waits until it is ready.
    pub(crate) fn start(setup: &Setup) -> Result<Self, BenchError> {
        Self::start_in(setup, fresh_folder()?)
    }

    /// The same in a folder where another has run.
    pub(crate) fn start_in(setup: &Setup, dir: tempfile::TempDir) -> Result<Self, BenchError> {
        let binary = binary()?;
        // What the one before said of itself is not of this one.
        let _ = std::fs::remove_file(dir.path().join("data/run.json"));
        let config = dir.path().join("alcedo.yaml");
        let data = dir.path().join("data");
        std::fs::write(&config, config_text(&data, setup)).map_err(BenchError::io("config"))?;
        let log = File::create(dir.path().join("log")).map_err(BenchError::io("log"))?;
        let log_too = log.try_clone().map_err(BenchError::io("log"))?;
        let mut child = Command::new(&binary)
            .arg("run")
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too)
            .spawn()
            .map_err(BenchError::io(binary.display().to_string()))?;
        match ready(&mut child, &data, dir.path()) {
            Ok((http, syslog_tcp, token)) => Ok(Self { child, http, syslog_tcp, token, dir }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// A client with the admin token, on a connection of its own.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.http, &self.token)
    }

    /// CPU time of all threads so far, s.
    pub(crate) fn cpu_s(&self) -> Result<f64, BenchError> {
        process::cpu_s(self.child.id())
    }

    /// Peak resident memory so far, MiB.
    pub(crate) fn rss_max_mib(&self) -> Result<f64, BenchError> {
        process::rss_max_mib(self.child.id())
    }

    /// Waits until `count` records more than `before` went through detection and the store, all of
    /// which are durable already; gives the moment when detection had caught up. That is seen at
    /// once; the totals are those of the last second and only confirm it.
    pub(crate) fn drained(&self, before: &Overview, count: u64) -> Result<Instant, BenchError> {
        let mut client = self.client();
        let begun = Instant::now();
        let mut caught_up: Option<Instant> = None;
        loop {
            let now = overview(&mut client)?;
            caught_up = match now.detect_ms <= LAG_SETTLED_MS {
                true => caught_up.or_else(|| Some(Instant::now())),
                false => None,
            };
            let counted =
                now.received >= before.received + count && now.settled >= before.settled + count;
            if let Some(at) = caught_up.filter(|_| counted) {
                return Ok(at);
            }
            if begun.elapsed() > DRAIN_WAIT {
                return Err(BenchError::TimedOut {
                    what: format!("{count} records to go through the pipeline"),
                    waited_s: DRAIN_WAIT.as_secs(),
                    seen: format!("{now:?}, at the start {before:?}"),
                });
            }
            std::thread::sleep(DRAIN_POLL);
        }
    }

    /// Asks for a clean stop and waits for it. A server that ends badly is an error.
    pub(crate) fn stop(mut self) -> Result<(), BenchError> {
        self.ended()
    }

    /// The same; its folder is kept until what is given is dropped.
    pub(crate) fn stop_keeping(mut self) -> Result<tempfile::TempDir, BenchError> {
        self.ended()?;
        let empty = fresh_folder()?;
        Ok(std::mem::replace(&mut self.dir, empty))
    }

    fn ended(&mut self) -> Result<(), BenchError> {
        terminate(&mut self.child)?;
        match wait(&mut self.child, STOP_WAIT)? {
            Some(0) => Ok(()),
            code => Err(BenchError::server(format!(
                "did not end cleanly ({code:?}); its log ends with\n{}",
                log_end(self.dir.path())
            ))),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing to do when it has ended already, nobody to tell when this fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The state of a server.
pub(crate) fn overview(client: &mut Client) -> Result<Overview, BenchError> {
    let answer = client.get("/api/v1/overview")?;
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status != 200 || !value["totals"]["received"].is_u64() {
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        return Err(BenchError::server(format!("gave no overview ({}): {body}", answer.status)));
    }
    Ok(read_overview(&value))
}

fn read_overview(value: &Value) -> Overview {
    let total = |name: &str| value["totals"][name].as_u64().unwrap_or(0);
    let fates = ["stored", "deduplicated", "dropped", "joined", "quarantined"];
    Overview {
        received: total("received"),
        settled: fates.iter().map(|name| total(name)).sum(),
        detect_ms: value["lag"]["detect_ms"].as_f64().unwrap_or(0.0),
        rules_live: value["generation"]["rules_live"].as_u64().unwrap_or(0),
        degraded: value["degraded"]["level"].as_u64().unwrap_or(0),
    }
}

/// Waits until nothing is given up any more: what a burst asked for outlasts it by some seconds.
pub(crate) fn at_rest(client: &mut Client) -> Result<(), BenchError> {
    let begun = Instant::now();
    loop {
        let now = overview(client)?;
        if now.degraded == 0 {
            return Ok(());
        }
        if begun.elapsed() > DRAIN_WAIT {
            return Err(BenchError::TimedOut {
                what: "the server to give up nothing".to_owned(),
                waited_s: DRAIN_WAIT.as_secs(),
                seen: format!("{now:?}"),
            });
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What became of one post.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Posted {
    /// Journal offset of the first record.
    pub(crate) first: u64,
    /// How often the server asked to come again.
    pub(crate) refused: u64,
}

/// Posts events and comes again when told so. Returns once they are durable.
pub(crate) fn ingest(
    client: &mut Client,
    headers: &str,
    body: &[u8],
) -> Result<Posted, BenchError> {
    let mut refused = 0;
    loop {
        let answer = client.post("/api/v1/ingest?source=http", headers, body)?;
        match answer.status {
            200 => {
                let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let first = value["first"].as_u64().unwrap_or(0);
                return Ok(Posted { first, refused });
            }
            429 | 503 => {
                refused += 1;
                let pause = answer.retry_after_s.map_or(RETRY_PAUSE, Duration::from_secs);
                std::thread::sleep(pause.min(RETRY_PAUSE_MAX));
            }
            status => {
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                return Err(BenchError::server(format!("refused events ({status}): {body}")));
            }
        }
    }
}

/// Sends SIGTERM.
pub(crate) fn terminate(child: &mut Child) -> Result<(), BenchError> {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status();
    sent.map(|_| ()).map_err(BenchError::io("kill -TERM"))
}

/// Waits for the end of a process; `None` when it had to be killed, or died of a signal.
pub(crate) fn wait(child: &mut Child, at_most: Duration) -> Result<Option<i32>, BenchError> {
    let begun = Instant::now();
    while begun.elapsed() < at_most {
        if let Some(status) = child.try_wait().map_err(BenchError::io("wait"))? {
            return Ok(status.code());
        }
        std::thread::sleep(POLL);
    }
    child.kill().map_err(BenchError::io("kill"))?;
    child.wait().map_err(BenchError::io("wait"))?;
    Ok(None)
}

/// Rules of a bench that wants many: all of SigmaHQ, else our own.
pub(crate) fn many_rules(dir: &Path) -> Result<Vec<PathBuf>, BenchError> {
    if let Some(folders) = corpus::sigma_rules(dir)? {
        return Ok(folders);
    }
    tell("no SigmaHQ rules on this machine (sigma/rules.tar.zst): our own rules are used");
    Ok(vec![corpus::own_rules()])
}

fn config_text(data: &Path, setup: &Setup) -> String {
    // A JSON string is a YAML string with every character that could mean something escaped.
    let quoted = |text: &str| Value::from(text).to_string();
    let path = |path: &Path| quoted(&path.to_string_lossy());
    let mut text = format!(
        "data_dir: {}\n\
         listen:\n  http: 127.0.0.1:0\n\
         sources:\n\
         \x20 syslog:\n    type: syslog\n    listen: [\"tcp://127.0.0.1:0\"]\n\
         \x20 http:\n    type: http\n",
        path(data)
    );
    let rules: Vec<String> = setup.rules.iter().map(|rule| path(rule)).collect();
    let _ = writeln!(text, "rules: [{}]", rules.join(", "));
    match &setup.webhook {
        Some(url) => {
            let _ = writeln!(text, "notify:\n  - to: webhook\n    url: {}", quoted(url));
        }
        None => text.push_str("notify: []\n"),
    }
    text
}

type Doors = (SocketAddr, SocketAddr, String);

fn ready(child: &mut Child, data: &Path, dir: &Path) -> Result<Doors, BenchError> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(BenchError::io("wait"))? {
            let log = log_end(dir);
            let detail = format!("ended while it started ({status}); its log ends with\n{log}");
            return Err(BenchError::server(detail));
        }
        if let Some(doors) = doors(data)
            && Client::new(doors.0, "").get("/readyz").is_ok_and(|answer| answer.status == 200)
        {
            return Ok(doors);
        }
        if begun.elapsed() > START_WAIT {
            return Err(BenchError::TimedOut {
                what: "the server to be ready".into(),
                waited_s: START_WAIT.as_secs(),
                seen: log_end(dir),
            });
        }
        std::thread::sleep(POLL);
    }
}

/// Where the server listens, once it has said so.
fn doors(data: &Path) -> Option<Doors> {
    let run = std::fs::read(data.join("run.json")).ok()?;
    let run: Value = serde_json::from_slice(&run).ok()?;
    let http = run["http"].as_str()?.parse().ok()?;
    let listens = run["syslog"].as_array()?;
    let tcp = listens.iter().find(|listen| listen["transport"] == "tcp")?;
    let tcp = tcp["address"].as_str()?.parse().ok()?;
    let token = std::fs::read_to_string(data.join("admin.token")).ok()?;
    Some((http, tcp, token.trim().to_owned()))
}

/// The last lines the server wrote.
fn log_end(dir: &Path) -> String {
    let text = std::fs::read(dir.join("log")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_overview_counts_every_fate() {
        let value = json!({
            "totals": {"received": 10, "expanded": 1, "stored": 7, "deduplicated": 1, "dropped": 1,
                "joined": 1, "quarantined": 1, "refused": 5},
            "lag": {"detect_ms": 3, "store_ms": 4}, "generation": {"rules_live": 2},
        });
        let expected =
            Overview { received: 10, settled: 11, detect_ms: 3.0, rules_live: 2, degraded: 0 };
        assert_eq!(read_overview(&value), expected);
    }

    #[test]
    fn doors_are_read_when_complete_only() {
        let dir = tempfile::tempdir().unwrap();
        assert!(doors(dir.path()).is_none());
        let run = json!({"http": "127.0.0.1:8", "agent": null, "pid": 1, "syslog": [
            {"transport": "udp", "address": "127.0.0.1:1"},
            {"transport": "tcp", "address": "127.0.0.1:9"},
        ]});
        std::fs::write(dir.path().join("run.json"), run.to_string()).unwrap();
        assert!(doors(dir.path()).is_none());
        std::fs::write(dir.path().join("admin.token"), "alc_x\n").unwrap();
        let (http, tcp, token) = doors(dir.path()).unwrap();
        assert_eq!((http.port(), tcp.port(), token.as_str()), (8, 9, "alc_x"));
    }

    #[test]
    fn paths_cannot_break_the_configuration() {
        let setup = Setup { rules: vec!["/a \"b\": #c".into()], webhook: None };
        let text = config_text(Path::new("/data: x"), &setup);
        assert!(text.contains("rules: [\"/a \\\"b\\\": #c\"]\n"));
        assert!(text.starts_with("data_dir: \"/data: x\"\n"));
    }
}
