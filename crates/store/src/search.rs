//! Searching: what is asked, what comes back, and the path without an aggregating pipe.

use crate::error::{SearchError, StoreError};
use crate::kernel::{Resolved, answers};
use crate::pipes;
use crate::render::{columns_json, event_json};
use crate::rows::FullRow;
use crate::scan::{Away, Control, Counters, Scan, Selected, Snapshot, Unit};
use event::{Dictionary, EventId, Kind};
use filter::Plan;
use filter::search::{Pipe, Query};
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Most rows one search returns: more belongs in an export by time range.
pub const LIMIT_MAX: usize = 100_000;
/// Rows returned when nobody says how many.
pub const LIMIT_DEFAULT: usize = 200;
/// Memory a search may use for rows, groups and sorting unless told otherwise.
pub const MEMORY_BYTES_DEFAULT: usize = 256 << 20;
/// Most buckets of a histogram: more than a wide screen has pixels.
pub const BUCKETS_MAX: usize = 4_096;
/// Distinct values counted exactly by [`crate::Store::field_values`]; values that turn up later are
/// not counted and the answer says so.
pub const DISTINCT_MAX: usize = 100_000;
/// Rows decoded at a time on the way out, at most.
const OUT_ROWS: usize = 512;
/// Bytes of rows that are decoded at a time, about.
const OUT_BYTES: usize = 4 << 20;

/// A search to run.
#[derive(Clone)]
pub struct SearchRequest {
    /// Filter and pipes.
    pub query: Query,
    /// Names of the current generation: decides which fields answer to which name.
    pub dictionary: Arc<Dictionary>,
    /// Only events with `@timestamp` at or after this, ns.
    pub since_ns: Option<i64>,
    /// Only events with `@timestamp` before this, ns.
    pub until_ns: Option<i64>,
    /// Only events whose offset is in this range, those of joined searches included.
    pub offsets: Option<Range<u64>>,
    /// Most rows returned, at most [`LIMIT_MAX`]: an answer that is cut there and not by what was asked
    /// for is partial.
    pub limit: usize,
    /// Events in ascending (time, id) order instead of newest first.
    pub oldest_first: bool,
    /// Give what was found so far after this long.
    pub timeout: Option<Duration>,
    /// Bytes for sorting, grouping and rows in flight.
    pub memory_bytes_max: usize,
    /// Set from another thread to stop early.
    pub cancelled: Arc<AtomicBool>,
    /// Tables that `lookup` may name.
    pub lookups: Arc<BTreeMap<String, Arc<LookupTable>>>,
}

/// A reference table for `lookup`: assets, owners, known bad addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookupTable {
    /// Names of the columns; the first is the key unless the query names another.
    pub columns: Vec<String>,
    /// Rows of as many texts, or fewer: the others are empty.
    pub rows: Vec<Vec<String>>,
}

impl SearchRequest {
    /// A search of everything with the default limits.
    pub fn new(query: Query, dictionary: Arc<Dictionary>) -> Self {
        Self {
            query,
            dictionary,
            since_ns: None,
            until_ns: None,
            offsets: None,
            limit: LIMIT_DEFAULT,
            oldest_first: false,
            timeout: None,
            memory_bytes_max: MEMORY_BYTES_DEFAULT,
            cancelled: Arc::default(),
            lookups: Arc::default(),
        }
    }

    pub(crate) fn control(&self) -> Control {
        Control::new(self.timeout, self.cancelled.clone())
    }

    pub(crate) fn scan(&self, snapshot: Snapshot, filter: Plan) -> Scan {
        self.scan_under(snapshot, filter, self.control())
    }

    /// One of several passes of a search.
    pub(crate) fn scan_under(&self, snapshot: Snapshot, filter: Plan, control: Control) -> Scan {
        Scan::new(
            snapshot,
            Arc::new(Resolved::new(filter, &self.dictionary)),
            self.dictionary.clone(),
            (self.since_ns, self.until_ns),
            self.oldest_first,
            control,
        )
        .within(self.offsets.as_ref())
    }
}

/// One result row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The event, unless the row is an aggregate.
    pub id: Option<EventId>,
    /// Its `@timestamp`, ns.
    pub event_ns: Option<i64>,
    /// A flat JSON object.
    pub json: String,
}

