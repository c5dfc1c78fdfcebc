//! Real logs: how much of each is understood. Floors are what was reached, less rounding.

use crate::batch;
use parse::{access_log, auth, json, records, syslog, windows};
use std::path::Path;

fn unzstd(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    match path.extension().is_some_and(|e| e == "zst") {
        true => zstd::decode_all(&bytes[..]).unwrap(),
        false => bytes,
    }
}

/// Scenario: 7,121 lines of a host under a brute-force attack.
/// Guarantees: every header has time, host and program; every failed and accepted log-in that a
/// plain text search finds is an event with that outcome and an address.
#[test]
fn auth_log() {
    let Some(path) = testkit::corpus("auth/ssh-bruteforce-auth.log.zst") else { return };
    let body = unzstd(&path);
    let (mut lines, mut events, mut failed, mut accepted) = (0, 0, 0, 0);
    for line in records::split_lines(&body, false) {
        lines += 1;
        let header = syslog::header(line.bytes).unwrap();
        let shown = String::from_utf8_lossy(line.bytes);
        assert!(header.stamp.is_some() && header.host == Some(b"ip-10-77-20-248"), "{shown}");
        let app = header.app.unwrap_or_else(|| panic!("{shown}"));
        let event = auth::parse(app, header.message);
        events += usize::from(event.is_some());
        if shown.contains(": Failed ") || shown.contains("[ Failed ") {
            let event = event.unwrap_or_else(|| panic!("{shown}"));
            assert_eq!(event.outcome, auth::Outcome::Failure, "{shown}");
            assert!(event.source.is_some() && event.source_port.is_some(), "{shown}");
            failed += event.weight;
        }
        if shown.contains(": Accepted ") {
            let event = event.unwrap_or_else(|| panic!("{shown}"));
            assert_eq!(event.outcome, auth::Outcome::Success, "{shown}");
            assert!(event.source.is_some() && event.user.is_some(), "{shown}");
            accepted += 1;
        }
    }
    println!("auth: {events} events of {lines} lines, {failed} failed, {accepted} accepted");
    assert_eq!((lines, accepted), (7_121, 226));
    assert!(events * 100 >= lines * 95, "{events} of {lines}");
}

/// Scenario: 581 messages of some 90 vendors.
/// Guarantees: none is refused outright beyond the floor; host or program is found for most.
#[test]
fn vendor_syslog() {
    let Some(path) = testkit::corpus("vendor-syslog/sc4s.ndjson") else { return };
    let text = std::fs::read_to_string(path).unwrap();
    let (mut all, mut read, mut timed, mut hosted) = (0, 0, 0, 0);
    for line in text.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let message = case["message"].as_str().unwrap();
        all += 1;
        let Ok(header) = syslog::header(message.as_bytes()) else {
            println!("refused: {}", message.chars().take(100).collect::<String>());
            continue;
        };
        read += 1;
        timed += usize::from(header.stamp.is_some());
        let host = String::from_utf8_lossy(header.host.unwrap_or_default());
        let is_host = host.contains("lab-host") || header.host.is_some_and(|h| !h.is_empty());
        hosted += usize::from(is_host);
        if header.stamp.is_none() || !host.contains("lab-host") && message.contains("lab-host") {
            println!(
                "t={} host={host}: {}",
                header.stamp.is_some(),
                message.chars().take(110).collect::<String>()
            );
        }
    }
    println!("vendor syslog: {read} read, {timed} with time, {hosted} with host, of {all}");
    assert!(read * 100 >= all * 94, "{read} of {all}");
    assert!(timed * 100 >= all * 85, "{timed} of {all}");
}

/// Scenario: ten thousand lines of a web server. Guarantees: every line, with time and status.
#[test]
fn web_access_log() {
    let Some(path) = testkit::corpus("web/apache-combined-10k.log.zst") else { return };
    let body = unzstd(&path);
    let mut lines = 0;
    for line in records::split_lines(&body, false) {
        lines += 1;
        let shown = String::from_utf8_lossy(line.bytes);
        let access = access_log::parse(line.bytes).unwrap_or_else(|e| panic!("{e}: {shown}"));
        assert!(access.stamp.is_some() && access.status.is_some(), "{shown}");
    }
    assert_eq!(lines, 10_000);
}

/// Scenario: Windows events as four shippers send them.
/// Guarantees: every record is JSON to us, none is broken, each has one of the known shapes.
#[test]
fn windows_streams() {
    let mut shapes = std::collections::BTreeMap::new();
    let mut flattener = json::Flattener::new();
    for (file, shape) in [
        ("covenant_persistwmi_2019-12-05044734", windows::WindowsShape::Nxlog),
        ("cmd_service_mod_fax_2020-10-2120454410", windows::WindowsShape::Flat),
        ("empire_monologue_netntlm_downgrade_2019-12-25045202", windows::WindowsShape::Nxlog),
        ("schtask_create_2020-12-1907003032", windows::WindowsShape::Flat),
        ("empire_enable_rdp_2019-05-18203650", windows::WindowsShape::Winlogbeat6),
    ] {
        let Some(path) = testkit::corpus(&format!("windows/otrf/{file}.ndjson.zst")) else {
            return;
        };
        let body = unzstd(&path);
        for piece in records::split_json(&body) {
            let record = piece.unwrap_or_else(|e| panic!("{file}: {e}"));
            let (mut batch, head) = batch();
            let mut row = batch.begin(head, record.bytes);
            let raw = row.raw();
            let limits = json::Limits::default();
            let found = flattener.flatten(raw, "", &mut row, &limits).unwrap();
            assert_eq!((found.too_deep, found.not_stored, found.long_names), (0, 0, 0), "{file}");
            let names = row.cells().map(|(f, _)| row.name(f));
            *shapes.entry((file, windows::shape_of(names) == Some(shape))).or_insert(0) += 1;
        }
    }
    println!("{shapes:?}");
    assert!(shapes.keys().all(|(_, same)| *same), "{shapes:?}");
}
