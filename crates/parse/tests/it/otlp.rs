//! OTLP requests: one meaning in both forms, nothing lost, limits, hostile bytes.

use crate::batch;
use base64::Engine;
use event::{Envelope, RawBatch};
use parse::ParseError;
use parse::otlp::{Form, Limits, NESTING_MAX, Rejected, read};
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

const LIMITS: Limits =
    Limits { record_bytes_max: 1 << 20, batch_bytes_max: 4 << 20, records_max: 1_000 };

/// The records' texts, and what was rejected.
fn records(
    form: Form,
    body: &[u8],
    limits: &Limits,
) -> Result<(Vec<Vec<u8>>, Rejected), ParseError> {
    let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
    let rejected = read(form, body, limits, 7, &mut batch)?;
    let texts = batch.records.iter().map(|r| batch.record_bytes(r).to_vec()).collect();
    assert!(batch.records.iter().all(|r| r.wall_ns == 7));
    assert!(batch.bytes.len() <= limits.batch_bytes_max);
    Ok((texts, rejected))
}

fn texts(form: Form, body: &[u8]) -> Vec<String> {
    let (records, rejected) = records(form, body, &LIMITS).unwrap();
    assert_eq!(rejected, Rejected::default());
    records.into_iter().map(|r| String::from_utf8(r).unwrap()).collect()
}

/// A value of OTLP.
#[derive(Clone, Debug)]
enum Value {
    Nothing,
    Text(String),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Map(Pairs),
}

type Pairs = Vec<(String, Value)>;

#[derive(Clone, Debug)]
struct Log {
    times: (u64, u64),
    severity: (i32, String),
    name: String,
    body: Option<Value>,
    attributes: Pairs,
    dropped: u32,
    flags: u32,
    trace: Vec<u8>,
    span: Vec<u8>,
}

/// Resource and its schema, then scopes (name, version, attributes) with their logs.
type Group = (Option<Pairs>, String, Vec<(Option<(String, String, Pairs)>, Vec<Log>)>);

// --- protobuf, as a plain encoder writes it ---

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

fn number(field: u64, n: u64) -> Vec<u8> {
    [varint(field << 3), varint(n)].concat()
}

fn fixed64(field: u64, n: u64) -> Vec<u8> {
    [varint(field << 3 | 1), n.to_le_bytes().to_vec()].concat()
}

fn bytes(field: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn pairs(field: u64, list: &Pairs) -> Vec<u8> {
    let pair = |(key, value): &(String, Value)| {
        let value = bytes(2, &value.protobuf());
        bytes(field, &[bytes(1, key.as_bytes()), value].concat())
    };
    list.iter().flat_map(pair).collect()
}

impl Value {
    fn protobuf(&self) -> Vec<u8> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Text(text) => bytes(1, text.as_bytes()),
            Self::Bool(yes) => number(2, (*yes).into()),
            Self::Int(n) => number(3, *n as u64),
            Self::Double(n) => fixed64(4, n.to_bits()),
            Self::List(list) => {
                let all: Vec<u8> = list.iter().flat_map(|v| bytes(1, &v.protobuf())).collect();
                bytes(5, &all)
            }
            Self::Map(map) => bytes(6, &pairs(1, map)),
            Self::Bytes(b) => bytes(7, b),
        }
    }
}

impl Log {
    fn protobuf(&self) -> Vec<u8> {
        let flags = [varint(8 << 3 | 5), self.flags.to_le_bytes().to_vec()].concat();
        [
            fixed64(1, self.times.0),
            fixed64(11, self.times.1),
            number(2, self.severity.0 as u64),
            bytes(3, self.severity.1.as_bytes()),
            // Not known yet.
            bytes(77, b"later"),
            self.body.as_ref().map_or(vec![], |b| bytes(5, &b.protobuf())),
            pairs(6, &self.attributes),
            number(7, self.dropped.into()),
            flags,
            bytes(9, &self.trace),
            bytes(10, &self.span),
            bytes(12, self.name.as_bytes()),
        ]
        .concat()
    }
}

