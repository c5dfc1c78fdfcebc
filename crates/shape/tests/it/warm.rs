//! What a worker has met before changes nothing: every record gives the row that it gives alone.

use super::Bench;
use event::{Envelope, EventBatch};
use shape::{Scratch, packs};
use std::sync::Arc;

/// Rounds in which the same records come in other orders.
const ROUNDS: u64 = 4;

/// All that a batch's rows say, from `from` on.
fn shown(batch: &EventBatch, from: usize) -> Vec<String> {
    let row = |at: usize| {
        let row = batch.row(at);
        let cells: Vec<_> = row
            .cells()
            .enumerate()
            .map(|(at, (field, value))| {
                (batch.name(field), value.kind, value.text(), row.raw_range(at))
            })
            .collect();
        format!("{} {} {:?} {cells:?}", row.event_ns(), row.weight(), row.marks())
    };
    (from..batch.len()).map(row).collect()
}

/// A number that follows `state` in a fixed sequence without a pattern.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// The record with one of its texts null, another one for each record: for steps that ask whether a field is
/// there, that is none.
fn with_a_null(record: &[u8], state: &mut u64) -> Option<Vec<u8>> {
    let starts: Vec<usize> = memchr::memmem::find_iter(record, b"\":\"").collect();
    let start = *starts.get(next(state) as usize % starts.len().max(1))? + 2;
    let len = record[start + 1..].iter().position(|c| matches!(c, b'"' | b'\\'))?;
    let behind = record[start + 1 + len..].strip_prefix(b"\"")?;
    Some([&record[..start], b"null", behind].concat())
}

/// Every pack's samples, also with nulls, alone and among the others of the pack, in several orders and batches.
#[test]
fn records_met_before_change_nothing() {
    let mut bench = Bench::new();
    let mut order = 7;
    for pack in packs::ALL {
        let folder = testkit::workspace_root().join("packs").join(pack.name);
        let mut records = shape::testing::lines(&folder).unwrap();
        let nulls: Vec<_> = records.iter().filter_map(|r| with_a_null(r, &mut order)).collect();
        records.extend(nulls);
        let alone: Vec<_> = records
            .iter()
            .map(|record| {
                bench.start().scratch = Scratch::default();
                bench.envelope = Arc::new(Envelope::of_sample(record));
                bench.shape(record);
                shown(&bench.batch, 0)
            })
            .collect();
        for round in 0..ROUNDS {
            let mut places: Vec<usize> = (0..records.len()).collect();
            for at in (1..places.len()).rev() {
                places.swap(at, next(&mut order) as usize % (at + 1));
            }
            for place in places {
                let record = &records[place];
                if bench.batch.len() > 64 {
                    bench.start();
                }
                bench.envelope = Arc::new(Envelope::of_sample(record));
                let from = bench.batch.len();
                bench.headers = shape::Headers::default();
                bench.shape(record);
                let text = String::from_utf8_lossy(record);
                assert_eq!(
                    shown(&bench.batch, from),
                    alone[place],
                    "{} {round}: {text}",
                    pack.name
                );
            }
        }
    }
}
