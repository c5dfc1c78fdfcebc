//! A plan of the query engine that ends when its search has to.
//!
//! The engine looks at nothing but its inputs: a join of two small tables may compute for hours after
//! the last row was read, and what a function makes of a row is in nobody's count. So every operator
//! is put into one that looks at the time, the client and the size of what comes out, batch by batch.
//! What it hands on is cut to pieces so small that what the next one makes of a piece is no larger.

use crate::scan::Control;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
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
    /// How many times as much as a row the plan's expressions may make of it.
    made: u64,
    stopped: Mutex<Option<&'static str>>,
}

impl Watch {
    pub(crate) fn new(control: Control, batch_bytes_max: usize, made: u64) -> Self {
        Self { control, batch_bytes_max, made: made.max(1), stopped: Mutex::new(None) }
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
    fn piece(&mut self, batch: RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let all = batch.num_rows();
        let mut most = self.rows_max.unwrap_or(all).min(all);
        let makes = |rows: usize| self.watch.made.saturating_mul(bytes_of(&batch.slice(0, rows)));
        while makes(most) > self.watch.batch_bytes_max as u64 {
            if most <= 1 {
                return Err(too_large(makes(most)));
            }
            most = most.div_ceil(2);
        }
        let piece = batch.slice(0, most);
        if most < all {
            self.rest = Some(batch.slice(most, all - most));
        }
        self.apart(piece)
    }

    /// The piece without what it was cut from, if that is much: functions make room for all of the bytes
    /// behind their arguments.
    fn apart(&self, piece: RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let behind = self.watch.made.saturating_mul(piece.get_array_memory_size() as u64);
        if behind <= self.watch.batch_bytes_max as u64 {
            return Ok(piece);
        }
        let rows = UInt32Array::from_iter_values(0..piece.num_rows() as u32);
        Ok(take_record_batch(&piece, &rows)?)
    }
}

fn too_large(bytes: u64) -> DataFusionError {
    DataFusionError::ResourcesExhausted(format!("{bytes} bytes of rows in one step"))
}

/// Bytes of the rows themselves: a slice keeps all of what it was cut from in memory.
fn bytes_of(batch: &RecordBatch) -> u64 {
    let bytes = |array: &ArrayRef| match array.as_string_view_opt() {
        Some(texts) => texts.lengths().map(u64::from).sum(),
        None => {
            let slice = array.to_data().get_slice_memory_size();
            slice.unwrap_or_else(|_| array.get_array_memory_size()) as u64
        }
    };
    batch.columns().iter().map(bytes).sum()
}

impl Stream for WatchedStream {
    type Item = Result<RecordBatch, DataFusionError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.watch.stops() {
            return Poll::Ready(None);
        }
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Some(self.piece(rest)));
        }
        let next = std::task::ready!(self.inner.poll_next_unpin(context));
        Poll::Ready(next.map(|batch| {
            let batch = batch?;
            let bytes = batch.get_array_memory_size();
            match bytes > self.watch.batch_bytes_max {
                true => Err(too_large(bytes as u64)),
                false => self.piece(batch),
            }
        }))
    }
}

impl RecordBatchStream for WatchedStream {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }
}
