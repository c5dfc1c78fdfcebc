//! Hand-written parsers of the hot formats, under the names that packs use.

use crate::audit;
use crate::ops::UrlFields;
use crate::program::{Findings, Work, push_kind, push_named};
use crate::value::Address;
use event::{Dictionary, FieldId, Kind, RowWriter};
use parse::auth::{Action, AuthEvent, Outcome};
use parse::columns::{self, Family, Layout};
use parse::{Limits, access_log, auditd, auth, cef, kv, leef, netfilter, windows_text, zeek};

/// A parser that a pack can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parser {
    Json,
    WindowsXml,
    Text,
    Auth,
    AccessLog,
    Netfilter,
    Auditd,
    Cef,
    Leef,
    Kv,
    W3c,
    VpcFlow,
    Zeek,
}

/// Every parser by its name in pack.yaml.
pub(crate) const ALL: &[(&str, Parser)] = &[
    ("json", Parser::Json),
    ("windows-xml", Parser::WindowsXml),
    ("text", Parser::Text),
    ("auth", Parser::Auth),
    ("access-log", Parser::AccessLog),
    ("netfilter", Parser::Netfilter),
    ("auditd", Parser::Auditd),
    ("cef", Parser::Cef),
    ("leef", Parser::Leef),
    ("kv", Parser::Kv),
    ("w3c", Parser::W3c),
    ("vpc-flow", Parser::VpcFlow),
    ("zeek", Parser::Zeek),
];

/// Fewest pairs that make text recognisable as key=value.
const KV_PAIRS_MIN: usize = 3;
/// Most bytes of a message that recognition looks at.
const PROBE_BYTES_MAX: usize = 4_096;

/// Ids of the ECS fields that native parsers write.
macro_rules! ids {
    ($($field:ident = $name:literal),* $(,)?) => {
        #[derive(Clone)]
        pub(crate) struct Ids { $(pub(crate) $field: FieldId),* }
        impl Ids {
            pub(crate) fn of(dict: &Dictionary) -> Self {
                // Names that a foreign dictionary lacks become an intrinsic id, which no cell has.
                let id = |name| dict.id(name).unwrap_or(FieldId::TIMESTAMP);
                Self { $($field: id($name)),* }
            }
        }
        /// The names above, for registration.
        pub(crate) const ID_NAMES: &[&str] = &[$($name),*];
    };
}

ids! {
    message = "message", tags = "tags", error = "error.message",
    kind = "event.kind", category = "event.category", kind_of = "event.type", action = "event.action",
    outcome = "event.outcome", reason = "event.reason",
    source_address = "source.address", source_ip = "source.ip", source_port = "source.port",
    source_domain = "source.domain", forwarded_ip = "network.forwarded_ip", destination_ip = "destination.ip",
    destination_port = "destination.port", file_path = "file.path",
    destination_domain = "destination.domain",
    user_name = "user.name", user_domain = "user.domain", user_id = "user.id", user_effective = "user.effective.name",
    user_target = "user.target.name", group_name = "group.name",
    process_name = "process.name", process_pid = "process.pid",
    process_command = "process.command_line", process_args = "process.args", process_cwd = "process.working_directory",
    host_name = "host.name", host_hostname = "host.hostname", host_ip = "host.ip",
    method = "http.request.method", referrer = "http.request.referrer",
    status = "http.response.status_code", body_bytes = "http.response.body.bytes",
    version = "http.version", url = "url.original", path = "url.path", query = "url.query",
    url_domain = "url.domain", url_port = "url.port", url_scheme = "url.scheme", agent = "user_agent.original", dns_name = "dns.question.name",
    auth_method = "linux.auth.method", auth_tty = "linux.auth.tty",
    auth_fingerprint = "linux.auth.fingerprint", auth_service = "linux.auth.service",
    auth_session = "linux.auth.session", auth_invalid = "linux.auth.invalid_user",
    log_pri = "log.syslog.priority", log_facility = "log.syslog.facility.code",
    log_facility_name = "log.syslog.facility.name", log_severity = "log.syslog.severity.code",
    log_severity_name = "log.syslog.severity.name", log_host = "log.syslog.hostname",
    log_app = "log.syslog.appname", log_procid = "log.syslog.procid",
    log_path = "log.file.path", kafka_topic = "kafka.topic", kafka_partition = "kafka.partition",
    log_level = "log.level", log_msgid = "log.syslog.msgid", log_version = "log.syslog.version",
    netfilter_prefix = "iptables.prefix", audit_type = "auditd.type", audit_serial = "auditd.serial",
    indicator = "threat.indicator.name", indicator_type = "threat.indicator.type",
    indicator_provider = "threat.indicator.provider", matched_field = "alcedo.indicator.field",
    hash_md5 = "process.hash.md5", hash_sha1 = "process.hash.sha1",
    hash_sha256 = "process.hash.sha256", file_md5 = "file.hash.md5", file_sha1 = "file.hash.sha1",
    file_sha256 = "file.hash.sha256",
}

