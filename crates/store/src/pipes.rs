//! Pipes and SQL: matching rows stream into DataFusion as a table of just the columns that are named.
//!
//! ```text
//! Scan --selected rows--> feed (f0, f1, ...) --DataFusion: group, sort, limit--> rows
//!                                            \--events: only their places; read whole afterwards
//! ```
//! Columns have numbers inside, so that no field name has to survive SQL's quoting. One thread runs
//! it all; sorting and grouping stay within the request's memory and never spill to disk, where event
//! data would lie about in a folder for temporary files.

use crate::error::SearchError;
use crate::kernel::{OwnValue, answers};
use crate::render::array;
use crate::residual::quoted;
use crate::scan::{Counters, Scan, Selected, Snapshot, Unit};
use crate::search::{LIMIT_MAX, Output, Place, Row, SearchRequest, SearchSummary};
use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, UInt64Type};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::functions_aggregate::expr_fn::{avg, count, count_distinct, max, min, sum};
use datafusion::logical_expr::{Expr, SortExpr, cast, lit, try_cast, when};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{SessionConfig, SessionContext, ident};
use event::{Dictionary, FieldId, Kind, time};
use filter::Number;
use filter::search::{Aggregate, AggregateFunction, Pipe, SortKey};
use futures::StreamExt;
use parking_lot::Mutex;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// Most bytes of one value that reach the engine: longer ones are cut for grouping and sorting only.
const VALUE_BYTES_MAX: usize = 32 << 10;

fn engine(error: DataFusionError) -> SearchError {
    SearchError::Engine(error.to_string())
}

/// One column of the streamed table.
#[derive(Clone, Debug, PartialEq)]
enum Feed {
    Text(Vec<Box<str>>),
    Number(Vec<Box<str>>),
    Time,
    /// Start of the bucket of this width.
    Bucket(i64),
    /// Number of the unit in the upper half, row in the lower.
    Place,
    /// Rank of the event id: see `id_rank`.
    Offset,
    Sub,
}

impl Feed {
    fn data_type(&self) -> DataType {
        match self {
            Feed::Text(_) => DataType::Utf8,
            Feed::Number(_) => DataType::Float64,
            Feed::Time | Feed::Bucket(_) => DataType::Int64,
            Feed::Place | Feed::Offset | Feed::Sub => DataType::UInt64,
        }
    }
}

/// Runs the pipes over a pass.
pub(crate) fn run(
    scan: Scan,
    request: &SearchRequest,
    pipes: &[Pipe],
    started: Instant,
    out: &mut dyn FnMut(Row) -> ControlFlow<()>,
) -> Result<SearchSummary, SearchError> {
    let snapshot = scan.snapshot.clone();
    let shared = Arc::new(Mutex::new(Shared::default()));
    let feeds = Feeds::of(pipes, &request.dictionary);
    let source = Source::new(scan, &feeds.list, shared.clone());
    let context = session(request)?;
    let table = source.schema.clone();
    let provider =
        datafusion::catalog::streaming::StreamingTable::try_new(table, vec![Arc::new(source)])
            .map_err(engine)?;
    let frame = context.read_table(Arc::new(provider)).map_err(engine)?;
    let mut build = Build {
        dict: &request.dictionary,
        feeds,
        frame,
        mode: Mode::Events { fields: None },
        order: None,
        oldest_first: request.oldest_first,
    };
    for pipe in pipes {
        build.pipe(pipe)?;
    }
    let limit = request.limit.min(LIMIT_MAX);
    let (frame, mode) = build.finish(limit)?;
    let batches = execute(frame, request)?;
    let mut summary = SearchSummary::default();
    match mode {
        Mode::Events { fields } => {
            let places = places(&batches, &shared.lock().units);
            summary.columns.clone_from(&fields);
            Output { request, fields, out }.send(&snapshot, &places, &mut summary)?;
        }
        Mode::Table { columns } => {
            summary.columns = Some(columns.iter().map(|c| c.name.clone()).collect());
            send_table(&batches, &columns, limit, &mut summary, out);
        }
    }
    let counters = shared.lock().counters;
    summary.count(&counters, started);
    Ok(summary)
}

