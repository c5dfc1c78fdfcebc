//! Matching rows as columns of a table, a unit of the pass at a time.

use super::engine;
use super::feeds::Feeds;
use crate::coded::{Coded, alike};
use crate::error::SearchError;
use crate::scan::{Counters, Scan, Selected, Unit};
use arrow::array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// One column of the streamed table.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Feed {
    Text(Vec<Box<str>>),
    Number(Vec<Box<str>>),
    /// A number per distinct text, for what is only told apart: see [`Ids`].
    Id(Vec<Box<str>>),
    Time,
    /// Start of the bucket of this width.
    Bucket(i64),
    /// Number of the unit in the upper half, row in the lower.
    Place,
    /// Rank of the event id: see `id_rank`.
    Offset,
    Sub,
}

impl Feed {
    pub(super) fn data_type(&self) -> DataType {
        match self {
            Feed::Text(_) => DataType::Utf8,
            Feed::Number(_) => DataType::Float64,
            Feed::Time | Feed::Bucket(_) => DataType::Int64,
            Feed::Id(_) | Feed::Place | Feed::Offset | Feed::Sub => DataType::UInt64,
        }
    }
}

/// What the pass leaves behind for after the engine has run.
#[derive(Default)]
pub(crate) struct Shared {
    /// Of each pass; a statement may read its table several times.
    passes: Vec<Counters>,
    pub(super) units: Vec<Unit>,
}

impl Shared {
    /// Of all passes together.
    pub(super) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        self.passes.iter().for_each(|pass| sum.add(pass));
        sum
    }
}

/// The pass as a partition of a table. It can be executed once.
pub(super) struct Source {
    pub(super) schema: SchemaRef,
    pub(super) feeds: Vec<Feed>,
    /// Rows that are alike come as one, with their number in the last column.
    pub(super) counted: bool,
    pub(super) scan: Mutex<Option<Scan>>,
    pub(super) shared: Arc<Mutex<Shared>>,
}

/// Numbers of texts over all units of a pass, for each list of names that has some. Comparing numbers
/// costs the engine a fraction of comparing texts.
#[derive(Default)]
pub(super) struct Ids {
    known: Vec<HashMap<Box<str>, u64>>,
    /// Takes part in the request's limit of memory.
    memory: Option<MemoryReservation>,
}

impl Ids {
    /// Memory of a text beside its bytes: its entry, and the table's free places.
    pub(super) const ENTRY_BYTES: usize = 56;

    pub(super) fn of(feeds: &[Feed], context: &TaskContext) -> Self {
        let lists = feeds.iter().filter(|feed| matches!(feed, Feed::Id(_)));
        let consumer = MemoryConsumer::new("distinct values");
        let memory = consumer.register(context.memory_pool());
        Self { known: lists.map(|_| HashMap::new()).collect(), memory: Some(memory) }
    }

    /// The numbers of the `at`-th list for some rows.
    pub(super) fn numbers(
        &mut self,
        at: usize,
        coded: &Coded,
        rows: &[u32],
    ) -> Result<ArrayRef, SearchError> {
        let Some(known) = self.known.get_mut(at) else {
            return Ok(Arc::new(UInt64Array::new_null(rows.len())));
        };
        let mut of_code: Vec<Option<u64>> = vec![None; coded.size() as usize];
        let mut out = Vec::with_capacity(rows.len());
        for row in rows {
            let code = coded.codes[*row as usize];
            let Some(place) = of_code.get_mut(code as usize) else {
                out.push(None);
                continue;
            };
            if place.is_none()
                && let Some(text) = coded.text(code)
            {
                let next = known.len() as u64;
                *place = Some(match known.get(text) {
                    Some(number) => *number,
                    None => {
                        if let Some(memory) = &mut self.memory {
                            memory.try_grow(text.len() + Self::ENTRY_BYTES).map_err(engine)?;
                        }
                        known.insert(text.into(), next);
                        next
                    }
                });
            }
            out.push(*place);
        }
        Ok(Arc::new(UInt64Array::from(out)))
    }
}

