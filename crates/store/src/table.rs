//! The table `events` that SQL sees: every name that occurs, one column each.
//!
//! Fields that ECS or the stored files declare as numbers, truth values or times have that type; a
//! value that is not of it is null here (searches see it). All others are text; several values of a
//! field are a JSON array. Conditions are handed down as hints only: the index leaves out blocks that
//! cannot hold them, the engine then applies them itself.

use crate::error::SearchError;
use crate::layout::{envelope, time_type};
use crate::pipes::{Shared, batch, stream_of, time_array};
use crate::scan::{Control, Selected, Snapshot};
use crate::search::SearchRequest;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{
    BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::PartitionStream;
use event::FieldType;
use filter::{Plan, Target, Test, TextOp};
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// Most columns of the table: further names are not seen by SQL, only by searches.
const SQL_COLUMNS_MAX: usize = 4_096;

/// The events of one snapshot as a table.
pub(crate) struct EventsTable {
    snapshot: Snapshot,
    request: SearchRequest,
    control: Control,
    shared: Arc<Mutex<Shared>>,
    schema: SchemaRef,
}

impl EventsTable {
    pub(crate) fn new(
        snapshot: Snapshot,
        request: SearchRequest,
        control: Control,
        shared: Arc<Mutex<Shared>>,
    ) -> Result<Self, SearchError> {
        let mut names: HashSet<Box<str>> = HashSet::new();
        for file in &snapshot.files {
            // The pass over the rows says so.
            let Ok(file) = file.open() else { continue };
            let fields = file.field_indices().map(|i| file.schema().field(i).name().as_str());
            names.extend(fields.chain(file.residual_names()).map(Box::from));
        }
        for hot in &snapshot.hot {
            let mut seen = HashSet::new();
            for index in hot.kept.iter() {
                seen.extend(hot.batch.row(*index as usize).cells().map(|(field, _)| field));
            }
            names.extend(seen.into_iter().map(|field| Box::from(hot.batch.name(field))));
        }
        let own = event::field::INTRINSIC_NAMES;
        let mut names: Vec<Box<str>> = names.into_iter().filter(|n| !own.contains(&&**n)).collect();
        names.sort();
        names.truncate(SQL_COLUMNS_MAX);
        let types = stored_types(&snapshot);
        let field = |name: &str| {
            let known = request.dictionary.id(name).map(|id| request.dictionary.kind(id));
            let ty = match (name, known) {
                (envelope::TIMESTAMP, _) => time_type(),
                (_, Some(FieldType::Long)) => DataType::Int64,
                (_, Some(FieldType::Double)) => DataType::Float64,
                (_, Some(FieldType::Boolean)) => DataType::Boolean,
                (_, Some(FieldType::Date)) if !own.contains(&name) => time_type(),
                _ => types.get(name).cloned().unwrap_or(DataType::Utf8),
            };
            Field::new(name, ty, true)
        };
        let fields = own.iter().copied().chain(names.iter().map(|n| &**n)).map(field);
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Self { snapshot, request, control, shared, schema })
    }
}

/// Types of columns on which all files that have them agree.
fn stored_types(snapshot: &Snapshot) -> HashMap<Box<str>, DataType> {
    let mut out: HashMap<Box<str>, DataType> = HashMap::new();
    for file in &snapshot.files {
        let Ok(file) = file.open() else { continue };
        for index in file.field_indices() {
            let field = file.schema().field(index);
            let ty = match field.data_type() {
                DataType::Dictionary(..) => DataType::Utf8,
                DataType::Timestamp(..) => time_type(),
                other => other.clone(),
            };
            let known = out.entry(field.name().as_str().into()).or_insert_with(|| ty.clone());
            if *known != ty {
                *known = DataType::Utf8;
            }
        }
    }
    out
}

impl fmt::Debug for EventsTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("events")
    }
}

struct Columns {
    snapshot: Snapshot,
    request: SearchRequest,
    control: Control,
    /// What a block needs to matter.
    hint: Plan,
    shared: Arc<Mutex<Shared>>,
    schema: SchemaRef,
}

impl fmt::Debug for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("events")
    }
}

