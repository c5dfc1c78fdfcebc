//! Events and plans to test with.

use event::{
    Dictionary, DictionaryBuilder, Envelope, EventBatch, EventId, Kind, Marks, Protocol, RowHead,
};
use filter::{CompareOp, Node, Number, Operand, Plan, Target, Test, TextOp};
use std::ops::ControlFlow;
use std::sync::Arc;
use store::{Row, SearchRequest, SearchSummary, Store};

pub(crate) const HOUR_NS: i64 = 3_600_000_000_000;
/// 2026-11-24T02:00:00Z.
pub(crate) const START_NS: i64 = 1_795_485_600_000_000_000;

pub(crate) fn dictionary() -> Arc<Dictionary> {
    let mut b = DictionaryBuilder::new();
    b.alias("Image", "process.executable");
    b.alias("Image", "process.name");
    b.alias("src_ip", "source.ip");
    let hot = b.field("user.name");
    b.hot(hot);
    b.build()
}

/// One row: offset, event time and cells.
pub(crate) fn push(
    batch: &mut EventBatch,
    offset: u64,
    at_ns: i64,
    raw: &[u8],
    cells: &[(&str, Kind, &[u8])],
) {
    let envelope = Arc::new(Envelope {
        peer: if offset.is_multiple_of(3) { "".into() } else { "192.0.2.1".into() },
        ..Envelope::of(if offset.is_multiple_of(2) { "web" } else { "ssh" }, Protocol::Http)
    });
    let received_ns = START_NS + offset as i64;
    let head = RowHead { id: EventId::at(offset), received_ns, stream_ns: received_ns, envelope };
    let mut row = batch.begin(head, raw);
    row.set_event_ns(at_ns);
    for (name, kind, bytes) in cells {
        let id = row.field(name);
        row.push(id, *kind, bytes);
    }
    row.finish();
}

/// Log-ins: user u0..u4 from 10.0.0.x, one a second from `START_NS`.
pub(crate) fn logins(offsets: std::ops::Range<u64>) -> Arc<EventBatch> {
    let mut batch = EventBatch::new(dictionary());
    for n in offsets {
        let (user, ip) = (format!("u{}", n % 5), format!("10.0.0.{}", n % 7));
        let (bytes, raw) = ((n * 10).to_string(), format!("login {n} of {user} from {ip}"));
        let cells: [(&str, Kind, &[u8]); 3] = [
            ("user.name", Kind::Str, user.as_bytes()),
            ("source.ip", Kind::Str, ip.as_bytes()),
            ("source.bytes", Kind::Int, bytes.as_bytes()),
        ];
        push(&mut batch, n, START_NS + n as i64 * 1_000_000_000, raw.as_bytes(), &cells);
    }
    Arc::new(batch)
}

pub(crate) fn request(text: &str) -> SearchRequest {
    let query = filter::search::parse(text, START_NS).unwrap();
    SearchRequest { limit: 100_000, ..SearchRequest::new(query, dictionary()) }
}

pub(crate) fn rows(store: &Store, request: &SearchRequest) -> (Vec<Row>, SearchSummary) {
    let mut rows = Vec::new();
    let summary = store
        .search(request, &mut |row| {
            rows.push(row);
            ControlFlow::Continue(())
        })
        .unwrap();
    (rows, summary)
}

pub(crate) fn ids(store: &Store, request: &SearchRequest) -> Vec<u64> {
    rows(store, request).0.iter().map(|row| row.id.unwrap().offset).collect()
}

pub(crate) fn json(store: &Store, text: &str) -> Vec<String> {
    rows(store, &request(text)).0.into_iter().map(|row| row.json).collect()
}

/// A small generator: the same numbers for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    pub(crate) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

const NAMES: &[&str] = &[
    "user.name",
    "source.ip",
    "Image",
    "process.executable",
    "process.name",
    "src_ip",
    "x.only.here",
    "source.bytes",
    "alcedo.offset",
    "alcedo.residual",
    "event.original",
    "@timestamp",
    "",
];
const VALUES: &[&[u8]] = &[
    b"",
    b"a",
    b"A",
    b"root",
    b"C:\\Windows\\cmd.EXE",
    b"10.0.0.1",
    b"::ffff:10.0.0.2",
    b"4624",
    b"-5",
    b"4.5",
    b"true",
    "Äö\u{212a}".as_bytes(),
    b"\xff\x00raw",
    b"2026-11-24T02:00:00Z",
    b"quote\" \\ and\nline",
    b"from 10.0.0.77 port 22",
    b"mimikatz64.exe",
    b"Failed password for root",
    b"::ffff:a00:1",
];
const READ: &[&str] = &[
    // Objects: only fields below them have values.
    "x",
    "process",
    "x.only",
    "event.original",
    "@timestamp",
    "alcedo.source",
    "log.source.address",
    "event.id",
    "event.count",
];

