//! A disk without a byte left, around a ledger.

use super::{fired, make_alert, open_journal};
use event::Level;
use ledger::Ledger;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Scenario: somebody else fills the file system of the index to the last byte, before a start and while
/// it is open; in the end there is space again.
/// Guarantees: the ledger opens, alerts are recorded and found, and so again after the space came back and
/// went.
#[test]
fn the_index_has_space_on_a_full_disk() {
    let mount = tempfile::tempdir().unwrap();
    let tmpfs = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=40m", "tmpfs"])
        .arg(mount.path())
        .output();
    if !tmpfs.is_ok_and(|out| out.status.success()) {
        println!("skipped: mounting is not allowed here");
        return;
    }
    let told = std::panic::catch_unwind(|| fill_and_go_on(mount.path()));
    let _ = Command::new("umount").arg("-l").arg(mount.path()).status();
    if let Err(panic) = told {
        std::panic::resume_unwind(panic);
    }
}

fn fill_and_go_on(index: &Path) {
    let stream = tempfile::tempdir().unwrap();
    let ballast = index.join("ballast");
    let mut count = 0;
    for round in 0..2 {
        // While it is open.
        let ledger = Ledger::open(index, open_journal(stream.path())).unwrap();
        add(&ledger, &mut count, 20);
        wait_for_room(&ledger, index, &mut count);
        fill(&ballast);
        add(&ledger, &mut count, 300);
        drop(ledger);
        std::fs::remove_file(&ballast).unwrap();
        // Before a start: a clean close leaves neither a log nor shared memory.
        let ledger = Ledger::open(index, open_journal(stream.path())).unwrap();
        wait_for_room(&ledger, index, &mut count);
        drop(ledger);
        fill(&ballast);
        let ledger = Ledger::open(index, open_journal(stream.path())).unwrap();
        add(&ledger, &mut count, 20);
        drop(ledger);
        std::fs::remove_file(&ballast).unwrap();
        println!("round {round}: {count} alerts");
    }
}

/// Submits so many alerts, one by one, and finds the last.
fn add(ledger: &Ledger, count: &mut u64, more: u64) {
    for _ in 0..more {
        *count += 1;
        let alert = make_alert(*count, Level::High, "web1");
        ledger.submit(vec![fired(&alert)], 1).unwrap();
        assert!(ledger.alert(&alert.id).unwrap().is_some(), "alert {count}");
    }
}

/// The journal looks at the space once a second.
fn wait_for_room(ledger: &Ledger, index: &Path, count: &mut u64) {
    let until = Instant::now() + Duration::from_secs(20);
    while !std::fs::metadata(index.join("room")).is_ok_and(|file| file.len() == 16 << 20) {
        assert!(Instant::now() < until, "no space is kept");
        std::thread::sleep(Duration::from_millis(50));
        add(ledger, count, 1);
    }
}

/// Fills the file system to its last byte.
fn fill(ballast: &Path) {
    let mut file = std::fs::File::create(ballast).unwrap();
    for piece in [1 << 20, 4096, 1] {
        while file.write_all(&vec![1; piece]).is_ok() {}
    }
}
