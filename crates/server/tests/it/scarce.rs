//! A disk that fills up and memory that is capped, around the real binary.

use super::degraded::{resident, steps_of};
use super::harness::{Server, alcedo};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Size of the file system that is filled: two prepared segments of 64 MiB, the ledger's, and room.
const DISK_MIB: u64 = 640;
/// Seconds of the burst; `ALCEDO_BURST_S` sets another number.
const BURST_S_DEFAULT: u64 = 5;
/// The memory cap.
const CAP_BYTES: u64 = 512 << 20;
/// Connections that send in the burst, and those that are open and send now and then.
const SENDERS: usize = 16;
/// See [`SENDERS`].
const IDLERS: usize = 200;
/// What analysts ask meanwhile: all rows counted, sorted, and the newest whole; one that finds nothing.
const ANALYSTS: [&str; 4] = [
    "burst-record | stats count() as n by message",
    "burst-record | sort message | head 100",
    "burst-record",
    "nowhere-to-be-found | stats count() as n",
];

/// A source that is quiet for so long is an alert, which time alone decides.
const SILENT_AFTER_S: u64 = 45;

const RULE: &str = "title: Marker seen\nid: 44444444-4444-4444-8444-444444444444\nlogsource: {product: linux}\ndetection:\n  sel:\n    - xyzzy\n  condition: sel\nlevel: high\n";

/// A file system of its own, in a file; unmounted when dropped.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    /// `None` where mounting is not allowed.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (file, at) = (dir.path().join("disk"), dir.path().join("mnt"));
        std::fs::create_dir(&at).unwrap();
        std::fs::File::create(&file).unwrap().set_len(DISK_MIB << 20).unwrap();
        let run = |command: &str, args: &[&str], path: &[&Path]| {
            let out = Command::new(command).args(args).args(path).output();
            out.is_ok_and(|out| out.status.success())
        };
        let made = run("mkfs.ext4", &["-q", "-F", "-m", "0"], &[&file])
            && run("mount", &["-o", "loop"], &[&file, &at]);
        made.then_some(Self { dir })
    }

    fn at(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.at()).status();
    }
}

