//! The balance holds exactly when nothing is lost and nothing is counted twice.

use crate::{Row, batch};
use event::time::SECOND_NS;
use event::{EventId, Marks};
use proptest::prelude::*;
use std::sync::Arc;
use watch::{Balance, Counter, Finding, Tick};

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
    let mut balance = Balance::default();
    for row in rows.iter().filter(|r| !r.marks.has(Marks::EXPANDED)) {
        let source: Arc<str> = row.source.into();
        balance.add(&source, Balance::minute(row.at_ns), Counter::Received, 1);
    }
    balance.sequenced(&batch(rows));
    let mut kept = rows.to_vec();
    if let Some(at) = lose {
        kept.remove(at);
    }
    balance.stored(&batch(&kept));
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
    batch(std::slice::from_ref(row)).row(0).is_kept() && !row.marks.has(Marks::QUARANTINED)
}
