//! What the parts of a running server share.

use super::bus::{Bus, News};
use super::exports::Exports;
use super::generations::{Archive, Reloaded};
use super::lag::{Ages, Behindhand};
use super::memory::Shares;
use super::outboxes;
use super::own_events::{self, OwnEvent, OwnEvents};
use super::rates::Rates;
use super::reparsing::Reparsing;
use crate::api::problem::Problem;
use crate::config::Config;
use crate::exit::Failure;
use crate::files::lookups::Lookups;
use axum::http::StatusCode;
use detect::correlate::RuleStats;
use detect::{Changed, Pausing};
use event::{Envelope, EventBatch, EventId, EventView, Marks, RawBatch, RecordKind};
use filter::search::Query;
use journal::Journal;
use ledger::{Actor, Audit, Ledger, LedgerRecord};
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use pipeline::{Generation, Progress, Relay};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;
use store::Store;
use store::search::SearchRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trust::{AuthError, Principal, Sessions, Setup};
use watch::{Balance, Counter, SourceStatus, Step, Strain};

/// Where lines for people at the terminal go.
pub type Terminal = Box<dyn Fn(&str) + Send + Sync>;

/// A search's turn, given back when it is dropped; none is needed unless searches are cut down.
pub type Turn = Option<OwnedSemaphorePermit>;

/// Rules that an audit record of a reload names, at most: what is in a record is bounded.
const KEPT_TOLD_MAX: usize = 20;

/// Events that came in so shortly before a search are not told as missing, ms: they always are on their
/// way.
const SEARCH_LAG_TOLD_MS: i64 = 1_000;

/// How long a search waits for its turn under overload before it is told to come again.
const TURN_WAIT: Duration = Duration::from_secs(10);
/// What searches hold of rows counts up to this part of what rows in memory may fill.
const READ_ON_ONE_IN: usize = 4;

/// The parts of a running server.
pub struct App {
    /// As read.
    pub config: Config,
    /// The `data` stream.
    pub journal: Arc<Journal>,
    /// Alerts, audit, tokens.
    pub ledger: Arc<Ledger>,
    /// The stream they are kept in.
    pub ledger_stream: Arc<Journal>,
    /// Events.
    pub store: Arc<Store>,
    /// Rules, packs, tables.
    pub archive: Arc<Archive>,
    /// Live viewers.
    pub bus: Bus,
    /// Recent rates.
    pub rates: Rates,
    /// Tables for searches.
    pub lookups: Lookups,
    /// Exports that run or wait to be fetched.
    pub exports: Exports,
    /// The one place for a hunt over what is stored.
    pub hunting: Arc<tokio::sync::Semaphore>,
    /// Held while rules are made of saved searches.
    saving: Mutex<()>,
    /// Held while a backup is made.
    pub backing_up: Mutex<()>,
    /// The last run of `reparse`.
    pub reparsing: Mutex<Option<Reparsing>>,
    /// The server is going down: long work ends.
    pub stopping: AtomicBool,
    /// When this run started.
    pub started_ns: i64,
    /// Whether this is the demo.
    pub demo: bool,
    /// Changes recorded in this run.
    pub recorded: AtomicU64,
    /// Rung when alerts have been recorded: outboxes wake up.
    pub alerts_recorded: Bell,
    /// Told about alerts and greetings, for the terminal.
    pub terminal: Option<Terminal>,
    /// What all sources go through.
    pub door: io::Door,
    /// What senders to the event collector may still ask about.
    pub hec_acks: Mutex<io::hec::Acks>,
    /// Connections of the HTTP listener.
    pub http_stats: Arc<io::SourceStats>,
    /// How far down the order of what is given up we are, see [`watch::degrade`].
    pub degraded: AtomicU8,
    /// What the highest step of it was asked for by.
    pub strain: Mutex<Strain>,
    /// What this process may have, and who how much of it.
    pub memory: Shares,
    /// Memory is scarce: events leave it early.
    pub memory_tight: AtomicBool,
    /// Of what consumers have not passed.
    pub ages: Ages,
    /// Who feeds the store.
    pub relay: Arc<Relay>,
    /// Held while it is marked from where the store has to be fed, or that it is not any more.
    pub marking_left: Mutex<()>,
    /// Searches take turns by it while [`Step::Queries`] is given up.
    turns: Arc<Semaphore>,
    contexts: RwLock<Vec<io::Context>>,
    outboxes: RwLock<Vec<io::Gauge>>,
    sessions: Mutex<Sessions>,
    setup: Mutex<Option<Setup>>,
    health: RwLock<Arc<Vec<SourceStatus>>>,
    correlations: RwLock<Arc<Vec<RuleStats>>>,
    /// Drop filters and how many events each took out of the store.
    drops: RwLock<Vec<(String, u64)>>,
    totals: Mutex<Map<String, Value>>,
    problems: Mutex<BTreeMap<&'static str, String>>,
    notices: Mutex<BTreeMap<&'static str, String>>,
    /// Matches of rules in shadow since the start, by id.
    shadow: Mutex<BTreeMap<Arc<str>, u64>>,
    /// Rows on which detection crashed since the start.
    match_failed: AtomicU64,
    own: OwnEvents,
    passed: AtomicU64,
    passed_wall_ns: AtomicI64,
    /// Stream time of what was passed last, ns; none before the first record of this run.
    passed_stream_ns: Mutex<Option<i64>>,
    behindhand: Behindhand,
    /// When the oldest event that is in no file yet was handed to the store, ns; 0 = there is none.
    unstored_since_ns: AtomicI64,
}

