//! Any bytes as a line and as a header of a W3C or VPC flow log.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    use parse::columns::{Family, Layout};
    for family in [Family::W3c, Family::VpcFlow] {
        let layouts = [Layout::of_header(bytes, family), Layout::guess(bytes, family)];
        for layout in layouts.into_iter().flatten() {
            layout.values(bytes, |_, _| {});
        }
    }
});