fn protobuf(groups: &[Group]) -> Vec<u8> {
    let scope = |(scope, logs): &(Option<(String, String, Pairs)>, Vec<Log>)| {
        let scope = scope.as_ref().map_or(vec![], |(name, version, list)| {
            let all = [bytes(1, name.as_bytes()), bytes(2, version.as_bytes()), pairs(3, list)];
            bytes(1, &all.concat())
        });
        let logs: Vec<u8> = logs.iter().flat_map(|l| bytes(2, &l.protobuf())).collect();
        // In no usual order.
        bytes(2, &[logs, scope].concat())
    };
    let group = |(resource, schema, scopes): &Group| {
        let resource = resource.as_ref().map_or(vec![], |list| bytes(1, &pairs(1, list)));
        let scopes: Vec<u8> = scopes.iter().flat_map(scope).collect();
        bytes(1, &[scopes, bytes(3, schema.as_bytes()), resource].concat())
    };
    groups.iter().flat_map(group).collect()
}

// --- JSON, as the specification of OTLP has it ---

fn json_pairs(list: &Pairs) -> Json {
    list.iter().map(|(key, value)| json!({"value": value.json(), "key": key})).collect()
}

impl Value {
    fn json(&self) -> Json {
        match self {
            Self::Nothing => json!({}),
            Self::Text(text) => json!({ "stringValue": text }),
            Self::Bool(yes) => json!({ "boolValue": yes }),
            // As text and as a number.
            Self::Int(n) if n % 2 == 0 => json!({ "intValue": n.to_string() }),
            Self::Int(n) => json!({ "intValue": n }),
            Self::Double(n) if n.is_finite() => json!({ "doubleValue": n }),
            Self::Double(n) if n.is_nan() => json!({ "doubleValue": "NaN" }),
            Self::Double(n) if *n > 0.0 => json!({ "doubleValue": "Infinity" }),
            Self::Double(_) => json!({ "doubleValue": "-Infinity" }),
            Self::Bytes(bytes) => json!({ "bytesValue": base64(bytes) }),
            Self::List(list) => {
                json!({ "arrayValue": { "values": list.iter().map(Self::json).collect::<Json>() } })
            }
            Self::Map(map) => json!({ "kvlistValue": { "values": json_pairs(map) } }),
        }
    }

    /// What a record has of it.
    fn plain(&self) -> Json {
        match self {
            Self::Nothing => Json::Null,
            Self::Text(text) => json!(text),
            Self::Bool(yes) => json!(yes),
            Self::Int(n) => json!(n),
            // Read as the record is read: the last digit may differ from the number's.
            Self::Double(n) if n.is_finite() => serde_json::from_str(&format!("{n:?}")).unwrap(),
            Self::Double(_) => self.json()["doubleValue"].clone(),
            Self::Bytes(bytes) => json!(base64(bytes)),
            Self::List(list) => list.iter().map(Self::plain).collect(),
            Self::Map(map) => plain_pairs(map),
        }
    }
}