/// Scenario (R5): the data folder is on an ext4 file system in a file; somebody else fills it up to
/// the reserve while events and alerts are on their way; then there is space again.
/// Guarantees: senders are refused within a second, with a time to come again; searches answer, what
/// was taken before becomes alerts, and so does silence, which time decides; tokens can be made and
/// audited; it resumes by itself within 5 s.
#[test]
fn a_full_disk_refuses_and_the_rest_goes_on() {
    let Some(disk) = Disk::mount() else {
        println!("skipped: loop mounts are not allowed here; `journal` fills a simulated disk");
        return;
    };
    let rules = disk.dir.path().join("marker.yml");
    std::fs::write(&rules, RULE).unwrap();
    let settings = format!(
        "rules: ['{}']\nnotify: []\nsources: {{http: {{type: http, silent_after: {SILENT_AFTER_S}s}}}}\n",
        rules.display()
    );
    let server = Server::start_as(&settings, Some(&disk.at().join("data")), alcedo);
    server.ingest("{\"message\":\"before\"}\n");
    server.eventually("the event", |s| (s.search("before").len() == 1).then_some(()));
    let marked = 300;
    let body = |n: u64| format!("{{\"message\":\"xyzzy\",\"user\":{{\"name\":\"u{n:04}\"}}}}\n");
    server.ingest(&(0..marked).map(body).collect::<String>());
    let ballast = disk.at().join("ballast");
    let full = fill(&ballast);
    let told = server.eventually("the refusal", |s| {
        let told = s.post("{\"message\":\"late\"}\n");
        (told.0 != 200).then_some(told)
    });
    let refused = full.elapsed();
    let silent = |s: &Server| {
        let alerts = s.get("/api/v1/alerts?state=all&limit=500")["alerts"].clone();
        let found = alerts.as_array()?.iter().find(|a| a["rule_id"] == "alcedo.silent_source");
        found.map(|_| ())
    };
    assert_eq!(silent(&server), None, "it was received from a moment ago");
    assert_eq!((told.0, told.1.is_some()), (503, true));
    let (_, answer) = server.send("POST", "/api/v1/ingest", &server.admin_token, &[], b"late\n");
    assert!(answer["detail"].as_str().unwrap().contains("disk is full"), "{answer}");
    server.eventually("the notice", |s| {
        let problems = s.get("/api/v1/overview")["problems"].to_string();
        problems.contains("MiB are free").then_some(())
    });
    assert_eq!(server.search("before").len(), 1);
    let wish = "{\"name\":\"t\",\"role\":\"ingest\",\"sources\":[\"http\"]}";
    let (status, made) = server.ask("POST", "/api/v1/tokens", &server.admin_token, wish);
    assert_eq!(status, 200, "the ledger takes records: {made}");
    server.eventually("the alerts", |s| {
        let alerts = s.get("/api/v1/alerts?state=all&limit=500")["alerts"].clone();
        (alerts.as_array()?.len() as u64 >= marked).then_some(())
    });
    assert_eq!(server.post("{\"message\":\"still\"}\n").0, 503);
    server.eventually("the gauge", |s| (s.metric("alcedo_degraded_level")? == 7.0).then_some(()));
    // What is decided by time: nothing is received that could decide it.
    server.eventually_within(Duration::from_secs(SILENT_AFTER_S + 60), "the silence", silent);
    assert_eq!(server.post("{\"message\":\"still full\"}\n").0, 503);
    std::fs::remove_file(&ballast).unwrap();
    let freed = Instant::now();
    server
        .eventually("the answer", |s| (s.post("{\"message\":\"after\"}\n").0 == 200).then_some(()));
    let resumed = freed.elapsed();
    println!("full disk: refused after {refused:?}, resumed after {resumed:?}");
    // The journal looks once a second; a busy machine adds to it.
    assert!(refused < Duration::from_millis(1500) && resumed < Duration::from_secs(5));
    // The journal took no event while the disk was full; what was given up is told when it does.
    let steps = ["tail", "queries", "background", "quotas", "push_back", "stall", "datagrams"];
    server.eventually("the steps taken", |s| (steps_of(s, "entered") == steps).then_some(()));
    let taken_back = server.eventually("the steps taken back", |s| {
        let left = steps_of(s, "left");
        (left.len() >= steps.len()).then_some(left)
    });
    assert!(taken_back.iter().rev().eq(&steps), "{taken_back:?}");
    // What happened meanwhile follows: rules that watch this server are not blind for it.
    let made = format!("event.action:token.create and alcedo.target:{}", made["id"]);
    server.eventually("the token's event", |s| (s.search(&made).len() == 1).then_some(()));
    server.eventually("the event after", |s| (!s.search("after").is_empty()).then_some(()));
}

/// Scenario: somebody fills a disk beyond 85 % of what may be used, waits, fills it more, makes space,
/// and fills it again.
/// Guarantees: the event `disk.filling` is told once each time, with what to do, and stands among the
/// problems until there is space, which is the event `disk.eased`; nothing is given up for it, and
/// senders are answered all along.
#[test]
fn a_disk_that_fills_is_told_once() {
    let Some(disk) = Disk::mount() else {
        println!("skipped: loop mounts are not allowed here");
        return;
    };
    let server = Server::start_as("notify: []\n", Some(&disk.at().join("data")), alcedo);
    let told = |s: &Server, action: &str| s.search(&format!("event.action:disk.{action}"));
    let is_problem = |s: &Server| {
        s.get("/api/v1/overview")["problems"].to_string().contains("% full of what may be used")
    };
    let ballast = disk.at().join("ballast");
    for round in 1..=2 {
        assert_eq!((told(&server, "filling").len(), is_problem(&server)), (round - 1, false));
        fill_to(&ballast, 0.12);
        let events = server.eventually("the event", |s| {
            let events = told(s, "filling");
            (events.len() >= round).then_some(events)
        });
        assert!(events[0]["alcedo.detail"].as_str().unwrap().contains("free space"), "{events:#?}");
        server.eventually("the problem", |s| is_problem(s).then_some(()));
        // Fuller, and several looks later, it is the same filling.
        fill_to(&ballast, 0.09);
        std::thread::sleep(Duration::from_secs(3));
        server.ingest("{\"message\":\"still taken\"}\n");
        assert_eq!(
            (told(&server, "filling").len(), told(&server, "eased").len()),
            (round, round - 1)
        );
        assert!(is_problem(&server));
        std::fs::remove_file(&ballast).unwrap();
        server.eventually("the end", |s| (told(s, "eased").len() == round).then_some(()));
        server.eventually("no problem", |s| (!is_problem(s)).then_some(()));
    }
    assert!(steps_of(&server, "entered").iter().all(|step| step != "datagrams"));
}

