//! Pipes and SQL: matching rows stream into DataFusion as a table of just the columns that are named.
//!
//! ```text
//! Scan --selected rows--> feed (f0, f1, ...) --DataFusion: group, sort, limit--> rows
//!                                            \--events: only their places; read whole afterwards
//! ```
//! Columns have numbers inside, so that no field name has to survive SQL's quoting. One thread runs
//! it all; sorting and grouping stay within the request's memory and never spill to disk, where event
//! data would lie about in a folder for temporary files.

use crate::coded::{Coded, alike};
use crate::error::SearchError;
use crate::kernel::answers;
use crate::planning;
use crate::residual::quoted;
use crate::scan::{Control, Counters, Scan, Selected, Snapshot, Unit};
use crate::search::{
    LIMIT_MAX, LookupTable, Output, Place, Portion, Row, SearchRequest, SearchSummary,
};
use crate::watched::{Watch, watched};
use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, UInt64Type};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::{DataFusionError, ScalarValue, SchemaError};
use datafusion::dataframe::DataFrame;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::functions::string::expr_fn::lower;
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_aggregate::expr_fn::{
    approx_percentile_cont, avg, count, count_distinct, max, min, sum,
};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, JoinType, SortExpr, cast, lit, try_cast, when,
};
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{SessionConfig, SessionContext, ident};
use event::{Dictionary, FieldId, time};
use filter::search::{Aggregate, AggregateFunction, Pipe, Query, SortKey};
use filter::{CompareOp, Node, Number, Operand, Plan, Target, Test, TextOp};
use futures::StreamExt;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

fn engine(error: DataFusionError) -> SearchError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => SearchError::Memory,
        // What a pass ended with comes back through the engine.
        DataFusionError::External(ours)
            if matches!(ours.downcast_ref::<SearchError>(), Some(SearchError::Memory)) =>
        {
            SearchError::Memory
        }
        _ => SearchError::Engine(error.to_string()),
    }
}

/// Least of what one batch may have: a row group is in memory while it is searched, which no limit
/// counts.
const BATCH_BYTES_LEAST: usize = 256 << 20;
/// Functions that make much of little, which no limit of memory sees in time.
const AMPLIFYING: [&str; 3] = ["repeat", "lpad", "rpad"];

/// One column of the streamed table.
#[derive(Clone, Debug, PartialEq)]
enum Feed {
    Text(Vec<Box<str>>),
    Number(Vec<Box<str>>),
    /// A number per distinct text, for what is only told apart: see [`Ids`].
    Id(Vec<Box<str>>),
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
            Feed::Id(_) | Feed::Place | Feed::Offset | Feed::Sub => DataType::UInt64,
        }
    }
}

/// Runs the pipes over a pass; without a limit every row of a table is handed out.
pub(crate) fn run(
    scan: Scan,
    request: &SearchRequest,
    pipes: &[Pipe],
    limit: Option<usize>,
    started: Instant,
    out: &mut dyn FnMut(Row) -> ControlFlow<()>,
) -> Result<SearchSummary, SearchError> {
    let (snapshot, control) = (scan.snapshot.clone(), scan.control().clone());
    let shared = Arc::new(Mutex::new(Shared::default()));
    // The one function that the engine looks for by its name: what `dedup` becomes is made of it.
    let state = session(request, &control)?.with_aggregate_functions(vec![first_value_udaf()]);
    let context = SessionContext::new_with_state(state.build());
    let build = Build::of(&context, scan, request, pipes, shared.clone())?;
    let joined = build.joined.clone();
    let (frame, mode) = build.finish(limit)?;
    let mut summary = SearchSummary::default();
    let stopped = match mode {
        Mode::Events { fields } => {
            let mut batches = Vec::new();
            let stopped = execute(frame, request, (&control, 1), &mut |batch| {
                batches.push(batch);
                Ok(ControlFlow::Continue(()))
            })?;
            let places = places(&batches, &shared.lock().units);
            summary.columns.clone_from(&fields);
            let portion = Portion::default();
            let mut output = Output { request, fields, out, sent_bytes: 0, portion };
            let _ = output.send(&snapshot, &places, &mut summary)?;
            stopped
        }
        Mode::Table { columns } => {
            summary.columns = Some(columns.iter().map(|c| c.name.clone()).collect());
            let mut sender = Sender::new(request, limit, out);
            execute(frame, request, (&control, 1), &mut |batch| {
                let rows = (0..batch.num_rows()).map(|row| table_json(&batch, row, &columns));
                Ok(sender.send(rows, &mut summary))
            })?
        }
    };
    let counters = shared.lock().counters();
    summary.stopped(stopped);
    // Of joined searches only what is missing matters: their rows are not the answer's.
    let missing = joined.iter().find_map(|side| side.lock().counters().partial());
    summary.count(&counters, started);
    summary.partial = summary.partial.take().or(missing);
    Ok(summary)
}

/// Room for what calls itself for each part of a statement, the engine's and the compiler's own
/// functions: a statement of the longest that the API takes can be 30,000 parts deep. It is memory only
/// as far as it is used, and goes when the statement is done.
const STACK_BYTES: usize = 256 << 20;

/// Runs SQL over the table `events`.
pub(crate) fn sql(
    snapshot: Snapshot,
    request: &SearchRequest,
    text: &str,
    out: &mut dyn FnMut(Row) -> ControlFlow<()>,
) -> Result<SearchSummary, SearchError> {
    stacker::grow(STACK_BYTES, || statement_rows(snapshot, request, text, out))
}

