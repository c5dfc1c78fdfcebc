//! Stored events as batches again: for rules that look at what happened before they were written.

use crate::error::SearchError;
use crate::pipes;
use crate::rows::FullRow;
use crate::scan::Step;
use crate::search::{Portion, SearchRequest, SearchSummary};
use crate::store::Store;
use event::{EventBatch, RowHead};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Rows of a batch.
const BATCH_ROWS: usize = 1_024;

/// Pause between two words about how far it is.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// What a replay gives.
pub enum Replayed {
    /// Events that match.
    Events(Box<EventBatch>),
    /// How many of the rows have been looked at or left out.
    Passed {
        /// So many.
        rows: u64,
        /// Of so many.
        of: u64,
    },
}

impl Store {
    /// Gives every event that the request's filter matches, whole, in batches of the request's
    /// dictionary; `out` says whether to go on. Events come unit by unit, not sorted over all of
    /// them. Limit and memory of the request are not used; time range and cancellation are. Counts as
    /// a search that runs.
    pub fn replay(
        &self,
        request: &SearchRequest,
        out: &mut dyn FnMut(Replayed) -> ControlFlow<()>,
    ) -> Result<SearchSummary, SearchError> {
        let _admitted = self.admit()?;
        let started = Instant::now();
        let (filter, rest) = pipes::leading(&request.query);
        if !rest.is_empty() {
            return Err(SearchError::Pipes("only `where` can stand here".into()));
        }
        let (snapshot, missing) = self.snapshot();
        let mut scan = request.scan(snapshot, filter).once_through();
        let of = scan.rows_left();
        let mut summary = SearchSummary::default();
        let mut told = started;
        let mut portion = Portion::default();
        'scan: loop {
            let selected = match scan.step(None)? {
                Step::End => break,
                Step::None => None,
                Step::Rows(selected) => Some(selected),
            };
            if let Some(selected) = selected {
                let mut rest = &selected.rows[..];
                while !rest.is_empty() {
                    let (rows, later) = rest.split_at(portion.rows(BATCH_ROWS).min(rest.len()));
                    rest = later;
                    let rows = match scan.snapshot.full_rows(selected.unit, rows) {
                        Ok(rows) => rows,
                        Err(error) => {
                            scan.pass_over(selected.unit, &error);
                            break;
                        }
                    };
                    portion.had(rows.len(), rows.iter().map(FullRow::size_bytes).sum());
                    summary.returned += rows.len() as u64;
                    let batch = Box::new(batch_of(&rows, request));
                    if out(Replayed::Events(batch)).is_break() {
                        break 'scan;
                    }
                }
            }
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let rows = of.saturating_sub(scan.rows_left());
                if out(Replayed::Passed { rows, of }).is_break() {
                    break;
                }
            }
        }
        summary.count(&scan.counters, started);
        crate::store::mark_missing(&mut summary, missing);
        Ok(summary)
    }
}

/// The rows as they were when they were shaped.
fn batch_of(rows: &[FullRow], request: &SearchRequest) -> EventBatch {
    let mut batch = EventBatch::new(request.dictionary.clone());
    for full in rows {
        let head = &full.head;
        let mut row = batch.begin(
            RowHead {
                id: head.id,
                received_ns: head.received_ns,
                stream_ns: head.stream_ns,
                envelope: head.envelope.clone(),
            },
            &full.raw,
        );
        row.set_event_ns(head.event_ns);
        row.set_weight(head.weight);
        row.mark(head.marks);
        for cell in &full.cells {
            let field = row.field(&cell.name);
            row.push(field, cell.kind, &cell.bytes);
        }
        row.finish();
    }
    batch
}
