//! The core: restores order and does everything that remembers, as a synchronous state machine.

use crate::feeder::Control;
use crate::generation::Generation;
use crate::worker::Done;
use alert::{Desk, Firing as Offer, Folded, Offered, RuleMeta};
use detect::Rule;
use detect::correlate::{Contribution, Engine, Firing, FiringKind};
use event::{Alert, EventBatch, EventId, EventView, Evidence, Explanation, Gap, Marks, Outcome};
use shape::{Dedupe, Drops};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use watch::{Balance, Counter, Finding, Registry, Tick};

/// Fields that say whom an alert is about, in the order in which they are shown.
pub const ENTITY_FIELDS: [&str; 4] = ["user.name", "host.name", "source.ip", "cloud.account.id"];
/// Most values that a reason names.
const REASON_VALUES_MAX: usize = 3;

/// Where results go. Called on the sequencer's thread, in journal order.
pub trait Outlets: Send {
    /// Events, frozen. Rows below `Progress::next_offset` of an earlier run may come again.
    fn events(&mut self, batch: &Arc<EventBatch>);
    /// An alert went out, or something became of one.
    fn alert(&mut self, change: AlertChange);
    /// Everything below this place has been worked off.
    fn progress(&mut self, progress: Progress);
    /// A rule in shadow matched, so many times: it is counted, and nobody is told.
    fn shadow(&mut self, rule: &Rule, times: u64) {
        let _ = (rule, times);
    }
    /// Source health, once per tick.
    fn health(&mut self, registry: &Registry, balance: &Balance, stream_ns: i64);
}

/// News about alerts.
#[derive(Clone, Debug)]
pub enum AlertChange {
    /// A new alert with what is known of its rule.
    Fired(Box<Alert>, Box<RuleMeta>),
    /// Repeats were folded into an alert.
    Folded(Folded),
    /// A correlation's episode grew.
    Grew {
        /// The alert.
        id: String,
        /// What was added.
        evidence: Vec<Evidence>,
        /// Events of the whole episode.
        evidence_total: u64,
        /// Latest event time, ns.
        last_event_ns: i64,
    },
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
    /// Rows below were detected in an earlier run: they are for the store only.
    pub(crate) detect_from: u64,
    dedupe: Dedupe,
    drops: Drops,
    firings: Vec<Firing>,
    /// Per episode, the newest event that was told as evidence.
    sent: HashMap<(Arc<str>, u128), EventId>,
}

/// Most episodes whose told evidence is remembered; beyond it updates repeat evidence.
const SENT_MAX: usize = 100_000;

