//! The table of formats: what each is called, how it is recognised, and its plain reading.
//!
//! ```text
//! first lines of a source --detect--> the format that is surest; ties go to the one higher in ALL
//! ```
//!
//! A format's [`Format::cells`] gives fields under the format's own names; the mapping to ECS is
//! crate `shape`'s. Dispatch is per record, never per field.

use crate::{ParseError, access_log, auditd, cef, json, kv, leef, netfilter, syslog, windows};
use event::{Kind, RowWriter};

/// How sure a look at a record's first bytes makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// It is something else.
    No,
    /// It could be; anything more specific wins.
    Maybe,
    /// Its shape is there.
    Likely,
    /// A mark that nothing else carries.
    Certain,
}

/// One format.
pub trait Format: Sync {
    /// Short name: configuration value, metric label, seed folder.
    fn name(&self) -> &'static str;
    /// One line for people, with where it is specified.
    fn doc(&self) -> &'static str;
    /// A record of the format.
    fn sample(&self) -> &'static str;
    /// How much a record looks like it. Looks at a bounded number of bytes.
    fn sniff(&self, record: &[u8]) -> Confidence;
    /// Reads `record` into cells under the format's own names. Out: how many cells were written.
    /// Errors: [`ParseError`] with the offset; the row's cells are then as before.
    fn cells(&self, record: &[u8], row: &mut RowWriter<'_>) -> Result<usize, ParseError>;
}

/// All formats, the most specific first: of equally sure ones the first is taken.
pub const ALL: &[&dyn Format] =
    &[&WindowsXml, &Json, &Cef, &Leef, &Audit, &Netfilter, &AccessLog, &Syslog, &KeyValue];

/// Bytes of a record that sniffing looks at: more than any header here, and a bound on its cost.
const SNIFF_LEN_MAX: usize = 512;

/// The surest format for `record`, or `None` when none is even likely.
pub fn detect(record: &[u8]) -> Option<&'static dyn Format> {
    let mut best: Option<(&'static dyn Format, Confidence)> = None;
    for format in ALL {
        let confidence = format.sniff(record);
        if confidence > best.map_or(Confidence::Maybe, |(_, c)| c) {
            best = Some((*format, confidence));
        }
    }
    best.map(|(format, _)| format)
}

fn head(record: &[u8]) -> &[u8] {
    let record = record.strip_prefix(b"\xef\xbb\xbf").unwrap_or(record);
    record[..record.len().min(SNIFF_LEN_MAX)].trim_ascii_start()
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    memchr::memmem::find(text, what).is_some()
}

fn sure(yes: bool, confidence: Confidence) -> Confidence {
    if yes { confidence } else { Confidence::No }
}

fn put(row: &mut RowWriter<'_>, name: &str, value: Option<&[u8]>) {
    if let Some(value) = value {
        let field = row.field(name);
        row.push(field, Kind::Str, value);
    }
}

/// Pushes pairs under their own names; what is not UTF-8 in a name is replaced.
fn put_pairs<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    row: &mut RowWriter<'_>,
    pairs: impl Iterator<Item = (K, V)>,
) {
    for (key, value) in pairs {
        let name = String::from_utf8_lossy(key.as_ref());
        put(row, &name, Some(value.as_ref()));
    }
}

struct WindowsXml;

impl Format for WindowsXml {
    fn name(&self) -> &'static str {
        "windows_xml"
    }
    fn doc(&self) -> &'static str {
        "Windows event as XML (learn.microsoft.com/windows/win32/wes/eventschema-schema)"
    }
    fn sample(&self) -> &'static str {
        "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>\
         <EventID>4688</EventID></System><EventData><Data Name='NewProcessName'>cmd.exe</Data>\
         </EventData></Event>"
    }
    fn sniff(&self, record: &[u8]) -> Confidence {
        let head = head(record);
        let is_event = head.starts_with(b"<Event>") || head.starts_with(b"<Event ");
        sure(
            is_event || head.starts_with(b"<?xml") && contains(head, b"<Event"),
            Confidence::Certain,
        )
    }
    fn cells(&self, record: &[u8], row: &mut RowWriter<'_>) -> Result<usize, ParseError> {
        windows::xml(record, row)
    }
}

struct Json;

impl Format for Json {
    fn name(&self) -> &'static str {
        "json"
    }
    fn doc(&self) -> &'static str {
        "JSON object, nested names joined by dots (RFC 8259)"
    }
    fn sample(&self) -> &'static str {
        r#"{"time":"2024-03-05T14:07:09Z","user":{"name":"bob"},"tags":["a","b"],"ok":true,"n":1.50}"#
    }
    fn sniff(&self, record: &[u8]) -> Confidence {
        let head = head(record);
        let behind = json::skip_space(head, 1);
        sure(
            head.starts_with(b"{") && matches!(head.get(behind), Some(b'"' | b'}')),
            Confidence::Certain,
        )
    }
    fn cells(&self, record: &[u8], row: &mut RowWriter<'_>) -> Result<usize, ParseError> {
        json::flatten(record, "", row, &json::Limits::default()).map(|shape| shape.cells)
    }
}

