//! What planning a statement may cost: the engine puts every `with` part and every sub-select in the
//! place of its name, so that a page of SQL can become a plan that is never finished.
//!
//! ```text
//! text --parsed--> statement --reads counted--> plan --expressions counted--> optimised by timed rules
//! ```
//! Both counts are of what the statement becomes once everything is in its place, and both are made
//! before anybody walks through that. What they let pass is planned under the search's own time: each
//! rule of the optimiser looks at it before it touches a part of the plan.

use crate::error::SearchError;
use crate::scan::Control;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::optimizer::{ApplyOrder, Optimizer};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{self, Ident, ObjectName, Query, Select, Visit, Visitor};
use hashbrown::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Most selects and tables of a statement with its parts in place. Hand-written ones have a dozen; the
/// plan is walked through by functions that call themselves, each some hundred bytes of a thread's two
/// megabytes of stack.
const READS_MAX: u64 = 200;
/// Most parts of all expressions and bytes of their literals, with columns in place of their names:
/// some seconds of planning, and about a hundred megabytes.
const PARTS_MAX: u64 = 100_000;
/// Deepest expression as it is written: the time of planning one grows with the square of it.
const DEPTH_MAX: usize = 500;
/// Functions whose answer can be longer than all of their arguments.
const GROWING: [&str; 3] = ["replace", "regexp_replace", "concat_ws"];

/// Refuses a statement that reads too much, counted with its parts in place.
pub(crate) fn check_reads(statement: &Statement) -> Result<(), SearchError> {
    let mut inner = statement;
    while let Statement::Explain(explain) = inner {
        inner = &explain.statement;
    }
    let Statement::Statement(statement) = inner else {
        let text = "SQL: only `select` is possible: nothing can be changed";
        return Err(SearchError::Pipes(text.into()));
    };
    let text = match statement.visit(&mut Reads::default()) {
        ControlFlow::Continue(()) => return Ok(()),
        ControlFlow::Break(TooMuch::Depth) => format!(
            "SQL: an expression is more than {DEPTH_MAX} parts deep; write `x in (1, 2)` instead of \
             `x = 1 or x = 2`, or spread it over several columns"
        ),
        ControlFlow::Break(TooMuch::Reads) => format!(
            "SQL: with its `with` parts and sub-selects in place, this reads tables more than \
             {READS_MAX} times; use each part fewer times"
        ),
    };
    Err(SearchError::Pipes(text))
}

/// Refuses a plan whose expressions become too large, counted with columns in place of their names.
/// Out: how many times as much as a row itself they may make of it.
pub(crate) fn check_parts(plan: &LogicalPlan) -> Result<u64, SearchError> {
    let size = size_of(plan);
    if size.total > PARTS_MAX {
        return Err(SearchError::Pipes(format!(
            "SQL: with columns in place of their names, its expressions have more than {PARTS_MAX} \
             parts; name a computed column fewer times, or compute it in a `group by`"
        )));
    }
    Ok(size.made)
}

/// The engine's own rules, each of which looks at the search's time and client.
pub(crate) fn timed_rules(control: &Control) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let timed = |rule| -> Arc<dyn OptimizerRule + Send + Sync> {
        Arc::new(Timed { rule, control: control.clone() })
    };
    Optimizer::new().rules.into_iter().map(timed).collect()
}

/// Why planning ended early, if that is what the error is about.
pub(crate) fn stopped(error: &DataFusionError) -> Option<&'static str> {
    match error.find_root() {
        DataFusionError::External(ours) => ours.downcast_ref::<Stopped>().map(|s| s.0),
        _ => None,
    }
}

/// Planning ended early.
#[derive(Debug, thiserror::Error)]
#[error("planning ended early: {0}")]
struct Stopped(&'static str);

#[derive(Debug)]
struct Timed {
    rule: Arc<dyn OptimizerRule + Send + Sync>,
    control: Control,
}

impl OptimizerRule for Timed {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>, DataFusionError> {
        match self.control.stop() {
            Some(why) => Err(DataFusionError::External(Box::new(Stopped(why)))),
            None => self.rule.rewrite(plan, config),
        }
    }
}

/// What a statement has too much of.
enum TooMuch {
    Depth,
    Reads,
}

/// Counts selects and tables; a name that a `with` part has counts as what that part comes to. The count
/// ends where the statement, or one of its parts, has more than it may.
#[derive(Default)]
struct Reads {
    total: u64,
    /// Expressions that the walk is in.
    depth: usize,
    /// Queries that the walk is in, outermost first.
    open: Vec<Scope>,
}

#[derive(Default)]
struct Scope {
    /// Where the queries of its `with` parts are, and their names as the planner takes them.
    parts: Vec<(*const Query, String)>,
    /// What those parts come to that were walked through.
    known: HashMap<String, u64>,
    reads: u64,
}

impl Reads {
    fn add(&mut self, reads: u64) -> ControlFlow<TooMuch> {
        let sum = self.open.last_mut().map_or(&mut self.total, |scope| &mut scope.reads);
        *sum = sum.saturating_add(reads);
        match *sum > READS_MAX {
            true => ControlFlow::Break(TooMuch::Reads),
            false => ControlFlow::Continue(()),
        }
    }
}

/// A name's value: what is quoted, in whatever quotes, as it is; all else in lower case.
fn value_of(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_ascii_lowercase(),
    }
}

