//! What a VRL program takes for the parse of five packs' samples on one core, beside the pack, as lines
//! of JSON: `cargo run --release -p remap --example vrl_bench`.
//!
//! The programs are as VRL's users write them, with all of its functions, and map a handful of fields;
//! the pack recognises the product among all others, and maps and normalises everything it knows.
//! `vrl_parsed` is how many of the lines the program can take.

use event::{Dictionary, DictionaryBuilder, Envelope, EventBatch, EventId, Protocol, RowHead};
use shape::{PackSet, Scratch, Shaper};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vrl::compiler::runtime::Runtime;
use vrl::compiler::{Program, TargetValue, TimeZone};
use vrl::value::{ObjectMap, Secrets, Value};

/// How long each side of a pack is measured.
const ROUND: Duration = Duration::from_millis(500);

/// Pack and program.
const PROGRAMS: &[(&str, &str)] = &[
    (
        "linux-auth",
        r#"entry = parse_syslog!(.message)
        words = parse_regex(entry.message, r'^(?P<result>Failed|Accepted) (?P<method>\S+) for (?:invalid user )?(?P<user>\S+) from (?P<ip>\S+) port (?P<port>\d+)') ?? {}
        .host = {"hostname": entry.hostname}
        .process = {"name": entry.appname, "pid": entry.procid}
        .user = {"name": words.user}
        .source = {"ip": words.ip, "port": to_int(words.port) ?? null}
        .event = {"action": words.result}"#,
    ),
    (
        "web-access",
        r#"entry = parse_apache_log!(.message, format: "combined")
        .source = {"ip": entry.host}
        .http = {"request": {"method": entry.method}, "response": {"status_code": entry.status}}
        .url = {"path": entry.path}
        .user_agent = {"original": entry.agent}"#,
    ),
    (
        "cef",
        r#"text = string!(.message)
        entry = object!(parse_cef!(slice!(text, find!(text, "CEF:"))))
        .cef = entry
        .source = {"ip": entry.src, "port": to_int(entry.spt) ?? null}
        .destination = {"ip": entry.dst, "port": to_int(entry.dpt) ?? null}
        .event = {"code": entry.deviceEventClassId, "action": entry.act}"#,
    ),
    (
        "fortinet-fortigate",
        r#"entry = object!(parse_key_value!(replace(string!(.message), r'^<\d+>', "")))
        .fortinet = entry
        .source = {"ip": entry.srcip, "port": to_int(entry.srcport) ?? null}
        .destination = {"ip": entry.dstip, "port": to_int(entry.dstport) ?? null}
        .event = {"action": entry.action}"#,
    ),
    (
        "suricata",
        r#"entry = object!(parse_json!(.message))
        .suricata = entry
        .source = {"ip": entry.src_ip, "port": entry.src_port}
        .destination = {"ip": entry.dest_ip, "port": entry.dest_port}
        .event = {"action": entry.event_type}"#,
    ),
];

fn main() {
    let Ok(set) = PackSet::builtin() else { return println!("the built-in packs are wrong") };
    let mut names = DictionaryBuilder::new();
    set.register(&mut names);
    let dict = names.build();
    let (tables, settings) = Default::default();
    let shaper = Shaper::new(Arc::new(set), dict.clone(), tables, settings);
    let functions = vrl::stdlib::all();
    for (pack, source) in PROGRAMS {
        let lines = records(pack);
        let program = match vrl::compiler::compile(source, &functions) {
            Ok(compiled) => compiled.program,
            Err(wrong) => {
                println!("{pack}: {}", vrl::diagnostic::Formatter::new(source, wrong));
                continue;
            }
        };
        let parsed = lines.iter().filter(|line| remap(&program, line).is_some()).count();
        let vrl_ns = per_event(&lines, |line| {
            std::hint::black_box(remap(&program, line));
        });
        let mut own = Own::new(&shaper, &dict);
        let own_ns = per_event(&lines, |line| own.shape(line));
        println!(
            "{{\"pack\":\"{pack}\",\"lines\":{},\"vrl_parsed\":{parsed},\"vrl_ns_per_event\":{vrl_ns:.0},\
             \"pack_ns_per_event\":{own_ns:.0}}}",
            lines.len()
        );
    }
}

/// The event that the program makes of a line; nothing if it fails.
fn remap(program: &Program, line: &[u8]) -> Option<Value> {
    let value = Value::Object(ObjectMap::from([("message".into(), Value::from(line))]));
    let metadata = Value::Object(ObjectMap::new());
    let mut target = TargetValue { value, metadata, secrets: Secrets::new() };
    let zone = TimeZone::parse("UTC").unwrap_or_default();
    Runtime::default().resolve(&mut target, program, &zone).ok()?;
    Some(target.value)
}

fn per_event(lines: &[Vec<u8>], mut each: impl FnMut(&[u8])) -> f64 {
    let (mut events, start) = (0usize, Instant::now());
    while start.elapsed() < ROUND {
        lines.iter().for_each(|line| each(line));
        events += lines.len();
    }
    start.elapsed().as_nanos() as f64 / events.max(1) as f64
}

/// The pack's side: rows of a batch, which is started afresh as the feeder does.
struct Own<'s> {
    shaper: &'s Shaper,
    batch: EventBatch,
    scratch: Scratch,
    envelope: Arc<Envelope>,
}

impl<'s> Own<'s> {
    fn new(shaper: &'s Shaper, dict: &Arc<Dictionary>) -> Self {
        let envelope = Arc::new(Envelope::of("bench", Protocol::File));
        let batch = EventBatch::new(dict.clone());
        Self { shaper, batch, scratch: Scratch::default(), envelope }
    }

    fn shape(&mut self, line: &[u8]) {
        if self.batch.len() >= 1_024 {
            self.batch = EventBatch::new(self.batch.dict().clone());
        }
        let head = RowHead {
            id: EventId::at(0),
            received_ns: shape::testing::RECEIVED_NS,
            stream_ns: 0,
            envelope: self.envelope.clone(),
        };
        self.shaper.shape(head, line, &mut self.batch, &mut self.scratch);
    }
}

/// The lines of a pack's samples.
fn records(pack: &str) -> Vec<Vec<u8>> {
    let packs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs");
    shape::testing::lines(&packs.join(pack)).unwrap_or_default()
}
