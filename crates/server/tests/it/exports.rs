//! `hunt` over the files that other programs export, with the real binary.

use super::harness::{json_lines, run};
use serde_json::{Value, json};
use std::fs;

const RULE: &str = "title: Whoami\nid: 77777777-7777-4777-8777-777777777777\nlogsource: {product: windows, category: process_creation}\ndetection:\n  sel: {Image|endswith: '\\whoami.exe', CommandLine|contains: '/all \"x\"'}\n  condition: sel\nlevel: high\n";
const CLEARED: &str = "title: Cleared\nid: 88888888-8888-4888-8888-888888888888\nlogsource: {product: windows, service: system}\ndetection:\n  sel: {EventID: 104, Channel: [Security, System]}\n  condition: sel\nlevel: high\n";
const SCRIPT: &str = "title: Script\nid: 99999999-9999-4999-8999-999999999999\nlogsource: {product: windows, category: ps_script, service: powershell}\ndetection:\n  sel: {ProviderName: Microsoft-Windows-PowerShell, ScriptBlockText|contains: Invoke-}\n  condition: sel\nlevel: high\n";
const STATUS: &str = "title: Status\nid: 66666666-9999-4999-8999-999999999999\nlogsource: {product: windows, service: security}\ndetection:\n  sel: {EventID: 4625, Status: '0xC0000072'}\n  condition: sel\nlevel: high\n";
const CHANNEL: &str = "Microsoft-Windows-Sysmon/Operational";
const IMAGE: &str = "C:\\Windows\\System32\\whoami.exe";
const COMMAND: &str = "whoami /all \"x\"";
const TIME: &str = "2026-01-02T10:00:00.000Z";

fn data() -> Value {
    json!({ "Image": IMAGE, "CommandLine": COMMAND })
}

fn flat() -> Value {
    json!({ "Channel": CHANNEL, "EventID": 1, "Computer": "ws1", "Image": IMAGE, "CommandLine": COMMAND })
}

fn winlog() -> Value {
    json!({ "@timestamp": TIME, "winlog": {
        "channel": CHANNEL, "event_id": "1", "computer_name": "ws1", "event_data": data() } })
}

fn system(mark: &str) -> Value {
    json!({ "Provider": { format!("{mark}Name"): "Microsoft-Windows-Sysmon" }, "EventID": "1",
        "TimeCreated": { format!("{mark}SystemTime"): TIME }, "Channel": CHANNEL, "Computer": "ws1" })
}

fn pairs(of: impl Fn(&str, &Value) -> Value) -> Value {
    data().as_object().unwrap().iter().map(|(name, value)| of(name, value)).collect()
}

fn event(system: Value, data: Value) -> Value {
    json!({ "Event": { "System": system, "EventData": { "Data": data } } })
}

fn hit() -> Value {
    json!({ "_index": "w", "_id": "a", "_score": 1.0, "_source": winlog() })
}

fn message() -> String {
    format!("Process Create:\r\nRuleName: -\r\nImage: {IMAGE}\r\nCommandLine: {COMMAND}")
}

/// A table of one row below its header.
fn table(separator: &str, cells: &[(&str, &str)]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let row = |cells: Vec<String>| cells.join(separator) + "\r\n";
    row(cells.iter().map(|c| c.0.to_owned()).collect())
        + &row(cells.iter().map(|c| quoted(c.1)).collect())
}

/// Name of a file, what it holds, and in how many records the rule is right.
fn files() -> Vec<Export> {
    [documents(), tables()].concat()
}

