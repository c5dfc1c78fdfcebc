//! What is given up under load, step by step, in a server whose memory is filled with bodies that never
//! end: what each step does, how it is told, and that it is taken back.

use super::harness::{Server, big_events, run};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The ceiling of memory: four times what an idle server takes in the slowest build.
const MEMORY_MIB: u64 = 256;
/// Parts of the ceiling from which on a level is asked for.
const MARKS: [(u8, f64); 4] = [(2, 0.7), (3, 0.8), (4, 0.9), (6, 0.97)];
/// One body that never ends: less than what lies between two marks.
const PIECE_BYTES: usize = 4 << 20;
/// Each may hold 64 MiB of such bodies.
const SOURCES: [&str; 4] = ["http", "b1", "b2", "b3"];
/// How long anything may take on a busy machine.
const WAIT: Duration = Duration::from_secs(90);
/// Longer than the server takes between two looks.
const LOOK: Duration = Duration::from_millis(700);
/// A search waits so long for its turn: CONTRACT.md.
const TURN_WAIT: Duration = Duration::from_secs(10);

fn settings(more: &str) -> String {
    let sources: String =
        SOURCES.iter().map(|name| format!("  {name}: {{type: http}}\n")).collect();
    format!("sources:\n{sources}limits: {{memory: {MEMORY_MIB}MiB{more}}}\nnotify: []\n")
}

/// The steps that were taken (`entered`) or taken back (`left`), in the order of their events.
pub(crate) fn steps_of(server: &Server, what: &str) -> Vec<String> {
    let mut rows = server.search(&format!("event.action:overload.{what}"));
    let offset = |row: &Value| -> Vec<u64> {
        let id = row["event.id"].as_str().unwrap();
        id.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
    };
    rows.sort_by_key(offset);
    rows.iter().map(|row| row["alcedo.target"].as_str().unwrap().to_owned()).collect()
}

fn level(server: &Server) -> u8 {
    server.metric("alcedo_degraded_level").unwrap() as u8
}

/// Memory that the server's process holds, bytes.
pub(crate) fn resident(server: &Server) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

/// Bodies under way that keep the server's memory filled.
#[derive(Default)]
struct Weight {
    bodies: Vec<TcpStream>,
}

impl Weight {
    fn add(&mut self, server: &Server) {
        let source = SOURCES[self.bodies.len() % SOURCES.len()];
        self.bodies.push(server.half_a_body(source, PIECE_BYTES));
    }

    /// Adds until the gauge says this level, and no other.
    fn press(&mut self, server: &Server, to: u8) {
        let mark = MARKS.iter().find(|(level, _)| *level == to).unwrap().1;
        let wanted = (mark * (MEMORY_MIB << 20) as f64) as u64;
        let began = Instant::now();
        while resident(server) + PIECE_BYTES as u64 <= wanted {
            self.add(server);
        }
        loop {
            std::thread::sleep(LOOK);
            match level(server) {
                now if now == to => return,
                now if now < to => self.add(server),
                // Somebody else's memory; a step is taken back after three seconds.
                _ => drop(self.bodies.pop()),
            }
            assert!(
                began.elapsed() < WAIT,
                "level {to} is not reached: {} MiB",
                resident(server) >> 20
            );
        }
    }
}

/// Scenario: memory is scarce to level 2 while the answer of a search is being sent to somebody who does
/// not read it; two more searches come, one after the other.
/// Guarantees: the first of them waits ten seconds and is told 503 with `Retry-After`; the other waits
/// until the one before has ended, and is answered.
#[test]
fn searches_take_turns_at_level_2() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    big_events(&data);
    let count = "{\"query\":\"big | stats count()\"}";
    let server = Server::start_as(&settings(""), Some(&data), super::harness::alcedo);
    let mut weight = Weight::default();
    weight.press(&server, 2);
    let unread = server.search_unread();
    assert!(level(&server) >= 2);
    let asked = || {
        let began = Instant::now();
        let told = server.post_to("/api/v1/search", "application/json", count);
        (told, began.elapsed())
    };
    let ((status, retry, text), waited) = asked();
    assert_eq!((status, retry), (503, Some(1)), "{text}");
    assert!(text.contains("one search runs at a time"), "{text}");
    assert!(waited >= TURN_WAIT && waited < TURN_WAIT * 3, "{waited:?}");
    let pause = Duration::from_secs(2);
    let ((status, retry, text), waited) = std::thread::scope(|scope| {
        let asking = scope.spawn(asked);
        std::thread::sleep(pause);
        drop(unread);
        asking.join().unwrap()
    });
    assert_eq!((status, retry), (200, None), "{text}");
    assert!(text.contains("400") && waited >= pause, "{waited:?} {text}");
    assert!(level(&server) >= 2);
}

