//! RELP against the real binary: rsyslog as a sender while either end is killed or stopped, and what a
//! plain client is told.

use super::harness::{Server, run};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Kills of the default run; `ALCEDO_RELP_KILLS` sets another number.
const KILLS_DEFAULT: u64 = 10;
/// One kill of so many comes while the one before is still being recovered from.
const KILL_IN_RECOVERY_EVERY: u64 = 5;
/// One kill of so many hits a server that has read nothing for a while.
const KILL_WHILE_STOPPED_EVERY: u64 = 2;
/// Messages that rsyslog sends without an answer: what may come twice when a connection breaks.
const WINDOW: u64 = 128;

/// An rsyslogd of our own, without a queue on disk. Ends the process, however the test ends.
struct Rsyslog {
    child: Child,
    config: PathBuf,
    folder: tempfile::TempDir,
}

impl Rsyslog {
    /// One that sends to `address`; `None` where its sender of RELP is not installed.
    fn start(address: SocketAddr) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("rsyslog.conf");
        let text = format!(
            "global(workDirectory=\"{dir}\")\nmodule(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             module(load=\"omrelp\")\n\
             main_queue(queue.type=\"LinkedList\" queue.size=\"500000\" queue.timeoutshutdown=\"60000\" \
             queue.dequeueBatchSize=\"64\")\n\
             input(type=\"imuxsock\" Socket=\"{dir}/log\" RateLimit.Interval=\"0\")\n\
             action(type=\"omrelp\" target=\"{}\" port=\"{}\" windowSize=\"{WINDOW}\" \
             action.resumeRetryCount=\"-1\" action.resumeInterval=\"1\" \
             template=\"RSYSLOG_SyslogProtocol23Format\")\n",
            address.ip(),
            address.port(),
            dir = folder.path().display(),
        );
        std::fs::write(&config, text).unwrap();
        let mut check = Command::new("rsyslogd");
        check.arg("-N1").arg("-f").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        if !check.status().is_ok_and(|status| status.success()) {
            println!("skipped: no rsyslogd with omrelp");
            return None;
        }
        let child = Self::spawn(&config, folder.path());
        Some(Self { child, config, folder })
    }

    fn spawn(config: &Path, folder: &Path) -> Child {
        let _ = std::fs::remove_file(folder.join("log"));
        let mut command = Command::new("rsyslogd");
        command.arg("-n").arg("-f").arg(config).arg("-i").arg(folder.join("pid"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        while !folder.join("log").exists() {
            assert!(began.elapsed() < Duration::from_secs(60), "rsyslogd does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        child
    }

    /// Where programs of this host log to.
    fn socket(&self) -> UnixDatagram {
        let socket = UnixDatagram::unbound().unwrap();
        socket.connect(self.folder.path().join("log")).unwrap();
        socket
    }

    /// Asks it to end.
    fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits for its end and starts it again.
    fn start_again(&mut self) {
        self.child.wait().unwrap();
        self.child = Self::spawn(&self.config, self.folder.path());
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn settings(address: SocketAddr) -> String {
    format!("notify: []\nsources:\n  edge: {{type: syslog, listen: ['relp://{address}']}}\n")
}

/// Fixed width: no number is a part of another.
fn hand_over(socket: &UnixDatagram, number: u64) {
    let line = format!("<38>Nov 24 02:14:00 sshd[77]: relp-{number:08}");
    socket.send(line.as_bytes()).unwrap();
}

/// Numbers of the messages that are stored, and how many rows there are: ten thousand numbers at a
/// time, and as many pages as an answer may have rows.
fn stored(server: &Server, handed_over: u64) -> (HashSet<u64>, u64) {
    let (mut numbers, mut rows) = (HashSet::new(), 0);
    for part in 0..=handed_over / 10_000 {
        for row in server.search(&format!("relp-{part:04}*")) {
            let message = row["message"].as_str().unwrap();
            let at = message.rfind("relp-").unwrap() + "relp-".len();
            numbers.insert(message[at..].parse().unwrap());
            rows += 1;
        }
    }
    (numbers, rows)
}

/// How long what rsyslog holds may take to arrive and to be searchable: it tries again after a time
/// that grows with each failure.
const ARRIVAL_WAIT: Duration = Duration::from_secs(180);

/// All that was handed over is there; how often something is there twice.
fn assert_none_is_lost(server: &Server, handed_over: u64) -> u64 {
    let began = Instant::now();
    loop {
        // Counting is cheap; there are at least as many rows as messages.
        let counted = server.search("relp-* | stats count() as n");
        let rows = counted.first().and_then(|row| row["n"].as_u64()).unwrap_or(0);
        let is_over = began.elapsed() > ARRIVAL_WAIT;
        if rows >= handed_over || is_over {
            let (numbers, rows) = stored(server, handed_over);
            let missing: Vec<u64> = (0..handed_over).filter(|n| !numbers.contains(n)).collect();
            if missing.is_empty() {
                assert_eq!(numbers.len() as u64, handed_over, "numbers that nobody has sent");
                return rows - handed_over;
            }
            let said = server.search("rsyslogd | sort -@timestamp | limit 5");
            assert!(
                !is_over,
                "{} of {handed_over} messages are missing: {:?}; rsyslogd says {said:?}",
                missing.len(),
                &missing[..missing.len().min(300)]
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// rsyslog comes back after a second, with all that has come meanwhile: what follows cuts a connection
/// that is full, so it must follow at once.
fn until_it_hears(server: &Server) {
    let began = Instant::now();
    let heard = || server.metric("alcedo_source_durable_records{source=\"edge\"}");
    while heard().is_none_or(|n| n == 0.0) {
        assert!(began.elapsed() < Duration::from_secs(60), "rsyslog does not come back");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Scenario: programs log to rsyslog, which forwards over RELP with a queue in memory only, while the
/// server is killed with SIGKILL ten times, also during recovery and with a full window unread.
/// Guarantees: every message arrives; at most a window of them comes twice for each connection that
/// broke.
#[test]
fn rsyslog_loses_nothing_while_the_server_is_killed() {
    let kills = std::env::var("ALCEDO_RELP_KILLS").ok().and_then(|n| n.parse().ok());
    let kills: u64 = kills.unwrap_or(KILLS_DEFAULT);
    let address = free_port();
    let Some(rsyslog) = Rsyslog::start(address) else { return };
    let mut server = Server::start(&settings(address));
    let (stop, handed_over) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let socket = rsyslog.socket();
            while !stop.load(SeqCst) {
                hand_over(&socket, handed_over.fetch_add(1, SeqCst));
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        for kill in 0..kills {
            until_it_hears(&server);
            std::thread::sleep(Duration::from_millis(kill * 7 % 40));
            if kill % KILL_WHILE_STOPPED_EVERY == 0 {
                // A window full of messages that its kernel has said yes to and that it never reads.
                server.signal("STOP");
                std::thread::sleep(Duration::from_millis(300));
            }
            server.kill();
            if kill % KILL_IN_RECOVERY_EVERY == 0 {
                server.start_and_kill_after(Duration::from_millis(kill * 3 % 40));
            }
            server.start_again();
        }
        stop.store(true, SeqCst);
    });
    let handed_over = handed_over.into_inner();
    let twice = assert_none_is_lost(&server, handed_over);
    println!("{kills} kills, {handed_over} messages: 0 lost, {twice} twice");
    assert!(handed_over > kills * 50, "{handed_over}");
    assert!(twice <= WINDOW * (kills + 1), "{twice} of {handed_over} came twice");
}

/// Scenario: rsyslogd is told to end while the server answers nothing, and goes on when it does; it is
/// started again; the server is stopped and started in order meanwhile.
/// Guarantees: every message that it had taken arrives, and all later ones.
#[test]
fn rsyslog_loses_nothing_when_either_is_stopped_in_order() {
    let address = free_port();
    let Some(mut rsyslog) = Rsyslog::start(address) else { return };
    let mut server = Server::start(&settings(address));
    let mut handed_over = 0;
    for round in 0..3 {
        let socket = rsyslog.socket();
        for part in 0..4 {
            if part == 2 {
                server.signal("STOP");
            }
            for _ in 0..150 {
                hand_over(&socket, handed_over);
                handed_over += 1;
            }
        }
        // Time to take them out of the socket.
        std::thread::sleep(Duration::from_millis(500));
        rsyslog.terminate();
        std::thread::sleep(Duration::from_millis(200));
        server.signal("CONT");
        rsyslog.start_again();
        if round == 1 {
            let socket = rsyslog.socket();
            hand_over(&socket, handed_over);
            handed_over += 1;
            server.stop();
            server.start_again();
        }
    }
    let twice = assert_none_is_lost(&server, handed_over);
    assert!(twice <= WINDOW, "{twice} of {handed_over} came twice");
}

/// A client in a few lines.
struct Client(TcpStream);

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut client = Self(stream);
        client.send("1 open 14 relp_version=0\n");
        client
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the answers end with `text`.
    fn hears(&mut self, text: &str) {
        let (mut heard, mut byte) = (Vec::new(), [0]);
        while !heard.ends_with(text.as_bytes()) {
            let n = self.0.read(&mut byte).unwrap_or(0);
            assert!(n > 0, "{text:?} is not in {:?}", String::from_utf8_lossy(&heard));
            heard.push(byte[0]);
        }
    }
}

/// Scenario: a message is answered, and the server is killed at once; then it is asked to end.
/// Guarantees: the message is there, as over any other syslog transport; a stop in order tells the
/// client; the listener has its name where others have theirs.
#[test]
fn what_was_answered_is_there_after_a_kill() {
    let mut server = Server::start(
        "sources:\n  edge: {type: syslog, listen: ['tcp://127.0.0.1:0', 'relp://127.0.0.1:0']}\n",
    );
    let line = "<38>1 2026-11-24T02:14:00Z h1 sshd 77 - - Failed password for root from \
                192.0.2.7 port 4242 ssh2";
    let mut client = Client::connect(server.syslog_at("relp"));
    client.hears("relp_version=0\nrelp_software=alcedo,0.1.0\ncommands=syslog\n");
    client.send(&format!("2 syslog {} {line}\n", line.len()));
    client.hears("2 rsp 6 200 OK\n");
    server.kill();
    server.start_again();
    let mut tcp = TcpStream::connect(server.syslog_at("tcp")).unwrap();
    tcp.write_all(format!("{line}\n").as_bytes()).unwrap();
    let rows = server.eventually("both", |s| {
        let rows = s.search("source.ip:192.0.2.7 and event.outcome:failure");
        (rows.len() == 2).then_some(rows)
    });
    let of = |key: &str| (rows[0][key].clone(), rows[1][key].clone());
    for key in ["message", "user.name", "event.module", "event.action", "alcedo.source"] {
        let (relp, tcp) = of(key);
        assert!(!relp.is_null() && relp == tcp, "{key}: {relp} and {tcp}");
    }
    let mut client = Client::connect(server.syslog_at("relp"));
    client.hears("commands=syslog\n");
    server.stop();
    client.hears("0 serverclose 0\n");
    let dir = server.data_dir.to_str().unwrap().to_owned();
    let dump = run(&["journal", "dump", "--data-dir", &dir]);
    let dump = String::from_utf8_lossy(&dump.stdout);
    assert!(dump.contains("\"relp\""), "{dump}");
    // Its sender knows what has no answer: no loss is feared for it, only for the listener of TCP.
    let feared: Vec<&str> = dump.lines().filter(|line| line.contains("crash_unacked")).collect();
    assert!(feared.len() == 1 && feared[0].contains("syslogtcp"), "{dump}");
}

/// Scenario: a server under overload takes no streams; a sender speaks RELP without TLS where TLS is
/// asked for.
/// Guarantees: the first has no answer and nothing is stored; the second is closed.
#[test]
fn overload_and_missing_tls_have_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let tls = folder.path().join("tls");
    let made = run(&["certs", "init", "--out", tls.to_str().unwrap(), "--host", "localhost"]);
    assert!(made.status.success());
    let server = Server::start(&format!(
        "tls: {{cert: '{0}/cert.pem', key: '{0}/key.pem'}}\n\
         sources:\n  edge: {{type: syslog, listen: ['relps://127.0.0.1:0']}}\n",
        tls.display()
    ));
    let mut wrong = Client::connect(server.syslog_at("relps"));
    let mut heard = Vec::new();
    let _ = wrong.0.read_to_end(&mut heard);
    assert!(!heard.windows(3).any(|w| w == b"rsp"), "{heard:?}");
    drop(server);

    let server = Server::start(
        "limits: {memory: 64KiB}\nsources:\n  edge: {type: syslog, listen: ['relp://127.0.0.1:0']}\n",
    );
    server.eventually("level 6", |s| (s.metric("alcedo_degraded_level")? == 6.0).then_some(()));
    let mut client = Client::connect(server.syslog_at("relp"));
    client.hears("commands=syslog\n");
    client.send("2 syslog 20 <13>h app: waits-now\n");
    client.0.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    assert!(client.0.read(&mut [0]).is_err(), "it was answered");
    assert!(server.search("waits-now").is_empty());
}
