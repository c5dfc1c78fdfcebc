//! One record, several events; and hostile input.

use super::{Bench, RECEIVED_NS};
use event::Marks;
use proptest::prelude::*;

#[test]
fn envelopes_and_arrays_become_numbered_events() {
    let mut bench = Bench::new();
    let body = br#" {"Records": [ {"eventSource":"s3.amazonaws.com","eventName":"GetObject","awsRegion":"eu-west-1"},
        {"eventSource":"iam.amazonaws.com","eventName":"CreateUser","awsRegion":"eu-west-1"} ] }"#;
    let shaped = bench.shape(body);
    assert_eq!((shaped.rows, shaped.failed), (2, 0));
    assert_eq!(bench.text(1, "eventName").as_deref(), Some("CreateUser"));
    assert_eq!(bench.batch.row(1).id().sub, 1);
    assert!(!bench.batch.row(0).marks().has(Marks::EXPANDED));
    assert!(bench.batch.row(1).marks().has(Marks::EXPANDED));
    assert!(bench.batch.row(1).raw().starts_with(b"{\"eventSource\":\"iam"));
    let shaped = bench.shape(b"[{\"a\":1},{\"a\":2},{\"a\":");
    assert_eq!((shaped.rows, shaped.failed), (3, 1));
    assert_eq!(bench.batch.row(4).raw(), b"{\"a\":");
    assert_eq!(bench.shape(b"[]").rows, 1);
    assert_eq!(bench.shape(b"{\"Records\":[{\"a\"").rows, 1);
}

