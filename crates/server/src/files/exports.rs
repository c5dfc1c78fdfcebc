//! Exports: documents that wrap many records, and Windows events whose names and values stand apart.
//!
//! ```text
//! {"hits": {"hits": [{"_source": R}, ...]}}                      -> R, ...       a search's answer
//! {"results": [R, ...]}                                          -> R, ...
//! {"EventData": {"Data": [{"@Name": "Image", "#text": "x"}]}}    -> {"Event": {"EventData": {"Image": "x"}}}
//! {"Id": 1, "LogName": .., "Message": "Image: x"}                -> LogName=.. Message=Image: x
//! ```
//! Only files are read so: what a sender sends live is a record as it is.

use memchr::memmem;
use serde_json::{Map, Value};

/// Documents in documents: an answer of several searches holds answers, which hold hits.
const DEPTH_MAX: usize = 4;
/// Members whose list holds the records, where all else in the document is about the list, in quotes.
const LISTS: &[&str] = &["\"events\"", "\"results\"", "\"records\"", "\"logs\"", "\"entries\""];
/// Members that are about a list.
const ABOUT: &[&str] = &[
    "count",
    "total",
    "size",
    "offset",
    "init_offset",
    "limit",
    "page",
    "next",
    "cursor",
    "nextToken",
    "next_token",
    "preview",
    "took",
    "success",
    "lastrow",
];
/// Members that a search's answer has beside its hits, as well as those.
const ANSWER: &[&str] = &[
    "timed_out",
    "terminated_early",
    "_shards",
    "_clusters",
    "_scroll_id",
    "pit_id",
    "num_reduce_phases",
    "phase_took",
    "max_score",
    "aggregations",
    "suggest",
    "profile",
    "status",
    "id",
    "isPartial",
    "isRunning",
    "isStored",
    "isRestored",
    "loaded",
    "is_partial",
    "is_running",
    "start_time_in_millis",
    "expiration_time_in_millis",
    "completion_time_in_millis",
    "completion_status",
];
/// How converters from XML mark attributes.
const ATTRIBUTE_MARKS: &[char] = &['@', '-', '_'];
/// What they call the text of an element.
const TEXTS: &[&str] = &["#text", "__text", "_text", "$text", "$t", "_", "Value", "value"];

/// The records that a JSON record stands for. `None`: it is one as it is.
pub(super) fn records(record: &[u8]) -> Option<Vec<Vec<u8>>> {
    if !record.trim_ascii_start().starts_with(b"{") || !may_wrap(record) {
        return None;
    }
    let Ok(Value::Object(document)) = serde_json::from_slice(record) else { return None };
    let mut inner = Vec::new();
    if !open(&document, 0, &mut inner) {
        return event(&document).map(|one| vec![one]);
    }
    let text = |one: Value| one.as_object().and_then(event).unwrap_or_else(|| text_of(&one));
    Some(inner.into_iter().map(text).collect())
}

/// Whether a closer look is worth it: most records are told by their bytes.
fn may_wrap(record: &[u8]) -> bool {
    let has = |needle: &str| memmem::find(record, needle.as_bytes()).is_some();
    let names_data = || {
        let from = memmem::find(record, b"\"EventData\"");
        from.is_some_and(|at| memmem::find(&record[at..], b"\"Data\"").is_some())
            || from.is_some() && !has("\"Event\"") && has("\"System\"")
    };
    has("\"hits\"")
        || has("\"LogName\"") && has("\"Message\"")
        || LISTS.iter().any(|list| has(list))
        || names_data()
}

/// Adds the records that a document wraps; false if it wraps none.
fn open(document: &Map<String, Value>, depth: usize, out: &mut Vec<Value>) -> bool {
    if depth == DEPTH_MAX {
        return false;
    }
    open_answer(document, out)
        || ["response", "rawResponse"].iter().any(|name| {
            let answer = document.get(*name).and_then(Value::as_object);
            answer.is_some_and(|answer| {
                is_about(document, name, &[ABOUT, ANSWER]) && open(answer, depth + 1, out)
            })
        })
        || open_answers(document, depth, out)
        || LISTS.iter().any(|list| open_list(document, list.trim_matches('"'), out))
}

/// Whether all else in a document is about the member `name`: else it is a record that has it.
fn is_about(document: &Map<String, Value>, name: &str, known: &[&[&str]]) -> bool {
    document.keys().all(|key| key == name || known.iter().any(|k| k.contains(&&**key)))
}

