//! The core: restores order and does everything that remembers, as a synchronous state machine.

use crate::feeder::Control;
use crate::gaps;
use crate::generation::Generation;
use crate::headers::HeaderLog;
use crate::joins::JoinLog;
use crate::worker::{BACKFILL_AFTER_NS, Done};
use alert::{Desk, Firing as Offer, Folded, Offered, Revision, RuleMeta};
use detect::correlate::{Contribution, Engine, Firing, FiringKind, Lags, RuleStats, Settings};
use detect::{Pausing, Rule};
use event::{
    Alert, Certainty, EventBatch, EventId, EventView, Evidence, Explanation, Gap, Marks, Outcome,
    RowHead,
};
use shape::{Decision, Dedupe, DedupeSummary, Drops, Sniffer};
use std::collections::BTreeMap;
use std::sync::Arc;
use watch::{Balance, Counter, Finding, Registry, Tick};

/// Fields that say whom an alert is about, in the order in which they are shown.
pub const ENTITY_FIELDS: [&str; 4] = ["user.name", "host.name", "source.ip", "cloud.account.id"];
/// Most values that a reason names.
const REASON_VALUES_MAX: usize = 3;

/// Where results go. Called on the sequencer's thread, in journal order.
pub trait Outlets: Send {
    /// Events, frozen. Rows below `Progress::next_offset` of an earlier run may come again. Out: the
    /// rows that are in the store from now on, or that it is given from the journal later (see
    /// [`crate::relay`]), by index, ascending: the balance counts these, not those that were handed
    /// over.
    fn events(&mut self, batch: &Arc<EventBatch>) -> Arc<[u32]>;
    /// An alert went out, or something became of one.
    fn alert(&mut self, change: AlertChange);
    /// Everything below this place has been worked off.
    fn progress(&mut self, progress: Progress);
    /// A rule in shadow matched, so many times: it is counted, and nobody is told.
    fn shadow(&mut self, rule: &Rule, times: u64) {
        let _ = (rule, times);
    }
    /// Windows of dedupe that closed: how often records came whose repeats are not stored.
    fn repeats(&mut self, _closed: &[DedupeSummary]) {}
    /// Source health, once per tick.
    fn health(&mut self, registry: &Registry, balance: &Balance, stream_ns: i64);
    /// A source should be remembered to send a product, or no longer: to be written into the journal
    /// as a control record that [`crate::Generations::load`] understands. It acts from there on.
    fn remember(&mut self, decision: Decision) {
        let _ = decision;
    }
    /// A rule should be paused because it costs more than it may, or be in force again: to be written
    /// into the journal as a decision of [`Outlets::remember`] is.
    fn pause(&mut self, pausing: Pausing) {
        let _ = pausing;
    }
    /// Offset below which everything is in files: no later start begins below it.
    fn stored(&self) -> u64 {
        u64::MAX
    }
    /// Each drop filter and how many events of this run it took out of the store, once per tick.
    fn drops(&mut self, _counts: &mut dyn Iterator<Item = (&str, u64)>) {}
    /// What each correlation holds and gave up, every [`STATS_EVERY_NS`] of stream time.
    fn correlations(&mut self, _stats: Vec<RuleStats>) {}
}

/// Pause between two reports of correlation state, which walk every shard of every rule.
pub const STATS_EVERY_NS: i64 = 10 * event::time::SECOND_NS;

/// News about alerts.
#[derive(Clone, Debug)]
pub enum AlertChange {
    /// A new alert with what is known of its rule.
    Fired(Box<Alert>, Box<RuleMeta>),
    /// Repeats were folded into an alert.
    Folded(Folded),
    /// A correlation's episode grew after the time in which repeats are folded. Numbers are totals
    /// and the larger one counts: a count of 0 changes no count.
    Grew(Folded),
    /// An episode joined an older one.
    Merged {
        /// The alert that ends.
        id: String,
        /// The alert that carries on.
        into: String,
    },
}

/// How far the core has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Everything below this offset has been worked off.
    pub next_offset: u64,
    /// Stream time of the last record.
    pub stream_ns: i64,
    /// Wall clock of the last record.
    pub wall_ns: i64,
}

/// What the core is set to.
#[derive(Clone, Debug)]
pub struct CoreSettings {
    /// Alert suppression where the rule says nothing, ns.
    pub suppress_ns: i64,
    /// Source health.
    pub watch: watch::Settings,
    /// Secret of the installation: keys the hashes of dedupe.
    pub seed: u64,
    /// Lateness and budgets of correlations.
    pub correlation: Settings,
}

