//! The threads: feeder, workers, sequencer, one that chooses witnesses for the matcher, and the
//! bounded queues between them.

use crate::feeder::Job;
use crate::feeder::{Begin, Control, Feeder, Step};
use crate::generation::Generations;
use crate::in_hand::InHand;
use crate::sequencer::{Core, Outlets};
use crate::worker::{Done, Worker};
use crossbeam_channel::{Receiver, Sender, bounded};
use detect::RuleSet;
use journal::Journal;
use precedence::{go_first, step_back};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many jobs wait per worker: enough to keep it busy while the feeder reads on, few enough that
/// an alert does not queue behind much (2 ms each).
const JOBS_PER_WORKER: usize = 4;
/// How long the feeder sleeps before it looks at the stop flag again; records wake it at once.
const FEEDER_WAIT: Duration = Duration::from_millis(100);
/// Learning takes a fifth of one core at most.
const LEARN_REST: u32 = 4;
/// Longest rest: the end of the process waits for it.
const LEARN_REST_MAX: Duration = Duration::from_millis(500);
/// Stream time between snapshots, ns.
const SNAPSHOT_EVERY_NS: i64 = 30 * 1_000_000_000;

/// How the pipeline is run.
pub struct Settings {
    /// Worker threads, at least 1.
    pub workers: usize,
    /// First offset to read: the smaller of [`Core::read_from`] and what the store still needs.
    pub from: u64,
    /// Where it is marked what workers have in hand.
    pub in_hand: Arc<InHand>,
    /// The first worker's place among the marks; pipelines that run side by side have their own.
    pub first_slot: usize,
    /// Called with each snapshot and the offset from which the journal is needed with it; it has to
    /// be durable when the call returns. None: no snapshots are made.
    pub keep_snapshot: Option<KeepSnapshot>,
}

/// See [`Settings::keep_snapshot`].
pub type KeepSnapshot = Box<dyn FnMut(u64, Vec<u8>) + Send>;

/// The running threads.
pub struct Pipeline {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

enum Numbered {
    Done(u64, Box<Done>),
    Control(u64, Control, Option<u64>),
}

impl Pipeline {
    /// Starts reading at `settings.from` with a core that may have been restored.
    pub fn start(
        journal: &Journal,
        generations: Arc<dyn Generations>,
        core: Core,
        outlets: Box<dyn Outlets>,
        settings: Settings,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let workers = settings.workers.max(1);
        let (jobs_in, jobs) = bounded::<(u64, Job)>(workers * JOBS_PER_WORKER);
        let (results_in, results) = bounded::<Numbered>(workers * JOBS_PER_WORKER);
        let hand = settings.in_hand;
        let (from, cut) = (settings.from, core.progress().next_offset);
        let held = core.joins.at(from);
        let reader = journal.reader(held.first().copied().unwrap_or(from));
        let begin = Begin { from, held, cut, headers: core.headers.at(from) };
        let feeder = Feeder::new(reader, generations, begin, hand.clone());
        let mut threads = Vec::new();
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let (stopping, results_of_feeder) = (stop.clone(), results_in.clone());
        threads.push(named("feeder").spawn(move || {
            go_first();
            feed(feeder, &stopping, &jobs_in, &results_of_feeder);
        })?);
        // One place: while it learns from one set, further requests for the same are not needed.
        let (learn_in, learn) = bounded::<Arc<RuleSet>>(1);
        for index in 0..workers {
            let (jobs, results, hand) = (jobs.clone(), results_in.clone(), hand.clone());
            let learn_in = learn_in.clone();
            let worker = named(&format!("worker-{index}"));
            let index = settings.first_slot + index;
            threads.push(worker.spawn(move || work(index, &jobs, &results, &hand, &learn_in))?);
        }
        drop((results_in, learn_in));
        let stopping = stop.clone();
        threads.push(named("witness").spawn(move || {
            step_back();
            for rules in learn {
                learn_from_samples(&rules, &stopping);
            }
        })?);
        let keep = settings.keep_snapshot;
        threads.push(named("sequencer").spawn(move || sequence(core, outlets, &results, keep))?);
        Ok(Self { stop, threads })
    }

