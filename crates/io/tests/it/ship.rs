//! Files on one side, a real journal on the other, and everything that goes wrong in between.
use crate::agents::{Client, batch};
use event::RecordKind;
use io::Context;
use io::agent_client::{self, SharedStatus};
use io::agent_protocol::Frame;
use io::sources::agent::{self, AgentGrant, Authenticator, Denied};
use io::tail::{self, Tailer};
use journal::{Journal, OsClock, OsFs};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Lets everybody in as what they say.
struct Anyone;

impl Authenticator for Anyone {
    fn agent(&self, token: &str, _: IpAddr) -> Result<AgentGrant, Denied> {
        Ok(AgentGrant { source: "hosts".into(), identity: format!("token:{token}").into() })
    }
}

pub(crate) fn journal(dir: &Path) -> Journal {
    let options = journal::Options {
        segment_size_bytes: 1 << 20,
        disk_reserve_bytes: 0,
        ..journal::Options::default()
    };
    Journal::open(dir, options, Arc::new(OsFs), Arc::new(OsClock)).unwrap().0
}

pub(crate) async fn serve(journal: &Journal) -> SocketAddr {
    serve_as(Context::new("agents", Arc::new(journal.appender()))).await
}

/// The same for a source whose counters are looked at.
pub(crate) async fn serve_as(context: Context) -> SocketAddr {
    let config = agent::Config::new("127.0.0.1:0".parse().unwrap(), None, Arc::new(Anyone));
    agent::start(context, config).await.unwrap().address
}

/// Every line in the journal with how often it is there.
pub(crate) fn lines(journal: &Journal) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    let mut reader = journal.reader(0);
    while let Some(block) = reader.next(Duration::ZERO).unwrap() {
        for record in block.records().filter(|r| r.kind == RecordKind::Data) {
            *lines.entry(String::from_utf8(record.bytes.to_vec()).unwrap()).or_default() += 1;
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn one_agent_cannot_use_up_the_numbers_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let address = serve(&journal).await;
    for token in ["mallory", "alice"] {
        let mut client = Client::hello(address, token).await;
        assert_eq!(client.resume(5).await, None);
        client.send(&batch(0, &[token, "second"])).await;
        let ack = Frame::Ack { producer: 5, epoch: 6, up_to_seq: 1 };
        assert_eq!(client.next().await, Some(ack));
    }
    let lines = lines(&journal);
    assert_eq!((lines["mallory"], lines["alice"], lines["second"]), (1, 1, 2));
}

/// Bytes the cutter lets through per connection, in turn: inside a hello, inside a batch, between
/// a batch and its ack, and often enough for progress.
const CUTS: &[u64] = &[20, 400, 9_000, 150_000, 60, 1_000_000, 33_000, 700_000];

/// Between client and server; cuts connections until it is told to stop doing so.
struct Cutter {
    address: SocketAddr,
    cutting: Arc<AtomicBool>,
    cuts: Arc<AtomicU64>,
}

impl Cutter {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cutting, cuts) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        let (on, count) = (Arc::clone(&cutting), Arc::clone(&cuts));
        tokio::spawn(async move {
            for limit in CUTS.iter().cycle() {
                let (client, _) = listener.accept().await.unwrap();
                let limit = if on.load(SeqCst) { *limit } else { u64::MAX };
                tokio::spawn(pass(client, server, limit, Arc::clone(&count)));
            }
        });
        Self { address, cutting, cuts }
    }
}

async fn pass(mut client: TcpStream, server: SocketAddr, limit: u64, cuts: Arc<AtomicU64>) {
    let mut server = TcpStream::connect(server).await.unwrap();
    let ((mut cr, mut cw), (mut sr, mut sw)) = (client.split(), server.split());
    let up = async {
        let mut left = limit;
        let mut buffer = vec![0; 64 << 10];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            match cr.read(&mut buffer[..most]).await {
                Ok(0) | Err(_) => return,
                Ok(n) => {
                    left -= n as u64;
                    if sw.write_all(&buffer[..n]).await.is_err() {
                        return;
                    }
                }
            }
        }
        cuts.fetch_add(1, SeqCst);
    };
    let down = tokio::io::copy(&mut sr, &mut cw);
    tokio::select! {
        () = up => {}
        _ = down => {}
    }
}

