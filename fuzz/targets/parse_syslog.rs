//! Any bytes as syslog.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let strict = parse::syslog::rfc5424(bytes);
    let _ = strict.structured_data.iter().count();
    if let Ok(header) = parse::syslog::header(bytes) {
        let _ = header.structured_data.iter().count();
    }
});