    /// Stops reading, works off what was read, keeps a last snapshot, and returns.
    pub fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!(
                    "a pipeline thread panicked; its work is replayed at the next start"
                );
            }
        }
    }

    /// Whether a thread has ended although nobody asked it to.
    pub fn has_failed(&self) -> bool {
        !self.stop.load(Ordering::SeqCst) && self.threads.iter().any(JoinHandle::is_finished)
    }
}

/// Learns from all samples that wait, a kind of event at a time. Events come first: after each it rests
/// [`LEARN_REST`] times as long as it took.
fn learn_from_samples(rules: &RuleSet, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let began = Instant::now();
        // A sample is gone once it is looked at: a crash costs what it would have taught, no more.
        match catch_unwind(AssertUnwindSafe(|| rules.retrain_one())) {
            Ok(true) => {}
            Ok(false) => return,
            Err(_) => tracing::error!("learning from a sample of events crashed; others go on"),
        }
        std::thread::sleep((began.elapsed() * LEARN_REST).min(LEARN_REST_MAX));
    }
}

fn feed(
    mut feeder: Feeder,
    stop: &AtomicBool,
    jobs: &Sender<(u64, Job)>,
    results: &Sender<Numbered>,
) {
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        let mut closed = false;
        let fed = feeder.next(FEEDER_WAIT, &mut |step| {
            let sent = match step {
                Step::Job(job) => jobs.send((number, job)).is_ok(),
                Step::Control(control, begun_at) => {
                    results.send(Numbered::Control(number, control, begun_at)).is_ok()
                }
            };
            number += 1;
            closed |= !sent;
        });
        match fed {
            Ok(_) if closed => return,
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, "the journal cannot be read; detection stands still");
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
}

fn work(
    index: usize,
    jobs: &Receiver<(u64, Job)>,
    results: &Sender<Numbered>,
    hand: &InHand,
    learn: &Sender<Arc<RuleSet>>,
) {
    go_first();
    let mut worker = Worker::default();
    for (number, job) in jobs {
        let held = hand.take(index, job.offsets(), job.care);
        let done = Box::new(worker.work(job));
        drop(held);
        if done.generation.rules.wants_training() {
            // Full means that it is being done.
            let _ = learn.try_send(done.generation.rules.clone());
        }
        if results.send(Numbered::Done(number, done)).is_err() {
            return;
        }
    }
}

fn sequence(
    mut core: Core,
    mut outlets: Box<dyn Outlets>,
    results: &Receiver<Numbered>,
    mut keep: Option<KeepSnapshot>,
) {
    go_first();
    let mut next = 0;
    let mut early: BTreeMap<u64, Numbered> = BTreeMap::new();
    let mut kept_at_ns = core.progress().stream_ns;
    for result in results {
        let number = match &result {
            Numbered::Done(number, _) | Numbered::Control(number, ..) => *number,
        };
        early.insert(number, result);
        while let Some(result) = early.remove(&next) {
            next += 1;
            match result {
                Numbered::Done(_, done) => core.done(*done, &mut *outlets),
                Numbered::Control(_, control, begun_at) => {
                    core.control(control, begun_at, &mut *outlets);
                }
            }
            let stream_ns = core.progress().stream_ns;
            if let Some(keep) = &mut keep
                && stream_ns - kept_at_ns >= SNAPSHOT_EVERY_NS
                && !core.is_between
            {
                kept_at_ns = stream_ns;
                core.forget(outlets.stored());
                keep(core.needed_from(), core.snapshot());
            }
        }
    }
    if let Some(keep) = keep.filter(|_| !core.is_between).as_mut() {
        core.forget(outlets.stored());
        keep(core.needed_from(), core.snapshot());
    }
}
