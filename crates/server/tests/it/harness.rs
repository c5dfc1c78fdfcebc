//! Starts the real binary on free loopback ports and a folder of its own.

use super::browser::http;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take, in the slowest build on a busy machine.
const START_WAIT: Duration = Duration::from_secs(120);
/// How long a test waits for what must happen: a debug build that has 36 MB to read on a machine with other
/// work takes more than half a minute. A test that passes does not wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The binary under test.
pub(crate) fn alcedo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alcedo"));
    command.env_remove("ALCEDO_TOKEN").env_remove("ALCEDO_CONFIG").env_remove("ALCEDO_DATA_DIR");
    command
}

/// Runs a verb to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    alcedo().args(args).stdin(Stdio::null()).output().unwrap()
}

/// Runs a verb with standard input.
pub(crate) fn run_with_input(args: &[&str], input: &[u8]) -> Output {
    let mut child = alcedo()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Standard output as JSON lines.
pub(crate) fn json_lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

/// A running server.
pub(crate) struct Server {
    pub(crate) http: SocketAddr,
    pub(crate) admin_token: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) syslog: Vec<(String, SocketAddr)>,
    binary: fn() -> Command,
    pub(crate) config: PathBuf,
    child: Child,
    _folder: tempfile::TempDir,
}

/// Leaves a stopped server's folder with 400 events of 60 KB: `big`.
pub(crate) fn big_events(data_dir: &Path) {
    let mut server = Server::start_as("", Some(data_dir), alcedo);
    let filler = "x".repeat(60_000);
    for part in 0..20 {
        let line = |n: u32| format!("{{\"message\":\"big {part} {n} {filler}\"}}\n");
        server.ingest(&(0..20).map(line).collect::<String>());
    }
    server.eventually("the events", |s| {
        (s.search("big | stats count()")[0]["count"] == 400).then_some(())
    });
    server.stop();
}

impl Server {
    /// Starts with these settings added to free ports and a fresh folder. Settings may set their
    /// own `sources`.
    pub(crate) fn start(settings: &str) -> Self {
        Self::start_as(settings, None, alcedo)
    }

    /// The same with another way to start the binary, and with the data in another folder.
    pub(crate) fn start_as(
        settings: &str,
        data_dir: Option<&Path>,
        binary: fn() -> Command,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = data_dir.map_or_else(|| folder.path().join("data"), Path::to_path_buf);
        let mut text =
            format!("data_dir: {}\nlisten: {{http: '127.0.0.1:0'}}\n", data_dir.display());
        if !settings.contains("sources:") {
            text.push_str(
                "sources:\n  syslog: {type: syslog, listen: ['udp://127.0.0.1:0', 'tcp://127.0.0.1:0']}\n  \
                 http: {type: http}\n",
            );
        }
        text.push_str(settings);
        let config = folder.path().join("alcedo.yaml");
        std::fs::write(&config, text).unwrap();
        let child = spawn(binary, &config, &data_dir);
        let mut server = Self {
            binary,
            http: "127.0.0.1:0".parse().unwrap(),
            admin_token: String::new(),
            data_dir,
            syslog: Vec::new(),
            config,
            child,
            _folder: folder,
        };
        server.wait_ready();
        server
    }

    /// A search for all of [`big_events`], whose answer nobody reads: the connection, with the answer begun.
    pub(crate) fn search_unread(&self) -> TcpStream {
        let mut unread = TcpStream::connect(self.http).unwrap();
        let body = r#"{"query":"big","limit":0}"#;
        write!(
            unread,
            "POST /api/v1/search HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Accept: application/x-ndjson\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.http,
            self.admin_token,
            body.len()
        )
        .unwrap();
        let mut head = [0; 12];
        unread.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        unread
    }

    fn wait_ready(&mut self) {
        let began = Instant::now();
        loop {
            let run = std::fs::read(self.data_dir.join("run.json")).ok();
            let run: Option<Value> = run.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            if let Some(run) = run.filter(|r| r["pid"] == self.child.id()) {
                self.http = run["http"].as_str().unwrap().parse().unwrap();
                let listens = run["syslog"].as_array().unwrap().iter();
                self.syslog = listens
                    .map(|l| {
                        let address = l["address"].as_str().unwrap().parse().unwrap();
                        (l["transport"].as_str().unwrap().to_owned(), address)
                    })
                    .collect();
                let token = std::fs::read_to_string(self.data_dir.join("admin.token"));
                self.admin_token = token.unwrap_or_default();
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended while starting: {status}");
            }
            assert!(began.elapsed() < START_WAIT, "the server does not get ready");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Address of a syslog listener.
    pub(crate) fn syslog_at(&self, transport: &str) -> SocketAddr {
        self.syslog.iter().find(|(name, _)| name == transport).unwrap().1
    }

    /// Asks the API; status and JSON.
    pub(crate) fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
        self.send(method, path, token, &[("Content-Type", "application/json")], body.as_bytes())
    }

    /// Asks the API with own headers and bytes.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, Value) {
        let bearer = format!("Bearer {token}");
        let mut all = headers.to_vec();
        if !token.is_empty() {
            all.push(("Authorization", &bearer));
        }
        let (status, answer) = http(self.http, method, path, &all, body);
        (status, serde_json::from_slice(&answer).unwrap_or(Value::Null))
    }

