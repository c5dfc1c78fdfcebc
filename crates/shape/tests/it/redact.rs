//! Redaction: chosen fields and secrets go from the event and from its record, and nothing else
//! does.

use super::Bench;
use event::{DictionaryBuilder, Marks};
use proptest::test_runner::{Config, TestRunner};
use proptest::{prop_assert, prop_assert_eq, prop_assume};
use shape::{PackSet, Redaction, Settings, Tables};
use std::cell::RefCell;
use std::sync::Arc;

/// Rules with their key, as a generation has them.
fn bench(rules: &str) -> (Bench, Arc<Redaction>) {
    let (packs, mut names) = (PackSet::builtin().unwrap(), DictionaryBuilder::new());
    packs.register(&mut names);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("redact.yaml");
    std::fs::write(&path, rules).unwrap();
    let redaction = Redaction::load(&path, &[7; 16], &names.build());
    let redaction = Arc::new(redaction.unwrap_or_else(|e| panic!("{e}")));
    let settings = Settings { redaction: Some(redaction.clone()), ..Settings::default() };
    (Bench::with(Tables::default(), settings), redaction)
}

const PEOPLE: &str = "rules:\n  - {name: people, fields: [user.name, source.ip], own_fields: [customer], as: pseudonym}\n";

/// All that is left of a row: its record and every value.
fn left(bench: &Bench, row: usize) -> String {
    let row = bench.batch.row(row);
    let mut out = String::from_utf8_lossy(row.raw()).into_owned();
    for (field, value) in row.cells() {
        out.push_str(&format!("\n{}={}", bench.batch.name(field), value.text()));
    }
    out
}

/// Scenario: a name and an address as seven products write them: in plain text, in pairs, with a
/// domain, in JSON with escapes, in JSON within JSON, in UTF-16, as numbers of an own field; where it is JSON,
/// also in texts that only their senders have a name for.
/// Guarantees: neither stands in the record or in any field; the fields hold the pseudonyms that
/// the installation gives; the mark names fields and rule.
#[test]
fn chosen_values_go_wherever_products_write_them() {
    let (mut bench, rules) = bench(PEOPLE);
    let utf16: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain(
            r#"{"user.name":"alicia","message":"alicia came","note":"alicia's"}"#
                .bytes()
                .flat_map(|b| [b, 0]),
        )
        .collect();
    let cases: [&[u8]; 7] = [
        b"<38>Mar 30 16:01:36 web-01 sshd[7]: Accepted password for alicia from 203.0.113.9 port 22 ssh2",
        b"<86>Mar 30 16:01:36 web-01 sudo:   alicia : TTY=pts/0 ; PWD=/tmp ; USER=root ; COMMAND=/bin/id",
        br#"{"EventID":4624,"Channel":"Security","EventData":{"TargetUserName":"Alicia","TargetDomainName":"CORP","Remark":"Alicia, as always","IpAddress":"203.0.113.9"},"Message":"Logon.\r\n\tAccount Name:\t\tAlicia\r\n\tSource: 203.0.113.9"}"#,
        br#"{"user":"CORP\\alicia","src_ip":"203.0.113.9","msg":"\u0061licia did it","note":"alicia\tcame by 203.0.113.9"}"#,
        br#"{"log":"Mar 30 16:01:36 h sshd[7]: Failed password for alicia from 203.0.113.9 port 22 ssh2\n","stream":"stderr","time":"2026-03-30T16:01:36Z"}"#,
        &utf16,
        br#"{"customer":4711,"user.name":"alicia","note":"alicia is 4711"}"#,
    ];
    for (at, raw) in cases.into_iter().enumerate() {
        bench.shape(raw);
        let left = left(&bench, at);
        let found = ["alicia", "203.0.113.9", "4711"]
            .into_iter()
            .filter(|v| left.to_lowercase().contains(v));
        assert_eq!(found.collect::<Vec<_>>(), Vec::<&str>::new(), "case {at}: {left}");
        let name = bench.text(at, "user.name").unwrap();
        assert!(name.ends_with(&rules.pseudonym("alicia")), "case {at}: {left}");
        if let Some(ip) = bench.text(at, "source.ip") {
            assert_eq!(ip, rules.pseudonym("203.0.113.9"), "case {at}");
            assert!(ip.parse::<std::net::Ipv6Addr>().is_ok(), "an address stays one");
        }
        assert!(bench.batch.row(at).marks().has(Marks::REDACTED));
        assert_eq!(bench.all(at, "alcedo.redacted_by"), ["people"]);
        assert!(bench.all(at, "alcedo.redacted").contains(&"user.name".to_owned()), "case {at}");
    }
    assert_eq!(bench.text(6, "customer"), Some(rules.pseudonym("4711")));
    let json: serde_json::Value = serde_json::from_slice(bench.batch.row(6).raw()).unwrap();
    assert_eq!(
        json["customer"],
        rules.pseudonym("4711"),
        "what was a number is text, and JSON still"
    );
}

