//! Any bytes as a logged packet.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(packet) = parse::netfilter::parse(bytes) {
        let _ = packet.words().count();
    }
});