/// A message and what its transport said of it.
#[derive(Clone, Copy)]
pub(crate) struct Body<'a> {
    /// The message without its header.
    pub(crate) text: &'a [u8],
    /// Syslog program, without path.
    pub(crate) program: &'a [u8],
    /// Whether a syslog header stood in front.
    pub(crate) has_header: bool,
    /// Syslog message id, or the mnemonic of a Cisco-like message.
    pub(crate) msgid: &'a [u8],
    /// Syslog structured data as sent.
    pub(crate) data: &'a [u8],
    /// Whether the text is known to be no line of a format that is told by its whole line.
    pub(crate) is_no_line: bool,
}

impl Parser {
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        ALL.iter().find(|p| p.0 == name).map(|p| p.1)
    }

    /// Its name in pack.yaml.
    pub(crate) fn name(self) -> &'static str {
        ALL.iter().find(|p| p.1 == self).map_or("text", |p| p.0)
    }

    /// What the header of a stream says its lines are, if it is a header of one of these parsers.
    pub(crate) fn of_header(header: &[u8]) -> Option<Self> {
        let all = [Parser::Zeek, Parser::W3c, Parser::VpcFlow];
        all.into_iter().find(|parser| match parser {
            Parser::Zeek => zeek::header(header).is_some(),
            other => Layout::of_header(header, other.family()).is_some(),
        })
    }

    fn family(self) -> Family {
        if self == Parser::VpcFlow { Family::VpcFlow } else { Family::W3c }
    }

    /// A piece without which [`Parser::probe`] is false, if there is one.
    pub(crate) fn needed_piece(self) -> Option<&'static str> {
        match self {
            Parser::AccessLog => Some("] \""),
            Parser::Netfilter => Some("IN="),
            Parser::Auditd => Some("audit("),
            Parser::Cef => Some("CEF:"),
            Parser::Leef => Some("LEEF:"),
            _ => None,
        }
    }

    /// Whether the text looks like this parser's format.
    pub(crate) fn probe(self, body: &Body<'_>) -> bool {
        let text = &body.text[..body.text.len().min(PROBE_BYTES_MAX)];
        match self {
            Parser::AccessLog => has_access_time(text),
            Parser::Netfilter => netfilter::parse(text).is_some(),
            Parser::Auditd => auditd::find(text).is_some(),
            Parser::Cef => cef::parse(text).is_ok(),
            Parser::Leef => leef::parse(text).is_ok(),
            Parser::Kv => {
                let pairs = kv::pairs(text, &kv::guess(text));
                pairs.filter(|(key, _)| is_key(key)).take(KV_PAIRS_MIN).count() == KV_PAIRS_MIN
            }
            Parser::W3c | Parser::VpcFlow => {
                columns::is_header_line(text) && (text[0] == b'#') == (self == Parser::W3c)
                    || Layout::guess(text, self.family()).is_some()
            }
            Parser::Zeek => zeek::is_header_line(text) || zeek::guess(text).is_some(),
            Parser::Auth => auth::parse(body.program, body.text).is_some(),
            Parser::WindowsXml => windows_text::head(text).is_some(),
            Parser::Json | Parser::Text => false,
        }
    }

    /// Writes the body's fields. `prefix` is the pack's.
    pub(crate) fn run(
        self,
        body: &Body<'_>,
        prefix: &str,
        ids: &Ids,
        row: &mut RowWriter<'_>,
        work: &mut Work,
        found: &mut Findings,
    ) {
        let done = match self {
            Parser::Json => work
                .flattener
                .flatten(body.text, "", row, &Limits { keep_partial: true, ..Limits::default() })
                .map(|_| ()),
            Parser::WindowsXml => match memchr::memmem::find(body.text, b"<Event") {
                Some(_) => work.xml.event(body.text, row).map(|_| ()),
                None => {
                    write_windows_text(body.text, row, &mut work.name);
                    Ok(())
                }
            },
            Parser::Text => Ok(()),
            Parser::Auth => {
                if let Some(event) = auth::parse(body.program, body.text) {
                    write_auth(&event, body.program, ids, row);
                }
                Ok(())
            }
            Parser::AccessLog => access_log::parse(body.text).map(|a| {
                found.stamp = a.stamp;
                write_access(&a, ids, row);
            }),
            Parser::Netfilter => {
                if let Some(packet) = netfilter::parse(body.text) {
                    write_packet(&packet, prefix, ids, row, &mut work.name);
                }
                Ok(())
            }
            Parser::Auditd => audit::write(body.text, prefix, ids, row, &mut work.name)
                .map(|stamp| found.stamp = stamp),
            Parser::Cef => cef::parse(body.text).map(|cef| {
                write_cef(&cef, prefix, row, &mut work.name);
                if let Some(problem) = cef.problem {
                    found.failed.get_or_insert_with(|| problem.to_string());
                }
            }),
            Parser::Leef => {
                leef::parse(body.text).map(|leef| write_leef(&leef, prefix, row, &mut work.name))
            }
            Parser::Kv => {
                let pairs = kv::pairs(body.text, &kv::guess(body.text));
                write_pairs(pairs, prefix, row, &mut work.name);
                Ok(())
            }
            Parser::W3c | Parser::VpcFlow => {
                let header = row.envelope().header.clone();
                let layout = header.as_deref().and_then(|h| Layout::of_header(h, self.family()));
                let layout = layout.or_else(|| Layout::guess(body.text, self.family()));
                if let Some(layout) = layout.filter(|_| !columns::is_header_line(body.text)) {
                    layout.values(body.text, |key, value| {
                        push_named(row, prefix, key, value, &mut work.name);
                    });
                }
                Ok(())
            }
            Parser::Zeek => {
                write_zeek(body.text, prefix, row, &mut work.name);
                Ok(())
            }
        };
        if let Err(error) = done {
            found.failed.get_or_insert_with(|| error.to_string());
        }
    }
}

