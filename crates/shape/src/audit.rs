//! One audit event from all its records.
//!
//! ```text
//! SYSCALL ... exe="/usr/bin/id" key="exec"  \                auditd.type [SYSCALL, EXECVE, CWD, PATH]
//! EXECVE  argc=2 a0="id" a1=2D75             |  what each says under the product's names, and what
//! CWD     cwd="/root"                        |  only several together say: process.args and
//! PATH    item=0 name="id" nametype=NORMAL  /   command_line, file.path (made absolute by cwd)
//! ```
//! A record that came alone is an event of one record.

use crate::native::Ids;
use crate::program::push_named;
use event::{Kind, RowWriter};
use parse::ParseError;
use parse::auditd::{self, Record, Socket};
use parse::timestamp::Stamp;

/// Writes the records of `text` (one a line). Out: the event's time.
///
/// # Errors
/// The first line is no audit record.
pub(crate) fn write(
    text: &[u8],
    prefix: &str,
    ids: &Ids,
    row: &mut RowWriter<'_>,
    name: &mut String,
) -> Result<Option<Stamp>, ParseError> {
    let first_len = memchr::memchr(b'\n', text).unwrap_or(text.len());
    let line = &text[..first_len];
    let found = auditd::find(line).map(|found| found.1);
    let first = match found.or_else(|| auditd::forwarded(line)) {
        Some(first) => first,
        None => auditd::parse(line)?,
    };
    if !first.serial.is_empty() {
        row.push(ids.audit_serial, Kind::Str, first.serial);
    }
    if let Some(node) = first.node {
        row.push(ids.host_hostname, Kind::Str, node);
    }
    let mut command = Command::default();
    let mut file = File::default();
    let rest = auditd::records(&text[first_len..]);
    let from = row.cell_count();
    for record in std::iter::once(first).chain(rest) {
        push_once(ids, row, from, record.name());
        let is_interpreted = record.is_interpreted();
        for (key, value) in record.pairs() {
            // Names are what auditd adds in capitals to the numbers.
            let is_name = is_interpreted
                && RESOLVED.contains(&key)
                && value.first().is_some_and(|c| !c.is_ascii_digit());
            if is_name {
                push_named(row, prefix, &key.to_ascii_uppercase(), &value, name);
            }
            if !is_name || matches!(key, b"syscall" | b"arch") {
                push_named(row, prefix, key, &value, name);
            }
        }
        match record.name() {
            b"EXECVE" => command.take(&record, ids, row),
            b"CWD" | b"PATH" => file.take(&record),
            b"SOCKADDR" => write_socket(&record, ids, row),
            b"SYSCALL" => write_call(&record, prefix, row, name),
            _ => {}
        }
    }
    command.finish(ids, row);
    file.finish(ids, row);
    Ok((!first.stamp.is_empty()).then_some(first.time))
}

/// Keys of numbers that auditd resolves to names.
const RESOLVED: &[&[u8]] = &[
    b"arch", b"syscall", b"auid", b"uid", b"gid", b"euid", b"egid", b"suid", b"sgid", b"fsuid",
    b"fsgid", b"ouid", b"ogid", b"id",
];

/// A kind of record is named once, however many of it there are.
fn push_once(ids: &Ids, row: &mut RowWriter<'_>, from: usize, kind: &[u8]) {
    let known = (from..row.cell_count())
        .any(|at| row.cell(at).0 == ids.audit_type && row.cell(at).1.bytes == kind);
    if !known {
        row.push(ids.audit_type, Kind::Str, kind);
    }
}

/// The arguments of a program, which long ones and many of them spread over pieces and records:
/// `a1_len=9000 a1[0]=... a1[1]=...`.
#[derive(Default)]
struct Command {
    line: Vec<u8>,
    argument: Vec<u8>,
    number: Option<u32>,
}

