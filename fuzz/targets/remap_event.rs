//! Any bytes as an event of a pack whose programs call what takes text apart: no panic, one row.
#![no_main]

use event::{DictionaryBuilder, Envelope, EventBatch, EventId, Protocol, RowHead};
use libfuzzer_sys::fuzz_target;
use shape::{PackSet, Scratch, Shaper};
use std::cell::RefCell;
use std::sync::Arc;

/// Each becomes a step; `text` is the message.
const CALLS: &[&str] = &[
    "parse_json(text) ?? null",
    "parse_key_value(text) ?? null",
    "parse_cef(text) ?? null",
    "parse_csv(text) ?? null",
    "parse_apache_log(text, \"combined\") ?? null",
    "parse_url(text) ?? null",
    "parse_yaml(text) ?? null",
    "parse_cbor(text) ?? null",
    "parse_influxdb(text) ?? null",
    "parse_user_agent(text)",
    "parse_timestamp(text, \"%+\") ?? null",
    "decode_base64(text) ?? null",
    "flatten(.)",
];

thread_local! {
    static SHAPER: RefCell<(Shaper, Arc<event::Dictionary>, Scratch)> = RefCell::new(shaper());
}

fn shaper() -> (Shaper, Arc<event::Dictionary>, Scratch) {
    let dir = tempfile::tempdir().expect("a folder for the pack");
    let mut text = String::from(
        "pack: fuzz\ntitle: Any bytes\nformat: [https://example.com]\nparser: text\nprefix: fuzz\nsteps:\n",
    );
    for (number, call) in CALLS.iter().enumerate() {
        text += "  - vrl: |\n      text = string(.message) ?? \"\"\n";
        text += &format!("      .fuzz.c{number} = {call}\n");
    }
    std::fs::create_dir(dir.path().join("fuzz")).expect("the pack's folder");
    std::fs::write(dir.path().join("fuzz/pack.yaml"), text).expect("the pack");
    let set = PackSet::load_with(dir.path(), Some(remap::compiler())).expect("a sound pack");
    let mut names = DictionaryBuilder::new();
    set.register(&mut names);
    let dict = names.build();
    let shaper = Shaper::new(Arc::new(set), dict.clone(), Default::default(), Default::default());
    (shaper, dict, Scratch::default())
}

fuzz_target!(|bytes: &[u8]| {
    SHAPER.with_borrow_mut(|(shaper, dict, scratch)| {
        let mut batch = EventBatch::new(dict.clone());
        let envelope = Envelope { pack: "fuzz".into(), ..Envelope::of("fuzz", Protocol::File) };
        let head =
            RowHead { id: EventId::at(0), received_ns: 0, stream_ns: 0, envelope: Arc::new(envelope) };
        shaper.shape_whole(head, bytes, &mut batch, scratch);
        // An envelope of one event is that event.
        assert!(batch.len() == 1 && batch.row(0).raw().len() <= bytes.len());
    });
});
