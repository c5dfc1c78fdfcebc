//! Zeek logs as tab separated text.
//!
//! ```text
//! #separator \x09
//! #set_separator  ,
//! #empty_field    (empty)
//! #unset_field    -
//! #path   conn
//! #fields ts      uid     id.orig_h ...
//! #types  time    string  addr ...
//! 1521911721.255387  C8Tful1TvM3Zf5x8fl  10.164.94.120 ...
//! ```
//!
//! Lines are meaningless without their header; whoever reads the stream hands it in. For lines that
//! come without one (a shipper that skips comments) [`guess`] knows the columns of Zeek's own
//! scripts, told by their number and by what their values can be.
//! Source: <https://docs.zeek.org/en/current/log-formats.html>.

use std::borrow::Cow;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Text, enum, address, subnet: as it stands.
    Text,
    /// Whole number, port.
    Int,
    /// Time (seconds since 1970), interval, double.
    Float,
    /// `T` or `F`.
    Bool,
    /// Set or vector: several values.
    Many,
}

/// The header of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'h> {
    /// Name of the log (`conn`), if the header says it.
    pub path: Option<&'h [u8]>,
    fields: &'h [u8],
    types: &'h [u8],
    separator: u8,
    set_separator: u8,
    empty: &'h [u8],
    unset: &'h [u8],
}

impl Header<'_> {
    /// Whether a line can stand below this header: it has as many values.
    pub fn fits(&self, line: &[u8]) -> bool {
        let count = |text: &[u8]| text.split(|c| *c == self.separator).count();
        count(line) == count(self.fields)
    }
}

/// Reads the header lines of a log, joined by line ends. `None` without a `#fields` line.
pub fn header(text: &[u8]) -> Option<Header<'_>> {
    let mut header = Header {
        path: None,
        fields: b"",
        types: b"",
        separator: b'\t',
        set_separator: b',',
        empty: b"(empty)",
        unset: b"-",
    };
    for line in text.split(|c| *c == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(line) = line.strip_prefix(b"#") else { continue };
        let cut = line.iter().position(|c| *c == b' ' || *c == b'\t' || *c == header.separator);
        let Some((key, value)) = cut.map(|at| (&line[..at], &line[at + 1..])) else { continue };
        match key {
            b"separator" => header.separator = one_byte(value).unwrap_or(b'\t'),
            b"set_separator" => header.set_separator = value.first().copied().unwrap_or(b','),
            b"empty_field" => header.empty = value,
            b"unset_field" => header.unset = value,
            b"path" => header.path = Some(value),
            b"fields" => header.fields = value,
            b"types" => header.types = value,
            _ => {}
        }
    }
    (!header.fields.is_empty()).then_some(header)
}

/// `\x09` or the character itself.
fn one_byte(text: &[u8]) -> Option<u8> {
    match text.strip_prefix(b"\\x") {
        Some(hex) => u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok(),
        None => text.first().copied(),
    }
}

/// Whether a line belongs to a header (or is the closing comment) of a Zeek log.
pub fn is_header_line(line: &[u8]) -> bool {
    const KEYS: &[&[u8]] = &[
        b"#separator ",
        b"#set_separator\t",
        b"#empty_field\t",
        b"#unset_field\t",
        b"#path\t",
        b"#open\t",
        b"#close\t",
        b"#fields\t",
        b"#types\t",
    ];
    line.first() == Some(&b'#') && KEYS.iter().any(|k| line.starts_with(k))
}

/// The values of a line in order: name, type, text with escapes (`\x2c`) resolved. Unset columns are
/// left out, sets give one value per member.
pub fn values<'v>(line: &'v [u8], header: &Header<'v>, mut put: impl FnMut(&'v [u8], Type, &[u8])) {
    let header = *header;
    let mut names = header.fields.split(move |c| *c == header.separator);
    let mut types = header.types.split(move |c| *c == header.separator);
    for value in line.split(|c| *c == header.separator) {
        let Some(name) = names.next() else { return };
        let kind = types.next().filter(|t| !t.is_empty()).map_or_else(|| type_of(name), type_named);
        if value == header.unset || value == header.empty || name.is_empty() {
            continue;
        }
        match kind {
            Type::Many => {
                for member in value.split(|c| *c == header.set_separator) {
                    if member != header.unset && member != header.empty {
                        put(name, Type::Text, &unescape(member));
                    }
                }
            }
            Type::Bool => put(name, kind, if value == b"T" { b"true" } else { b"false" }),
            _ => put(name, kind, &unescape(value)),
        }
    }
}

