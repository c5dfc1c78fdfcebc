//! Any bytes as a body for the event collector: what comes of an event is one object with it inside.
#![no_main]

use io::hec::{Events, RawLine};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut record = Vec::new();
    for event in Events::new(bytes) {
        match event {
            Ok(event) => {
                for one in event.records() {
                    one.write(&mut record);
                    // Another reader than ours judges.
                    assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&record).is_ok());
                }
            }
            Err(wrong) => assert!(!wrong.bytes.is_empty()),
        }
    }
    RawLine::new([("host", "h")]).write(bytes, &mut record);
    assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&record).is_ok());
});