impl Source {
    pub(super) fn new(scan: Scan, feeds: &Feeds, shared: Arc<Mutex<Shared>>) -> Self {
        let (counted, feeds) = (feeds.counted, &feeds.list);
        let fields = feeds
            .iter()
            .enumerate()
            .map(|(i, feed)| Field::new(format!("f{i}"), feed.data_type(), true))
            .chain(counted.then(|| Field::new(COUNT_COLUMN, DataType::Int64, true)));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { schema, feeds: feeds.clone(), counted, scan: Mutex::new(Some(scan)), shared }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("events")
    }
}

impl PartitionStream for Source {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (schema, feeds, counted) = (self.schema.clone(), self.feeds.clone(), self.counted);
        let ids = Mutex::new(Ids::of(&feeds, &context));
        let columns = move |selected: &mut Selected, unit: usize| {
            let arrays = feed(selected, unit, &feeds, counted, &mut ids.lock())?;
            let rows = arrays.first().map_or(selected.rows.len(), |array| array.len());
            batch(&schema, arrays, rows)
        };
        stream_of(self.scan.lock().take(), self.schema.clone(), self.shared.clone(), columns)
    }
}

/// A pass as a stream of batches made by `columns`.
pub(crate) fn stream_of(
    scan: Option<Scan>,
    schema: SchemaRef,
    shared: Arc<Mutex<Shared>>,
    columns: impl Fn(&mut Selected, usize) -> Result<RecordBatch, SearchError> + Send + 'static,
) -> SendableRecordBatchStream {
    let mut scan = scan;
    let pass = shared.lock().passes.len();
    shared.lock().passes.push(Counters::default());
    let batches = std::iter::from_fn(move || {
        let result = next_batch(scan.as_mut()?, &shared, pass, &columns).transpose();
        if !matches!(result, Some(Ok(_))) {
            scan = None;
        }
        Some(result?.map_err(|e| DataFusionError::External(Box::new(e))))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches)))
}

/// The columns of the next unit that has matching rows and can be read.
pub(super) fn next_batch(
    scan: &mut Scan,
    shared: &Mutex<Shared>,
    pass: usize,
    columns: &impl Fn(&mut Selected, usize) -> Result<RecordBatch, SearchError>,
) -> Result<Option<RecordBatch>, SearchError> {
    loop {
        let next = scan.next(None);
        let mut shared = shared.lock();
        shared.passes[pass] = scan.counters;
        let Some(mut selected) = next? else { return Ok(None) };
        shared.units.push(selected.unit);
        match columns(&mut selected, shared.units.len() - 1) {
            Err(SearchError::Store(error)) => {
                scan.pass_over(selected.unit, &error);
                shared.passes[pass] = scan.counters;
            }
            result => return result.map(Some),
        }
    }
}

/// A batch that may have no columns.
pub(crate) fn batch(
    schema: &SchemaRef,
    arrays: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, SearchError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
        .map_err(|e| SearchError::Engine(e.to_string()))
}

/// The columns of some selected rows; with `counted`, rows that are alike become one with a count.
fn feed(
    selected: &mut Selected,
    unit: usize,
    feeds: &[Feed],
    counted: bool,
    ids: &mut Ids,
) -> Result<Vec<ArrayRef>, SearchError> {
    let read = Read::of(selected, feeds)?;
    let (chosen, counts) = match counted && !feeds.contains(&Feed::Time) {
        true => read.alike(selected.rows.len()),
        false => one_each(selected.rows.len()),
    };
    let mut out: Vec<ArrayRef> = Vec::with_capacity(feeds.len() + 1);
    let mut starts = read.starts.iter();
    let mut lists = 0;
    for feed in feeds {
        out.push(match feed {
            Feed::Text(names) => match read.column(names) {
                Some(coded) => coded.texts(&chosen),
                None => text_array(selected, names)?,
            },
            Feed::Number(names) => match read.column(names) {
                Some(coded) => coded.numbers(&chosen),
                None => Arc::new(Float64Array::new_null(chosen.len())),
            },
            Feed::Id(names) => {
                lists += 1;
                match read.column(names) {
                    Some(coded) => ids.numbers(lists - 1, coded, &chosen)?,
                    None => Arc::new(UInt64Array::new_null(chosen.len())),
                }
            }
            Feed::Bucket(_) => {
                let starts = starts.next().map_or(&[][..], |starts| starts);
                let chosen = chosen.iter().map(|row| starts[*row as usize]);
                Arc::new(Int64Array::from_iter_values(chosen))
            }
            Feed::Time => Arc::new(Int64Array::from(selected.times()?)),
            Feed::Place | Feed::Offset | Feed::Sub => identity(selected, unit, feed)?,
        });
    }
    if counted {
        out.push(Arc::new(Int64Array::from(counts)));
    }
    Ok(out)
}

