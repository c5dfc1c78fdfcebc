//! Every step of a pack, on small packs of a user; what is wrong with a pack is told with its line.

use super::Bench;
use event::DictionaryBuilder;
use shape::{PackSet, Shaper};
use std::fs;

/// A bench whose set has one more pack, made of `head` lines and `steps`.
fn bench(steps: &str) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("mine")).unwrap();
    let text = format!(
        "pack: mine\ntitle: A pack of a user\nformat: [https://example.com/format]\nparser: text\n\
         prefix: mine\nvendor: Mine\nproduct: Gate\nrecognise: {{ starts: ['MINE '] }}\n\
         fields: {{ .n: long }}\npatterns: {{ MINEID: '[A-Z]{{2}}\\d+' }}\nsteps:\n{steps}"
    );
    fs::write(dir.path().join("mine/pack.yaml"), text).unwrap();
    let set = PackSet::load(dir.path()).unwrap_or_else(|e| panic!("{e}"));
    let mut names = DictionaryBuilder::new();
    set.register(&mut names);
    let dict = names.build();
    let mut bench = Bench::new();
    bench.shaper = Shaper::new(set.into(), dict.clone(), Default::default(), Default::default());
    bench.dict = dict;
    bench.clear();
    bench
}

/// Shapes one line and compares fields; `-` = absent.
fn check(steps: &str, line: &str, want: &[(&str, &str)]) {
    let mut bench = bench(steps);
    bench.shape(line.as_bytes());
    assert_eq!(bench.text(0, "alcedo.pack").as_deref(), Some("mine"), "{line}");
    for (field, value) in want {
        let got = bench.all(0, field).join("|");
        let got = if got.is_empty() { "-".to_owned() } else { got };
        assert_eq!(got, *value, "{field} of {line}");
    }
}

/// Two steps may find out the same: the field has it once, and other values beside it.
#[test]
fn a_value_is_said_once() {
    check(
        "  - { set: { event.kind: event, event.category: network } }
  - lookup: { event.kind: { from: message, table: {}, default: event } }
  - { set: { event.category: [network, web] } }
",
        "MINE x",
        &[("event.kind", "event"), ("event.category", "network|web")],
    );
}

#[test]
fn patterns_columns_and_pairs() {
    check(
        "  - grok: { message: ['^MINE no', '^MINE %{MINEID:.id} %{IP:source.ip}:%{INT:source.port} %{NUMBER:.n:int} %{GREEDYDATA:.rest}'] }\n",
        "MINE AB12 10.0.0.1:80 7 the rest",
        &[
            ("mine.id", "AB12"),
            ("source.ip", "10.0.0.1"),
            ("source.port", "80"),
            ("mine.n", "7"),
            ("mine.rest", "the rest"),
            ("observer.vendor", "Mine"),
            ("observer.product", "Gate"),
        ],
    );
    check(
        "  - dissect: { message: 'MINE %{user.name->} from %{source.ip} %{}' }\n",
        "MINE bob   from not-an-ip x",
        &[("user.name", "bob"), ("source.ip", "-")],
    );
    let csv = "  - dissect: { message: 'MINE %{.row}' }\n  - csv:\n      .row:\n        columns: [.a, '', source.ip, .text]\n        layouts: { 2: [.one, .two] }\n";
    check(
        csv,
        "MINE x,skipped,10.0.0.1,\"a, \"\"b\"\"\",beyond",
        &[("mine.a", "x"), ("source.ip", "10.0.0.1"), ("mine.text", "a, \"b\"")],
    );
    check(csv, "MINE 1,2", &[("mine.one", "1"), ("mine.two", "2"), ("mine.a", "-")]);
    check(
        "  - kv: { message: { to: mine, pair: ';', value: ':' } }\n",
        "MINE ;a: 1; b: two words",
        &[("mine.a", "1"), ("mine.b", "two words")],
    );
    check(
        "  - kv: { message: { to: mine, wordy: true } }\n",
        "MINE a=two words b=3",
        &[("mine.a", "two words"), ("mine.b", "3")],
    );
}