pub(crate) fn random_batch(random: &mut Random, offsets: std::ops::Range<u64>) -> Arc<EventBatch> {
    let kinds = [Kind::Str, Kind::Str, Kind::Str, Kind::Int, Kind::Null, Kind::Bool, Kind::Float];
    let mut batch = EventBatch::new(dictionary());
    for n in offsets {
        let mut cells: Vec<(&str, Kind, &[u8])> = Vec::new();
        for _ in 0..random.below(8) {
            let kind = random.pick(&kinds);
            let value = if kind == Kind::Null { b"" } else { random.pick(VALUES) };
            cells.push((random.pick(NAMES), kind, value));
        }
        let at = START_NS + random.below(100) as i64 * 1_000_000_000;
        let raw = match random.below(3) {
            0 => [random.pick(VALUES), b" ", random.pick(VALUES)].concat(),
            // What cells say, as senders write it: these records are kept as templates.
            1 => as_json(at, &cells).into_bytes(),
            _ => {
                let mut raw = b"<13>Nov 24 host app: ".to_vec();
                for (_, _, bytes) in &cells {
                    raw.extend_from_slice(bytes);
                    raw.push(b' ');
                }
                raw
            }
        };
        push(&mut batch, n, at, &raw, &cells);
        if random.below(10) == 0 {
            batch.mark(batch.len() - 1, random.pick(&[Marks::DROPPED, Marks::MATCHED]));
        }
    }
    Arc::new(batch)
}

fn as_json(at_ns: i64, cells: &[(&str, Kind, &[u8])]) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut out = format!("{{\"@timestamp\":{}", quoted(&event::time::rfc3339(at_ns)));
    for (name, kind, bytes) in cells {
        let text = String::from_utf8_lossy(bytes);
        let value = if *kind == Kind::Str { quoted(&text) } else { text.into_owned() };
        out.push_str(&format!(",{}:{value}", quoted(name)));
    }
    out.push('}');
    out
}

fn random_test(random: &mut Random) -> Test {
    let ops = [TextOp::Equals, TextOp::Equals, TextOp::Prefix, TextOp::Suffix, TextOp::Contains];
    let compares = [CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge, CompareOp::Eq];
    let op = random.pick(&ops);
    let cased = random.below(3) == 0;
    let word = |random: &mut Random| {
        let words =
            ["mimikatz", "10.0.0.77", "root", "0.0.7", "exe", "password for", "ffff", "02:00"];
        random.pick(&words)
    };
    match random.below(14) {
        12 => Test::text(op, word(random), cased),
        13 => {
            let word = word(random).replace('.', "\\.");
            let regex = regex::bytes::Regex::new(&format!("(?i){word}|[xq]uote")).unwrap();
            Test::Regex { shown: word.into(), regex: regex.into(), by_character: false }
        }
        0 => Test::Exists,
        1 => Test::Null,
        2 => Test::Cidr("10.0.0.0/30".parse().unwrap()),
        3 => {
            let operand = Operand::Number(random.pick(&[Number::Int(4), Number::Float(4.5)]));
            Test::Compare { op: random.pick(&compares), operand }
        }
        4 => {
            let operand = Operand::Time(START_NS + 50_000_000_000);
            Test::Compare { op: random.pick(&compares), operand }
        }
        5 => {
            let all: Vec<&str> = NAMES.iter().chain(READ).copied().collect();
            Test::Field { op, other: (random.pick(&all)).into(), cased }
        }
        6 => filter::text_test(
            &[filter::Part::Text("c".into()), filter::Part::Any, filter::Part::Text(".exe".into())],
            cased,
        )
        .unwrap(),
        _ => {
            let text = String::from_utf8_lossy(random.pick(VALUES)).into_owned();
            let end = text.char_indices().nth(4).map_or(text.len(), |(at, _)| at);
            let whole = random.below(2) == 0;
            Test::text(op, if whole { &text } else { &text[..end] }, cased)
        }
    }
}

pub(crate) fn random_plan(random: &mut Random, depth: u32) -> Plan {
    if depth == 0 || random.below(3) == 0 {
        let all: Vec<&str> = NAMES.iter().chain(READ).copied().collect();
        let target = match random.below(4) {
            0 => Target::Keyword,
            _ => Target::Field((random.pick(&all)).into()),
        };
        return Plan::leaf(target, random_test(random));
    }
    let mut parts = || -> Vec<Plan> {
        (0..2 + random.below(2)).map(|_| random_plan(random, depth - 1)).collect()
    };
    let parts = parts();
    match random.below(5) {
        0 | 1 => Plan::and(parts),
        2 => Plan::or(parts),
        3 => Plan::combine(parts, |p| Node::AtLeast(2, p)),
        _ => Plan::and(parts).not(),
    }
}

