//! A segment file of any content: checking and dumping it ends without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(dir) = tempfile::tempdir() else { return };
    if std::fs::write(dir.path().join("00000000000000000000.wal"), data).is_err() {
        return;
    }
    let _ = journal::inspect::fsck(dir.path(), &mut |_| ());
    let _ = journal::inspect::dump(dir.path(), 0, u64::MAX, |_| {});
});