/// What a search did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchSummary {
    /// Events that matched the filter among those looked at.
    pub matched: u64,
    /// Whether [`SearchSummary::matched`] counts all events: not when older ones could be skipped
    /// because the limit was reached.
    pub matched_exact: bool,
    /// Rows handed out.
    pub returned: u64,
    /// Rows of the units looked at.
    pub scanned_rows: u64,
    /// Files opened.
    pub scanned_files: u64,
    /// Compressed bytes of the row groups looked at.
    pub scanned_bytes: u64,
    /// Wall time, ms.
    pub elapsed_ms: u64,
    /// Why the answer is not whole (`timeout`, `cancelled`, `memory`, `limit`), if it is not.
    pub partial: Option<String>,
    /// Output columns in order; none when rows are whole events.
    pub columns: Option<Vec<String>>,
}

impl SearchSummary {
    /// Something after the pass ended early.
    pub(crate) fn stopped(&mut self, why: Option<&'static str>) {
        if self.partial.is_none() {
            self.partial = why.map(str::to_owned);
        }
    }

    pub(crate) fn count(&mut self, counters: &Counters, started: Instant) {
        self.matched = counters.matched;
        self.matched_exact = !counters.skipped && counters.stopped.is_none();
        self.scanned_rows = counters.scanned_rows;
        self.scanned_files = counters.scanned_files;
        self.scanned_bytes = counters.scanned_bytes;
        self.elapsed_ms = started.elapsed().as_millis() as u64;
        self.matched_exact &= counters.damaged_rows == 0 && !counters.away.is_some();
        if self.partial.is_none() {
            self.partial = counters.partial();
        }
    }
}

/// Why an answer is not whole when rows could not be read.
pub(crate) fn damaged(rows: u64) -> String {
    format!("{rows} rows of damaged files cannot be read")
}

/// Events per bucket of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Start of the first bucket, ns.
    pub from_ns: i64,
    /// Width of each, ns.
    pub span_ns: i64,
    /// Matching events in each.
    pub counts: Vec<u64>,
    /// Totals.
    pub summary: SearchSummary,
}

/// Most frequent values of a field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldValues {
    /// Value and number of events that have it, most frequent first, ties by text.
    pub values: Vec<(String, u64)>,
    /// Events that have the field.
    pub present: u64,
    /// Totals; `partial` is `memory` when more than [`DISTINCT_MAX`] values occurred.
    pub summary: SearchSummary,
}

/// What a search would look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Files whose indexes were asked.
    pub files: u64,
    /// Row groups, and batches in memory.
    pub units: u64,
    /// Rows in them, at most.
    pub rows: u64,
    /// Their bytes as stored, about.
    pub bytes: u64,
}

/// How a query is to be run.
pub(crate) enum Shape {
    /// Events as they are: the filter, a limit, a projection.
    Events { filter: Plan, limit: usize, fields: Option<Vec<String>> },
    /// Through the query engine: the filter and the remaining pipes.
    Pipes { filter: Plan, pipes: Vec<Pipe> },
}

pub(crate) fn shape(request: &SearchRequest) -> Shape {
    let (filter, pipes) = pipes::leading(&request.query);
    let mut limit = request.limit.min(LIMIT_MAX);
    let mut fields: Option<Vec<String>> = None;
    for (at, pipe) in pipes.iter().enumerate() {
        match pipe {
            Pipe::Head(n) => limit = limit.min(usize::try_from(*n).unwrap_or(usize::MAX)),
            Pipe::Fields(names) if fields.is_none() => fields = Some(names.clone()),
            // Newest first is how events come anyway.
            Pipe::Sort(keys) if at == 0 && is_natural(keys, request) => {}
            _ => return Shape::Pipes { filter, pipes },
        }
    }
    Shape::Events { filter, limit, fields }
}

fn is_natural(keys: &[filter::search::SortKey], request: &SearchRequest) -> bool {
    match keys {
        [key] => {
            let answers = request.dictionary.answers(&key.column);
            let time = answers.first() == Some(&event::FieldId::TIMESTAMP);
            time && key.descending != request.oldest_first
        }
        _ => false,
    }
}

