//! Any bytes as an audit record.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = parse::auditd::parse(bytes) {
        let _ = record.pairs().count();
    }
});