/// All state that detection and health have.
pub struct Core {
    pub(crate) settings: CoreSettings,
    pub(crate) generation: Arc<Generation>,
    pub(crate) engine: Engine,
    pub(crate) desk: Desk,
    pub(crate) registry: Registry,
    pub(crate) balance: Balance,
    pub(crate) progress: Progress,
    /// First part of a record that is not whole yet.
    pub(crate) begun_at: Option<u64>,
    /// Rows below were detected in an earlier run: they are for the store only.
    pub(crate) detect_from: u64,
    /// Nothing is detected: another core does that, see [`Core::for_store`].
    pub(crate) is_for_store: bool,
    pub(crate) dedupe: Dedupe,
    /// Marks rows that an earlier run worked and the store still needs.
    again: Dedupe,
    drops: Drops,
    pub(crate) headers: HeaderLog,
    pub(crate) joins: JoinLog,
    /// The control record at the last place has not come yet: no snapshot can be made.
    pub(crate) is_between: bool,
    pub(crate) sniffer: Sniffer,
    pub(crate) lags: Lags,
    /// Stream time of the last report of correlation state.
    reported_ns: i64,
    firings: Vec<Firing>,
    /// Correlation alerts that were folded into others: id to id.
    pub(crate) joined: BTreeMap<String, String>,
}

fn tell_repeats(closed: &[DedupeSummary], out: &mut dyn Outlets) {
    if !closed.is_empty() {
        out.repeats(closed);
    }
}

/// Most folded alerts that are remembered. Beyond it the memory starts anew, and what an old one
/// still gains is told under its own id.
const JOINED_MAX: usize = 100_000;

