//! Twice a second: how loaded is the server, and what is given up for it. The order and the marks
//! are [`watch::degrade`]'s; here they meet what they measure and what they switch.

use super::App;
use super::background::Background;
use crate::exit::Failure;
use event::time::{SECOND_NS, rfc3339};
use event::{Envelope, RawBatch, RecordKind};
use io::{RefusedCause, Shut};
use ledger::Actor;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use watch::{Change, Ladder, Load, Step, Strain, fair_shares};

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

/// From this part of the memory's ceiling on something is given up, see [`watch::degrade`]: a server that
/// uses more of it while it has nothing to do has too small a ceiling.
const MEMORY_IDLE_MAX: f64 = 0.7;
/// Bytes between sockets and disk below which nothing is on its way.
const DOOR_IDLE_BYTES: usize = 1 << 20;
/// How long memory has to be short while nothing is on its way, before it is the ceiling's fault.
const MEMORY_IDLE_FOR: Duration = Duration::from_secs(20);
/// A step that is told so much later says when it was, ns.
const LATE_NS: i64 = 2 * SECOND_NS;
/// Steps that may wait to be told while the journal takes nothing: all are taken and taken back four times
/// over; a disk that flaps for longer loses the oldest, with a line in the log.
const UNTOLD_MAX: usize = 56;
/// The disk counts as filling from this part of what may be used on, and as eased below the second.
const DISK_FILLING: (f64, f64) = (0.85, 0.8);

/// Starts the thread that looks.
pub fn start(app: Arc<App>) -> Result<Background, Failure> {
    Background::start("overload", move |running| {
        let mut look = Look::new(&app);
        while running.goes_on() {
            look.once(&app);
            running.rest(LOOK_EVERY);
        }
        // Doors must not stay shut while the last senders are being drained.
        app.door.shut(Shut::Open, RefusedCause::Overloaded);
    })
}

/// What is remembered from look to look.
struct Look {
    began: Instant,
    before: Instant,
    ladder: Ladder,
    /// What the highest level in force was asked for by.
    strain: Strain,
    /// Since when memory is short while nothing is on its way.
    memory_idle_since: Option<Instant>,
    is_disk_filling: bool,
    /// Failed writes and syncs of the journal that were told.
    write_errors: u64,
    /// Steps that are to be told, oldest first: the journal takes nothing while the disk is full.
    untold: VecDeque<Telling>,
    /// Bytes that each source has received so far.
    received: Vec<u64>,
    /// What each source was slowed to.
    shares: Vec<Option<u64>>,
}

impl Look {
    fn new(app: &App) -> Self {
        tracing::info!(memory = ?app.memory, "memory ceiling");
        let now = Instant::now();
        let look = Self {
            began: now,
            before: now,
            ladder: Ladder::default(),
            strain: Strain::default(),
            memory_idle_since: None,
            is_disk_filling: false,
            write_errors: 0,
            untold: VecDeque::new(),
            received: Vec::new(),
            shares: Vec::new(),
        };
        // Right after the start nothing has been received that could have filled it.
        if Self::load(app).memory >= MEMORY_IDLE_MAX {
            tell_memory(app);
        }
        look
    }

    fn once(&mut self, app: &App) {
        let load = Self::load(app);
        app.memory_tight.store(load.memory >= MEMORY_TIGHT, Ordering::Relaxed);
        self.watch_memory(app, &load);
        self.watch_disk(app);
        self.watch_faults(app);
        let (level, strain) = load.asks();
        if level > 0 && level >= self.ladder.level() {
            self.strain = strain;
        }
        let now_ns = i64::try_from(self.began.elapsed().as_nanos()).unwrap_or(i64::MAX);
        let changes = self.ladder.assess(&load, now_ns);
        if !changes.is_empty() {
            // The gauge speaks of what is so, not of what is about to be.
            self.switch(app);
            app.degraded.store(self.ladder.level(), Ordering::SeqCst);
            *app.strain.lock() = self.strain;
            let at_ns = io::intake::wall_ns();
            let strain = self.strain;
            let telling = |change| Telling { change, strain, at_ns };
            let told = changes.into_iter().map(telling).inspect(|step| {
                // The log takes it when it happens; all else may have to wait for space.
                tracing::warn!(step = step.change.step.name(), "{}", step.sentence());
            });
            self.untold.extend(told);
        }
        self.tell(app);
        app.tell_waiting();
        self.pace(app);
    }

    /// Tells the steps that have not been told yet, in their order.
    fn tell(&mut self, app: &App) {
        while self.untold.len() > UNTOLD_MAX {
            let lost = self.untold.pop_front().map(|telling| telling.sentence());
            tracing::warn!(?lost, "a step is not journaled: the disk has been full for too long");
        }
        while self.untold.front().is_some_and(|telling| telling.tell(app)) {
            self.untold.pop_front();
        }
    }

    /// Memory that is short while nothing is on its way is the server's own: no step helps, the ceiling is
    /// too low.
    fn watch_memory(&mut self, app: &App, load: &Load) {
        let is_idle = app.door.used_bytes() < DOOR_IDLE_BYTES
            && app.store.hot_bytes() < super::upkeep::EARLY_BYTES;
        if load.memory < MEMORY_IDLE_MAX {
            self.memory_idle_since = None;
            app.set_notice("memory", None);
        } else if is_idle {
            let since = *self.memory_idle_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= MEMORY_IDLE_FOR {
                tell_memory(app);
            }
        } else {
            self.memory_idle_since = None;
        }
    }

