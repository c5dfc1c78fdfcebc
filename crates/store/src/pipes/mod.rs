//! Pipes and SQL: matching rows stream into DataFusion as a table of just the columns that are named.
//!
//! ```text
//! Scan --selected rows--> feed (f0, f1, ...) --DataFusion: group, sort, limit--> rows
//!                                            \--events: only their places; read whole afterwards
//! ```
//! Columns have numbers inside, so that no field name has to survive SQL's quoting. One thread runs
//! it all; sorting and grouping stay within the request's memory and never spill to disk, where event
//! data would lie about in a folder for temporary files.

mod aggregate;
mod answer;
mod attach;
mod build;
mod condition;
mod feed;
mod feeds;
mod statement;

pub(crate) use feed::{Shared, batch, stream_of, time_array};
pub(crate) use statement::sql;

use crate::budget::{Budget, SearchPool};
use crate::error::SearchError;
use crate::planning;
use crate::scan::{Control, Scan, Unit};
use crate::search::{Output, Place, Portion, Row, SearchRequest, SearchSummary};
use crate::watched::{Watch, watched};
use answer::{Sender, table_json};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use build::{Build, Mode};
use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{SessionConfig, SessionContext};
use filter::Plan;
use filter::search::{Pipe, Query};
use futures::StreamExt;
use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

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
    let state = session(request, &snapshot.memory, &control)?
        .with_aggregate_functions(vec![first_value_udaf()]);
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
            // Nothing comes back to the events themselves.
            drop(snapshot);
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

/// An engine for one search, without what only SQL needs: its functions by their names.
fn session(
    request: &SearchRequest,
    together: &Arc<Budget>,
    control: &Control,
) -> Result<SessionStateBuilder, SearchError> {
    let pool = SearchPool::of(request.memory_bytes_max, together.clone());
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
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

/// Least of what one batch may have: a row group is in memory while it is searched, which no limit
/// counts.
const BATCH_BYTES_LEAST: usize = 256 << 20;

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
