//! The pipes that count: `stats`, `timechart`, `top` and `rare`.

use super::build::{Build, Column, Mode, Shows, sort_by};
use super::engine;
use super::feed::Feed;
use super::feeds::is_told_apart;
use crate::error::SearchError;
use crate::kernel::answers;
use arrow::datatypes::DataType;
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_aggregate::expr_fn::{
    approx_percentile_cont, avg, count, count_distinct, max, min, sum,
};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::{Expr, ExprFunctionExt, cast, lit, when};
use datafusion::prelude::ident;
use filter::search::{Aggregate, AggregateFunction};

/// The engine's aggregates, each once, and the names that their columns get.
#[derive(Default)]
struct Parts {
    list: Vec<(String, Expr)>,
}

impl Parts {
    /// The column of an aggregate.
    fn add(&mut self, expr: Expr) -> Expr {
        if let Some((name, _)) = self.list.iter().find(|(_, known)| *known == expr) {
            return ident(name);
        }
        let name = format!("p{}", self.list.len());
        self.list.push((name.clone(), expr));
        ident(name)
    }
}

impl Build<'_> {
    pub(super) fn stats(
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
        let mut parts = Parts::default();
        let mut outputs: Vec<Expr> = columns.iter().map(|c| ident(&c.inner)).collect();
        for (at, aggregate) in aggregates.iter().enumerate() {
            let (expr, shows) = self.aggregate(aggregate, &mut parts)?;
            let inner = format!("a{at}");
            outputs.push(expr.alias(&inner));
            columns.push(Column { name: aggregate.name.clone(), inner, shows });
        }
        let (names, parts): (Vec<String>, Vec<Expr>) = parts.list.into_iter().unzip();
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
        aggregate: &Aggregate,
        parts: &mut Parts,
    ) -> Result<(Expr, Shows), SearchError> {
        use AggregateFunction::*;
        let Some(field) = &aggregate.field else {
            return match (aggregate.function, self.counts()) {
                (Count, Some(n)) => Ok((zero_if_none(parts.add(sum(n)))?, Shows::Number)),
                (Count, None) => Ok((parts.add(count(lit(1i64))), Shows::Number)),
                _ => Err(SearchError::Pipes(format!("`{}` needs a field", aggregate.name))),
            };
        };
        match aggregate.function {
            Count | Dc => Ok((self.count_of(aggregate, field, parts)?, Shows::Number)),
            Sum | Avg | Percentile(_) => {
                let numbers = self.numbers(field)?;
                Ok((self.of_numbers(aggregate.function, numbers, parts)?, Shows::Number))
            }
            Values => {
                let (column, _) = self.column(field)?;
                let all = array_agg_udaf().call(vec![column.clone()]).distinct();
                let all = all.filter(column.is_not_null()).build().map_err(engine)?;
                Ok((parts.add(all), Shows::List))
            }
            First | Last => self.by_time(aggregate.function == First, field, parts),
            Min | Max => self.extreme(aggregate.function == Min, field, parts),
        }
    }

    /// How many rows have a value, or how many values there are.
    fn count_of(
        &self,
        aggregate: &Aggregate,
        field: &str,
        parts: &mut Parts,
    ) -> Result<Expr, SearchError> {
        let (column, _) = self.column(field)?;
        if aggregate.function == AggregateFunction::Dc {
            let events = matches!(self.mode, Mode::Events { .. });
            let column = match events && is_told_apart(self.dict, aggregate) {
                true => self.feeds.column(&Feed::Id(answers(self.dict, field))),
                false => column,
            };
            return Ok(parts.add(count_distinct(column)));
        }
        match self.counts() {
            Some(n) => {
                let present = when(column.is_not_null(), n).end().map_err(engine)?;
                zero_if_none(parts.add(sum(present)))
            }
            None => Ok(parts.add(count(column))),
        }
    }

    /// A sum, a mean or a rank; a counted row weighs as many events as it stands for.
    fn of_numbers(
        &self,
        function: AggregateFunction,
        numbers: Expr,
        parts: &mut Parts,
    ) -> Result<Expr, SearchError> {
        let weight = self.counts().map(|n| cast(n, DataType::Float64));
        Ok(match (function, weight) {
            (AggregateFunction::Percentile(thousandths), _) => {
                let share = lit(f64::from(thousandths) / 1_000.0);
                parts.add(approx_percentile_cont(numbers.sort(true, false), share, None))
            }
            (AggregateFunction::Avg, Some(n)) => {
                let present = when(numbers.clone().is_not_null(), n.clone()).end();
                let total = parts.add(sum(numbers * n));
                total / parts.add(sum(present.map_err(engine)?))
            }
            (AggregateFunction::Avg, None) => parts.add(avg(numbers)),
            (_, Some(n)) => parts.add(sum(numbers * n)),
            (_, None) => parts.add(sum(numbers)),
        })
    }

    /// The value of the earliest or of the latest event that has one.
    fn by_time(
        &self,
        earliest: bool,
        field: &str,
        parts: &mut Parts,
    ) -> Result<(Expr, Shows), SearchError> {
        let (column, shows) = self.column(field)?;
        if !self.has(&Feed::Time) || matches!(self.mode, Mode::Table { .. }) {
            let text = "`first` and `last` go by the time of events: use them in the first \
                        aggregating pipe";
            return Err(SearchError::Pipes(text.into()));
        }
        let order = vec![self.feeds.column(&Feed::Time).sort(earliest, false)];
        let one = first_value_udaf().call(vec![column.clone()]).order_by(order);
        let one = one.filter(column.is_not_null()).build().map_err(engine)?;
        Ok((parts.add(one), shows))
    }

    /// The least or the greatest value: by number if all values are numbers.
    fn extreme(
        &self,
        least: bool,
        field: &str,
        parts: &mut Parts,
    ) -> Result<(Expr, Shows), SearchError> {
        let (column, shows) = self.column(field)?;
        let best = if least { min } else { max };
        if shows == Shows::Time || shows == Shows::Number {
            return Ok((parts.add(best(column)), shows));
        }
        let numbers = self.numbers(field)?;
        let all = parts.add(count(column.clone())).eq(parts.add(count(numbers.clone())));
        let number = cast(parts.add(best(numbers)), DataType::Utf8);
        let text = parts.add(best(column));
        let either = when(all, number).otherwise(text).map_err(engine)?;
        Ok((either, Shows::Either))
    }

    pub(super) fn top(&mut self, limit: u64, by: &[String], rare: bool) -> Result<(), SearchError> {
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
}

pub(super) fn zero_if_none(expr: Expr) -> Result<Expr, SearchError> {
    when(expr.clone().is_null(), lit(0i64)).otherwise(expr).map_err(engine)
}
