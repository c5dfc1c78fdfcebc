//! What a program sees and what becomes of what it leaves.

use super::{Bench, RECEIVED_NS, step};
use event::Kind;

/// Shapes one line with one program and compares fields; `-` = absent.
fn check(program: &str, line: &str, want: &[(&str, &str)]) -> Bench {
    let mut bench = Bench::new(&step(program));
    let failed = bench.shape(line.as_bytes());
    assert!(!failed, "{program}: {}", bench.text("error.message"));
    for (field, value) in want {
        assert_eq!(bench.text(field), *value, "{field} of {program}");
    }
    bench
}

/// Scenario: values of every kind are assigned.
/// Guarantees: kinds as assigned, arrays as several values, times as RFC 3339, null as nothing.
#[test]
fn values_become_cells_of_their_kind() {
    let bench = check(
        ".mine.s = \"x\"\n.mine.n = 7\n.mine.f = 1.5\n.mine.b = true\n.mine.none = null\n\
         .mine.list = [\"a\", 2, {\"deep\": 3}]\n.mine.at = t'2026-11-23T01:02:03.5Z'\n\
         .mine.o = {\"p\": {\"q\": \"r\"}}\n.\"mine.dotted\" = 1",
        "MINE x",
        &[
            ("mine.s", "x"),
            ("mine.none", "-"),
            ("mine.list", "a|2"),
            ("mine.list.deep", "3"),
            ("mine.at", "2026-11-23T01:02:03.500Z"),
            ("mine.o.p.q", "r"),
            ("mine.dotted", "1"),
        ],
    );
    for (name, kind) in [
        ("mine.s", Kind::Str),
        ("mine.n", Kind::Int),
        ("mine.f", Kind::Float),
        ("mine.b", Kind::Bool),
        ("mine.list", Kind::Str),
        ("mine.at", Kind::Str),
    ] {
        assert_eq!(bench.kind(name), Some(kind), "{name}");
    }
}

/// Scenario: a product's line taken apart by a program, with a syslog header before it.
/// Guarantees: the program sees message, record and what the header gave; ECS fields take what fits.
#[test]
fn a_program_reads_the_event() {
    let line =
        "<13>Nov 23 00:00:00 web1 app: MINE src=::ffff:10.0.0.1 dst=nowhere n=- user=ACME\\bob";
    let bench = check(
        "parts = parse_key_value!(replace(string!(.message), \"MINE \", \"\"))\n\
         .source.ip = parts.src\n.destination.ip = parts.dst\n.event.code = parts.n\n\
         .user.name = parts.user\n.mine = parts\n.mine.host = .host.hostname\n\
         .mine.whole = starts_with(string!(.event.original), \"<13>\")",
        line,
        &[
            ("source.ip", "10.0.0.1"),
            ("destination.ip", "-"),
            ("event.code", "-"),
            ("user.name", "bob"),
            ("user.domain", "ACME"),
            ("mine.src", "::ffff:10.0.0.1"),
            ("mine.n", "-"),
            ("mine.host", "web1"),
            ("mine.whole", "true"),
        ],
    );
    // `-` of the product's own is a value, of ECS it is none.
    assert_eq!((bench.kind("mine.n"), bench.kind("event.code")), (Some(Kind::Str), None));
}

/// Scenario: fields are changed, removed and left alone.
/// Guarantees: what was removed is gone, what was not touched is still a piece of the record.
#[test]
fn changes_and_deletions() {
    let steps = format!(
        "  - dissect: {{ message: 'MINE %{{.a}} %{{.b}} %{{.c}}' }}\n{}",
        step("del(.mine.a)\n.mine.b = upcase(string!(.mine.b))\n.mine.d = .mine.c")
    );
    let mut bench = Bench::new(&steps);
    assert!(!bench.shape(b"MINE one two three"));
    assert_eq!(bench.text("mine.a"), "-");
    assert_eq!(bench.text("mine.b"), "TWO");
    assert_eq!((bench.text("mine.c"), bench.text("mine.d")), ("three".into(), "three".into()));
    let explained = bench.explain(b"MINE one two three");
    let stage = |name: &str| {
        let found = explained.stages.iter().find(|s| s.name == name);
        found.unwrap_or_else(|| panic!("{name} in {:?}", explained.stages))
    };
    let cut: Vec<_> = stage("step 1 dissect").fields.iter().collect();
    assert_eq!(cut.len(), 1, "what the program took away or replaced is not shown as cut: {cut:?}");
    assert_eq!((cut[0].name.as_str(), cut[0].bytes.clone()), ("mine.c", Some(13..18)));
    let written: Vec<_> = stage("step 2 vrl").fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(written, ["mine.b", "mine.d"]);
}

/// Scenario: a program replaces the event as a whole.
/// Guarantees: only what it leaves is there, but for what is not its to take: pack, source, record.
#[test]
fn the_root_is_replaced() {
    let bench = check(
        ". = {\"mine\": {\"only\": 1}}",
        "<13>Nov 23 00:00:00 web1 app: MINE x",
        &[("mine.only", "1"), ("message", "-"), ("host.hostname", "-"), ("alcedo.pack", "mine")],
    );
    assert_eq!(bench.batch.row(0).raw(), b"<13>Nov 23 00:00:00 web1 app: MINE x");
}