fn statement_rows(
    snapshot: Snapshot,
    request: &SearchRequest,
    text: &str,
    out: &mut dyn FnMut(Row) -> ControlFlow<()>,
) -> Result<SearchSummary, SearchError> {
    let started = Instant::now();
    let (shared, control) = (Arc::new(Mutex::new(Shared::default())), request.control());
    let table =
        crate::table::EventsTable::new(snapshot, request.clone(), control.clone(), shared.clone())?;
    let state = session(request, &control)?.with_default_features().build();
    let context = SessionContext::new_with_state(state);
    AMPLIFYING.iter().for_each(|name| context.deregister_udf(name));
    context.register_table("events", Arc::new(table)).map_err(engine)?;
    let limit = request.limit.min(LIMIT_MAX);
    let (frame, made) = runtime()?.block_on(statement(&context, text))?;
    // One more than wanted tells whether there are more.
    let frame = frame.limit(0, Some(limit + 1)).map_err(engine)?;
    let names = frame.schema().fields().iter().map(|f| f.name().clone()).collect();
    let mut summary = SearchSummary { columns: Some(names), ..SearchSummary::default() };
    let mut sender = Sender::new(request, Some(limit), out);
    let stopped = execute(frame, request, (&control, made), &mut |batch| {
        for at in (0..batch.num_rows()).step_by(ROWS_WRITTEN) {
            let some = batch.slice(at, ROWS_WRITTEN.min(batch.num_rows() - at));
            let lines = json_lines(&some)?;
            let lines = String::from_utf8_lossy(&lines);
            if sender.send(lines.lines().map(str::to_owned), &mut summary).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let counters = shared.lock().counters();
    summary.stopped(stopped);
    summary.count(&counters, started);
    Ok(summary)
}

/// What a statement says, not optimised yet, and how many times as much as a row it may make of it.
async fn statement(context: &SessionContext, text: &str) -> Result<(DataFrame, u64), SearchError> {
    // Reading only: no statement may name a file or change anything.
    let options =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let state = context.state();
    let dialect = state.config().options().sql_parser.dialect;
    let statement = state.sql_to_statement(text, &dialect).map_err(misread)?;
    planning::check_reads(&statement)?;
    let plan = state.statement_to_plan(statement).await.map_err(misread)?;
    let made = planning::check_parts(&plan)?;
    options.verify_plan(&plan).map_err(misread)?;
    Ok((context.execute_logical_plan(plan).await.map_err(misread)?, made))
}

/// Rows that are written as JSON at a time.
const ROWS_WRITTEN: usize = 256;

fn json_lines(batch: &RecordBatch) -> Result<Vec<u8>, SearchError> {
    let unwritable = |e: arrow::error::ArrowError| SearchError::Engine(e.to_string());
    let mut lines = Vec::new();
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::LineDelimited>(&mut lines);
    writer.write(batch).map_err(unwritable)?;
    writer.finish().map_err(unwritable)?;
    drop(writer);
    Ok(lines)
}

/// Most names that are offered in place of one that is not there.
const OFFERED_MAX: usize = 5;

/// A statement that cannot be planned, in words that help: the engine's own list every column.
fn misread(error: DataFusionError) -> SearchError {
    let text = match error.find_root() {
        DataFusionError::SchemaError(schema, _) => match &**schema {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let names: Vec<&str> = valid_fields.iter().map(|f| &*f.name).collect();
                no_field(&field.flat_name(), &names)
            }
            other => other.to_string(),
        },
        DataFusionError::SQL(error, _) => {
            let text = error.to_string();
            text.trim_start_matches("sql parser error: ").to_owned()
        }
        DataFusionError::Plan(text) if text.contains("not supported: ") => {
            format!("only `select` is possible: nothing can be changed ({text})")
        }
        DataFusionError::Plan(text) if text.contains("table") && text.contains("not found") => {
            format!("{text}; there is one table, `events`")
        }
        DataFusionError::Plan(text) => text.clone(),
        DataFusionError::NotImplemented(text) if text.contains("Dot access") => {
            "names with dots stand in double quotes: \"user.name\"".into()
        }
        DataFusionError::NotImplemented(text) => text.clone(),
        _ => return engine(error),
    };
    SearchError::Pipes(format!("SQL: {text}"))
}

/// Names that are like the wanted one: those that begin like it come first, then those that have its
/// last part.
fn no_field(wanted: &str, names: &[&str]) -> String {
    let wanted = wanted.strip_prefix("events.").unwrap_or(wanted).replace('"', "");
    let last = wanted.rsplit('.').next().unwrap_or(&wanted).to_ascii_lowercase();
    let begins_alike = |name: &str| {
        let same = |(a, b): &(char, char)| a.eq_ignore_ascii_case(b);
        name.chars().zip(wanted.chars()).take_while(same).count()
    };
    let like = |name: &&&str| {
        let name = name.to_ascii_lowercase();
        let ends = name.rsplit('.').next().is_some_and(|part| last.contains(part));
        begins_alike(&name) * 2 > wanted.len() || name.contains(&last) || ends
    };
    let mut near: Vec<&str> = names.iter().filter(like).copied().collect();
    near.sort_by_key(|name| (Reverse(begins_alike(name)), name.len()));
    near.truncate(OFFERED_MAX);
    let near: Vec<String> = near.iter().map(|name| format!("\"{name}\"")).collect();
    match near.is_empty() {
        true => format!("no column `{wanted}`; write names as they are, in double quotes"),
        false => format!("no column `{wanted}`; in double quotes there are: {}", near.join(", ")),
    }
}

/// An engine for one search, without what only SQL needs: its functions by their names.
fn session(request: &SearchRequest, control: &Control) -> Result<SessionStateBuilder, SearchError> {
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(request.memory_bytes_max, 1.0)
        .with_disk_manager_builder(disk)
        .build_arc()
        .map_err(engine)?;
    Ok(SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(1))
        .with_runtime_env(runtime)
        .with_optimizer_rules(planning::timed_rules(control)))
}

fn runtime() -> Result<tokio::runtime::Runtime, SearchError> {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|e| SearchError::Engine(e.to_string()))
}

