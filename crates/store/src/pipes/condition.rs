//! `where` over the columns of a table.

use super::build::{Build, Mode, Shows};
use crate::error::SearchError;
use arrow::datatypes::DataType;
use datafusion::functions::string::expr_fn::lower;
use datafusion::logical_expr::{Expr, cast, lit, try_cast};
use filter::{CompareOp, Node, Number, Operand, Plan, Target, Test, TextOp};

impl Build<'_> {
    /// A filter over the columns of a table.
    pub(super) fn where_table(&mut self, plan: &Plan) -> Result<(), SearchError> {
        if matches!(self.mode, Mode::Events { .. }) {
            let text = "`where` over events must stand before head and dedup";
            return Err(SearchError::Pipes(text.into()));
        }
        let expr = self.condition(plan, &plan.root)?;
        self.change(|frame| frame.filter(expr))
    }

    pub(super) fn condition(&self, plan: &Plan, node: &Node) -> Result<Expr, SearchError> {
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

    pub(super) fn leaf_condition(&self, leaf: &filter::Leaf) -> Result<Expr, SearchError> {
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
}