#[test]
fn documents_inside_text() {
    let cut = "  - dissect: { message: 'MINE %{.doc}' }\n";
    check(
        &format!("{cut}  - json: {{ .doc: mine.j }}\n"),
        r#"MINE {"a":{"b":1}}"#,
        &[("mine.j.a.b", "1")],
    );
    check(
        &format!("{cut}  - xml: {{ .doc: mine.x }}\n"),
        r#"MINE <?xml version="1.0"?><E n="1"><A>x &amp; y</A><B/></E> tail"#,
        &[("mine.x.E.n", "1"), ("mine.x.E.A", "x & y")],
    );
    check(
        "  - cef: { message: mine }\n",
        "MINE CEF:0|V|P|1|7|n|3|src=10.0.0.1 msg=a b",
        &[("mine.device_vendor", "V"), ("mine.extensions.msg", "a b")],
    );
    check(
        "  - leef: { message: mine }\n",
        "MINE LEEF:1.0|V|P|1|7|src=10.0.0.1\tmsg=a b",
        &[("mine.event_id", "7"), ("mine.attributes.msg", "a b")],
    );
}

#[test]
fn values_are_chosen_split_and_looked_up() {
    let kv = "  - kv: { message: mine }\n";
    check(
        &format!(
            "{kv}  - when: '.act:(deny or drop) and not .x:*'\n    lookup:\n      event.type: {{ from: .act, table: {{ deny: [connection, denied], DROP: denied }} }}\n      event.outcome: {{ from: [.none, .act], table: {{ allow: success }}, default: failure }}\n"
        ),
        "MINE act=Deny",
        &[("event.type", "connection|denied"), ("event.outcome", "failure")],
    );
    check(
        &format!("{kv}  - when: '.act:deny and not .x:*'\n    set: {{ event.action: no }}\n"),
        "MINE act=deny x=1",
        &[("event.action", "-")],
    );
    check(
        &format!(
            "{kv}  - split: {{ .list: {{ on: ',', to: .part }} }}\n    address: {{ .from: source, .to: destination }}\n    url: {{ .url: url }}\n    case: {{ .w: upper }}\n    default: {{ event.kind: event, mine.w: z }}\n"
        ),
        "MINE list=a,b,c from=10.0.0.1:5 to=db.example.com url=https://u@h.example:8443/p?q=1#f w=x",
        &[
            ("mine.part", "a|b|c"),
            ("source.ip", "10.0.0.1"),
            ("source.port", "5"),
            ("destination.domain", "db.example.com"),
            ("url.scheme", "https"),
            ("url.domain", "h.example"),
            ("url.port", "8443"),
            ("url.path", "/p"),
            ("url.query", "q=1"),
            ("mine.w", "X"),
            ("event.kind", "event"),
        ],
    );
    let select = "  - grok: { message: '^MINE %{INT:.id} ' }\n  - select:\n      on: .id\n      from: message\n      cases:\n        '7 8': 'user %{USER:user.name}'\n        '9': ['none', 'host %{HOST:host.name}']\n";
    check(select, "MINE 8 user bob", &[("user.name", "bob")]);
    check(select, "MINE 9 host Web1", &[("host.name", "web1"), ("user.name", "-")]);
}

#[test]
fn times_of_several_fields_and_steps_that_must_match() {
    let mut b = bench("  - kv: { message: mine }\n  - date: ['.date + .time + .tz']\n");
    b.shape(b"MINE date=2026-03-05 time=14:07:09 tz=+0200");
    assert_eq!(b.text(0, "@timestamp").as_deref(), Some("2026-03-05T12:07:09Z"));
    let mut b = bench("  - must: true\n    grok: { message: 'x%{INT:.n}' }\n");
    let shaped = b.shape(b"MINE nothing");
    assert_eq!(shaped.failed, 1);
    assert_eq!(b.all(0, "tags"), ["parse_failed"]);
    assert_eq!(
        b.text(0, "error.message").as_deref(),
        Some("pack mine, step 1: no pattern matches")
    );
    assert_eq!(b.shape(b"MINE x1").failed, 0);
}

