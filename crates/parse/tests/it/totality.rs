//! Any bytes in, no panic, linear work, and results that lie inside the input.

use crate::batch;
use parse::{
    access_log, auditd, auth, cef, format, json, kv, leef, netfilter, records, syslog, timestamp,
    windows, windows_text, zeek,
};
use proptest::prelude::*;

const PROGRAMS: [&str; 8] =
    ["sshd", "sudo", "su", "CRON", "systemd-logind", "useradd", "login", "sshd(pam_unix)"];

/// Lines to mutate besides the samples of the table.
const LINES: &[&str] = &[
    "<189>45: *Mar  5 14:07:09.123 CET: %SYS-5-CONFIG_I: Configured from console",
    "<34>Oct 11 22:14:15 mymachine su[12]: 'su root' failed for lonvick on /dev/pts/8",
    "<165>1 2003-10-11T22:14:15.003Z host app 12 ID47 [x@1 k=\"v\\\"\"][y@1] \u{feff}text",
    "<13>2024-03-05T14:07:09+00:00 h app 1 - [x@1 a=\"b\"] text",
    "Failed password for invalid user bob from 192.0.2.7 port 4711 ssh2",
    "message repeated 5 times: [ Failed password for root from 192.0.2.7 port 4711 ssh2]",
    "pam_unix(sshd:auth): authentication failure; logname= uid=0 tty=ssh rhost=192.0.2.7  user=root",
    "bob : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/su",
    "(root) CMD (run-parts /etc/cron.hourly)",
    "new user: name=bob, UID=1001, GID=1001, home=/home/bob, shell=/bin/bash",
    "type=USER_AUTH msg=audit(1.5:2): pid=1 msg='op=PAM acct=\"root\" res=failed' exe=2F62",
    "Tue, 05 Mar 2024 14:07:09 GMT",
    "/Date(1709647629123+0100)/",
    "#separator \\x09\n#path\tdns\n#fields\tts\tuid\tanswers\n#types\ttime\tstring\tset[string]",
    "1521911721.255387\tC8Tful1TvM3Zf5x8fl\t10.0.0.1\t1\t10.0.0.2\t2\ttcp\t-\ta\\x2cb",
    "#Fields: date time s-ip cs-method cs(User-Agent) sc-status",
    "2024-03-05 14:07:09 10.0.0.5 GET /a - 443 - 203.0.113.7 x - 200 0 0 15",
    "2 123456789010 eni-1 10.0.0.1 10.0.0.2 1 22 6 1 40 1418530010 1418530070 ACCEPT OK",
    "MSWinEventLog\t1\tSecurity\t7\tMon Nov 23 09:00:00 2026\t4624\tP\tU\tN\tT\tC\tL\t\tA.  Subject:   Name:  x",
    "LogName=Security\nEventCode=4624\nMessage=A.\n\nSubject:\n\tAccount Name:\tx\nImage: y",
    "<EventData><Data Name=\"A\">1 &amp; 2</Data><Data Name='B'/></EventData>",
    "{\"a\":[{\"b\":\"\\ud83d\\ude00\"},[[]],1.5e-3,null,true]}",
];

/// Text in columns and Windows' texts: what is given lies in the line or is no longer than it.
fn everything_in_columns(bytes: &[u8]) {
    use parse::columns::{Family, Layout, is_header_line};
    let count = std::cell::Cell::new(0usize);
    let fits = |value: &[u8]| {
        count.set(count.get() + 1);
        assert!(value.len() <= bytes.len());
    };
    let _ = zeek::is_header_line(bytes) || is_header_line(bytes);
    if let Some(header) = zeek::header(bytes) {
        zeek::values(bytes, &header, |_, _, value| fits(value));
    }
    if let Some((_, columns)) = zeek::guess(bytes) {
        zeek::guessed_values(bytes, &columns, |_, _, value| fits(value));
    }
    for family in [Family::W3c, Family::VpcFlow] {
        let layouts = [Layout::of_header(bytes, family), Layout::guess(bytes, family)];
        for layout in layouts.into_iter().flatten() {
            layout.values(bytes, |_, value| fits(value));
        }
    }
    for head in [windows_text::snare(bytes), windows_text::splunk(bytes)].into_iter().flatten() {
        assert!(head.message.len() <= bytes.len());
    }
    windows_text::data(bytes, |_, value| fits(value));
    windows::named_data(bytes, |_, value| fits(value));
    assert!(count.get() <= 8 * bytes.len() + 8);
    if let Some(at) = json::member(bytes, 0, b"a") {
        assert!(at <= bytes.len());
    }
}

