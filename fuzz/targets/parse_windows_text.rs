//! Any bytes as a Windows event in text.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let heads = [parse::windows_text::snare(bytes), parse::windows_text::splunk(bytes)];
    for head in heads.into_iter().flatten() {
        parse::windows_text::data(head.message, |_, _| {});
    }
    parse::windows_text::data(bytes, |_, _| {});
    parse::windows::named_data(bytes, |_, _| {});
});
