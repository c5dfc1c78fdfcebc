//! Any bytes through programs that call what parses: an event each, never a panic.

use super::{Bench, step};
use proptest::prelude::*;

/// Calls of everything that takes text apart; a failure is passed over.
const CALLS: &[&str] = &[
    r#"parse_json(text)"#,
    r#"parse_key_value(text)"#,
    r#"parse_logfmt(text)"#,
    r#"parse_cef(text)"#,
    r#"parse_csv(text)"#,
    r#"parse_common_log(text)"#,
    r#"parse_apache_log(text, "combined")"#,
    r#"parse_nginx_log(text, "combined")"#,
    r#"parse_url(text)"#,
    r#"parse_query_string(text)"#,
    r#"parse_tokens(text)"#,
    r#"parse_glog(text)"#,
    r#"parse_aws_alb_log(text)"#,
    r#"parse_aws_vpc_flow_log(text)"#,
    r#"parse_influxdb(text)"#,
    r#"parse_yaml(text)"#,
    r#"parse_cbor(text)"#,
    r#"parse_duration(text, "s")"#,
    r#"parse_bytes(text, "b")"#,
    r#"parse_int(text)"#,
    r#"parse_float(text)"#,
    r#"parse_timestamp(text, "%+")"#,
    r#"parse_regex(text, r'(?P<first>\w+) (?P<second>.*)')"#,
    r#"decode_base64(text)"#,
    r#"decode_base16(text)"#,
    r#"decode_percent(text)"#,
    r#"decode_punycode(text)"#,
    r#"decode_mime_q(text)"#,
    r#"split(text, " ", limit: 50)"#,
    r#"slice(text, 1, -1)"#,
    r#"shannon_entropy(text)"#,
    r#"community_id(source_ip: text, destination_ip: text, protocol: 6)"#,
    r#"keys(.)"#,
    r#"camelcase(text)"#,
    r#"parse_user_agent(text)"#,
    r#"flatten(.)"#,
];

/// A step per call: the types of a long program take VRL's compiler long to work out.
fn all_calls() -> String {
    use shape::script::ScriptCompiler;
    let program = |(number, call): (usize, &&str)| {
        let plain = format!("text = string(.message) ?? \"\"\n.mine.c{number} = {call}");
        let caught = format!("{plain} ?? null");
        // What cannot fail must not be caught.
        step(if remap::compiler().compile(&caught, 1).is_ok() { &caught } else { &plain })
    };
    CALLS.iter().enumerate().map(program).collect()
}

fn one_event(bench: &mut Bench, raw: &[u8]) {
    bench.shape(raw);
    assert_eq!(bench.batch.len(), 1);
    assert_eq!(bench.batch.row(0).raw(), raw);
    let message = bench.text("error.message");
    assert!(!message.contains("broke down"), "{message} at {raw:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes(tail in proptest::collection::vec(any::<u8>(), 0..400)) {
        thread_local! { static BENCH: std::cell::RefCell<Bench> = Bench::new(&all_calls()).into(); }
        BENCH.with_borrow_mut(|bench| one_event(bench, &[b"MINE ", &tail[..]].concat()));
    }

    #[test]
    fn any_structure(tail in "[\\[\\]{}\"':=,.<>&; \\\\a-z0-9éß-]{0,300}") {
        thread_local! { static BENCH: std::cell::RefCell<Bench> = Bench::new(&all_calls()).into(); }
        BENCH.with_borrow_mut(|bench| one_event(bench, format!("MINE {tail}").as_bytes()));
    }

    /// Any text as a program: compiled or refused with a line of its own.
    #[test]
    fn any_program(text in "[.a-z0-9 ()\\[\\]{}|>=!?+*/\"'\n-]{0,200}") {
        use shape::script::ScriptCompiler;
        if let Err(error) = remap::compiler().compile(&text, 7) {
            let last = 7 + text.lines().count().max(1);
            prop_assert!((7..=last).contains(&error.line), "{error}");
        }
    }
}

/// Scenario: what nests or repeats without limit.
/// Guarantees: one event each, in bounded time and depth.
#[test]
fn depth_and_size() {
    let mut bench = Bench::new(&all_calls());
    for text in [
        "[".repeat(200_000),
        "{\"a\":".repeat(200_000),
        "a.".repeat(100_000),
        "a: &a [*a, *a]\n".repeat(1_000),
        "x=1 ".repeat(100_000),
        "(".repeat(100_000),
        "%".repeat(100_000),
    ] {
        one_event(&mut bench, format!("MINE {text}").as_bytes());
        one_event(&mut bench, format!("MINE x\n{text}").as_bytes());
    }
}

/// Scenario: an event larger than what a program is given.
/// Guarantees: it fails with a message and keeps its bytes.
#[test]
fn an_event_that_is_too_large_is_not_given() {
    let mut bench = Bench::new(&step(".mine.x = 1"));
    let raw = [b"MINE ".to_vec(), vec![b'x'; remap::INPUT_BYTES_MAX]].concat();
    assert!(bench.shape(&raw));
    assert!(bench.text("error.message").contains("has more than"));
    assert_eq!(bench.batch.row(0).raw(), raw);
}
