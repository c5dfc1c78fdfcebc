//! Conformance vectors of the syslog grammars.

use base64::Engine as _;
use parse::syslog;
use serde_json::Value;

fn vectors(name: &str) -> Option<Vec<Value>> {
    let path = testkit::corpus(&format!("parse-cases/{name}"))?;
    let text = std::fs::read_to_string(path).unwrap();
    Some(text.lines().map(|l| serde_json::from_str(l).unwrap()).collect())
}

fn input(case: &Value) -> Vec<u8> {
    match case["input_base64"].as_str() {
        Some(b64) => base64::engine::general_purpose::STANDARD.decode(b64).unwrap(),
        None => case["input"].as_str().unwrap().as_bytes().to_vec(),
    }
}

fn same(field: &Value, got: Option<&[u8]>) -> bool {
    field.as_str().map(str::as_bytes) == got
}

/// Whether every part of a header is what the vector says.
fn agrees(want: &Value, got: &syslog::Header<'_>) -> bool {
    let number = |v: &Value| v.as_u64();
    let mut params = std::collections::BTreeMap::<_, std::collections::BTreeMap<_, _>>::new();
    for (id, name, value) in got.structured_data.iter() {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let element = params.entry(text(id)).or_default();
        if !name.is_empty() {
            element.insert(text(name), text(&value));
        }
    }
    let want_params = match &want["StructuredData"] {
        Value::Null => serde_json::json!({}),
        other => other.clone(),
    };
    let message = want["Message"].as_str().unwrap_or("");
    let message = message.strip_prefix('\u{feff}').unwrap_or(message);
    let stamp_ok = match want["Timestamp"].as_str() {
        None => got.stamp.is_none(),
        Some(t) if t.starts_with("0000") => got.stamp.is_some(),
        // Offsets of up to a day are legal in the vectors and beyond what our own times use.
        Some(t) => match event::time::parse_rfc3339(t) {
            Some(ns) => got.stamp == Some(parse::timestamp::Stamp::Utc(ns)),
            None => got.timestamp == Some(t.as_bytes()),
        },
    };
    number(&want["Priority"]) == got.pri.map(u64::from)
        && number(&want["Facility"]) == got.facility().map(u64::from)
        && number(&want["Severity"]) == got.severity().map(u64::from)
        && (want["Version"].is_null() || number(&want["Version"]) == got.version.map(u64::from))
        && stamp_ok
        && same(&want["Hostname"], got.host)
        && same(&want["Appname"], got.app)
        && same(&want["ProcID"], got.procid)
        && same(&want["MsgID"], got.msgid)
        && serde_json::to_value(&params).unwrap() == want_params
        && String::from_utf8_lossy(got.message) == message
}

/// Scenario: published RFC 5424 vectors through the strict reader.
/// Guarantees: valid ones are valid field by field; invalid ones have a stated problem.
#[test]
fn rfc5424_vectors() {
    let Some(cases) = vectors("syslog-rfc5424.ndjson") else { return };
    let (mut verdicts, mut fields, mut valid) = (0, 0, 0);
    for case in &cases {
        let bytes = input(case);
        let got = syslog::rfc5424(&bytes);
        let want = case["valid"].as_bool().unwrap();
        if got.problem.is_none() == want {
            verdicts += 1;
        } else {
            println!(
                "verdict: want valid={want} ({}), got {:?}: {}",
                case["error"],
                got.problem,
                String::from_utf8_lossy(&bytes)
            );
        }
        if want {
            valid += 1;
            if agrees(&case["expected"], &got) {
                fields += 1;
            } else {
                println!("fields: {case}\n got {got:?}");
            }
        }
    }
    println!("verdicts {verdicts}/{}, fields {fields}/{valid}", cases.len());
    assert_eq!(verdicts, cases.len());
    assert_eq!(fields, valid);
}

/// Scenario: published RFC 3164 vectors through the header reader.
/// Guarantees: every field as published.
#[test]
fn rfc3164_vectors() {
    let Some(cases) = vectors("syslog-rfc3164.ndjson") else { return };
    for case in &cases {
        let bytes = input(case);
        let got = syslog::header(&bytes).unwrap();
        assert!(agrees(&case["expected"], &got), "{case}\n got {got:?}");
    }
}
