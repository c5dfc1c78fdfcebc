//! The index beside each file: it narrows searches, and is never needed.

use crate::samples::*;
use crate::upkeep::walk;
use event::{EventBatch, Kind};
use std::sync::Arc;
use store::{Options, Store};

/// 6,000 log-ins with one needle of each sort.
fn haystack() -> Arc<EventBatch> {
    let mut batch = EventBatch::new(dictionary());
    for n in 0..6_000u64 {
        let ip = format!("10.{}.{}.{}", n % 7, n % 251, n % 253);
        let message = match n {
            4_000 => "ran C:\\Temp\\mimikatz.exe".to_owned(),
            5_000 => "Failed password for root from 203.0.113.77 port 22".to_owned(),
            _ => format!("Failed password for user{} from {ip} port {}", n % 97, n % 60_000),
        };
        let raw = format!(r#"{{"ip":"{ip}","message":{}}}"#, serde_json::Value::from(&*message));
        let cells: [(&str, Kind, &[u8]); 2] =
            [("source.ip", Kind::Str, ip.as_bytes()), ("message", Kind::Str, message.as_bytes())];
        push(&mut batch, n, START_NS + n as i64 * 1_000_000, raw.as_bytes(), &cells);
    }
    Arc::new(batch)
}

const NEEDLES: [(&str, &[u64]); 6] = [
    ("mimikatz", &[4_000]),
    ("MIMIKATZ.exe", &[4_000]),
    (r#"message:"203.0.113.77""#, &[5_000]),
    ("message:/mimi[a-z]+\\.EXE/i", &[4_000]),
    ("203.0.113.0/24", &[]),
    ("message:*0.113.77*", &[5_000]),
];

#[test]
fn a_needle_costs_a_block_and_not_the_haystack() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    store.append(haystack());
    store.flush().unwrap();
    for (text, expected) in NEEDLES {
        let (found, summary) = rows(&store, &request(text));
        let found: Vec<u64> = found.iter().map(|row| row.id.unwrap().offset).collect();
        assert_eq!(found, expected, "{text}");
        assert!(summary.scanned_rows <= 512, "{text}: {} rows", summary.scanned_rows);
    }
    let (found, summary) = rows(&store, &request("source.ip:10.3.17.0/24"));
    assert!(!found.is_empty() && summary.scanned_rows < 6_000);
}

#[test]
fn without_an_index_or_with_a_damaged_one_the_answers_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    store.append(haystack());
    store.flush().unwrap();
    drop(store);
    let index = walk(dir.path()).into_iter().find(|p| p.ends_with(".idx")).unwrap();
    let whole = std::fs::read(&index).unwrap();
    let damages: [&dyn Fn(); 3] = [
        &|| std::fs::remove_file(&index).unwrap(),
        &|| {
            let mut bytes = whole.clone();
            bytes.iter_mut().skip(8).step_by(50).take(9_000).for_each(|b| *b ^= 4);
            std::fs::write(&index, bytes).unwrap();
        },
        &|| std::fs::write(&index, &whole[..100]).unwrap(),
    ];
    for damage in damages {
        damage();
        let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
        for (text, expected) in NEEDLES {
            assert_eq!(ids(&store, &request(text)), expected, "{text}");
        }
        assert_eq!(store.verify().unwrap().problems.len(), 1);
        assert_eq!(store.reindex().unwrap().made, 1);
        assert_eq!(store.verify().unwrap().problems, []);
        let (_, summary) = rows(&store, &request("mimikatz"));
        assert!(summary.scanned_rows <= 512);
    }
}

#[test]
fn raw_records_come_back_to_the_byte_and_cost_little() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    let batch = haystack();
    store.append(batch.clone());
    let everything = || -> Vec<serde_json::Value> {
        json(&store, "*").iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    };
    let before = everything();
    store.flush().unwrap();
    assert!(everything() == before);
    let raw: u64 = batch.rows().map(|row| row.raw().len() as u64).sum();
    let stored = store.stats().file_bytes;
    assert!(stored < raw / 3, "{stored} bytes for {raw} bytes of raw records");
}