/// Runs a search over one snapshot.
pub(crate) fn run(
    snapshot: Snapshot,
    request: &SearchRequest,
    out: &mut dyn FnMut(Row) -> ControlFlow<()>,
) -> Result<SearchSummary, SearchError> {
    let started = Instant::now();
    match shape(request) {
        Shape::Events { filter, limit, fields } => {
            let mut scan = request.scan(snapshot, filter);
            if limit == 0 {
                scan = scan.once_through();
            }
            let mut summary = SearchSummary { columns: fields.clone(), ..Default::default() };
            let portion = Portion::default();
            let mut output = Output { request, fields, out, sent_bytes: 0, portion };
            best_first(&mut scan, limit, &mut output, &mut summary)?;
            summary.count(&scan.counters, started);
            let has_more = summary.matched > summary.returned || !summary.matched_exact;
            if limit == LIMIT_MAX && request.limit > limit && summary.returned >= limit as u64 {
                summary.stopped(has_more.then_some("limit"));
            }
            Ok(summary)
        }
        Shape::Pipes { filter, pipes } => {
            let scan = request.scan(snapshot, filter);
            let limit = Some(request.limit.min(LIMIT_MAX));
            pipes::run(scan, request, &pipes, limit, started, out)
        }
    }
}

/// Smaller is better: bits are inverted for newest first.
type Rank = (i64, u32, u64, u32);

fn rank(oldest_first: bool, time: i64, id: EventId) -> Rank {
    match oldest_first {
        true => (time, id.partition, id.offset, id.sub),
        false => (!time, !id.partition, !id.offset, !id.sub),
    }
}

/// Where a result row is.
pub(crate) type Place = (Unit, u32);

/// Hands out the `limit` best rows, best first: each as soon as nothing unread can be better.
fn best_first(
    scan: &mut Scan,
    limit: usize,
    output: &mut Output<'_>,
    summary: &mut SearchSummary,
) -> Result<(), SearchError> {
    let oldest_first = output.request.oldest_first;
    let mut waiting: BTreeSet<(Rank, Unit, u32)> = BTreeSet::new();
    let (mut ready, mut sent): (Vec<Place>, usize) = (Vec::new(), 0);
    let mut last_ready = None;
    loop {
        let full = sent + ready.len() + waiting.len() >= limit;
        let worst = waiting.last().map(|(rank, ..)| *rank).or(last_ready).filter(|_| full);
        let worst = worst.map(|rank| if oldest_first { rank.0 } else { !rank.0 });
        // A limit of nothing asks for the count alone.
        let Some(mut selected) = scan.next(worst)? else { break };
        if limit == 0 {
            continue;
        }
        let best = match selected.best(oldest_first, limit, worst) {
            Ok(best) => best,
            Err(error) => {
                scan.pass_over(selected.unit, &error);
                continue;
            }
        };
        for (time, id, row) in best {
            waiting.insert((rank(oldest_first, time, id), selected.unit, row));
            if sent + ready.len() + waiting.len() > limit {
                waiting.pop_last();
            }
        }
        // It holds the columns it looked at, which may be as large as the answer.
        drop(selected);
        let Some(bound) = scan.best_unread() else { continue };
        while let Some((rank, unit, row)) = waiting.first().copied().filter(|w| w.0.0 < !bound) {
            waiting.pop_first();
            ready.push((unit, row));
            last_ready = Some(rank);
        }
        // The first ones at once, then so many that reading them is worth it.
        if !ready.is_empty() && (sent == 0 || ready.len() >= OUT_ROWS) {
            let began = Instant::now();
            if output.send(&scan.snapshot, &ready, summary)?.is_break() {
                scan.counters.skipped = true;
                return Ok(());
            }
            // The time that the reader takes is not the search's.
            scan.control().allow(began.elapsed());
            sent += ready.len();
            ready.clear();
            if scan.holds_hot() {
                let wanted: BTreeSet<Unit> = waiting.iter().map(|(_, unit, _)| *unit).collect();
                scan.release(|index| wanted.contains(&Unit::Hot(index)));
            }
        }
    }
    ready.extend(waiting.into_iter().map(|(_, unit, row)| (unit, row)));
    let _ = output.send(&scan.snapshot, &ready, summary)?;
    Ok(())
}

/// Where rows go and as what.
pub(crate) struct Output<'a> {
    pub(crate) request: &'a SearchRequest,
    pub(crate) fields: Option<Vec<String>>,
    pub(crate) out: &'a mut dyn FnMut(Row) -> ControlFlow<()>,
    /// Bytes handed out so far.
    pub(crate) sent_bytes: usize,
    /// How many rows are read at a time.
    pub(crate) portion: Portion,
}

