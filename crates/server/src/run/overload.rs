//! Twice a second: how loaded is the server, and what is given up for it. The order and the marks
//! are [`watch::degrade`]'s; here they meet what they measure and what they switch.

use super::App;
use super::background::Background;
use crate::exit::Failure;
use event::{Envelope, RawBatch, RecordKind};
use io::Shut;
use ledger::Actor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use watch::{Change, Ladder, Load, Step, fair_shares};

/// Pause between two looks: a burst fills the door within a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Least rate that all sources together are slowed to, bytes per second: right after a start nothing
/// has been worked off yet, and that says nothing about what can be.
const RATE_FLOOR: f64 = (4 << 20) as f64;
/// Part of the memory that is there which may be used, percent: the kernel keeps socket buffers and
/// tables in the rest.
const MEMORY_PERCENT: u64 = 85;
/// From this part of the memory's ceiling on, events leave memory for files early.
const MEMORY_TIGHT: f64 = 0.8;

/// Starts the thread that looks.
pub fn start(app: Arc<App>) -> Result<Background, Failure> {
    Background::start("overload", move |running| {
        let mut look = Look::new(&app);
        while running.goes_on() {
            look.once(&app);
            running.rest(LOOK_EVERY);
        }
        // Doors must not stay shut while the last senders are being drained.
        app.door.shut(Shut::Open);
    })
}

/// What is remembered from look to look.
struct Look {
    began: Instant,
    before: Instant,
    ladder: Ladder,
    memory_max: u64,
    /// Bytes that each source has received so far.
    received: Vec<u64>,
    /// What each source was slowed to.
    shares: Vec<Option<u64>>,
}

impl Look {
    fn new(app: &App) -> Self {
        let memory_max = app.config.memory_bytes_max.unwrap_or_else(memory_ceiling);
        tracing::info!(memory_max, "memory ceiling");
        let now = Instant::now();
        let (received, shares) = (Vec::new(), Vec::new());
        Self { began: now, before: now, ladder: Ladder::default(), memory_max, received, shares }
    }

    fn once(&mut self, app: &App) {
        let load = self.load(app);
        app.memory_tight.store(load.memory >= MEMORY_TIGHT, Ordering::Relaxed);
        let now_ns = i64::try_from(self.began.elapsed().as_nanos()).unwrap_or(i64::MAX);
        let changes = self.ladder.assess(&load, now_ns);
        if !changes.is_empty() {
            // The gauge speaks of what is so, not of what is about to be.
            self.switch(app);
            app.degraded.store(self.ladder.level(), Ordering::SeqCst);
            changes.iter().for_each(|change| tell(app, *change));
        }
        self.pace(app);
    }

    fn load(&self, app: &App) -> Load {
        let stats = app.journal.stats();
        let part = |n: u64, of: u64| if of == 0 { 0.0 } else { n as f64 / of as f64 };
        let door = part(app.door.used_bytes() as u64, app.door.size_bytes() as u64);
        let queue = part(stats.queue_bytes, journal::Options::default().queue_bytes_max);
        let full = stats.state == journal::State::DiskFull;
        let used = stats.total_bytes.saturating_sub(stats.free_bytes);
        let disk = part(used, stats.total_bytes.saturating_sub(stats.reserve_bytes));
        Load {
            queue: door.max(queue),
            lag_ns: app.detect_lag_ms(io::intake::wall_ns()).saturating_mul(1_000_000),
            // Whether it is full is the journal's to say: it knows its prepared space.
            disk: if full { 1.0 } else { disk.min(0.99) },
            memory: part(resident_bytes(), self.memory_max),
        }
    }