#[test]
fn an_explanation_says_which_step_took_which_bytes() {
    let b = bench("  - grok: { message: '^MINE %{IP:source.ip}' }\n");
    let line = b"<13>Nov 23 00:00:00 web1 app: MINE 10.0.0.1";
    let all = b.shaper.explain(b.head(), line, &b.dict);
    let stage = |name: &str| all[0].stages.iter().find(|s| s.name == name).unwrap();
    let host = &stage("syslog header").fields;
    let host = host.iter().find(|f| f.name == "host.hostname").unwrap();
    assert_eq!(host.bytes.clone().map(|r| &line[r]), Some(&b"web1"[..]));
    let ip = &stage("step 1 grok").fields[0];
    assert_eq!((ip.name.as_str(), ip.value.as_str()), ("source.ip", "10.0.0.1"));
    assert_eq!(ip.bytes, Some(35..43));
}

#[test]
fn wrong_steps_are_told_with_their_line() {
    for (steps, part) in [
        ("  - grok: { message: '%{NOSUCH:x}' }\n", "no grok pattern `NOSUCH`"),
        ("  - grok: { message: '(?=x)' }\n", "bad regular expression"),
        ("  - dissect: { message: '%{a}%{b}' }\n", "between"),
        ("  - when: 'a:('\n    set: { event.kind: event }\n", "column"),
        ("  - lookup: { event.typ: { from: .a, table: { a: b } } }\n", "no ECS field"),
        ("  - lookup: { source.port: { from: .a, table: { a: b } } }\n", "does not fit"),
        ("  - kv: { message: { to: mine, pair: 'ab' } }\n", "no separator"),
        ("  - case: { .a: title }\n", "no case"),
        ("  - convert: { .a: number }\n", "no field type"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("mine")).unwrap();
        let text = format!(
            "pack: mine\ntitle: A pack\nformat: [https://example.com]\nparser: text\nprefix: mine\nsteps:\n{steps}"
        );
        fs::write(dir.path().join("mine/pack.yaml"), text).unwrap();
        let error = PackSet::load(dir.path()).err().expect(part);
        assert!(error.message.contains(part), "{error}");
        assert_eq!(error.line, 7, "{error}");
    }
}

#[test]
fn a_source_is_remembered_and_forgotten_without_changing_events() {
    let mut bench = Bench::new();
    let mut sniffer = shape::Sniffer::new();
    let ssh = b"<86>Nov 23 00:00:00 h sshd[7]: Failed password for root from 10.0.0.1 port 22 ssh2";
    let cef = b"CEF:0|V|P|1|7|n|3|src=10.0.0.1";
    for _ in 0..shape::sniff::STREAK_RECORDS {
        bench.shape(ssh);
    }
    let decisions = sniffer.observe(&bench.batch);
    let want = shape::Decision { source: "test".into(), pack: Some("linux-auth".into()) };
    assert_eq!(decisions, [want]);
    bench.clear();
    for _ in 0..shape::sniff::STREAK_RECORDS {
        bench.shape(cef);
    }
    assert_eq!(
        sniffer.observe(&bench.batch),
        [shape::Decision { source: "test".into(), pack: None }]
    );
    let settings = shape::Settings {
        remembered: [("test".to_owned(), "linux-auth".to_owned())].into_iter().collect(),
        ..Default::default()
    };
    let mut with = Bench::with(Default::default(), settings);
    let mut without = Bench::new();
    for line in [&ssh[..], cef, b"a=1 b=2 c=3", b"{\"a\":1}", b"text"] {
        for b in [&mut with, &mut without] {
            b.clear();
            b.shape(line);
        }
        let shown = |b: &Bench| {
            let mut out = String::new();
            shape::to_json(&b.batch.row(0), &mut out);
            out
        };
        assert_eq!(shown(&with), shown(&without));
    }
}
