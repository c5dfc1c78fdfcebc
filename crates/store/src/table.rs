//! The table `events` that SQL sees: every name that occurs, one text column each.

use crate::error::SearchError;
use crate::layout::{envelope, time_type};
use crate::pipes::{Shared, batch, stream_of, text_array, time_array};
use crate::scan::{Selected, Snapshot};
use crate::search::SearchRequest;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::PartitionStream;
use filter::Plan;
use hashbrown::HashSet;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// Most columns of the table: further names are not seen by SQL, only by searches.
const SQL_COLUMNS_MAX: usize = 4_096;

/// The events of one snapshot as a table.
pub(crate) struct EventsTable {
    snapshot: Snapshot,
    request: SearchRequest,
    shared: Arc<Mutex<Shared>>,
    schema: SchemaRef,
}

impl EventsTable {
    pub(crate) fn new(
        snapshot: Snapshot,
        request: SearchRequest,
        shared: Arc<Mutex<Shared>>,
    ) -> Result<Self, SearchError> {
        let mut names: HashSet<Box<str>> = HashSet::new();
        for file in &snapshot.files {
            let file = file.open()?;
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
        let field = |name: &str| match name {
            envelope::TIMESTAMP => Field::new(name, time_type(), true),
            _ => Field::new(name, DataType::Utf8, true),
        };
        let fields = own.iter().copied().chain(names.iter().map(|n| &**n)).map(field);
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Self { snapshot, request, shared, schema })
    }
}

impl fmt::Debug for EventsTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("events")
    }
}

struct Columns {
    snapshot: Snapshot,
    request: SearchRequest,
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
        let scan = self.request.scan(self.snapshot.clone(), Plan::everything());
        let schema = self.schema.clone();
        let columns = move |selected: &mut Selected, _: usize| {
            let mut arrays: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
            for field in schema.fields() {
                arrays.push(match field.data_type() {
                    DataType::Utf8 => text_array(selected, &[field.name().as_str().into()])?,
                    _ => time_array(selected.times()?),
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
        let columns = Columns {
            snapshot: self.snapshot.clone(),
            request: self.request.clone(),
            shared: self.shared.clone(),
            schema: schema.clone(),
        };
        let table = StreamingTable::try_new(schema, vec![Arc::new(columns)])?;
        table.scan(state, None, filters, limit).await
    }
}