/// Runs SQL over the table `events`.
pub(crate) fn sql(
    snapshot: Snapshot,
    request: &SearchRequest,
    text: &str,
    out: &mut dyn FnMut(Row) -> ControlFlow<()>,
) -> Result<SearchSummary, SearchError> {
    let started = Instant::now();
    let shared = Arc::new(Mutex::new(Shared::default()));
    let table = crate::table::EventsTable::new(snapshot, request.clone(), shared.clone())?;
    let context = session(request)?;
    context.register_table("events", Arc::new(table)).map_err(engine)?;
    // Reading only: no statement may name a file or change anything.
    let options =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let limit = request.limit.min(LIMIT_MAX);
    let runtime = runtime()?;
    let batches = runtime.block_on(async {
        let frame = context.sql_with_options(text, options).await.map_err(engine)?;
        let frame = frame.limit(0, Some(limit)).map_err(engine)?;
        collect(frame, request).await
    })?;
    let mut summary = SearchSummary::default();
    if let Some(first) = batches.first() {
        let names = first.schema().fields().iter().map(|f| f.name().clone()).collect();
        summary.columns = Some(names);
    }
    for batch in &batches {
        let mut lines = Vec::new();
        let mut writer = arrow::json::WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, arrow::json::writer::LineDelimited>(&mut lines);
        writer.write(batch).map_err(|e| SearchError::Engine(e.to_string()))?;
        writer.finish().map_err(|e| SearchError::Engine(e.to_string()))?;
        drop(writer);
        for line in String::from_utf8_lossy(&lines).lines() {
            summary.returned += 1;
            if out(Row { id: None, event_ns: None, json: line.to_owned() }).is_break() {
                break;
            }
        }
    }
    let counters = shared.lock().counters;
    summary.count(&counters, started);
    Ok(summary)
}

fn session(request: &SearchRequest) -> Result<SessionContext, SearchError> {
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(request.memory_bytes_max, 1.0)
        .with_disk_manager_builder(disk)
        .build_arc()
        .map_err(engine)?;
    let config = SessionConfig::new().with_target_partitions(1);
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

fn runtime() -> Result<tokio::runtime::Runtime, SearchError> {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|e| SearchError::Engine(e.to_string()))
}

fn execute(frame: DataFrame, request: &SearchRequest) -> Result<Vec<RecordBatch>, SearchError> {
    runtime()?.block_on(collect(frame, request))
}

async fn collect(
    frame: DataFrame,
    request: &SearchRequest,
) -> Result<Vec<RecordBatch>, SearchError> {
    let control = request.control();
    let mut stream = frame.execute_stream().await.map_err(engine)?;
    let mut out = Vec::new();
    while let Some(batch) = stream.next().await {
        out.push(batch.map_err(engine)?);
        if control.stop() == Some("cancelled") {
            break;
        }
    }
    Ok(out)
}

/// What the pass leaves behind for after the engine has run.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) counters: Counters,
    units: Vec<Unit>,
}

/// The pass as a partition of a table. It can be executed once.
struct Source {
    schema: SchemaRef,
    feeds: Vec<Feed>,
    scan: Mutex<Option<Scan>>,
    shared: Arc<Mutex<Shared>>,
}

