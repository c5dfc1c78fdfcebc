//! Any bytes as a time.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(stamp) = parse::timestamp::parse(bytes) {
        let _ = stamp.resolve(1_795_479_240_000_000_000, 3600);
    }
});
