//! Any bytes as a body for the event collector: what comes of an event is one object with it inside.
#![no_main]

use io::hec::{Events, RawLine};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut record = Vec::new();
    for event in Events::new(bytes).flatten() {
        event.write(&mut record);
        // Another reader than ours judges.
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&record).is_ok());
    }
    if let Some(around) = RawLine::new([("host", "h")]) {
        around.write(bytes, &mut record);
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&record).is_ok());
    }
});