/// One life of the agent, on a runtime of its own so that a crash takes all of it.
struct Life {
    runtime: Runtime,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Life {
    fn start(world: &World) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let stop = CancellationToken::new();
        let mut config = agent_client::Config::new(&world.cutter.address.to_string(), None, "web");
        config.poll = Duration::from_millis(20);
        config.watch = vec![world.logs.clone()];
        let tail = tail::Config::new("a1", &world.state, vec![world.logs.join("app.log*")]);
        let tailer = Tailer::open(tail).unwrap();
        let run = agent_client::run(tailer, config, SharedStatus::default(), stop.clone());
        let task = runtime.spawn(async { run.await.unwrap() });
        Self { runtime, stop, task }
    }

    /// The clean end.
    fn stop(self) {
        self.stop.cancel();
        self.runtime.block_on(self.task).unwrap();
    }

    /// Nothing is saved; looks under way end before the next life starts.
    fn crash(self) {
        self.task.abort();
        drop(self.runtime);
    }
}

struct World {
    logs: PathBuf,
    state: PathBuf,
    journal: Journal,
    cutter: Cutter,
    written: u64,
    rotations: u32,
}

impl World {
    fn write(&mut self, count: u64) {
        let path = self.logs.join("app.log");
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        for n in self.written..self.written + count {
            let tail = "x".repeat((n % 97) as usize);
            // In two writes: readers see half lines.
            write!(file, "{n:08} sshd[1]: ").unwrap();
            file.write_all(format!("Failed password {tail}\n").as_bytes()).unwrap();
        }
        self.written += count;
    }

    fn rotate(&mut self) {
        self.rotations += 1;
        let old = self.logs.join(format!("app.log.{}", self.rotations));
        std::fs::rename(self.logs.join("app.log"), old).unwrap();
    }

    fn wait_for(&self, count: u64) {
        for _ in 0..6000 {
            if lines(&self.journal).len() as u64 >= count {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{} of {count} lines arrived", lines(&self.journal).len());
    }
}

#[test]
fn every_line_once_whatever_is_cut_restarted_rotated_or_truncated() {
    let server = Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(&dir.path().join("journal"));
    let cutter = server.block_on(async { Cutter::start(serve(&journal).await).await });
    let (logs, state) = (dir.path().join("logs"), dir.path().join("state"));
    std::fs::create_dir(&logs).unwrap();
    let mut world = World { logs, state, journal, cutter, written: 0, rotations: 0 };
    for life in 0..6 {
        let agent = Life::start(&world);
        let before = world.written;
        for _ in 0..10 {
            world.write(300);
            std::thread::sleep(Duration::from_millis(5));
        }
        world.rotate();
        world.write(500);
        world.wait_for(before + 700);
        if life % 2 == 1 {
            // What a truncation takes before it was read is gone, so everything is read first.
            world.wait_for(world.written);
            let file = OpenOptions::new().write(true).open(world.logs.join("app.log")).unwrap();
            file.set_len(0).unwrap();
            world.write(40);
            world.wait_for(world.written);
            world.write(400);
        }
        if life % 3 == 0 {
            agent.stop();
        } else {
            agent.crash();
        }
        world.write(200);
        world.rotate();
        world.write(100);
    }
    world.cutter.cutting.store(false, SeqCst);
    let agent = Life::start(&world);
    world.wait_for(world.written);
    agent.stop();
    let lines = lines(&world.journal);
    let repeated: Vec<_> = lines.iter().filter(|(_, n)| **n != 1).take(5).collect();
    assert!(repeated.is_empty(), "stored more than once: {repeated:?}");
    let numbers: Vec<u64> = lines.keys().map(|l| l[..8].parse().unwrap()).collect();
    assert_eq!(numbers, (0..world.written).collect::<Vec<_>>());
    assert!(world.cutter.cuts.load(SeqCst) >= 5, "the cutter did not cut");
    let repeats = world.journal.stats();
    println!("{} lines, {} cuts, {repeats:?}", world.written, world.cutter.cuts.load(SeqCst));
}
