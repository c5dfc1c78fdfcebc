//! The balance holds exactly when nothing is lost and nothing is counted twice.

use crate::{Row, batch};
use event::time::SECOND_NS;
use event::{EventId, Marks};
use proptest::prelude::*;
use std::sync::Arc;
use watch::{Balance, Finding, Receipts, Tick};

const TICK: Tick = Tick { id: EventId::at(0), stream_ns: 0, wall_ns: 0 };

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let marks = prop::sample::select(vec![
        Marks::default(),
        Marks::DEDUPED,
        Marks::DROPPED,
        Marks::QUARANTINED,
        Marks::EXPANDED,
        Marks(Marks::EXPANDED.0 | Marks::DROPPED.0),
        Marks(Marks::DEDUPED.0 | Marks::MATCHED.0),
    ]);
    let row =
        (prop::sample::select(vec!["a", "b"]), 0i64..300, marks).prop_map(|(source, s, marks)| {
            Row { source, host: "h".into(), at_ns: s * SECOND_NS, marks }
        });
    prop::collection::vec(row, 1..60)
}

/// Feeder, sequencer and store each count their own part; `lose` skips one row at the store.
fn account(rows: &[Row], lose: Option<usize>) -> (Balance, Vec<Finding>) {
    let (mut balance, mut receipts) = (Balance::default(), Receipts::default());
    for row in rows.iter().filter(|r| !r.marks.has(Marks::EXPANDED)) {
        let source: Arc<str> = row.source.into();
        receipts.read(&source, row.at_ns, 1);
    }
    balance.received(&receipts.take());
    let batch = batch(rows);
    balance.sequenced(&batch);
    let kept = batch.rows().filter(|r| r.is_kept()).map(|r| r.index());
    let held: Vec<u32> = kept.filter(|at| Some(*at) != lose).map(|at| at as u32).collect();
    balance.stored(&batch, &held);
    let text = serde_json::to_string(&balance).unwrap();
    let mut balance: Balance = serde_json::from_str(&text).unwrap();
    let told = balance.close(10, TICK);
    (balance, told)
}

proptest! {
    #[test]
    fn every_row_has_exactly_one_end(rows in rows()) {
        let (balance, told) = account(&rows, None);
        prop_assert_eq!(told, []);
        let came_in: u64 = balance.totals().map(|(_, c)| c.came_in()).sum();
        prop_assert_eq!(came_in, rows.len() as u64);
    }

    #[test]
    fn one_row_lost_at_the_store_is_found_in_its_minute(
        rows in rows(), pick in any::<prop::sample::Index>(),
    ) {
        let at = pick.index(rows.len());
        let stored = balance_keeps(&rows[at]);
        let (_, told) = account(&rows, Some(at));
        if stored {
            let [Finding::Imbalance { source, minute, came_in, accounted, .. }] = &told[..] else {
                panic!("{told:?}");
            };
            prop_assert_eq!(source, rows[at].source);
            prop_assert_eq!(*minute, Balance::minute(rows[at].at_ns));
            prop_assert_eq!(*came_in, accounted + 1);
        } else {
            prop_assert_eq!(told, []);
        }
    }
}

fn balance_keeps(row: &Row) -> bool {
    batch(std::slice::from_ref(row)).row(0).is_kept()
}

#[test]
fn parts_of_a_record_are_received_each_and_end_as_joined() {
    let row = Row { source: "a", host: "h".into(), at_ns: 0, marks: Marks::default() };
    let (mut balance, mut receipts) = (Balance::default(), Receipts::default());
    receipts.read(&"a".into(), 0, 3);
    let read = receipts.take();
    assert_eq!((read.len(), read[0].records, read[0].joined), (1, 3, 2));
    balance.received(&read);
    balance.stored(&batch(&[row]), &[0]);
    assert_eq!(balance.close(0, TICK), []);
}