impl Source {
    fn new(scan: Scan, feeds: &[Feed], shared: Arc<Mutex<Shared>>) -> Self {
        let fields = feeds
            .iter()
            .enumerate()
            .map(|(i, feed)| Field::new(format!("f{i}"), feed.data_type(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { schema, feeds: feeds.to_vec(), scan: Mutex::new(Some(scan)), shared }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("events")
    }
}

impl PartitionStream for Source {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (schema, feeds) = (self.schema.clone(), self.feeds.clone());
        let columns = move |selected: &mut Selected, unit: usize| {
            feed(selected, unit, &feeds)
                .and_then(|arrays| batch(&schema, arrays, selected.rows.len()))
        };
        stream_of(self.scan.lock().take(), self.schema.clone(), self.shared.clone(), columns)
    }
}

/// A pass as a stream of batches made by `columns`.
pub(crate) fn stream_of(
    scan: Option<Scan>,
    schema: SchemaRef,
    shared: Arc<Mutex<Shared>>,
    columns: impl Fn(&mut Selected, usize) -> Result<RecordBatch, SearchError> + Send + 'static,
) -> SendableRecordBatchStream {
    let mut scan = scan;
    let batches = std::iter::from_fn(move || {
        let pass = scan.as_mut()?;
        let next = pass.next(None);
        let mut shared = shared.lock();
        shared.counters = pass.counters;
        let result = match next {
            Ok(None) => {
                scan = None;
                return None;
            }
            Ok(Some(mut selected)) => {
                shared.units.push(selected.unit);
                let unit = shared.units.len() - 1;
                columns(&mut selected, unit)
            }
            Err(error) => Err(error),
        };
        if result.is_err() {
            scan = None;
        }
        Some(result.map_err(|e| DataFusionError::External(Box::new(e))))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches)))
}

/// A batch that may have no columns.
pub(crate) fn batch(
    schema: &SchemaRef,
    arrays: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, SearchError> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
        .map_err(|e| SearchError::Engine(e.to_string()))
}

fn feed(
    selected: &mut Selected,
    unit: usize,
    feeds: &[Feed],
) -> Result<Vec<ArrayRef>, SearchError> {
    let mut out: Vec<ArrayRef> = Vec::with_capacity(feeds.len());
    for feed in feeds {
        out.push(match feed {
            Feed::Text(names) => text_array(selected, names)?,
            Feed::Number(names) => {
                let values = selected.values(names)?;
                let number = |v: &OwnValue| match Number::parse(&v.1) {
                    Some(Number::Int(n)) if v.0 != Kind::Null => Some(n as f64),
                    Some(Number::Float(n)) if v.0 != Kind::Null => Some(n),
                    _ => None,
                };
                let numbers = values.iter().map(|v| match &v[..] {
                    [one] => number(one),
                    _ => None,
                });
                Arc::new(numbers.collect::<Float64Array>())
            }
            Feed::Time => Arc::new(Int64Array::from(selected.times()?)),
            Feed::Bucket(span) => {
                let times = selected.times()?.into_iter();
                let starts = times.map(|t| t.div_euclid(*span).saturating_mul(*span));
                Arc::new(starts.collect::<Int64Array>())
            }
            Feed::Place => {
                let base = (unit as u64) << 32;
                let places = selected.rows.iter().map(|row| base | u64::from(*row));
                Arc::new(UInt64Array::from_iter_values(places))
            }
            Feed::Offset => {
                let keys = selected.keys()?;
                Arc::new(UInt64Array::from_iter_values(keys.iter().map(|(_, id)| id.offset)))
            }
            Feed::Sub => {
                // Partitions are few: they take the bits above a record's number of events.
                let keys = selected.keys()?;
                let sub = |id: &event::EventId| u64::from(id.sub) << 32 | u64::from(id.partition);
                Arc::new(UInt64Array::from_iter_values(keys.iter().map(|(_, id)| sub(id))))
            }
        });
    }
    Ok(out)
}

/// Values as text: one as it is, several as a JSON array, null as nothing.
pub(crate) fn text_array(
    selected: &mut Selected,
    names: &[Box<str>],
) -> Result<ArrayRef, SearchError> {
    let values = selected.values(names)?;
    let text = |values: &Vec<OwnValue>| match &values[..] {
        [] | [(Kind::Null, _)] => None,
        [(_, bytes)] => Some(cut(&String::from_utf8_lossy(bytes)).to_owned()),
        many => {
            let mut text = String::new();
            array(&mut text, many.iter().map(|(kind, bytes)| (*kind, &**bytes)));
            Some(cut(&text).to_owned())
        }
    };
    Ok(Arc::new(values.iter().map(text).collect::<StringArray>()))
}

/// `@timestamp` and the like as a column of times.
pub(crate) fn time_array(times: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC"))
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(VALUE_BYTES_MAX)]
}