struct Cef;

impl Format for Cef {
    fn name(&self) -> &'static str {
        "cef"
    }
    fn doc(&self) -> &'static str {
        "Common Event Format (ArcSight CEF implementation standard, rev. 26)"
    }
    fn sample(&self) -> &'static str {
        "CEF:0|Vendor|Product|1.0|100|worm stopped|10|src=10.0.0.1 dst=2.1.2.2 msg=a \\= b cs1Label=Rule cs1=x y"
    }
    fn sniff(&self, record: &[u8]) -> Confidence {
        let head = head(record);
        let at = memchr::memmem::find(head, b"CEF:");
        let is_cef = at.is_some_and(|at| {
            let version = head[at + 4..].strip_prefix(b"CEF:").unwrap_or(&head[at + 4..]);
            version.trim_ascii_start().first().is_some_and(u8::is_ascii_digit)
                && contains(version, b"|")
        });
        sure(is_cef, Confidence::Certain)
    }
    fn cells(&self, record: &[u8], row: &mut RowWriter<'_>) -> Result<usize, ParseError> {
        let before = row.cell_count();
        let cef = cef::parse(record)?;
        put(row, "cef.version", Some(cef.version));
        put(row, "cef.device.vendor", Some(&cef.vendor));
        put(row, "cef.device.product", Some(&cef.product));
        put(row, "cef.device.version", Some(&cef.device_version));
        put(row, "cef.device.event_class_id", Some(&cef.class_id));
        put(row, "cef.name", Some(&cef.name));
        put(row, "cef.severity", Some(&cef.severity));
        put_pairs(row, cef.pairs());
        Ok(row.cell_count() - before)
    }
}

struct Leef;

impl Format for Leef {
    fn name(&self) -> &'static str {
        "leef"
    }
    fn doc(&self) -> &'static str {
        "Log Event Extended Format 1.0 and 2.0 (IBM QRadar LEEF reference)"
    }
    fn sample(&self) -> &'static str {
        "LEEF:2.0|Vendor|Product|1.0|login|^|src=10.0.0.1^usrName=bob"
    }
    fn sniff(&self, record: &[u8]) -> Confidence {
        let head = head(record);
        sure(contains(head, b"LEEF:1") || contains(head, b"LEEF:2"), Confidence::Certain)
    }
    fn cells(&self, record: &[u8], row: &mut RowWriter<'_>) -> Result<usize, ParseError> {
        let before = row.cell_count();
        let leef = leef::parse(record)?;
        put(row, "leef.version", Some(leef.version));
        put(row, "leef.vendor", Some(leef.vendor));
        put(row, "leef.product", Some(leef.product));
        put(row, "leef.product_version", Some(leef.product_version));
        put(row, "leef.event_id", Some(leef.event_id));
        put_pairs(row, leef.pairs());
        Ok(row.cell_count() - before)
    }
}

struct Audit;

impl Format for Audit {
    fn name(&self) -> &'static str {
        "auditd"
    }
    fn doc(&self) -> &'static str {
        "Linux audit record (github.com/linux-audit/audit-documentation)"
    }
    fn sample(&self) -> &'static str {
        "type=SYSCALL msg=audit(1604996384.965:93777): arch=c000003e syscall=59 auid=1000 comm=\"sh\" exe=\"/bin/sh\""
    }
    fn sniff(&self, record: &[u8]) -> Confidence {
        let head = head(record);
        let starts = [&b"type="[..], b"node=", b"audit: type="].iter().any(|s| head.starts_with(s));
        sure(starts && contains(head, b"audit("), Confidence::Certain)
    }
    fn cells(&self, record: &[u8], row: &mut RowWriter<'_>) -> Result<usize, ParseError> {
        let before = row.cell_count();
        let audit = auditd::parse(record)?;
        put(row, "node", audit.node);
        put(row, "type", Some(audit.kind));
        put(row, "time", Some(audit.stamp));
        put(row, "serial", Some(audit.serial));
        put_pairs(row, audit.pairs());
        Ok(row.cell_count() - before)
    }
}

struct Netfilter;

impl Format for Netfilter {
    fn name(&self) -> &'static str {
        "netfilter"
    }
    fn doc(&self) -> &'static str {
        "Kernel packet log of iptables, nftables, UFW (Linux nf_log_syslog.c)"
    }
    fn sample(&self) -> &'static str {
        "[UFW BLOCK] IN=eth0 OUT= SRC=192.0.2.7 DST=198.51.100.1 LEN=60 PROTO=TCP SPT=40000 DPT=22 SYN"
    }
    fn sniff(&self, record: &[u8]) -> Confidence {
        let head = head(record);
        let is_packet = netfilter::parse(head).is_some_and(|p| p.get(b"SRC").is_some());
        // Behind a syslog header it is syslog's message.
        sure(is_packet && syslog::header(head).is_err(), Confidence::Likely)
    }
    fn cells(&self, record: &[u8], row: &mut RowWriter<'_>) -> Result<usize, ParseError> {
        let before = row.cell_count();
        let expected = "IN= and OUT=";
        let packet = netfilter::parse(record).ok_or(ParseError::Expected {
            format: "netfilter",
            at: 0,
            expected,
        })?;
        put(row, "prefix", Some(packet.prefix).filter(|p| !p.is_empty()));
        put_pairs(row, packet.words().filter_map(|(key, value)| Some((key, value?))));
        for (flag, _) in packet.words().filter(|(_, value)| value.is_none()) {
            put(row, "flags", Some(flag));
        }
        Ok(row.cell_count() - before)
    }
}