/// Scenario: a sync of the journal's file fails once; then every sync does.
/// Guarantees: who is told yes finds his event; the first failure is an event, an alert and a problem; after
/// the second in a row senders are refused, the health of every door says so, and searches go on.
#[test]
fn a_disk_that_fails_is_told() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: no strace; `cargo test -p journal faults` fails every call in turn");
        return;
    }
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../rules/alcedo");
    let server = Server::start(&format!("notify: []\nrules: ['{rules}']\n"));
    server.ingest("{\"message\":\"fault-before\"}\n");
    let fail = |path: Option<PathBuf>| {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-q", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO"]);
        path.iter().for_each(|path| _ = strace.arg("-P").arg(path));
        strace.arg("-p").arg(server.pid().to_string());
        Strace(strace.stderr(std::process::Stdio::null()).spawn().unwrap())
    };
    let segments = std::fs::read_dir(server.data_dir.join("data")).unwrap();
    let segments = segments.map(|entry| entry.unwrap().path());
    let live = segments.filter(|path| path.extension().is_some_and(|e| e == "wal")).max();
    let once = fail(live);
    // Syncs come once a second at least, with the tick.
    server.eventually("a failure", |s| {
        s.metric("alcedo_journal_write_errors_total").filter(|n| *n > 0.0)
    });
    server.ingest("{\"message\":\"fault-after\"}\n");
    drop(once);
    let told = server
        .eventually("the event", |s| s.search("event.action:storage.fault").into_iter().next());
    assert!(told["alcedo.detail"].as_str().unwrap().contains("nothing that was acknowledged"));
    server.eventually("both events", |s| (s.search("fault-*").len() == 2).then_some(()));
    let problems = |s: &Server| s.get("/api/v1/overview")["problems"].to_string();
    assert!(problems(&server).contains("look at the disk"), "{}", problems(&server));
    server.eventually("the alert", |s| {
        s.get("/api/v1/alerts").to_string().contains("a write to the disk failed").then_some(())
    });
    let health = |path: &str| server.ask("GET", path, &server.admin_token, "").0;
    assert_eq!((health("/readyz"), health("/services/collector/health")), (200, 200));
    let always = fail(None);
    server.eventually("the refusal", |s| {
        (s.post("{\"message\":\"fault-lost\"}\n").0 == 503).then_some(())
    });
    drop(always);
    assert_eq!((health("/readyz"), health("/services/collector/health")), (503, 503));
    server.eventually("why", |s| problems(s).contains("until a restart").then_some(()));
    assert_eq!(server.search("fault-before").len(), 1);
}

/// Lets go of the process when dropped.
struct Strace(std::process::Child);

impl Drop for Strace {
    fn drop(&mut self) {
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").args(["-INT", &pid]).status();
        let _ = self.0.wait();
    }
}

/// Fills the file system until less than the reserve is free; when that was. The reserve is a part of
/// what the file system says its size is, which is less than the size of the file it is in.
fn fill(ballast: &Path) -> Instant {
    // Of its size some is kept for root, and the reserve is a part of the rest.
    fill_to(ballast, 1.0 / 24.0);
    Instant::now()
}

