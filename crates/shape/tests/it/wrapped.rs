//! Records inside other records, and text whose columns a header names.

use super::Bench;

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