    /// A disk that fills up is told before it is full.
    fn watch_disk(&mut self, app: &App) {
        let stats = app.journal.stats();
        let used = disk_part(&stats);
        let mark = if self.is_disk_filling { DISK_FILLING.1 } else { DISK_FILLING.0 };
        let is_filling = stats.total_bytes > 0 && used >= mark;
        if is_filling {
            let text = format!(
                "the disk is {:.0} % full of what may be used: {} MiB are free, {} of them have to stay \
                 free, then senders are refused; free space, keep events for a shorter time \
                 (`retention`) or move old ones (`tier`)",
                used * 100.0,
                stats.free_bytes >> 20,
                stats.reserve_bytes >> 20,
            );
            if !self.is_disk_filling {
                note(app, "disk.filling", &text);
            }
            app.set_notice("disk", Some(text));
        } else if self.is_disk_filling {
            note(app, "disk.eased", "there is space on the disk again");
            app.set_notice("disk", None);
        }
        self.is_disk_filling = is_filling;
    }

    /// A write that failed is made again elsewhere, and nobody who sends notices: a disk that begins to fail
    /// is told all the same. While the journal takes nothing any more, `problems` and the ledger say it alone.
    fn watch_faults(&mut self, app: &App) {
        let stats = app.journal.stats();
        if stats.write_errors <= self.write_errors {
            return;
        }
        self.write_errors = stats.write_errors;
        let what = match stats.state {
            journal::State::Faulted => "twice in a row: nothing is taken until a restart",
            _ => "and was made again in a new file: nothing that was acknowledged is lost",
        };
        let text = format!(
            "a write or a sync of the journal failed {what}; look at the disk and the kernel's log \
             ({} failures since the start)",
            stats.write_errors
        );
        app.set_notice("storage", Some(text.clone()));
        app.audit("alcedo", "storage.fault", "journal", &text);
    }

    fn load(app: &App) -> Load {
        let stats = app.journal.stats();
        let part = |n: u64, of: u64| if of == 0 { 0.0 } else { n as f64 / of as f64 };
        let door = part(app.door.used_bytes() as u64, app.door.size_bytes() as u64);
        let queue = part(stats.queue_bytes, journal::Options::default().queue_bytes_max);
        let full = stats.state == journal::State::DiskFull;
        Load {
            queue: door.max(queue),
            lag_ns: app.detect_lag_ms(io::intake::wall_ns()).saturating_mul(1_000_000),
            // Whether it is full is the journal's to say: it knows its prepared space.
            disk: if full { 1.0 } else { disk_part(&stats).min(0.99) },
            memory: part(resident_bytes(), app.memory.all),
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
        let cause = match self.strain {
            Strain::Disk => RefusedCause::DiskFull,
            Strain::Memory => RefusedCause::MemoryShort,
            Strain::Queue | Strain::Lag => RefusedCause::Overloaded,
        };
        app.door.shut(to, cause);
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

/// Says that the ceiling is too low, and which would do.
fn tell_memory(app: &App) {
    let resident = resident_bytes();
    let needed = (resident as f64 / MEMORY_IDLE_MAX / f64::from(1 << 20)).ceil();
    let text = format!(
        "the memory limit of {} MiB is too small: the server itself uses {} MiB with nothing to do, \
         so it goes on refusing or slowing senders; set `limits: {{memory: ...}}` to at least \
         {needed} MiB, or give its control group {} MiB",
        app.memory.all >> 20,
        resident >> 20,
        (needed * 100.0 / MEMORY_PERCENT as f64).ceil(),
    );
    app.set_notice("memory", Some(text));
}

/// A step that was taken or taken back.
struct Telling {
    change: Change,
    strain: Strain,
    /// When, wall ns.
    at_ns: i64,
}

impl Telling {
    fn sentence(&self) -> String {
        let sentence = self.change.sentence();
        match self.change.entered {
            true => format!("{sentence} ({})", self.strain.sentence()),
            false => sentence,
        }
    }

    /// A step is a record in the stream it happened in and an event that rules can watch. False while the
    /// journal takes none: then the log, the gauge and health say it alone.
    fn tell(&self, app: &App) -> bool {
        let (step, level) = (self.change.step.name(), self.change.step.level());
        let event = if self.change.entered { "overload.entered" } else { "overload.left" };
        let record = format!(r#"{{"event":"{event}","step":"{step}","level":{level}}}"#);
        let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
        batch.push_as(RecordKind::Lifecycle, 0, self.at_ns, record.as_bytes());
        if app.journal.appender().append(batch, |_| {}).is_err() {
            return false;
        }
        let mut sentence = self.sentence();
        let now_ns = io::intake::wall_ns();
        if now_ns.saturating_sub(self.at_ns) >= LATE_NS {
            sentence.push_str(&format!(", at {}", rfc3339(self.at_ns)));
        }
        let actor = Actor { who: "alcedo".into(), at_ns: now_ns, client: "server".into() };
        app.note(&actor, event, step, &sentence);
        true
    }
}

/// An event that rules can watch.
fn note(app: &App, action: &str, sentence: &str) {
    let at_ns = io::intake::wall_ns();
    let actor = Actor { who: "alcedo".into(), at_ns, client: "server".into() };
    app.note(&actor, action, "disk", sentence);
}

/// Disk used, of what may be used.
fn disk_part(stats: &journal::Stats) -> f64 {
    let used = stats.total_bytes.saturating_sub(stats.free_bytes);
    let usable = stats.total_bytes.saturating_sub(stats.reserve_bytes);
    if usable == 0 { 0.0 } else { used as f64 / usable as f64 }
}

/// Memory of this process that no file stands behind, bytes; 0 where the system does not tell.
pub fn resident_bytes() -> u64 {
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
pub fn memory_ceiling() -> u64 {
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