impl Core {
    /// A core that has seen nothing.
    pub fn new(generation: Arc<Generation>, settings: CoreSettings) -> Self {
        let engine = Engine::new(generation.specs.clone(), settings.correlation.clone());
        let dedupe = || Dedupe::new(generation.settings.dedupe_ns.clone(), settings.seed);
        Self {
            engine,
            desk: Desk::default(),
            registry: Registry::new(settings.watch.clone()),
            balance: Balance::default(),
            progress: Progress::default(),
            begun_at: None,
            detect_from: 0,
            is_for_store: false,
            dedupe: dedupe(),
            again: dedupe(),
            drops: Drops::new(generation.settings.drops.clone()),
            headers: HeaderLog::default(),
            joins: JoinLog::default(),
            is_between: false,
            sniffer: Sniffer::new(),
            lags: Lags::default(),
            reported_ns: i64::MIN,
            firings: Vec::new(),
            joined: BTreeMap::new(),
            generation,
            settings,
        }
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// From where the journal has to be read to go on: before [`Progress::next_offset`] while the
    /// parts of a record stand on both sides of it.
    pub fn read_from(&self) -> u64 {
        self.begun_at.map_or(self.progress.next_offset, |at| at.min(self.progress.next_offset))
    }

    /// The first record that a start may need: before [`Core::read_from`] while parts wait for others.
    pub fn needed_from(&self) -> u64 {
        let from = self.read_from();
        self.joins.oldest(from).map_or(from, |at| at.min(from))
    }

    /// No later start begins below `offset`, nor below where the journal has to be read.
    pub(crate) fn forget(&mut self, offset: u64) {
        let offset = offset.min(self.read_from());
        self.headers.forget(offset);
        self.joins.forget(offset);
    }

    /// The result of the next job, in order.
    pub fn done(&mut self, mut done: Done, out: &mut dyn Outlets) {
        // The feeder cuts jobs at `detect_from`: a batch is wholly before it or wholly after.
        let new = done.next_offset > self.detect_from;
        match new {
            true => tell_repeats(&self.dedupe.apply(&mut done.batch), out),
            false => self.again.remark(&mut done.batch, &self.dedupe),
        }
        let new = new && !self.is_for_store;
        self.drops.apply(&mut done.batch, new);
        let batch = Arc::new(done.batch);
        if new {
            self.headers.add(std::mem::take(&mut done.headers));
            self.joins.add(std::mem::take(&mut done.joins));
            self.sniffer.observe(&batch).into_iter().for_each(|decision| out.remember(decision));
            self.lags.observe(&batch, self.settings.correlation.lateness_ns);
            self.registry.observe(&batch);
            self.balance.received(&done.read);
            self.balance.sequenced(&batch);
        }
        let held = out.events(&batch);
        if new {
            self.balance.stored(&batch, &held);
            self.engine.process(done.hits, done.stream_ns, &mut self.firings);
            self.offer_all(&done.generation, &batch, &done.matches, out);
        }
        self.begun_at = None;
        self.is_between = done.is_before_control;
        if !self.is_between {
            self.pass(done.next_offset, done.stream_ns, done.wall_ns, out);
        }
    }

    /// The next control record, in order; `begun_at` is where a record begins whose parts stand on
    /// both sides of it.
    pub fn control(&mut self, control: Control, begun_at: Option<u64>, out: &mut dyn Outlets) {
        self.begun_at = begun_at;
        self.is_between = false;
        match control {
            Control::Tick { offset, stream_ns, wall_ns } => {
                if self.detects(offset) {
                    self.tick(Tick { id: EventId::at(offset), stream_ns, wall_ns }, out);
                }
                self.pass(offset + 1, stream_ns, wall_ns, out);
            }
            Control::Switched { offset, generation, stream_ns } => {
                self.switch(generation);
                let wall_ns = self.progress.wall_ns;
                self.pass(offset + 1, stream_ns, wall_ns, out);
            }
            Control::Gap { offset, envelope, bytes, stream_ns, wall_ns } => {
                let head = gaps::head(&envelope, offset, stream_ns, wall_ns);
                self.gap(head, &bytes, out);
                self.pass(offset + 1, stream_ns, wall_ns, out);
            }
        }
    }

    /// Whether the control record at `offset` has anything to say that was not said before.
    fn detects(&self, offset: u64) -> bool {
        offset >= self.detect_from && !self.is_for_store
    }

    /// New rules, packs or settings. State of unchanged rules is kept.
    fn switch(&mut self, generation: Arc<Generation>) {
        // What is remembered of a source makes a new generation of the same rules.
        if !Arc::ptr_eq(&self.generation.specs, &generation.specs) {
            self.engine.reload(generation.specs.clone());
        }
        self.dedupe.reconfigure(generation.settings.dedupe_ns.clone());
        self.again.reconfigure(generation.settings.dedupe_ns.clone());
        self.drops.reconfigure(generation.settings.drops.clone());
        self.generation = generation;
    }

    fn pass(&mut self, next_offset: u64, stream_ns: i64, wall_ns: i64, out: &mut dyn Outlets) {
        self.progress = Progress { next_offset, stream_ns, wall_ns };
        out.progress(self.progress);
    }

    fn tick(&mut self, tick: Tick, out: &mut dyn Outlets) {
        let lagging = self.lags.at(tick.stream_ns);
        self.engine.tick_with(tick.stream_ns, &lagging, &mut self.firings);
        let generation = self.generation.clone();
        for firing in std::mem::take(&mut self.firings) {
            self.offer_firing(&generation, None, &firing, tick.stream_ns, out);
        }
        for folded in self.desk.tick(tick.stream_ns) {
            out.alert(AlertChange::Folded(folded));
        }
        let mut closed = Vec::new();
        self.dedupe.close(tick.stream_ns, &mut closed);
        tell_repeats(&closed, out);
        let mut findings = self.registry.tick(tick);
        // A minute is judged when the next but one has begun: no record is on its way any more.
        findings.extend(self.balance.close(Balance::minute(tick.wall_ns) - 2, tick));
        for finding in findings {
            self.finding(&finding, out);
        }
        generation.rules.pausing(tick.stream_ns).into_iter().for_each(|p| out.pause(p));
        out.health(&self.registry, &self.balance, tick.stream_ns);
        out.drops(&mut self.drops.counts());
        if tick.stream_ns >= self.reported_ns.saturating_add(STATS_EVERY_NS) {
            self.reported_ns = tick.stream_ns;
            out.correlations(self.engine.stats());
        }
    }

    fn gap(&mut self, head: RowHead, bytes: &[u8], out: &mut dyn Outlets) {
        let Some(gap) = Gap::read(bytes) else { return };
        let tick = Tick { id: head.id, stream_ns: head.stream_ns, wall_ns: head.received_ns };
        let source = head.envelope.source.clone();
        let batch = Arc::new(gaps::event_of(&gap, bytes, head, &self.generation.dict));
        let held = out.events(&batch);
        if !self.detects(tick.id.offset) {
            return;
        }
        self.balance.sequenced(&batch);
        self.balance.stored(&batch, &held);
        let count = gap.known_count();
        if let (Some(count), Certainty::Known) = (count, gap.certainty) {
            let minute = Balance::minute(tick.wall_ns);
            self.balance.add(&source, minute, Counter::Gap, count);
        }
        let finding = self.registry.gap(&source, gap.cause, count, gap.certainty, tick);
        self.finding(&finding, out);
    }

    fn finding(&mut self, finding: &Finding, out: &mut dyn Outlets) {
        let alert = finding.to_alert();
        let key = alert::entity_key(&alert.entity);
        let offer = Offer {
            rule_id: &alert.rule_id,
            key: &key,
            level: alert.level,
            event_ns: alert.event_ns,
            stream_ns: alert.stream_ns,
            fired_by: alert.fired_by,
            times: 1,
            evidence: &[],
            events: 0,
            revision: None,
            suppress_ns: self.settings.suppress_ns,
            backfill: false,
        };
        if let Offered::Fired(alert) = self.desk.offer(&offer, |id| Alert { id, ..alert.clone() }) {
            out.alert(AlertChange::Fired(alert, Box::default()));
        }
    }

    /// Offers what plain rules and correlations found in a batch, event by event: the order does not
    /// depend on how the journal was cut into batches.
    fn offer_all(
        &mut self,
        generation: &Arc<Generation>,
        batch: &EventBatch,
        matches: &[event::Match],
        out: &mut dyn Outlets,
    ) {
        let firings = std::mem::take(&mut self.firings);
        let mut waiting = firings.iter().peekable();
        for found in matches {
            let row = batch.row(found.row as usize);
            while let Some(firing) = waiting.next_if(|f| f.trigger < row.id()) {
                self.offer_triggered(generation, batch, firing, out);
            }
            if generation.rules.rule(found.rule).generate && generation.specs.speaks(found.rule) {
                self.offer_match(generation, found.rule, &row, out);
            }
        }
        for firing in waiting {
            self.offer_triggered(generation, batch, firing, out);
        }
    }

    fn offer_triggered(
        &mut self,
        generation: &Arc<Generation>,
        batch: &EventBatch,
        firing: &Firing,
        out: &mut dyn Outlets,
    ) {
        let row = batch.rows().find(|row| row.id() == firing.trigger);
        let now_ns = row.map_or(firing.stream_ns, |row| row.stream_ns());
        self.offer_firing(generation, Some(batch), firing, now_ns, out);
    }

    fn offer_match(
        &mut self,
        generation: &Arc<Generation>,
        index: u32,
        row: &EventView<'_>,
        out: &mut dyn Outlets,
    ) {
        let rule = generation.rules.rule(index);
        if rule.shadow {
            return out.shadow(rule, u64::from(row.weight()));
        }
        let entity = entity_of(row);
        let key = alert::entity_key(&entity);
        let evidence = [Evidence::new(row.id(), row.event_ns(), rule.id.clone(), row.weight())];
        let offer = Offer {
            rule_id: &rule.id,
            key: &key,
            level: rule.level,
            event_ns: row.event_ns(),
            stream_ns: row.stream_ns(),
            fired_by: row.id(),
            times: u64::from(row.weight()),
            evidence: &evidence,
            events: 1,
            revision: None,
            suppress_ns: rule.suppression_ns.unwrap_or(self.settings.suppress_ns),
            backfill: row.marks().has(Marks::BACKFILL),
        };
        let offered = self.desk.offer(&offer, |id| {
            let condition = generation.rules.explain(index, row.batch(), row.index());
            let explanation =
                Explanation { condition: Some(condition), correlation: BTreeMap::new() };
            let reason = reason_of_match(rule, &entity, &explanation);
            alert_of(rule, generation, &offer, id, entity.clone(), reason, explanation)
        });
        if let Offered::Fired(alert) = offered {
            out.alert(AlertChange::Fired(alert, Box::new(meta_of(rule))));
        }
    }

    fn offer_firing(
        &mut self,
        generation: &Arc<Generation>,
        batch: Option<&EventBatch>,
        firing: &Firing,
        now_ns: i64,
        out: &mut dyn Outlets,
    ) {
        let rule = generation.rules.rule(firing.rule);
        if rule.shadow {
            if firing.kind == FiringKind::New {
                out.shadow(rule, 1);
            }
            return;
        }
        let entity: BTreeMap<String, String> =
            firing.group.iter().map(|(n, v)| (n.to_string(), v.clone())).collect();
        // The key of a correlation is its group, whatever case its values were sent in.
        let key = firing.key.to_be_bytes();
        let id_of = |fired_by| alert::alert_id(&rule.id, &key, fired_by);
        let id = id_of(firing.fired_by);
        let grows = firing.kind != FiringKind::New;
        let evidence = evidence_of(generation, &firing.fresh);
        let offer = Offer {
            rule_id: &rule.id,
            key: &key,
            level: rule.level,
            event_ns: firing.event_ns,
            stream_ns: now_ns,
            fired_by: firing.fired_by,
            times: u64::from(!grows),
            evidence: &evidence,
            events: firing.new_events,
            revision: None,
            suppress_ns: rule.suppression_ns.unwrap_or(self.settings.suppress_ns),
            // Nobody is paged for what an archive says; see `worker::BACKFILL_AFTER_NS`.
            backfill: firing.backfill
                && firing.stream_ns.saturating_sub(firing.event_ns) > BACKFILL_AFTER_NS,
        };
        if let FiringKind::MergedInto(older) = firing.kind {
            return self.merge(id, id_of(older), &offer, firing, out);
        }
        let revision = revision_of(rule, firing);
        let offer = Offer { revision: Some(&revision), ..offer };
        if grows {
            let known_as = self.known_as(id.clone());
            if !self.joined.contains_key(&id) {
                return self.grow(known_as, &offer, firing, out);
            }
            if self.desk.grow(&known_as, &offer) {
                return;
            }
        }
        // New, or one that was folded into an alert whose window is over and still grows.
        let evidence = evidence_of(generation, &firing.evidence);
        let offer = Offer { times: 1, evidence: &evidence, events: firing.events, ..offer };
        let offered = self.desk.offer(&offer, |id| {
            let condition = condition_of(generation, batch, firing);
            let Revision { reason, correlation } = revision.clone();
            let explanation = Explanation { condition, correlation };
            alert_of(rule, generation, &offer, id, entity.clone(), reason, explanation)
        });
        match offered {
            Offered::Fired(alert) => {
                self.joined.remove(&id);
                out.alert(AlertChange::Fired(alert, Box::new(meta_of(rule))));
            }
            Offered::Folded(into) => self.join(id, into),
        }
    }

    /// From now on what is said of one alert is said of another, which it was folded into.
    fn join(&mut self, id: String, into: String) {
        if self.joined.len() >= JOINED_MAX {
            self.joined.clear();
        }
        self.joined.insert(id, into);
    }

    /// An alert ends in an older one, unless it was folded into that before, which has the evidence of both.
    fn merge(
        &mut self,
        id: String,
        older: String,
        offer: &Offer<'_>,
        firing: &Firing,
        out: &mut dyn Outlets,
    ) {
        let (id, into) = (self.known_as(id), self.known_as(older));
        if id != into {
            self.grow(into.clone(), offer, firing, out);
            out.alert(AlertChange::Merged { id, into });
        }
    }

    /// More evidence for an alert that went out, whether or not repeats are still folded into it.
    fn grow(&mut self, id: String, offer: &Offer<'_>, firing: &Firing, out: &mut dyn Outlets) {
        if self.desk.grow(&id, offer) {
            return;
        }
        out.alert(AlertChange::Grew(Folded {
            id,
            count: 0,
            last_event_ns: firing.last_ns,
            last_stream_ns: offer.stream_ns,
            evidence: offer.evidence.to_vec(),
            evidence_total: firing.events,
            other_entities: 0,
            closed: false,
            revision: offer.revision.cloned().map(Box::new),
        }));
    }

    /// The alert under which people know an episode.
    fn known_as(&self, id: String) -> String {
        self.joined.get(&id).cloned().unwrap_or(id)
    }
}

fn alert_of(
    rule: &Rule,
    generation: &Generation,
    offer: &Offer<'_>,
    id: String,
    entity: BTreeMap<String, String>,
    reason: String,
    explanation: Explanation,
) -> Alert {
    Alert {
        id,
        rule_id: rule.id.to_string(),
        title: rule.title.to_string(),
        rule_type: rule.type_name().to_owned(),
        author: rule.author.to_string(),
        level: rule.level,
        tags: rule.tags.iter().map(|t| t.to_string()).collect(),
        rule_hash: rule.hash.to_string(),
        generation: generation.number,
        reason,
        entity,
        event_ns: offer.event_ns,
        stream_ns: offer.stream_ns,
        fired_by: offer.fired_by,
        evidence: offer.evidence.to_vec(),
        count: offer.times,
        explanation,
        backfill: offer.backfill,
    }
}

fn meta_of(rule: &Rule) -> RuleMeta {
    RuleMeta {
        license: rule.license.to_string(),
        references: rule.references.iter().map(|r| r.to_string()).collect(),
        description: rule.description.to_string(),
        falsepositives: Vec::new(),
    }
}

/// Whom an event is about.
fn entity_of(row: &EventView<'_>) -> BTreeMap<String, String> {
    let values = ENTITY_FIELDS.iter().filter_map(|name| {
        let value = row.text(name)?;
        (!value.is_empty()).then(|| ((*name).to_owned(), value.into_owned()))
    });
    values.collect()
}

fn reason_of_match(
    rule: &Rule,
    entity: &BTreeMap<String, String>,
    explanation: &Explanation,
) -> String {
    let mut values: Vec<(&str, &[u8])> = Vec::new();
    if let Some(condition) = &explanation.condition {
        matched_values(condition, &mut values);
    }
    alert::render::reason(&rule.title, entity, &values)
}

/// The values that made leaves hold, first ones first, each field once.
fn matched_values<'a>(outcome: &'a Outcome, out: &mut Vec<(&'a str, &'a [u8])>) {
    if out.len() >= REASON_VALUES_MAX || !outcome.matched || &*outcome.op == "not" {
        return;
    }
    if let (Some(field), Some(actual)) = (outcome.field.as_deref(), outcome.actual.as_deref())
        && !out.iter().any(|(name, _)| *name == field)
    {
        out.push((field, actual.as_bytes()));
    }
    for child in &outcome.children {
        matched_values(child, out);
    }
}

