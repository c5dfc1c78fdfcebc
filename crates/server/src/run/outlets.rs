//! Where the pipeline's results go: store, live viewers, ledger.
//!
//! Alerts are handed to a thread that makes them durable in batches; a snapshot of detection is kept
//! only after every alert before it is durable ([`Recorder::barrier`]).

use super::App;
use super::bus::News;
use crate::exit::Failure;
use crossbeam_channel::{Receiver, Sender, bounded};
use detect::Pausing;
use event::{Envelope, EventBatch, RawBatch, RecordKind};
use ledger::{Actor, LedgerRecord};
use pipeline::{AlertChange, Outlets, Progress};
use serde_json::json;
use shape::Decision;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use watch::registry::host_name;
use watch::{Balance, Registry};

/// Alerts that may wait for the ledger before detection waits, too.
const ALERTS_WAITING_MAX: usize = 4_096;
/// Most records made durable together.
const TOGETHER_MAX: usize = 512;
/// Packs of events of which no product is known.
const GENERIC_PACKS: [&str; 4] = ["json", "kv", "syslog", "text"];
/// Senders greeted per run.
const GREETED_MAX: usize = 1_000;

enum Order {
    Record(Box<AlertChange>),
    Barrier(Sender<()>),
}

/// Longest wait for a store that is writing; then rows are left to the journal, and detection goes on.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(1);
/// Pause between two looks.
const ROOM_POLL: Duration = Duration::from_millis(2);

/// Makes alerts durable, in order, on its own thread.
#[derive(Clone)]
pub struct Recorder {
    orders: Sender<Order>,
}

impl Recorder {
    /// Starts the thread.
    pub fn start(app: Arc<App>) -> Result<(Self, std::thread::JoinHandle<()>), Failure> {
        let (orders, due) = bounded(ALERTS_WAITING_MAX);
        let thread = std::thread::Builder::new().name("recorder".into()).spawn(move || {
            precedence::go_first();
            record_all(&app, &due);
        })?;
        Ok((Self { orders }, thread))
    }

    /// Returns when everything handed over before is durable.
    pub fn barrier(&self) {
        let (tell, told) = bounded(1);
        if self.orders.send(Order::Barrier(tell)).is_ok() {
            let _ = told.recv();
        }
    }
}

fn record_all(app: &App, due: &Receiver<Order>) {
    while let Ok(first) = due.recv() {
        let mut changes = Vec::new();
        let mut barriers = Vec::new();
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Record(change) => changes.push(*change),
                Order::Barrier(tell) => barriers.push(tell),
            }
            next = if changes.len() < TOGETHER_MAX { due.try_recv().ok() } else { None };
        }
        record(app, &changes);
        for barrier in barriers {
            let _ = barrier.send(());
        }
    }
}

fn record(app: &App, changes: &[AlertChange]) {
    if changes.is_empty() {
        return;
    }
    let now_ns = io::intake::wall_ns();
    let records: Vec<LedgerRecord> = changes.iter().map(|c| record_of(c, now_ns)).collect();
    // Retried until it works: alerts are never dropped. Detection waits when the queue is full.
    loop {
        match app.ledger.submit(records.clone(), now_ns) {
            Ok(_) => break,
            Err(error) => {
                app.set_problem("ledger", Some(format!("alerts cannot be recorded: {error}")));
                std::thread::sleep(std::time::Duration::from_millis(500));
            }
        }
    }
    app.set_problem("ledger", None);
    for change in changes {
        tell(app, change);
    }
    app.recorded.fetch_add(changes.len() as u64, Ordering::Relaxed);
    app.alerts_recorded.notify_all();
}

fn record_of(change: &AlertChange, at_ns: i64) -> LedgerRecord {
    match change {
        AlertChange::Fired(alert, rule) => {
            LedgerRecord::AlertFired { alert: alert.clone(), rule: (**rule).clone() }
        }
        AlertChange::Folded(folded) | AlertChange::Grew(folded) => {
            LedgerRecord::AlertFolded { folded: folded.clone() }
        }
        AlertChange::Merged { id, into } => LedgerRecord::Merged {
            alert: id.clone(),
            into: into.clone(),
            outcome: None,
            actor: Actor { who: "alcedo".into(), at_ns, client: "detection".into() },
        },
    }
}

fn tell(app: &App, change: &AlertChange) {
    match change {
        AlertChange::Fired(alert, _) => {
            app.rates.add(io::intake::wall_ns(), 0, 0, 1);
            tell_of(app, &alert.id, "new");
        }
        AlertChange::Folded(folded) | AlertChange::Grew(folded) => {
            tell_of(app, &folded.id, "updated");
        }
        AlertChange::Merged { id, into } => {
            tell_of(app, id, "updated");
            tell_of(app, into, "updated");
        }
    }
}

/// Tells open pages how an alert stands.
pub(super) fn tell_of(app: &App, id: &str, kind: &str) {
    if !app.bus.has_viewers() {
        return;
    }
    if let Ok(Some(detail)) = app.ledger.alert(id) {
        let mut shown = crate::api::alerts::alert_json(&detail);
        shown["change"] = kind.into();
        app.bus.tell(News::Alert(Arc::new(shown)));
    }
}

/// The pipeline's outlets.
pub struct Doors {
    app: Arc<App>,
    recorder: Recorder,
    greeted: Greeted,
}

impl Doors {
    /// Into the parts of `app`.
    pub fn new(app: Arc<App>, recorder: Recorder) -> Self {
        Self { app, recorder, greeted: Greeted::default() }
    }

