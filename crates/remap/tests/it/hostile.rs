//! Any bytes through programs that call what parses: an event each, never a panic.

use super::{Bench, step};
use proptest::prelude::*;

/// Calls every parser that is offered; each failure is passed over.
const PARSERS: &str = "text = string(.message) ?? \"\"
.mine.json = parse_json(text) ?? null
.mine.kv = parse_key_value(text) ?? null
.mine.logfmt = parse_logfmt(text) ?? null
.mine.cef = parse_cef(text) ?? null
.mine.csv = parse_csv(text) ?? null
.mine.common = parse_common_log(text) ?? null
.mine.apache = parse_apache_log(text, \"combined\") ?? null
.mine.nginx = parse_nginx_log(text, \"combined\") ?? null
.mine.url = parse_url(text) ?? null
.mine.query = parse_query_string(text) ?? null
.mine.tokens = parse_tokens(text) ?? null
.mine.glog = parse_glog(text) ?? null
.mine.elb = parse_aws_alb_log(text) ?? null
.mine.vpc = parse_aws_vpc_flow_log(text) ?? null
.mine.influx = parse_influxdb(text) ?? null
.mine.yaml = parse_yaml(text) ?? null
.mine.cbor = parse_cbor(text) ?? null
.mine.duration = parse_duration(text, \"s\") ?? null
.mine.bytes = parse_bytes(text, \"b\") ?? null
.mine.int = parse_int(text) ?? null
.mine.float = parse_float(text) ?? null
.mine.time = parse_timestamp(text, \"%+\") ?? null
.mine.groups = parse_regex(text, r'(?P<first>\\w+) (?P<second>.*)') ?? null
.mine.b64 = decode_base64(text) ?? null
.mine.b16 = decode_base16(text) ?? null
.mine.percent = decode_percent(text)
.mine.puny = decode_punycode(text) ?? null
.mine.mime = decode_mime_q(text) ?? null
.mine.parts = split(text, \" \", limit: 50)
.mine.cut = slice(text, 1, -1) ?? null
.mine.entropy = shannon_entropy(text)
.mine.community = community_id(source_ip: text, destination_ip: text, protocol: 6) ?? null
.mine.keys = keys(.)
.mine.case = camelcase(text)";

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
        thread_local! { static BENCH: std::cell::RefCell<Bench> = Bench::new(&step(PARSERS)).into(); }
        BENCH.with_borrow_mut(|bench| one_event(bench, &[b"MINE ", &tail[..]].concat()));
    }

    #[test]
    fn any_structure(tail in "[\\[\\]{}\"':=,.<>&; \\\\a-z0-9éß-]{0,300}") {
        thread_local! { static BENCH: std::cell::RefCell<Bench> = Bench::new(&step(PARSERS)).into(); }
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
    let mut bench = Bench::new(&step(PARSERS));
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