    /// What each step does, where this program has something to give up for it.
    fn switch(&self, app: &App) {
        let shed = |step| self.ladder.is_shed(step);
        app.bus.sample(shed(Step::Tail));
        app.store.hold_joining(shed(Step::Background));
        app.journal.hold_scrub(shed(Step::Background));
        let shut = [
            (Step::Datagrams, Shut::Datagrams),
            (Step::Stall, Shut::Streams),
            (Step::PushBack, Shut::Asking),
        ];
        let to = shut.iter().find(|(step, _)| shed(*step)).map_or(Shut::Open, |(_, to)| *to);
        app.door.shut(to);
    }

    /// Sources above their fair share of what is being worked off are slowed to it.
    fn pace(&mut self, app: &App) {
        let contexts = app.contexts();
        let passed = self.before.elapsed().as_secs_f64();
        self.before = Instant::now();
        let now: Vec<u64> = contexts.iter().map(|c| c.stats.snapshot().received_bytes).collect();
        let earlier = std::mem::replace(&mut self.received, now.clone());
        let before = std::mem::take(&mut self.shares);
        if !self.ladder.is_shed(Step::Quotas) {
            if !before.is_empty() {
                contexts.iter().for_each(|context| context.lane.pace(None));
            }
            return;
        }
        let of = |list: &[u64], at: usize| list.get(at).copied().unwrap_or(0);
        let wanted = now.iter().enumerate().map(|(at, n)| {
            let took = n.saturating_sub(of(&earlier, at));
            // Whoever was slowed would have sent more.
            before.get(at).copied().flatten().map_or(took, |share| took.max(share + 1))
        });
        let wanted: Vec<u64> = wanted.collect();
        let (_, rate) = app.rates.mean(io::intake::wall_ns());
        let capacity = (rate.max(RATE_FLOOR) * passed) as u64;
        self.shares = fair_shares(&wanted, capacity);
        for (context, share) in contexts.iter().zip(&self.shares) {
            context.lane.pace(*share);
        }
    }
}

/// A step is a record in the stream it happened in, an event that rules can watch, and a line in the
/// log.
fn tell(app: &App, change: Change) {
    let (step, sentence) = (change.step.name(), change.sentence());
    tracing::warn!(step, "{sentence}");
    let event = if change.entered { "overload.entered" } else { "overload.left" };
    let level = change.step.level();
    let record = format!(r#"{{"event":"{event}","step":"{step}","level":{level}}}"#);
    let now_ns = io::intake::wall_ns();
    let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
    batch.push_as(RecordKind::Lifecycle, 0, now_ns, record.as_bytes());
    if let Err(rejected) = app.journal.appender().append(batch, |_| {}) {
        // On a full disk there is no place for it; the gauge and the log say it.
        tracing::warn!(error = %rejected.why, step, "a step was not journaled");
    }
    let actor = Actor { who: "alcedo".into(), at_ns: now_ns, client: "server".into() };
    app.note(&actor, event, step, &sentence);
}

/// Memory of this process that no file stands behind, bytes; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    kib_of(&text, "RssAnon:")
}

/// The number of a line `NAME N kB`, in bytes.
fn kib_of(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) << 10
}

/// Most of what this process may have: of its control group, or of the machine.
fn memory_ceiling() -> u64 {
    let machine =
        kib_of(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:");
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        text.trim().parse::<u64>().ok()
    });
    let least = limits.chain([machine]).filter(|n| *n > 0).min().unwrap_or(u64::MAX);
    least / 100 * MEMORY_PERCENT
}

/// Files that may hold a limit, for every group of `/proc/self/cgroup` and those above it.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        out.extend(path.ancestors().map(|above| Path::new(root).join(above).join(file)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_looked_for_in_every_group_above() {
        let files = limit_files("4:memory:/a/b\n1:cpu:/x\n0::/c\n");
        let shown: Vec<String> = files.iter().map(|p| p.display().to_string()).collect();
        let expected = [
            "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/c/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(shown, expected);
        assert_eq!(kib_of("MemTotal:       24683 kB\nX: 1\n", "MemTotal:"), 24_683 << 10);
        assert!(memory_ceiling() > 0 && resident_bytes() > 1 << 20);
    }
}