impl Command {
    fn take(&mut self, record: &Record<'_>, ids: &Ids, row: &mut RowWriter<'_>) {
        for (key, value) in record.pairs() {
            let Some(number) = argument_number(key) else { continue };
            if self.number.is_some_and(|before| before != number) {
                self.end_argument(ids, row);
            }
            self.number = Some(number);
            self.argument.extend_from_slice(&value);
        }
    }

    fn end_argument(&mut self, ids: &Ids, row: &mut RowWriter<'_>) {
        if self.number.take().is_some() {
            row.push(ids.process_args, Kind::Str, &self.argument);
            if !self.line.is_empty() {
                self.line.push(b' ');
            }
            self.line.append(&mut self.argument);
        }
    }

    fn finish(mut self, ids: &Ids, row: &mut RowWriter<'_>) {
        self.end_argument(ids, row);
        if !self.line.is_empty() {
            row.push(ids.process_command, Kind::Str, &self.line);
        }
    }
}

/// `a12` and `a12[3]` are of argument 12; `a12_len` is of none.
fn argument_number(key: &[u8]) -> Option<u32> {
    let digits = key.strip_prefix(b"a")?;
    let len = digits.iter().position(|c| !c.is_ascii_digit()).unwrap_or(digits.len());
    if !matches!(digits.get(len), None | Some(b'[')) {
        return None;
    }
    std::str::from_utf8(&digits[..len]).ok()?.parse().ok()
}

/// The file an event is about: the first that is not the folder it is in.
#[derive(Default)]
struct File {
    cwd: Vec<u8>,
    path: Vec<u8>,
    is_folder: bool,
}

impl File {
    fn take(&mut self, record: &Record<'_>) {
        let (mut path, mut is_folder) = (None, false);
        for (key, value) in record.pairs() {
            match key {
                b"cwd" => self.cwd = value.into_owned(),
                b"name" if !auditd::is_unset(&value) => path = Some(value),
                b"nametype" => is_folder = *value == *b"PARENT",
                _ => {}
            }
        }
        let better = self.path.is_empty() || (self.is_folder && !is_folder);
        if let Some(path) = path.filter(|_| better) {
            (self.path, self.is_folder) = (path.into_owned(), is_folder);
        }
    }

    fn finish(mut self, ids: &Ids, row: &mut RowWriter<'_>) {
        if self.path.is_empty() {
            return;
        }
        if !self.path.starts_with(b"/") && self.cwd.starts_with(b"/") {
            let tail = self.path.strip_prefix(b"./").unwrap_or(&self.path);
            if self.cwd.last() != Some(&b'/') {
                self.cwd.push(b'/');
            }
            self.cwd.extend_from_slice(tail);
            self.path = self.cwd;
        }
        row.push(ids.file_path, Kind::Str, &self.path);
    }
}

/// The call's name where the record has its number only: rules ask for names.
fn write_call(record: &Record<'_>, prefix: &str, row: &mut RowWriter<'_>, name: &mut String) {
    let value = |wanted: &[u8]| record.pairs().find(|(key, _)| *key == wanted).map(|(_, v)| v);
    if value(b"SYSCALL").is_some() {
        return;
    }
    let (arch, number) =
        (value(b"arch").unwrap_or_default(), value(b"syscall").unwrap_or_default());
    if let Some(call) = auditd::call_name(&arch, &number) {
        push_named(row, prefix, b"SYSCALL", call.as_bytes(), name);
    }
}

fn write_socket(record: &Record<'_>, ids: &Ids, row: &mut RowWriter<'_>) {
    let saddr = record.pairs().find(|(key, _)| *key == b"saddr");
    match saddr.and_then(|(_, value)| auditd::socket(&value)) {
        Some(Socket::Net(ip, port)) => {
            row.push(ids.destination_ip, Kind::Str, ip.to_canonical().to_string().as_bytes());
            row.push(ids.destination_port, Kind::Int, port.to_string().as_bytes());
        }
        Some(Socket::Local(path)) if path.starts_with(b"/") => {
            row.push(ids.file_path, Kind::Str, &path);
        }
        _ => {}
    }
}
