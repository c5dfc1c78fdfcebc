//! Any bytes as a line of an access log.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = parse::access_log::parse(bytes);
});