fn plain_pairs(list: &Pairs) -> Json {
    Json::Object(list.iter().map(|(key, value)| (key.clone(), value.plain())).collect())
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Log {
    fn json(&self) -> Json {
        let mut out = json!({
            "later": [{"unknown": null}], "attributes": json_pairs(&self.attributes),
            "timeUnixNano": self.times.0.to_string(), "observedTimeUnixNano": self.times.1,
            "severityNumber": self.severity.0, "severityText": self.severity.1,
            "eventName": self.name, "droppedAttributesCount": self.dropped, "flags": self.flags,
            "traceId": hex(&self.trace).to_uppercase(), "spanId": hex(&self.span),
        });
        if let Some(body) = &self.body {
            out["body"] = body.json();
        }
        out
    }

    fn plain(&self, resource: &Json, scope: &Json) -> Json {
        let mut out = Map::new();
        let mut put = |name: &str, value: Json| {
            let is_empty = match &value {
                Json::Number(n) => n.as_u64() == Some(0),
                // Times that are not set among them; a text may be a 0.
                Json::String(text) => text.is_empty() || name.ends_with("Nano") && text == "0",
                Json::Object(map) => map.is_empty(),
                _ => false,
            };
            if !is_empty {
                out.insert(name.into(), value);
            }
        };
        put("timeUnixNano", self.times.0.to_string().into());
        put("observedTimeUnixNano", self.times.1.to_string().into());
        put("severityText", self.severity.1.clone().into());
        put("eventName", self.name.clone().into());
        put("attributes", plain_pairs(&self.attributes));
        put("droppedAttributesCount", self.dropped.into());
        put("flags", self.flags.into());
        put("traceId", hex(&self.trace).into());
        put("spanId", hex(&self.span).into());
        put("resource", resource.clone());
        put("scope", scope.clone());
        out.insert("severityNumber".into(), self.severity.0.into());
        if let Some(body) = &self.body {
            out.insert("body".into(), body.plain());
        }
        out.into()
    }
}

fn request_json(groups: &[Group]) -> String {
    let scope = |(scope, logs): &(Option<(String, String, Pairs)>, Vec<Log>)| {
        let scope = scope.as_ref().map(|(name, version, list)| {
            json!({"name": name, "version": version, "attributes": json_pairs(list)})
        });
        json!({"logRecords": logs.iter().map(Log::json).collect::<Json>(), "scope": scope})
    };
    let group = |(resource, schema, scopes): &Group| {
        let resource = resource.as_ref().map(|list| json!({"attributes": json_pairs(list)}));
        let scopes: Json = scopes.iter().map(scope).collect();
        json!({"scopeLogs": scopes, "schemaUrl": schema, "resource": resource})
    };
    json!({"resourceLogs": groups.iter().map(group).collect::<Json>()}).to_string()
}

fn plain(groups: &[Group]) -> Vec<Json> {
    let object = |members: Vec<(&str, Json)>| -> Json {
        let given = members.into_iter().filter(|(_, v)| *v != json!("") && *v != json!({}));
        Json::Object(given.map(|(k, v)| (k.to_owned(), v)).collect())
    };
    let mut out = Vec::new();
    for (resource, schema, scopes) in groups {
        let list = resource.clone().unwrap_or_default();
        let resource =
            object(vec![("attributes", plain_pairs(&list)), ("schemaUrl", json!(schema))]);
        for (scope, logs) in scopes {
            let (name, version, list) = scope.clone().unwrap_or_default();
            let scope = object(vec![
                ("name", json!(name)),
                ("version", json!(version)),
                ("attributes", plain_pairs(&list)),
            ]);
            out.extend(logs.iter().map(|log| log.plain(&resource, &scope)));
        }
    }
    out
}

// --- any request ---

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nothing),
        any::<String>().prop_map(Value::Text),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Double),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let pair = (any::<String>(), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::List),
            prop::collection::vec(pair, 0..4).prop_map(Value::Map),
        ]
    })
}

fn any_pairs() -> impl Strategy<Value = Pairs> {
    prop::collection::vec(("[a-z.]{0,8}|.{0,3}", any_value()), 0..3)
}

fn any_log() -> impl Strategy<Value = Log> {
    let id = |len| prop_oneof![Just(vec![]), prop::collection::vec(any::<u8>(), len)];
    (
        any::<(u64, u64)>(),
        (-2..30i32, ".{0,6}"),
        ("[a-z.]{0,6}", prop::option::of(any_value()), any_pairs()),
        any::<(u32, u32)>(),
        (id(16usize), id(8)),
    )
        .prop_map(|(times, severity, (name, body, attributes), (dropped, flags), ids)| Log {
            times,
            severity,
            name,
            body,
            attributes,
            dropped,
            flags,
            trace: ids.0,
            span: ids.1,
        })
}

