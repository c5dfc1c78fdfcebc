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
    for n in 1..13 {
        doubling.push_str(&format!(", a{n} as (select t || t as t from a{})", n - 1));
    }
    doubling.push_str(" select sum(length(t)) from a12");
    let error = sql(&store, &doubling, &request("*")).unwrap_err();
    assert!(matches!(error, SearchError::Memory), "{error}");
    let request = SearchRequest {
        memory_bytes_max: 10_000,
        ..request("* | stats count() by event.original")
    };
    let error = store.search(&request, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, SearchError::Memory) && error.to_string().len() < 250, "{error}");
}

/// Most memory that this process has had, bytes.
fn peak_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Scenario: one expression names a text hundreds or thousands of times, or puts a long text in the place of each
/// of its letters: up to a hundred gigabytes for the rows of one batch.
/// Guarantees: what is there at a time stays near the limit; the answer is right, or an error in words.
#[test]
fn one_expression_makes_no_more_of_a_batch_than_fits() {
    const LETTERS: usize = 8_000;
    const ROWS: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    let mut batch = event::EventBatch::new(dictionary());
    let raw = "a".repeat(LETTERS);
    for n in 0..4_000 {
        push(&mut batch, n, START_NS + n as i64, raw.as_bytes(), &[]);
    }
    store.append(std::sync::Arc::new(batch));
    store.flush().unwrap();
    let named = vec![r#""event.original""#; 3_000];
    let put = format!(r#"replace("event.original", 'a', '{}')"#, "b".repeat(2_000));
    let before = peak_bytes();
    for (made, times) in [
        (named[..400].join(" || "), 400),
        (format!("concat({})", named.join(", ")), 3_000),
        (put, 2_000),
    ] {
        let text =
            format!("select sum(length({made})) as n from (select * from events limit {ROWS})");
        let (out, summary) = sql(&store, &text, &request("*")).unwrap();
        assert_eq!(out[0].json, format!("{{\"n\":{}}}", ROWS * LETTERS * times));
        assert_eq!(summary.partial, None);
        let all = format!("select max(length({made})) as n from events");
        let request = SearchRequest { timeout: Some(Duration::from_secs(1)), ..request("*") };
        let (_, summary) = sql(&store, &all, &request).unwrap();
        assert!(matches!(summary.partial.as_deref(), None | Some("timeout")), "{summary:?}");
    }
    let twice =
        format!(r#"replace(replace("event.original", 'a', '{0}'), 'c', '{0}')"#, "c".repeat(140));
    let text = format!("select max(length({twice})) as n from events");
    let error = sql(&store, &text, &request("*")).map(|(out, _)| out).unwrap_err();
    assert!(matches!(error, SearchError::Memory), "{error}");
    let grown = peak_bytes() - before;
    assert!(grown < 2 << 30, "{grown} bytes");
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

/// `with` parts, each of which makes `next` of the one before it, which is called `{}` there.
fn chain(first: &str, next: &str, levels: usize, last: &str) -> String {
    let mut text = format!("with a0 as ({first})");
    for n in 1..levels {
        text.push_str(&format!(", a{n} as ({})", next.replace("{}", &format!("a{}", n - 1))));
    }
    text + " " + &last.replace("{}", &format!("a{}", levels - 1))
}

/// Scenario: statements of a page whose plans have as many parts as there are atoms in a mountain:
/// texts, conditions and tables that double forty times, texts put into texts.
/// Guarantee: each is refused before it is planned, in words that say what to do.
#[test]
fn statements_that_become_too_large_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    store.append(logins(0..10));
    let doubled = "select t || t as t from {}";
    let of_events = r#"select "event.original" as t from events"#;
    let mut nested = "t".to_owned();
    for _ in 0..8 {
        nested = format!("replace({nested}, 'a', '{}')", "a".repeat(100));
    }
    let texts = [
        (chain("select 'x' as t", doubled, 40, "select length(t) from {}"), "parts"),
        (chain(of_events, doubled, 40, "select t from {} where t = 'x'"), "parts"),
        (chain(of_events, doubled, 40, "select count(*) from {} where t like 'x%'"), "parts"),
        (format!("select {nested} from (select 'aaa' as t)"), "parts"),
        (
            chain(
                "select 1 as x",
                "select a.x from {} a join {} b on a.x = b.x",
                40,
                "select x from {}",
            ),
            "reads tables",
        ),
        (
            chain(
                "select 1 as x",
                "select (select max(x) from {}) + x as x from {}",
                40,
                "select x from {}",
            ),
            "reads tables",
        ),
        (
            format!(
                "explain {}",
                chain(
                    "select 1 as x",
                    "select x from {} union all select x from {}",
                    40,
                    "select x from {}"
                )
            ),
            "reads tables",
        ),
        (vec!["select 1 as x"; 300].join(" union all "), "reads tables"),
    ];
    for (text, wanted) in texts {
        let began = Instant::now();
        let error = sql(&store, &text, &request("*")).unwrap_err();
        assert!(began.elapsed() < LATE, "{:?}: {text}", began.elapsed());
        let SearchError::Pipes(error) = error else { panic!("{error}") };
        assert!(error.contains(wanted) && error.contains("fewer times"), "{error}: {text}");
    }
    let few = chain(
        "select 1 as x",
        "select a.x from {} a join {} b on a.x = b.x",
        6,
        "select x from {}",
    );
    assert_eq!(sql(&store, &few, &request("*")).unwrap().0[0].json, r#"{"x":1}"#);
}

/// Scenario: parts whose names stand in quotes of every kind, hold quotes, dots and capitals, or are
/// written in another case where they are used; each reads the one before it twice.
/// Guarantee: what the planner takes for the same name counts as the same part, and nothing else does.
#[test]
fn parts_are_counted_by_the_value_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    store.append(logins(0..10));
    type Quoted = fn(usize) -> String;
    let names: [(Quoted, Quoted); 8] = [
        (|n| format!("`c{n}`"), |n| format!("`c{n}`")),
        (|n| format!("c{n}"), |n| format!("`c{n}`")),
        (|n| format!("`c{n}`"), |n| format!("\"c{n}\"")),
        (|n| format!("\"c\"\"{n}\""), |n| format!("\"c\"\"{n}\"")),
        (|n| format!("\"c\"\"{n}\""), |n| format!("`c\"{n}`")),
        (|n| format!("MiXed{n}"), |n| format!("mIxEd{n}")),
        (|n| format!("\"Big{n}\""), |n| format!("`Big{n}`")),
        (|n| format!("\"a.c{n}\""), |n| format!("A.\"c{n}\"")),
    ];
    let chained = |named: Quoted, used: Quoted, levels: usize, next: &str| {
        let mut text = format!("with {} as (select 1 as x)", named(0));
        for n in 1..levels {
            let part = next.replace("{}", &used(n - 1));
            text.push_str(&format!(", {} as ({part})", named(n)));
        }
        format!("{text} select count(*) as n from {}", used(levels - 1))
    };
    for (named, used) in names {
        for next in [
            "select x from {} union all select x from {}",
            "select a.x from {} a join {} b on a.x = b.x",
        ] {
            let began = Instant::now();
            let many = chained(named, used, 9, next);
            let refused = sql(&store, &many, &request("*")).map(drop).unwrap_err().to_string();
            assert!(refused.contains("reads tables"), "{refused}: {many}");
            assert!(began.elapsed() < LATE, "{:?}: {many}", began.elapsed());
            let few = chained(named, used, 5, next);
            sql(&store, &few, &request("*")).unwrap_or_else(|e| panic!("{e}: {few}"));
        }
    }
    // Two names for the planner: the large part is not what is read many times.
    let (large, small) = (vec!["select 1 as x"; 90].join(" union all "), "select 2 as x");
    let both = format!(
        "with \"C\" as ({large}), c as ({small}) \
         select count(*) as n from C a, c b, C d where a.x = b.x and b.x = d.x"
    );
    assert_eq!(sql(&store, &both, &request("*")).unwrap().0[0].json, r#"{"n":1}"#);
}

/// Scenario: a statement of just as many parts as are allowed, with little time.
/// Guarantee: planning it ends soon after its time, and the answer says so.
#[test]
fn planning_ends_when_the_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    store.append(logins(0..10));
    let text = chain(
        r#"select "event.original" as t from events"#,
        "select t || t as t from {}",
        14,
        "select count(*) as n from {} where t = 'x'",
    );
    let request = SearchRequest { timeout: Some(Duration::from_millis(50)), ..request("*") };
    let began = Instant::now();
    let (out, summary) = sql(&store, &text, &request).unwrap();
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
    assert_eq!((out.len(), summary.partial.as_deref()), (0, Some("timeout")));
}

/// Scenario: statements as long and as deep as the API takes them, on a thread as small as those that
/// searches run on.
/// Guarantee: each is answered or refused; the thread's stack is large enough.
#[test]
fn long_and_deep_statements_are_answered_or_refused() {
    const BYTES: usize = 64 << 10;
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    store.append(logins(0..10));
    let repeated = |head: &str, part: &str, tail: &str| {
        format!("{head}{}{tail}", part.repeat((BYTES - head.len() - tail.len()) / part.len()))
    };
    let texts = [
        repeated("select count(*) from events where 1=2", " or \"user.name\"='a'", ""),
        repeated("select 1", "+1", " as x"),
        repeated("select ", "(", "1"),
        repeated("select * from ", "(", "events"),
        format!("select * from {}events{}", "(".repeat(40), ")".repeat(40)),
        format!("select {}1{}", "(".repeat(40), ")".repeat(40)),
        repeated("select ", "- ", "1"),
        repeated("select ", "not ", "true"),
        repeated("select case ", "when 1=1 then 2 ", "end"),
        repeated("select 1", " union all select 1", ""),
        repeated("select 1 in (1", ",1", ")"),
        format!("select count(*) from events where {}", vec!["1=2"; 490].join(" or ")),
    ];
    for text in texts {
        let began = Instant::now();
        std::thread::scope(|scope| {
            let small = std::thread::Builder::new().stack_size(2 << 20);
            let done = small.spawn_scoped(scope, || {
                let request =
                    SearchRequest { timeout: Some(Duration::from_secs(20)), ..request("*") };
                let _ = sql(&store, &text, &request);
            });
            done.unwrap().join().unwrap();
        });
        println!("{:?}: {}", began.elapsed(), &text[..40]);
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{:?}: {}",
            began.elapsed(),
            &text[..40]
        );
    }
}