/// Fills the file system until less than this part of it is free.
fn fill_to(ballast: &Path, free: f64) {
    let open = std::fs::OpenOptions::new().append(true).create(true).open(ballast);
    let mut file = open.unwrap();
    let piece = vec![0x5a; 1 << 20];
    loop {
        let (left, size) = space_bytes(ballast);
        if (left as f64) < size as f64 * free {
            return;
        }
        file.write_all(&piece).unwrap();
        // Space is taken when it is written, not when it is promised.
        file.sync_data().unwrap();
    }
}

/// Free and in all.
fn space_bytes(path: &Path) -> (u64, u64) {
    let out = Command::new("df").args(["--output=avail,size", "-B1"]).arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut numbers = text.lines().nth(1).unwrap().split_whitespace().map(|n| n.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// A control group with a memory limit; removed when dropped.
struct Cap {
    dir: PathBuf,
    peak: &'static str,
    kills: &'static str,
}

/// Where the binary is put; a function that starts it has no other way to know.
static GROUP: Mutex<Option<PathBuf>> = Mutex::new(None);

impl Cap {
    fn make() -> Option<Self> {
        let name = format!("alcedo-test-{}", std::process::id());
        let one = Path::new("/sys/fs/cgroup/memory").join(&name);
        let two = Path::new("/sys/fs/cgroup").join(&name);
        let (one_files, two_files) = (
            ("memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"),
            ("memory.max", "memory.peak", "memory.events"),
        );
        for (dir, (limit, peak, kills)) in [(one, one_files), (two, two_files)] {
            if dir.parent().is_some_and(Path::exists) && std::fs::create_dir(&dir).is_ok() {
                if std::fs::write(dir.join(limit), CAP_BYTES.to_string()).is_ok() {
                    *GROUP.lock().unwrap() = Some(dir.clone());
                    return Some(Self { dir, peak, kills });
                }
                let _ = std::fs::remove_dir(&dir);
            }
        }
        None
    }

    fn peak_bytes(&self) -> Option<u64> {
        std::fs::read_to_string(self.dir.join(self.peak)).ok()?.trim().parse().ok()
    }

    fn oom_kills(&self) -> u64 {
        let text = std::fs::read_to_string(self.dir.join(self.kills)).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("oom_kill "));
        line.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
    }
}

impl Drop for Cap {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.dir);
    }
}

/// The binary, in the control group from its first page on.
fn capped() -> Command {
    let group = GROUP.lock().unwrap().clone().unwrap();
    let mut command = Command::new("sh");
    let enter = "echo $$ > \"$0/cgroup.procs\"; exec \"$@\"";
    command.arg("-c").arg(enter).arg(group).arg(env!("CARGO_BIN_EXE_alcedo"));
    command.env_remove("ALCEDO_TOKEN").env_remove("ALCEDO_CONFIG").env_remove("ALCEDO_DATA_DIR");
    command
}

/// What the burst came to.
#[derive(Default)]
struct Burst {
    stop: AtomicBool,
    acked: AtomicU64,
    refused: AtomicU64,
    bytes: AtomicU64,
}