/// `{"hits": {"hits": [...]}}`, the answer of a search.
fn open_answer(document: &Map<String, Value>, out: &mut Vec<Value>) -> bool {
    let Some(outer) = document.get("hits").and_then(Value::as_object) else { return false };
    let Some(hits) = outer.get("hits").and_then(Value::as_array) else { return false };
    let known = &[ABOUT, ANSWER];
    let is_answer = hits.iter().all(Value::is_object)
        && is_about(document, "hits", known)
        && is_about(outer, "hits", known);
    if is_answer {
        out.extend(hits.iter().map(hit));
    }
    is_answer
}

/// `{"responses": [...]}`, the answers of several searches; one that failed has none.
fn open_answers(document: &Map<String, Value>, depth: usize, out: &mut Vec<Value>) -> bool {
    let Some(answers) = document.get("responses").and_then(Value::as_array) else { return false };
    let before = out.len();
    let mut opens = |answer: &Value| {
        answer.as_object().is_some_and(|answer| {
            open(answer, depth + 1, out)
                || answer.contains_key("error") && is_about(answer, "error", &[ANSWER])
        })
    };
    let is_answer = !answers.is_empty()
        && is_about(document, "responses", &[ABOUT, ANSWER])
        && answers.iter().all(&mut opens);
    if !is_answer {
        out.truncate(before);
    }
    is_answer
}

/// A list of records with what is about it.
fn open_list(document: &Map<String, Value>, list: &str, out: &mut Vec<Value>) -> bool {
    let Some(records) = document.get(list).and_then(Value::as_array) else { return false };
    let is_list = !records.is_empty()
        && records.iter().all(Value::is_object)
        && is_about(document, list, &[ABOUT]);
    if is_list {
        out.extend(records.iter().cloned());
    }
    is_list
}

/// A hit with its document; of one that was asked for fields alone these, one value each where there
/// is one.
fn hit(hit: &Value) -> Value {
    if hit.get("_source").is_some_and(|s| s.as_object().is_some_and(|s| !s.is_empty())) {
        return hit.clone();
    }
    let Some(fields) = hit.get("fields").and_then(Value::as_object) else { return hit.clone() };
    let single = |value: &Value| match value.as_array().map(Vec::as_slice) {
        Some([one]) => one.clone(),
        _ => value.clone(),
    };
    Value::Object(fields.iter().map(|(name, value)| (name.clone(), single(value))).collect())
}

/// A Windows event in a form that is read as such; `None` if it is none, or is in such a form.
fn event(record: &Map<String, Value>) -> Option<Vec<u8>> {
    if let Some(text) = rendered(&|name| record.get(name).map(plain)) {
        return Some(text.into_bytes());
    }
    let outer = record.get("_source").and_then(Value::as_object).unwrap_or(record);
    let inner = outer.get("Event").and_then(Value::as_object);
    let event = inner.unwrap_or(outer);
    let system = event.get("System")?.as_object()?;
    let data = event.get("EventData").and_then(Value::as_object).and_then(named);
    if inner.is_some() && data.is_none() {
        return None;
    }
    let mut event = event.clone();
    let system = system.iter().map(|(name, value)| (name.clone(), element(value))).collect();
    event.insert("System".into(), Value::Object(system));
    if let Some(data) = data {
        event.insert("EventData".into(), Value::Object(data));
    }
    Some(text_of(&serde_json::json!({ "Event": event })))
}

