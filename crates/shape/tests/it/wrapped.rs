//! Records inside other records, and text whose columns a header names.

use super::Bench;
use std::sync::Arc;

fn check(raw: &str, pack: &str, fields: &[(&str, &str)]) {
    let mut bench = Bench::new();
    check_in(&mut bench, raw, pack, fields);
}

fn check_in(bench: &mut Bench, raw: &str, pack: &str, fields: &[(&str, &str)]) {
    bench.clear();
    let at = bench.shape(raw.as_bytes()).first_row;
    assert_eq!(bench.text(at, "alcedo.pack").as_deref(), Some(pack), "{raw}");
    for (field, value) in fields {
        assert_eq!(bench.all(at, field), [*value], "{field}: {raw}");
    }
}

#[test]
fn what_a_carrier_holds_is_parsed_for_itself() {
    let mut bench = Bench::new();
    let access =
        r#"203.0.113.9 - bob [23/Nov/2026:09:00:00 +0000] \"GET /a.php?id=1 HTTP/1.1\" 200 12"#;
    let docker =
        format!(r#"{{"log":"{access}\n","stream":"stdout","time":"2026-11-23T09:00:05Z"}}"#);
    let web = [
        ("source.ip", "203.0.113.9"),
        ("url.query", "id=1"),
        ("@timestamp", "2026-11-23T09:00:00Z"),
    ];
    check_in(&mut bench, &docker, "web-access", &web[..2]);
    let plain = access.replace("\\\"", "\"");
    let cri = format!("2026-11-23T09:00:05.123456789Z stdout F {plain}");
    check_in(&mut bench, &cri, "web-access", &web[..2]);
    assert_eq!(bench.all(0, "container.log.stream"), ["stdout"]);
    let login = "Failed password for invalid user admin from 203.0.113.9 port 51234 ssh2";
    let ssh = [
        ("source.ip", "203.0.113.9"),
        ("user.name", "admin"),
        ("event.outcome", "failure"),
        ("process.name", "sshd"),
        ("host.name", "web1"),
    ];
    let journal = format!(
        r#"{{"MESSAGE":"{login}","SYSLOG_IDENTIFIER":"sshd","_HOSTNAME":"WEB1","_PID":"7","__REALTIME_TIMESTAMP":"1795424400123456"}}"#
    );
    check_in(&mut bench, &journal, "linux-auth", &ssh);
    assert_eq!(bench.text(0, "@timestamp").as_deref(), Some("2026-11-23T09:00:00.123456Z"));
    assert!(bench.all(0, "alcedo.logsource").contains(&"linux//sshd".into()));
    let beat = format!(
        r#"{{"@timestamp":"2026-11-23T09:00:05Z","log":{{"file":{{"path":"/var/log/auth.log"}}}},"message":"Nov 23 09:00:00 web1 sshd[7]: {login}"}}"#
    );
    check_in(&mut bench, &beat, "linux-auth", &ssh);
    let sentinel = format!(
        r#"{{"TimeGenerated":"2026-11-23T09:00:05Z","Computer":"web1","ProcessName":"sshd","SyslogMessage":"{login}"}}"#
    );
    check_in(&mut bench, &sentinel, "linux-auth", &ssh);
    let tagged = format!(
        r#"{{"timestamp":"2026-11-23T09:00:05Z","host":"web1","syslog-tag":"sshd[77]:","message":" {login}"}}"#
    );
    check_in(&mut bench, &tagged, "linux-auth", &ssh);
    let cloud = r#"{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"/aws/eks/c/cluster","logStream":"s","subscriptionFilters":["f"],"logEvents":[{"id":"36072345","timestamp":1795424400000,"message":"{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"verb\":\"get\",\"user\":{\"username\":\"eve\"},\"stage\":\"ResponseComplete\"}"}]}"#;
    check_in(
        &mut bench,
        cloud,
        "kubernetes-audit",
        &[("user.name", "eve"), ("event.action", "get")],
    );
    let xml = r#"{"@timestamp":"2026-11-23T09:00:05Z","message":"<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><EventID>4625</EventID><Channel>Security</Channel><Computer>SRV2</Computer></System><EventData><Data Name='TargetUserName'>bob</Data><Data Name='IpAddress'>::ffff:203.0.113.9</Data></EventData></Event>"}"#;
    check_in(
        &mut bench,
        xml,
        "windows",
        &[("user.name", "bob"), ("source.ip", "203.0.113.9"), ("host.name", "srv2")],
    );
    // Nothing is known of the text: the carrier's event, with the text as its message.
    let other = r#"{"log":"hello there\n","stream":"stderr","time":"2026-11-23T09:00:05Z"}"#;
    check_in(&mut bench, other, "docker", &[("message", "hello there")]);
}

/// Scenario: objects as they come over the event collector's own door: texts and objects of known products
/// and of none, an object that a pack knows together with its carrier, values that are neither.
/// Guarantees: each is the event that its inside would be alone, with what the carrier says besides; the
/// carrier's time counts, with none the event's own.
#[test]
fn what_the_event_collector_carries_is_parsed_for_itself() {
    let mut bench = Bench::new();
    let over_hec = event::Envelope {
        pack: "splunk-hec".into(),
        ..event::Envelope::of("test", event::Protocol::Hec)
    };
    bench.envelope = std::sync::Arc::new(over_hec);
    let login = r#"{"time":1795424400.5,"host":"relay","index":"os","event":"<38>Nov 23 08:59:58 web1 sshd[7]: Failed password for kim from 203.0.113.9 port 51234 ssh2"}"#;
    let ssh = [
        ("source.ip", "203.0.113.9"),
        ("user.name", "kim"),
        ("host.name", "web1"),
        ("splunk.hec.host", "relay"),
        ("splunk.hec.index", "os"),
    ];
    check_in(&mut bench, login, "linux-auth", &ssh);
    assert_eq!(bench.text(0, "@timestamp").as_deref(), Some("2026-11-23T09:00:00.500Z"));
    let xml = r#"{"host":"collector","source":"WinEventLog:Security","event":"<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><EventID>4625</EventID><TimeCreated SystemTime='2026-11-23T08:00:00.1234567Z'/><Channel>Security</Channel><Computer>SRV2</Computer></System><EventData><Data Name='TargetUserName'>bob</Data></EventData></Event>"}"#;
    let windows = [("user.name", "bob"), ("host.name", "srv2"), ("event.code", "4625")];
    check_in(&mut bench, xml, "windows", &windows);
    assert_eq!(bench.text(0, "@timestamp").as_deref(), Some("2026-11-23T08:00:00.123456700Z"));
    let trail = r#"{"fields":{"account":"prod"},"event":{"eventVersion":"1.08","userIdentity":{"type":"Root","arn":"arn:aws:iam::1:root"},"eventTime":"2026-11-23T08:00:00Z","eventSource":"signin.amazonaws.com","eventName":"ConsoleLogin","awsRegion":"us-east-1","sourceIPAddress":"203.0.113.9","resources":[{"a":1},{"a":2}]},"time":1795424400}"#;
    let aws = [
        ("source.ip", "203.0.113.9"),
        ("aws.cloudtrail.eventName", "ConsoleLogin"),
        ("splunk.hec.fields.account", "prod"),
        ("splunk.hec.time", "1795424400"),
    ];
    check_in(&mut bench, trail, "aws-cloudtrail", &aws);
    assert_eq!(bench.all(0, "aws.cloudtrail.resources.a"), ["1", "2"]);
    assert_eq!(bench.text(0, "@timestamp").as_deref(), Some("2026-11-23T09:00:00Z"));
    // Of no known product: as it would be alone.
    let other = r#"{"sourcetype":"_json","host":"app-7","event":{"message":"hello","user":{"name":"eve"},"event":{"action":"greet"},"host":"inner"}}"#;
    let alone = [
        ("message", "hello"),
        ("user.name", "eve"),
        ("event.action", "greet"),
        ("splunk.hec.sourcetype", "_json"),
    ];
    check_in(&mut bench, other, "json", &alone);
    // Of what is told by carrier and object together, as over any door.
    let nss = r#"{"sourcetype":"zscalernss-dns","event":{"datetime":"2026-11-23 23:58:11","user":"erik@corp.example","reqaction":"REQ_BLOCK","dns_req":"t1.bad.example"}}"#;
    check_in(&mut bench, nss, "zscaler", &[("dns.question.name", "t1.bad.example")]);
    check_in(&mut bench, r#"{"event":7,"host":"h"}"#, "splunk-hec", &[("message", "7")]);
    check_in(&mut bench, r#"{"event":{},"host":"h"}"#, "splunk-hec", &[("host.name", "h")]);
    check_in(&mut bench, r#"{"event":["a",{"b":1}]}"#, "splunk-hec", &[]);
    check_in(&mut bench, r#"{"event":[{"user":{"name":"x"}}]}"#, "json", &[("user.name", "x")]);
    // A name of ours stays a claim.
    let forged = r#"{"event":{"alcedo":{"source":"firewall"},"x":1},"host":"h"}"#;
    check_in(&mut bench, forged, "json", &[("x", "1")]);
    let is_claim =
        |(field, _): (event::FieldId, _)| bench.batch.name(field) == "alcedo.claimed.alcedo.source";
    assert!(bench.batch.row(0).cells().any(is_claim));
}

/// Scenario: every sample of every pack, as text and, if it is an object, as object over the event
/// collector's door.
/// Guarantees: the pack is the one that it has alone.
#[test]
fn every_sample_keeps_its_pack_over_the_event_collector() {
    let (mut alone, mut carried) = (Bench::new(), Bench::new());
    let over_hec = event::Envelope {
        pack: "splunk-hec".into(),
        ..event::Envelope::of("test", event::Protocol::Hec)
    };
    carried.envelope = std::sync::Arc::new(over_hec);
    let (mut tried, mut other) = (0, Vec::new());
    for pack in shape::packs::ALL.iter().filter(|pack| pack.name != "alcedo") {
        let folder = testkit::workspace_root().join("packs").join(pack.name);
        for line in shape::testing::lines(&folder).unwrap() {
            let text = String::from_utf8_lossy(&line).into_owned();
            // Around an event stand a list's object, a search's result, or another carrier of its kind.
            let around = ["\"_source\":", "\"preview\":", "\"items\":[", "\"sourcetype\":"];
            if around.iter().any(|name| text.contains(name)) {
                continue;
            }
            let as_text = serde_json::json!({"host": "h", "event": text}).to_string();
            let as_object = format!("{{\"host\":\"h\",\"event\":{text}}}");
            alone.start();
            let wanted = match alone.shape(text.as_bytes()) {
                shaped if shaped.rows == 1 => alone.text(0, "alcedo.pack").unwrap(),
                _ => continue,
            };
            let is_object =
                serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|v| v.is_object());
            for record in [Some(as_text), is_object.then_some(as_object)].into_iter().flatten() {
                carried.start();
                carried.shape(record.as_bytes());
                let got = carried.text(0, "alcedo.pack").unwrap();
                tried += 1;
                let is_generic = matches!(&*wanted, "text" | "syslog" | "kv" | "json");
                if got != wanted && !(is_generic && got == "splunk-hec") {
                    other.push(format!("{wanted} -> {got}: {record}"));
                }
            }
        }
    }
    assert!(tried > 3_000, "{tried}");
    assert!(other.is_empty(), "{} of {tried}: {other:#?}", other.len());
}

/// Scenario: other products' lines and events in the body of an OpenTelemetry record.
/// Guarantees: each is the product's event, with what resource and attributes say of where it comes from.
#[test]
fn a_record_of_opentelemetry_carries_any_product() {
    let mut bench = Bench::new();
    let record = |body: &str| {
        format!(
            r#"{{"timeUnixNano":"1795424405000000000","severityNumber":9,"body":{body},"attributes":{{"log.file.path":"/var/log/x.log"}},"resource":{{"attributes":{{"host.name":"WEB1","k8s.pod.name":"web-0"}}}}}}"#
        )
    };
    let login = r#""Nov 23 09:00:00 web1 sshd[7]: Failed password for invalid user admin from 203.0.113.9 port 51234 ssh2""#;
    let ssh = [
        ("source.ip", "203.0.113.9"),
        ("user.name", "admin"),
        ("event.outcome", "failure"),
        ("process.name", "sshd"),
        ("host.name", "web1"),
        ("log.file.path", "/var/log/x.log"),
        ("orchestrator.resource.name", "web-0"),
    ];
    check_in(&mut bench, &record(login), "linux-auth", &ssh);
    // The line's time has neither year nor zone.
    assert_eq!(bench.text(0, "@timestamp").as_deref(), Some("2026-11-23T09:00:05Z"));
    let access = r#""203.0.113.9 - bob [23/Nov/2026:09:00:00 +0000] \"GET /a.php?id=1 HTTP/1.1\" 200 12 \"-\" \"curl/8\"""#;
    let web = [("source.ip", "203.0.113.9"), ("url.query", "id=1"), ("host.name", "web1")];
    check_in(&mut bench, &record(access), "web-access", &web);
    let audit = r#""{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"verb\":\"get\",\"user\":{\"username\":\"eve\"},\"stage\":\"ResponseComplete\"}""#;
    check_in(&mut bench, &record(audit), "kubernetes-audit", &[("user.name", "eve")]);
    // The collector's receivers of Windows events and of the journal make the body an object.
    let windows = r#"{"channel":"Security","computer":"SRV2","event_id":{"id":4625,"qualifiers":0},"provider":{"name":"Microsoft-Windows-Security-Auditing"},"event_data":{"TargetUserName":"bob","IpAddress":"203.0.113.9"}}"#;
    let refused = [("user.name", "bob"), ("source.ip", "203.0.113.9"), ("event.code", "4625")];
    check_in(&mut bench, &record(windows), "windows", &refused);
    let journal = r#"{"MESSAGE":"Failed password for root from 203.0.113.9 port 51234 ssh2","SYSLOG_IDENTIFIER":"sshd","_PID":"7"}"#;
    let root = [("user.name", "root"), ("process.name", "sshd"), ("process.pid", "7")];
    check_in(&mut bench, &record(journal), "linux-auth", &root);
    // Nothing is known of the text.
    check_in(&mut bench, &record(r#""hello there""#), "otlp", &[("message", "hello there")]);
}

/// Scenario: a source that is configured to one product is sent its lines over OpenTelemetry; a server behind
/// a proxy tells of its peer and of the client that a header names.
/// Guarantees: the line is read by the source's pack; the address of the connection is the source.
#[test]
fn a_record_of_opentelemetry_for_a_source_of_one_product() {
    let packs = [("test".to_owned(), "linux-auth".to_owned())].into_iter().collect();
    let settings = shape::Settings { packs, ..shape::Settings::default() };
    let mut bench = Bench::with(Default::default(), settings);
    bench.envelope = Arc::new(event::Envelope::of("test", event::Protocol::Otlp));
    let login = r#"{"timeUnixNano":"1795424405000000000","severityNumber":9,"body":"Nov 23 09:00:00 web1 sshd[7]: Failed password for admin from 203.0.113.9 port 51234 ssh2","resource":{"attributes":{"host.name":"WEB1"}}}"#;
    let ssh = [("source.ip", "203.0.113.9"), ("user.name", "admin"), ("event.outcome", "failure")];
    check_in(&mut bench, login, "linux-auth", &ssh);
    let mut bench = Bench::new();
    let request = r#"{"timeUnixNano":"1795424405000000000","severityNumber":9,"body":"x","attributes":{"client.address":"192.0.2.66","network.peer.address":"198.51.100.5"}}"#;
    let peer = [("source.ip", "198.51.100.5"), ("client.ip", "192.0.2.66")];
    check_in(&mut bench, request, "otlp", &peer);
}

/// Scenario: objects with an event and its type from a file, with time, host and level as their senders name
/// them.
#[test]
fn an_object_around_an_event_says_when_and_where() {
    let mut bench = Bench::new();
    let object = r#"{"event":"hello","sourcetype":"x","timestamp":"2026-11-23T09:00:00Z","Computer":"ws1","severity":"err","program":"app","pid":7}"#;
    let said =
        [("host.name", "ws1"), ("log.level", "err"), ("process.name", "app"), ("process.pid", "7")];
    check_in(&mut bench, object, "splunk-hec", &said);
    assert_eq!(bench.text(0, "@timestamp").as_deref(), Some("2026-11-23T09:00:00Z"));
    let mut envelope = event::Envelope::of("test", event::Protocol::Hec);
    envelope.pack = "splunk-hec".into();
    bench.envelope = Arc::new(envelope);
    let forged = r#"{"event":{"message":"x","splunk.hec.host":"forged","splunk":{"hec":{"sourcetype":"forged"}}},"host":"real","sourcetype":"real"}"#;
    let real =
        [("host.name", "real"), ("splunk.hec.host", "real"), ("splunk.hec.sourcetype", "real")];
    check_in(&mut bench, forged, "json", &real);
}

#[test]
fn wrapping_has_an_end() {
    let mut text = "x".to_owned();
    for _ in 0..8 {
        let quoted = serde_json::to_string(&text).unwrap();
        text = format!(r#"{{"log":{quoted},"stream":"stdout","time":"2026-11-23T09:00:05Z"}}"#);
    }
    check(&text, "docker", &[]);
}

#[test]
fn headers_name_the_columns_of_their_stream() {
    let mut bench = Bench::new();
    bench.start();
    bench.shape(b"#Fields: date time c-ip cs-method cs-uri-stem sc-status cs(User-Agent)");
    check_in(
        &mut bench,
        "2026-11-23 09:00:00 203.0.113.9 GET /a 500 curl/8",
        "iis",
        &[
            ("source.ip", "203.0.113.9"),
            ("http.response.status_code", "500"),
            ("event.outcome", "failure"),
            ("@timestamp", "2026-11-23T09:00:00Z"),
        ][..3],
    );
    assert_eq!(bench.text(0, "cs-user-agent").as_deref(), Some("curl/8"));
    assert_eq!(bench.text(0, "@timestamp").as_deref(), Some("2026-11-23T09:00:00Z"));
    bench.start();
    // Without header: the default columns of IIS 10.
    check_in(
        &mut bench,
        "2026-11-23 09:00:00 10.0.0.5 GET /a - 443 - 203.0.113.9 curl/8 - 404 0 2 15",
        "iis",
        &[("source.ip", "203.0.113.9"), ("http.response.status_code", "404")],
    );
    bench.shape(b"version vpc-id interface-id srcaddr dstaddr dstport action");
    check_in(
        &mut bench,
        "5 vpc-1 eni-1 10.0.0.5 203.0.113.9 22 REJECT",
        "aws-vpcflow",
        &[("destination.port", "22"), ("event.action", "reject")],
    );
}