/// Name, text, and how many events are in it.
type Export = (&'static str, String, usize);

/// What searches, converters and viewers write as JSON.
fn documents() -> Vec<Export> {
    let one = |value: Value| value.to_string();
    let asked = json!({ "winlog.channel": [CHANNEL], "winlog.event_id": [1], "@timestamp": [TIME],
        "winlog.event_data.Image": [IMAGE], "winlog.event_data.CommandLine": [COMMAND] });
    vec![
        ("flat.json", one(flat()), 1),
        ("winlog.ndjson", format!("{}\n{}\n", winlog(), hit()), 2),
        ("at.json", one(event(system("@"), pairs(|n, v| json!({"@Name": n, "#text": v})))), 1),
        (
            "underscore.json",
            one(event(system("_"), pairs(|n, v| json!({"_Name": n, "__text": v})))),
            1,
        ),
        ("dash.json", one(event(system("-"), pairs(|n, v| json!({"-Name": n, "#text": v})))), 1),
        (
            "dollar.json",
            one(event(system("@"), pairs(|n, v| json!({"$": {"Name": n}, "_": v})))),
            1,
        ),
        (
            "attributes.json",
            one(event(system("@"), pairs(|n, v| json!({"#attributes": {"Name": n}, "#text": v})))),
            1,
        ),
        (
            "name-value.json",
            one(event(system("@"), pairs(|n, v| json!({"Name": n, "Value": v})))),
            1,
        ),
        ("bare.json", one(json!({ "System": system("@"), "EventData": data() })), 1),
        (
            "source-list.ndjson",
            one(json!({ "_index": "w", "_source":
            event(system("@"), pairs(|n, v| json!({"@Name": n, "#text": v}))) })),
            1,
        ),
        (
            "answer.json",
            format!(
                "{:#}",
                json!({ "took": 3, "_shards": {"total": 1},
            "hits": { "total": { "value": 2 }, "hits": [hit(), hit()] } })
            ),
            2,
        ),
        ("answer.ndjson", one(json!({ "hits": { "hits": [hit()] } })) + "\n" + &one(flat()), 2),
        ("fields.json", one(json!({ "hits": { "hits": [{ "_id": "a", "fields": asked }] } })), 1),
        (
            "several.json",
            one(json!({ "responses": [{ "hits": { "hits": [hit()] } },
            { "hits": { "hits": [] } }, { "hits": { "hits": [hit()] } }] })),
            2,
        ),
        (
            "inspected.json",
            one(json!({ "id": "x", "rawResponse": { "hits": { "hits": [hit()] } } })),
            1,
        ),
        ("results.json", one(json!({ "preview": false, "results": [flat(), flat()] })), 2),
    ]
}

/// What shells and viewers write as tables.
fn tables() -> Vec<Export> {
    let columns = [
        ("EventID", "1"),
        ("Channel", CHANNEL),
        ("Image", IMAGE),
        ("CommandLine", COMMAND),
        ("Computer", "ws;1,|x"),
    ];
    let kibana = [
        ("@timestamp", TIME),
        ("winlog.channel", CHANNEL),
        ("winlog.event_id", "1"),
        ("winlog.event_data.Image", IMAGE),
        ("winlog.event_data.CommandLine", COMMAND),
    ];
    let message = message();
    let powershell = [
        ("Message", message.as_str()),
        ("Id", "1"),
        ("ProviderName", "Microsoft-Windows-Sysmon"),
        ("LogName", CHANNEL),
        ("MachineName", "ws1"),
        ("TimeCreated", "1/2/2026 10:00:00 AM"),
    ];
    let viewer = |separator: &str, end: &str| {
        let head = ["Level", "Date and Time", "Source", "Event ID", "Task Category"];
        let quoted = message.replace('"', "\"\"");
        let row =
            ["Information", "1/2/2026 10:00:00 AM", "Microsoft-Windows-Sysmon", "1", "Process"];
        let (head, row) = (head.join(separator), row.join(separator));
        format!("{head}{end}\r\n{row}{separator}\"{quoted}\"\r\n")
    };
    let one = |value: Value| value.to_string();
    vec![
        ("comma.csv", table(",", &columns), 1),
        ("tab.tsv", table("\t", &columns), 1),
        ("semicolon.csv", table(";", &columns), 1),
        ("bar.csv", table("|", &columns), 1),
        ("told.csv", format!("sep=;\r\n{}", table(";", &columns)), 1),
        ("typed.csv", format!("#TYPE System.Object\r\n{}", table(",", &columns)), 1),
        ("kibana.csv", table(",", &kibana), 1),
        ("kibana.tsv", table("\t", &kibana), 1),
        ("viewer.csv", viewer(",", ","), 1),
        ("viewer.txt", viewer("\t", ""), 1),
        ("powershell.csv", table(",", &powershell), 1),
        ("powershell-de.csv", table(";", &powershell), 1),
        (
            "powershell.json",
            one(json!([powershell.iter().copied().collect::<std::collections::BTreeMap<_, _>>()])),
            1,
        ),
        ("utf8-mark.csv", format!("\u{feff}{}", table(";", &columns)), 1),
    ]
}

/// Scenario: the same event in every form in which searches, viewers, converters and shells export it,
/// each file beside one whose lines only look like a table or a list.
/// Guarantees: one line per event of each file, numbered from 1, with the time where the form has it;
/// nothing else is taken apart.
#[test]
fn every_export_of_an_event_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("rule.yml"), RULE).unwrap();
    let mut wrong = Vec::new();
    for (name, text, wanted) in files() {
        fs::write(at(name), &text).unwrap();
        let out = run(&["hunt", "--rules", &at("rule.yml"), &at(name), "-o", "ndjson"]);
        let found = json_lines(&out);
        let lines: Vec<u64> = found.iter().filter_map(|f| f["line"].as_u64()).collect();
        if lines != (1..=wanted as u64).collect::<Vec<_>>() {
            wrong.push(format!("{name}: lines {lines:?} of {wanted}\n{text}"));
        }
        let timed = text.contains(TIME) && !name.ends_with("sv") && !text.contains("\"EventID\":1");
        let time = found.first().and_then(|f| f["@timestamp"].as_str()).unwrap_or_default();
        if timed && !time.starts_with("2026-01-02T10:00:00") {
            wrong.push(format!("{name}: at {time}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let whole = "title: Order\nid: 66666666-7777-4777-8777-777777777777\nlogsource: {category: x}\ndetection:\n  sel: {msg: order}\n  condition: sel\n";
    fs::write(at("order.yml"), whole).unwrap();
    fs::write(at("order.json"), "{\"msg\":\"order\",\"events\":[{\"sku\":1},{\"sku\":2}]}\n")
        .unwrap();
    let out = run(&["hunt", "--rules", &at("order.yml"), &at("order.json"), "-o", "ndjson"]);
    assert_eq!(json_lines(&out).len(), 1, "a list within an event is no list of events");
}

/// The lines on which a rule with this selection is right in a file of these lines.
fn found_on(selection: &str, lines: &[Value]) -> Vec<u64> {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let rule = format!(
        "title: One\nid: 66666666-7777-4777-8777-777777777778\nlogsource: {{product: windows, category: process_creation}}\ndetection:\n  sel: {{{selection}}}\n  condition: sel\n"
    );
    fs::write(at("rule.yml"), rule).unwrap();
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    fs::write(at("log.ndjson"), text.join("\n") + "\n").unwrap();
    let out = run(&["hunt", "--rules", &at("rule.yml"), &at("log.ndjson"), "-o", "ndjson"]);
    json_lines(&out).iter().filter_map(|f| f["line"].as_u64()).collect()
}

/// Scenario: records of an application that hold the answer of a search, and answers that hold none.
/// Guarantees: the record stays whole; an answer without records counts as the line that it is.
#[test]
fn a_record_that_holds_an_answer_stays_a_record() {
    let inner = [
        json!({ "response": { "results": [{ "id": 1 }] } }),
        json!({ "hits": { "hits": [] } }),
        json!({ "responses": [{ "hits": { "hits": [{ "a": 1 }] } }] }),
        json!({ "rawResponse": { "hits": { "hits": [{ "a": 1 }] } } }),
        json!({ "hits": { "hits": [], "total": 0 } }),
    ];
    let mut lines = inner.to_vec();
    for (n, line) in lines.iter_mut().enumerate() {
        line["user"] = format!("eve{n}").into();
        line["action"] = "search".into();
    }
    assert_eq!(found_on("'user|startswith': eve", &lines), [1, 2, 3, 4, 5]);
    let outside = json!({ "hits": { "hits": [], "user": "eve" } });
    let failed = json!({ "responses": [{ "user": "eve" }, { "hits": { "hits": [] } }] });
    assert_eq!(found_on("'hits.user|startswith': eve", &[outside]), [1]);
    assert_eq!(found_on("'responses.user|startswith': eve", &[failed]), [1]);
    let none = json!({ "took": 1, "hits": { "total": 0, "hits": [] } });
    let two = json!({ "responses": [{ "error": { "type": "x" }, "status": 404 },
        { "hits": { "hits": [{ "user": "eve" }, { "user": "eve" }] }, "status": 200 }] });
    let last = json!({ "user": "eve" });
    assert_eq!(found_on("user: eve", &[none, last.clone(), two, last]), [2, 3, 4, 5]);
}

/// Scenario: a Windows event with a list of names and values, in which a name stands twice and one has
/// no name, and with a member beside the list.
/// Guarantees: a rule finds each of the values.
#[test]
fn no_value_beside_or_within_a_list_of_names_is_lost() {
    let named = |name: &str, value: &str| json!({ "@Name": name, "#text": value });
    let list =
        json!([named("Image", "a.exe"), named("Image", "b.exe"), named("Tool", "x"), "bare"]);
    let mut event = event(system("@"), list);
    event["Event"]["EventData"]["Binary"] = "AABB".into();
    for selection in ["Binary: AABB", "Image: a.exe", "Image: b.exe", "Tool: x", "Data: bare"] {
        assert_eq!(found_on(selection, std::slice::from_ref(&event)), [1], "{selection}");
    }
}

/// Scenario: the system log tells that another log was cleared; a script block under a rule that names
/// both category and service, and the provider as other tools call it; a refused log-on with its status.
/// Guarantees: `Channel` means the cleared log as well as the one it is told in; a logsource with both
/// parts fits an event that has both; `Status` is the event's own, not its outcome.
#[test]
fn rules_written_for_other_tools_fire() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("rules.yml"), format!("{CLEARED}---\n{SCRIPT}---\n{STATUS}")).unwrap();
    let event = |provider: &str, id: u32, channel: &str, data: &str| {
        format!(
            "<Event><System><Provider Name=\"{provider}\"/><EventID>{id}</EventID><Channel>{channel}</Channel><Computer>ws1</Computer></System>{data}</Event>\n"
        )
    };
    let cleared = |log: &str| {
        let data = format!(
            "<UserData><LogFileCleared><Channel>{log}</Channel></LogFileCleared></UserData>"
        );
        event("Microsoft-Windows-Eventlog", 104, "System", &data)
    };
    let script = event(
        "Microsoft-Windows-PowerShell",
        4104,
        "Microsoft-Windows-PowerShell/Operational",
        "<EventData><Data Name=\"ScriptBlockText\">Invoke-It</Data></EventData>",
    );
    let refused = event(
        "Microsoft-Windows-Security-Auditing",
        4625,
        "Security",
        "<EventData><Data Name=\"Status\">0xC0000072</Data></EventData>",
    );
    fs::write(at("log.xml"), cleared("Security") + &script + &refused).unwrap();
    let out = run(&["hunt", "--rules", &at("rules.yml"), &at("log.xml"), "-o", "ndjson"]);
    let titles: Vec<Value> = json_lines(&out).iter().map(|f| f["rule.title"].clone()).collect();
    assert_eq!(titles, ["Cleared", "Script", "Status"]);
}
