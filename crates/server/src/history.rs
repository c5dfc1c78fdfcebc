//! Rules and correlations over what is stored: the same workers and the same engine as live.
//!
//! ```text
//! few rules: "one of them holds" is the search, so the index says where to look
//! many:      every event is read; the matcher is made for that
//!            store --batches--> workers --matches, hits--> lines | correlations in event time
//! ```

use detect::correlate::{Hit, in_event_time};
use detect::{Rule, RuleSet};
use event::time::rfc3339;
use filter::Plan;
use pipeline::worker::Done;
use pipeline::{Generation, Hunt};
use serde_json::{Map, Value, json};
use std::ops::ControlFlow;
use std::sync::Arc;
use store::{Replayed, SearchError, SearchRequest, SearchSummary, Store};

/// Rules up to which the store looks for events that one of them matches.
const PUSHDOWN_RULES_MAX: usize = 200;
/// What correlations count is kept for the end; beyond so many the answer is not whole.
const HITS_MAX: usize = 4_000_000;

/// Something that a hunt tells.
pub enum Told {
    /// A rule holds.
    Found(Value),
    /// So many rows of so many are done, and so many rules held so far.
    Passed {
        /// Rows.
        rows: u64,
        /// Of so many.
        of: u64,
        /// Found.
        found: u64,
    },
}

/// What a hunt came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hunted {
    /// What was read; `matched` counts the events that a plain rule was found in, `returned` all that
    /// was found.
    pub summary: SearchSummary,
    /// Plain rules that held, each with each of its events.
    pub matches: u64,
    /// Correlations that came true.
    pub correlations: u64,
}

/// Takes what is told; says whether to go on.
pub type Out<'a> = dyn FnMut(Told) -> ControlFlow<()> + 'a;

/// What a rule says of itself in each line that it finds.
pub fn rule_json(rule: &Rule) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("rule.id".into(), rule.id.to_string().into());
    line.insert("rule.title".into(), rule.title.to_string().into());
    line.insert("rule.level".into(), rule.level.name().into());
    line.insert("rule.type".into(), rule.type_name().into());
    if !rule.author.is_empty() {
        line.insert("rule.author".into(), rule.author.to_string().into());
    }
    line
}

/// The filter that holds wherever one of the rules may.
fn pushdown(rules: &RuleSet) -> Plan {
    let plans: Vec<Plan> = rules.rules().iter().filter_map(|rule| rule.plan().cloned()).collect();
    match plans.len() <= PUSHDOWN_RULES_MAX {
        true => Plan::or(plans),
        false => Plan::everything(),
    }
}

/// Runs the rules of `generation` over the events of the request's time range. The request's
/// dictionary must be the generation's; its query is not used.
pub fn hunt(
    store: &Store,
    generation: &Arc<Generation>,
    mut request: SearchRequest,
    threads: usize,
    out: &mut Out<'_>,
) -> Result<Hunted, SearchError> {
    request.query =
        filter::search::Query { filter: pushdown(&generation.rules), pipes: Vec::new() };
    let failed = |e: std::io::Error| SearchError::Engine(e.to_string());
    let mut workers = Hunt::start(generation.clone(), threads).map_err(failed)?;
    let mut finds =
        Finds { generation, hits: Vec::new(), events: 0, found: 0, overflow: false, out };
    let mut stopped = false;
    let searched = store.replay(&request, &mut |replayed| {
        let went = match replayed {
            Replayed::Events(events) => workers.push_shaped(events, &mut |done| finds.take(&done)),
            Replayed::Passed { rows, of } => {
                let found = finds.found;
                finds.tell(Told::Passed { rows, of, found })
            }
        };
        stopped |= went.is_err();
        if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    // Whatever came of the search, the threads come to their end.
    let finished = workers.finish(&mut |done| if stopped { Err(Gone) } else { finds.take(&done) });
    let mut summary = searched?;
    let matches = finds.found;
    if !stopped && finished.is_ok() {
        stopped = finds.correlate().is_err();
    }
    // What the index offered is not what the rules found.
    (summary.matched, summary.returned) = (finds.events, finds.found);
    if finds.overflow && summary.partial.is_none() {
        summary.partial = Some("memory".into());
    }
    if stopped && summary.partial.is_none() {
        summary.partial = Some("cancelled".into());
    }
    Ok(Hunted { summary, matches, correlations: finds.found - matches })
}

/// Nobody listens any more.
struct Gone;

struct Finds<'a, 'b> {
    generation: &'a Generation,
    hits: Vec<Hit>,
    /// Events that a rule was found in.
    events: u64,
    found: u64,
    overflow: bool,
    out: &'a mut Out<'b>,
}

impl Finds<'_, '_> {
    fn tell(&mut self, told: Told) -> Result<(), Gone> {
        match (self.out)(told) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Gone),
        }
    }

    fn found(&mut self, line: Map<String, Value>) -> Result<(), Gone> {
        self.found += 1;
        self.tell(Told::Found(line.into()))
    }

    fn take(&mut self, done: &Done) -> Result<(), Gone> {
        let room = HITS_MAX - self.hits.len();
        self.overflow |= done.hits.len() > room;
        self.hits.extend(done.hits.iter().take(room).cloned());
        let mut rows = Vec::new();
        for found in &done.matches {
            let rule = self.generation.rules.rule(found.rule);
            if !rule.generate || !self.generation.specs.speaks(found.rule) {
                continue;
            }
            let row = done.batch.row(found.row as usize);
            let mut line = rule_json(rule);
            line.insert("event.id".into(), row.id().to_string().into());
            line.insert("@timestamp".into(), rfc3339(row.event_ns()).into());
            for name in ["host.name", "user.name", "source.ip"] {
                if let Some(text) = row.text(name) {
                    line.insert(name.into(), text.into_owned().into());
                }
            }
            rows.push(found.row);
            self.found(line)?;
        }
        rows.sort_unstable();
        rows.dedup();
        self.events += rows.len() as u64;
        Ok(())
    }

    fn correlate(&mut self) -> Result<(), Gone> {
        let hits = std::mem::take(&mut self.hits);
        for firing in in_event_time(&self.generation.specs, hits) {
            let mut line = rule_json(self.generation.rules.rule(firing.rule));
            line.insert("event.id".into(), firing.fired_by.to_string().into());
            line.insert("@timestamp".into(), rfc3339(firing.event_ns).into());
            for (name, value) in &firing.group {
                line.entry(name.to_string()).or_insert_with(|| value.clone().into());
            }
            let ids: Vec<String> = firing.evidence_ids().iter().map(ToString::to_string).collect();
            line.insert("contributing".into(), json!(ids));
            line.insert("events".into(), firing.weight.into());
            self.found(line)?;
        }
        Ok(())
    }
}
