//! Any bytes as a body for the event collector: what comes of an event is one object with it inside.
#![no_main]

use io::hec::{Events, RawLine};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut record = Vec::new();
    for event in Events::new(bytes).flatten() {
        event.write(&mut record);
        assert_eq!(parse::json::value_end(&record, 0), Ok(record.len()));
        assert!(parse::json::members(&record, 0).all(|member| member.is_ok()));
    }
    if let Some(around) = RawLine::new([("host", "h")]) {
        around.write(bytes, &mut record);
        assert_eq!(parse::json::value_end(&record, 0), Ok(record.len()));
    }
});