    /// Whether the store may be given rows: waits for a moment while those that are in no file yet
    /// fill their share of memory. A store that cannot write at all is not waited for.
    fn has_room(&self) -> bool {
        let begun = std::time::Instant::now();
        while !self.app.may_append() {
            if self.app.has_problem("store") || begun.elapsed() >= ROOM_WAIT_MAX {
                return false;
            }
            std::thread::sleep(ROOM_POLL);
        }
        true
    }

    /// To the store, or left in the journal for it.
    fn store(&self, batch: &Arc<EventBatch>) -> Arc<[u32]> {
        let relay = &self.app.relay;
        let was_behind = relay.behind().is_some();
        let takes = was_behind || self.has_room();
        let held = relay.live(batch, takes, || self.app.store.append(batch.clone()));
        if !takes {
            super::refill::begun(&self.app);
        }
        held
    }

    /// A sender's first event greets with what became of it. Our own events are no sender's.
    fn greet(&mut self, batch: &EventBatch) {
        let fields = batch.answers("host.name");
        for row in batch.rows() {
            let envelope = row.envelope();
            let host = host_name(&row, &fields).unwrap_or_default();
            let is_own = *envelope.source == *super::own_events::SOURCE;
            if is_own || !self.greeted.is_new(&envelope.source, &host) {
                continue;
            }
            let host = host.into_owned();
            let mut text = String::new();
            shape::to_json(&row, &mut text);
            let parsed: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let pack = row.text("alcedo.pack").filter(|p| !GENERIC_PACKS.contains(&&**p));
            let pack = row.text("event.module").or(pack).unwrap_or_default().into_owned();
            self.app.greet(&envelope.source, &host, &pack, &row);
            let hello =
                json!({"source": &*envelope.source, "host": host, "pack": pack, "parsed": parsed});
            self.app.bus.tell(News::Hello(Arc::new(hello)));
        }
    }
}

/// Hosts that were greeted, by source.
#[derive(Default)]
struct Greeted {
    hosts: HashMap<Arc<str>, HashSet<Box<str>>>,
    count: usize,
}

impl Greeted {
    /// Whether there is anybody left to be greeted.
    fn is_open(&self) -> bool {
        self.count < GREETED_MAX
    }

    /// Whether this host has not been greeted; from now on it has. Asked of every event: a known host
    /// costs no memory.
    fn is_new(&mut self, source: &Arc<str>, host: &str) -> bool {
        if !self.is_open() {
            return false;
        }
        match self.hosts.get_mut(source) {
            Some(hosts) if hosts.contains(host) => return false,
            Some(hosts) => hosts.insert(host.into()),
            None => self.hosts.insert(source.clone(), HashSet::from([host.into()])).is_none(),
        };
        self.count += 1;
        true
    }
}

impl Outlets for Doors {
    fn events(&mut self, batch: &Arc<EventBatch>) -> Arc<[u32]> {
        let now_ns = io::intake::wall_ns();
        if super::faults::loses(batch) {
            return Arc::default();
        }
        let held = self.store(batch);
        self.app.appended(now_ns);
        self.app.bus.show(batch);
        let bytes: usize = batch.rows().map(|r| r.raw().len()).sum();
        self.app.rates.add(now_ns, batch.len() as u64, bytes as u64, 0);
        self.app.count_match_failures(batch);
        if self.greeted.is_open() {
            self.greet(batch);
        }
        held
    }

    fn alert(&mut self, change: AlertChange) {
        // The recorder ends only after the pipeline.
        let _ = self.recorder.orders.send(Order::Record(Box::new(change)));
    }

    fn shadow(&mut self, rule: &detect::Rule, times: u64) {
        self.app.count_shadow(&rule.id, times);
    }

    fn repeats(&mut self, closed: &[shape::DedupeSummary]) {
        let at_ns = io::intake::wall_ns();
        let actor = Actor { who: "alcedo".into(), at_ns, client: "dedupe".into() };
        for one in closed {
            let count = one.count.to_string();
            self.app.note(&actor, "dedupe.repeats", &one.first.to_string(), &count);
        }
    }

    fn progress(&mut self, progress: Progress) {
        self.app.set_progress(progress);
    }

    fn remember(&mut self, decision: Decision) {
        let Some(record) = self.app.archive.record_of(&decision) else { return };
        let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
        batch.push_as(RecordKind::Generation, 0, io::intake::wall_ns(), &record);
        // Never waits: the sequencer must not stand behind a full disk. It is decided again later.
        if let Err(rejected) = self.app.journal.appender().append(batch, |_| ()) {
            tracing::warn!(error = %rejected.why, "what a source sends was not recorded");
        }
    }

    fn pause(&mut self, pausing: Pausing) {
        self.app.pause(&pausing);
    }

    fn stored(&self) -> u64 {
        self.app.store.stored_through(0).map_or(0, |id| id.offset + 1)
    }

    fn drops(&mut self, counts: &mut dyn Iterator<Item = (&str, u64)>) {
        self.app.set_drops(counts.map(|(name, count)| (name.to_owned(), count)).collect());
    }

    fn correlations(&mut self, stats: Vec<detect::correlate::RuleStats>) {
        self.app.set_correlations(stats);
    }

    fn health(&mut self, registry: &Registry, balance: &Balance, stream_ns: i64) {
        self.app.set_health(registry.status(stream_ns), balance);
    }
}