/// Runs a plan and hands on what comes, until it is enough. The time that `take` needs is not the
/// search's; `made` is how many times as much as a row the plan may make of it. Out: why the plan ended
/// early, if it did.
fn execute(
    frame: DataFrame,
    request: &SearchRequest,
    (control, made): (&Control, u64),
    take: &mut dyn FnMut(RecordBatch) -> Result<ControlFlow<()>, SearchError>,
) -> Result<Option<&'static str>, SearchError> {
    let bytes_max = request.memory_bytes_max.max(BATCH_BYTES_LEAST);
    let watch = Arc::new(Watch::new(control.clone(), bytes_max, made));
    let runtime = runtime()?;
    let context = Arc::new(frame.task_ctx());
    let plan = match runtime.block_on(frame.create_physical_plan()) {
        Ok(plan) => watched(plan, &watch).map_err(engine)?,
        Err(error) => match planning::stopped(&error) {
            Some(why) => return Ok(Some(why)),
            None => return Err(engine(error)),
        },
    };
    let mut stream = runtime.block_on(async { execute_stream(plan, context).map_err(engine) })?;
    // Whoever takes rows may wait for a reader, which must not happen inside the runtime.
    while let Some(batch) = runtime.block_on(stream.next()) {
        let batch = batch.map_err(engine)?;
        let began = Instant::now();
        if take(batch)?.is_break() {
            break;
        }
        control.allow(began.elapsed());
    }
    Ok(watch.stopped())
}

/// What the pass leaves behind for after the engine has run.
#[derive(Default)]
pub(crate) struct Shared {
    /// Of each pass; a statement may read its table several times.
    passes: Vec<Counters>,
    units: Vec<Unit>,
}

impl Shared {
    /// Of all passes together.
    fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        self.passes.iter().for_each(|pass| sum.add(pass));
        sum
    }
}

/// The pass as a partition of a table. It can be executed once.
struct Source {
    schema: SchemaRef,
    feeds: Vec<Feed>,
    /// Rows that are alike come as one, with their number in the last column.
    counted: bool,
    scan: Mutex<Option<Scan>>,
    shared: Arc<Mutex<Shared>>,
}

/// Numbers of texts over all units of a pass, for each list of names that has some. Comparing numbers
/// costs the engine a fraction of comparing texts.
#[derive(Default)]
struct Ids {
    known: Vec<HashMap<Box<str>, u64>>,
    /// Takes part in the request's limit of memory.
    memory: Option<MemoryReservation>,
}

impl Ids {
    /// Memory of a text beside its bytes: its entry, and the table's free places.
    const ENTRY_BYTES: usize = 56;

    fn of(feeds: &[Feed], context: &TaskContext) -> Self {
        let lists = feeds.iter().filter(|feed| matches!(feed, Feed::Id(_)));
        let consumer = MemoryConsumer::new("distinct values");
        let memory = consumer.register(context.memory_pool());
        Self { known: lists.map(|_| HashMap::new()).collect(), memory: Some(memory) }
    }

    /// The numbers of the `at`-th list for some rows.
    fn numbers(&mut self, at: usize, coded: &Coded, rows: &[u32]) -> Result<ArrayRef, SearchError> {
        let Some(known) = self.known.get_mut(at) else {
            return Ok(Arc::new(UInt64Array::new_null(rows.len())));
        };
        let mut of_code: Vec<Option<u64>> = vec![None; coded.size() as usize];
        let mut out = Vec::with_capacity(rows.len());
        for row in rows {
            let code = coded.codes[*row as usize];
            let Some(place) = of_code.get_mut(code as usize) else {
                out.push(None);
                continue;
            };
            if place.is_none()
                && let Some(text) = coded.text(code)
            {
                let next = known.len() as u64;
                *place = Some(match known.get(text) {
                    Some(number) => *number,
                    None => {
                        if let Some(memory) = &mut self.memory {
                            memory.try_grow(text.len() + Self::ENTRY_BYTES).map_err(engine)?;
                        }
                        known.insert(text.into(), next);
                        next
                    }
                });
            }
            out.push(*place);
        }
        Ok(Arc::new(UInt64Array::from(out)))
    }
}

