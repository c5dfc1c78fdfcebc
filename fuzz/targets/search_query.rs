//! Any text as a query: a plan or an error that points into the text.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = filter::search::parse(text, 0) {
        assert!(error.column >= 1 && error.column <= text.chars().count() + 1);
    }
});