struct AccessLog;

impl Format for AccessLog {
    fn name(&self) -> &'static str {
        "access_log"
    }
    fn doc(&self) -> &'static str {
        "Web access log, common and combined (httpd.apache.org/docs/current/mod/mod_log_config.html)"
    }
    fn sample(&self) -> &'static str {
        "192.0.2.7 - bob [05/Mar/2024:14:07:09 +0000] \"GET /a HTTP/1.1\" 200 12 \"-\" \"curl/8\""
    }
    fn sniff(&self, record: &[u8]) -> Confidence {
        let head = head(record);
        let line = &head[..memchr::memchr(b'\n', head).unwrap_or(head.len())];
        sure(access_log::parse(line).is_ok_and(|a| a.stamp.is_some()), Confidence::Likely)
    }
    fn cells(&self, record: &[u8], row: &mut RowWriter<'_>) -> Result<usize, ParseError> {
        let before = row.cell_count();
        let access = access_log::parse(record)?;
        for (name, value) in [
            ("vhost", access.vhost),
            ("client", Some(access.client)),
            ("identity", access.identity),
            ("user", access.user),
            ("time", Some(access.time)),
            ("request", Some(access.request)),
            ("method", access.method),
            ("target", access.target),
            ("protocol", access.protocol),
            ("status", access.status),
            ("size_bytes", access.size_bytes),
            ("referrer", access.referrer),
            ("user_agent", access.user_agent),
        ] {
            put(row, name, value);
        }
        Ok(row.cell_count() - before)
    }
}

struct Syslog;

impl Format for Syslog {
    fn name(&self) -> &'static str {
        "syslog"
    }
    fn doc(&self) -> &'static str {
        "Syslog message (RFC 5424; RFC 3164 and its relatives)"
    }
    fn sample(&self) -> &'static str {
        "<34>1 2003-10-11T22:14:15.003Z host su 12 ID47 [x@1 k=\"v\"] 'su root' failed for bob"
    }
    fn sniff(&self, record: &[u8]) -> Confidence {
        match syslog::header(head(record)) {
            Ok(header) if header.pri.is_some() => Confidence::Certain,
            Ok(header) => sure(header.host.is_some() || header.app.is_some(), Confidence::Likely),
            Err(_) => Confidence::No,
        }
    }
    fn cells(&self, record: &[u8], row: &mut RowWriter<'_>) -> Result<usize, ParseError> {
        let before = row.cell_count();
        let header = syslog::header(record)?;
        if let Some(pri) = header.pri {
            row.push_int("pri", i64::from(pri));
        }
        for (name, value) in [
            ("timestamp", header.timestamp),
            ("host", header.host),
            ("app", header.app),
            ("procid", header.procid),
            ("msgid", header.msgid),
        ] {
            put(row, name, value);
        }
        for (id, key, value) in header.structured_data {
            let (id, key) = (String::from_utf8_lossy(id), String::from_utf8_lossy(key));
            put(row, &format!("structured_data.{id}.{key}"), Some(&value));
        }
        put(row, "message", Some(header.message));
        Ok(row.cell_count() - before)
    }
}

struct KeyValue;

impl Format for KeyValue {
    fn name(&self) -> &'static str {
        "kv"
    }
    fn doc(&self) -> &'static str {
        "key=value pairs, logfmt (brandur.org/logfmt)"
    }
    fn sample(&self) -> &'static str {
        "date=2024-03-05 devname=\"FG 100\" srcip=10.0.0.1 action=deny msg=\"said \\\"no\\\"\""
    }
    fn sniff(&self, record: &[u8]) -> Confidence {
        let pairs = kv::pairs(head(record), &kv::KvOptions::default()).take(4);
        // Four pairs in a row of plain names: prose has an equals sign now and then, not four.
        let plain = |key: &[u8]| {
            key.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-'))
        };
        match pairs.filter(|(key, _)| plain(key)).count() {
            0 | 1 => Confidence::No,
            2 | 3 => Confidence::Maybe,
            _ => Confidence::Likely,
        }
    }
    fn cells(&self, record: &[u8], row: &mut RowWriter<'_>) -> Result<usize, ParseError> {
        let before = row.cell_count();
        put_pairs(row, kv::pairs(record, &kv::KvOptions::default()));
        match row.cell_count() - before {
            0 => Err(ParseError::Expected { format: "kv", at: 0, expected: "key=value" }),
            cells => Ok(cells),
        }
    }
}