/// Sets or clears a text; a new one is logged.
fn keep(texts: &Mutex<BTreeMap<&'static str, String>>, key: &'static str, text: Option<String>) {
    let mut texts = texts.lock();
    match text {
        Some(text) => {
            if texts.insert(key, text.clone()).is_none() {
                tracing::error!("{text}");
            }
        }
        None => {
            texts.remove(key);
        }
    }
}

/// Wakes whoever waits for news, or lets them go on after a while.
#[derive(Default)]
pub struct Bell {
    rung: Mutex<u64>,
    ring: Condvar,
}

impl Bell {
    /// Wakes everybody.
    pub fn notify_all(&self) {
        *self.rung.lock() += 1;
        self.ring.notify_all();
    }

    /// Waits for the next ring, at most `wait`.
    pub fn wait(&self, wait: Duration) {
        let mut rung = self.rung.lock();
        let _ = self.ring.wait_for(&mut rung, wait);
    }
}

/// What a server is made of before it runs.
pub struct Made {
    /// As read.
    pub config: Config,
    /// How much memory who may hold.
    pub shares: Shares,
    /// The `data` stream.
    pub journal: Arc<Journal>,
    /// Alerts, audit, tokens.
    pub ledger: Arc<Ledger>,
    /// The stream they are kept in.
    pub ledger_stream: Arc<Journal>,
    /// Events.
    pub store: Arc<Store>,
    /// Rules, packs, tables.
    pub archive: Arc<Archive>,
    /// Whether this is the demo.
    pub demo: bool,
    /// Told about greetings.
    pub terminal: Option<Terminal>,
}

impl App {
    /// Puts the parts together.
    pub fn new(made: Made) -> Self {
        let exports = Exports::below(&made.config.data_dir);
        Self {
            lookups: Lookups::of(&made.config),
            config: made.config,
            memory: made.shares,
            exports,
            hunting: Arc::new(tokio::sync::Semaphore::new(1)),
            saving: Mutex::default(),
            backing_up: Mutex::new(()),
            reparsing: Mutex::default(),
            stopping: AtomicBool::new(false),
            journal: made.journal,
            ledger: made.ledger,
            ledger_stream: made.ledger_stream,
            ages: Ages::default(),
            store: made.store,
            archive: made.archive,
            bus: Bus::default(),
            rates: Rates::default(),
            started_ns: io::intake::wall_ns(),
            demo: made.demo,
            recorded: AtomicU64::new(0),
            alerts_recorded: Bell::default(),
            terminal: made.terminal,
            door: io::Door::new(made.shares.door),
            hec_acks: Mutex::default(),
            http_stats: Arc::default(),
            degraded: AtomicU8::new(0),
            strain: Mutex::default(),
            memory_tight: AtomicBool::new(false),
            relay: Arc::default(),
            marking_left: Mutex::default(),
            turns: Arc::new(Semaphore::new(1)),
            contexts: RwLock::default(),
            outboxes: RwLock::default(),
            sessions: Mutex::default(),
            setup: Mutex::default(),
            health: RwLock::default(),
            correlations: RwLock::default(),
            drops: RwLock::default(),
            totals: Mutex::default(),
            problems: Mutex::default(),
            notices: Mutex::default(),
            shadow: Mutex::default(),
            match_failed: AtomicU64::new(0),
            own: OwnEvents::default(),
            passed: AtomicU64::new(0),
            passed_wall_ns: AtomicI64::new(0),
            passed_stream_ns: Mutex::default(),
            behindhand: Behindhand::default(),
            unstored_since_ns: AtomicI64::new(0),
        }
    }

