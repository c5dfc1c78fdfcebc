//! Agents that exist twice, and agents that came back from an older image.

use crate::recorder::until;
use crate::ship::{journal, lines, serve, serve_as};
use event::{Gap, GapCause, RecordKind};
use io::Context;
use io::agent_client::{self, ClientStatus, SharedStatus};
use io::tail::{self, CHECKPOINTS, Tailer};
use journal::Journal;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A machine: a log, and an agent's state beside it.
struct Machine(PathBuf);

impl Machine {
    fn new(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        Self(dir.into())
    }

    fn log(&self) -> PathBuf {
        self.0.join("app.log")
    }

    fn write(&self, what: &str, numbers: std::ops::Range<u32>) {
        let open = std::fs::OpenOptions::new().append(true).create(true).open(self.log());
        let mut file = open.unwrap();
        for n in numbers {
            writeln!(file, "{what} {n:04}").unwrap();
        }
    }

    /// An image of this machine, started elsewhere: the same files, with the same inode numbers as
    /// far as the agent can see.
    fn image(&self, dir: &Path) -> Self {
        let copy = Self::new(dir);
        std::fs::copy(self.log(), copy.log()).unwrap();
        std::fs::create_dir_all(dir.join("state")).unwrap();
        let text = std::fs::read(self.0.join("state").join(CHECKPOINTS)).unwrap();
        let mut checkpoints: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let meta = std::fs::metadata(copy.log()).unwrap();
        for checkpoint in checkpoints.as_array_mut().unwrap() {
            checkpoint["dev"] = meta.dev().into();
            checkpoint["ino"] = meta.ino().into();
            checkpoint["path"] = copy.log().to_str().unwrap().into();
        }
        let text = serde_json::to_vec(&checkpoints).unwrap();
        std::fs::write(dir.join("state").join(CHECKPOINTS), text).unwrap();
        copy
    }

    fn start(&self, server: SocketAddr) -> Agent {
        let mut config = agent_client::Config::new(&server.to_string(), None, "web");
        config.poll = Duration::from_millis(20);
        let tail = tail::Config::new("a1", &self.0.join("state"), vec![self.log()]);
        let (status, stop) = (SharedStatus::default(), CancellationToken::new());
        let run =
            agent_client::run(Tailer::open(tail).unwrap(), config, status.clone(), stop.clone());
        Agent { status, stop, task: tokio::spawn(async { run.await.unwrap() }) }
    }
}

struct Agent {
    status: SharedStatus,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Agent {
    fn status(&self) -> ClientStatus {
        self.status.lock().clone()
    }

    async fn stop(self) -> ClientStatus {
        self.stop.cancel();
        self.task.await.unwrap();
        self.status.lock().clone()
    }
}

fn forks(journal: &Journal) -> usize {
    let mut forks = 0;
    let mut reader = journal.reader(0);
    while let Some(block) = reader.next(Duration::ZERO).unwrap() {
        let gaps = block.records().filter(|r| r.kind == RecordKind::Gap);
        forks += gaps
            .filter(|r| Gap::read(r.bytes).is_some_and(|g| g.cause == GapCause::AgentFork))
            .count();
    }
    forks
}

fn there(journal: &Journal, what: &str, numbers: std::ops::Range<u32>) -> bool {
    let lines = lines(journal);
    numbers.into_iter().all(|n| lines.contains_key(&format!("{what} {n:04}")))
}

/// Scenario: a machine is copied with its agent's state folder; both run at the same time, write
/// other lines under the same numbers, and reconnect over each other.
/// Guarantees: every line of both is stored; one of the two goes on under new numbers; it is told as
/// a gap record with the cause `agent_fork`; what they have in common is not stored again.
#[tokio::test(flavor = "multi_thread")]
async fn a_cloned_agent_is_seen_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(&dir.path().join("journal"));
    let server = serve(&journal).await;
    let first = Machine::new(&dir.path().join("first"));
    first.write("common", 0..50);
    let agent = first.start(server);
    until("the common lines", || there(&journal, "common", 0..50)).await;
    agent.stop().await;
    let second = first.image(&dir.path().join("second"));
    let (one, two) = (first.start(server), second.start(server));
    until("both", || one.status().connected && two.status().connected).await;
    for round in 0..10 {
        first.write("first", round * 10..round * 10 + 10);
        second.write("second", round * 10..round * 10 + 7);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    until("the lines of the first", || there(&journal, "first", 0..100)).await;
    let of_second = |n: u32| (0..10).flat_map(move |r| r * 10..r * 10 + n);
    until("the lines of the second", || {
        let lines = lines(&journal);
        of_second(7).all(|n| lines.contains_key(&format!("second {n:04}")))
    })
    .await;
    let (one, two) = (one.stop().await, two.stop().await);
    assert!(one.forks + two.forks >= 1, "{one:?} {two:?}");
    assert!(forks(&journal) >= 1);
    let lines = lines(&journal);
    assert!((0..50).all(|n| lines[&format!("common {n:04}")] == 1));
}

/// Scenario: a machine comes back from an image taken before its last lines were sent, and writes
/// others; fewer than the server has.
/// Guarantees: they are stored, not taken for repeats; the fork is told and counted; a further restart is
/// none.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_from_an_older_image_is_seen_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(&dir.path().join("journal"));
    let context = Context::new("agents", Arc::new(journal.appender()));
    let stats = context.stats.clone();
    let server = serve_as(context).await;
    let machine = Machine::new(&dir.path().join("machine"));
    machine.write("kept", 0..20);
    let agent = machine.start(server);
    until("the first lines", || there(&journal, "kept", 0..20)).await;
    agent.stop().await;
    let image = machine.image(&dir.path().join("image"));
    machine.write("gone", 0..30);
    let agent = machine.start(server);
    until("the lines after the image", || there(&journal, "gone", 0..30)).await;
    assert_eq!(agent.stop().await.forks, 0);
    image.write("new", 0..10);
    let agent = image.start(server);
    until("the new lines", || there(&journal, "new", 0..10)).await;
    assert_eq!((agent.stop().await.forks, forks(&journal)), (1, 1));
    until("the source's counter", || stats.snapshot().forks == 1).await;
    image.write("more", 0..10);
    let agent = image.start(server);
    until("more lines", || there(&journal, "more", 0..10)).await;
    assert_eq!((agent.stop().await.forks, forks(&journal)), (0, 1));
    assert_eq!(stats.snapshot().forks, 1);
    assert!(lines(&journal).values().all(|n| *n == 1));
}