/// How many rows to read at a time, so that large ones do not fill the memory: few at first, then as
/// many as [`OUT_BYTES`] held before.
#[derive(Default)]
pub(crate) struct Portion {
    rows: usize,
    bytes: usize,
}

impl Portion {
    /// Rows to read now, `most` at most.
    pub(crate) fn rows(&self, most: usize) -> usize {
        match self.rows {
            0 => most.min(16),
            rows => (OUT_BYTES / (self.bytes / rows).max(1)).clamp(1, most),
        }
    }

    /// So many rows had so many bytes.
    pub(crate) fn had(&mut self, rows: usize, bytes: usize) {
        (self.rows, self.bytes) = (rows, bytes);
    }
}

impl Output<'_> {
    /// Reads the rows at `places` and hands them out in that order. Out: whether more are wanted.
    pub(crate) fn send(
        &mut self,
        snapshot: &Snapshot,
        places: &[Place],
        summary: &mut SearchSummary,
    ) -> Result<ControlFlow<()>, SearchError> {
        let dict = &self.request.dictionary;
        let columns: Option<Vec<(String, Vec<Box<str>>)>> = self
            .fields
            .as_ref()
            .map(|names| names.iter().map(|n| (n.clone(), answers(dict, n))).collect());
        let control = self.request.control();
        let mut places = places;
        while !places.is_empty() {
            let (chunk, later) = places.split_at(self.portion.rows(OUT_ROWS).min(places.len()));
            places = later;
            let before = self.sent_bytes;
            for row in in_order(snapshot, chunk, summary) {
                let json = match &columns {
                    Some(columns) => columns_json(&row, columns),
                    None => event_json(&row),
                };
                self.sent_bytes += json.len();
                let row = Row { id: Some(row.head.id), event_ns: Some(row.head.event_ns), json };
                summary.returned += 1;
                if (self.out)(row).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                if self.sent_bytes > self.request.memory_bytes_max {
                    summary.partial = Some("memory".into());
                    return Ok(ControlFlow::Break(()));
                }
            }
            self.portion.had(chunk.len(), self.sent_bytes - before);
            if let Some("cancelled") = control.stop() {
                summary.partial = Some("cancelled".into());
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The rows at `places`; the summary says if some cannot be read.
fn in_order(snapshot: &Snapshot, places: &[Place], summary: &mut SearchSummary) -> Vec<FullRow> {
    let mut by_unit: BTreeMap<Unit, Vec<(u32, usize)>> = BTreeMap::new();
    for (at, (unit, row)) in places.iter().enumerate() {
        by_unit.entry(*unit).or_default().push((*row, at));
    }
    let mut out: Vec<Option<FullRow>> = places.iter().map(|_| None).collect();
    for (unit, mut rows) in by_unit {
        rows.sort_unstable();
        let wanted: Vec<u32> = rows.iter().map(|(row, _)| *row).collect();
        match snapshot.full_rows(unit, &wanted) {
            Ok(found) => found.into_iter().zip(rows).for_each(|(row, (_, at))| out[at] = Some(row)),
            Err(error) => {
                let rows = wanted.len();
                tracing::error!(%error, rows, "an answer goes without rows that cannot be read");
                let mut away = Away::default();
                if matches!(error, StoreError::Far { .. }) {
                    away.add(rows as u64, snapshot.times(unit));
                }
                let missing = away.text().unwrap_or_else(|| damaged(rows as u64));
                summary.partial.get_or_insert(missing);
            }
        }
    }
    out.into_iter().flatten().collect()
}

/// Filter of a query that must not aggregate: the search part with its `where` pipes.
pub(crate) fn event_filter(query: &Query) -> Plan {
    let pipes = query.pipes.iter().map_while(|pipe| match pipe {
        Pipe::Where(plan) => Some(plan.clone()),
        _ => None,
    });
    Plan::and(std::iter::once(query.filter.clone()).chain(pipes))
}

/// Counts matching events per bucket over `[since, until)`.
pub(crate) fn histogram(
    snapshot: Snapshot,
    request: &SearchRequest,
    buckets: usize,
) -> Result<Histogram, SearchError> {
    let started = Instant::now();
    let buckets = buckets.clamp(1, BUCKETS_MAX);
    let hot = snapshot.hot.iter().map(|h| (h.event_min_ns, h.event_max_ns));
    let files = snapshot.files.iter().map(|f| (f.entry.event_min_ns, f.entry.event_max_ns));
    let (low, high) =
        hot.chain(files).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or((0, 0));
    let from_ns = request.since_ns.unwrap_or(low);
    let until_ns =
        request.until_ns.unwrap_or(high.saturating_add(1)).max(from_ns.saturating_add(1));
    let wide = i128::from(until_ns) - i128::from(from_ns);
    let span = (wide + buckets as i128 - 1) / buckets as i128;
    let span_ns = i64::try_from(span).unwrap_or(i64::MAX).max(1);
    let mut counts = vec![0; buckets];
    let mut scan = request.scan(snapshot, event_filter(&request.query)).once_through();
    while let Some(mut selected) = scan.next(None)? {
        let times = match selected.times() {
            Ok(times) => times,
            Err(error) => {
                scan.pass_over(selected.unit, &error);
                continue;
            }
        };
        for at in times {
            // The pass gives times from `from_ns` on only; their distance fits 64 bits.
            let bucket = at.wrapping_sub(from_ns) as u64 / span_ns as u64;
            if let Some(count) = usize::try_from(bucket).ok().and_then(|b| counts.get_mut(b)) {
                *count += 1;
            }
        }
    }
    let mut summary = SearchSummary::default();
    summary.count(&scan.counters, started);
    Ok(Histogram { from_ns, span_ns, counts, summary })
}

/// Counts the values of one field over matching events; an event counts once per distinct value.
pub(crate) fn field_values(
    snapshot: Snapshot,
    request: &SearchRequest,
    field: &str,
    limit: usize,
) -> Result<FieldValues, SearchError> {
    let started = Instant::now();
    let names = answers(&request.dictionary, field);
    let mut tally = Tally::default();
    let mut scan = request.scan(snapshot, event_filter(&request.query)).once_through();
    while let Some(mut selected) = scan.next(None)? {
        let unit = selected.unit;
        if let Err(error) = tally.unit(&mut selected, &names) {
            scan.pass_over(unit, &error);
        }
    }
    let Tally { counts, present, overflow } = tally;
    let mut list: Vec<(Box<[u8]>, u64)> = counts.into_iter().collect();
    list.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    list.truncate(limit);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let values = list.into_iter().map(|(bytes, n)| (text(&bytes), n)).collect();
    let partial = overflow.then(|| "memory".into());
    let mut summary = SearchSummary { partial, ..SearchSummary::default() };
    summary.count(&scan.counters, started);
    Ok(FieldValues { values, present, summary })
}

/// Values counted so far.
#[derive(Default)]
struct Tally {
    counts: HashMap<Box<[u8]>, u64>,
    present: u64,
    /// Whether there were more values than are counted.
    overflow: bool,
}

impl Tally {
    fn add(&mut self, bytes: &[u8], n: u64) {
        if let Some(count) = self.counts.get_mut(bytes) {
            *count += n;
        } else if self.counts.len() < DISTINCT_MAX {
            self.counts.insert(bytes.into(), n);
        } else {
            self.overflow = true;
        }
    }

    fn unit(&mut self, selected: &mut Selected, names: &[Box<str>]) -> Result<(), StoreError> {
        let coded = selected.coded(names)?;
        if coded.is_plain() {
            let mut here = vec![0u64; coded.size() as usize];
            for code in coded.codes.iter().filter(|code| **code != crate::coded::NONE) {
                here[*code as usize] += 1;
                self.present += 1;
            }
            for (code, n) in here.iter().enumerate().filter(|(_, n)| **n > 0) {
                let text = coded.text(code as u32).unwrap_or_default();
                self.add(text.as_bytes(), *n);
            }
            return Ok(());
        }
        for mut values in selected.values(names)? {
            self.present += u64::from(!values.is_empty());
            values.retain(|(kind, _)| *kind != Kind::Null);
            values.sort_by(|a, b| a.1.cmp(&b.1));
            values.dedup_by(|a, b| a.1 == b.1);
            values.iter().for_each(|(_, bytes)| self.add(bytes, 1));
        }
        Ok(())
    }
}

/// The place of one event.
pub(crate) fn find(snapshot: &Snapshot, id: EventId) -> Result<Option<FullRow>, SearchError> {
    let mut found = None;
    find_all(snapshot, &[id], &mut |_, row| found = Some(row))?;
    Ok(found)
}

/// Gives those of `ids` (ascending, each once) that are there and not hidden, each with its index. A row
/// group's ids are read once for all of them. What cannot be read is passed over; the first error is
/// given when all else is done.
pub(crate) fn find_all(
    snapshot: &Snapshot,
    ids: &[EventId],
    out: &mut dyn FnMut(usize, FullRow),
) -> Result<(), SearchError> {
    let mut sought = Sought { ids, found: vec![false; ids.len()] };
    for index in 0..snapshot.hot.len() {
        sought.in_hot(snapshot, index, out)?;
    }
    let mut failed = Ok(());
    for (index, file) in snapshot.files.iter().enumerate() {
        if sought.any_within(file.entry.first, file.entry.last) {
            let looked = sought.in_file(snapshot, index, out);
            failed = failed.and(looked);
        }
    }
    failed
}

/// Events that are looked for by their ids.
struct Sought<'a> {
    ids: &'a [EventId],
    found: Vec<bool>,
}

impl Sought<'_> {
    /// Index of an id that is looked for and was not met yet; it is met now, for an event is in one
    /// place, hidden or not.
    fn meet(&mut self, id: EventId) -> Option<usize> {
        let index = self.ids.binary_search(&id).ok()?;
        (!std::mem::replace(&mut self.found[index], true)).then_some(index)
    }

    fn any_within(&self, first: EventId, last: EventId) -> bool {
        let mut left = self.ids.iter().zip(&self.found).filter(|(_, found)| !**found);
        left.any(|(id, _)| first <= *id && *id <= last)
    }

    fn in_hot(
        &mut self,
        snapshot: &Snapshot,
        index: usize,
        out: &mut dyn FnMut(usize, FullRow),
    ) -> Result<(), SearchError> {
        let hot = &snapshot.hot[index];
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        for row in hot.kept.iter() {
            let view = hot.batch.row(*row as usize);
            let Some(place) = self.meet(view.id()) else { continue };
            let hidden = snapshot.hidden.iter().any(|h| {
                let binding = h.resolved.plan.bind(&*hot.batch);
                h.holds(&binding, &view)
            });
            if !hidden {
                rows.push(*row);
                places.push(place);
            }
        }
        give(snapshot, Unit::Hot(index), &rows, places, out)
    }

    fn in_file(
        &mut self,
        snapshot: &Snapshot,
        index: usize,
        out: &mut dyn FnMut(usize, FullRow),
    ) -> Result<(), SearchError> {
        let entry = &snapshot.files[index].entry;
        let stored = snapshot.files[index].open()?;
        for group in 0..stored.groups() {
            if !self.any_within(entry.first, entry.last) {
                return Ok(());
            }
            let mut reader = crate::kernel::Group::new(stored.clone(), group);
            let ids = reader.ids()?;
            let met = ids.iter().enumerate().filter_map(|(row, id)| Some((row, self.meet(*id)?)));
            let mut met: Vec<(usize, usize)> = met.collect();
            if met.is_empty() {
                continue;
            }
            let mut mask = crate::kernel::Bits::none(reader.rows);
            met.iter().for_each(|(row, _)| mask.set(*row));
            for hidden in snapshot.hidden.iter() {
                let gone = hidden.rows(&mut reader, &mask)?;
                met.retain(|(row, _)| !gone.iter().any(|other| other == *row));
            }
            let rows: Vec<u32> = met.iter().map(|(row, _)| *row as u32).collect();
            let places = met.into_iter().map(|(_, place)| place).collect();
            give(snapshot, Unit::Group(index, group), &rows, places, out)?;
        }
        Ok(())
    }
}

/// Gives the rows (ascending) of a unit under their places.
fn give(
    snapshot: &Snapshot,
    unit: Unit,
    rows: &[u32],
    places: Vec<usize>,
    out: &mut dyn FnMut(usize, FullRow),
) -> Result<(), SearchError> {
    if !rows.is_empty() {
        let full = snapshot.full_rows(unit, rows)?;
        places.into_iter().zip(full).for_each(|(place, row)| out(place, row));
    }
    Ok(())
}