/// A tool that shows one event per record: one in an envelope is that event, several stay the record.
#[test]
fn an_envelope_of_one_is_its_event() {
    let mut bench = Bench::new();
    let event = r#"{"eventSource":"iam.amazonaws.com","eventName":"CreateUser","eventVersion":"1.08","awsRegion":"eu-west-1"}"#;
    for (text, name, raw) in [
        (format!(r#"{{"Records":[{event}]}}"#), Some("CreateUser"), event.to_owned()),
        (format!(r#"{{"Records":[{event},{event}]}}"#), None, String::new()),
        (event.to_owned(), Some("CreateUser"), event.to_owned()),
    ] {
        bench.clear();
        let head = bench.head();
        bench.shaper.shape_whole(head, text.as_bytes(), &mut bench.batch, &mut bench.scratch);
        assert_eq!(bench.batch.len(), 1, "{text}");
        assert_eq!(bench.text(0, "event.action").as_deref(), name, "{text}");
        let raw = if name.is_some() { raw } else { text.clone() };
        assert_eq!(bench.batch.row(0).raw(), raw.as_bytes());
    }
}

#[test]
fn an_endless_array_keeps_its_rest_raw() {
    let mut bench = Bench::new();
    let mut body = b"[".to_vec();
    body.extend(b"{\"n\":1},".repeat(shape::shaper::EXPANDED_MAX + 50));
    let shaped = bench.shape(&body);
    assert_eq!(shaped.rows, shape::shaper::EXPANDED_MAX + 1);
    let last = bench.batch.row(shaped.rows - 1);
    assert!(last.marks().has(Marks::QUARANTINED) && last.raw().len() > 300);
}

#[test]
fn times_are_believed_only_when_they_can_be_true() {
    let mut bench = Bench::new();
    bench.shape(br#"{"@timestamp":"2026-11-24T00:04:00Z","a":1}"#);
    assert_eq!(bench.batch.row(0).event_ns(), RECEIVED_NS + 240 * event::time::SECOND_NS);
    bench.shape(br#"{"@timestamp":"2031-01-01T00:00:00Z","event.original":"forged"}"#);
    let row = bench.batch.row(1);
    assert_eq!(row.event_ns(), RECEIVED_NS);
    assert!(row.marks().has(Marks::TIME_SUSPECT));
    assert_eq!(bench.all(1, "tags"), ["time_suspect"]);
    assert_eq!(bench.text(1, "alcedo.claimed.event.original").as_deref(), Some("forged"));
    bench.shape(br#"{"@timestamp":"2019-05-05T00:00:00Z"}"#);
    assert_eq!(&bench.text(2, "@timestamp").unwrap()[..4], "2019");
}

#[test]
fn a_broken_record_is_an_event_with_what_could_be_read() {
    let mut bench = Bench::new();
    let shaped = bench.shape(br#"{"user":"eve","n":12,"cut":"of"#);
    assert_eq!(shaped.failed, 1);
    assert!(bench.batch.row(0).marks().has(Marks::PARSE_FAILED));
    assert_eq!(bench.text(0, "user").as_deref(), Some("eve"));
    assert_eq!(bench.all(0, "tags"), ["parse_failed"]);
    assert!(bench.text(0, "error.message").unwrap().contains("JSON"));
}

#[test]
fn a_header_does_not_move_the_envelopes_identity() {
    let mut bench = Bench::new();
    bench.shape(b"<34>Nov 23 22:14:15 VICTIM su[12]: x");
    assert_eq!(bench.text(0, "alcedo.source").as_deref(), Some("test"));
    assert_eq!(bench.text(0, "host.name").as_deref(), Some("victim"));
    assert_eq!(bench.text(0, "host.hostname").as_deref(), Some("VICTIM"));
    assert_eq!(bench.text(0, "process.pid").as_deref(), Some("12"));
    assert_eq!(bench.text(0, "@timestamp").as_deref(), Some("2026-11-23T22:14:15Z"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Any bytes give rows that hold them, and the JSON form is JSON.
    #[test]
    fn any_bytes_become_events(raw in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&raw)?;
    }

    /// Damaged real records too.
    #[test]
    fn damaged_records_become_events(pick in 0usize..SEEDS.len(), at in 0usize..400, byte: u8, cut in 0usize..400) {
        let mut raw = SEEDS[pick].to_vec();
        if at < raw.len() { raw[at] = byte; }
        raw.truncate(raw.len().min(cut + 1));
        check(&raw)?;
    }
}

const SEEDS: &[&[u8]] = &[
    br#"{"Records":[{"eventSource":"a","eventName":"b","awsRegion":"c","x":[1,{"y":null}]}]}"#,
    br##"{"Event":{"System":{"Channel":"Security","EventID":{"#text":4688,"#attributes":{"Qualifiers":"0"}}},"EventData":{"NewProcessName":"C:\\a.exe","NewProcessId":"0x1f"}}}"##,
    b"<34>1 2026-11-23T22:14:15Z host app 12 ID47 [x@1 k=\"v\"] CEF:0|a|b|c|d|e|5|src=1.2.3.4 msg=a\\=b",
    b"Nov 23 10:00:00 h sshd[1]: message repeated 3 times: [ Failed password for root from 1.2.3.4 port 22 ssh2]",
    b"type=EXECVE msg=audit(1604996384.965:93777): argc=2 a0=\"ls\" a1=2D6C",
    b"<Event xmlns='x'><System><Channel>Security</Channel><EventID>1</EventID></System></Event>",
    b"1.2.3.4 - - [10/Oct/2025:13:55:36 +0000] \"GET /a?b=c HTTP/1.1\" 200 5 \"-\" \"curl\"",
];

thread_local! {
    /// Compiling packs takes longer than all cases.
    static BENCH: std::cell::RefCell<(Bench, Bench)> = (Bench::new(), Bench::new()).into();
}

/// What an element of a list starts with.
const OPEN: &[u8] = b"{";

fn check(raw: &[u8]) -> Result<(), TestCaseError> {
    BENCH.with_borrow_mut(|(first, second)| {
        let shaped = first.start().shape(raw);
        prop_assert!(shaped.rows >= 1 && first.batch.len() == shaped.rows);
        if shaped.rows == 1 {
            let kept = first.batch.row(0).raw();
            prop_assert!(memchr::memmem::find(raw, kept).is_some() || kept.is_empty());
            prop_assert!(kept.len() == raw.len() || kept.starts_with(OPEN));
        }
        second.start().shape(raw);
        let events = json(first);
        for event in &events {
            prop_assert!(serde_json::from_str::<serde_json::Value>(event).is_ok(), "{}", event);
        }
        prop_assert_eq!(events, json(second));
        Ok(())
    })
}

fn json(bench: &Bench) -> Vec<String> {
    let one = |row| {
        let mut out = String::new();
        shape::to_json(&row, &mut out);
        out
    };
    bench.batch.rows().map(one).collect()
}
