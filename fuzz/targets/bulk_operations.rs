//! Any bytes as a body of `_bulk`: what comes of a document is one object.
#![no_main]

use io::bulk::Operations;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut record = Vec::new();
    for operation in Operations::new(bytes, Some("i")).flatten() {
        if let Ok(document) = operation.document {
            operation.write(document, &mut record);
            // Another reader than ours judges.
            assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&record).is_ok());
        }
    }
});