/// The columns that pipes name before anything is aggregated.
struct Feeds {
    list: Vec<Feed>,
}

impl Feeds {
    fn of(pipes: &[Pipe], dict: &Dictionary) -> Self {
        let mut feeds = Feeds { list: Vec::new() };
        let mut whole_events = true;
        for pipe in pipes {
            let mut text = |name: &String| feeds.add(Feed::Text(answers(dict, name)));
            match pipe {
                Pipe::Stats { aggregates, by } | Pipe::Timechart { aggregates, by, .. } => {
                    by.iter().for_each(&mut text);
                    aggregates.iter().filter_map(|a| a.field.as_ref()).for_each(&mut text);
                    for field in aggregates.iter().filter_map(|a| a.field.as_ref()) {
                        feeds.add(Feed::Number(answers(dict, field)));
                    }
                    if let Pipe::Timechart { span_ns, .. } = pipe {
                        feeds.add(Feed::Bucket(*span_ns));
                    }
                    whole_events = false;
                }
                Pipe::Top { by, .. } => {
                    by.iter().for_each(&mut text);
                    whole_events = false;
                }
                Pipe::Sort(keys) => keys.iter().for_each(|k| text(&k.column)),
                Pipe::Dedup(names) => names.iter().for_each(&mut text),
                Pipe::Where(_) | Pipe::Head(_) | Pipe::Fields(_) => {}
            }
            if !whole_events {
                break;
            }
        }
        let uses_time = |pipe: &Pipe| match pipe {
            Pipe::Stats { aggregates, .. } | Pipe::Timechart { aggregates, .. } => {
                aggregates.iter().filter_map(|a| a.field.as_ref()).any(|f| is_time(dict, f))
            }
            _ => true,
        };
        // A count alone needs no order and no places.
        let first_aggregates = matches!(
            pipes.first(),
            Some(Pipe::Stats { .. } | Pipe::Timechart { .. } | Pipe::Top { .. })
        );
        if !first_aggregates || pipes.first().is_some_and(uses_time) {
            feeds.add(Feed::Time);
        }
        if !first_aggregates {
            [Feed::Place, Feed::Offset, Feed::Sub].into_iter().for_each(|f| feeds.add(f));
        }
        feeds
    }

    fn add(&mut self, feed: Feed) {
        if !self.list.contains(&feed) {
            self.list.push(feed);
        }
    }

    fn column(&self, feed: &Feed) -> Expr {
        let at = self.list.iter().position(|f| f == feed).unwrap_or_default();
        ident(format!("f{at}"))
    }
}

/// Whether a name means the event's own time.
fn is_time(dict: &Dictionary, name: &str) -> bool {
    dict.answers(name).first() == Some(&FieldId::TIMESTAMP)
}

/// What the rows are at some point of the pipes.
enum Mode {
    Events { fields: Option<Vec<String>> },
    Table { columns: Vec<Column> },
}

/// A column of an aggregated table; `inner` is its name in the engine.
#[derive(Clone)]
struct Column {
    name: String,
    inner: String,
    shows: Shows,
}

#[derive(Clone, Copy, PartialEq)]
enum Shows {
    Text,
    /// Text that is shown as a number where it is one.
    Either,
    Number,
    Time,
}

struct Build<'a> {
    dict: &'a Dictionary,
    feeds: Feeds,
    frame: DataFrame,
    mode: Mode,
    /// The order that the rows must have at the end.
    order: Option<Vec<SortExpr>>,
    oldest_first: bool,
}

