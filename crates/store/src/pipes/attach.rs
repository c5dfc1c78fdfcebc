//! The pipes that bring columns of elsewhere: `join` and `lookup`.

use super::build::{Build, Column, Mode, Shows};
use super::feed::batch;
use super::{engine, leading};
use crate::error::SearchError;
use crate::search::LookupTable;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::dataframe::DataFrame;
use datafusion::functions::string::expr_fn::lower;
use datafusion::logical_expr::{Expr, JoinType, cast};
use datafusion::prelude::ident;
use filter::search::Query;
use hashbrown::HashSet;
use std::sync::Arc;

impl Build<'_> {
    pub(super) fn join(
        &mut self,
        on: &[String],
        other: &Query,
        inner: bool,
    ) -> Result<(), SearchError> {
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

    pub(super) fn lookup(
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
    pub(super) fn attach(
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
}

impl LookupTable {
    /// The key, in lower case and each once, and the columns asked for: names and inner names.
    pub(super) fn batch(
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
