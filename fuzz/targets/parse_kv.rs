//! Any bytes as pairs.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for pair_separator in [b' ', b',', b';'] {
        let options = parse::kv::KvOptions { pair_separator, value_separator: b'=' };
        let _ = parse::kv::pairs(bytes, &options).count();
    }
});