/// Scenario: a program sets the time, as a time and as text.
/// Guarantees: it is the event's time; nonsense is a claim.
#[test]
fn timestamp_sets_the_time() {
    let at = RECEIVED_NS - 3_600 * event::time::SECOND_NS;
    for value in ["t'2026-11-23T23:00:00Z'", "\"2026-11-23T23:00:00Z\""] {
        let bench = check(&format!(".@timestamp = {value}"), "MINE x", &[]);
        assert_eq!(bench.batch.row(0).event_ns(), at, "{value}");
    }
    let time = "parse_timestamp!(\"2026-11-23 23:00\", \"%Y-%m-%d %H:%M\")";
    let bench = check(&format!(".@timestamp = {time}"), "MINE x", &[]);
    assert_eq!(bench.batch.row(0).event_ns(), at, "times without a zone are UTC");
    let claimed = [("alcedo.claimed.@timestamp", "soon")];
    let bench = check(".@timestamp = \"soon\"", "MINE x", &claimed);
    assert_eq!(bench.batch.row(0).event_ns(), RECEIVED_NS);
}

/// Scenario: a program writes what is Alcedo's to say, and takes it away.
/// Guarantees: both have no effect; what was written is kept as a claim.
#[test]
fn intrinsic_names_cannot_be_forged() {
    let bench = check(
        ".event.original = \"other\"\n.event.id = \"x\"\n.alcedo.source = \"root\"\n\
         .alcedo.logsource = \"windows//security\"\n.alcedo.pack = \"windows\"\ndel(.event.original)",
        "MINE x",
        &[
            ("alcedo.claimed.event.id", "x"),
            ("alcedo.claimed.alcedo.source", "root"),
            ("alcedo.claimed.alcedo.logsource", "windows//security"),
            ("alcedo.pack", "mine"),
            ("alcedo.logsource", "-"),
        ],
    );
    assert_eq!(bench.batch.row(0).raw(), b"MINE x");
}

/// Scenario: calls that fail, a value too many levels deep, a loop without an end in sight.
/// Guarantees: the event is there with its bytes, `parse_failed` and a message that names the line;
/// nothing that the program did is kept.
#[test]
fn failures_keep_the_event() {
    for (program, part) in [
        (".mine.x = 1\n.mine.y = to_int!(.message)", "at line 10"),
        (".mine.x = 1\nabort \"not today\"", "not today"),
        (".mine.x = 1\n. = 7", "instead of an object"),
        (
            ".mine.x = 1\nfor_each(range!(0, 1000)) -> |_i, _v| { for_each(range!(0, 1000)) -> |_j, w| { .mine.x = w } }",
            "stopped after",
        ),
        (".mine.x = 1\n.mine.many = range!(0, 5000)", "more than 2048 values"),
        (
            ".mine.x = \"0123456789abcdef\"\nfor_each(range!(0, 17)) -> |_i, _v| { .mine.x = string!(.mine.x) + string!(.mine.x) }",
            "over 1048576 bytes",
        ),
    ] {
        let mut bench = Bench::new(&step(program));
        assert!(bench.shape(b"MINE x"), "{program}");
        let message = bench.text("error.message");
        assert!(message.starts_with("vrl: ") && message.contains(part), "{message}");
        assert_eq!((bench.text("tags"), bench.text("mine.x")), ("parse_failed".into(), "-".into()));
        assert_eq!(
            (bench.text("message"), bench.batch.row(0).raw()),
            ("MINE x".into(), &b"MINE x"[..])
        );
    }
}

/// Scenario: `when`, `must` and `abort`.
/// Guarantees: a program runs where its condition holds; one that declines changes nothing, and fails
/// the event only where the step is a must.
#[test]
fn conditions_and_declining() {
    let program =
        step("if contains(string!(.message), \"no\") { .mine.x = 1\nabort }\n.mine.x = 2");
    let mut bench = Bench::new(&program);
    assert!(!bench.shape(b"MINE no") && bench.text("mine.x") == "-");
    assert!(!bench.shape(b"MINE yes") && bench.text("mine.x") == "2");
    let mut bench = Bench::new(&format!("{program}    must: true\n"));
    assert!(bench.shape(b"MINE no"));
    assert_eq!(bench.text("error.message"), "pack mine, step 1: no pattern matches");
    assert!(!bench.shape(b"MINE yes"));
    let mut bench = Bench::new(&format!("{program}    when: 'message:*yes*'\n    must: true\n"));
    assert!(!bench.shape(b"MINE no") && bench.text("mine.x") == "-");
    assert!(!bench.shape(b"MINE yes") && bench.text("mine.x") == "2");
}

/// Scenario: the same record twice, and by two shapers.
/// Guarantees: the same fields in the same order.
#[test]
fn the_same_record_gives_the_same_event() {
    let program = ".mine = parse_key_value!(.message)\n.mine.h = shannon_entropy!(.message)\n\
                   .mine.t = parse_timestamp(\"2026-11-23 23:00\", \"%F %H:%M\", timezone: \"Europe/Berlin\") ?? null";
    let line = b"MINE b=1 a=2 c=3 d=4 e=5";
    let json = |bench: &mut Bench| {
        assert!(!bench.shape(line), "{}", bench.text("error.message"));
        let mut out = String::new();
        shape::to_json(&bench.batch.row(0), &mut out);
        out
    };
    let (mut one, mut other) = (Bench::new(&step(program)), Bench::new(&step(program)));
    let first = json(&mut one);
    assert!(first.contains("2026-11-23T22:00:00Z"), "{first}");
    assert_eq!((&first, &first), (&json(&mut one), &json(&mut other)));
}

/// Scenario: names that a program assigns, and names that it makes while it runs.
/// Guarantees: the former have ids in the generation, the latter are there all the same.
#[test]
fn assigned_names_are_known() {
    let program = ".mine.known.at_load = 1\n. = merge(., from_entries!([{\"key\": \"mine_made\", \"value\": 2}]))";
    let bench = check(program, "MINE x", &[("mine.known.at_load", "1"), ("mine_made", "2")]);
    assert!(bench.dict.id("mine.known.at_load").is_some());
    assert!(bench.dict.id("mine_made").is_none());
}