impl Build<'_> {
    fn pipe(&mut self, pipe: &Pipe) -> Result<(), SearchError> {
        match pipe {
            Pipe::Where(_) => Err(SearchError::Pipes(
                "`where` must stand before sort, head, dedup and aggregating pipes".into(),
            )),
            Pipe::Stats { aggregates, by } => self.stats(aggregates, by, None),
            Pipe::Timechart { span_ns, aggregates, by } => {
                if *span_ns <= 0 {
                    return Err(SearchError::Pipes("`timechart` needs a span above zero".into()));
                }
                self.stats(aggregates, by, Some(*span_ns))
            }
            Pipe::Top { limit, by, rare } => self.top(*limit, by, *rare),
            Pipe::Sort(keys) => self.sort(keys),
            Pipe::Head(n) => {
                self.apply_order()?;
                let n = usize::try_from(*n).unwrap_or(usize::MAX);
                self.change(|frame| frame.limit(0, Some(n)))
            }
            Pipe::Fields(names) => self.fields(names),
            Pipe::Dedup(names) => self.dedup(names),
        }
    }

    fn change(
        &mut self,
        step: impl FnOnce(DataFrame) -> Result<DataFrame, DataFusionError>,
    ) -> Result<(), SearchError> {
        self.frame = step(self.frame.clone()).map_err(engine)?;
        Ok(())
    }

    /// The engine's column for a name, as text or whatever type it has by now.
    fn column(&self, name: &str) -> Result<(Expr, Shows), SearchError> {
        match &self.mode {
            Mode::Events { .. } if is_time(self.dict, name) && self.has(&Feed::Time) => {
                Ok((self.feeds.column(&Feed::Time), Shows::Time))
            }
            Mode::Events { .. } => {
                let feed = Feed::Text(answers(self.dict, name));
                Ok((self.feeds.column(&feed), Shows::Text))
            }
            Mode::Table { columns } => {
                let column = columns.iter().find(|c| c.name == name).ok_or_else(|| {
                    let names: Vec<&str> = columns.iter().map(|c| &*c.name).collect();
                    let names = names.join(", ");
                    SearchError::Pipes(format!("no column `{name}`; there are: {names}"))
                })?;
                Ok((ident(&column.inner), column.shows))
            }
        }
    }

    fn has(&self, feed: &Feed) -> bool {
        self.feeds.list.contains(feed)
    }

    fn numbers(&self, name: &str) -> Result<Expr, SearchError> {
        match &self.mode {
            Mode::Events { .. } => Ok(self.feeds.column(&Feed::Number(answers(self.dict, name)))),
            Mode::Table { .. } => Ok(try_cast(self.column(name)?.0, DataType::Float64)),
        }
    }

    fn stats(
        &mut self,
        aggregates: &[Aggregate],
        by: &[String],
        span_ns: Option<i64>,
    ) -> Result<(), SearchError> {
        // What follows an order may depend on it only through `head`, which has applied it.
        self.order = None;
        let mut groups = Vec::new();
        let mut columns = Vec::new();
        if let Some(span_ns) = span_ns {
            if matches!(self.mode, Mode::Table { .. }) {
                let text = "`timechart` counts events: put it before other aggregating pipes";
                return Err(SearchError::Pipes(text.into()));
            }
            groups.push(self.feeds.column(&Feed::Bucket(span_ns)).alias("g_time"));
            columns.push(Column {
                name: "@timestamp".into(),
                inner: "g_time".into(),
                shows: Shows::Time,
            });
        }
        for (at, name) in by.iter().enumerate() {
            let (expr, shows) = self.column(name)?;
            let inner = format!("g{at}");
            groups.push(expr.alias(&inner));
            columns.push(Column { name: name.clone(), inner, shows });
        }
        let mut parts: Vec<Expr> = Vec::new();
        let mut outputs: Vec<Expr> = columns.iter().map(|c| ident(&c.inner)).collect();
        for (at, aggregate) in aggregates.iter().enumerate() {
            let (expr, shows) = self.aggregate(at, aggregate, &mut parts)?;
            let inner = format!("a{at}");
            outputs.push(expr.alias(&inner));
            columns.push(Column { name: aggregate.name.clone(), inner, shows });
        }
        self.change(|frame| frame.aggregate(groups, parts)?.select(outputs))?;
        let keys = columns.iter().take(by.len() + usize::from(span_ns.is_some()));
        self.order = Some(keys.flat_map(|c| sort_by(ident(&c.inner), c.shows, false)).collect());
        self.mode = Mode::Table { columns };
        Ok(())
    }

    /// Adds the engine's aggregates to `parts` and returns what is made of them.
    fn aggregate(
        &self,
        at: usize,
        aggregate: &Aggregate,
        parts: &mut Vec<Expr>,
    ) -> Result<(Expr, Shows), SearchError> {
        use AggregateFunction::*;
        let mut part = |expr: Expr| {
            let name = format!("p{at}_{}", parts.len());
            parts.push(expr.alias(&name));
            ident(name)
        };
        let Some(field) = &aggregate.field else {
            return match aggregate.function {
                Count => Ok((part(count(lit(1i64))), Shows::Number)),
                _ => Err(SearchError::Pipes(format!("`{}` needs a field", aggregate.name))),
            };
        };
        let (column, shows) = self.column(field)?;
        Ok(match aggregate.function {
            Count => (part(count(column)), Shows::Number),
            Dc => (part(count_distinct(column)), Shows::Number),
            Sum => (part(sum(self.numbers(field)?)), Shows::Number),
            Avg => (part(avg(self.numbers(field)?)), Shows::Number),
            Min | Max => {
                let best = if aggregate.function == Min { min } else { max };
                if shows == Shows::Time || shows == Shows::Number {
                    return Ok((part(best(column)), shows));
                }
                let numbers = self.numbers(field)?;
                let all = part(count(column.clone())).eq(part(count(numbers.clone())));
                let number = cast(part(best(numbers)), DataType::Utf8);
                let text = part(best(column));
                let either = when(all, number).otherwise(text).map_err(engine)?;
                (either, Shows::Either)
            }
        })
    }

    fn top(&mut self, limit: u64, by: &[String], rare: bool) -> Result<(), SearchError> {
        let present = by.iter().map(|name| Ok(self.column(name)?.0.is_not_null()));
        let present = present.collect::<Result<Vec<Expr>, SearchError>>()?;
        for expr in present {
            self.change(|frame| frame.filter(expr))?;
        }
        let aggregate =
            Aggregate { function: AggregateFunction::Count, field: None, name: "count".into() };
        self.stats(&[aggregate], by, None)?;
        let mut order = vec![ident("a0").sort(rare, false)];
        order.extend(self.order.take().into_iter().flatten());
        self.order = Some(order);
        self.apply_order()?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.change(|frame| frame.limit(0, Some(limit)))
    }

    fn sort(&mut self, keys: &[SortKey]) -> Result<(), SearchError> {
        let mut order = Vec::new();
        for key in keys {
            let (expr, shows) = self.column(&key.column)?;
            order.extend(sort_by(expr, shows, key.descending));
        }
        order.extend(self.natural_order());
        self.order = Some(order);
        Ok(())
    }

    /// Newest first for events; what the table came with otherwise.
    fn natural_order(&self) -> Vec<SortExpr> {
        match &self.mode {
            Mode::Events { .. } => {
                let key = |feed| self.feeds.column(&feed).sort(self.oldest_first, false);
                vec![key(Feed::Time), key(Feed::Offset), key(Feed::Sub)]
            }
            Mode::Table { columns } => {
                columns.iter().flat_map(|c| sort_by(ident(&c.inner), c.shows, false)).collect()
            }
        }
    }

    fn apply_order(&mut self) -> Result<(), SearchError> {
        let order = self.order.clone().unwrap_or_else(|| self.natural_order());
        if order.is_empty() {
            return Ok(());
        }
        self.order = Some(order.clone());
        self.change(|frame| frame.sort(order))
    }

    fn fields(&mut self, names: &[String]) -> Result<(), SearchError> {
        if let Mode::Events { fields } = &mut self.mode {
            *fields = Some(names.to_vec());
            return Ok(());
        }
        self.apply_order()?;
        let Mode::Table { columns } = &self.mode else { return Ok(()) };
        let mut kept = Vec::new();
        for name in names {
            self.column(name)?;
            kept.extend(columns.iter().find(|c| c.name == *name).cloned());
        }
        // The columns stay in the engine, so that the order may still name them.
        self.mode = Mode::Table { columns: kept };
        Ok(())
    }

    fn dedup(&mut self, names: &[String]) -> Result<(), SearchError> {
        let order = self.order.clone().unwrap_or_else(|| self.natural_order());
        let keys = names.iter().map(|name| Ok(self.column(name)?.0));
        let keys = keys.collect::<Result<Vec<Expr>, SearchError>>()?;
        // The engine wants the keys first in the order; within equal keys the first row stays.
        let mut within: Vec<SortExpr> = keys.iter().map(|k| k.clone().sort(true, false)).collect();
        within.extend(order.iter().cloned());
        let all: Vec<Expr> = self.frame.schema().fields().iter().map(|f| ident(f.name())).collect();
        self.change(|frame| frame.distinct_on(keys, all, Some(within)))?;
        self.order = Some(order);
        Ok(())
    }

    /// The frame in its final order, one row more than `limit` to see whether there are more.
    fn finish(mut self, limit: usize) -> Result<(DataFrame, Mode), SearchError> {
        self.apply_order()?;
        let more = usize::from(matches!(self.mode, Mode::Table { .. }));
        self.change(|frame| frame.limit(0, Some(limit + more)))?;
        let outputs = match &self.mode {
            Mode::Events { .. } => vec![self.feeds.column(&Feed::Place)],
            Mode::Table { columns } => columns.iter().map(|c| ident(&c.inner)).collect(),
        };
        self.change(|frame| frame.select(outputs))?;
        Ok((self.frame, self.mode))
    }
}