/// The parts of a CEF message below `prefix`.
pub(crate) fn write_cef(
    cef: &cef::Cef<'_>,
    prefix: &str,
    row: &mut RowWriter<'_>,
    name: &mut String,
) {
    let parts: [(&str, &[u8]); 7] = [
        ("version", cef.version),
        ("device_vendor", &cef.vendor),
        ("device_product", &cef.product),
        ("device_version", &cef.device_version),
        ("class_id", &cef.class_id),
        ("name", &cef.name),
        ("severity", &cef.severity),
    ];
    for (part, value) in parts {
        if !value.is_empty() {
            push_named(row, prefix, part.as_bytes(), value, name);
        }
    }
    write_pairs(cef.pairs(), &format!("{prefix}.extensions"), row, name);
}

/// The parts of a LEEF message below `prefix`.
pub(crate) fn write_leef(
    leef: &leef::Leef<'_>,
    prefix: &str,
    row: &mut RowWriter<'_>,
    name: &mut String,
) {
    let parts = [
        ("version", leef.version),
        ("vendor", leef.vendor),
        ("product", leef.product),
        ("product_version", leef.product_version),
        ("event_id", leef.event_id),
    ];
    for (part, value) in parts {
        push_named(row, prefix, part.as_bytes(), value, name);
    }
    let pairs = leef.pairs().map(|(k, v)| (k, v.into()));
    write_pairs(pairs, &format!("{prefix}.attributes"), row, name);
}

/// Most bytes of a server's time in brackets, and of the quote behind it.
const ACCESS_TIME_BYTES_MAX: usize = 42;

/// Whether `[05/Mar/2024:` stands in the text and a quote follows its bracket: what access logs have
/// and nothing else, told without reading the whole line twice.
fn has_access_time(text: &[u8]) -> bool {
    memchr::memchr_iter(b'[', text).take(4).any(|at| {
        let Some(date) = text.get(at + 1..at + 13) else { return false };
        let marks = date[2] == b'/' && date[6] == b'/' && date[11] == b':';
        let ahead = &text[at..text.len().min(at + ACCESS_TIME_BYTES_MAX)];
        marks && ahead.windows(3).any(|end| end == b"] \"")
    })
}

/// Whether a key=value key is a plain word, so that prose with a stray `=` is not taken for pairs.
fn is_key(key: &[u8]) -> bool {
    key.first().is_some_and(|c| c.is_ascii_alphabetic() || *c == b'_')
        && key.iter().all(|c| c.is_ascii_alphanumeric() || b"_-.".contains(c))
}

