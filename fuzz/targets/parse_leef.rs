//! Any bytes as LEEF.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(leef) = parse::leef::parse(bytes) {
        let _ = leef.pairs().count();
    }
});
