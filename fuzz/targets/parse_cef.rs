//! Any bytes as CEF.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(cef) = parse::cef::parse(bytes) {
        let pairs: Vec<_> = cef.pairs().collect();
        let _ = parse::cef::label_of(&pairs, b"cs1");
    }
});
