//! The list of hard cases that real lines show: each is a line here, with what it has to give.

use super::{Bench, RECEIVED_NS};
use shape::Settings;

/// Shapes one line and compares fields; `-` = absent.
fn check(bench: &mut Bench, line: &[u8], want: &[(&str, &str)]) {
    bench.clear();
    bench.shape(line);
    assert_eq!(bench.batch.row(0).raw(), line, "the bytes stay as they came");
    for (field, value) in want {
        let got = bench.text(0, field).unwrap_or_else(|| "-".into());
        assert_eq!(got, *value, "{field} of {}", String::from_utf8_lossy(line));
    }
}

#[test]
fn times_of_every_spelling() {
    let mut b = Bench::new();
    for (line, time) in [
        // No year, no zone; the year comes from the receipt (2026-11-24), also over New Year.
        ("<13>Nov 23 14:07:09 h a: x", "2026-11-23T14:07:09Z"),
        ("<13>Dec 31 23:59:59 h a: x", "2025-12-31T23:59:59Z"),
        // Named zones, comma before milliseconds, offset and Z, day and month names.
        ("<189>: 2026 Jan 11 19:00:56 CET: %SYS-5-CONFIG_I: x", "2026-01-11T18:00:56Z"),
        ("<13>2026-03-05 14:07:09,123 h a: x", "2026-03-05T14:07:09.123Z"),
        ("<13>2026-03-05T14:07:09.123456+00:00Z h a: x", "2026-03-05T14:07:09.123456Z"),
        ("<189>*Mar  5 14:07:09.5: %SYS-5-CONFIG_I: x", "2026-03-05T14:07:09.500Z"),
        ("<189>.Mar  5 14:07:09.5: %SYS-5-CONFIG_I: x", "2026-03-05T14:07:09.500Z"),
        ("<13>août 19 11:08:37 h a: x", "2026-08-19T11:08:37Z"),
        ("@4000000065e727170754d4c0 h a: x", "2024-03-05T14:07:09.123Z"),
        ("<13>2026-064T14:07:09Z h a: x", "2026-03-05T14:07:09Z"),
        ("<13>Mar  5 14:07:09 2026 h a: x", "2026-03-05T14:07:09Z"),
        // Epoch in every unit, in JSON.
        (r#"{"timestamp":1772719629}"#, "2026-03-05T14:07:09Z"),
        (r#"{"timestamp":"1772719629123"}"#, "2026-03-05T14:07:09.123Z"),
        (r#"{"timestamp":1772719629.123}"#, "2026-03-05T14:07:09.123Z"),
        (r#"{"timestamp":1772719629123456}"#, "2026-03-05T14:07:09.123456Z"),
        (r#"{"timestamp":1772719629123456789}"#, "2026-03-05T14:07:09.123456789Z"),
        // Two clocks: the body's is the event's, the header's the relay's.
        (
            "<189>Mar  5 15:00:00 h date=2026-03-05 time=14:07:09 devname=f type=event logid=1 devid=FG1",
            "2026-03-05T14:07:09Z",
        ),
        // Not believed: received time stands instead, marked.
        ("<13>2031-03-05T14:07:09Z h a: x", "2026-11-24T00:00:00Z"),
        ("<13>1970-01-01T00:00:00Z h a: x", "2026-11-24T00:00:00Z"),
    ] {
        check(&mut b, line.as_bytes(), &[("@timestamp", time)]);
    }
    assert!(b.all(0, "tags").contains(&"time_suspect".into()));
    assert_eq!(b.batch.row(0).received_ns(), RECEIVED_NS);
    let settings = Settings {
        zones: [("test".into(), shape::Zone::Fixed(3600))].into_iter().collect(),
        ..Settings::default()
    };
    let mut zoned = Bench::with(Default::default(), settings);
    check(&mut zoned, b"<13>Mar  5 15:07:09 h a: x", &[("@timestamp", "2026-03-05T14:07:09Z")]);
    check(&mut zoned, b"<13>Mar  5 14:07:09 UTC h a: x", &[("@timestamp", "2026-03-05T14:07:09Z")]);
}

#[test]
fn headers_of_every_kind() {
    let mut b = Bench::new();
    for (line, host, program) in [
        ("<134> Mar  5 14:07:09 web1 app[12]: x", "web1", "app"),
        ("Mar  5 14:07:09 web1 app: x", "web1", "app"),
        ("<134>:Mar  5 14:07:09 UTC: %ASA-6-302015: x", "-", "-"),
        ("<134>2026-03-05T14:07:09Z web1 app 7 - - x", "web1", "app"),
        ("<134>Mar  5 14:07:09 app[12]: x", "-", "app"),
        ("<134>app: x", "-", "app"),
        ("<134>Mar  5 14:07:09 web1 notice mcpd[7]: 01070638:5: x", "web1", "mcpd"),
        ("<134>Mar  5 14:07:09 relay Mar  5 14:07:08 web1 app: x", "web1", "-"),
        ("<134>Mar  5 14:07:09 relay app: <13>Mar  5 14:07:08 web1 sshd[7]: x", "web1", "sshd"),
        ("<134>45: web1: 46: *Mar  5 14:07:09.1 CET: %SYS-5-CONFIG_I: x", "web1", "-"),
        (
            "<13>date=2026-03-05 time=14:07:09 devname=\"fw9\" devid=FG1 logid=1 type=event",
            "fw9",
            "-",
        ),
        ("<34>1 2026-03-05T14:07:09Z web1 app - - [x k=v] text", "web1", "app"),
    ] {
        check(&mut b, line.as_bytes(), &[("host.hostname", host)]);
        if program != "-" {
            check(&mut b, line.as_bytes(), &[("process.name", program)]);
        }
    }
    // What breaks RFC 5424 is stated, and the rest of the message kept.
    let line = b"<34>1 2026-03-05T14:07:09Z web1 app - - [x k=v] text";
    check(&mut b, line, &[("message", "[x k=v] text")]);
    assert!(b.text(0, "error.message").unwrap().contains("byte"));
}

#[test]
fn text_of_every_encoding() {
    let mut b = Bench::new();
    check(&mut b, b"\xef\xbb\xbf@cee: {\"msg\":\"x\"}", &[("msg", "x")]);
    check(&mut b, b"<34>1 2026-03-05T14:07:09Z h a - - - \xef\xbb\xbftext", &[("message", "text")]);
    check(&mut b, b"<13>Mar  5 14:07:09 h a: M\xfcller", &[("message", "Müller")]);
    check(&mut b, b"\xff\xfea\0=\0\xfc\0", &[("message", "a=ü")]);
    check(&mut b, b"<13>Mar  5 14:07:09 h a: x\r\n", &[("message", "x")]);
    check(&mut b, b"<13>Mar  5 14:07:09 h a: x\0", &[("message", "x")]);
    check(
        &mut b,
        b"<13>Mar  5 14:07:09 h a: one#011two#012three",
        &[("message", "one\ttwo\nthree")],
    );
    check(&mut b, b"<13>Mar  5 14:07:09 h a: one\ntwo", &[("message", "one\ntwo")]);
    check(&mut b, b"<13>Mar  5 14:07:09 h a: \x1b[31mred", &[("message", "\x1b[31mred")]);
    check(&mut b, br#"{"a":"\u00fc"}"#, &[("a", "ü")]);
    // Numbers beyond 2^53 and negative 64-bit ones keep their digits.
    check(
        &mut b,
        br#"{"k":-9214364837600034816,"n":18446744073709551615}"#,
        &[("k", "-9214364837600034816"), ("n", "18446744073709551615")],
    );
}

#[test]
fn formats_with_their_flaws() {
    let mut b = Bench::new();
    let cef = br"<13>Mar  5 14:07:09 h: CEF: 0|V\|W|P|1|7|n|3|cs1=x y cs1Label=L request=https://h/?a=b msg=a\=b src=::ffff:10.0.0.1 spt=- dpt=0x50";
    check(
        &mut b,
        cef,
        &[
            ("observer.vendor", "V|W"),
            ("cef.extensions.cs1", "x y"),
            ("url.original", "https://h/?a=b"),
            ("cef.extensions.msg", "a=b"),
            ("source.ip", "10.0.0.1"),
            ("cef.extensions.src", "::ffff:10.0.0.1"),
            ("source.port", "-"),
            ("destination.port", "80"),
        ],
    );
    check(&mut b, b"x CEF:CEF:0|F5|ASM|1|2|3|4|src=10.0.0.1", &[("observer.vendor", "F5")]);
    check(&mut b, b"LEEF:2.0|V|P|1|e|^|src=10.0.0.1^usrName=CORP\\bob", &[("user.name", "bob")]);
    check(
        &mut b,
        br#"a=1 m="said \"no\"" n="open o=2 dup=1 dup=2"#,
        &[("kv.m", "said \"no\""), ("kv.n", "open"), ("kv.dup", "1")],
    );
    // Times in three spellings, a label without its value, a forwarder's prefix, a host in a field.
    for (cef, time) in [
        ("rt=Mar 05 2026 14:07:09 cs2Label=L cs1=x dvchost=fw7", "2026-03-05T14:07:09Z"),
        ("cs1=x rt=1772719629000 dvchost=fw7", "2026-03-05T14:07:09Z"),
        ("rt=2026-03-05T14:07:09Z cs1=x dvchost=fw7", "2026-03-05T14:07:09Z"),
    ] {
        let line = format!("<13>Mar  5 15:00:00 cef[24366]: CEF:0|V|P|1|7|n|3|{cef}");
        let want =
            [("@timestamp", time), ("cef.extensions.cs1", "x"), ("observer.hostname", "fw7")];
        check(&mut b, line.as_bytes(), &want);
    }
    check(&mut b, br"CEF:0|V|P|1|7|n|3|msg=one\ntwo", &[("cef.extensions.msg", "one\ntwo")]);
    check(&mut b, b"LEEF:1.0|V|P|1|e|src=10.0.0.1|usrName=bob", &[("user.name", "bob")]);
    check(&mut b, b"LEEF:1.0|V|P|1|e|src=10.0.0.1\tusrName=bob", &[("source.ip", "10.0.0.1")]);
    // Pairs in a value belong to the value.
    check(
        &mut b,
        b"a=1 b=2 m=\"user=x src=10.0.0.9\" url=http://h/?a=1&b=2",
        &[("kv.m", "user=x src=10.0.0.9"), ("kv.url", "http://h/?a=1&b=2"), ("kv.src", "-")],
    );
    // A list with quoted commas and a version's number of columns.
    check(&mut b, b"1,2026/03/05 14:07:09,007,SYSTEM,auth,0,2026/03/05 14:07:09,,auth-fail,,0,0,general,medium,\"failed for user 'bob'. From: 10.0.0.1.\",1", &[
        ("event.action", "auth-fail"),
        ("user.name", "bob"),
        ("source.ip", "10.0.0.1"),
    ]);
}

/// The same Zeek field by a dotted key, a nested one, and the streaming writer's.
#[test]
fn one_field_however_it_is_nested() {
    let mut b = Bench::new();
    for ids in [
        r#""id.orig_h":"10.0.0.1","id.orig_p":1,"id.resp_h":"10.0.0.2","id.resp_p":2"#,
        r#""id":{"orig_h":"10.0.0.1","orig_p":1,"resp_h":"10.0.0.2","resp_p":2}"#,
        r#""id_orig_h":"10.0.0.1","id_orig_p":1,"id_resp_h":"10.0.0.2","id_resp_p":2"#,
    ] {
        let line = format!(
            r#"{{"_path":"conn","uid":"C1","proto":"tcp","ts":1772719629.5,"conn_state":"SF",{ids}}}"#
        );
        let want =
            [("zeek.id.orig_h", "10.0.0.1"), ("source.ip", "10.0.0.1"), ("source.port", "1")];
        check(&mut b, line.as_bytes(), &want);
    }
}

/// Numbers as text, hexadecimal ids, `%%` codes, mapped addresses, machine accounts, control
/// sequences in a message: values as sent under the product's names, normalised in ECS.
#[test]
fn windows_values_of_every_spelling() {
    let mut b = Bench::new();
    for id in ["4624", "\"4624\""] {
        let line = format!(
            r#"{{"EventID":{id},"Channel":"Security","Provider_Name":"Microsoft-Windows-Security-Auditing","TargetUserName":"WS1$","TargetDomainName":"CORP","TargetLogonId":"0x3e7","IpAddress":"::ffff:192.0.2.7","IpPort":"-","LogonType":"3","Keywords":-9214364837600034816,"ImpersonationLevel":"%%1833","Message":"An account\r\n\tx"}}"#
        );
        check(
            &mut b,
            line.as_bytes(),
            &[
                ("event.code", "4624"),
                ("source.ip", "192.0.2.7"),
                ("winlog.event_data.IpAddress", "::ffff:192.0.2.7"),
                ("source.port", "-"),
                ("user.name", "WS1$"),
                ("user.domain", "CORP"),
                ("winlog.event_data.TargetLogonId", "0x3e7"),
                ("winlog.event_data.ImpersonationLevel", "%%1833"),
                ("message", "An account\r\n\tx"),
            ],
        );
    }
}

/// JSON in a JSON string, pretty-printed JSON, an event of 44 KB.
#[test]
fn json_of_every_size_and_depth() {
    let mut b = Bench::new();
    check(
        &mut b,
        b"{\n  \"time\": \"2026-03-05T14:07:09Z\",\n  \"user\": \"bob\"\n}",
        &[("user", "bob")],
    );
    let inside = r#"{"time":"2026-03-05T14:07:09Z","category":"SignInLogs","operationName":"Sign-in activity","properties":{"id":"1","userPrincipalName":"a@b.c","ipAddress":"203.0.113.9","authenticationDetails":"[{\"authenticationMethod\":\"Password\"}]"}}"#;
    check(&mut b, inside.as_bytes(), &[("user.name", "a@b.c"), ("source.ip", "203.0.113.9")]);
    let long = "x".repeat(44_000);
    let line = format!("<13>Mar  5 14:07:09 h app: {long}");
    check(&mut b, line.as_bytes(), &[("message", &long)]);
    let line = format!(r#"{{"k":"{long}","after":"1"}}"#);
    check(&mut b, line.as_bytes(), &[("k", &long), ("after", "1")]);
}

/// Scenario: somebody sends a line that looks like a header of columns on a shared stream.
/// Guarantees: lines that are nothing below it are read as they would be without it.
#[test]
fn a_stray_header_hides_no_other_lines() {
    let mut b = Bench::new();
    b.shape(b"#Fields: date time s-ip cs-method cs-uri-stem c-ip sc-status");
    let fits = b"2026-03-05 14:07:09 10.0.0.5 GET /x 203.0.113.5 404";
    check(&mut b, fits, &[("source.ip", "203.0.113.5"), ("url.path", "/x")]);
    let other =
        b"<38>Mar  5 14:07:09 h sshd[7]: Failed password for root from 203.0.113.9 port 22 ssh2";
    check(&mut b, other, &[("source.ip", "203.0.113.9"), ("user.name", "root")]);
    let seven = b"Mar  5 14:07:09 h su[123]: FAILED";
    check(&mut b, seven, &[("process.name", "su")]);
    b.shape(b"#fields\tts\tuid\tid.orig_h");
    check(&mut b, other, &[("source.ip", "203.0.113.9")]);
}

/// Lines of products that come from files as well as by syslog, in several of their versions.
#[test]
fn the_same_product_with_and_without_a_header() {
    let mut b = Bench::new();
    let http = r#"203.0.113.5:4444 [05/Mar/2026:14:07:09.123] fe~ be/s1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {e.com} {} "GET /x HTTP/1.1""#;
    for line in [
        http.to_owned(),
        format!("haproxy[1234]: {http}"),
        format!("<134>Mar  5 14:07:09 lb haproxy[1]: {http}"),
    ] {
        let want = [
            ("alcedo.pack", "haproxy"),
            ("source.ip", "203.0.113.5"),
            ("url.path", "/x"),
            ("@timestamp", "2026-03-05T14:07:09.123Z"),
        ];
        check(&mut b, line.as_bytes(), &want);
    }
    for line in [
        "Thu Mar  5 14:07:09 2026 203.0.113.5:4444 [bob] Peer Connection Initiated with [AF_INET]203.0.113.5:4444",
        "2026-03-05 14:07:09 us=123 203.0.113.5:4444 [bob] Peer Connection Initiated with x",
        "<29>Mar  5 14:07:09 vpn openvpn[7]: 203.0.113.5:4444 [bob] Peer Connection Initiated with x",
    ] {
        let want = [("alcedo.pack", "openvpn"), ("source.ip", "203.0.113.5"), ("user.name", "bob")];
        check(&mut b, line.as_bytes(), &want);
    }
    for line in [
        "<5>Mar  5 14:07:09 h kernel: audit: type=1400 audit(1772719629.123:7): apparmor=\"DENIED\" operation=\"open\" name=\"/etc/shadow\" pid=1 comm=\"cat\"",
        "<5>Mar  5 14:07:09 h kernel: [ 12.345678] audit: type=1400 audit(1772719629.123:7): apparmor=\"DENIED\" name=\"/etc/shadow\" pid=1 comm=\"cat\"",
        "type=AVC msg=audit(1772719629.123:7): apparmor=\"DENIED\" name=\"/etc/shadow\" pid=1 comm=\"cat\"",
    ] {
        let want = [
            ("alcedo.pack", "auditd"),
            ("auditd.type", "AVC"),
            ("auditd.apparmor", "DENIED"),
            ("auditd.name", "/etc/shadow"),
            ("@timestamp", "2026-03-05T14:07:09.123Z"),
        ];
        check(&mut b, line.as_bytes(), &want);
    }
    let names = [
        "[INFO] 10.0.0.5:40212 - 1234 \"A IN evil.example. udp 41 false 512\" NOERROR qr,rd,ra 82 0.012s",
        "<30>Mar  5 14:07:09 dns dnsmasq[123]: query[A] evil.example from 10.0.0.5",
        "<30>Mar  5 14:07:09 dns named[123]: client @0x7f 10.0.0.5#5353 (evil.example): query: evil.example IN A +E(0)K (10.0.0.1)",
    ];
    for line in names {
        let want = [("dns.question.name", "evil.example"), ("source.ip", "10.0.0.5")];
        check(&mut b, line.as_bytes(), &want);
    }
    let asm = br#"<133>Mar  5 14:07:09 bigip1 ASM:unit_hostname="bigip1",policy_name="/Common/p",request_status="blocked",ip_client="203.0.113.5",method="GET",uri="/x",attack_type="Forceful Browsing""#;
    let want = [("alcedo.pack", "f5-bigip"), ("source.ip", "203.0.113.5"), ("url.original", "/x")];
    check(&mut b, asm, &want);
}

/// The records of one audit event, and numbered parts, as they come joined.
#[test]
fn events_of_several_records() {
    let mut b = Bench::new();
    let record =
        |kind: &str, rest: &str| format!("type={kind} msg=audit(1772719629.965:93777): {rest}");
    let lines = [
        record(
            "SYSCALL",
            "arch=c000003e syscall=59 success=yes exit=0 a0=55d0 items=2 ppid=1 pid=2 auid=1000 uid=0 gid=0 euid=0 comm=\"truncate\" exe=\"/usr/bin/truncate\" key=\"exec\"",
        ),
        record("EXECVE", "argc=3 a0=\"truncate\" a1=2D7330 a2_len=9 a2[0]=\"auth\" a2[1]=\".log\""),
        record("CWD", "cwd=\"/var/log\""),
        record("PATH", "item=0 name=\"/var/log\" inode=1 nametype=PARENT"),
        record("PATH", "item=1 name=\"auth.log\" inode=2 nametype=NORMAL"),
        record("PROCTITLE", "proctitle=7472756E63617465002D7330"),
    ];
    let want = [
        ("@timestamp", "2026-03-05T14:07:09.965Z"),
        ("process.executable", "/usr/bin/truncate"),
        ("process.command_line", "truncate -s0 auth.log"),
        ("process.args_count", "3"),
        ("process.title", "truncate -s0"),
        ("process.working_directory", "/var/log"),
        ("file.path", "/var/log/auth.log"),
        ("user.id", "0"),
        ("event.outcome", "success"),
    ];
    check(&mut b, lines.join("\n").as_bytes(), &want);
    assert_eq!(b.all(0, "process.args"), ["truncate", "-s0", "auth.log"]);
    assert_eq!(b.all(0, "auditd.type"), ["SYSCALL", "EXECVE", "CWD", "PATH", "PROCTITLE"]);
    let sent = lines.map(|line| format!("<13>Mar  5 14:07:10 web1 audispd: node=web1 {line}"));
    check(&mut b, sent.join("\n").as_bytes(), &want);
    check(&mut b, sent.join("\n").as_bytes(), &[("host.hostname", "web1")]);
    let connect = [
        record("SYSCALL", "syscall=42 success=no exit=-115 pid=2 exe=\"/usr/bin/curl\""),
        record("SOCKADDR", "saddr=020001BBCB0071050000000000000000"),
    ];
    let want = [("destination.ip", "203.0.113.5"), ("destination.port", "443")];
    check(&mut b, connect.join("\n").as_bytes(), &want);
    let head = "<181>Mar  5 14:07:09 ise1 CISE_Failed_Attempts 0001939187 2";
    let ise = format!(
        "{head} 0 2026-03-05 14:07:09.123 +00:00 0009 5400 NOTICE Failed-Attempt: Authentication failed, UserName=b,\n{head} 1 Calling-Station-ID=203.0.113.5, Protocol=Radius,"
    );
    let want = [
        ("user.name", "b"),
        ("source.ip", "203.0.113.5"),
        ("cisco.ise.parts", "2"),
        ("event.outcome", "failure"),
    ];
    check(&mut b, ise.as_bytes(), &want);
}

/// What scanners ask for is no host, and no client renames the server.
#[test]
fn requests_that_are_no_url_keep_their_path() {
    let mut b = Bench::new();
    let line = |head: &str, request: &str| {
        format!(
            "{head}203.0.113.9 - - [23/Nov/2026:09:00:00 +0000] \"{request}\" 404 12 \"-\" \"x\""
        )
    };
    for (head, request, domain, port, path) in [
        ("", "GET ../../etc/passwd HTTP/1.1", "-", "-", "../../etc/passwd"),
        ("", "GET robots.txt HTTP/1.0", "-", "-", "robots.txt"),
        ("", "OPTIONS * HTTP/1.0", "-", "-", "*"),
        ("www.example:443 ", "OPTIONS * HTTP/1.0", "www.example", "443", "*"),
        (
            "www.example:443 ",
            "GET http://evil.example:81/a?b=c HTTP/1.1",
            "www.example",
            "443",
            "/a",
        ),
        ("", "GET http://evil.example:81/a?b=c HTTP/1.1", "evil.example", "81", "/a"),
        ("", "GET /go?to=http://evil.example/ HTTP/1.1", "-", "-", "/go"),
        ("", "CONNECT evil.example:443 HTTP/1.1", "evil.example", "443", "-"),
    ] {
        let line = line(head, request);
        let want = [("url.domain", domain), ("url.port", port), ("url.path", path)];
        check(&mut b, line.as_bytes(), &want);
        let target = request.split(' ').nth(1).unwrap_or_default();
        check(&mut b, line.as_bytes(), &[("url.original", target)]);
    }
}

/// Times that stand elsewhere or are written otherwise: zones by name, day and month in either order,
/// the clock alone, a local time beside one in UTC.
#[test]
fn times_that_need_a_second_look() {
    let mut b = Bench::new();
    for (line, time) in [
        ("<13>Mar  5 2026 14:07:09 CEST h a: x", "2026-03-05T12:07:09Z"),
        ("<13>2026-03-05 14:07:09 PDT h a: x", "2026-03-05T21:07:09Z"),
        ("<166>Mar 05 2026 14:07:09 GMT: %ASA-6-302015: x", "2026-03-05T14:07:09Z"),
        (r#"{"timestamp":"03/05/2026 14:07:09"}"#, "2026-03-05T14:07:09Z"),
        (r#"{"timestamp":"03/05/2026 02:07:09 PM"}"#, "2026-03-05T14:07:09Z"),
        (r#"{"timestamp":"21/12/2025 14:07:09"}"#, "2025-12-21T14:07:09Z"),
        (r#"{"timestamp":"/Date(1772719629123)/"}"#, "2026-03-05T14:07:09.123Z"),
        // The clock alone is of the day of receipt, which is midnight here.
        (r#"{"timestamp":"00:00:00,377"}"#, "2026-11-24T00:00:00.377Z"),
        (
            "1772719629.123     10 192.0.2.7 TCP_MISS/200 5 GET http://a.example/ - HIER_DIRECT/203.0.113.9 -",
            "2026-03-05T14:07:09.123Z",
        ),
        (
            r#"{"EventTime":"2020-10-22 04:29:46","EventID":4624,"Channel":"Security","@timestamp":"2020-10-22T08:29:48.123Z"}"#,
            "2020-10-22T08:29:48.123Z",
        ),
    ] {
        check(&mut b, line.as_bytes(), &[("@timestamp", time)]);
    }
}

/// Values fused with others, keys with blanks, what is left of a document: each as the products of
/// the list write it.
#[test]
fn values_that_hide_in_others() {
    let mut b = Bench::new();
    let peer = |client: &str| {
        format!(
            r#"{{"CreationTime":"2026-03-05T14:07:09","Operation":"MailItemsAccessed","Workload":"Exchange","RecordType":50,"Id":"x","UserId":"CORP\\bob","ClientIP":"{client}"}}"#
        )
    };
    for (client, ip, port) in [
        ("203.0.113.9:443", "203.0.113.9", "443"),
        ("[2001:DB8::9]:443", "2001:db8::9", "443"),
        ("2001:0db8:0000:0000:0000:0000:0000:0009", "2001:db8::9", "-"),
        ("::ffff:203.0.113.9", "203.0.113.9", "-"),
    ] {
        let want = [
            ("source.ip", ip),
            ("source.port", port),
            ("user.name", "bob"),
            ("user.domain", "CORP"),
            ("event.action", "MailItemsAccessed"),
        ];
        check(&mut b, peer(client).as_bytes(), &want);
    }
    let ise = b"<181>Mar  5 14:07:09 ise1 CISE_Failed_Attempts 0001939187 1 0 2026-03-05 14:07:09.123 +00:00 0000000009 5400 NOTICE Failed-Attempt: Authentication failed, Device IP Address=192.0.2.5, UserName=bob,";
    let want = [("cisco.ise.attributes.Device IP Address", "192.0.2.5"), ("user.name", "bob")];
    check(&mut b, ise, &want);
    let fragment = br#""adf":1,"virtualservice":"vs1","client_ip":"203.0.113.9","response_code":200,"method":"GET","uri_path":"/x""#;
    check(&mut b, fragment, &[("alcedo.pack", "avi"), ("source.ip", "203.0.113.9")]);
    // One-sided quotes, keys with dots, a value that looks like more pairs.
    let pairs = br#"a.b=1 c="open d=2 e="x=y z=w" f=3"#;
    check(&mut b, pairs, &[("kv.a.b", "1"), ("kv.f", "3")]);
    for nothing in [&b""[..], b" ", b"\r\n", b"\xef\xbb\xbf", b"\0", b"{", b"<", b"<13>"] {
        check(&mut b, nothing, &[("source.ip", "-")]);
    }
    check(&mut b, b"<13>Mar  5 14:07:09 h a: one#015#012two", &[("message", "one\r\ntwo")]);
    check(&mut b, b"<13>Mar  5 14:07:09 h a: \xff\xfe\x80", &[("process.name", "a")]);
}

/// What products write where there is no value, in names as in addresses; keys with colons; a host that
/// stands in a field; JSON in JSON in JSON; XML in JSON in syslog.
#[test]
fn what_is_no_value_and_what_is_one_two_layers_down() {
    let mut b = Bench::new();
    for nothing in ["-", "N/A", "(null)", "null", "\"\""] {
        let line =
            format!("time=2026-03-05T14:07:09Z user={nothing} src={nothing} proto={nothing} msg=x");
        let want = [("user.name", "-"), ("source.ip", "-"), ("network.transport", "-")];
        check(&mut b, line.as_bytes(), &want);
    }
    // Somebody may be called so, or try that name; no address is.
    let line = b"time=2026-03-05T14:07:09Z user=unknown src=unknown msg=x";
    check(&mut b, line, &[("user.name", "unknown"), ("source.ip", "-")]);
    let line = b"time=2026-03-05T14:07:09Z a:b=1 c.d=2 src=::1 user=kim@corp.example";
    let want =
        [("kv.a:b", "1"), ("kv.c.d", "2"), ("source.ip", "::1"), ("user.name", "kim@corp.example")];
    check(&mut b, line, &want);
    // Who speaks stands in a field; the header is a relay's, or has no name at all.
    let edge = r#"%Viptela-edge9-sysmgrd-6-INFO-1400002: Notification: 3/5/2026 14:7:9 system-login-change severity-level:minor host-name:"edge9" system-ip:10.0.0.9 user-name:"kim" user-id:7"#;
    let line = format!("<189>Mar  5 14:07:09 relay {edge}");
    let want = [("observer.hostname", "edge9"), ("host.ip", "10.0.0.9"), ("user.name", "kim")];
    check(&mut b, line.as_bytes(), &want);
    check(&mut b, format!("<189>{edge}").as_bytes(), &[("host.name", "edge9")]);
    let nested = r#"{"time":"2026-03-05T14:07:09Z","category":"AuditLogs","operationName":"Update user","properties":"{\"id\":\"1\",\"initiatedBy\":\"{\\\"user\\\":{\\\"userPrincipalName\\\":\\\"kim@corp.example\\\"}}\"}"}"#;
    check(&mut b, nested.as_bytes(), &[("user.name", "kim@corp.example")]);
    let xml = r#"<14>Mar  5 14:07:09 h sysmon: {"message":"<Event><System><Provider Name=\"Linux-Sysmon\"/><EventID>1</EventID><Channel>Linux-Sysmon/Operational</Channel><Computer>h</Computer></System><EventData><Data Name=\"Image\">/usr/bin/id</Data><Data Name=\"User\">kim</Data></EventData></Event>"}"#;
    let want = [("alcedo.pack", "sysmon-linux"), ("process.name", "id"), ("user.name", "kim")];
    check(&mut b, xml.as_bytes(), &want);
}

/// The clocks change: an hour that is left out, one that comes twice.
#[test]
fn hours_of_a_change_of_clocks() {
    let zone = shape::Zone::parse("Europe/Berlin").unwrap();
    let settings =
        Settings { zones: [("test".into(), zone)].into_iter().collect(), ..Settings::default() };
    let mut b = Bench::with(Default::default(), settings);
    for (line, time) in [
        ("<13>Mar 29 01:59:59 2026 h a: x", "2026-03-29T00:59:59Z"),
        // Nobody's clock showed this one; it is read by the offset before the change.
        ("<13>Mar 29 02:30:00 2026 h a: x", "2026-03-29T01:30:00Z"),
        ("<13>Mar 29 03:00:00 2026 h a: x", "2026-03-29T01:00:00Z"),
        ("<13>Oct 25 01:59:59 2026 h a: x", "2026-10-24T23:59:59Z"),
        ("<13>Oct 25 02:30:00 2026 h a: x", "2026-10-25T01:30:00Z"),
        ("<13>Oct 25 03:00:00 2026 h a: x", "2026-10-25T02:00:00Z"),
    ] {
        check(&mut b, line.as_bytes(), &[("@timestamp", time)]);
    }
}

#[test]
fn lines_that_were_one_record_in_their_file() {
    let mut b = Bench::new();
    let alert = b"[**] [1:1900433:2] Shell from outside [**]\n[Classification: Own rules] [Priority: 1] \n03/04-09:51:00.250017 203.0.113.52:50813 -> 192.0.2.33:22\nTCP TTL:52 TOS:0x0 ID:40114 IpLen:20 DgmLen:60 DF\n******S* Seq: 0x5C01A2B4  Ack: 0x0  Win: 0xFAF0  TcpLen: 40";
    let want = [
        ("alcedo.pack", "snort"),
        ("@timestamp", "2026-03-04T09:51:00.250017Z"),
        ("source.ip", "203.0.113.52"),
        ("destination.port", "22"),
        ("network.transport", "tcp"),
        ("rule.name", "Shell from outside"),
        ("rule.category", "Own rules"),
    ];
    check(&mut b, alert, &want);
    // The statement's own line says the time with its zone, the first one without.
    let slow = b"# Time: 260304 10:42:11\n# User@Host: books[books] @ app7 [192.0.2.71]\n# Thread_id: 9  Schema: ledger  QC_hit: No\n# Query_time: 4.100200  Lock_time: 0.000010  Rows_sent: 1  Rows_examined: 90000\nSET timestamp=1772617327;\nselect count(*) from rows_of_2026;";
    let want = [
        ("alcedo.pack", "mysql"),
        ("@timestamp", "2026-03-04T09:42:07Z"),
        ("source.ip", "192.0.2.71"),
        ("user.name", "books"),
    ];
    check(&mut b, slow, &want);
}
