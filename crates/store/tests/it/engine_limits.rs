//! What the query engine does beside reading events has limits too: time, memory, the client.

use crate::samples::*;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use store::{Options, Row, SearchError, SearchRequest, SearchSummary, Store};

/// Enough that comparing all with all takes far longer than a test may.
const ROWS: u64 = 20_000;
/// Comparing a few rows with all others may be under way when the time is over.
const LATE: Duration = Duration::from_secs(8);
/// All with all, and nothing comes out of it.
const ENDLESS: &str = r#"select count(*) as n from events a, events b
    where a."event.original" || b."event.original" = 'x'"#;

fn store(dir: &std::path::Path) -> Store {
    let (store, _) = Store::open(dir, Options::default()).unwrap();
    for start in (0..ROWS).step_by(1_000) {
        store.append(logins(start..start + 1_000));
    }
    store.flush().unwrap();
    store
}

fn sql(
    store: &Store,
    text: &str,
    request: &SearchRequest,
) -> Result<(Vec<Row>, SearchSummary), SearchError> {
    let mut out = Vec::new();
    let summary = store.sql(text, request, &mut |row| {
        out.push(row);
        ControlFlow::Continue(())
    })?;
    Ok((out, summary))
}

/// Scenario: statements whose work lies after the last event was read: joins of all with all, a
/// recursion without end.
/// Guarantees: they end soon after their time, and the answer says that it is not whole.
#[test]
fn a_statement_ends_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let counting = "with recursive n as (select 1 as x union all select x + 1 from n) \
                    select count(*) as n from n";
    for text in [ENDLESS, counting] {
        let request = SearchRequest { timeout: Some(Duration::from_millis(500)), ..request("*") };
        let began = Instant::now();
        let (_, summary) = sql(&store, text, &request).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert!(began.elapsed() < LATE, "{text}: {:?}", began.elapsed());
        assert_eq!(summary.partial.as_deref(), Some("timeout"), "{text}");
    }
}

/// Scenario: the client goes away while all is joined with all.
/// Guarantee: the statement ends soon.
#[test]
fn a_statement_ends_when_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let request = request("*");
    let cancelled = request.cancelled.clone();
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            cancelled.store(true, Ordering::Relaxed);
        });
        let (_, summary) = sql(&store, ENDLESS, &request).unwrap();
        assert_eq!(summary.partial.as_deref(), Some("cancelled"));
    });
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
}

/// Scenario: answers of SQL and of tables that are larger than a search may use.
/// Guarantees: rows up to the limit come, the rest does not, and the answer says so with the number.
#[test]
fn answers_of_tables_end_at_the_limit_of_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let limits = |text: &str| SearchRequest { memory_bytes_max: 600_000, ..request(text) };
    let (out, summary) = sql(&store, "select * from events", &limits("*")).unwrap();
    let bytes: usize = out.iter().map(|row| row.json.len()).sum();
    assert!((600_000..700_000).contains(&bytes), "{bytes}");
    assert_eq!(summary.partial.as_deref(), Some("memory"));
    assert_eq!(summary.returned, out.len() as u64);
    let (out, summary) = sql(&store, "select 1 as x", &limits("*")).unwrap();
    assert_eq!((out.len(), summary.partial), (1, None));
}

/// Scenario: functions that make gigabytes of one value, and sums of what does not fit.
/// Guarantees: an error in few words, no memory.
#[test]
fn nothing_makes_much_of_little() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for text in [
        r#"select count(repeat("user.name", 1000000)) from events"#,
        r#"select lpad("user.name", 2000000000) from events"#,
        r#"select rpad("user.name", 2000000000) from events"#,
        r#"select array_repeat("user.name", 2000000000) from events"#,
    ] {
        let error = sql(&store, text, &request("*")).unwrap_err().to_string();
        assert!(error.contains("Invalid function"), "{text}: {error}");
    }
    // Each step doubles what the one before made.
    let mut doubling = String::from(r#"with a0 as (select "event.original" as t from events)"#);
    for n in 1..40 {
        doubling.push_str(&format!(", a{n} as (select t || t as t from a{})", n - 1));
    }
    doubling.push_str(" select sum(length(t)) from a39");
    let error = sql(&store, &doubling, &request("*")).unwrap_err();
    assert!(matches!(error, SearchError::Memory), "{error}");
    let request = SearchRequest {
        memory_bytes_max: 10_000,
        ..request("* | stats count() by event.original")
    };
    let error = store.search(&request, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, SearchError::Memory) && error.to_string().len() < 250, "{error}");
}

/// Scenario: a statement reads its table twice.
/// Guarantee: the summary counts both passes.
#[test]
fn all_passes_of_a_statement_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let text = r#"select count(*) as n from events a join events b on a."event.id" = b."event.id""#;
    let (out, summary) = sql(&store, text, &request("*")).unwrap();
    assert_eq!(out[0].json, format!("{{\"n\":{ROWS}}}"));
    assert_eq!(summary.scanned_rows, 2 * ROWS);
}