    /// GET as the administrator.
    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, &self.admin_token, "");
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Number of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Rows of a search as the administrator.
    pub(crate) fn search(&self, query: &str) -> Vec<Value> {
        let body = serde_json::json!({"query": query, "limit": 100_000}).to_string();
        let (status, answer) = self.ask("POST", "/api/v1/search", &self.admin_token, &body);
        assert_eq!(status, 200, "{query}: {answer}");
        answer["rows"].as_array().unwrap().clone()
    }

    /// Posts NDJSON as the administrator and expects it to be durable.
    pub(crate) fn ingest(&self, body: &str) {
        let headers = [("Content-Type", "application/x-ndjson")];
        let (status, answer) =
            self.send("POST", "/api/v1/ingest", &self.admin_token, &headers, body.as_bytes());
        assert_eq!(status, 200, "{answer}");
    }

    /// Asks until `found` is satisfied.
    pub(crate) fn eventually<T>(&self, what: &str, found: impl FnMut(&Self) -> Option<T>) -> T {
        self.eventually_within(PATIENCE, what, found)
    }

    /// As [`Server::eventually`], for what takes longer.
    pub(crate) fn eventually_within<T>(
        &self,
        wait: Duration,
        what: &str,
        mut found: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        let began = Instant::now();
        loop {
            if let Some(value) = found(self) {
                return value;
            }
            assert!(began.elapsed() < wait, "{what} does not happen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Pulls the plug.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts on the same folder and pulls the plug before it is ready.
    pub(crate) fn start_and_kill_after(&mut self, wait: Duration) {
        self.child = spawn(self.binary, &self.config, &self.data_dir);
        std::thread::sleep(wait);
        self.kill();
    }

    /// Starts again on the same folder.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(self.binary, &self.config, &self.data_dir);
        self.wait_ready();
    }

    /// Adds settings for the next start.
    pub(crate) fn configure(&self, settings: &str) {
        let mut text = std::fs::read_to_string(&self.config).unwrap();
        text.push_str(settings);
        std::fs::write(&self.config, text).unwrap();
    }

    /// A metric's value, by its name with labels.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let bearer = format!("Bearer {}", self.admin_token);
        let (status, text) = http(self.http, "GET", "/metrics", &[("Authorization", &bearer)], b"");
        assert_eq!(status, 200);
        let text = String::from_utf8(text).unwrap();
        text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Posts records and returns the status with `Retry-After`.
    pub(crate) fn post(&self, body: &str) -> (u16, Option<u32>) {
        let told = self.post_to("/api/v1/ingest", "application/x-ndjson", body);
        (told.0, told.1)
    }

    /// Posts as the administrator: status, `Retry-After`, body.
    pub(crate) fn post_to(&self, path: &str, kind: &str, body: &str) -> (u16, Option<u32>, String) {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.admin_token,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A server that refuses early may close before all is written.
        let _ = stream.write_all(body.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let head = head.to_lowercase();
        let status = head.get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0);
        let retry = head.lines().find_map(|l| l.strip_prefix("retry-after: ")?.trim().parse().ok());
        (status, retry, body.to_owned())
    }

    /// A body for this source of which so much is there, and the rest never comes.
    pub(crate) fn half_a_body(&self, source: &str, bytes: usize) -> TcpStream {
        let mut stream = TcpStream::connect(self.http).unwrap();
        let head = format!(
            "POST /api/v1/ingest?source={source} HTTP/1.1\r\nHost: x\r\n\
             Authorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
            self.admin_token,
            bytes + 1
        );
        stream.write_all(head.as_bytes()).unwrap();
        // One that is refused may be closed before all is written.
        let _ = stream.write_all(&vec![b'x'; bytes]);
        stream
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Asks it to end and waits.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "stopped with {status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(binary: fn() -> Command, config: &Path, data_dir: &Path) -> Child {
    let _ = std::fs::remove_file(data_dir.join("run.json"));
    binary()
        .args(["run", "-c", config.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