impl Core {
    /// A core that has seen nothing.
    pub fn new(generation: Arc<Generation>, settings: CoreSettings) -> Self {
        let engine = Engine::new(generation.specs.clone(), Default::default());
        Self {
            engine,
            desk: Desk::default(),
            registry: Registry::new(settings.watch.clone()),
            balance: Balance::default(),
            progress: Progress::default(),
            detect_from: 0,
            dedupe: Dedupe::new(generation.settings.dedupe_ns.clone(), settings.seed),
            drops: Drops::new(generation.settings.drops.clone()),
            firings: Vec::new(),
            sent: HashMap::new(),
            generation,
            settings,
        }
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// The result of the next job, in order.
    pub fn done(&mut self, mut done: Done, out: &mut dyn Outlets) {
        self.dedupe.apply(&mut done.batch);
        self.drops.apply(&mut done.batch);
        let batch = Arc::new(done.batch);
        if done.next_offset > self.detect_from {
            self.registry.observe(&batch);
            for row in batch.rows().filter(|r| !r.marks().has(Marks::EXPANDED)) {
                let minute = Balance::minute(row.received_ns());
                self.balance.add(&row.envelope().source, minute, Counter::Received, 1);
            }
            self.balance.sequenced(&batch);
        }
        out.events(&batch);
        if done.next_offset > self.detect_from {
            self.balance.stored(&batch);
            let mut hits = done.hits;
            hits.retain(|hit| hit.id.offset >= self.detect_from);
            self.engine.process(hits, done.stream_ns, &mut self.firings);
            self.offer_all(&done.generation, &batch, &done.matches, out);
        }
        self.pass(done.next_offset, done.stream_ns, done.wall_ns, out);
    }

    /// The next control record, in order.
    pub fn control(&mut self, control: Control, out: &mut dyn Outlets) {
        match control {
            Control::Tick { offset, stream_ns, wall_ns } => {
                if offset >= self.detect_from {
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
                if offset >= self.detect_from {
                    let tick = Tick { id: EventId::at(offset), stream_ns, wall_ns };
                    self.gap(&envelope.source, &bytes, tick, out);
                }
                self.pass(offset + 1, stream_ns, wall_ns, out);
            }
        }
    }

    /// New rules, packs or settings. State of unchanged rules is kept.
    fn switch(&mut self, generation: Arc<Generation>) {
        self.engine.reload(generation.specs.clone());
        self.dedupe = Dedupe::new(generation.settings.dedupe_ns.clone(), self.settings.seed);
        self.drops = Drops::new(generation.settings.drops.clone());
        self.generation = generation;
    }

    fn pass(&mut self, next_offset: u64, stream_ns: i64, wall_ns: i64, out: &mut dyn Outlets) {
        self.progress = Progress { next_offset, stream_ns, wall_ns };
        out.progress(self.progress);
    }

    fn tick(&mut self, tick: Tick, out: &mut dyn Outlets) {
        self.engine.tick(tick.stream_ns, &mut self.firings);
        let generation = self.generation.clone();
        self.offer_firings(&generation, None, out);
        for folded in self.desk.tick(tick.stream_ns) {
            out.alert(AlertChange::Folded(folded));
        }
        let mut findings = self.registry.tick(tick);
        // A minute is judged when the next but one has begun: no record is on its way any more.
        findings.extend(self.balance.close(Balance::minute(tick.wall_ns) - 2, tick));
        for finding in findings {
            self.finding(&finding, out);
        }
        out.health(&self.registry, &self.balance, tick.stream_ns);
    }

    fn gap(&mut self, source: &str, bytes: &[u8], tick: Tick, out: &mut dyn Outlets) {
        let Some(gap) = Gap::read(bytes) else { return };
        let count = gap.known_count();
        let finding = self.registry.gap(source, gap.cause, count, gap.certainty, tick);
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
            suppress_ns: self.settings.suppress_ns,
            backfill: false,
        };
        if let Offered::Fired(alert) = self.desk.offer(&offer, |id| Alert { id, ..alert.clone() }) {
            out.alert(AlertChange::Fired(alert, Box::default()));
        }
    }

    /// Offers what plain rules and correlations found in a batch, in (event, rule) order.
    fn offer_all(
        &mut self,
        generation: &Arc<Generation>,
        batch: &EventBatch,
        matches: &[event::Match],
        out: &mut dyn Outlets,
    ) {
        for found in matches {
            let row = batch.row(found.row as usize);
            let speaks =
                generation.rules.rule(found.rule).generate && generation.specs.speaks(found.rule);
            if speaks && row.id().offset >= self.detect_from {
                self.offer_match(generation, found.rule, &row, out);
            }
        }
        self.offer_firings(generation, Some(batch), out);
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
        let evidence = [Evidence {
            id: row.id(),
            event_ns: row.event_ns(),
            rule: rule.id.clone(),
            weight: row.weight(),
        }];
        let offer = Offer {
            rule_id: &rule.id,
            key: &key,
            level: rule.level,
            event_ns: row.event_ns(),
            stream_ns: row.stream_ns(),
            fired_by: row.id(),
            times: u64::from(row.weight()),
            evidence: &evidence,
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

    fn offer_firings(
        &mut self,
        generation: &Arc<Generation>,
        batch: Option<&EventBatch>,
        out: &mut dyn Outlets,
    ) {
        let mut firings = std::mem::take(&mut self.firings);
        detect::correlate::sort_firings(&mut firings);
        for firing in firings.drain(..) {
            self.offer_firing(generation, batch, &firing, out);
        }
        self.firings = firings;
    }

    fn offer_firing(
        &mut self,
        generation: &Arc<Generation>,
        batch: Option<&EventBatch>,
        firing: &Firing,
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
        let evidence = evidence_of(generation, &firing.evidence);
        match firing.kind {
            FiringKind::New => self.remember_sent(firing),
            FiringKind::Update => {
                // An update tells the whole episode; the ledger needs what is new in it. What
                // arrived later has the larger id, also when it happened earlier.
                let sent = self.sent.get(&(rule.id.clone(), firing.key)).copied();
                let mut evidence = evidence;
                evidence.retain(|e| sent.is_none_or(|sent| e.id > sent));
                self.remember_sent(firing);
                return out.alert(AlertChange::Grew {
                    id: id_of(firing.fired_by),
                    evidence,
                    evidence_total: firing.events,
                    last_event_ns: firing.last_ns,
                });
            }
            FiringKind::MergedInto(older) => {
                let (id, into) = (id_of(firing.fired_by), id_of(older));
                return out.alert(AlertChange::Merged { id, into });
            }
        }
        let offer = Offer {
            rule_id: &rule.id,
            key: &key,
            level: rule.level,
            event_ns: firing.event_ns,
            stream_ns: firing.stream_ns,
            fired_by: firing.fired_by,
            times: 1,
            evidence: &evidence,
            suppress_ns: rule.suppression_ns.unwrap_or(self.settings.suppress_ns),
            backfill: false,
        };
        let offered = self.desk.offer(&offer, |id| {
            let explanation = explain_firing(generation, batch, firing);
            let reason = format!("{}: {}", rule.title, firing.reason());
            alert_of(rule, generation, &offer, id, entity.clone(), reason, explanation)
        });
        if let Offered::Fired(alert) = offered {
            out.alert(AlertChange::Fired(alert, Box::new(meta_of(rule))));
        }
    }
}

impl Core {
    fn remember_sent(&mut self, firing: &Firing) {
        if self.sent.len() >= SENT_MAX {
            self.sent.clear();
        }
        if let Some(newest) = firing.evidence.iter().map(|c| c.id).max() {
            self.sent.insert((firing.rule_id.clone(), firing.key), newest);
        }
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
    let of = |c: &Contribution| Evidence {
        id: c.id,
        event_ns: c.event_ns,
        rule: generation.rules.rule(c.rule).id.clone(),
        weight: c.weight,
    };
    list.iter().map(of).collect()
}

/// What was counted, and the condition of the base rule on the event that completed it.
fn explain_firing(
    generation: &Generation,
    batch: Option<&EventBatch>,
    firing: &Firing,
) -> Explanation {
    let mut correlation: BTreeMap<String, String> = BTreeMap::new();
    correlation.insert("type".into(), firing.rule_type.into());
    correlation.insert("condition".into(), firing.condition.clone());
    correlation.insert("measured".into(), firing.measured.to_string());
    correlation.insert("window_s".into(), (firing.timespan_ns / 1_000_000_000).to_string());
    correlation.insert("events".into(), firing.events.to_string());
    correlation.insert("occurrences".into(), firing.weight.to_string());
    correlation.insert("first".into(), event::time::rfc3339(firing.first_ns));
    correlation.insert("last".into(), event::time::rfc3339(firing.last_ns));
    let base = firing.evidence.iter().find(|c| c.id == firing.cause);
    let row = batch.and_then(|b| b.rows().find(|r| r.id() == firing.cause));
    let condition = base.zip(row).and_then(|(c, row)| {
        generation.rules.rule(c.rule).plan()?;
        Some(generation.rules.explain(c.rule, row.batch(), row.index()))
    });
    Explanation { condition, correlation }
}