/// Runs everything over `bytes`; asserts what holds for any input.
fn everything(bytes: &[u8]) {
    let inside = |part: &[u8]| {
        let (base, at) = (bytes.as_ptr() as usize, part.as_ptr() as usize);
        part.is_empty() || at >= base && at + part.len() <= base + bytes.len()
    };
    for header in [Some(syslog::rfc5424(bytes)), syslog::header(bytes).ok()].into_iter().flatten() {
        for part in [header.timestamp, header.host, header.app, header.procid, header.msgid] {
            assert!(inside(part.unwrap_or(&[])));
        }
        assert!(inside(header.message));
        assert!(header.problem.is_none_or(|p| p.at() <= bytes.len()));
        assert!(header.structured_data.iter().count() <= bytes.len());
        if let Some(stamp) = header.stamp {
            let _ = stamp.resolve(i64::MAX, -50_000);
            let _ = stamp.resolve(i64::MIN, 50_000);
        }
    }
    if let Ok(stamp) = timestamp::parse(bytes) {
        let _ = stamp.with_zone(-3600).resolve(0, 0);
    }
    for program in PROGRAMS {
        if let Some(event) = auth::parse(program.as_bytes(), bytes) {
            // Reasons may be the reader's own words; what the attacker chose is a piece of the line.
            for part in [event.target_user, event.source, event.source_port, event.command] {
                assert!(inside(part.unwrap_or(&[])));
            }
        }
    }
    for separator in [b' ', b',', b';'] {
        let options = kv::KvOptions { pair_separator: separator, value_separator: b'=' };
        assert!(kv::pairs(bytes, &options).count() <= bytes.len());
    }
    if let Ok(cef) = cef::parse(bytes) {
        assert!(cef.pairs().count() <= bytes.len());
    }
    if let Ok(leef) = leef::parse(bytes) {
        assert!(leef.pairs().all(|(k, v)| inside(k) && inside(v)));
    }
    if let Ok(record) = auditd::parse(bytes) {
        assert!(record.pairs().count() <= bytes.len());
    }
    let _ = netfilter::parse(bytes).map(|p| p.words().count());
    let _ = access_log::parse(bytes);
    everything_splits(bytes);
    everything_in_columns(bytes);
    for format in format::ALL {
        let _ = format.sniff(bytes);
        let (mut batch, head) = batch();
        let mut row = batch.begin(head, bytes);
        let raw = row.raw();
        let result = format.cells(raw, &mut row);
        assert_eq!(
            result.as_ref().map_or(0, |cells| *cells),
            row.cell_count(),
            "{}",
            format.name()
        );
        row.finish();
    }
}

/// No byte other than white space, brackets of arrays, commas and line ends is lost by a splitter.
fn everything_splits(bytes: &[u8]) {
    let mut covered = vec![false; bytes.len()];
    for piece in records::split_json(bytes) {
        let (record, broken) = match piece {
            Ok(record) => (record, false),
            Err(e) => (e.piece, true),
        };
        assert_eq!(record.bytes, &bytes[record.at..record.at + record.bytes.len()]);
        assert!(broken || !record.bytes.is_empty());
        covered[record.at..record.at + record.bytes.len()].fill(true);
    }
    let bom = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    for (i, byte) in bytes.iter().enumerate().skip(bom).filter(|(i, _)| !covered[*i]) {
        assert!(byte.is_ascii_whitespace() || b"[],".contains(byte), "{i} of {bytes:?}");
    }
    let mut end = 0;
    for record in records::split_event_xml(bytes) {
        assert!(record.at >= end && !record.bytes.is_empty());
        end = record.at + record.bytes.len();
        assert_eq!(record.bytes, &bytes[record.at..end]);
    }
    assert!(records::split_lines(bytes, true).all(|r| !r.bytes.contains(&b'\n')));
    let _ = records::looks_like(bytes);
}