/// What a table is looked up by among the `with` parts.
fn table_of(name: &ObjectName) -> String {
    let parts: Vec<String> = name.0.iter().filter_map(|p| p.as_ident()).map(value_of).collect();
    parts.join(".")
}

impl Visitor for Reads {
    type Break = TooMuch;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<TooMuch> {
        let parts = query.with.iter().flat_map(|with| &with.cte_tables);
        let parts =
            parts.map(|part| (&raw const *part.query, value_of(&part.alias.name))).collect();
        self.open.push(Scope { parts, ..Scope::default() });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<TooMuch> {
        let reads = self.open.pop().map_or(0, |scope| scope.reads);
        if let Some(outer) = self.open.last_mut()
            && let Some((_, name)) = outer.parts.iter().find(|(part, _)| *part == &raw const *query)
        {
            outer.known.insert(name.clone(), reads);
            return ControlFlow::Continue(());
        }
        self.add(reads)
    }

    fn pre_visit_expr(&mut self, _: &ast::Expr) -> ControlFlow<TooMuch> {
        self.depth += 1;
        match self.depth > DEPTH_MAX {
            true => ControlFlow::Break(TooMuch::Depth),
            false => ControlFlow::Continue(()),
        }
    }

    fn post_visit_expr(&mut self, _: &ast::Expr) -> ControlFlow<TooMuch> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, _: &Select) -> ControlFlow<TooMuch> {
        self.add(1)
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<TooMuch> {
        let name = table_of(relation);
        let known = self.open.iter().rev().find_map(|scope| scope.known.get(&name)).copied();
        self.add(known.unwrap_or(1))
    }
}

/// How large a plan becomes with everything in its place.
struct Size {
    /// Parts of each column's expression.
    columns: Vec<u64>,
    /// Parts of all expressions of the plan and of what it reads.
    total: u64,
    /// Of those that make something new.
    made: u64,
}

fn size_of(plan: &LogicalPlan) -> Size {
    let inputs: Vec<(&LogicalPlan, Size)> =
        plan.inputs().into_iter().map(|input| (input, size_of(input))).collect();
    let mut named: HashMap<&str, u64> = HashMap::new();
    for (input, size) in &inputs {
        for (field, parts) in input.schema().fields().iter().zip(&size.columns) {
            // Of columns of one name the largest counts.
            let known = named.entry(field.name()).or_insert(0);
            *known = (*known).max(*parts);
        }
    }
    let mut own = Vec::new();
    let mut made = inputs.iter().map(|(_, size)| size.made).fold(0, u64::saturating_add);
    let _ = plan.apply_expressions(|expr| {
        let parts = parts_of(expr, &named);
        made = made.saturating_add(if is_bare(expr) { 0 } else { parts });
        own.push(parts);
        Ok(TreeNodeRecursion::Continue)
    });
    let below = inputs.iter().map(|(_, size)| size.total).fold(1, u64::saturating_add);
    let total = own.iter().copied().fold(below, u64::saturating_add);
    let handed_on = inputs.iter().flat_map(|(_, size)| size.columns.iter().copied());
    let columns: Vec<u64> = match plan {
        LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) => own.clone(),
        LogicalPlan::Window(_) => handed_on.chain(own.iter().copied()).collect(),
        _ => handed_on.collect(),
    };
    let wanted = plan.schema().fields().len();
    if columns.len() == wanted {
        return Size { columns, total, made };
    }
    let largest = columns.into_iter().chain(own).max().unwrap_or(1);
    Size { columns: vec![largest; wanted], total, made }
}

/// Whether an expression is a column as it is.
fn is_bare(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Alias(alias) => is_bare(&alias.expr),
        _ => false,
    }
}

/// Parts of an expression whose columns have so many.
fn parts_of(expr: &Expr, columns: &HashMap<&str, u64>) -> u64 {
    let mut sum = 0u64;
    let _ = expr.apply(|part| {
        let (parts, next) = match part {
            Expr::Column(column) => (columns.get(&*column.name).copied().unwrap_or(1), true),
            Expr::Literal(value, _) => (1 + text_bytes(value), true),
            Expr::ScalarSubquery(inner) => (size_of(&inner.subquery).total, true),
            Expr::InSubquery(inner) => (size_of(&inner.subquery.subquery).total, true),
            Expr::SetComparison(inner) => (size_of(&inner.subquery.subquery).total, true),
            Expr::Exists(inner) => (size_of(&inner.subquery.subquery).total, true),
            Expr::ScalarFunction(function) if GROWING.contains(&function.name()) => {
                (grown(function, columns), false)
            }
            _ => (1, true),
        };
        sum = sum.saturating_add(parts);
        Ok(if next { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Jump })
    });
    sum
}

/// What comes of a function that may put another argument in the place of each part of the first, or the
/// first between all others.
fn grown(function: &ScalarFunction, columns: &HashMap<&str, u64>) -> u64 {
    let parts: Vec<u64> = function.args.iter().map(|arg| parts_of(arg, columns)).collect();
    let first = parts.first().copied().unwrap_or(1);
    let most = parts.iter().skip(1).copied().max().unwrap_or(1).max(parts.len() as u64);
    parts.into_iter().fold(first.saturating_mul(most), u64::saturating_add)
}

fn text_bytes(value: &ScalarValue) -> u64 {
    match value {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => text.len() as u64,
        _ => 0,
    }
}
