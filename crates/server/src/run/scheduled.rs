//! Saved searches that are run on a schedule: each row of a result is an alert.
//!
//! ```text
//! offsets:  ....|------ window ------|------ window ------|...      cut when `every` of stream time is over
//!               from                 until = from of the next
//! window --search, once the store has all of it--> rows --one record group--> alerts + where it ended
//! ```
//! Windows are ranges of offsets that follow each other without a gap: what came is looked at once,
//! whenever it happened, and over restarts, because a window's end is recorded together with its alerts.
//! One thread runs them one by one, a window of each in turn, and cuts what is over between two runs.

use super::App;
use super::background::{Background, Running};
use super::live_searches::rule_id;
use super::outlets::tell_of;
use crate::exit::Failure;
use alert::{RuleMeta, alert_id, entity_key};
use event::{Alert, EventId, Explanation};
use filter::search::{self, Pipe};
use ledger::{Actor, LedgerRecord, SavedRow, SearchRun};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::SearchError;

/// Shortest and longest time between two runs: shorter is a rule's work, longer would look at what
/// nobody can still act upon.
pub const EVERY_NS: std::ops::RangeInclusive<i64> =
    10 * event::time::SECOND_NS..=7 * 86_400 * event::time::SECOND_NS;
/// Most alerts of one run: more rows are a search that should be narrower, and nobody reads them.
pub const ALERTS_MAX: usize = 100;
/// How often it is looked whether a window is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest a run may take before what it has found counts, told as partial.
const RUN_TIMEOUT: Duration = Duration::from_secs(60);
/// Windows of one search that wait, at most; then the last of them grows.
const WAITING_MAX: usize = 64;
/// Times that a window is tried before its failure is recorded and the next one's turn comes.
const TRIES_MAX: u32 = 5;
/// Most characters of an alert's reason, and of a value in it.
const REASON_CHARS_MAX: usize = 300;

/// Whether a search with these pipes gives a table, whose rows can be alerts.
pub fn gives_table(pipes: &[Pipe]) -> bool {
    let makes = |pipe: &Pipe| {
        matches!(pipe, Pipe::Stats { .. } | Pipe::Timechart { .. } | Pipe::Top { .. })
    };
    pipes.iter().any(makes)
}

/// Starts the thread.
pub fn start(app: Arc<App>) -> Result<Background, Failure> {
    Background::start("searches", move |running| {
        let mut courses: BTreeMap<String, Course> = BTreeMap::new();
        while running.goes_on() {
            look(&app, &mut courses, running);
            running.rest(LOOK_EVERY);
        }
    })
}

/// Where a search stands.
struct Course {
    /// Where the next window begins.
    from: u64,
    /// Number of the stretch of stream time that this window is of.
    stretch: i64,
    /// Windows that are over.
    waiting: VecDeque<Range<u64>>,
    /// How often the first of them has failed.
    tries: u32,
    /// What was wrong with the last run.
    problem: Option<String>,
}

impl Course {
    fn new(from: u64, stretch: i64) -> Self {
        Self { from, stretch, waiting: VecDeque::new(), tries: 0, problem: None }
    }

    /// Cuts the window if its time is over and something has come.
    fn cut(&mut self, next_offset: u64, stretch: i64) {
        if stretch == self.stretch || next_offset <= self.from {
            return;
        }
        let is_full = self.waiting.len() >= WAITING_MAX;
        match self.waiting.back_mut().filter(|_| is_full) {
            Some(last) => last.end = next_offset,
            None => self.waiting.push_back(self.from..next_offset),
        }
        (self.from, self.stretch) = (next_offset, stretch);
    }
}

/// Runs what is due, one window of each search in turn, so that a slow one does not make the others
/// late. What ends meanwhile is cut between two runs.
fn look(app: &App, courses: &mut BTreeMap<String, Course>, running: &Running) {
    // Those that could not be run now wait for the next look.
    let mut held = BTreeSet::new();
    let mut last = String::new();
    while running.goes_on() {
        let Some((rows, stream_ns)) = cut(app, courses) else { return };
        let ready = |row: &&SavedRow| {
            let name = &row.search.name;
            let window = courses.get(name).and_then(|course| course.waiting.front());
            !held.contains(name) && window.is_some_and(|window| is_stored(app, window))
        };
        let next = rows.iter().filter(ready).find(|row| row.search.name > last);
        let Some(row) = next.or_else(|| rows.iter().find(ready)) else { break };
        last.clone_from(&row.search.name);
        let Some(course) = courses.get_mut(&last) else { break };
        let Some(window) = course.waiting.front().cloned() else { break };
        if run(app, row, (&window, stream_ns), course, running) {
            course.waiting.pop_front();
        } else {
            held.insert(last.clone());
        }
    }
    let told: Vec<&str> = courses.values().filter_map(|c| c.problem.as_deref()).collect();
    app.set_problem("searches", (!told.is_empty()).then(|| told.join("; ")));
}