/// What several columns are made of, read once.
struct Read<'a> {
    /// Values of each list of names.
    coded: Vec<(&'a [Box<str>], Coded)>,
    /// Start of each row's bucket, for each width.
    starts: Vec<Vec<i64>>,
}

impl<'a> Read<'a> {
    fn of(selected: &mut Selected, feeds: &'a [Feed]) -> Result<Self, SearchError> {
        let mut read = Self { coded: Vec::new(), starts: Vec::new() };
        for feed in feeds {
            match feed {
                Feed::Text(names) | Feed::Number(names) | Feed::Id(names)
                    if read.column(names).is_none() =>
                {
                    read.coded.push((names.as_slice(), selected.coded(names)?));
                }
                Feed::Bucket(span) => {
                    let times = selected.times()?.into_iter();
                    let start = |t: i64| t.div_euclid(*span).saturating_mul(*span);
                    read.starts.push(times.map(start).collect());
                }
                _ => {}
            }
        }
        Ok(read)
    }

    fn column(&self, names: &[Box<str>]) -> Option<&Coded> {
        self.coded.iter().find(|(n, _)| *n == names).map(|(_, coded)| coded)
    }

    /// One row of each kind, and how many there are of it.
    fn alike(&self, rows: usize) -> (Vec<u32>, Vec<i64>) {
        let buckets: Vec<Coded> = self.starts.iter().map(|s| Coded::of_numbers(s)).collect();
        let columns = self.coded.iter().map(|(_, coded)| coded).chain(&buckets);
        let columns: Vec<(&[u32], u32)> = columns.map(|c| (&c.codes[..], c.size())).collect();
        alike(&columns, rows)
    }
}

/// What says which event a row is.
fn identity(selected: &mut Selected, unit: usize, feed: &Feed) -> Result<ArrayRef, SearchError> {
    if *feed == Feed::Place {
        let base = (unit as u64) << 32;
        let places = selected.rows.iter().map(|row| base | u64::from(*row));
        return Ok(Arc::new(UInt64Array::from_iter_values(places)));
    }
    let key = |id: &event::EventId| match feed {
        Feed::Offset => id.offset,
        // Partitions are few: they take the bits above a record's number of events.
        _ => u64::from(id.sub) << 32 | u64::from(id.partition),
    };
    let keys = selected.keys()?;
    Ok(Arc::new(UInt64Array::from_iter_values(keys.iter().map(|(_, id)| key(id)))))
}

/// Values as text: one as it is, several as a JSON array, null as nothing.
pub(crate) fn text_array(
    selected: &mut Selected,
    names: &[Box<str>],
) -> Result<ArrayRef, SearchError> {
    let rows: Vec<u32> = (0..selected.rows.len() as u32).collect();
    Ok(selected.coded(names)?.texts(&rows))
}

/// `@timestamp` and the like as a column of times.
pub(crate) fn time_array(times: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC"))
}

/// How many rows one row stands for, in a counted table.
pub(super) const COUNT_COLUMN: &str = "n";

pub(super) fn one_each(rows: usize) -> (Vec<u32>, Vec<i64>) {
    ((0..rows as u32).collect(), vec![1; rows])
}
