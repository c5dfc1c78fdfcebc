//! The table of formats, walked.

use crate::batch;
use parse::format::{ALL, detect};
use std::collections::HashSet;

/// Scenario: every entry of the table reads its own sample.
/// Guarantees: a name used once, a line of documentation with a source, cells from the sample, the
/// sample recognised as itself, and seeds for the fuzzer.
#[test]
fn every_format_is_complete() {
    let mut names = HashSet::new();
    for format in ALL {
        let name = format.name();
        assert!(names.insert(name), "{name} twice");
        assert!(format.doc().len() > 20 && !format.doc().contains('\n'), "{name}");
        let (mut batch, head) = batch();
        let mut row = batch.begin(head, format.sample().as_bytes());
        let raw = row.raw();
        let cells = format.cells(raw, &mut row).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(cells >= 2 && cells == row.cell_count(), "{name}: {cells}");
        let found = detect(format.sample().as_bytes()).map(|f| f.name());
        assert_eq!(found, Some(name));
        let seeds = testkit::workspace_root().join(format!("fuzz/seeds/parse_{name}"));
        let seeds = std::fs::read_dir(&seeds).unwrap_or_else(|e| panic!("{seeds:?}: {e}"));
        assert!(seeds.count() > 0, "{name}");
    }
}

/// Scenario: records that belong to no format, or to one behind another's header.
/// Guarantees: prose is nothing; a header decides over what stands behind it, except for the formats
/// that carry their own mark.
#[test]
fn detection_of_mixed_records() {
    for (record, want) in [
        ("hello world", None),
        ("", None),
        ("x = 1", None),
        ("<13>Mar  5 14:07:09 fw a=1 b=2 c=3 d=4", Some("syslog")),
        ("<13>Mar  5 14:07:09 fw CEF:0|V|P|1|2|3|4|a=b", Some("cef")),
        ("<13>Mar  5 14:07:09 h kernel: [1.5] IN=eth0 OUT= SRC=192.0.2.7", Some("syslog")),
        ("Mar  5 14:07:09 h sshd[1]: x", Some("syslog")),
        ("\u{feff}{\"a\":1}", Some("json")),
    ] {
        assert_eq!(detect(record.as_bytes()).map(|f| f.name()), want, "{record}");
    }
}