    /// Runs blocking work (SQL, files) on its own thread.
    pub async fn blocking<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&App) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let done = tokio::task::spawn_blocking(move || work(&self)).await;
        done.unwrap_or_else(|panic| Err(Problem::internal(panic)))
    }

    /// Whether the server is going down.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The generation in force for new work.
    pub fn generation(&self) -> Arc<Generation> {
        self.archive.current()
    }

    /// Reads rules, packs and tables again; the change is recorded and audited. `changed` tells which
    /// files of rules to look at.
    pub fn reload(&self, actor: Actor, changed: &Changed) -> Result<Reloaded, Failure> {
        let reached = |offset| self.passed.load(Ordering::SeqCst) > offset;
        let reloaded = self.archive.reload(&self.journal, changed, &reached)?;
        self.store.set_dictionary(self.generation().dict.clone());
        let mut detail = format!("generation {}", reloaded.generation);
        let mut kept: Vec<Arc<str>> = self.archive.kept().iter().cloned().collect();
        if !kept.is_empty() {
            kept.sort();
            kept.truncate(KEPT_TOLD_MAX);
            detail += &format!("; {} in force as before an edit that failed: ", reloaded.kept);
            detail += &kept.join(", ");
        }
        self.audit_by(actor, "rules.reload", "", &detail);
        Ok(reloaded)
    }

    /// Keeps everybody else from changing saved searches until the guard is dropped.
    pub fn lock_searches(&self) -> MutexGuard<'_, ()> {
        self.saving.lock()
    }

    /// Puts in force what saved searches have become, for whoever holds their lock.
    pub fn reload_searches(
        &self,
        actor: Actor,
        _alone: &MutexGuard<'_, ()>,
    ) -> Result<Reloaded, Failure> {
        super::live_searches::write(&self.config.data_dir, &self.ledger)?;
        self.reload(actor, &Changed::Anything)
    }

    /// One event as JSON.
    pub fn event(&self, id: EventId) -> Option<Value> {
        let text = self.store.event(id).ok().flatten()?;
        serde_json::from_str(&text).ok()
    }

    /// Events as JSON, in the order of `ids`; those that are no longer there are left out.
    pub fn events(&self, ids: &[EventId]) -> Vec<Value> {
        let texts = self.store.events(ids).into_iter().flatten();
        texts.filter_map(|text| serde_json::from_str(&text).ok()).collect()
    }

    // --- who ---

    /// Whoever holds a token.
    pub fn principal_of_token(
        &self,
        token: &str,
        peer: Option<IpAddr>,
    ) -> Result<Principal, AuthError> {
        trust::verify(token, peer, io::intake::wall_ns(), |id| self.ledger.token(id))
    }

    /// Whoever a session belongs to. It is over with the token that began it.
    pub fn principal_of_session(&self, id: &str) -> Option<Principal> {
        let now_ns = io::intake::wall_ns();
        let mut sessions = self.sessions.lock();
        let principal = sessions.check(id, now_ns)?.principal();
        if self.is_good(&principal.identity, now_ns) {
            return Some(principal);
        }
        sessions.end_all_of(&principal.identity);
        None
    }

    /// Whether an identity that was checked once is still to be trusted: a token's only as long as
    /// the token is good.
    pub fn is_good(&self, identity: &str, now_ns: i64) -> bool {
        let Some(id) = identity.strip_prefix("token:") else { return true };
        self.ledger.token(id).is_some_and(|token| token.is_good(now_ns))
    }

    /// A first-start link or an API token signs in.
    pub fn sign_in(&self, token: &str) -> Result<Principal, AuthError> {
        let now_ns = io::intake::wall_ns();
        let by_link = self.setup.lock().as_mut().map(|setup| setup.redeem(token, now_ns));
        match by_link {
            Some(Ok(principal)) => Ok(principal),
            _ => self.principal_of_token(token, None),
        }
    }

    /// Makes a first-start link good.
    pub fn offer_setup(&self, setup: Setup) {
        *self.setup.lock() = Some(setup);
    }

    /// Begins a session; the id goes into the cookie.
    pub fn begin_session(&self, principal: &Principal) -> Result<String, impl std::fmt::Display> {
        let now_ns = io::intake::wall_ns();
        self.sessions.lock().begin(&principal.identity, principal.roles.clone(), now_ns)
    }

    /// Ends a session.
    pub fn end_session(&self, id: &str) {
        let ended = self.sessions.lock().end(id);
        if let Some(session) = ended {
            self.audit(&session.identity, "logout", "", "");
        }
    }

    /// Whether the HTTP listener is encrypted.
    pub fn has_tls(&self) -> bool {
        self.config.tls.is_some()
    }

    /// Records that somebody did something.
    pub fn audit(&self, who: &str, action: &str, target: &str, detail: &str) {
        let actor =
            Actor { who: who.into(), at_ns: io::intake::wall_ns(), client: "server".into() };
        self.audit_by(actor, action, target, detail);
    }

    /// Records what the store removed, hid, held or released: `client` says who carried it out.
    pub fn audit_store(&self, client: &str, done: &[store::AuditRecord]) {
        let at_ns = io::intake::wall_ns();
        let mut records = Vec::with_capacity(done.len());
        for one in done {
            let actor = Actor { who: one.actor.clone(), at_ns, client: client.into() };
            let detail = format!("{}; {} rows, {} bytes", one.reason, one.rows, one.bytes);
            let detail = detail.trim_start_matches("; ").to_owned();
            self.note(&actor, &one.action, &one.subject, &detail);
            let audit = Audit { action: one.action.clone(), target: one.subject.clone(), detail };
            records.push(LedgerRecord::Audit { audit, actor });
        }
        if records.is_empty() {
            return;
        }
        if let Err(error) = self.ledger.submit(records, at_ns) {
            tracing::error!(%error, ?done, "audit records of the store were not stored");
        }
    }

    /// Records that somebody did something, under who it was.
    pub fn audit_by(&self, actor: Actor, action: &str, target: &str, detail: &str) {
        let audit = Audit { action: action.into(), target: target.into(), detail: detail.into() };
        let at_ns = actor.at_ns;
        if !action.starts_with("server.") {
            self.note(&actor, action, target, detail);
        }
        if let Err(error) = self.ledger.submit(vec![LedgerRecord::Audit { audit, actor }], at_ns) {
            tracing::error!(%error, action, "an audit record was not stored");
        }
    }

    /// Puts what somebody did into this server's own stream, for rules to see.
    pub fn note(&self, actor: &Actor, action: &str, target: &str, detail: &str) {
        let (who, client) = (&*actor.who, &*actor.client);
        self.own.tell(&self.journal, &OwnEvent { who, action, target, detail, client });
    }

    /// Tells what the journal did not take when it happened.
    pub fn tell_waiting(&self) {
        self.own.tell_waiting(&self.journal);
    }

    /// The same for a request that was refused.
    pub fn tell_refused(&self, action: &str, client: &str) {
        self.own.refused(&self.journal, action, client);
    }

    /// Pauses a rule that costs more than it may, or ends its pause, by a record in the journal. Never
    /// waits: what is not recorded is asked for again.
    pub fn pause(&self, pausing: &Pausing) {
        let is_paused = pausing.until_ns.is_some();
        if is_paused && self.config.detection.keep_over_budget {
            return;
        }
        let pauses = self.archive.pauses();
        let Some(record) = pauses.record_of(pausing) else { return };
        let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
        batch.push_as(RecordKind::Generation, 0, io::intake::wall_ns(), &record);
        if let Err(rejected) = self.journal.appender().append(batch, |_| ()) {
            tracing::warn!(error = %rejected.why, rule = %pausing.rule, "a pause was not recorded");
            return pauses.not_recorded(pausing);
        }
        let action = if is_paused { "rule.paused" } else { "rule.resumed" };
        let (target, detail) = (&*pausing.rule, pausing.reason());
        let event =
            OwnEvent { who: "alcedo", action, target, detail: &detail, client: "detection" };
        self.own.tell(&self.journal, &event);
        tracing::warn!(rule = target, detail, "{action}");
    }

    /// Counts rows on which detection crashed, and tells this server's own stream of the first one
    /// in a batch. A crash on what the stream itself says is counted only.
    pub fn count_match_failures(&self, batch: &EventBatch) {
        let mut failed = batch.rows().filter(|r| r.marks().has(Marks::MATCH_FAILED));
        let Some(first) = failed.next() else { return };
        let rows = 1 + failed.count() as u64;
        self.match_failed.fetch_add(rows, Ordering::Relaxed);
        if &*first.envelope().source != own_events::SOURCE {
            let target = first.id().to_string();
            let detail = format!("{rows} events have no matches, or not all: a mistake of ours");
            let event = OwnEvent {
                who: "alcedo",
                action: "detection.crashed",
                target: &target,
                detail: &detail,
                client: "detection",
            };
            self.own.seldom(&self.journal, &event);
        }
    }

    /// Rows on which detection crashed since the start.
    pub fn match_failed(&self) -> u64 {
        self.match_failed.load(Ordering::Relaxed)
    }

    /// Counts matches of a rule in shadow.
    pub fn count_shadow(&self, rule: &Arc<str>, times: u64) {
        *self.shadow.lock().entry(rule.clone()).or_default() += times;
    }

    /// Matches of rules in shadow since the start, by id.
    pub fn shadow_counts(&self) -> BTreeMap<Arc<str>, u64> {
        self.shadow.lock().clone()
    }

    // --- intake ---

    /// Adds a running source's context.
    pub fn add_context(&self, context: io::Context) {
        self.contexts.write().push(context);
    }

    /// All sources' contexts.
    pub fn contexts(&self) -> Vec<io::Context> {
        self.contexts.read().clone()
    }

    /// The outboxes that run.
    pub fn set_outboxes(&self, outboxes: Vec<io::Gauge>) {
        *self.outboxes.write() = outboxes;
    }

    /// How the outbox of that name does.
    pub fn outbox(&self, name: &str) -> Option<io::Gauge> {
        self.outboxes.read().iter().find(|gauge| gauge.name() == name).cloned()
    }

    /// The HTTP source that a request writes to: named, or the first one the token may write to.
    pub fn http_source(
        &self,
        name: Option<&str>,
        principal: &Principal,
    ) -> Result<io::Context, Problem> {
        let contexts = self.contexts.read();
        let is_http = |context: &&io::Context| {
            let source = self.config.sources.iter().find(|s| *s.name == *context.name);
            source.is_some_and(|s| s.kind == crate::config::SourceKind::Http)
        };
        let mut own = contexts.iter().filter(is_http).filter(|c| principal.may_write(&c.name));
        let found = match name {
            Some(name) => own.find(|c| *c.name == *name),
            None => own.next(),
        };
        found.cloned().ok_or_else(|| {
            let detail = format!("{} may not write to this source", principal.identity);
            Problem::new(StatusCode::FORBIDDEN, detail)
        })
    }

    /// Greets a sender on the terminal.
    pub fn greet(&self, source: &str, host: &str, pack: &str, row: &EventView<'_>) {
        let Some(terminal) = &self.terminal else { return };
        let failed = row.marks().has(Marks::PARSE_FAILED);
        let pack = if pack.is_empty() { "unknown product" } else { pack };
        let result = if failed { "kept raw, parsing failed" } else { "parsed" };
        let host = event::text::render(host.as_bytes());
        terminal(&format!("  hello  {host} on {source}: {result} as {pack}"));
    }

    // --- how it goes ---

    /// Whether this is given up now.
    pub fn sheds(&self, step: Step) -> bool {
        self.degraded.load(Ordering::SeqCst) >= step.level()
    }

    /// A search's turn: at once, or after the one before while searches are cut down to one.
    pub async fn turn(&self) -> Result<Turn, Problem> {
        if !self.sheds(Step::Queries) {
            return Ok(None);
        }
        match tokio::time::timeout(TURN_WAIT, self.turns.clone().acquire_owned()).await {
            Ok(turn) => Ok(turn.ok()),
            Err(_) => Err(Problem::busy("under overload one search runs at a time; try again")),
        }
    }

    /// The same for a thread that comes back later.
    ///
    /// # Errors
    /// [`store::SearchError::Busy`] when it is another search's turn.
    pub fn turn_now(&self) -> Result<Turn, store::SearchError> {
        if !self.sheds(Step::Queries) {
            return Ok(None);
        }
        let turn = self.turns.clone().try_acquire_owned();
        turn.map(Some).map_err(|_| store::SearchError::Busy { running: 1 })
    }

    /// The pipeline has come this far.
    pub fn set_progress(&self, progress: Progress) {
        self.passed.store(progress.next_offset, Ordering::SeqCst);
        self.passed_wall_ns.store(progress.wall_ns, Ordering::SeqCst);
        *self.passed_stream_ns.lock() = Some(progress.stream_ns);
    }

    /// Offset below which everything is detected and given to the store or left to it by
    /// [`App::relay`], and a stream time up to which that is so.
    pub fn reached(&self) -> Option<(u64, i64)> {
        // The time first: an offset that is read after it is not behind it.
        let stream_ns = (*self.passed_stream_ns.lock())?;
        Some((self.passed(), stream_ns))
    }

    /// Offset below which everything is detected.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    /// How far detection is behind receipt, ms.
    pub fn detect_lag_ms(&self, now_ns: i64) -> i64 {
        let durable = self.journal.durable().map_or(0, |last| last + 1);
        let passed_ns = self.passed_wall_ns.load(Ordering::SeqCst);
        self.behindhand.lag_ns(self.passed(), passed_ns, durable, now_ns) / 1_000_000
    }

    /// Records that were accepted and cannot be found yet, if more than a moment's: detection or the
    /// store is behind.
    pub fn not_searchable(&self, now_ns: i64) -> u64 {
        let left = self.relay.behind().map_or(0, |rows| rows.left.saturating_sub(rows.taken));
        if self.detect_lag_ms(now_ns) < SEARCH_LAG_TOLD_MS {
            return left;
        }
        // Right after a start the store has more than what was passed in this run.
        let stored = self.store.stored_through(0).map_or(0, |id| id.offset + 1);
        let durable = self.journal.durable().map_or(0, |last| last + 1);
        left + durable.saturating_sub(self.passed().max(stored))
    }

    /// A search of everything under the names of now, for an answer that is held in memory.
    pub fn search_of(&self, query: Query) -> SearchRequest {
        let request = SearchRequest::new(query, self.generation().dict.clone());
        SearchRequest { memory_bytes_max: self.memory.search, ..request }
    }

    /// Whether the store can write, and rows that are in no file yet fill less than one part in
    /// `parts` of the memory they may fill.
    pub fn has_store_room(&self, parts: usize) -> bool {
        !self.has_problem("store") && self.unstored_bytes() <= self.memory.hot_rows / parts
    }

    /// Whether the sequencer may give the store more rows: also one that cannot write them now, up to
    /// a limit that is low where memory is scarce. What searches still hold counts there, too.
    pub fn may_append(&self) -> bool {
        let scarce = self.memory_tight.load(Ordering::Relaxed) && self.has_problem("store");
        let most = self.memory.hot_rows;
        let most = if scarce { most.min(super::upkeep::EARLY_BYTES) } else { most };
        self.unstored_bytes() <= most
    }

    /// Memory of rows that are in no file yet; where memory is scarce, with those that searches hold. Of these
    /// no more than a part counts: whoever reads slowly may not keep the store from going on.
    fn unstored_bytes(&self) -> usize {
        let held = match self.memory_tight.load(Ordering::Relaxed) {
            true => self.store.read_on_bytes().min(self.memory.hot_rows / READ_ON_ONE_IN),
            false => 0,
        };
        self.store.hot_bytes() + held
    }

    /// Events were handed to the store: searchable from now on, in a file later.
    pub fn appended(&self, now_ns: i64) {
        let since = &self.unstored_since_ns;
        let _ = since.compare_exchange(0, now_ns, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Files were written that hold everything handed over before `since_ns`; `rest` tells whether
    /// there is more.
    pub fn stored(&self, rest: bool, since_ns: i64) {
        self.unstored_since_ns.store(if rest { since_ns } else { 0 }, Ordering::SeqCst);
    }

    /// How long the oldest event that is in no file yet has been waiting, ms.
    pub fn store_lag_ms(&self, now_ns: i64) -> i64 {
        match self.unstored_since_ns.load(Ordering::SeqCst) {
            0 => 0,
            since_ns => (now_ns - since_ns).max(0) / 1_000_000,
        }
    }

    /// Source health and totals as of the last tick.
    pub fn set_health(&self, status: Vec<SourceStatus>, balance: &Balance) {
        *self.health.write() = Arc::new(status);
        let mut totals = Map::new();
        for (counter, name, _) in Counter::ALL {
            let sum: u64 = balance.totals().map(|(_, counts)| counts.get(*counter)).sum();
            totals.insert((*name).into(), sum.into());
        }
        let refused: u64 =
            self.contexts.read().iter().map(|c| c.stats.snapshot().refused_records).sum();
        totals.insert("refused".into(), refused.into());
        let health = self.health.read();
        let failed: u64 = health.iter().map(|s| s.total.parse_failures).sum();
        totals.insert("parse_failed".into(), failed.into());
        totals.insert("match_failed".into(), self.match_failed().into());
        *self.totals.lock() = totals;
    }

    /// Replaces what is known of the drop filters' counts.
    pub fn set_drops(&self, counts: Vec<(String, u64)>) {
        *self.drops.write() = counts;
    }

    /// Each drop filter and how many events it took out of the store since the start.
    pub fn drops(&self) -> Vec<(String, u64)> {
        self.drops.read().clone()
    }

    /// What each correlation holds and gave up, as of the last report.
    pub fn set_correlations(&self, stats: Vec<RuleStats>) {
        *self.correlations.write() = Arc::new(stats);
    }

    /// What each correlation holds and gave up.
    pub fn correlations(&self) -> Arc<Vec<RuleStats>> {
        self.correlations.read().clone()
    }

    /// Source health.
    pub fn health(&self) -> Arc<Vec<SourceStatus>> {
        self.health.read().clone()
    }

    /// The conservation totals.
    pub fn totals(&self) -> Value {
        Value::Object(self.totals.lock().clone())
    }

    /// Sets or clears a problem that operators should see, and that keeps this server from doing all of
    /// its work.
    pub fn set_problem(&self, key: &'static str, problem: Option<String>) {
        keep(&self.problems, key, problem);
    }

    /// Sets or clears something that operators should see to, while all work goes on.
    pub fn set_notice(&self, key: &'static str, notice: Option<String>) {
        keep(&self.notices, key, notice);
    }

    /// Whether something is wrong under `key`.
    pub fn has_problem(&self, key: &str) -> bool {
        self.problems.lock().contains_key(key)
    }

    /// Why senders that ask are turned away now; `None` while they are not.
    pub fn refusal(&self) -> Option<io::RefusedCause> {
        match self.journal.stats().state {
            journal::State::Faulted => Some(io::RefusedCause::Faulted),
            journal::State::DiskFull => Some(io::RefusedCause::DiskFull),
            journal::State::Ok | journal::State::Closed => self.door.refusal(),
        }
    }

    /// Everything that keeps this server from doing all of its work.
    pub fn hindrances(&self) -> Vec<String> {
        let mut out: Vec<String> = self.problems.lock().values().cloned().collect();
        match self.journal.stats().state {
            journal::State::Ok | journal::State::Closed => {}
            journal::State::DiskFull => out.push("the disk is full: senders are refused".into()),
            journal::State::Faulted => out.push("the journal cannot write: restart needed".into()),
        }
        if let Some(stretch) = self.relay.behind() {
            let n = stretch.left - stretch.taken.min(stretch.left);
            out.push(format!("{n} events are in the journal only, and cannot be searched yet"));
        }
        out
    }

    /// Everything that is wrong now, or that somebody should see to.
    pub fn problems(&self) -> Vec<String> {
        let mut out = self.hindrances();
        out.extend(self.notices.lock().values().cloned());
        out.extend(outboxes::left_over(self).iter().map(outboxes::Destination::left_over_text));
        out
    }

    /// Tells open pages.
    pub fn tell(&self, news: News) {
        self.bus.tell(news);
    }
}