/// Scenario (R6): as much as many senders can post, in large bodies, over connections by the
/// hundred, into a server that may have 512 MiB and has thousands of rules where they are on this machine, while
/// analysts search over all of it.
/// Guarantees: it is not killed; what was acknowledged is stored; who was not taken was told to come
/// again. How much memory it had at most is told.
#[test]
fn memory_cap_holds_in_a_burst() {
    let Some(cap) = Cap::make() else {
        println!("skipped: memory control groups cannot be made here; the door's bytes are tested");
        return;
    };
    let seconds = std::env::var("ALCEDO_BURST_S").ok().and_then(|n| n.parse().ok());
    let seconds: u64 = seconds.unwrap_or(BURST_S_DEFAULT);
    let rules = tempfile::tempdir().unwrap();
    let config = match testkit::unpack("sigma/rules.tar.zst", rules.path()) {
        true => format!("notify: []\nrules: [{}]\n", rules.path().display()),
        false => "notify: []\n".to_owned(),
    };
    let server = Server::start_as(&config, None, capped);
    let burst = Arc::new(Burst::default());
    let idle: Vec<TcpStream> =
        (0..IDLERS).filter_map(|_| TcpStream::connect(server.http).ok()).collect();
    let threads: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (burst, to, token) = (burst.clone(), server.http, server.admin_token.clone());
            std::thread::spawn(move || post_all_the_time(&burst, to, &token, sender))
        })
        .collect();
    let began = Instant::now();
    let (idle_bytes, mut most) = (resident(&server), 0);
    let answered: u64 = std::thread::scope(|scope| {
        let analysts: Vec<_> = ANALYSTS
            .iter()
            .map(|query| scope.spawn(|| search_all_the_time(&burst, &server, query)))
            .collect();
        while began.elapsed() < Duration::from_secs(seconds) && cap.oom_kills() == 0 {
            std::thread::sleep(Duration::from_millis(50));
            most = most.max(resident(&server));
        }
        burst.stop.store(true, Ordering::SeqCst);
        analysts.into_iter().map(|analyst| analyst.join().unwrap()).sum()
    });
    assert_eq!(cap.oom_kills(), 0, "killed after {:?}", began.elapsed());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(idle);
    let acked = burst.acked.load(Ordering::SeqCst);
    let (refused, bytes) =
        (burst.refused.load(Ordering::SeqCst), burst.bytes.load(Ordering::SeqCst));
    assert!(acked > 0);
    let wait = Duration::from_secs(60 + seconds * 30);
    server.eventually_within(wait, "detection catches up", |s| {
        (s.get("/api/v1/overview")["lag"]["detect_ms"] == 0).then_some(())
    });
    let stored = server.eventually_within(wait, "everything acknowledged in the store", |s| {
        let body = r#"{"query":"burst-record | stats count() as n"}"#;
        let (status, answer): (u16, Value) = s.ask("POST", "/api/v1/search", &s.admin_token, body);
        // Events beyond what memory may hold are given to the store from the journal, later. A body
        // that was stored and whose answer did not arrive is there, too.
        let n = answer["rows"][0]["n"].as_u64().unwrap_or(0);
        (status == 200 && n >= acked).then_some(n)
    });
    assert_eq!(cap.oom_kills(), 0);
    println!(
        "{seconds} s under {} MiB: {acked} acknowledged ({} MiB), {refused} bodies refused, {stored} \
         stored, {answered} searches answered beside it, {} MiB of memory at most ({} before, {} may be \
         used), peak {} MiB with the page cache",
        CAP_BYTES >> 20,
        bytes >> 20,
        most >> 20,
        idle_bytes >> 20,
        (CAP_BYTES / 100 * 85) >> 20,
        cap.peak_bytes().unwrap_or(0) >> 20
    );
}

/// Asks again and again until the burst is over. Out: how many answers were whole or marked partial; others
/// were refused, as all but one search at a time are when there is too much.
fn search_all_the_time(burst: &Burst, server: &Server, query: &str) -> u64 {
    let body = serde_json::json!({"query": query, "limit": 1_000}).to_string();
    let mut answered = 0;
    while !burst.stop.load(Ordering::SeqCst) {
        let (status, _): (u16, Value) =
            server.ask("POST", "/api/v1/search", &server.admin_token, &body);
        match status {
            200 => answered += 1,
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    answered
}

fn post_all_the_time(burst: &Burst, to: SocketAddr, token: &str, sender: usize) {
    let record = format!("{{\"message\":\"burst-record {sender} {}\"}}\n", "x".repeat(400));
    let records = 2_000;
    let body = record.repeat(records);
    let head = format!(
        "POST /api/v1/ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/x-ndjson\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    while !burst.stop.load(Ordering::SeqCst) {
        let Ok(mut stream) = TcpStream::connect(to) else { continue };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        match answer.get(9..12) {
            Some(b"200") => {
                burst.acked.fetch_add(records as u64, Ordering::SeqCst);
                burst.bytes.fetch_add(body.len() as u64, Ordering::SeqCst);
            }
            Some(b"429" | b"503") => {
                burst.refused.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(50));
            }
            _ => {}
        }
    }
}
