//! Pipes, one after the other, as the engine's plan.

use super::engine;
use super::feed::{COUNT_COLUMN, Feed, Shared, Source};
use super::feeds::{Feeds, is_time};
use crate::error::SearchError;
use crate::kernel::answers;
use crate::scan::{Control, Scan, Snapshot};
use crate::search::SearchRequest;
use arrow::datatypes::DataType;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, SortExpr, try_cast, when};
use datafusion::prelude::{SessionContext, ident};
use event::Dictionary;
use filter::search::{Pipe, SortKey};
use parking_lot::Mutex;
use std::sync::Arc;

/// What the rows are at some point of the pipes.
pub(super) enum Mode {
    Events { fields: Option<Vec<String>> },
    Table { columns: Vec<Column> },
}

/// A column of an aggregated table; `inner` is its name in the engine.
#[derive(Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) inner: String,
    pub(super) shows: Shows,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Shows {
    Text,
    /// Several texts; cannot be sorted by.
    List,
    /// Text that is shown as a number where it is one.
    Either,
    Number,
    Time,
}

pub(super) struct Build<'a> {
    pub(super) context: &'a SessionContext,
    pub(super) snapshot: Snapshot,
    pub(super) request: &'a SearchRequest,
    pub(super) dict: &'a Dictionary,
    /// Number of joins so far: names their columns.
    pub(super) joins: usize,
    pub(super) feeds: Feeds,
    pub(super) frame: DataFrame,
    /// What the passes of joined searches leave behind.
    pub(super) joined: Vec<Arc<Mutex<Shared>>>,
    pub(super) control: Control,
    pub(super) mode: Mode,
    /// The order that the rows must have at the end.
    pub(super) order: Option<Vec<SortExpr>>,
    pub(super) oldest_first: bool,
}

impl<'a> Build<'a> {
    /// The frame that the pipes make of a pass.
    pub(super) fn of(
        context: &'a SessionContext,
        scan: Scan,
        request: &'a SearchRequest,
        pipes: &[Pipe],
        shared: Arc<Mutex<Shared>>,
    ) -> Result<Self, SearchError> {
        let (snapshot, control) = (scan.snapshot.clone(), scan.control().clone());
        let feeds = Feeds::of(pipes, &request.dictionary);
        let scan = match feeds.list.contains(&Feed::Place) {
            true => scan,
            false => scan.once_through(),
        };
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

    pub(super) fn pipe(&mut self, pipe: &Pipe) -> Result<(), SearchError> {
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

    pub(super) fn change(
        &mut self,
        step: impl FnOnce(DataFrame) -> Result<DataFrame, DataFusionError>,
    ) -> Result<(), SearchError> {
        self.frame = step(self.frame.clone()).map_err(engine)?;
        Ok(())
    }

    /// The engine's column for a name, as text or whatever type it has by now.
    pub(super) fn column(&self, name: &str) -> Result<(Expr, Shows), SearchError> {
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
    pub(super) fn counts(&self) -> Option<Expr> {
        let counted = self.feeds.counted && matches!(self.mode, Mode::Events { .. });
        counted.then(|| ident(COUNT_COLUMN))
    }

    pub(super) fn has(&self, feed: &Feed) -> bool {
        self.feeds.list.contains(feed)
    }

    pub(super) fn numbers(&self, name: &str) -> Result<Expr, SearchError> {
        match &self.mode {
            Mode::Events { .. } => Ok(self.feeds.column(&Feed::Number(answers(self.dict, name)))),
            Mode::Table { .. } => Ok(try_cast(self.column(name)?.0, DataType::Float64)),
        }
    }

    pub(super) fn sort(&mut self, keys: &[SortKey]) -> Result<(), SearchError> {
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
    pub(super) fn natural_order(&self) -> Vec<SortExpr> {
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

    pub(super) fn apply_order(&mut self) -> Result<(), SearchError> {
        let order = self.order.clone().unwrap_or_else(|| self.natural_order());
        if order.is_empty() {
            return Ok(());
        }
        self.order = Some(order.clone());
        self.change(|frame| frame.sort(order))
    }

    /// Turns events into a table of the fields that were chosen.
    pub(super) fn as_table(&mut self, pipe: &str) -> Result<(), SearchError> {
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

    pub(super) fn fields(&mut self, names: &[String]) -> Result<(), SearchError> {
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

    pub(super) fn dedup(&mut self, names: &[String]) -> Result<(), SearchError> {
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
    pub(super) fn finish(mut self, limit: Option<usize>) -> Result<(DataFrame, Mode), SearchError> {
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
pub(super) fn sort_by(expr: Expr, shows: Shows, descending: bool) -> Vec<SortExpr> {
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