impl Source {
    fn new(scan: Scan, feeds: &Feeds, shared: Arc<Mutex<Shared>>) -> Self {
        let (counted, feeds) = (feeds.counted, &feeds.list);
        let fields = feeds
            .iter()
            .enumerate()
            .map(|(i, feed)| Field::new(format!("f{i}"), feed.data_type(), true))
            .chain(counted.then(|| Field::new(COUNT_COLUMN, DataType::Int64, true)));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { schema, feeds: feeds.clone(), counted, scan: Mutex::new(Some(scan)), shared }
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

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (schema, feeds, counted) = (self.schema.clone(), self.feeds.clone(), self.counted);
        let ids = Mutex::new(Ids::of(&feeds, &context));
        let columns = move |selected: &mut Selected, unit: usize| {
            let arrays = feed(selected, unit, &feeds, counted, &mut ids.lock())?;
            let rows = arrays.first().map_or(selected.rows.len(), |array| array.len());
            batch(&schema, arrays, rows)
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
    let pass = shared.lock().passes.len();
    shared.lock().passes.push(Counters::default());
    let batches = std::iter::from_fn(move || {
        let result = next_batch(scan.as_mut()?, &shared, pass, &columns).transpose();
        if !matches!(result, Some(Ok(_))) {
            scan = None;
        }
        Some(result?.map_err(|e| DataFusionError::External(Box::new(e))))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches)))
}

/// The columns of the next unit that has matching rows and can be read.
fn next_batch(
    scan: &mut Scan,
    shared: &Mutex<Shared>,
    pass: usize,
    columns: &impl Fn(&mut Selected, usize) -> Result<RecordBatch, SearchError>,
) -> Result<Option<RecordBatch>, SearchError> {
    loop {
        let next = scan.next(None);
        let mut shared = shared.lock();
        shared.passes[pass] = scan.counters;
        let Some(mut selected) = next? else { return Ok(None) };
        shared.units.push(selected.unit);
        match columns(&mut selected, shared.units.len() - 1) {
            Err(SearchError::Store(error)) => {
                scan.pass_over(selected.unit, &error);
                shared.passes[pass] = scan.counters;
            }
            result => return result.map(Some),
        }
    }
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

/// The columns of some selected rows; with `counted`, rows that are alike become one with a count.
fn feed(
    selected: &mut Selected,
    unit: usize,
    feeds: &[Feed],
    counted: bool,
    ids: &mut Ids,
) -> Result<Vec<ArrayRef>, SearchError> {
    let rows = selected.rows.len();
    let mut coded: Vec<(&[Box<str>], Coded)> = Vec::new();
    let mut buckets: Vec<Coded> = Vec::new();
    let mut starts: Vec<Vec<i64>> = Vec::new();
    for feed in feeds {
        match feed {
            Feed::Text(names) | Feed::Number(names) | Feed::Id(names)
                if !coded.iter().any(|(n, _)| *n == names.as_slice()) =>
            {
                coded.push((names.as_slice(), selected.coded(names)?));
            }
            Feed::Bucket(span) => {
                let times = selected.times()?.into_iter();
                starts.push(times.map(|t| t.div_euclid(*span).saturating_mul(*span)).collect());
            }
            _ => {}
        }
    }
    for starts in &starts {
        buckets.push(Coded::of_numbers(starts));
    }
    let (chosen, counts) = match counted {
        true => {
            let mut columns: Vec<(&[u32], u32)> =
                coded.iter().map(|(_, c)| (&c.codes[..], c.size())).collect();
            columns.extend(buckets.iter().map(|c| (&c.codes[..], c.size())));
            if feeds.contains(&Feed::Time) { one_each(rows) } else { alike(&columns, rows) }
        }
        false => one_each(rows),
    };
    let mut out: Vec<ArrayRef> = Vec::with_capacity(feeds.len() + 1);
    let mut bucket = starts.iter();
    let mut lists = 0;
    for feed in feeds {
        let column = |names: &[Box<str>]| coded.iter().find(|(n, _)| *n == names);
        out.push(match feed {
            Feed::Text(names) => match column(names) {
                Some((_, coded)) => coded.texts(&chosen),
                None => text_array(selected, names)?,
            },
            Feed::Number(names) => match column(names) {
                Some((_, coded)) => coded.numbers(&chosen),
                None => Arc::new(Float64Array::new_null(chosen.len())),
            },
            Feed::Id(names) => {
                lists += 1;
                match column(names) {
                    Some((_, coded)) => ids.numbers(lists - 1, coded, &chosen)?,
                    None => Arc::new(UInt64Array::new_null(chosen.len())),
                }
            }
            Feed::Time => Arc::new(Int64Array::from(selected.times()?)),
            Feed::Bucket(_) => {
                let starts = bucket.next().map_or(&[][..], |starts| starts);
                let chosen = chosen.iter().map(|row| starts[*row as usize]);
                Arc::new(Int64Array::from_iter_values(chosen))
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
    if counted {
        out.push(Arc::new(Int64Array::from(counts)));
    }
    Ok(out)
}

/// Values as text: one as it is, several as a JSON array, null as nothing.
pub(crate) fn text_array(
    selected: &mut Selected,
    names: &[Box<str>],
) -> Result<ArrayRef, SearchError> {
    let rows: Vec<u32> = (0..selected.rows.len() as u32).collect();
    Ok(selected.coded(names)?.texts(&rows))
}

/// `@timestamp` and the like as a column of times.
pub(crate) fn time_array(times: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC"))
}

/// The columns that pipes name before anything is aggregated.
struct Feeds {
    list: Vec<Feed>,
    /// Whether the first thing done to rows is to count them in groups.
    counted: bool,
}

/// How many rows one row stands for, in a counted table.
const COUNT_COLUMN: &str = "n";

fn one_each(rows: usize) -> (Vec<u32>, Vec<i64>) {
    ((0..rows as u32).collect(), vec![1; rows])
}

impl Feeds {
    fn of(pipes: &[Pipe], dict: &Dictionary) -> Self {
        let counted = match pipes.first() {
            Some(Pipe::Stats { aggregates, .. } | Pipe::Timechart { aggregates, .. }) => {
                aggregates.iter().all(|a| a.function.counts_alike())
            }
            Some(Pipe::Top { .. }) => true,
            _ => false,
        };
        let mut feeds = Feeds { list: Vec::new(), counted };
        let mut whole_events = true;
        let joins = pipes.iter().any(|p| matches!(p, Pipe::Join { .. } | Pipe::Lookup { .. }));
        for pipe in pipes {
            let mut text = |name: &String| feeds.add(Feed::Text(answers(dict, name)));
            match pipe {
                Pipe::Stats { aggregates, by } | Pipe::Timechart { aggregates, by, .. } => {
                    by.iter().for_each(&mut text);
                    let as_text = aggregates.iter().filter(|a| !is_told_apart(dict, a));
                    as_text.filter_map(|a| a.field.as_ref()).for_each(&mut text);
                    let told_apart = aggregates.iter().filter(|a| is_told_apart(dict, a));
                    for field in told_apart.filter_map(|a| a.field.as_ref()) {
                        feeds.add(Feed::Id(answers(dict, field)));
                    }
                    let of_numbers = aggregates.iter().filter(|a| uses_numbers(a.function));
                    for field in of_numbers.filter_map(|a| a.field.as_ref()) {
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
                Pipe::Fields(names) if joins => names.iter().for_each(&mut text),
                Pipe::Join { .. } | Pipe::Lookup { .. } => whole_events = false,
                Pipe::Where(_) | Pipe::Head(_) | Pipe::Fields(_) => {}
            }
            if !whole_events {
                break;
            }
        }
        let uses_time = |pipe: &Pipe| match pipe {
            Pipe::Stats { aggregates, .. } | Pipe::Timechart { aggregates, .. } => {
                aggregates.iter().any(|a| {
                    let ordered =
                        matches!(a.function, AggregateFunction::First | AggregateFunction::Last);
                    ordered || a.field.as_ref().is_some_and(|f| is_time(dict, f))
                })
            }
            Pipe::Top { by, .. } => by.iter().any(|f| is_time(dict, f)),
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

/// The filter of a query with the `where` pipes that belong to it, and the other pipes: `where` may
/// stand after `sort` and `fields`, which change nothing about which events match.
pub(crate) fn leading(query: &Query) -> (Plan, Vec<Pipe>) {
    let mut parts = vec![query.filter.clone()];
    let mut rest = Vec::new();
    let mut events = true;
    for pipe in &query.pipes {
        match pipe {
            Pipe::Where(plan) if events => parts.push(plan.clone()),
            other => {
                events &= matches!(other, Pipe::Sort(_) | Pipe::Fields(_));
                rest.push(other.clone());
            }
        }
    }
    (Plan::and(parts), rest)
}

/// Whether a function looks at the numbers that texts are.
fn uses_numbers(function: AggregateFunction) -> bool {
    use AggregateFunction::*;
    match function {
        Sum | Avg | Percentile(_) | Min | Max => true,
        Count | Dc | Values | First | Last => false,
    }
}

/// Whether only the number of a field's distinct values counts.
fn is_told_apart(dict: &Dictionary, aggregate: &Aggregate) -> bool {
    let field = aggregate.field.as_ref();
    aggregate.function == AggregateFunction::Dc && field.is_some_and(|f| !is_time(dict, f))
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
    /// Several texts; cannot be sorted by.
    List,
    /// Text that is shown as a number where it is one.
    Either,
    Number,
    Time,
}

/// One of the engine's aggregates and the name that its column gets.
type Part = (String, Expr);

struct Build<'a> {
    context: &'a SessionContext,
    snapshot: Snapshot,
    request: &'a SearchRequest,
    dict: &'a Dictionary,
    /// Number of joins so far: names their columns.
    joins: usize,
    feeds: Feeds,
    frame: DataFrame,
    /// What the passes of joined searches leave behind.
    joined: Vec<Arc<Mutex<Shared>>>,
    control: Control,
    mode: Mode,
    /// The order that the rows must have at the end.
    order: Option<Vec<SortExpr>>,
    oldest_first: bool,
}

impl<'a> Build<'a> {
    /// The frame that the pipes make of a pass.
    fn of(
        context: &'a SessionContext,
        scan: Scan,
        request: &'a SearchRequest,
        pipes: &[Pipe],
        shared: Arc<Mutex<Shared>>,
    ) -> Result<Self, SearchError> {
        let (snapshot, control) = (scan.snapshot.clone(), scan.control().clone());
        let feeds = Feeds::of(pipes, &request.dictionary);
        let source = Source::new(scan, &feeds, shared);
        let table = source.schema.clone();
        let provider = StreamingTable::try_new(table, vec![Arc::new(source)]).map_err(engine)?;
        let frame = context.read_table(Arc::new(provider)).map_err(engine)?;
        let mut build = Build {
            context,
            snapshot,
            request,
            dict: &request.dictionary,
            joins: 0,
            feeds,
            frame,
            joined: Vec::new(),
            control,
            mode: Mode::Events { fields: None },
            order: None,
            oldest_first: request.oldest_first,
        };
        for pipe in pipes {
            build.pipe(pipe)?;
        }
        Ok(build)
    }

    fn pipe(&mut self, pipe: &Pipe) -> Result<(), SearchError> {
        match pipe {
            Pipe::Where(plan) => self.where_table(plan),
            Pipe::Join { on, other, inner } => self.join(on, other, *inner),
            Pipe::Lookup { table, field, key, output } => {
                self.lookup(table, field, key.as_deref(), output)
            }
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

    /// How many events a row stands for, while rows are counted events.
    fn counts(&self) -> Option<Expr> {
        let counted = self.feeds.counted && matches!(self.mode, Mode::Events { .. });
        counted.then(|| ident(COUNT_COLUMN))
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
        let mut parts: Vec<Part> = Vec::new();
        let mut outputs: Vec<Expr> = columns.iter().map(|c| ident(&c.inner)).collect();
        for (at, aggregate) in aggregates.iter().enumerate() {
            let (expr, shows) = self.aggregate(at, aggregate, &mut parts)?;
            let inner = format!("a{at}");
            outputs.push(expr.alias(&inner));
            columns.push(Column { name: aggregate.name.clone(), inner, shows });
        }
        let (names, parts): (Vec<String>, Vec<Expr>) = parts.into_iter().unzip();
        let keys = columns.iter().take(groups.len()).map(|c| c.inner.clone());
        let names: Vec<String> = keys.chain(names).collect();
        self.change(|frame| {
            // Named afterwards: the engine has a short way for distinct values alone, which it does not
            // see behind a name.
            let frame = frame.aggregate(groups, parts)?;
            let named = frame.schema().columns().into_iter().zip(names);
            let named: Vec<Expr> = named.map(|(c, name)| Expr::Column(c).alias(name)).collect();
            frame.select(named)?.select(outputs)
        })?;
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
        parts: &mut Vec<Part>,
    ) -> Result<(Expr, Shows), SearchError> {
        use AggregateFunction::*;
        let mut part = |expr: Expr| {
            if let Some((name, _)) = parts.iter().find(|(_, known)| *known == expr) {
                return ident(name);
            }
            let name = format!("p{at}_{}", parts.len());
            parts.push((name.clone(), expr));
            ident(name)
        };
        let Some(field) = &aggregate.field else {
            return match aggregate.function {
                Count => match self.counts() {
                    Some(n) => Ok((zero_if_none(part(sum(n)))?, Shows::Number)),
                    None => Ok((part(count(lit(1i64))), Shows::Number)),
                },
                _ => Err(SearchError::Pipes(format!("`{}` needs a field", aggregate.name))),
            };
        };
        let (column, shows) = self.column(field)?;
        let counted = self.counts();
        Ok(match aggregate.function {
            Count => match counted {
                Some(n) => {
                    let present = when(column.is_not_null(), n).end().map_err(engine)?;
                    (zero_if_none(part(sum(present)))?, Shows::Number)
                }
                None => (part(count(column)), Shows::Number),
            },
            Dc => {
                let events = matches!(self.mode, Mode::Events { .. });
                let column = match events && is_told_apart(self.dict, aggregate) {
                    true => self.feeds.column(&Feed::Id(answers(self.dict, field))),
                    false => column,
                };
                (part(count_distinct(column)), Shows::Number)
            }
            Sum => {
                let numbers = self.numbers(field)?;
                let numbers = match counted {
                    Some(n) => numbers * cast(n, DataType::Float64),
                    None => numbers,
                };
                (part(sum(numbers)), Shows::Number)
            }
            Avg => match counted {
                Some(n) => {
                    let (numbers, n) = (self.numbers(field)?, cast(n, DataType::Float64));
                    let present = when(numbers.clone().is_not_null(), n.clone()).end();
                    let total = part(sum(numbers * n));
                    (total / part(sum(present.map_err(engine)?)), Shows::Number)
                }
                None => (part(avg(self.numbers(field)?)), Shows::Number),
            },
            Percentile(thousandths) => {
                let numbers = self.numbers(field)?.sort(true, false);
                let share = lit(f64::from(thousandths) / 1_000.0);
                (part(approx_percentile_cont(numbers, share, None)), Shows::Number)
            }
            Values => {
                let all = array_agg_udaf().call(vec![column.clone()]).distinct();
                let all = all.filter(column.is_not_null()).build().map_err(engine)?;
                (part(all), Shows::List)
            }
            First | Last => {
                if !self.has(&Feed::Time) || matches!(self.mode, Mode::Table { .. }) {
                    let text = "`first` and `last` go by the time of events: use them in the first \
                                aggregating pipe";
                    return Err(SearchError::Pipes(text.into()));
                }
                let ascending = aggregate.function == First;
                let order = vec![self.feeds.column(&Feed::Time).sort(ascending, false)];
                let one = first_value_udaf().call(vec![column.clone()]).order_by(order);
                let one = one.filter(column.is_not_null()).build().map_err(engine)?;
                (part(one), shows)
            }
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

    /// Turns events into a table of the fields that were chosen.
    fn as_table(&mut self, pipe: &str) -> Result<(), SearchError> {
        let Mode::Events { fields } = &self.mode else { return Ok(()) };
        let Some(names) = fields.clone() else {
            let text = format!("`{pipe}` works on columns: put `fields` or `stats` before it");
            return Err(SearchError::Pipes(text));
        };
        self.apply_order()?;
        let mut columns = Vec::new();
        // What the rows came with stays, because their order may name it.
        let mut exprs: Vec<Expr> =
            (0..self.feeds.list.len()).map(|at| ident(format!("f{at}"))).collect();
        for (at, name) in names.iter().enumerate() {
            let (expr, shows) = self.column(name)?;
            let inner = format!("e{at}");
            exprs.push(expr.alias(&inner));
            columns.push(Column { name: name.clone(), inner, shows });
        }
        self.change(|frame| frame.select(exprs))?;
        self.mode = Mode::Table { columns };
        Ok(())
    }

    fn join(&mut self, on: &[String], other: &Query, inner: bool) -> Result<(), SearchError> {
        self.as_table("join")?;
        let (filter, pipes) = leading(other);
        let control = self.control.clone();
        let scan = self.request.scan_under(self.snapshot.clone(), filter, control);
        let shared = Arc::default();
        let mut right = Build::of(self.context, scan, self.request, &pipes, Arc::clone(&shared))?;
        right.as_table("join")?;
        self.joined.push(shared);
        self.joined.append(&mut right.joined);
        let Mode::Table { columns: theirs } = &right.mode else { return Ok(()) };
        self.attach(right.frame.clone(), theirs.clone(), on, on, inner)
    }

    fn lookup(
        &mut self,
        table: &str,
        field: &str,
        key: Option<&str>,
        output: &[String],
    ) -> Result<(), SearchError> {
        self.as_table("lookup")?;
        let tables = &self.request.lookups;
        let found = tables.get(table).ok_or_else(|| {
            let names: Vec<&str> = tables.keys().map(|name| &**name).collect();
            SearchError::Pipes(format!("no table `{table}`; there are: {}", names.join(", ")))
        })?;
        let (batch, columns) = found.batch(key, output)?;
        let frame = self.context.read_batch(batch).map_err(engine)?;
        let theirs = columns.first().map(|c| c.0.clone()).unwrap_or_default();
        let columns = columns
            .into_iter()
            .map(|(name, inner)| Column { name, inner, shows: Shows::Text })
            .collect();
        self.attach(frame, columns, &[field.to_owned()], &[theirs], false)
    }

    /// Adds the columns of another table, matched by text.
    fn attach(
        &mut self,
        frame: DataFrame,
        theirs: Vec<Column>,
        on: &[String],
        their_on: &[String],
        inner: bool,
    ) -> Result<(), SearchError> {
        let Mode::Table { columns: ours } = &self.mode else { return Ok(()) };
        let mut columns = ours.clone();
        self.joins += 1;
        let (mut right, mut keys) = (Vec::new(), Vec::new());
        let key = |expr: Expr| lower(cast(expr, DataType::Utf8));
        for (at, (our, their)) in on.iter().zip(their_on).enumerate() {
            let name = format!("k{}_{at}", self.joins);
            let column = theirs.iter().find(|c| c.name == *their).ok_or_else(|| {
                SearchError::Pipes(format!("the other side of the join has no column `{their}`"))
            })?;
            right.push(key(ident(&column.inner)).alias(&name));
            keys.push(key(self.column(our)?.0).eq(ident(&name)));
        }
        for column in theirs.iter().filter(|c| !their_on.contains(&c.name)) {
            if columns.iter().any(|c| c.name == column.name) {
                let text =
                    format!("both sides have a column `{}`: rename it with `as`", column.name);
                return Err(SearchError::Pipes(text));
            }
            let inner = format!("j{}_{}", self.joins, column.inner);
            right.push(ident(&column.inner).alias(&inner));
            columns.push(Column { inner, ..column.clone() });
        }
        let right = frame.select(right).map_err(engine)?;
        let kind = if inner { JoinType::Inner } else { JoinType::Left };
        let order = self.order.take().unwrap_or_else(|| self.natural_order());
        self.change(|frame| frame.join_on(right, kind, keys))?;
        // The order is computed into columns of their own: the engine loses sight of an expression
        // that it sorted by on one side of a join.
        let mut all: Vec<Expr> =
            self.frame.schema().fields().iter().map(|f| ident(f.name())).collect();
        let mut kept = Vec::new();
        for (at, key) in order.into_iter().enumerate() {
            let name = format!("o{}_{at}", self.joins);
            all.push(key.expr.alias(&name));
            kept.push(ident(name).sort(key.asc, key.nulls_first));
        }
        self.change(|frame| frame.select(all))?;
        self.mode = Mode::Table { columns };
        self.order = Some(kept);
        Ok(())
    }

    /// A filter over the columns of a table.
    fn where_table(&mut self, plan: &Plan) -> Result<(), SearchError> {
        if matches!(self.mode, Mode::Events { .. }) {
            let text = "`where` over events must stand before head and dedup";
            return Err(SearchError::Pipes(text.into()));
        }
        let expr = self.condition(plan, &plan.root)?;
        self.change(|frame| frame.filter(expr))
    }

    fn condition(&self, plan: &Plan, node: &Node) -> Result<Expr, SearchError> {
        let all = |parts: &[Node],
                   join: fn(Expr, Expr) -> Expr,
                   none: bool|
         -> Result<Expr, SearchError> {
            let parts = parts.iter().map(|part| self.condition(plan, part));
            let parts = parts.collect::<Result<Vec<_>, _>>()?;
            Ok(parts.into_iter().reduce(join).unwrap_or(lit(none)))
        };
        match node {
            Node::Const(value) => Ok(lit(*value)),
            Node::Leaf(index) => self.leaf_condition(&plan.leaves[*index as usize]),
            Node::And(parts) => all(parts, Expr::and, true),
            Node::Or(parts) => all(parts, Expr::or, false),
            Node::Not(part) => Ok(self.condition(plan, part)?.is_not_true()),
            Node::Named(_, part) => self.condition(plan, part),
            Node::AtLeast(..) => Err(SearchError::Pipes("`where` cannot count conditions".into())),
        }
    }

    fn leaf_condition(&self, leaf: &filter::Leaf) -> Result<Expr, SearchError> {
        let Target::Field(name) = &leaf.target else {
            let text = "`where` after an aggregating pipe needs a column: write `column:value`";
            return Err(SearchError::Pipes(text.into()));
        };
        let (column, shows) = self.column(name)?;
        let text = lower(cast(column.clone(), DataType::Utf8));
        let expr = match &leaf.test {
            Test::Exists => column.is_not_null(),
            Test::Null => column.is_null(),
            Test::Text { op, folded, .. } => {
                let folded = String::from_utf8_lossy(folded).into_owned();
                let like = folded.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
                match op {
                    TextOp::Equals => text.eq(lit(folded)),
                    TextOp::Prefix => text.like(lit(format!("{like}%"))),
                    TextOp::Suffix => text.like(lit(format!("%{like}"))),
                    TextOp::Contains => text.like(lit(format!("%{like}%"))),
                }
            }
            Test::Compare { op, operand } => {
                let (left, right) = match (operand, shows) {
                    (Operand::Time(ns), Shows::Time) => (column, lit(*ns)),
                    (Operand::Number(Number::Int(n)), _) => {
                        (try_cast(column, DataType::Float64), lit(*n as f64))
                    }
                    (Operand::Number(Number::Float(n)), _) => {
                        (try_cast(column, DataType::Float64), lit(*n))
                    }
                    _ => {
                        let text = format!("column `{name}` cannot be compared with that");
                        return Err(SearchError::Pipes(text));
                    }
                };
                match op {
                    CompareOp::Lt => left.lt(right),
                    CompareOp::Le => left.lt_eq(right),
                    CompareOp::Gt => left.gt(right),
                    CompareOp::Ge => left.gt_eq(right),
                    CompareOp::Eq => left.eq(right),
                }
            }
            Test::Regex { .. } | Test::Cidr(_) | Test::Field { .. } => {
                let text = format!(
                    "`{}` is not possible on a table's column: filter events before aggregating",
                    leaf.test.shown()
                );
                return Err(SearchError::Pipes(text));
            }
        };
        Ok(expr.is_true())
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
    fn finish(mut self, limit: Option<usize>) -> Result<(DataFrame, Mode), SearchError> {
        self.apply_order()?;
        let more = usize::from(matches!(self.mode, Mode::Table { .. }));
        if let Some(limit) = limit {
            self.change(|frame| frame.limit(0, Some(limit + more)))?;
        }
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
        Shows::Text | Shows::Either => {
            // The engine takes a cast's order for that of its input and drops the second of two such
            // keys; it knows nothing about the order of a case.
            let number = try_cast(expr.clone(), DataType::Float64);
            let number = when(expr.clone().is_not_null(), number.clone()).end().unwrap_or(number);
            vec![number.sort(!descending, false), expr.sort(!descending, false)]
        }
        Shows::Number | Shows::Time => vec![expr.sort(!descending, false)],
        Shows::List => Vec::new(),
    }
}

fn zero_if_none(expr: Expr) -> Result<Expr, SearchError> {
    when(expr.clone().is_null(), lit(0i64)).otherwise(expr).map_err(engine)
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

/// Hands out rows of a table within the limits of the request; without a limit of rows there is none
/// of bytes either.
struct Sender<'a> {
    limit: Option<usize>,
    bytes_max: usize,
    sent_bytes: usize,
    out: &'a mut dyn FnMut(Row) -> ControlFlow<()>,
}

impl<'a> Sender<'a> {
    fn new(
        request: &SearchRequest,
        limit: Option<usize>,
        out: &'a mut dyn FnMut(Row) -> ControlFlow<()>,
    ) -> Self {
        Self { limit, bytes_max: request.memory_bytes_max, sent_bytes: 0, out }
    }

    fn send(
        &mut self,
        rows: impl Iterator<Item = String>,
        summary: &mut SearchSummary,
    ) -> ControlFlow<()> {
        for json in rows {
            if let Some(limit) = self.limit {
                let full = summary.returned as usize >= limit;
                if full || self.sent_bytes > self.bytes_max {
                    summary.partial = Some(if full { "limit" } else { "memory" }.into());
                    return ControlFlow::Break(());
                }
            }
            self.sent_bytes += json.len();
            summary.returned += 1;
            (self.out)(Row { id: None, event_ns: None, json })?;
        }
        ControlFlow::Continue(())
    }
}

fn table_json(batch: &RecordBatch, row: usize, columns: &[Column]) -> String {
    let mut json = String::from("{");
    for (at, column) in columns.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let value = shown(batch.column(at), row, column.shows);
        json.push_str(&format!("{comma}{}:{value}", quoted(&column.name)));
    }
    json.push('}');
    json
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
    if let Some(list) = array.as_list_opt::<i32>() {
        let values = list.value(row);
        let Some(texts) = values.as_string_opt::<i32>() else { return "null".into() };
        let mut texts: Vec<&str> = texts.iter().flatten().collect();
        texts.sort_unstable();
        let texts: Vec<String> = texts.into_iter().map(quoted).collect();
        return format!("[{}]", texts.join(","));
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

impl LookupTable {
    /// The key, in lower case and each once, and the columns asked for: names and inner names.
    fn batch(
        &self,
        key: Option<&str>,
        output: &[String],
    ) -> Result<(RecordBatch, Vec<(String, String)>), SearchError> {
        let place = |name: &str| {
            self.columns.iter().position(|c| c == name).ok_or_else(|| {
                let names = self.columns.join(", ");
                SearchError::Pipes(format!("the table has no column `{name}`; there are: {names}"))
            })
        };
        let key = match key {
            Some(name) => place(name)?,
            None => 0,
        };
        let mut places = vec![key];
        match output.is_empty() {
            true => places.extend((0..self.columns.len()).filter(|at| *at != key)),
            false => {
                for name in output {
                    places.push(place(name)?);
                }
            }
        }
        let mut seen = HashSet::new();
        let rows: Vec<&Vec<String>> = self
            .rows
            .iter()
            .filter(|row| seen.insert(event::text::fold(row.get(key).map_or("", |k| k))))
            .collect();
        let columns: Vec<(String, String)> = places
            .iter()
            .enumerate()
            .map(|(at, place)| {
                let name = self.columns.get(*place).cloned().unwrap_or_default();
                (name, format!("l{at}"))
            })
            .collect();
        let fields = columns.iter().map(|(_, inner)| Field::new(inner, DataType::Utf8, true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let arrays = places.iter().map(|place| {
            let texts = rows.iter().map(|row| Some(row.get(*place).map_or("", |text| text)));
            Arc::new(texts.collect::<StringArray>()) as ArrayRef
        });
        Ok((batch(&schema, arrays.collect(), rows.len())?, columns))
    }
}
