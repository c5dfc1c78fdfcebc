//! Events a second on one core, pack by pack, as lines of JSON:
//! `cargo run --release -p shape --example shape_bench`. Reads each built-in pack's samples. What the
//! first events cost, on which patterns are compiled, stands apart (`first_ms`).
//!
//! With `--redact FILE` in front, events are redacted by the rules of that file.
//!
//! With a pack's name alone: what each of its records costs, the dearest first.
//! With a pack's name and a number it shapes so many events of it and says nothing: run under a heap
//! profiler, two numbers of events tell what one event allocates (`cargo xtask bench shape`).

use event::{
    Dictionary, DictionaryBuilder, Envelope, EventBatch, EventId, Protocol, Room, RowHead,
};
use shape::{PackSet, Redaction, Scratch, Settings, Shaper, packs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Records in one batch, as the feeder cuts them.
const BATCH_ROWS: usize = 1_024;
/// How long a round of a pack is, and of one record. The best of the rounds counts: whatever else runs
/// on the machine only ever adds.
const ROUND: Duration = Duration::from_millis(50);
const RECORD_ROUND: Duration = Duration::from_millis(3);
const ROUNDS: usize = 3;

/// Whether a record is of a part of a pack's samples.
type IsOf = fn(&[u8]) -> bool;

/// Parts of packs whose rates have goals of their own: lines of sshd over syslog; Windows records as one flat
/// object.
const PARTS: &[(&str, &str, IsOf)] = &[
    ("linux-auth", "sshd", |record| record.windows(6).any(|piece| piece == b" sshd[")),
    ("windows", "flat", |record| {
        record.starts_with(b"{") && !record[1..].iter().any(|c| matches!(c, b'{' | b'['))
    }),
];

fn main() {
    let Ok(set) = PackSet::builtin() else { return println!("the built-in packs are wrong") };
    let mut names = DictionaryBuilder::new();
    set.register(&mut names);
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut settings = Settings::default();
    if args.first().is_some_and(|arg| arg == "--redact") && args.len() > 1 {
        let rules = Redaction::load(Path::new(&args[1]), &[7; 16], &names.build());
        let rules = Arc::new(rules.unwrap_or_else(|e| panic!("{e}")));
        names = DictionaryBuilder::new();
        set.register(&mut names);
        rules.register(&mut names);
        settings.redaction = Some(rules);
        args.drain(..2);
    }
    let dict = names.build();
    let set = Arc::new(set);
    let shaper =
        |settings| Shaper::new(set.clone(), dict.clone(), Arc::default(), Arc::new(settings));
    let known = |pack: &str| {
        let remembered = std::iter::once(("bench".to_owned(), pack.to_owned())).collect();
        shaper(Settings { remembered, ..settings.clone() })
    };
    let envelope = Arc::new(Envelope::of("bench", Protocol::File));
    let scratch = Scratch::default();
    let mut bench = Bench {
        shaper: shaper(settings.clone()),
        dict: dict.clone(),
        envelope,
        scratch,
        room: Room::default(),
    };
    if let [pack, events] = &args[..] {
        let records = records(pack);
        for _ in 0..events.parse::<usize>().unwrap_or(0) / BATCH_ROWS {
            bench.batch(&records);
        }
        return;
    }
    if let [pack] = &args[..] {
        return dearest(&mut bench, pack);
    }
    for pack in packs::ALL {
        let all = records(pack.name);
        tell(&mut bench, known(pack.name), (pack.name, "all"), &all);
        for (_, part, holds) in PARTS.iter().filter(|(of, _, _)| *of == pack.name) {
            let records: Vec<_> = all.iter().filter(|record| holds(record)).cloned().collect();
            tell(&mut bench, known(pack.name), (pack.name, part), &records);
        }
    }
}

/// Measures the records of a pack, or a part of them.
fn tell(bench: &mut Bench, known: Shaper, (pack, part): (&str, &str), records: &[Vec<u8>]) {
    if records.is_empty() {
        return;
    }
    let bytes: usize = records.iter().map(Vec::len).sum();
    let first = bench.first(records);
    let ns = bench.measure(records, ROUND);
    let anew = std::mem::replace(&mut bench.shaper, known);
    let known_ns = bench.measure(records, ROUND);
    bench.shaper = anew;
    println!(
        "{{\"pack\":\"{pack}\",\"records\":\"{part}\",\"events_per_s\":{:.0},\"known_events_per_s\":{:.0},\
         \"ns_per_event\":{ns:.0},\"bytes_per_event\":{},\"first_ms\":{:.1}}}",
        1e9 / ns,
        1e9 / known_ns,
        bytes / records.len(),
        first.as_secs_f64() * 1e3
    );
}

/// What each record of a pack costs, the dearest first.
fn dearest(bench: &mut Bench, pack: &str) {
    let records = records(pack);
    bench.first(&records);
    let cost = |record: &Vec<u8>| bench.measure(std::slice::from_ref(record), RECORD_ROUND);
    let mut costs: Vec<_> = records.iter().map(cost).zip(&records).collect();
    costs.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (ns, record) in costs {
        println!("{ns:>8.0} {}", String::from_utf8_lossy(record));
    }
}

struct Bench {
    shaper: Shaper,
    dict: Arc<Dictionary>,
    envelope: Arc<Envelope>,
    scratch: Scratch,
    /// What batches needed: a worker gives the next one as much at once.
    room: Room,
}

impl Bench {
    /// Each record once; a pattern is compiled when its first text comes.
    fn first(&mut self, records: &[Vec<u8>]) -> Duration {
        let started = Instant::now();
        records.chunks(BATCH_ROWS).for_each(|chunk| self.batch(chunk));
        started.elapsed()
    }

    /// Nanoseconds an event in the best round.
    fn measure(&mut self, records: &[Vec<u8>], round: Duration) -> f64 {
        let rounds = (0..ROUNDS).map(|_| {
            let (mut events, started) = (0usize, Instant::now());
            while started.elapsed() < round {
                self.batch(records);
                events += BATCH_ROWS;
            }
            started.elapsed().as_secs_f64() / events as f64 * 1e9
        });
        rounds.fold(f64::MAX, f64::min)
    }

    fn batch(&mut self, records: &[Vec<u8>]) {
        let sizes = records.iter().map(Vec::len).cycle().take(BATCH_ROWS);
        let mut batch =
            EventBatch::with_room(self.dict.clone(), BATCH_ROWS, sizes.sum(), self.room);
        for at in 0..BATCH_ROWS {
            let head = RowHead {
                id: EventId::at(at as u64),
                received_ns: shape::testing::RECEIVED_NS,
                stream_ns: 0,
                envelope: self.envelope.clone(),
            };
            let record = &records[at % records.len()];
            self.shaper.shape(head, record, &mut batch, &mut self.scratch);
        }
        self.room = self.room.after(&batch);
        std::hint::black_box(&batch);
    }
}

/// The lines of a pack's samples.
fn records(pack: &str) -> Vec<Vec<u8>> {
    let packs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs");
    shape::testing::lines(&packs.join(pack)).unwrap_or_default()
}
