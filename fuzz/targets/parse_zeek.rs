//! Any bytes as a line and as a header of a Zeek log.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(header) = parse::zeek::header(bytes) {
        parse::zeek::values(bytes, &header, |_, _, _| {});
    }
    if let Some((_, columns)) = parse::zeek::guess(bytes) {
        parse::zeek::guessed_values(bytes, &columns, |_, _, _| {});
    }
});