/// Scenario: memory is scarce to level 3; small files come until there are more than are joined at once
/// otherwise; then there is memory again.
/// Guarantees: no file is joined meanwhile, and rows go into files all the same; at level 0 they are
/// joined, and nothing is missing.
#[test]
fn files_are_not_joined_at_level_3_and_are_later() {
    let server = Server::start(&settings(", hot_rows: 1MiB"));
    let mut weight = Weight::default();
    weight.press(&server, 3);
    let files = |s: &Server| s.metric("alcedo_store_files").unwrap() as u64;
    let filler = "y".repeat(2_000);
    // Eight neighbours are joined as soon as they are there.
    let (parts, rows) = (10, 600);
    for part in 0..parts {
        let line = |n: u32| format!("{{\"message\":\"small {part} {n} {filler}\"}}\n");
        server.ingest(&(0..rows).map(line).collect::<String>());
        server.eventually_within(WAIT, "another file", |s| (files(s) > part).then_some(()));
    }
    let made = files(&server);
    assert!(made >= parts, "{made} files");
    // Upkeep comes round every second.
    std::thread::sleep(Duration::from_secs(4));
    let still = files(&server);
    assert!(still >= made, "of {made} files {still} are left");
    assert!(level(&server) >= 3);
    drop(weight);
    server.eventually_within(WAIT, "level 0", |s| (level(s) == 0).then_some(()));
    server.eventually_within(WAIT, "joined files", |s| (files(s) < parts).then_some(()));
    let found = server.search("small | stats count()")[0]["count"].as_u64();
    assert_eq!(found, Some(parts * u64::from(rows)));
}

/// Scenario: memory becomes scarce mark by mark, and is there again.
/// Guarantees: the gauge says each level as it is reached; each step is an event and a record of the
/// stream, in order, with what asked for it; taken back they are told in the other order.
#[test]
fn steps_are_told_in_order_and_taken_back_in_order() {
    let mut server = Server::start(&settings(""));
    let steps = ["tail", "queries", "background", "quotas", "push_back", "stall"];
    let mut weight = Weight::default();
    for (to, _) in MARKS {
        weight.press(&server, to);
        let overview = server.get("/api/v1/overview")["degraded"].clone();
        assert_eq!(overview["why"], "memory is scarce", "{overview}");
        let told = server.eventually_within(WAIT, "the events", |s| {
            let told = steps_of(s, "entered");
            (told.len() >= usize::from(to)).then_some(told)
        });
        // A level that was passed for a moment and left again is told twice.
        let mut first: Vec<&str> = Vec::new();
        for step in &told {
            if !first.contains(&&**step) {
                first.push(step);
            }
        }
        assert_eq!(first, steps[..usize::from(to)], "{told:?}");
    }
    let before = steps_of(&server, "left").len();
    drop(weight);
    server.eventually_within(WAIT, "level 0", |s| (level(s) == 0).then_some(()));
    let left = server.eventually_within(WAIT, "the ends", |s| {
        let left = steps_of(s, "left").split_off(before);
        (left.len() >= steps.len()).then_some(left)
    });
    assert!(left.iter().rev().eq(&steps), "{left:?}");
    server.stop();
    let dir = server.data_dir.to_str().unwrap().to_owned();
    let dump = run(&["journal", "dump", "--data-dir", &dir]);
    let records: Vec<Value> = super::harness::json_lines(&dump)
        .iter()
        .filter(|line| line["kind"] == "lifecycle")
        .filter_map(|line| serde_json::from_str(line["bytes"].as_str()?).ok())
        .filter(|record: &Value| {
            record["event"].as_str().is_some_and(|e| e.starts_with("overload"))
        })
        .collect();
    let told = |event: &str| {
        let of = records.iter().filter(|r| r["event"] == event);
        of.map(|r| (r["step"].clone(), r["level"].clone())).collect::<Vec<_>>()
    };
    let up: Vec<(Value, Value)> =
        (1..).zip(steps).map(|(n, step)| (json!(step), json!(n))).collect();
    let (entered, left) = (told("overload.entered"), told("overload.left"));
    assert!(up.iter().all(|step| entered.contains(step)), "{entered:?}");
    assert_eq!(entered.len(), left.len(), "{records:#?}");
    assert!(left[left.len() - up.len()..].iter().rev().eq(&up), "{left:?}");
}
