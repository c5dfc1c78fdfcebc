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
    let settings =
        Settings { zones_s: [("test".into(), 3600)].into_iter().collect(), ..Settings::default() };
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
    // A list with quoted commas and a version's number of columns.
    check(&mut b, b"1,2026/03/05 14:07:09,007,SYSTEM,auth,0,2026/03/05 14:07:09,,auth-fail,,0,0,general,medium,\"failed for user 'bob'. From: 10.0.0.1.\",1", &[
        ("event.action", "auth-fail"),
        ("user.name", "bob"),
        ("source.ip", "10.0.0.1"),
    ]);
}