/// Data with their names as members beside what else there is; `None` if no name is given. What has
/// none is `Data`, what has the same name is a list.
fn named(event_data: &Map<String, Value>) -> Option<Map<String, Value>> {
    let list = match event_data.get("Data")? {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut out = event_data.clone();
    out.remove("Data");
    let mut is_named = false;
    for item in list {
        let item = element(item);
        let attributes = item.get("#attributes");
        let name = attributes.and_then(|a| a.get("Name")).or_else(|| item.get("Name"));
        let value = match &item {
            Value::Object(members) => {
                TEXTS.iter().find_map(|text| members.get(*text)).cloned().unwrap_or_default()
            }
            text => text.clone(),
        };
        let name = name.and_then(Value::as_str);
        is_named |= name.is_some();
        add(&mut out, name.unwrap_or("Data"), value);
    }
    is_named.then_some(out)
}

/// A value under a name, behind those that the name has already.
fn add(out: &mut Map<String, Value>, name: &str, value: Value) {
    match out.get_mut(name) {
        Some(Value::Array(values)) => values.push(value),
        Some(first) => *first = Value::Array(vec![first.take(), value]),
        None => drop(out.insert(name.to_owned(), value)),
    }
}

/// An element with its attributes below `#attributes` and its text as `#text`, whatever the converter
/// calls them.
fn element(value: &Value) -> Value {
    let Value::Object(members) = value else { return value.clone() };
    let (mut out, mut attributes) = (Map::new(), Map::new());
    for (name, value) in members {
        match (name.strip_prefix(ATTRIBUTE_MARKS).filter(|rest| !rest.is_empty()), value) {
            (_, Value::Object(all)) if name == "$" || name == "#attributes" => {
                attributes.extend(all.clone());
            }
            _ if TEXTS[..6].contains(&&**name) => drop(out.insert("#text".into(), value.clone())),
            (Some(attribute), _) => drop(attributes.insert(attribute.into(), value.clone())),
            (None, _) => drop(out.insert(name.clone(), value.clone())),
        }
    }
    if !attributes.is_empty() {
        out.insert("#attributes".into(), Value::Object(attributes));
    }
    Value::Object(out)
}

/// Columns of exports with the rendered message, by what they are called there.
const RENDERED: [(&str, &[&str]); 5] = [
    ("LogName", &["LogName", "Log Name"]),
    ("EventCode", &["Id", "EventID", "Event ID", "InstanceId"]),
    ("SourceName", &["ProviderName", "Source"]),
    ("ComputerName", &["MachineName", "Computer"]),
    ("RecordNumber", &["RecordId", "Index"]),
];

/// Channels that providers write to, for exports of the Event Viewer, which leave the channel out.
const CHANNELS: &[(&str, &str)] = &[
    ("Microsoft-Windows-Security-Auditing", "Security"),
    ("Microsoft-Windows-Sysmon", "Microsoft-Windows-Sysmon/Operational"),
    ("Microsoft-Windows-PowerShell", "Microsoft-Windows-PowerShell/Operational"),
    ("PowerShell", "Windows PowerShell"),
    ("Microsoft-Windows-Windows Defender", "Microsoft-Windows-Windows Defender/Operational"),
    ("Windows Defender", "Microsoft-Windows-Windows Defender/Operational"),
    ("Microsoft-Windows-TaskScheduler", "Microsoft-Windows-TaskScheduler/Operational"),
    ("Microsoft-Windows-WMI-Activity", "Microsoft-Windows-WMI-Activity/Operational"),
    ("Service Control Manager", "System"),
    ("Microsoft-Windows-Kernel-General", "System"),
];

/// A Windows event that is told by its rendered message, in the form in which that is taken apart.
/// `of` gives what a column holds. `None` if columns are missing.
pub(super) fn rendered(of: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    // Where the data stand beside the message, they are better than what it says of them.
    if ["Channel", "EventData", "event_data", "_raw"].iter().any(|name| of(name).is_some()) {
        return None;
    }
    let message = of("Message").or_else(|| of("column_6"))?;
    let column = |names: &[&str]| names.iter().find_map(|name| of(name)).filter(|v| !v.is_empty());
    let source = column(RENDERED[2].1)?;
    let code = column(RENDERED[1].1).filter(|c| c.bytes().all(|b| b.is_ascii_digit()))?;
    let channel = column(RENDERED[0].1).or_else(|| channel_of(&source, &code))?;
    // The first line is the time.
    let time = ["TimeCreated", "Date and Time", "TimeGenerated"].iter().find_map(|name| of(name));
    let mut out = time.map_or_else(String::new, |time| written(&time));
    for (key, names) in RENDERED {
        let value = match key {
            "LogName" => Some(channel.clone()),
            _ => column(names),
        };
        if let Some(value) = value {
            out.push_str(&format!("\n{key}={value}"));
        }
    }
    out.push_str("\nMessage=");
    out.push_str(&message);
    Some(out)
}

/// A time as people write it; PowerShell's JSON counts milliseconds: `/Date(1767348000000)/`.
fn written(time: &str) -> String {
    let ms = time.strip_prefix("/Date(").and_then(|rest| rest.strip_suffix(")/"));
    let ns = ms.and_then(|ms| ms.parse::<i64>().ok()?.checked_mul(1_000_000));
    ns.map_or_else(|| time.to_owned(), event::time::rfc3339)
}

fn channel_of(provider: &str, code: &str) -> Option<String> {
    if provider == "Microsoft-Windows-Eventlog" || provider == "Eventlog" {
        // Clearing the security log is told there, clearing any other in System.
        let channel =
            if matches!(code, "1100" | "1101" | "1102" | "1104") { "Security" } else { "System" };
        return Some(channel.into());
    }
    CHANNELS.iter().find(|(name, _)| *name == provider).map(|(_, channel)| (*channel).into())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn text_of(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
