//! Any bytes as a body of records.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = parse::records::looks_like(bytes);
    let _ = parse::records::split_json(bytes).count();
    let _ = parse::records::split_lines(bytes, true).count();
});