/// Cuts the windows whose time is over. Out: the searches that are on a schedule now, by name, and the
/// stream time.
fn cut(app: &App, courses: &mut BTreeMap<String, Course>) -> Option<(Vec<SavedRow>, i64)> {
    let (next_offset, stream_ns) = app.reached()?;
    let mut rows = match app.ledger.searches() {
        Ok(rows) => rows,
        Err(error) => {
            tracing::error!(%error, "saved searches cannot be read");
            return None;
        }
    };
    let due = |row: &SavedRow| row.search.alert.as_ref().and_then(|alert| alert.every_ns);
    rows.retain(|row| due(row).is_some());
    courses.retain(|name, _| rows.iter().any(|row| row.search.name == *name));
    for row in &rows {
        let Some(every_ns) = due(row) else { continue };
        let name = &row.search.name;
        let stretch = stream_ns.div_euclid(every_ns.max(1));
        let known = courses.get(name).filter(|_| row.run.is_some());
        if known.is_none() {
            let Some(from) = beginning(app, row, next_offset) else { continue };
            courses.insert(name.clone(), Course::new(from, stretch));
        }
        if let Some(course) = courses.get_mut(name) {
            course.cut(next_offset, stretch);
        }
    }
    Some((rows, stream_ns))
}

/// Whether the store has all of a window.
fn is_stored(app: &App, window: &Range<u64>) -> bool {
    app.relay.behind().is_none_or(|left| left.first.offset >= window.end)
}

/// Where a search goes on; one that was put on its schedule just now begins here.
fn beginning(app: &App, row: &SavedRow, next_offset: u64) -> Option<u64> {
    if let Some(run) = &row.run {
        return Some(run.until);
    }
    let run = SearchRun { from: next_offset, until: next_offset, ..SearchRun::default() };
    record(app, row, run, Vec::new()).then_some(next_offset)
}

/// Runs a search over a window and records what came of it. Out: whether the window is done with.
fn run(
    app: &App,
    row: &SavedRow,
    (window, stream_ns): (&Range<u64>, i64),
    course: &mut Course,
    running: &Running,
) -> bool {
    let mut made = SearchRun { from: window.start, until: window.end, ..SearchRun::default() };
    let mut alerts = Vec::new();
    match found(app, row, window, running) {
        // It was stopped, not answered.
        _ if !running.goes_on() => return false,
        Ok((rows, count, partial)) => {
            (made.rows, made.alerts) = (count, rows.len() as u64);
            let alert = |cells: &Map<String, Value>| alert_of(app, row, window, cells, stream_ns);
            alerts = rows.iter().map(alert).collect();
            let cut = made.rows > made.alerts;
            let cut = cut.then(|| format!("the first {ALERTS_MAX} of {count} rows are alerts"));
            made.problem = partial.map(|why| format!("partial: {why}")).or(cut).unwrap_or_default();
        }
        // It has not begun.
        Err(SearchError::Busy { .. }) => return false,
        Err(error) => {
            course.tries += 1;
            if course.tries < TRIES_MAX {
                tracing::warn!(%error, search = row.search.name, "a scheduled search failed; it is tried again");
                return false;
            }
            made.problem = error.to_string();
        }
    }
    // Who changed or removed it meanwhile wants no alert of what it was.
    if app.ledger.search(&row.search.name).map(|now| now.search).ok().as_ref() != Some(&row.search)
    {
        return false;
    }
    let problem = made.problem.clone();
    let done = record(app, row, made, alerts);
    if done {
        course.tries = 0;
        let name = &row.search.name;
        course.problem = (!problem.is_empty())
            .then(|| format!("the scheduled search `{name}` was not answered in full: {problem}"));
        if course.problem.is_some() {
            app.audit("alcedo", "search.failed", name, &problem);
        }
    }
    done
}

/// The first rows of the result, how many there are, and why it is not whole.
type Found = (Vec<Map<String, Value>>, u64, Option<String>);

