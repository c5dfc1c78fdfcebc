//! SQL as it is written, over the table `events`.

use super::answer::Sender;
use super::feed::Shared;
use super::{engine, execute, runtime, session};
use crate::error::SearchError;
use crate::planning;
use crate::scan::Snapshot;
use crate::search::{LIMIT_MAX, Row, SearchRequest, SearchSummary};
use arrow::array::RecordBatch;
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::dataframe::DataFrame;
use datafusion::execution::context::SQLOptions;
use datafusion::prelude::SessionContext;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// Functions that make much of little, which no limit of memory sees in time.
const AMPLIFYING: [&str; 3] = ["repeat", "lpad", "rpad"];
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
    let memory = snapshot.memory.clone();
    let table =
        crate::table::EventsTable::new(snapshot, request.clone(), control.clone(), shared.clone())?;
    let state = session(request, &memory, &control)?.with_default_features().build();
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