impl PartitionStream for Columns {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (snapshot, control) = (self.snapshot.clone(), self.control.clone());
        let scan = self.request.scan_under(snapshot, Plan::everything(), control);
        let scan = scan.hinted(self.hint.clone());
        let schema = self.schema.clone();
        let columns = move |selected: &mut Selected, _: usize| {
            let mut arrays: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
            for field in schema.fields() {
                arrays.push(match field.name().as_str() {
                    envelope::TIMESTAMP => time_array(selected.times()?),
                    name => selected.coded(&[name.into()])?.typed(field.data_type()),
                });
            }
            let out: Result<RecordBatch, SearchError> = batch(&schema, arrays, selected.rows.len());
            out
        };
        stream_of(Some(scan), self.schema.clone(), self.shared.clone(), columns)
    }
}

#[async_trait::async_trait]
impl TableProvider for EventsTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(filters.iter().map(|_| TableProviderFilterPushDown::Inexact).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => self.schema.clone(),
        };
        let mut request = self.request.clone();
        filters.iter().for_each(|filter| narrow(filter, &mut request));
        let columns = Columns {
            snapshot: self.snapshot.clone(),
            request,
            control: self.control.clone(),
            hint: Plan::and(filters.iter().filter_map(hint)),
            shared: self.shared.clone(),
            schema: schema.clone(),
        };
        let table = StreamingTable::try_new(schema, vec![Arc::new(columns)])?;
        // A limit may only be handed on where nothing is left out afterwards.
        let limit = limit.filter(|_| filters.is_empty());
        table.scan(state, None, &[], limit).await
    }
}

/// A condition that a block must meet if one of its rows meets the expression.
fn hint(expr: &Expr) -> Option<Plan> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            Some(Plan::and(hint(left).into_iter().chain(hint(right))))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            Some(Plan::or([hint(left)?, hint(right)?]))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let (name, text) = match (&**left, &**right) {
                (Expr::Column(column), Expr::Literal(value, _))
                | (Expr::Literal(value, _), Expr::Column(column)) => {
                    (&column.name, text_of(value)?)
                }
                _ => return None,
            };
            leaf(name, TextOp::Equals, &text)
        }
        Expr::Like(like) if !like.negated && like.escape_char.is_none() => {
            let Expr::Column(column) = &*like.expr else { return None };
            let Expr::Literal(value, _) = &*like.pattern else { return None };
            let pattern = text_of(value)?;
            let texts = pattern.split(['%', '_']).filter(|text| !text.is_empty());
            let parts = texts.filter(|text| !text.contains('\\'));
            Some(Plan::and(parts.filter_map(|text| leaf(&column.name, TextOp::Contains, text))))
        }
        _ => None,
    }
}

/// Several values are one JSON text here and several texts in the index: such needles give no hint.
fn leaf(name: &str, op: TextOp, text: &str) -> Option<Plan> {
    let joined = text.contains(['[', '"', '\\', ',']);
    (!joined).then(|| Plan::leaf(Target::Field(name.into()), Test::text(op, text, false)))
}

fn text_of(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => Some(text.clone()),
        ScalarValue::Int64(Some(number)) => Some(number.to_string()),
        _ => None,
    }
}

/// Takes bounds of `@timestamp` over into the request.
fn narrow(expr: &Expr, request: &mut SearchRequest) {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return };
    if *op == Operator::And {
        narrow(left, request);
        narrow(right, request);
        return;
    }
    let (Expr::Column(column), Expr::Literal(value, _)) = (&**left, &**right) else { return };
    let ScalarValue::TimestampNanosecond(Some(at), _) = value else { return };
    if column.name != envelope::TIMESTAMP {
        return;
    }
    let since = |request: &mut SearchRequest, at: i64| {
        request.since_ns = Some(request.since_ns.map_or(at, |s| s.max(at)));
    };
    let until = |request: &mut SearchRequest, at: i64| {
        request.until_ns = Some(request.until_ns.map_or(at, |u| u.min(at)));
    };
    match op {
        Operator::GtEq | Operator::Gt => since(request, *at),
        Operator::Lt => until(request, *at),
        Operator::LtEq => until(request, at.saturating_add(1)),
        Operator::Eq => {
            since(request, *at);
            until(request, at.saturating_add(1));
        }
        _ => {}
    }
}
