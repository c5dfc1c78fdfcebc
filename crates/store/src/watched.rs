//! A plan of the query engine that ends when its search has to.
//!
//! The engine looks at nothing but its inputs: a join of two small tables may compute for hours after
//! the last row was read, and what a function makes of a row is in nobody's count. So every operator
//! is put into one that looks at the time, the client and the size of what comes out, batch by batch.

use crate::scan::Control;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::joins::{CrossJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Rows that a join by comparing all with all takes at a time: it compares each with all rows of the
/// other side before anybody is asked again.
const COMPARED_ROWS: usize = 64;

/// What all operators of a plan have in common.
pub(crate) struct Watch {
    control: Control,
    /// Most bytes of one batch.
    batch_bytes_max: usize,
    stopped: Mutex<Option<&'static str>>,
}

impl Watch {
    pub(crate) fn new(control: Control, batch_bytes_max: usize) -> Self {
        Self { control, batch_bytes_max, stopped: Mutex::new(None) }
    }

    /// Why the plan ended early, if it did.
    pub(crate) fn stopped(&self) -> Option<&'static str> {
        *self.stopped.lock()
    }

    fn stops(&self) -> bool {
        let Some(why) = self.control.stop() else { return false };
        *self.stopped.lock() = Some(why);
        true
    }
}

/// The plan with every operator of it watched.
pub(crate) fn watched(
    plan: Arc<dyn ExecutionPlan>,
    watch: &Arc<Watch>,
) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let wrapped = plan.transform_up(|node| {
        let node = with_small_inputs(node, watch)?;
        Ok(Transformed::yes(Watched::around(node, watch, None)))
    })?;
    Ok(wrapped.data)
}

/// Joins without equal columns get the rows of their probing side in small pieces.
fn with_small_inputs(
    node: Arc<dyn ExecutionPlan>,
    watch: &Arc<Watch>,
) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    if !node.is::<NestedLoopJoinExec>() && !node.is::<CrossJoinExec>() {
        return Ok(node);
    }
    let mut inputs: Vec<Arc<dyn ExecutionPlan>> = node.children().into_iter().cloned().collect();
    if let Some(probing) = inputs.pop() {
        inputs.push(Watched::around(probing, watch, Some(COMPARED_ROWS)));
    }
    node.with_new_children(inputs)
}

struct Watched {
    inner: Arc<dyn ExecutionPlan>,
    watch: Arc<Watch>,
    /// Most rows of a batch that is handed on.
    rows_max: Option<usize>,
}

impl Watched {
    fn around(
        inner: Arc<dyn ExecutionPlan>,
        watch: &Arc<Watch>,
        rows_max: Option<usize>,
    ) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { inner, watch: watch.clone(), rows_max })
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

impl DisplayAs for Watched {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

impl ExecutionPlan for Watched {
    fn name(&self) -> &str {
        "Watched"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.inner.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let inner = children.pop().unwrap_or_else(|| self.inner.clone());
        Ok(Self::around(inner, &self.watch, self.rows_max))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        let inner = self.inner.execute(partition, context)?;
        let watch = self.watch.clone();
        Ok(Box::pin(WatchedStream { inner, watch, rows_max: self.rows_max, rest: None }))
    }
}

struct WatchedStream {
    inner: SendableRecordBatchStream,
    watch: Arc<Watch>,
    rows_max: Option<usize>,
    /// What is left of a batch that is handed on in pieces.
    rest: Option<RecordBatch>,
}

impl WatchedStream {
    /// The next piece of `batch`; what is left waits.
    fn piece(&mut self, batch: RecordBatch) -> RecordBatch {
        match self.rows_max {
            Some(most) if batch.num_rows() > most => {
                self.rest = Some(batch.slice(most, batch.num_rows() - most));
                batch.slice(0, most)
            }
            _ => batch,
        }
    }

    fn too_large(&self, batch: &RecordBatch) -> Option<DataFusionError> {
        let bytes = batch.get_array_memory_size();
        (bytes > self.watch.batch_bytes_max).then(|| {
            DataFusionError::ResourcesExhausted(format!("{bytes} bytes of rows in one step"))
        })
    }
}

impl Stream for WatchedStream {
    type Item = Result<RecordBatch, DataFusionError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.watch.stops() {
            return Poll::Ready(None);
        }
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Some(Ok(self.piece(rest))));
        }
        let next = std::task::ready!(self.inner.poll_next_unpin(context));
        Poll::Ready(next.map(|batch| {
            let batch = batch?;
            match self.too_large(&batch) {
                Some(error) => Err(error),
                None => Ok(self.piece(batch)),
            }
        }))
    }
}

impl RecordBatchStream for WatchedStream {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }
}