fn seeds() -> Vec<Vec<u8>> {
    let samples = format::ALL.iter().map(|f| f.sample());
    samples.chain(LINES.iter().copied()).map(|text| text.as_bytes().to_vec()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Scenario: arbitrary bytes. Guarantees: see [`everything`].
    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        everything(&bytes);
    }

    /// Scenario: bytes that the grammars are made of. Guarantees: see [`everything`].
    #[test]
    fn grammar_bytes(bytes in proptest::collection::vec(
        prop::sample::select(b"{}[]\"\\:,=<>|-+.0159 \n\tTZaudtu'&;/%#x()CEF\xef\xbb\xbf".to_vec()), 0..120)) {
        everything(&bytes);
    }

    /// Scenario: real records with bytes changed, cut, doubled and joined.
    /// Guarantees: see [`everything`].
    #[test]
    fn mutated_samples(
        pick in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 0..6),
    ) {
        let seeds = seeds();
        let mut bytes = pick.get(&seeds).clone();
        for (at, byte, how) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.truncate(at),
                2 => bytes.insert(at, byte),
                _ => bytes.extend_from_slice(&seeds[other.index(seeds.len())]),
            }
        }
        everything(&bytes);
    }

    /// Scenario: JSON made from a generated tree.
    /// Guarantees: what serde_json accepts is accepted, with the same scalars in the same order.
    #[test]
    fn agrees_with_another_reader(tree in tree()) {
        let text = serde_json::to_string(&serde_json::json!({ "root": tree })).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut want = Vec::new();
        scalars(&value, String::new(), &mut want);
        let (mut batch, head) = batch();
        let mut row = batch.begin(head, text.as_bytes());
        let raw = row.raw();
        json::flatten(raw, "", &mut row, &json::Limits::default()).unwrap();
        let got: Vec<_> = row.cells().map(|(f, v)| (row.name(f).to_owned(), v.text().into_owned())).collect();
        prop_assert_eq!(got, want);
    }

    /// Scenario: bytes of JSON's alphabet. Guarantees: nothing is accepted that serde_json refuses,
    /// apart from the tolerated string contents, which this alphabet does not have.
    #[test]
    fn accepts_no_more_than_another_reader(text in "[{}\\[\\]\",:0-9eE.+\\-a\\\\u ]{0,24}") {
        let text = format!("{{{text}}}");
        let (mut batch, head) = batch();
        let mut row = batch.begin(head, text.as_bytes());
        let raw = row.raw();
        let ours = json::flatten(raw, "", &mut row, &json::Limits::default()).is_ok();
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
        // Ours turns lone surrogates into U+FFFD.
        prop_assert!(ours == theirs || (ours && text.contains("\\ud")), "{} {}", ours, text);
    }
}

fn tree() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".{0,40}".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            proptest::collection::btree_map("[a-z\"\\\\\u{e4}]{1,12}", inner, 0..5)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

fn scalars(value: &serde_json::Value, path: String, out: &mut Vec<(String, String)>) {
    match value {
        serde_json::Value::Null => out.push((path, String::new())),
        serde_json::Value::Bool(b) => out.push((path, b.to_string())),
        serde_json::Value::Number(n) => out.push((path, n.to_string())),
        serde_json::Value::String(s) => out.push((path, s.clone())),
        serde_json::Value::Array(items) => items.iter().for_each(|v| scalars(v, path.clone(), out)),
        serde_json::Value::Object(members) => {
            for (key, v) in members {
                let dotted = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                scalars(v, dotted, out);
            }
        }
    }
}

/// Scenario: 256 KiB of each text that makes a careless reader recurse or start over.
/// Guarantees: all readers come back (a quadratic one would take minutes here and be noticed).
#[test]
fn a_quarter_megabyte_of_each_bomb() {
    let parts = [
        "[", "{", "{\"a\":", "{\n", "[\n", "\"", "\\", "a=", "a=\"", "=", "|", "<", "<Event>", "&",
        " from ", "[a ", "[a]", "CEF:", "k='", "' ", "audit(", "1 ", "IN=", ": ", "{}\n]", "\\u",
    ];
    let heads = [
        "",
        "<1>1 - - - - - ",
        "CEF:0|a|b|c|d|e|f|",
        "LEEF:1.0|a|b|c|d|",
        "{\"a\":\"",
        "type=X msg=audit(1.5:2): ",
        "<Event><a>",
        "Failed password for ",
    ];
    for part in parts {
        for head in heads {
            let len = if head.is_empty() { 1 << 18 } else { 1 << 14 };
            let mut bytes = head.as_bytes().to_vec();
            while bytes.len() < len {
                bytes.extend_from_slice(part.as_bytes());
            }
            everything(&bytes);
        }
    }
}