/// Scenario: a name stands in texts of the sender's own, as they are and with escapes, and in what the sender
/// says is the record; in another event a command line has it, which a pack copies from the field that the
/// product has for it.
/// Guarantees: no text keeps the name; the command line stays under both its names, or rules on the one would not
/// see what rules on the other see.
#[test]
fn texts_of_ones_own_shelter_no_name() {
    let (mut bench, _) = bench(PEOPLE);
    for raw in [
        r#"{"user":{"name":"alicia"},"note":"alicia logged in from home"}"#,
        r#"{"user":{"name":"alicia"},"note":"alicia\tlogged in\nfrom home"}"#,
        r#"{"user":{"name":"alicia"},"event":{"original":"alicia logged in"}}"#,
        r#"{"user":{"name":"alicia"},"event":{"original":"\"alicia\" logged in"},"n":1}"#,
    ] {
        bench.clear();
        bench.shape(raw.as_bytes());
        let left = left(&bench, 0);
        assert!(!left.contains("alicia") && left.contains("logged in"), "{left}");
    }
    bench.clear();
    bench.shape(br#"{"EventID":4688,"Channel":"Security","EventData":{"SubjectUserName":"alicia","NewProcessName":"C:\\a.exe","CommandLine":"a.exe \"alicia\" x"}}"#);
    let command = r#"a.exe "alicia" x"#;
    assert_eq!(bench.text(0, "process.command_line").as_deref(), Some(command));
    let left = left(&bench, 0);
    let others = left.lines().skip(1).filter(|l| l.contains("alicia")).collect::<Vec<_>>();
    assert!(others.len() > 1 && others.iter().all(|line| line.ends_with(command)), "{left}");
}

/// Scenario: a record with more fields than a row has cells, whose names come last, with each form; it holds a
/// path that rules look at.
/// Guarantees: no name is left, in the record or in a field; the row says what was taken by which rule; the path
/// stays, so that nobody hides behind many fields.
#[test]
fn a_full_row_tells_no_name() {
    for form in ["pseudonym", "mask", "remove"] {
        let (mut bench, _) = bench(&PEOPLE.replace("pseudonym", form));
        let fields: String = (0..2_100).map(|n| format!("\"f{n}\":\"alicia {n}\",")).collect();
        let raw = format!(
            r#"{{"url.path":"/etc/passwd",{fields}"user.name":"alicia","note":"alicia came"}}"#
        );
        bench.shape(raw.as_bytes());
        let left = left(&bench, 0);
        assert!(!left.contains("alicia"), "{}", &left[..200]);
        assert_eq!(bench.text(0, "url.path").as_deref(), Some("/etc/passwd"));
        assert!(bench.batch.row(0).marks().has(Marks::REDACTED));
        assert_eq!(bench.all(0, "alcedo.redacted_by"), ["people"]);
        assert!(bench.all(0, "alcedo.redacted").contains(&"event.original".to_owned()));
    }
}

/// Scenario: a message names a hundred people, and as many as a row cannot look for; half of them stand in a text
/// that no field of the record can be found in.
/// Guarantees: none is left; a hundred are taken one by one, and the sentence stays.
#[test]
fn many_names_go_like_one() {
    let (mut bench, _) = bench(PEOPLE);
    for count in [100, 600] {
        let names: Vec<String> = (0..count).map(|n| format!("alicia{n}")).collect();
        let (list, text) = (names.join("\",\""), names.join(", "));
        let raw = format!(
            r#"{{"user.name":["{list}"],"message":"sent to {text}","note":"\tto {text}","url.path":"/x"}}"#
        );
        bench.clear();
        bench.shape(raw.as_bytes());
        let left = left(&bench, 0);
        assert!(!left.contains("alicia"), "{count}");
        assert_eq!(left.contains("sent to anon-"), count == 100, "{count}");
        assert_eq!(bench.text(0, "url.path").as_deref(), Some("/x"));
    }
}

/// Scenario: what is redacted is shaped again, as `reparse` does; three forms.
/// Guarantees: the second time changes nothing, and the mark is there again.
#[test]
fn redacting_twice_is_redacting_once() {
    for form in ["pseudonym", "mask", "remove"] {
        let text = format!(
            "rules:\n  - {{name: people, fields: [user.name, source.ip], as: {form}}}\n  - {{name: secrets, secrets: [passwords], as: {form}}}\n"
        );
        let (mut bench, _) = bench(&text);
        for raw in [
            "<38>Mar 30 16:01:36 web-01 sshd[7]: Accepted password for alicia from 203.0.113.9 port 22 ssh2",
            r#"{"user.name":"alicia","n":1,"password":"hunter2","m":"password=hunter2"}"#,
        ] {
            bench.clear();
            bench.shape(raw.as_bytes());
            let once = left(&bench, 0);
            assert!(!once.contains("alicia") && !once.contains("hunter2"), "{once}");
            if form == "remove" {
                assert_eq!(bench.text(0, "user.name"), None);
            }
            let again = bench.batch.row(0).raw().to_vec();
            bench.clear();
            bench.shape(&again);
            assert_eq!(left(&bench, 0), once);
        }
    }
}

/// Scenario: secrets in a URL, on a command line, in JSON, in text of no known product; three kinds
/// and a pattern of one's own; with a form each.
/// Guarantees: they are gone from record and fields; what stands around them is as it was.
#[test]
fn secrets_go_from_texts_and_fields() {
    let (mut bench, rules) = bench(
        "rules:\n  - {name: secrets, secrets: [passwords, tokens, keys, cards], as: mask}\n  \
         - {name: badges, matches: ['badge=(\\d+)'], as: pseudonym}\n",
    );
    for (raw, gone, wanted) in [
        (
            r#"203.0.113.9 - - [24/Nov/2026:00:00:00 +0000] "GET /in?user=a&password=hunter2&x=1 HTTP/1.1" 200 5 "-" "curl/8""#,
            "hunter2",
            ("url.query", "user=a&password=REDACTED&x=1"),
        ),
        (
            r#"{"process.command_line":"mysql --password hunter2 -e \"select 1\"","user.name":"bob"}"#,
            "hunter2",
            ("process.command_line", r#"mysql --password REDACTED -e "select 1""#),
        ),
        (
            r#"{"db":{"masterPassword":"hun\"ter2"},"user.name":"bob"}"#,
            "ter2",
            ("db.masterPassword", "REDACTED"),
        ),
        ("paid with 4111 1111 1111 1111 today", "4111", ("message", "paid with REDACTED today")),
        (
            "Authorization: Bearer 0123456789abcdef.x",
            "0123456789",
            ("message", "Authorization: Bearer REDACTED"),
        ),
        ("opened, badge=12345 door=3", "12345", ("message", "")),
    ] {
        bench.clear();
        bench.shape(raw.as_bytes());
        let left = left(&bench, 0);
        assert!(!left.contains(gone), "{left}");
        let value = bench.text(0, wanted.0);
        match wanted.1 {
            "" => assert_eq!(
                value,
                Some(format!("opened, badge={} door=3", rules.pseudonym("12345")))
            ),
            text => assert_eq!(value.as_deref(), Some(text), "{left}"),
        }
    }
}

/// Scenario: senders who choose their names so that words which rules look for would go with them;
/// attacks that are called a password.
/// Guarantees: what tells what happened stays, in fields and in the record; the name itself goes.
#[test]
fn nobody_hides_from_rules_behind_a_name() {
    let (mut bench, rules) = bench(
        "rules:\n  - {name: people, fields: [user.name], as: pseudonym}\n  - {name: s, secrets: [passwords], as: mask}\n",
    );
    let line = r#"203.0.113.9 - passwd [24/Nov/2026:00:00:00 +0000] "GET /etc/passwd?password=../../x HTTP/1.1" 200 5 "-" "-""#;
    bench.shape(line.as_bytes());
    assert_eq!(bench.text(0, "user.name"), Some(rules.pseudonym("passwd")));
    assert_eq!(bench.text(0, "url.path").as_deref(), Some("/etc/passwd"));
    let raw = left(&bench, 0);
    assert!(raw.contains("GET /etc/passwd?password=../../x HTTP"), "{raw}");
    bench.shape(line.replace("- passwd", "- GET").as_bytes());
    assert_eq!(bench.text(1, "http.request.method").as_deref(), Some("GET"));
    assert_eq!(bench.text(1, "user.name"), Some(rules.pseudonym("GET")));
    bench.shape(b"<38>Mar 30 16:01:36 web-01 sshd[7]: Failed password for invalid user failed from 203.0.113.9 port 22 ssh2");
    let raw = left(&bench, 2);
    assert!(raw.contains("Failed password for invalid user anon-"), "{raw}");
    assert_eq!(bench.text(2, "event.outcome").as_deref(), Some("failure"));
    bench.shape(br#"{"user.name":"${jndi:ldap://x}","n":1}"#);
    assert_eq!(bench.text(3, "user.name").as_deref(), Some("${jndi:ldap://x}"));
    assert!(!bench.batch.row(3).marks().has(Marks::REDACTED));
}

/// Guarantees: `everywhere` also takes a value out of fields that tell what happened; a condition
/// limits a rule to its events; groups of fields are chosen at once.
#[test]
fn rules_have_conditions_groups_and_reach() {
    let (mut bench, _) = bench(
        "rules:\n  - {name: people, fields: ['user.*'], as: mask, when: 'host.name:web-*', everywhere: true}\n",
    );
    let raw = |host: &str| {
        format!(
            r#"{{"host.name":"{host}","user.name":"alicia","user.email":"al@x.example","url.path":"/home/alicia/x"}}"#
        )
    };
    bench.shape(raw("web-01").as_bytes());
    let gone = left(&bench, 0);
    assert!(!gone.contains("alicia") && !gone.contains("al@x.example"), "{gone}");
    assert_eq!(bench.text(0, "url.path").as_deref(), Some("/home/REDACTED/x"));
    bench.shape(raw("db-01").as_bytes());
    assert_eq!(bench.text(1, "user.name").as_deref(), Some("alicia"));
    assert!(bench.all(1, "alcedo.redacted").is_empty());
}

/// Guarantees: tables see the true address, and what they know of it does not give it away.
#[test]
fn tables_are_asked_before_and_do_not_tell() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("bad.txt");
    std::fs::write(&list, "203.0.113.9\n").unwrap();
    let tables = shape::TableConfig { indicators: vec![list], ..shape::TableConfig::default() };
    let (with_rules, rules) = bench(PEOPLE);
    drop(with_rules);
    let settings = Settings { redaction: Some(rules), ..Settings::default() };
    let mut bench = Bench::with(Tables::load(&tables).unwrap(), settings);
    bench.shape(b"<38>Mar 30 16:01:36 web-01 sshd[7]: Accepted password for alicia from 203.0.113.9 port 22 ssh2");
    assert!(bench.all(0, "tags").contains(&"indicator_match".to_owned()));
    let left = left(&bench, 0);
    assert!(!left.contains("203.0.113.9"), "{left}");
}

/// Guarantees: every mistake in a file is told with its line and what to write instead.
#[test]
fn mistakes_in_rules_are_told_with_their_line() {
    let (packs, mut names) = (PackSet::builtin().unwrap(), DictionaryBuilder::new());
    packs.register(&mut names);
    let names = names.build();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("redact.yaml");
    for (text, line, said) in [
        (
            "rules:\n  - name: a\n    as: mask\n    fields:\n      - user.nmae\n",
            5,
            "did you mean `user.name`",
        ),
        ("rules:\n  - {name: a, as: mask, fields: [customer_email]}\n", 2, "own_fields"),
        ("rules:\n  - {name: a, as: mask, fields: [event.original]}\n", 2, "not the sender's"),
        ("rules:\n  - {name: a, as: mask, own_fields: [alcedo.source]}\n", 2, "not the sender's"),
        ("rules:\n  - {name: a, as: hash, fields: [user.name]}\n", 2, "pseudonym, mask or remove"),
        ("rules:\n  - {name: a, as: mask, secrets: [pins]}\n", 2, "passwords, tokens, keys, cards"),
        ("rules:\n  - {name: a, as: mask, matches: ['(']}\n", 2, "`(`"),
        ("rules:\n  - {name: a, as: mask}\n", 2, "needs `fields`"),
        ("rules:\n  - {name: a, as: mask, fields: [user.name], when: 'a:('}\n", 2, "`when`"),
        (
            "rules:\n  - {name: a, as: mask, fields: [user.name]}\n  - {name: a, as: mask, fields: [user.id]}\n",
            3,
            "taken",
        ),
        ("rules:\n  - {name: a, colour: red}\n", 2, "colour"),
        ("rules:\n  - {name: a, as: mask, fields: ['usr.*']}\n", 2, "no group"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Redaction::load(&path, &[7; 16], &names).unwrap_err();
        assert_eq!(error.line, Some(line), "{error}");
        assert!(error.message.contains(said), "{error}");
    }
    std::fs::write(&path, "key: k\nrules: []\n").unwrap();
    let said = |e: shape::RedactionError| e.to_string();
    assert!(Redaction::load(&path, &[], &names).map_err(said).unwrap_err().contains("the key"));
    std::fs::write(dir.path().join("k"), "short\n").unwrap();
    assert!(Redaction::load(&path, &[], &names).map_err(said).unwrap_err().contains("at least 16"));
    std::fs::write(dir.path().join("k"), "0123456789abcdef\n").unwrap();
    let of_file = Redaction::load(&path, &[], &names).unwrap();
    let other = Redaction::load(&path, &[1; 16], &names).unwrap();
    assert_eq!(
        of_file.pseudonym("x"),
        other.pseudonym("x"),
        "the file's key, not the installation's"
    );
    assert_eq!(Redaction::key_file(&path), Some(dir.path().join("k")));
}

/// Scenario: records made to take long or to grow: one name a hundred thousand times, backslashes without end, two
/// thousand names that are escaped, values whose beginning stands everywhere, thousands of numbers behind a megabyte
/// of blanks, keys each of which is known at the end of the text only, passwords without end.
/// Guarantees: each is worked in seconds even unoptimised, no name or key is left, and no record is more than
/// twice as long as it was.
#[test]
fn hostile_records_cost_little() {
    let (mut bench, _) = bench(&format!(
        "{PEOPLE}  - {{name: secrets, secrets: [passwords, tokens, keys, cards], as: mask}}\n"
    ));
    let many: String = "alicia ".repeat(100_000);
    let short: String = "abc ".repeat(200_000);
    let slashes = "\\\\".repeat(300_000);
    let names: Vec<String> = (0..2_000).map(|n| format!("\"\\u0061licia{n}\"")).collect();
    let (letters, words) = ("a".repeat(60_000), "a ".repeat(60_000));
    let numbers = vec!["4711"; 2_000].join(", ");
    let keys = "eyJ-AKIA0123456789ABCDEF-".repeat(40_000);
    let passwords = "password=hunter2&".repeat(20_000);
    // Letters of one length that are all alike but for the last, in many fields.
    let letter = |n: usize| "\u{e9}".repeat(60) + &format!("zz{n}");
    let turkish = (0..250).map(|n| format!("\"{}\"", letter(n))).collect::<Vec<_>>().join(",");
    let plain: Vec<String> =
        (0..1_700).map(|n| format!("\"f{n}\":\"{}\"", letter(n % 250))).collect();
    let plain = plain.join(",");
    for (raw, gone) in [
        (format!(r#"{{"user.name":"alicia","message":"{many}"}}"#), "licia"),
        (format!(r#"{{"user.name":"abc","message":"{short}"}}"#), "abc"),
        (format!(r#"{{"user.name":"a\\b","message":"{slashes}"}}"#), r"a\\b"),
        (format!(r#"{{"user.name":[{}],"note":"alicia7"}}"#, names.join(",")), "licia"),
        (format!(r#"{{"user":{{"name":"{letters}b"}},"message":"{letters}"}}"#), "aab"),
        (format!(r#"{{"user":{{"name":"{words}b"}},"message":"{words}{words}"}}"#), "a a b"),
        (format!("{}{{\"customer\":[{numbers}]}}", " ".repeat(1 << 20)), "4711"),
        (format!(r#"{{"customer":[{turkish}],{plain}}}"#), "\u{e9}zz"),
        (format!(r#"{{"note":"{keys}"}}"#), "AKIA"),
        (format!(r#"{{"note":"{passwords}"}}"#), "hunter2"),
        (keys.clone(), "AKIA"),
    ] {
        bench.clear();
        let began = std::time::Instant::now();
        bench.shape(raw.as_bytes());
        let (took, start) = (began.elapsed(), &raw.trim_start()[..40]);
        assert!(took.as_secs() < 20, "{took:?} for {start}");
        let left = left(&bench, 0);
        let at = left.find(gone).map(|at| left[..at].lines().count());
        assert!(at.is_none(), "{start}: {:?}", left.lines().nth(at.unwrap_or(1) - 1));
        assert!(bench.batch.row(0).raw().len() <= 2 * raw.len() + 4_096, "{start}");
        assert!(!bench.all(0, "alcedo.redacted_by").is_empty(), "{start}");
    }
}

/// Scenario: the sender puts his own name, or things that look like passwords, into a command line and a script so
/// often that the text would become much longer, or more often than one record may have places; as Sysmon and
/// PowerShell tell it.
/// Guarantees: no name and no password is left, and what stands between them is, in each field that rules ask.
#[test]
fn nobody_hides_a_deed_behind_many_secrets() {
    let (mut bench, _) = bench(
        "rules:\n  - {name: people, fields: [user.name, winlog.user.name], as: pseudonym}\n  - {name: s, secrets: [passwords], as: mask}\n",
    );
    for count in [1, 200, 600, 5_000] {
        for word in ["bobby ", "pwd=hunter2 "] {
            let deed = format!("mimikatz {}sekurlsa::logonpasswords", word.repeat(count));
            for (event, fields) in [
                (1, &["CommandLine", "process.command_line"][..]),
                (4104, &["ScriptBlockText"][..]),
            ] {
                let (channel, provider, name) = match event {
                    1 => (
                        "Microsoft-Windows-Sysmon/Operational",
                        "Microsoft-Windows-Sysmon",
                        "CommandLine",
                    ),
                    _ => (
                        "Microsoft-Windows-PowerShell/Operational",
                        "Microsoft-Windows-PowerShell",
                        "ScriptBlockText",
                    ),
                };
                let raw = format!(
                    r#"{{"@timestamp":"2026-11-28T10:00:00Z","winlog":{{"event_id":{event},"channel":"{channel}","provider_name":"{provider}","computer_name":"ws1","user":{{"name":"bobby"}},"event_data":{{"{name}":"{deed}","Image":"C:\\x.exe"}}}}}}"#
                );
                bench.clear();
                bench.shape(raw.as_bytes());
                let left = left(&bench, 0);
                assert!(!left.contains("hunter2"), "{count} {word}");
                // What was called is a deed, and stays; a script is a text.
                assert!(event == 1 || !left.contains("bobby"), "{count} {word}");
                for field in fields {
                    let field = match field.contains('.') {
                        true => (*field).to_owned(),
                        false => format!("winlog.event_data.{field}"),
                    };
                    let text = bench.text(0, &field).unwrap_or_default();
                    let is_whole =
                        text.starts_with("mimikatz ") && text.ends_with("sekurlsa::logonpasswords");
                    assert!(is_whole, "{count} {word} {field}: {}", &text[..text.len().min(60)]);
                    assert!(text.len() <= 2 * deed.len() + 4_096);
                }
            }
        }
    }
}

/// Scenario: more pairs of names and values than a row has room for, which a pack makes fields of, so that it has
/// room again; the name of a person comes last.
/// Guarantees: no name is left, and the row says so.
#[test]
fn a_row_that_was_full_tells_no_name() {
    let (mut bench, _) = bench(PEOPLE);
    for count in [1_000, 1_005, 1_030, 1_100, 2_100] {
        let pairs: String =
            (0..count).map(|n| format!(r##"{{"@Name":"F{n}","#text":"v"}},"##)).collect();
        let raw = format!(
            r##"{{"Event":{{"System":{{"Provider":{{"@Name":"Microsoft-Windows-Security-Auditing"}},"EventID":"4624","Channel":"Security","Computer":"ws1"}},"EventData":{{"Data":[{pairs}{{"@Name":"TargetUserName","#text":"alicesecret"}}]}}}}}}"##
        );
        bench.clear();
        bench.shape(raw.as_bytes());
        assert!(!left(&bench, 0).contains("alicesecret"), "{count}");
        assert!(bench.batch.row(0).marks().has(Marks::REDACTED), "{count}");
    }
}

/// Scenario: values that are base64, of either alphabet, of text with a secret, in fields of one's own; one in a
/// command line, one of text without a secret, words that look like base64, an attack.
/// Guarantees: the first go from fields and record, all others stay; a second time changes nothing.
#[test]
fn coded_secrets_go_where_they_are_no_deed() {
    use base64::Engine;
    let code = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let url = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let secret = code("user=alicia&password=hunter2-x");
    let other = url(r#"{"who":"~~~???","api_key":"abcd-efgh-1234"}"#);
    let stays = [
        code("nothing to hide in here"),
        code("password=${jndi:ldap://x}"),
        "internationalisation".to_owned(),
    ];
    for form in ["pseudonym", "mask", "remove"] {
        let rules = format!("rules:\n  - {{name: s, secrets: [passwords, tokens], as: {form}}}\n");
        let (mut bench, _) = bench(&rules);
        let raw = serde_json::json!({
            "payload": secret, "blob": other, "a": stays[0], "b": stays[1], "c": stays[2],
            "process": { "command_line": secret },
        });
        bench.shape(raw.to_string().as_bytes());
        let once = left(&bench, 0);
        assert_eq!(bench.text(0, "process.command_line").as_deref(), Some(&*secret), "{once}");
        for field in ["payload", "blob"] {
            let value = bench.text(0, field);
            assert!(value.is_none_or(|v| v.starts_with("anon-") || v == "REDACTED"), "{once}");
        }
        assert!(!once.contains(&*other), "{once}");
        assert!(stays.iter().all(|value| once.contains(&**value)), "{once}");
        let again = bench.batch.row(0).raw().to_vec();
        bench.clear();
        bench.shape(&again);
        // What was taken cannot be found again: the marks are those that were stored.
        assert_eq!(bench.batch.row(0).raw(), again, "{once}");
    }
}

/// Whatever is sent: one row, no panic, the chosen value gone, and gone for good, with rules that reach everywhere
/// and with others.
#[test]
fn any_text_around_a_name_is_redacted() {
    for reach in ["everywhere: true", "everywhere: false"] {
        let rules = format!(
            "rules:\n  - {{name: p, fields: [user.name], own_fields: [who], secrets: [passwords, tokens, keys, cards], as: pseudonym, {reach}}}\n"
        );
        let bench = RefCell::new(bench(&rules).0);
        let texts = ("\\PC{0,30}", "\\PC{0,30}", "[a-zA-Z\u{e0}-\u{ff}'\"\\\\ ]{3,12}");
        let config = Config { cases: 500, ..Config::default() };
        let checked = TestRunner::new(config).run(&texts, |(before, after, name)| {
            prop_assume!(name.chars().filter(|c| c.is_alphabetic()).count() >= 3);
            let mut bench = bench.borrow_mut();
            bench.clear();
            let text = format!("{before} {name} {after}");
            let raw = serde_json::json!({"who": name, "text": text}).to_string();
            bench.shape(raw.as_bytes());
            prop_assert_eq!(bench.batch.len(), 1);
            let who = bench.text(0, "who").unwrap();
            prop_assert!(who.starts_with("anon-"), "{}", who);
            let once = left(&bench, 0);
            let text = bench.text(0, "text").unwrap().to_lowercase();
            prop_assert!(!text.contains(&format!(" {} ", name.to_lowercase())), "{}", once);
            let again = bench.batch.row(0).raw().to_vec();
            bench.clear();
            bench.shape(&again);
            prop_assert_eq!(left(&bench, 0), once);
            Ok(())
        });
        checked.unwrap();
    }
}

/// Scenario: records that are cut, lists that are cut, and records that are kept as they are because of a limit.
/// Guarantees: what patterns and kinds of secrets find in their bytes goes; what was read of them before the cut
/// is looked for by field as in any record.
#[test]
fn records_that_fail_to_parse_lose_their_secrets() {
    let rules = "rules:\n  - {name: p, fields: [user.name], own_fields: [who], as: pseudonym}\n  \
                 - {name: s, secrets: [passwords], as: mask}\n  \
                 - {name: b, matches: ['badge=(\\d+)'], as: remove}\n";
    let mut bench = bench(rules).0;
    let mut told = Vec::new();
    for raw in [
        r#"{"who":"quillon","password":"hunter2abc","note":"badge=778899 password=hunter2abc"#,
        r#"{"Records":[{"a":1},{"who":"quillon","password":"hunter2abc","note":"badge=778899"#,
        r#"type=USER_AUTH msg=audit(x): acct="quillon" password=hunter2abc badge=778899"#,
        "CEF:0|a|b|password=hunter2abc badge=778899 suser=quillon",
    ] {
        bench.clear();
        bench.shape(raw.as_bytes());
        for row in 0..bench.batch.len() {
            let left = left(&bench, row);
            assert!(!left.contains("hunter2abc") && !left.contains("778899"), "{raw}: {left}");
        }
        let failed =
            (0..bench.batch.len()).any(|row| bench.batch.row(row).marks().has(Marks::PARSE_FAILED));
        told.push(failed);
    }
    assert!(told[..2].iter().all(|failed| *failed), "{told:?}");
    bench.clear();
    let (head, raw) = (bench.head(), b"\x00password=hunter2abc badge=778899\xff");
    bench.shaper.keep_raw(head, raw, ("too large", true), &mut bench.batch);
    let left = left(&bench, 0);
    assert!(!left.contains("hunter2abc") && !left.contains("778899"), "{left}");
}

/// Samples of all packs, mutated by a seed: no panic, a row or more; and as text beside a name that has to go, the
/// name goes and stays gone. `ALCEDO_REDACT_CASES` for more of them.
#[test]
fn mutated_records_are_redacted() {
    let rules = "rules:\n  - {name: people, fields: [user.name, source.ip, host.name], own_fields: [who], as: pseudonym, everywhere: true}\n  \
                 - {name: secrets, secrets: [passwords, tokens, keys, cards], as: pseudonym}\n  \
                 - {name: badges, matches: ['badge=(\\d+)'], as: pseudonym}\n";
    let cases = std::env::var("ALCEDO_REDACT_CASES").map_or(400, |text| text.parse().unwrap());
    let (mut bench, mut rng) = (bench(rules).0, testkit::Rng::new(41));
    let samples: Vec<Vec<u8>> =
        shape::packs::ALL.iter().flat_map(|pack| super::sigma::lines_of(pack.name)).collect();
    for case in 0..cases {
        let raw = mutated(&samples, &mut rng);
        bench.clear();
        bench.shape(&raw);
        assert!(!bench.batch.is_empty(), "case {case}");
        let text: String = String::from_utf8_lossy(&raw)
            .chars()
            .filter(|c| !c.is_control() && !matches!(c, '"' | '\\'))
            .collect();
        bench.clear();
        bench.shape(format!(r#"{{"who":"quillon","text":"{text}"}}"#).as_bytes());
        let once = (bench.text(0, "who"), bench.batch.row(0).raw().to_vec());
        let who = once.0.as_deref().unwrap_or_default();
        assert!(bench.batch.len() == 1 && who.starts_with("anon-"), "case {case}: {text}");
        bench.clear();
        bench.shape(&once.1);
        let again = (bench.text(0, "who"), bench.batch.row(0).raw().to_vec());
        assert_eq!(again, once, "case {case}: {text}");
    }
}

/// A sample with some bytes flipped, left out, put in, repeated, or followed by a piece of another.
fn mutated(samples: &[Vec<u8>], rng: &mut testkit::Rng) -> Vec<u8> {
    let any = |rng: &mut testkit::Rng| &samples[rng.below(samples.len() as u64) as usize];
    let mut out = any(rng).clone();
    out.truncate(4_096);
    for _ in 0..rng.below(6) {
        let at = rng.below(out.len() as u64) as usize;
        let end = (at + rng.below(64) as usize).min(out.len());
        match rng.below(6) {
            0 if !out.is_empty() => out[at] ^= 1 << rng.below(8),
            1 => out.insert(at, rng.pick(b" =\"'\\{}[],:|<>&;\n\0\xff/@")),
            2 => drop(out.drain(at..end)),
            3 => out.extend_from_within(at..end),
            4 => {
                let other = any(rng);
                let from = rng.below(other.len() as u64) as usize;
                out.truncate(at);
                out.extend_from_slice(&other[from..]);
            }
            _ => out.extend_from_slice(b" quillon password=hunter2abc 10.1.2.3"),
        }
    }
    out
}

const SECRETS: &str =
    "rules:\n  - {name: s, secrets: [passwords, tokens, keys, cards], as: mask}\n";

/// Scenario: secrets in texts that the record has in another spelling: escaped quotes, in a string within a string
/// too, `&quot;`, `\=`, digits behind the letter of `\t`; quotes behind an option; arguments of a program, as they
/// are and as hexadecimal digits; quotes that nothing ends.
/// Guarantees: no spelling of the secret is left, in the record or in a field.
#[test]
fn secrets_go_in_every_spelling_of_the_record() {
    let (mut bench, _) = bench(SECRETS);
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl";
    let windows = |text: &str| {
        format!(
            r#"<Event xmlns="http://schemas.microsoft.com/win/2004/08/events/event"><System><EventID>4688</EventID><Computer>h</Computer><Channel>Security</Channel><Provider Name="Microsoft-Windows-Security-Auditing"/></System><EventData><Data Name="CommandLine">{text}</Data></EventData></Event>"#
        )
    };
    for (raw, secret) in [
        (r#"{"message":"login PASSWORD = \"hunter2secret\" ok"}"#.to_owned(), "hunter2secret"),
        (r#"{"message":"cfg auth_token=\"hunter2secret\" ok"}"#.to_owned(), "hunter2secret"),
        (r#"{"message":"cfg password='hunter2 secret' ok"}"#.to_owned(), "hunter2"),
        (r#"{"m":"{\"x\":\"PASSWORD = \\\"hunter2secret\\\" ok\"}"}"#.to_owned(), "hunter2secret"),
        (r#"{"message":"PASSWORD = \"hunter2sec\\\"ret\" ok"}"#.to_owned(), "hunter2sec"),
        (r#"{"message":"PASSWORD = \"hunter2secret ok"}"#.to_owned(), "hunter2secret"),
        (r#"{"message":"password\u003dhunter2secret\u0026x=1"}"#.to_owned(), "hunter2secret"),
        (r#"{"message":"PASSWORD:\thunter2secret"}"#.to_owned(), "hunter2secret"),
        (r#"{"message":"p\u0061ssword=hunter2secret"}"#.to_owned(), "hunter2secret"),
        (format!(r#"{{"message":"cookie\t{jwt} \"x\""}}"#), jwt),
        (r#"{"message":"at https:\/\/bob:hunter2secret@h.example\/x"}"#.to_owned(), "hunter2secret"),
        (
            r#"{"process":{"command_line":"mysql --password \"hunter2secret\" -h db"}}"#.to_owned(),
            "hunter2secret",
        ),
        (
            r#"{"process":{"command_line":"mysql --password=\"hunter2secret\" -h db"}}"#.to_owned(),
            "hunter2secret",
        ),
        (windows("net use \\\\s password=&quot;hunter2secret&quot; x"), "hunter2secret"),
        (windows("net --password &quot;hunter2 secret&quot; x"), "hunter2"),
        (windows("curl -H authorization=Basic hunter2secret"), "hunter2secret"),
        (windows("&lt;Password&gt;hunter2secret&lt;/Password&gt;"), "hunter2secret"),
        (
            r"CEF:0|V|P|1|100|Name|5|suser=alice msg=got pwd\=hunter2secret end".to_owned(),
            "hunter2secret",
        ),
        (
            r#"type=EXECVE msg=audit(1700000000.123:1): argc=3 a0="mysql" a1="--password" a2="hunter2secret""#.to_owned(),
            "hunter2secret",
        ),
        // `mysql`, `--password=hunter2`, parted by NUL.
        (
            "type=PROCTITLE msg=audit(1700000000.123:1): proctitle=6D7973716C002D2D70617373776F72643D68756E74657232".to_owned(),
            "68756E74657232",
        ),
    ] {
        bench.clear();
        bench.shape(raw.as_bytes());
        let left = left(&bench, 0);
        assert!(!left.contains(secret), "{raw}: {left}");
        assert!(bench.batch.row(0).marks().has(Marks::REDACTED), "{raw}");
        let again = bench.batch.row(0).raw().to_vec();
        bench.clear();
        bench.shape(&again);
        assert_eq!(bench.batch.row(0).raw(), again, "{raw}");
    }
}

/// Scenario: a text ends with the name of a secret, and another value follows; a secret that is a word of the
/// record's own, and the name of a program.
/// Guarantees: what stands between values stays, so that JSON stays JSON; what was called and the names of
/// fields stay.
#[test]
fn secrets_take_nothing_with_them() {
    let (mut bench, _) = bench(SECRETS);
    let raw = r#"{"message":"enter password:","user":{"name":"bob"},"n":["token=",1,"x"]}"#;
    bench.shape(raw.as_bytes());
    assert_eq!(String::from_utf8_lossy(bench.batch.row(0).raw()), raw);
    bench.clear();
    bench.shape(
        br#"{"message":"x\tpassword=\"mimikatz\"","process":{"name":"mimikatz"},"mimikatz":true}"#,
    );
    assert_eq!(bench.text(0, "process.name").as_deref(), Some("mimikatz"));
    let record = String::from_utf8_lossy(bench.batch.row(0).raw()).into_owned();
    assert!(record.ends_with(r#","process":{"name":"mimikatz"},"mimikatz":true}"#), "{record}");
    assert!(record.contains("REDACTED"), "{record}");
}

/// Scenario: keys in a command line each of which is known at its end only, behind what was done; in JSON with an
/// escape, so that the field is no piece of the record.
/// Guarantees: no key is left; what stands in front of them is, and rules see it.
#[test]
fn what_stands_before_too_much_stays() {
    let (mut bench, _) = bench(SECRETS);
    for start in ["mimikatz sekurlsa ", "mimikatz \\\"sekurlsa\\\" "] {
        let keys = "eyJ-AKIA0123456789ABCDEF-".repeat(18_000);
        let raw = format!(r#"{{"process":{{"command_line":"{start}{keys}"}}}}"#);
        bench.clear();
        bench.shape(raw.as_bytes());
        let text = bench.text(0, "process.command_line").unwrap();
        assert!(text.starts_with(&start.replace("\\\"", "\"")), "{}", &text[..40]);
        assert!(!left(&bench, 0).contains("AKIA0"), "{start}");
    }
}

/// Scenario: names with signs and letters that formats escape, that have two forms or no one small form; with
/// blanks around them.
/// Guarantees: no spelling of the name is left.
#[test]
fn names_go_in_every_spelling_of_the_record() {
    let (mut bench, rules) = bench(PEOPLE);
    for (raw, gone) in [
        (
            r#"<Event xmlns="http://schemas.microsoft.com/win/2004/08/events/event"><System><EventID>4625</EventID><Computer>h</Computer><Channel>Security</Channel><Provider Name="Microsoft-Windows-Security-Auditing"/></System><EventData><Data Name="TargetUserName">smith&amp;sons</Data></EventData></Event>"#,
            "sons",
        ),
        (r"CEF:0|V|P|1|100|Name|5|suser=zoe\=smith src=10.0.0.1 msg=hello", "smith"),
        (r#"{"user":{"name":"\ud83d\ude00zoe"},"m":"y"}"#, "zoe"),
        (r#"{"user":{"name":"zoe\u0008smith"},"m":"x \bzoe"}"#, "smith"),
        (r#"{"user":{"name":"straße"},"note":"by STRASSE and by Strasse"}"#, "tra"),
        (r#"{"user":{"name":"STRASSE"},"note":"by straße"}"#, "tra"),
        ("{\"user\":{\"name\":\"İsmail\"},\"note\":\"by i\u{307}smail\"}", "smail"),
        ("{\"user\":{\"name\":\"i\u{307}smail\"},\"note\":\"by İsmail\"}", "smail"),
        (r#"{"user":{"name":"a%bc"},"note":"/x?u=a%25bc and a%bc"}"#, "%bc"),
        (r#"{"user":{"name":"zoë"},"note":"by zo\\xc3\\xab."}"#, "xab"),
        (r#"{"user":{"name":" alicia "},"note":"by alicia."}"#, "alicia"),
    ] {
        bench.clear();
        bench.shape(raw.as_bytes());
        let left = left(&bench, 0);
        assert!(!left.contains(gone), "{raw}: {left}");
    }
    assert_eq!(bench.text(0, "user.name"), Some(rules.pseudonym("alicia")));
}