fn write_pairs<'v>(
    pairs: impl Iterator<Item = (&'v [u8], std::borrow::Cow<'v, [u8]>)>,
    prefix: &str,
    row: &mut RowWriter<'_>,
    name: &mut String,
) {
    for (key, value) in pairs {
        push_named(row, prefix, key, &value, name);
    }
}

/// event.action, categories and types of what Unix programs report.
fn meaning(
    action: Action,
    is_sshd: bool,
) -> (&'static str, &'static [&'static str], &'static [&'static str]) {
    match action {
        Action::Login if is_sshd => ("ssh_login", &["authentication"], &["start"]),
        Action::Login => ("login", &["authentication"], &["start"]),
        Action::SessionOpened => ("session_opened", &["session"], &["start"]),
        Action::SessionClosed => ("session_closed", &["session"], &["end"]),
        Action::Connection => ("connection", &["network"], &["connection"]),
        Action::Disconnect => ("disconnect", &["network"], &["connection", "end"]),
        Action::Command => ("command", &["process"], &["start"]),
        Action::SwitchUser => ("switch_user", &["authentication"], &["start"]),
        Action::Job => ("job", &["process"], &["start"]),
        Action::UserAdded => ("user_added", &["iam"], &["user", "creation"]),
        Action::UserDeleted => ("user_deleted", &["iam"], &["user", "deletion"]),
        Action::UserChanged => ("user_changed", &["iam"], &["user", "change"]),
        Action::PasswordChanged => ("password_changed", &["iam"], &["user", "change"]),
        Action::GroupAdded => ("group_added", &["iam"], &["group", "creation"]),
        Action::GroupDeleted => ("group_deleted", &["iam"], &["group", "deletion"]),
        Action::GroupMemberAdded => ("group_member_added", &["iam"], &["group", "change"]),
        Action::GroupMemberRemoved => ("group_member_removed", &["iam"], &["group", "change"]),
        Action::Service => ("service", &["process"], &["info"]),
    }
}

fn write_auth(event: &AuthEvent<'_>, program: &[u8], ids: &Ids, row: &mut RowWriter<'_>) {
    let (action, categories, types) = meaning(event.action, program.starts_with(b"sshd"));
    row.push(ids.kind, Kind::Str, b"event");
    row.push(ids.action, Kind::Str, action.as_bytes());
    for category in categories {
        row.push(ids.category, Kind::Str, category.as_bytes());
    }
    for kind in types {
        row.push(ids.kind_of, Kind::Str, kind.as_bytes());
    }
    match event.outcome {
        Outcome::Success => row.push(ids.outcome, Kind::Str, b"success"),
        Outcome::Failure => row.push(ids.outcome, Kind::Str, b"failure"),
        Outcome::Unknown => false,
    };
    row.set_weight(event.weight.max(1));
    if let Some(source) = event.source {
        put_address(row, source, ids.source_address, ids.source_ip, ids.source_domain);
    }
    let target = match event.action {
        Action::Command | Action::SwitchUser | Action::SessionOpened => ids.user_effective,
        _ => ids.user_target,
    };
    let texts = [
        (event.user, ids.user_name),
        (event.target_user, target),
        (event.group, ids.group_name),
        (event.uid, ids.user_id),
        (event.method, ids.auth_method),
        (event.fingerprint, ids.auth_fingerprint),
        (event.tty, ids.auth_tty),
        (event.session, ids.auth_session),
        (event.service, ids.auth_service),
        (event.command, ids.process_command),
        (event.cwd, ids.process_cwd),
        (event.reason, ids.reason),
    ];
    for (value, field) in texts {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            let is_user = field == ids.user_name;
            match if is_user { account(value) } else { None } {
                Some((domain, name)) => {
                    row.push(ids.user_domain, Kind::Str, domain);
                    row.push(field, Kind::Str, name)
                }
                None => row.push(field, Kind::Str, value),
            };
        }
    }
    if let Some(port) = event.source_port.filter(|p| p.iter().all(u8::is_ascii_digit)) {
        row.push(ids.source_port, Kind::Int, port);
    }
    if event.invalid_user {
        row.push(ids.auth_invalid, Kind::Bool, b"true");
    }
}

/// `DOMAIN\user`, as winbind and sssd name accounts; sshd writes the backslash twice.
fn account(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b'\\', name).filter(|at| *at > 0)?;
    let user = &name[at + 1..];
    let user = user.strip_prefix(b"\\").unwrap_or(user);
    (!user.is_empty() && !user.contains(&b'\\')).then_some((&name[..at], user))
}

