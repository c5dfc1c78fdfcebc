//! One Windows event in every shape in which collectors ship it: the same fields, for ECS and Sigma.

use super::Bench;

/// Data of the event, as its XML names it.
const LOGON: &[(&str, &str)] = &[
    ("SubjectUserSid", "S-1-5-18"),
    ("SubjectUserName", "SRV2$"),
    ("SubjectDomainName", "CORP"),
    ("SubjectLogonId", "0x3e7"),
    ("LogonType", "3"),
    ("TargetUserName", "alice"),
    ("TargetDomainName", "CORP"),
    ("Status", "0xc000006d"),
    ("SubStatus", "0xc000006a"),
    ("WorkstationName", "PC-17"),
    ("IpAddress", "::ffff:203.0.113.9"),
    ("IpPort", "50123"),
];

fn xml() -> String {
    let data: String = LOGON.iter().map(|(k, v)| format!("<Data Name='{k}'>{v}</Data>")).collect();
    format!(
        "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider \
         Name='Microsoft-Windows-Security-Auditing' Guid='{{54849625-5478-4994-a5ba-3e3b0328c30d}}'/>\
         <EventID>4625</EventID><Version>0</Version><Level>0</Level><Task>12544</Task><Opcode>0</Opcode>\
         <Keywords>0x8010000000000000</Keywords><TimeCreated SystemTime='2026-11-23T09:00:00.1234567Z'/>\
         <EventRecordID>77</EventRecordID><Correlation/><Execution ProcessID='7' ThreadID='8'/>\
         <Channel>Security</Channel><Computer>SRV2.corp.example</Computer><Security/></System>\
         <EventData>{data}</EventData></Event>"
    )
}

fn object(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("\"{k}\":\"{v}\"")).collect();
    format!("{{{}}}", pairs.join(","))
}

const MESSAGE: &str = "An account failed to log on.\n\nSubject:\n\tSecurity ID:\t\tS-1-5-18\n\tAccount Name:\t\tSRV2$\n\tAccount Domain:\t\tCORP\n\tLogon ID:\t\t0x3e7\n\nLogon Type:\t\t\t3\n\nAccount For Which Logon Failed:\n\tSecurity ID:\t\tS-1-0-0\n\tAccount Name:\t\talice\n\tAccount Domain:\t\tCORP\n\nFailure Information:\n\tFailure Reason:\t\tUnknown user name or bad password.\n\tStatus:\t\t\t0xc000006d\n\tSub Status:\t\t0xc000006a\n\nNetwork Information:\n\tWorkstation Name:\tPC-17\n\tSource Network Address:\t::ffff:203.0.113.9\n\tSource Port:\t\t50123\n";