fn any_request() -> impl Strategy<Value = Vec<Group>> {
    let scope = prop::option::of((".{0,5}", "[0-9.]{0,4}", any_pairs()));
    let scopes = prop::collection::vec((scope, prop::collection::vec(any_log(), 0..3)), 0..3);
    let group = (prop::option::of(any_pairs()), "[a-z:/]{0,6}", scopes);
    prop::collection::vec(group, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Guarantees: both forms of any request give the same texts, which say all that the request says.
    #[test]
    fn both_forms_of_a_request_give_the_same_records(groups in any_request()) {
        let from_protobuf = texts(Form::Protobuf, &protobuf(&groups));
        let from_json = texts(Form::Json, request_json(&groups).as_bytes());
        prop_assert_eq!(&from_protobuf, &from_json);
        let read: Vec<Json> =
            from_json.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        prop_assert_eq!(read, plain(&groups));
    }

    /// Guarantees: whatever becomes of a request's bytes, there is no panic, no text beyond the limits,
    /// and each record is JSON that we read ourselves.
    #[test]
    fn hostile_bytes_are_read_or_refused(
        groups in any_request(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        len in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let limits = Limits { record_bytes_max: 600, batch_bytes_max: 1_500, records_max: 3 };
        let bodies =
            [(Form::Protobuf, protobuf(&groups)), (Form::Json, request_json(&groups).into_bytes())];
        for (form, mut body) in bodies {
            for (at, byte) in &edits {
                if !body.is_empty() {
                    let at = at.index(body.len());
                    body[at] = *byte;
                }
            }
            let cut = len.index(body.len() + 1);
            for bytes in [&body[..], &body[..cut], &noise] {
                for record in records(form, bytes, &limits).map_or_else(|_| vec![], |r| r.0) {
                    prop_assert!(record.len() <= limits.record_bytes_max);
                    let (mut rows, head) = batch();
                    let mut row = rows.begin(head, &record);
                    let raw = row.raw();
                    let read = parse::json::flatten(raw, "", &mut row, &parse::Limits::default());
                    prop_assert!(read.is_ok(), "{}", String::from_utf8_lossy(&record));
                }
            }
        }
    }
}

#[test]
fn a_record_has_its_resource_and_scope() {
    let body = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"host.name","value":{"stringValue":"web1"}}]},
        "scopeLogs":[{"scope":{"name":"app"},"logRecords":[
          {"timeUnixNano":"1795424400000000000","severityNumber":9,"body":{"stringValue":"a \"b\" /\u00e4"}},
          {"body":null,"attributes":[{"key":"n","value":{"intValue":"-9223372036854775808"}}]}]},
        {"logRecords":[{}]}]}]}"#;
    assert_eq!(
        texts(Form::Json, body.as_bytes()),
        [
            r#"{"timeUnixNano":"1795424400000000000","severityNumber":9,"body":"a \"b\" /ä","resource":{"attributes":{"host.name":"web1"}},"scope":{"name":"app"}}"#,
            r#"{"severityNumber":0,"attributes":{"n":-9223372036854775808},"resource":{"attributes":{"host.name":"web1"}},"scope":{"name":"app"}}"#,
            r#"{"severityNumber":0,"resource":{"attributes":{"host.name":"web1"}}}"#,
        ]
    );
    for empty in ["{}", " { } ", r#"{"resourceLogs":[]}"#, r#"{"resourceLogs":null}"#] {
        assert!(texts(Form::Json, empty.as_bytes()).is_empty());
    }
    assert!(texts(Form::Protobuf, b"").is_empty());
    // What is not known stands beside what is, in front of it and behind it.
    let beside =
        r#"{"later":[1],"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}],"more":null}"#;
    assert_eq!(texts(Form::Json, beside.as_bytes()), [r#"{"severityNumber":0}"#]);
    let beside = [bytes(15, b"later"), bytes(1, &bytes(2, &bytes(2, b""))), number(16, 1)].concat();
    assert_eq!(texts(Form::Protobuf, &beside), [r#"{"severityNumber":0}"#]);
}

/// Numbers, names and texts as JSON of protobuf may have them.
#[test]
fn values_in_their_other_forms_are_the_same_values() {
    let read = |members: &str| {
        let body =
            format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{members}}}]}}]}}]}}"#);
        let text = texts(Form::Json, body.as_bytes()).remove(0);
        text.strip_prefix('{').unwrap().strip_suffix('}').unwrap().to_owned()
    };
    for (form, number) in [
        ("9.0", "9"),
        ("1e1", "10"),
        ("1.5E+1", "15"),
        ("\"120e-1\"", "12"),
        ("-0.0", "0"),
        ("0.00e99999", "0"),
        ("0.0012e4", "12"),
        ("\"SEVERITY_NUMBER_UNSPECIFIED\"", "0"),
    ] {
        let want = format!(r#""severityNumber":{number}"#);
        assert_eq!(read(&format!(r#""severityNumber":{form}"#)), want, "{form}");
    }
    let kinds = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    let steps =
        kinds.iter().flat_map(|kind| ["", "2", "3", "4"].map(|step| format!("{kind}{step}")));
    for (name, number) in steps.zip(1..=24) {
        let named = read(&format!(r#""severityNumber":"SEVERITY_NUMBER_{name}""#));
        assert_eq!(named, format!(r#""severityNumber":{number}"#), "{name}");
    }
    assert_eq!(
        read(r#""timeUnixNano":"","observedTimeUnixNano":1.795424400000000001e18"#),
        r#""observedTimeUnixNano":"1795424400000000001","severityNumber":0"#
    );
    for (form, value) in [
        (r#""boolValue":"true""#, "true"),
        (r#""boolValue":"false""#, "false"),
        (r#""intValue":-9.223372036854775808e18"#, "-9223372036854775808"),
    ] {
        let want = format!(r#""severityNumber":0,"body":{value}"#);
        assert_eq!(read(&format!(r#""body":{{{form}}}"#)), want);
    }
}

#[test]
fn what_is_no_request_is_told_with_its_place() {
    let expected = |form, body: &[u8], at| {
        let error = records(form, body, &LIMITS).unwrap_err();
        assert_eq!(error.at(), at, "{error}: {}", String::from_utf8_lossy(body));
    };
    let log = |value: &str| {
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{value}}}]}}]}}]}}"#)
    };
    let start = log("").len() - "}]}]}]}".len();
    for (body, at) in [("", 0), ("[]", 0), ("{", 1), ("{} x", 3), (r#"{"a":1"#, 6), ("nope", 0)] {
        expected(Form::Json, body.as_bytes(), at);
    }
    // Something else, which must not be answered as taken.
    for body in [
        r#"{"message":"hello"}"#,
        r#"{"resource_logs":[]}"#,
        r#"{"resourceSpans":[{}],"b":1}"#,
        r#"{"a":null}"#,
    ] {
        expected(Form::Json, body.as_bytes(), body.find(':').unwrap() + 1);
    }
    expected(Form::Protobuf, b"\x7a\x05hello", 0);
    expected(Form::Protobuf, &number(1, 1), 0);
    let error = records(Form::Json, br#"{"message":"hello"}"#, &LIMITS).unwrap_err().to_string();
    assert!(error.contains("resourceLogs"), "{error}");
    // What cannot be passed over as a value has no end, so there is no record.
    expected(Form::Json, log(r#""body":{"a":1]"#).as_bytes(), start + 13);
    expected(Form::Json, log("").replace("{}]", "1]").as_bytes(), start - 1);
    // A length beyond the end, in a message within another; a group; field 0; a number that never ends.
    expected(Form::Protobuf, &bytes(1, b"\x12\x05a"), 4);
    expected(Form::Protobuf, b"\x0b", 1);
    expected(Form::Protobuf, b"\x00\x00", 1);
    expected(
        Form::Protobuf,
        &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        11,
    );
}

/// Guarantees: a record with a value that is none of its kind is kept as it was sent, and costs no other.
#[test]
fn a_record_that_cannot_be_read_is_kept_as_text() {
    for members in [
        r#""timeUnixNano":-1"#,
        r#""severityNumber":"INFO""#,
        r#""severityNumber":"SEVERITY_NUMBER_INFO5""#,
        r#""severityNumber":1.5"#,
        r#""severityNumber":"""#,
        r#""severityNumber":1e99999999999999999999"#,
        r#""timeUnixNano":1e20"#,
        r#""flags":99999999999999999999"#,
        r#""severityNumber":9,"body":{"arrayValue":{"values":[{"intValue":"1"},{"intValue":"x"}]}}"#,
        r#""attributes":{"a":1}"#,
        r#""body""#,
    ] {
        let record = format!("{{{members}}}");
        let body = format!(
            r#"{{"resourceLogs":[{{"schemaUrl":"s","scopeLogs":[{{"logRecords":[{{}},{record},{{}}]}}]}}]}}"#
        );
        let resource = json!({"schemaUrl": "s"});
        let other = json!({"severityNumber": 0, "resource": resource});
        let kept = json!({"severityNumber": 0, "body": record, "resource": resource});
        let read = texts(Form::Json, body.as_bytes());
        let read: Vec<Json> = read.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        assert_eq!(read, [other.clone(), kept, other]);
    }
}

fn log_of(body: Value) -> Log {
    let (name, attributes, trace, span) = Default::default();
    Log {
        times: (1, 0),
        severity: (9, String::new()),
        name,
        body: Some(body),
        attributes,
        dropped: 0,
        flags: 0,
        trace,
        span,
    }
}

fn one(body: Value) -> Vec<Group> {
    vec![(None, String::new(), vec![(None, vec![log_of(body)])])]
}

/// Guarantees: what is nested too deep is kept as text and its record with it; the deepest that is taken
/// apart can be read from the record.
#[test]
fn deep_values_are_kept_as_text() {
    let nested = |levels: usize| {
        (0..levels).fold(Value::Text("core".into()), |inner, level| match level % 2 {
            0 => Value::List(vec![inner]),
            _ => Value::Map(vec![("k".into(), inner)]),
        })
    };
    for groups in [one(nested(NESTING_MAX)), one(Value::Map(vec![("a".into(), nested(9))]))] {
        let [text] = &texts(Form::Protobuf, &protobuf(&groups))[..] else { panic!() };
        assert_eq!(serde_json::from_str::<Json>(text).unwrap(), plain(&groups)[0]);
        assert_eq!(texts(Form::Json, request_json(&groups).as_bytes()), [text.as_str()]);
        let (mut rows, head) = batch();
        let mut row = rows.begin(head, text.as_bytes());
        let raw = row.raw();
        let shape = parse::json::flatten(raw, "", &mut row, &parse::Limits::default()).unwrap();
        assert_eq!((shape.too_deep, shape.cells), (0, 3));
    }
    for levels in [NESTING_MAX + 1, 10_000] {
        let deep = (0..levels).fold(bytes(1, b"core"), |inner, _| bytes(5, &bytes(1, &inner)));
        let log = bytes(1, &bytes(2, &bytes(2, &bytes(5, &deep))));
        let [text] = &texts(Form::Protobuf, &log)[..] else { panic!() };
        let mut at = &serde_json::from_str::<Json>(text).unwrap()["body"];
        while let Json::Array(list) = at {
            at = &list[0];
        }
        let inner = base64::engine::general_purpose::STANDARD.decode(at.as_str().unwrap()).unwrap();
        assert!(inner.ends_with(b"core"));

        let open = r#"{"arrayValue":{"values":["#.repeat(levels);
        let deep = format!(r#"{open}{{"stringValue":"core"}}{}"#, "]}}".repeat(levels));
        let body = format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{deep}}}]}}]}}]}}"#
        );
        let [text] = &texts(Form::Json, body.as_bytes())[..] else { panic!() };
        assert!(text.contains(r#"{\"stringValue\":\"core\"}"#));
    }
}