/// An address or a name of a peer: `address` takes it as sent, `ip` or `domain` what it is.
pub(crate) fn put_address(
    row: &mut RowWriter<'_>,
    value: &[u8],
    address: FieldId,
    ip: FieldId,
    domain: FieldId,
) {
    row.push(address, Kind::Str, value);
    match crate::value::address(value) {
        Some(Address::Part(part)) => row.push(ip, Kind::Str, &value[part]),
        Some(Address::Short(short)) => row.push(ip, Kind::Str, short.bytes()),
        None => row.push(domain, Kind::Str, value),
    };
}

fn write_access(a: &access_log::Access<'_>, ids: &Ids, row: &mut RowWriter<'_>) {
    if a.client == b"unix:" {
        row.push(ids.source_address, Kind::Str, a.client);
    } else {
        put_address(row, a.client, ids.source_address, ids.source_ip, ids.source_domain);
    }
    if let Some(port) = a.client_port {
        row.push(ids.source_port, Kind::Int, port);
    }
    if let Some(forwarded) = a.forwarded {
        match crate::value::address(forwarded) {
            Some(Address::Part(part)) => row.push(ids.forwarded_ip, Kind::Str, &forwarded[part]),
            Some(Address::Short(short)) => row.push(ids.forwarded_ip, Kind::Str, short.bytes()),
            None => false,
        };
    }
    let texts = [
        (a.user, ids.user_name),
        (a.method, ids.method),
        (a.target, ids.url),
        (a.referrer, ids.referrer),
        (a.user_agent, ids.agent),
        (a.protocol.and_then(|p| p.strip_prefix(b"HTTP/")), ids.version),
    ];
    for (value, field) in texts {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            row.push(field, Kind::Str, value);
        }
    }
    write_target(a, ids, row);
    for (value, field) in [(a.status, ids.status), (a.size_bytes, ids.body_bytes)] {
        if let Some(value) = value.filter(|v| !v.is_empty() && v.iter().all(u8::is_ascii_digit)) {
            row.push(field, Kind::Int, value);
        }
    }
    if let Some(first) = a.status.and_then(|s| s.first()) {
        let outcome: &[u8] = if *first < b'4' { b"success" } else { b"failure" };
        row.push(ids.outcome, Kind::Str, outcome);
    }
}

/// What was asked for, and of which host. What stands in front of the client is the server's own name for
/// itself and goes before what the client says. Scanners ask for `../../etc/passwd` and `robots.txt`: only
/// what has a scheme or is a tunnel's `name:443` has a host.
fn write_target(a: &access_log::Access<'_>, ids: &Ids, row: &mut RowWriter<'_>) {
    if let Some(host) = a.vhost {
        // `www.example:443`.
        let colon = memchr::memrchr(b':', host)
            .filter(|at| *at + 1 < host.len() && host[at + 1..].iter().all(u8::is_ascii_digit));
        row.push(ids.url_domain, Kind::Str, &host[..colon.unwrap_or(host.len())]);
        if let Some(at) = colon {
            row.push(ids.url_port, Kind::Int, &host[at + 1..]);
        }
    }
    let Some(target) = a.target else {
        if !a.request.is_empty() && a.request != b"-" {
            row.push(ids.url, Kind::Str, a.request);
        }
        return;
    };
    let scheme_end = memchr::memmem::find(target, b"://")
        .filter(|at| *at > 0 && target[..*at].iter().all(u8::is_ascii_alphanumeric));
    let is_tunnel = a.method.is_some_and(|m| m.eq_ignore_ascii_case(b"CONNECT"));
    let path = match (scheme_end, a.vhost) {
        (None, _) if !is_tunnel => target,
        (Some(at), Some(_)) => {
            let rest = &target[at + 3..];
            &rest[rest.iter().position(|c| matches!(c, b'/' | b'?')).unwrap_or(rest.len())..]
        }
        (_, Some(_)) => b"",
        (_, None) => {
            let fields = UrlFields {
                original: ids.url,
                scheme: ids.url_scheme,
                domain: ids.url_domain,
                port: ids.url_port,
                path: ids.path,
                query: ids.query,
            };
            fields.run(target, ids.url, &|_| false, row);
            b""
        }
    };
    let cut = memchr::memchr(b'?', path).unwrap_or(path.len());
    if cut > 0 {
        row.push(ids.path, Kind::Str, &path[..cut]);
    }
    if cut + 1 < path.len() {
        row.push(ids.query, Kind::Str, &path[cut + 1..]);
    }
}