/// Events whose fields get columns of every type; one value in a hundred is of another type.
pub(crate) fn typed_batch(random: &mut Random, offsets: std::ops::Range<u64>) -> Arc<EventBatch> {
    let users = ["root", "Root", "admin", "ADM\\svc_backup", "Äda", "o'neil", "u\u{212a}", "-"];
    let ips =
        ["10.0.0.3", "10.0.0.77", "::ffff:10.0.0.5", "2001:db8::1", "2001:DB8:0:0::2", "10.0.0"];
    let mut batch = EventBatch::new(dictionary());
    for n in offsets {
        let odd = random.below(200) == 0;
        let at = START_NS + random.below(3_600) as i64 * 1_000_000_000;
        let port = if odd { "http".into() } else { random.below(70_000).to_string() };
        let score = format!("{}.{}", random.below(20), 1 + random.below(9));
        let size = if random.below(300) == 0 { "007".into() } else { random.below(50).to_string() };
        let created = event::time::rfc3339(START_NS - random.below(9_000) as i64 * 1_000_000_000);
        let created = if odd { "yesterday".into() } else { created };
        let flag = random.pick(&["true", "false", "true", "true"]);
        let path =
            random.pick(&["C:\\Windows\\cmd.EXE", "c:\\tools\\Mimikatz64.exe", "/bin/sh", ""]);
        let user = random.pick(&users);
        let message = format!("Failed password for {user} from {} port {port}", random.pick(&ips));
        let port_kind = if odd { Kind::Str } else { Kind::Int };
        let mut cells: Vec<(&str, Kind, &[u8])> = vec![
            ("source.port", port_kind, port.as_bytes()),
            ("app.score", Kind::Float, score.as_bytes()),
            ("file.size", Kind::Str, size.as_bytes()),
            ("file.created", Kind::Str, created.as_bytes()),
            ("app.flag", Kind::Bool, flag.as_bytes()),
            ("process.executable", Kind::Str, path.as_bytes()),
            ("source.ip", Kind::Str, random.pick(&ips).as_bytes()),
            ("message", Kind::Str, message.as_bytes()),
            ("user.name", Kind::Str, user.as_bytes()),
        ];
        // Lists, missing fields, nulls, rare names.
        for _ in 0..random.below(3) {
            cells.push(("user.name", Kind::Str, random.pick(&users).as_bytes()));
        }
        for _ in 0..random.below(4) {
            cells.swap_remove(random.below(cells.len() as u64) as usize);
        }
        if odd {
            cells.push(("x.rare", Kind::Null, b""));
            cells.push(("x.rarer", Kind::Str, b"Value One"));
        }
        push(&mut batch, n, at, message.as_bytes(), &cells);
    }
    Arc::new(batch)
}

/// Searches as people write them: every form of the language.
const SEARCHES: &[&str] = &[
    "source.port:443",
    "source.port:\"8080\"",
    "source.port>=1024",
    "source.port<4e4",
    "source.port:[100 to 30000]",
    "source.port:12*",
    "source.port:*",
    "source.port:http",
    "source.port:?00?",
    "app.score>4.5",
    "app.score:7.3",
    "app.score<=0.9",
    "app.score:1?.*",
    "file.size>7",
    "file.size:7",
    "file.size:007",
    "file.created>=2026-11-24T00:00:00Z",
    "file.created:2026-11-23*",
    "file.created:yesterday",
    "app.flag:true",
    "app.flag:TRUE",
    "app.flag:(false or x)",
    "source.ip:10.0.0.0/29",
    "source.ip:10.0.0.0/8",
    "source.ip:2001:db8::/32",
    "source.ip:10.0.0.7?",
    "source.ip:2001:db8::2",
    "src_ip:10.0.0.3",
    "user.name:root",
    "user.name:(root or adm*)",
    "user.name:*svc_*",
    "user.name:ä*",
    "user.name:uk",
    "user.name:/^r.*t$/",
    "user.name:/^R/",
    "user.name:/(?i)ADM/",
    "user.name:*",
    "Image:*\\cmd.exe",
    "Image:*mimikatz*",
    "process.executable:\"\"",
    "Image:c:*",
    "message:password",
    "message:\"password for\"",
    "message:*ssword fo*",
    "message:10.0.0.77",
    "event.original:\"port 4\"",
    "mimikatz",
    "failed",
    "\"from 10.0.0\"",
    "/port [1-3]\\d\\d /",
    "/PASSWORD FOR (root|admin)/i",
    "x.rare:*",
    "x.rarer:\"value one\"",
    "x.none:1",
    "@timestamp>=2026-11-24T02:30:00Z",
    "@timestamp:[2026-11-24T02:10:00Z to 2026-11-24T02:20:00Z]",
    "alcedo.source:web",
    "event.id:0-1*",
    "port",
    "o'neil",
];

pub(crate) fn random_search(random: &mut Random, depth: u32) -> String {
    if depth == 0 || random.below(4) == 0 {
        return random.pick(SEARCHES).into();
    }
    let (a, b) = (random_search(random, depth - 1), random_search(random, depth - 1));
    match random.below(5) {
        0 | 1 => format!("({a}) and ({b})"),
        2 => format!("({a}) or ({b})"),
        3 => format!("not ({a})"),
        _ => format!("({a}) and not ({b})"),
    }
}
