//! Aggregation, order and SQL over files and hot rows together.

use crate::samples::*;
use event::{EventBatch, Kind};
use std::ops::ControlFlow;
use std::sync::Arc;
use store::{Options, SearchError, Store};

fn store(dir: &std::path::Path) -> Store {
    let (store, _) = Store::open(dir, Options::default()).unwrap();
    store.append(logins(0..7));
    store.flush().unwrap();
    store.append(logins(7..12));
    store
}

#[test]
fn groups_are_counted_and_sorted() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    assert_eq!(
        json(
            &store,
            "* | stats count() as n, dc(source.ip) by user.name | sort -n, user.name | head 2"
        ),
        [
            r#"{"user.name":"u0","n":3,"dc(source.ip)":3}"#,
            r#"{"user.name":"u1","n":3,"dc(source.ip)":3}"#
        ]
    );
    assert_eq!(
        json(
            &store,
            "user.name:u2 | stats sum(source.bytes) as s, avg(source.bytes) as a, min(source.bytes) as lo, max(source.bytes) as hi"
        ),
        [r#"{"s":90,"a":45,"lo":20,"hi":70}"#]
    );
    assert_eq!(
        json(&store, "* | top 2 user.name"),
        [r#"{"user.name":"u0","count":3}"#, r#"{"user.name":"u1","count":3}"#]
    );
    assert_eq!(json(&store, "* | rare 1 user.name"), [r#"{"user.name":"u2","count":2}"#]);
    assert_eq!(json(&store, "nothing:here | stats count()"), [r#"{"count":0}"#]);
}

#[test]
fn distinct_values_are_counted_alone_beside_others_and_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let one = |text: &str| json(&store, text).join(" ");
    assert_eq!(one("* | stats dc(source.ip)"), r#"{"dc(source.ip)":7}"#);
    assert_eq!(
        one(
            "* | stats dc(source.ip) as a, count() as n, dc(source.ip) as b, max(source.bytes) as m"
        ),
        r#"{"a":7,"n":12,"b":7,"m":110}"#
    );
    assert_eq!(
        one("* | stats dc(source.ip) as a, dc(user.name) as b, avg(source.bytes) as c"),
        r#"{"a":7,"b":5,"c":55}"#
    );
    assert_eq!(
        one("user.name:u1 | timechart 5s dc(source.ip) as a, count() as n by user.name"),
        r#"{"@timestamp":"2026-11-24T02:00:00Z","user.name":"u1","a":1,"n":1} {"@timestamp":"2026-11-24T02:00:05Z","user.name":"u1","a":1,"n":1} {"@timestamp":"2026-11-24T02:00:10Z","user.name":"u1","a":1,"n":1}"#
    );
    assert_eq!(one("nothing:here | stats dc(source.ip) as a, count() as n"), r#"{"a":0,"n":0}"#);
}

#[test]
fn time_is_cut_into_buckets() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    assert_eq!(
        json(&store, "* | timechart 5s count()"),
        [
            r#"{"@timestamp":"2026-11-24T02:00:00Z","count":5}"#,
            r#"{"@timestamp":"2026-11-24T02:00:05Z","count":5}"#,
            r#"{"@timestamp":"2026-11-24T02:00:10Z","count":2}"#
        ]
    );
    assert_eq!(
        json(&store, "* | stats max(@timestamp) as last"),
        [r#"{"last":"2026-11-24T02:00:11Z"}"#]
    );
}

#[test]
fn events_keep_their_shape_through_sort_and_dedup() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    assert_eq!(ids(&store, &request("* | sort source.bytes | head 3")), [0, 1, 2]);
    assert_eq!(ids(&store, &request("* | sort -source.bytes | head 3")), [11, 10, 9]);
    assert_eq!(ids(&store, &request("* | dedup user.name")), [11, 10, 9, 8, 7]);
    assert_eq!(
        json(&store, "* | dedup user.name | sort user.name | fields user.name | head 1"),
        [r#"{"user.name":"u0"}"#]
    );
    assert_eq!(
        json(&store, "* | head 2 | stats count() by user.name"),
        [r#"{"user.name":"u0","count":1}"#, r#"{"user.name":"u1","count":1}"#]
    );
}

#[test]
fn mixed_values_and_hostile_names_survive() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    let mut batch = EventBatch::new(dictionary());
    let name = "a\"b'; drop";
    for (n, value) in ["9", "10", "x", "inf"].iter().enumerate() {
        let cells: [(&str, Kind, &[u8]); 2] =
            [(name, Kind::Str, value.as_bytes()), ("k", Kind::Str, b"1")];
        push(&mut batch, n as u64, START_NS, b"", &cells);
    }
    let two: [(&str, Kind, &[u8]); 2] = [("k", Kind::Str, b"1"), ("k", Kind::Int, b"2")];
    push(&mut batch, 9, START_NS, b"", &two);
    store.append(Arc::new(batch));
    assert_eq!(
        json(&store, "* | stats count() by k"),
        [r#"{"k":"1","count":4}"#, r#"{"k":"[\"1\",2]","count":1}"#]
    );
    let mut r = request("* | stats max(k) as hi");
    r.query.pipes = vec![filter::search::Pipe::Stats {
        aggregates: vec![filter::search::Aggregate {
            function: filter::search::AggregateFunction::Sum,
            field: Some(name.into()),
            name: "sum".into(),
        }],
        by: Vec::new(),
    }];
    assert_eq!(rows(&store, &r).0[0].json, r#"{"sum":19}"#);
}

#[test]
fn pipes_that_do_not_fit_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let r = request("* | stats count() by user.name | fields nothing");
    let error = store.search(&r, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(&error, SearchError::Pipes(text) if text.contains("user.name, count")));
}

#[test]
fn too_little_memory_is_an_error_not_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut r = request("* | stats count() by user.name, source.ip");
    r.memory_bytes_max = 1_000;
    let error = store.search(&r, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, SearchError::Memory));
    // What is told apart by number takes part in the limit, too.
    let mut r = request("* | stats dc(user.name)");
    r.memory_bytes_max = 100;
    let error = store.search(&r, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, SearchError::Memory));
}

#[test]
fn sql_reads_and_does_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let run = |text: &str| {
        let mut out = Vec::new();
        let done = store.sql(text, &request("*"), &mut |row| {
            out.push(row.json);
            ControlFlow::Continue(())
        });
        done.map(|_| out)
    };
    let text = r#"select "user.name" as u, count(*) as n from events where "source.ip" like '10.%' group by 1 order by 2 desc, 1 limit 1"#;
    assert_eq!(run(text).unwrap(), [r#"{"u":"u0","n":3}"#]);
    for wrong in [
        "create external table t stored as csv location '/etc/passwd'",
        "copy events to '/tmp/x.csv'",
        "drop table events",
        "set datafusion.execution.batch_size = 1",
        "select * from '/etc/passwd'",
        "select",
    ] {
        assert!(run(wrong).is_err(), "{wrong}");
    }
    for (wrong, told) in [
        ("drop table events", "only `select`"),
        ("select * from read_csv('/etc/passwd')", "there is one table, `events`"),
        (
            "select \"user.nam\" from events",
            "no column `user.nam`; in double quotes there are: \"user.name\"",
        ),
        ("select user.name from events", "names with dots stand in double quotes"),
        ("selec 1", "found: selec at Line: 1, Column: 1"),
    ] {
        let error = run(wrong).unwrap_err().to_string();
        assert!(
            error.contains(told) && !error.contains("narrow the time range"),
            "{wrong}: {error}"
        );
    }
}

#[test]
fn every_function_agrees_with_a_count_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    assert_eq!(
        json(
            &store,
            "* | stats count(source.bytes) as n, values(user.name) as u, dc(user.name) as d"
        ),
        [r#"{"n":12,"u":["u0","u1","u2","u3","u4"],"d":5}"#]
    );
    assert_eq!(
        json(
            &store,
            "* | stats first(source.bytes) as a, last(source.bytes) as z, median(source.bytes) as m"
        ),
        [r#"{"a":"0","z":"110","m":55}"#]
    );
    assert_eq!(
        json(&store, "* | stats p0(source.bytes) as lo, p100(source.bytes) as hi"),
        [r#"{"lo":0,"hi":110}"#]
    );
    assert_eq!(json(&store, "none:x | stats count() as n, sum(a) as s"), [r#"{"n":0,"s":null}"#]);
}

#[test]
fn tables_are_filtered_and_joined() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let by_user = "* | stats count() as n, max(source.bytes) as top by user.name";
    assert_eq!(
        json(&store, &format!("{by_user} | where n >= 3 and not user.name:U0")),
        [r#"{"user.name":"u1","n":3,"top":110}"#]
    );
    assert_eq!(
        json(&store, &format!("{by_user} | where user.name:(*4 or u2*) | sort -user.name")),
        [r#"{"user.name":"u4","n":2,"top":90}"#, r#"{"user.name":"u2","n":2,"top":70}"#]
    );
    let other = "[source.bytes>=100 | stats count() as big by user.name]";
    assert_eq!(
        json(&store, &format!("{by_user} | join inner user.name {other} | fields user.name, big")),
        [r#"{"user.name":"u0","big":1}"#, r#"{"user.name":"u1","big":1}"#]
    );
    assert_eq!(
        json(&store, &format!("{by_user} | join user.name {other} | where not big:* | head 1")),
        [r#"{"user.name":"u2","n":2,"top":70,"big":null}"#]
    );
    assert_eq!(
        json(
            &store,
            &format!("source.bytes<=10 | fields source.ip, user.name | join user.name {other}")
        ),
        [
            r#"{"source.ip":"10.0.0.1","user.name":"u1","big":1}"#,
            r#"{"source.ip":"10.0.0.0","user.name":"u0","big":1}"#
        ]
    );
}

#[test]
fn lookups_add_columns_of_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let text = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let table = store::LookupTable {
        columns: text(&["name", "team", "site"]),
        rows: vec![text(&["U1", "red", "x"]), text(&["u1", "second", "y"]), text(&["u2", "blue"])],
    };
    let mut r = request("* | count by user.name | lookup people user.name output team | head 3");
    r.lookups = Arc::new([("people".to_owned(), Arc::new(table))].into());
    let found: Vec<String> = rows(&store, &r).0.into_iter().map(|row| row.json).collect();
    assert_eq!(
        found,
        [
            r#"{"user.name":"u0","count":3,"team":null}"#,
            r#"{"user.name":"u1","count":3,"team":"red"}"#,
            r#"{"user.name":"u2","count":2,"team":"blue"}"#
        ]
    );
    // What a row lacks is empty; who is in no row has nothing.
    r.query =
        request("* | count by user.name | lookup people user.name output site | head 3").query;
    let found: Vec<String> = rows(&store, &r).0.into_iter().map(|row| row.json).collect();
    assert!(
        found[0].ends_with(r#""site":null}"#) && found[2].ends_with(r#""site":""}"#),
        "{found:?}"
    );
    r.query = request("* | count by user.name | lookup nobody user.name").query;
    let error = store.search(&r, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(&error, SearchError::Pipes(text) if text.contains("people")));
}

/// Counting rows that are alike before the engine sees them changes no result.
#[test]
fn counted_and_plain_rows_give_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    let mut random = Random(7);
    let batch = random_batch(&mut random, 0..900);
    store.append(batch.clone());
    let queries = [
        "* | stats count(), count(x.only.here) as c, dc(user.name), sum(source.bytes) as s by Image",
        "* | stats avg(source.bytes) as a, min(source.bytes), max(user.name) by alcedo.source",
        "* | top 20 user.name, source.ip",
        "* | timechart 7s count() by process.name",
    ];
    let hot: Vec<Vec<String>> = queries.iter().map(|q| json(&store, q)).collect();
    store.flush().unwrap();
    for (text, hot) in queries.iter().zip(hot) {
        assert_eq!(json(&store, text), hot, "{text}");
        // `head` before the table keeps rows apart.
        let plain = text.replace("* |", "* | head 100000 |");
        if !text.contains("timechart") {
            assert_eq!(json(&store, &plain), hot, "{plain}");
        }
    }
}

#[test]
fn sql_has_types_and_uses_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let run = |text: &str| {
        let mut out = Vec::new();
        let summary = store
            .sql(text, &request("*"), &mut |row| {
                out.push(row.json);
                ControlFlow::Continue(())
            })
            .unwrap();
        (out, summary.scanned_rows)
    };
    let (out, _) =
        run(r#"select sum("source.bytes") as s from events where "source.bytes" >= 100"#);
    assert_eq!(out, [r#"{"s":210}"#]);
    let (out, scanned) =
        run(r#"select "user.name" as u from events where "source.ip" = '10.9.9.9'"#);
    assert_eq!((out.len(), scanned), (0, 5), "only the hot rows were looked at");
    let (out, _) = run(
        r#"select count(*) as n from events where "@timestamp" >= timestamp '2026-11-24T02:00:10Z'"#,
    );
    assert_eq!(out, [r#"{"n":2}"#]);
}