/// A Windows event as Snare, Splunk or WinCollect write it: head, and the data of its rendered message.
fn write_windows_text(text: &[u8], row: &mut RowWriter<'_>, name: &mut String) {
    let Some(head) = windows_text::head(text) else {
        return;
    };
    let parts = [
        ("winlog.channel", Kind::Str, head.channel),
        ("winlog.event_id", Kind::Int, head.event_id),
        ("winlog.provider_name", Kind::Str, head.provider),
        ("winlog.computer_name", Kind::Str, head.computer),
        ("winlog.record_id", Kind::Int, head.record_id),
        ("winlog.time_created_local", Kind::Str, head.time),
        ("winlog.keywords", Kind::Str, head.kind),
        ("winlog.user.name", Kind::Str, head.user),
        ("winlog.message", Kind::Str, head.message),
    ];
    for (field, kind, value) in parts {
        if !value.is_empty() {
            let field = row.field(field);
            row.push(field, kind, value);
        }
    }
    windows_text::data(head.message, |key, value| {
        push_named(row, "winlog.event_data", key.as_bytes(), value, name);
    });
}

/// A line of a Zeek log: by the stream's header, else by what Zeek's own scripts write.
fn write_zeek(line: &[u8], prefix: &str, row: &mut RowWriter<'_>, name: &mut String) {
    if zeek::is_header_line(line) {
        return;
    }
    let mut put = |row: &mut RowWriter<'_>, key: &[u8], kind, value: &[u8]| {
        let kind = match kind {
            zeek::Type::Int => Kind::Int,
            zeek::Type::Float => Kind::Float,
            zeek::Type::Bool => Kind::Bool,
            zeek::Type::Text | zeek::Type::Many => Kind::Str,
        };
        push_kind(row, prefix, key, kind, value, name);
    };
    let text = row.envelope().header.clone();
    if let Some(header) = text.as_deref().and_then(zeek::header) {
        if let Some(log) = header.path {
            put(row, b"_path", zeek::Type::Text, log);
        }
        zeek::values(line, &header, |key, kind, value| put(row, key, kind, value));
    } else if let Some((log, columns)) = zeek::guess(line) {
        put(row, b"_path", zeek::Type::Text, log.as_bytes());
        zeek::guessed_values(line, &columns, |key, kind, value| {
            put(row, key.as_bytes(), kind, value);
        });
    }
}

/// Words in a rule's prefix and what they say was done with the packet.
const VERDICTS: &[(&[u8], &str)] = &[
    (b"BLOCK", "denied"),
    (b"DROP", "denied"),
    (b"DENY", "denied"),
    (b"DENIED", "denied"),
    (b"REJECT", "denied"),
    (b"ALLOW", "allowed"),
    (b"ACCEPT", "allowed"),
];

/// What the last letter of `[RULES-20-D]` says: EdgeOS and UniFi name the set, the rule's number or
/// `default`, then whether it accepts, drops or rejects. The set's name is free text.
fn letter_verdict(upper: &[u8]) -> Option<&'static str> {
    let (rest, letter) = upper.strip_prefix(b"[")?.strip_suffix(b"]")?.split_last_chunk::<2>()?;
    let rule = rest.rsplit(|b| *b == b'-').next()?;
    let numbered = !rule.is_empty() && rule.iter().all(u8::is_ascii_digit);
    if rule.len() == rest.len() || !(numbered || rule == b"DEFAULT") {
        return None;
    }
    match letter {
        b"-A" => Some("allowed"),
        b"-D" | b"-R" => Some("denied"),
        _ => None,
    }
}

fn write_packet(
    packet: &netfilter::Packet<'_>,
    prefix: &str,
    ids: &Ids,
    row: &mut RowWriter<'_>,
    name: &mut String,
) {
    let upper = packet.prefix.to_ascii_uppercase();
    let verdict = letter_verdict(&upper).or_else(|| {
        VERDICTS.iter().find(|v| memchr::memmem::find(&upper, v.0).is_some()).map(|v| v.1)
    });
    if let Some(action) = verdict {
        row.push(ids.action, Kind::Str, action.as_bytes());
        row.push(ids.kind_of, Kind::Str, action.as_bytes());
    }
    if !packet.prefix.is_empty() {
        row.push(ids.netfilter_prefix, Kind::Str, packet.prefix);
    }
    for (key, value) in packet.words() {
        match value {
            Some(value) => push_named(row, prefix, key, value, name),
            None => push_named(row, prefix, b"flags", key, name),
        }
    }
}