/// Numbers before text, numbers by size, nothing last.
fn sort_by(expr: Expr, shows: Shows, descending: bool) -> Vec<SortExpr> {
    match shows {
        Shows::Text | Shows::Either => vec![
            try_cast(expr.clone(), DataType::Float64).sort(!descending, false),
            expr.sort(!descending, false),
        ],
        Shows::Number | Shows::Time => vec![expr.sort(!descending, false)],
    }
}

fn places(batches: &[RecordBatch], units: &[Unit]) -> Vec<Place> {
    let mut out = Vec::new();
    for batch in batches {
        let column = batch.column(0).as_primitive::<UInt64Type>();
        for place in column.values() {
            if let Some(unit) = units.get((place >> 32) as usize) {
                out.push((*unit, *place as u32));
            }
        }
    }
    out
}

fn send_table(
    batches: &[RecordBatch],
    columns: &[Column],
    limit: usize,
    summary: &mut SearchSummary,
    out: &mut dyn FnMut(Row) -> ControlFlow<()>,
) {
    for batch in batches {
        for row in 0..batch.num_rows() {
            if summary.returned as usize >= limit {
                summary.partial = Some("limit".into());
                return;
            }
            let mut json = String::from("{");
            for (at, column) in columns.iter().enumerate() {
                let comma = if at > 0 { "," } else { "" };
                let value = shown(batch.column(at), row, column.shows);
                json.push_str(&format!("{comma}{}:{value}", quoted(&column.name)));
            }
            json.push('}');
            summary.returned += 1;
            if out(Row { id: None, event_ns: None, json }).is_break() {
                return;
            }
        }
    }
}

fn shown(array: &ArrayRef, row: usize, shows: Shows) -> String {
    if array.is_null(row) {
        return "null".into();
    }
    if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
        let number = numbers.value(row);
        return match shows {
            Shows::Time => quoted(&time::rfc3339(number)),
            _ => number.to_string(),
        };
    }
    if let Some(numbers) = array.as_primitive_opt::<Float64Type>() {
        return number(numbers.value(row));
    }
    let text = match ScalarValue::try_from_array(array, row) {
        Ok(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text))) => text,
        Ok(other) => other.to_string(),
        Err(_) => return "null".into(),
    };
    match (shows, text.parse::<f64>()) {
        (Shows::Either, Ok(value)) => number(value),
        _ => quoted(&text),
    }
}

/// A float as JSON: whole numbers without a fraction; what JSON cannot say is null.
fn number(value: f64) -> String {
    match value {
        v if !v.is_finite() => "null".into(),
        v if v.fract() == 0.0 && v.abs() < 9e15 => format!("{}", v as i64),
        v => v.to_string(),
    }
}