fn shapes() -> Vec<(&'static str, String)> {
    let data = object(LOGON);
    let flat = data.trim_start_matches('{').trim_end_matches('}').to_owned();
    let json_xml = serde_json::to_string(&xml()).unwrap();
    let inner: String =
        LOGON.iter().map(|(k, v)| format!("<Data Name=\\\"{k}\\\">{v}</Data>")).collect();
    vec![
        ("xml", xml()),
        ("xml in syslog", format!("<13>Nov 23 09:00:01 relay agent: {}", xml())),
        ("xml in json", format!(r#"{{"@timestamp":"2026-11-23T09:00:01Z","message":{json_xml}}}"#)),
        (
            "evtx_dump",
            format!(
                r##"{{"Event":{{"#attributes":{{"xmlns":"x"}},"System":{{"Provider":{{"#attributes":{{"Name":"Microsoft-Windows-Security-Auditing"}}}},"EventID":4625,"TimeCreated":{{"#attributes":{{"SystemTime":"2026-11-23T09:00:00.1234567Z"}}}},"Channel":"Security","Computer":"SRV2.corp.example"}},"EventData":{data}}}}}"##
            ),
        ),
        (
            "event.code alone",
            format!(
                r#"{{"@timestamp":"2026-11-23T09:00:00.123Z","event":{{"code":"4625","provider":"Microsoft-Windows-Security-Auditing"}},"winlog":{{"channel":"Security","provider_name":"Microsoft-Windows-Security-Auditing","computer_name":"SRV2.corp.example","event_data":{data}}}}}"#
            ),
        ),
        (
            "winlogbeat 8",
            format!(
                r#"{{"@timestamp":"2026-11-23T09:00:00.123Z","winlog":{{"channel":"Security","event_id":"4625","provider_name":"Microsoft-Windows-Security-Auditing","computer_name":"SRV2.corp.example","event_data":{data}}}}}"#
            ),
        ),
        (
            "winlogbeat 6",
            format!(
                r#"{{"@timestamp":"2026-11-23T09:00:00.123Z","log_name":"Security","event_id":4625,"computer_name":"SRV2.corp.example","source_name":"Microsoft-Windows-Security-Auditing","event_data":{data}}}"#
            ),
        ),
        (
            "nxlog",
            format!(
                r#"{{"EventTime":"2026-11-23 09:00:00","EventID":4625,"Channel":"Security","Hostname":"SRV2.corp.example","SourceName":"Microsoft-Windows-Security-Auditing",{flat}}}"#
            ),
        ),
        (
            "sentinel",
            format!(
                r#"{{"TimeGenerated":"2026-11-23T09:00:00.123Z","Computer":"SRV2.corp.example","EventSourceName":"Microsoft-Windows-Security-Auditing","Channel":"Security","EventID":4625,"EventData":"<EventData xmlns=\"x\">{inner}</EventData>"}}"#
            ),
        ),
        (
            "snare",
            format!(
                "<13>Nov 23 09:00:01 SRV2.corp.example MSWinEventLog\t1\tSecurity\t77\tMon Nov 23 09:00:00 2026\t4625\tMicrosoft-Windows-Security-Auditing\tN/A\tN/A\tFailure Audit\tSRV2.corp.example\tLogon\t\t{}\t12",
                MESSAGE.replace(['\n', '\t'], "  ")
            ),
        ),
        (
            "splunk",
            format!(
                "11/23/2026 09:00:00 AM\nLogName=Security\nEventCode=4625\nEventType=0\nComputerName=SRV2.corp.example\nSourceName=Microsoft-Windows-Security-Auditing\nType=Information\nRecordNumber=77\nKeywords=Audit Failure\nMessage={MESSAGE}"
            ),
        ),
    ]
}

#[test]
fn one_event_in_every_shape_gives_the_same_fields() {
    let ecs = [
        ("event.code", "4625"),
        ("event.provider", "Microsoft-Windows-Security-Auditing"),
        ("event.category", "authentication"),
        ("event.outcome", "failure"),
        ("host.name", "srv2.corp.example"),
        ("user.name", "alice"),
        ("user.domain", "CORP"),
        ("source.ip", "203.0.113.9"),
        ("source.port", "50123"),
        ("source.domain", "PC-17"),
        ("EventID", "4625"),
        ("Channel", "Security"),
        ("Provider_Name", "Microsoft-Windows-Security-Auditing"),
        ("Computer", "SRV2.corp.example"),
    ];
    let mut bench = Bench::new();
    for (shape, raw) in shapes() {
        bench.clear();
        let shaped = bench.shape(raw.as_bytes());
        let at = shaped.first_row;
        assert_eq!(bench.text(at, "alcedo.pack").as_deref(), Some("windows"), "{shape}");
        let data = LOGON.iter().map(|(name, v)| (format!("winlog.event_data.{name}"), *v));
        let ecs = ecs.iter().map(|(name, value)| ((*name).to_owned(), *value));
        for (field, value) in ecs.chain(data) {
            assert_eq!(bench.text(at, &field).as_deref(), Some(value), "{shape}: {field}");
        }
        assert!(bench.all(at, "alcedo.logsource").contains(&"windows//security".into()), "{shape}");
        let time = bench.text(at, "@timestamp").unwrap();
        assert!(time.starts_with("2026-11-23T09:00:00"), "{shape}: {time}");
        assert_eq!(shaped.failed, 0, "{shape}");
    }
}

/// Scenario: a converter that sorts keys puts the text before the name; one element has no text, and bare
/// strings lie between them.
/// Guarantees: no element gets the text of another.
#[test]
fn lists_of_named_elements_keep_names_and_texts_together() {
    let mut b = Bench::new();
    let event = r##"{"Event":{"System":{"Provider":{"-Name":"Microsoft-Windows-Security-Auditing"},"EventID":4688,"Channel":"Security","Computer":"SRV2"},"EventData":{"Data":["loose",{"#text":"S-1-5-18","-Name":"SubjectUserSid"},{"-Name":"TargetUserName"},{"#text":"C:\\Windows\\System32\\cmd.exe","-Name":"NewProcessName"},{"#text":"0x1f4","-Name":"ProcessId"},{"#text":"cmd.exe /c whoami","-Name":"CommandLine"}]}}}"##;
    b.shape(event.as_bytes());
    for (field, value) in [
        ("winlog.event_data.SubjectUserSid", Some("S-1-5-18")),
        ("winlog.event_data.TargetUserName", None),
        ("winlog.event_data.NewProcessName", Some("C:\\Windows\\System32\\cmd.exe")),
        ("winlog.event_data.CommandLine", Some("cmd.exe /c whoami")),
        ("process.executable", Some("C:\\Windows\\System32\\cmd.exe")),
        ("process.command_line", Some("cmd.exe /c whoami")),
    ] {
        assert_eq!(b.text(0, field).as_deref(), value, "{field}");
    }
}