#[test]
fn bytes_that_are_no_utf8_stay() {
    let log = [bytes(3, b"W\xff"), bytes(5, &bytes(1, b"caf\xe9 \x01"))].concat();
    let body = bytes(1, &bytes(2, &bytes(2, &log)));
    let (got, _) = records(Form::Protobuf, &body, &LIMITS).unwrap();
    let wanted = b"{\"severityNumber\":0,\"severityText\":\"W\xff\",\"body\":\"caf\xe9 \\u0001\"}";
    assert_eq!(got, [wanted.to_vec()]);
    let body = b"{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"severityText\":\"W\xff\",\"body\":{\"stringValue\":\"caf\xe9 \\u0001\"}}]}]}]}";
    assert_eq!(records(Form::Json, body, &LIMITS).unwrap().0, [wanted.to_vec()]);
}

/// Guarantees: a large resource above many records, too many records and too long ones take no more room
/// than they may; what fits is kept, the rest is counted.
#[test]
fn what_has_no_room_is_counted_and_the_rest_is_kept() {
    let small = || log_of(Value::Text("x".into()));
    let group = |resource: &str, logs: Vec<Log>| -> Group {
        let resource = vec![("r".into(), Value::Text(resource.into()))];
        (Some(resource), String::new(), vec![(None, logs)])
    };
    let both = |groups: &[Group], limits: &Limits| {
        let protobuf = records(Form::Protobuf, &protobuf(groups), limits).unwrap();
        let json = records(Form::Json, request_json(groups).as_bytes(), limits).unwrap();
        assert_eq!((protobuf.0.len(), protobuf.1.records), (json.0.len(), json.1.records));
        assert!(protobuf.1.bytes > 0 && json.1.bytes > protobuf.1.bytes);
        (protobuf.0.len(), protobuf.1.records)
    };
    // A megabyte above each of 500 records would be half a gigabyte; four fit.
    let heavy = group(&"r".repeat((1 << 20) - 200), vec![small(); 500]);
    let light = group("", vec![small(); 3]);
    assert_eq!(both(&[heavy, light.clone()], &LIMITS), (7, 496));
    // A resource that no record may hold.
    let endless = group(&"r".repeat(2 << 20), vec![small(); 2]);
    assert_eq!(both(&[endless, light.clone()], &LIMITS), (3, 2));
    // One record that is too long, among others.
    let long = log_of(Value::Bytes(vec![0; 800 << 10]));
    assert_eq!(both(&[group("", vec![small(), long, small()])], &LIMITS), (2, 1));
    let few = Limits { records_max: 2, ..LIMITS };
    assert_eq!(both(&[light], &few), (2, 1));
}
