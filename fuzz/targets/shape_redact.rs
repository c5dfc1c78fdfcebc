//! Any bytes as a record under redaction: no panic, one row or more; a name beside any text goes, and stays gone.
#![no_main]

use event::{Dictionary, DictionaryBuilder, Envelope, EventBatch, EventId, Protocol, RowHead};
use libfuzzer_sys::fuzz_target;
use shape::{PackSet, Redaction, Scratch, Settings, Shaper};
use std::cell::RefCell;
use std::sync::Arc;

const RULES: &str = "rules:
  - { name: people, fields: [user.name, source.ip, host.name], own_fields: [who], as: pseudonym, everywhere: true }
  - { name: secrets, secrets: [passwords, tokens, keys, cards], as: pseudonym }
  - { name: badges, matches: ['badge=(\\d+)'], as: pseudonym }
";

thread_local! {
    static SHAPER: RefCell<(Shaper, Arc<Dictionary>, Scratch)> = RefCell::new(shaper());
}

fn shaper() -> (Shaper, Arc<Dictionary>, Scratch) {
    let dir = tempfile::tempdir().expect("a folder for the rules");
    let path = dir.path().join("redact.yaml");
    std::fs::write(&path, RULES).expect("the rules");
    let packs = PackSet::builtin().expect("the built-in packs");
    let mut names = DictionaryBuilder::new();
    packs.register(&mut names);
    let rules = Redaction::load(&path, &[7; 16], &names.build()).expect("the rules are right");
    let mut names = DictionaryBuilder::new();
    packs.register(&mut names);
    rules.register(&mut names);
    let dict = names.build();
    let settings = Settings { redaction: Some(Arc::new(rules)), ..Settings::default() };
    let shaper = Shaper::new(Arc::new(packs), dict.clone(), Default::default(), Arc::new(settings));
    (shaper, dict, Scratch::default())
}

/// The rows that a record becomes: value of the field `who`, record.
fn shaped(raw: &[u8]) -> Vec<(Option<String>, Vec<u8>)> {
    SHAPER.with_borrow_mut(|(shaper, dict, scratch)| {
        let mut batch = EventBatch::new(dict.clone());
        let envelope = Arc::new(Envelope::of("fuzz", Protocol::File));
        let head = RowHead { id: EventId::at(0), received_ns: 0, stream_ns: 0, envelope };
        shaper.shape_whole(head, raw, &mut batch, scratch);
        let who = batch.id("who");
        let rows = (0..batch.len()).map(|row| {
            let row = batch.row(row);
            let value = who.and_then(|who| row.get(who)).map(|value| value.text().into_owned());
            (value, row.raw().to_vec())
        });
        rows.collect()
    })
}

fuzz_target!(|bytes: &[u8]| {
    assert!(!shaped(bytes).is_empty());
    // The same bytes as text beside a name that has to go, for good.
    let text: String = String::from_utf8_lossy(bytes)
        .chars()
        .filter(|c| !c.is_control() && !matches!(c, '"' | '\\'))
        .collect();
    let once = shaped(format!(r#"{{"who":"quillon","text":"{text}"}}"#).as_bytes());
    let [(Some(who), record)] = &once[..] else { panic!("one row with its field: {once:?}") };
    assert!(who.starts_with("anon-"), "{who}");
    assert_eq!(shaped(record), once);
});