fn type_named(name: &[u8]) -> Type {
    match name {
        b"count" | b"int" | b"port" => Type::Int,
        b"time" | b"interval" | b"double" => Type::Float,
        b"bool" => Type::Bool,
        n if n.starts_with(b"set[") || n.starts_with(b"vector[") => Type::Many,
        _ => Type::Text,
    }
}

/// The type of a column of Zeek's own scripts, when no `#types` line says it.
fn type_of(name: &[u8]) -> Type {
    for (_, columns) in LAYOUTS {
        for column in columns.split(' ') {
            if let Some((n, code)) = column.split_once(':')
                && n.as_bytes() == name
            {
                return type_code(code);
            }
        }
    }
    Type::Text
}

fn type_code(code: &str) -> Type {
    match code {
        "n" | "p" => Type::Int,
        "t" | "f" => Type::Float,
        "b" => Type::Bool,
        "m" => Type::Many,
        _ => Type::Text,
    }
}

/// `\x2c` and `\\` as the bytes they stand for; control and foreign bytes stay escaped, as in Zeek's
/// JSON.
fn unescape(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(c) = value.get(at) {
        let hex = value.get(at + 2..at + 4).and_then(|h| std::str::from_utf8(h).ok());
        let code = hex.and_then(|h| u8::from_str_radix(h, 16).ok());
        let code = code.filter(|c| matches!(c, b'\t' | b' '..=b'~'));
        match (*c, value.get(at + 1), code) {
            (b'\\', Some(b'x'), Some(code)) => {
                out.push(code);
                at += 4;
            }
            (b'\\', Some(b'\\'), _) => {
                out.push(b'\\');
                at += 2;
            }
            (c, ..) => {
                out.push(c);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

/// The log and the columns of a line without header: the first of Zeek's own logs that has as many
/// columns and could hold these values.
pub fn guess(line: &[u8]) -> Option<(&'static str, Vec<(&'static str, Type)>)> {
    let is_time = |v: &[u8]| {
        let dot = v.iter().position(|c| *c == b'.');
        dot.is_some_and(|at| at == 10 && v.len() <= 20 && is_number(v))
    };
    let tab = memchr::memchr(b'\t', line).filter(|at| is_time(&line[..*at]))?;
    let count = 1 + memchr::memchr_iter(b'\t', &line[tab..]).count();
    LAYOUTS.iter().find_map(|(log, columns)| {
        let columns: Vec<_> = columns.split(' ').filter_map(|c| c.split_once(':')).collect();
        if columns.len() != count {
            return None;
        }
        let fits = line.split(|c| *c == b'\t').zip(&columns).all(|(v, (_, code))| may_be(v, code));
        let typed = columns.iter().map(|(n, code)| (*n, type_code(code)));
        fits.then(|| (*log, typed.collect()))
    })
}

/// As [`values`], for the columns that [`guess`] found.
pub fn guessed_values(
    line: &[u8],
    columns: &[(&'static str, Type)],
    mut put: impl FnMut(&'static str, Type, &[u8]),
) {
    for (value, (name, kind)) in line.split(|c| *c == b'\t').zip(columns) {
        match kind {
            _ if value == b"-" || value == b"(empty)" => {}
            Type::Many => {
                value.split(|c| *c == b',').for_each(|v| put(name, Type::Text, &unescape(v)));
            }
            Type::Bool => put(name, *kind, if value == b"T" { b"true" } else { b"false" }),
            _ => put(name, *kind, &unescape(value)),
        }
    }
}

fn is_number(v: &[u8]) -> bool {
    !v.is_empty() && v.iter().all(|c| c.is_ascii_digit() || *c == b'.')
}

/// Whether a value can stand in a column of this type.
fn may_be(value: &[u8], code: &str) -> bool {
    if value == b"-" || value == b"(empty)" {
        return true;
    }
    match code {
        "t" | "f" => is_number(value.strip_prefix(b"-").unwrap_or(value)),
        "n" => value.iter().all(u8::is_ascii_digit),
        "p" => value.len() <= 5 && value.iter().all(u8::is_ascii_digit),
        "b" => value == b"T" || value == b"F",
        "a" => value.iter().all(|c| c.is_ascii_hexdigit() || b".:%".contains(c)),
        "u" => matches!(value.first(), Some(b'C')) && value.len() >= 14,
        "F" => matches!(value.first(), Some(b'F')) && value.len() >= 14,
        "proto" => matches!(value, b"tcp" | b"udp" | b"icmp" | b"unknown_transport"),
        _ => true,
    }
}

/// Columns of Zeek's own scripts, versions 3 to 7. Types: t time, f interval or double, n number,
/// p port, b bool, a address, u connection id, F file id, m set or vector, s anything.
const LAYOUTS: &[(&str, &str)] = &[
    (
        "conn",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p proto:proto service:s duration:f orig_bytes:n resp_bytes:n conn_state:s local_orig:b local_resp:b missed_bytes:n history:s orig_pkts:n orig_ip_bytes:n resp_pkts:n resp_ip_bytes:n tunnel_parents:m",
    ),
    (
        "conn",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p proto:proto service:s duration:f orig_bytes:n resp_bytes:n conn_state:s local_orig:b local_resp:b missed_bytes:n history:s orig_pkts:n orig_ip_bytes:n resp_pkts:n resp_ip_bytes:n tunnel_parents:m ip_proto:n",
    ),
    (
        "conn",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p proto:proto service:s duration:f orig_bytes:n resp_bytes:n conn_state:s missed_bytes:n history:s orig_pkts:n orig_ip_bytes:n resp_pkts:n resp_ip_bytes:n tunnel_parents:m",
    ),
    (
        "dns",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p proto:proto trans_id:n rtt:f query:s qclass:n qclass_name:s qtype:n qtype_name:s rcode:n rcode_name:s AA:b TC:b RD:b RA:b Z:n answers:m TTLs:m rejected:b",
    ),
    (
        "http",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p trans_depth:n method:s host:s uri:s referrer:s version:s user_agent:s origin:s request_body_len:n response_body_len:n status_code:n status_msg:s info_code:n info_msg:s tags:m username:s password:s proxied:m orig_fuids:m orig_filenames:m orig_mime_types:m resp_fuids:m resp_filenames:m resp_mime_types:m",
    ),
    (
        "http",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p trans_depth:n method:s host:s uri:s referrer:s version:s user_agent:s request_body_len:n response_body_len:n status_code:n status_msg:s info_code:n info_msg:s tags:m username:s password:s proxied:m orig_fuids:m orig_filenames:m orig_mime_types:m resp_fuids:m resp_filenames:m resp_mime_types:m",
    ),
    (
        "ssl",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p version:s cipher:s curve:s server_name:s resumed:b last_alert:s next_protocol:s established:b ssl_history:s cert_chain_fps:m client_cert_chain_fps:m sni_matches_cert:b",
    ),
    (
        "ssl",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p version:s cipher:s curve:s server_name:s resumed:b last_alert:s next_protocol:s established:b cert_chain_fuids:m client_cert_chain_fuids:m subject:s issuer:s client_subject:s client_issuer:s",
    ),
    (
        "ssl",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p version:s cipher:s curve:s server_name:s resumed:b last_alert:s next_protocol:s established:b cert_chain_fuids:m client_cert_chain_fuids:m subject:s issuer:s client_subject:s client_issuer:s validation_status:s",
    ),
    (
        "files",
        "ts:t fuid:F uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p source:s depth:n analyzers:m mime_type:s filename:s duration:f local_orig:b is_orig:b seen_bytes:n total_bytes:n missing_bytes:n overflow_bytes:n timedout:b parent_fuid:s md5:s sha1:s sha256:s extracted:s extracted_cutoff:b extracted_size:n",
    ),
    (
        "files",
        "ts:t fuid:F tx_hosts:m rx_hosts:m conn_uids:m source:s depth:n analyzers:m mime_type:s filename:s duration:f local_orig:b is_orig:b seen_bytes:n total_bytes:n missing_bytes:n overflow_bytes:n timedout:b parent_fuid:s md5:s sha1:s sha256:s extracted:s extracted_cutoff:b extracted_size:n",
    ),
    (
        "ssh",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p version:n auth_success:b auth_attempts:n direction:s client:s server:s cipher_alg:s mac_alg:s compression_alg:s kex_alg:s host_key_alg:s host_key:s",
    ),
    (
        "rdp",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p cookie:s result:s security_protocol:s client_channels:m keyboard_layout:s client_build:s client_name:s client_dig_product_id:s desktop_width:n desktop_height:n requested_color_depth:s cert_type:s cert_count:n cert_permanent:b encryption_level:s encryption_method:s",
    ),
    (
        "kerberos",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p request_type:s client:s service:s success:b error_msg:s from:t till:t cipher:s forwardable:b renewable:b client_cert_subject:s client_cert_fuid:s server_cert_subject:s server_cert_fuid:s",
    ),
    (
        "dhcp",
        "ts:t uids:m client_addr:a server_addr:a mac:s host_name:s client_fqdn:s domain:s requested_addr:a assigned_addr:a lease_time:f client_message:s server_message:s msg_types:m duration:f",
    ),
    (
        "smb_files",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p fuid:F action:s path:s name:s size:n prev_name:s times.modified:t times.accessed:t times.created:t times.changed:t",
    ),
    (
        "ntlm",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p username:s hostname:s domainname:s server_nb_computer_name:s server_dns_computer_name:s server_tree_name:s success:b",
    ),
    (
        "weird",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p name:s addl:s notice:b peer:s source:s",
    ),
    (
        "weird",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p name:s addl:s notice:b peer:s",
    ),
    (
        "dce_rpc",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p rtt:f named_pipe:s endpoint:s operation:s",
    ),
    (
        "smb_mapping",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p path:s service:s native_file_system:s share_type:s",
    ),
    (
        "ftp",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p user:s password:s command:s arg:s mime_type:s file_size:n reply_code:n reply_msg:s data_channel.passive:b data_channel.orig_h:a data_channel.resp_h:a data_channel.resp_p:p fuid:F",
    ),
    (
        "smtp",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p trans_depth:n helo:s mailfrom:s rcptto:m date:s from:s to:m cc:m reply_to:s msg_id:s in_reply_to:s subject:s x_originating_ip:a first_received:s second_received:s last_reply:s path:m user_agent:s tls:b fuids:m is_webmail:b",
    ),
    (
        "smtp",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p trans_depth:n helo:s mailfrom:s rcptto:m date:s from:s to:m cc:m reply_to:s msg_id:s in_reply_to:s subject:s x_originating_ip:a first_received:s second_received:s last_reply:s path:m user_agent:s tls:b fuids:m",
    ),
    (
        "notice",
        "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p fuid:F file_mime_type:s file_desc:s proto:proto note:s msg:s sub:s src:a dst:a p:p n:n peer_descr:s actions:m email_dest:m suppress_for:f remote_location.country_code:s remote_location.region:s remote_location.city:s remote_location.latitude:f remote_location.longitude:f",
    ),
    ("tunnel", "ts:t uid:u id.orig_h:a id.orig_p:p id.resp_h:a id.resp_p:p tunnel_type:s action:s"),
    (
        "software",
        "ts:t host:a host_p:p software_type:s name:s version.major:n version.minor:n version.minor2:n version.minor3:n version.addl:s unparsed_version:s",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n#fields\tts\tuid\tAA\tanswers\tn\n#types\ttime\tstring\tbool\tset[string]\tcount";

    fn shown(line: &[u8], head: &[u8]) -> Vec<String> {
        let mut out = Vec::new();
        values(line, &header(head).unwrap(), |n, t, v| {
            let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
            out.push(format!("{}={}:{t:?}", text(n), text(v)));
        });
        out
    }

    #[test]
    fn columns_by_header() {
        let line = b"1.5\tCx\tT\ta,b\\x2cc\t7";
        let want = [
            "ts=1.5:Float",
            "uid=Cx:Text",
            "AA=true:Bool",
            "answers=a:Text",
            "answers=b,c:Text",
            "n=7:Int",
        ];
        assert_eq!(shown(line, HEADER), want);
        assert_eq!(header(HEADER).unwrap().path, Some(&b"dns"[..]));
        assert_eq!(shown(b"-\t-\t-\t(empty)\t-\textra", HEADER), [""; 0]);
        assert!(header(b"#path\tx").is_none() && header(b"").is_none());
        assert_eq!(shown(b"1|2", b"#separator |\n#fields|a|b"), ["a=1:Text", "b=2:Text"]);
    }

    #[test]
    fn columns_without_header() {
        let line = b"1521911721.255387\tC8Tful1TvM3Zf5x8fl\t10.164.94.120\t39681\t10.47.3.155\t3389\ttcp\t-\t0.004\t97\t19\tRSTR\t-\t-\t0\tShADTdtr\t10\t730\t6\t342\t-";
        let (log, columns) = guess(line).unwrap();
        assert_eq!(log, "conn");
        let mut seen = Vec::new();
        guessed_values(line, &columns, |n, _, v| seen.push((n, v.to_vec())));
        assert!(seen.contains(&("conn_state", b"RSTR".to_vec())));
        for other in [&b"a\tb"[..], b"", b"1521911721.255387", b"1521911721.255387\tx\ty"] {
            assert!(guess(other).is_none());
        }
    }
}