fn evidence_of(generation: &Generation, list: &[Contribution]) -> Vec<Evidence> {
    let rule_of = |c: &Contribution| generation.rules.rule(c.rule).id.clone();
    let of = |c: &Contribution| Evidence::new(c.id, c.event_ns, rule_of(c), c.weight);
    let mut out = Vec::with_capacity(list.len());
    Evidence::join(&mut out, list.iter().map(of));
    out
}

/// How an episode stands: its sentence, and what was counted.
fn revision_of(rule: &Rule, firing: &Firing) -> Revision {
    let mut correlation: BTreeMap<String, String> = BTreeMap::new();
    correlation.insert("type".into(), firing.rule_type.into());
    correlation.insert("condition".into(), firing.condition.clone());
    correlation.insert("measured".into(), firing.measured.to_string());
    correlation.insert("window_s".into(), (firing.timespan_ns / 1_000_000_000).to_string());
    if firing.estimated > 0 {
        correlation.insert("measured_is".into(), "an upper bound: a flood of groups".into());
        correlation.insert("of_it_sketched".into(), firing.estimated.to_string());
    }
    if let Some(every_ns) = firing.every_ns {
        let seconds = every_ns as f64 / event::time::SECOND_NS as f64;
        correlation.insert("every_s".into(), seconds.to_string());
    }
    correlation.insert("events".into(), firing.events.to_string());
    correlation.insert("occurrences".into(), firing.weight.to_string());
    correlation.insert("first".into(), event::time::rfc3339(firing.first_ns));
    correlation.insert("last".into(), event::time::rfc3339(firing.last_ns));
    Revision { reason: format!("{}: {}", rule.title, firing.reason()), correlation }
}

/// The condition of the base rule on the event that completed an episode.
fn condition_of(
    generation: &Generation,
    batch: Option<&EventBatch>,
    firing: &Firing,
) -> Option<Outcome> {
    let base = firing.evidence.iter().find(|c| c.id == firing.cause);
    let row = batch.and_then(|b| b.rows().find(|r| r.id() == firing.cause));
    base.zip(row).and_then(|(c, row)| {
        generation.rules.rule(c.rule).plan()?;
        Some(generation.rules.explain(c.rule, row.batch(), row.index()))
    })
}