fn found(
    app: &App,
    row: &SavedRow,
    window: &Range<u64>,
    running: &Running,
) -> Result<Found, SearchError> {
    let query = search::parse(&row.search.query, io::intake::wall_ns())
        .map_err(|error| SearchError::Pipes(error.to_string()))?;
    let mut request = app.search_of(query);
    request.lookups = app.lookups.of_query(&request.query)?;
    request.offsets = Some(window.clone());
    request.limit = store::search::LIMIT_MAX;
    request.timeout = Some(RUN_TIMEOUT);
    request.cancelled = running.stopping();
    let _turn = app.turn_now()?;
    let (mut rows, mut count) = (Vec::new(), 0);
    let summary = app.store.search(&request, &mut |found| {
        count += 1;
        if rows.len() < ALERTS_MAX
            && let Ok(Value::Object(cells)) = serde_json::from_str(&found.json)
        {
            rows.push(cells);
        }
        ControlFlow::Continue(())
    })?;
    Ok((rows, count, summary.partial))
}

/// The alert of a row: the same search, window and row give the same id.
fn alert_of(
    app: &App,
    row: &SavedRow,
    window: &Range<u64>,
    cells: &Map<String, Value>,
    stream_ns: i64,
) -> Alert {
    let saved = &row.search;
    let rule_id = rule_id(&saved.name);
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let texts =
        cells.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    let mut facts: BTreeMap<String, String> =
        cells.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    let fired_by = EventId::at(window.end.saturating_sub(1));
    let id = alert_id(&rule_id, &entity_key(&facts), fired_by);
    let mut reason = saved.name.clone();
    for (at, (name, value)) in cells.iter().enumerate() {
        let _ = write!(reason, "{} {name}: {}", if at == 0 { ":" } else { "," }, text(value));
    }
    // A column of that name stays what the search gave.
    facts.entry("search".into()).or_insert_with(|| saved.query.clone());
    let offsets = || format!("{} to {}", window.start, window.end);
    facts.entry("offsets".into()).or_insert_with(offsets);
    Alert {
        id,
        rule_id,
        title: saved.name.clone(),
        rule_type: "search".into(),
        author: row.who.clone(),
        level: saved.alert.as_ref().map_or(event::Level::Medium, |alert| alert.level),
        tags: Vec::new(),
        rule_hash: String::new(),
        generation: app.generation().number,
        reason: reason.chars().take(REASON_CHARS_MAX).collect(),
        entity: texts.collect(),
        event_ns: stream_ns,
        stream_ns,
        fired_by,
        evidence: Vec::new(),
        count: 1,
        explanation: Explanation { condition: None, correlation: facts },
        backfill: false,
    }
}

/// Makes alerts and the window's end durable in one step, and tells of the alerts.
fn record(app: &App, row: &SavedRow, run: SearchRun, alerts: Vec<Alert>) -> bool {
    let at_ns = io::intake::wall_ns();
    let actor = Actor { who: "alcedo".into(), at_ns, client: "searches".into() };
    let ids: Vec<String> = alerts.iter().map(|alert| alert.id.clone()).collect();
    let meta = RuleMeta { description: row.search.note.clone(), ..RuleMeta::default() };
    let fired = |alert| LedgerRecord::AlertFired { alert: Box::new(alert), rule: meta.clone() };
    let mut records: Vec<LedgerRecord> = alerts.into_iter().map(fired).collect();
    records.push(LedgerRecord::SearchRan { name: row.search.name.clone(), run, actor });
    if let Err(error) = app.ledger.submit(records, at_ns) {
        tracing::error!(%error, "what a scheduled search found cannot be recorded; it is tried again");
        return false;
    }
    for id in &ids {
        app.rates.add(at_ns, 0, 0, 1);
        tell_of(app, id, "new");
    }
    if !ids.is_empty() {
        app.recorded.fetch_add(ids.len() as u64, Ordering::Relaxed);
        app.alerts_recorded.notify_all();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_each_other_without_a_gap() {
        let mut course = Course::new(5, 0);
        course.cut(9, 0);
        assert!(course.waiting.is_empty(), "its time is not over");
        course.cut(5, 1);
        assert!(course.waiting.is_empty(), "nothing has come");
        course.cut(9, 1);
        course.cut(12, 4);
        assert_eq!(course.waiting, [5..9, 9..12]);
        for n in 0..2 * WAITING_MAX as u64 {
            course.cut(13 + n, 5 + n as i64);
        }
        assert_eq!(course.waiting.len(), WAITING_MAX);
        let ends: Vec<u64> = course.waiting.iter().map(|window| window.end).collect();
        let starts: Vec<u64> = course.waiting.iter().map(|window| window.start).collect();
        assert_eq!(starts[1..], ends[..ends.len() - 1]);
        assert_eq!(ends.last(), Some(&course.from));
    }

    #[test]
    fn only_tables_are_scheduled() {
        let gives = |text| gives_table(&search::parse(text, 0).unwrap().pipes);
        assert!(gives("a | stats count() by b | where count > 3") && gives("a | top 3 b"));
        assert!(gives("a | count by b") && !gives("a | head 3") && !gives("a | fields b"));
    }
}
