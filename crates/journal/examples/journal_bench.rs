//! How fast appends become durable, beside the bare disk: one JSON line per figure.
//!
//! `cargo run --release -p journal --example journal_bench -- [seconds per case] [folder]`
//!
//! Every record counts only when its batch was acknowledged, which is after its fdatasync.

use event::{Envelope, Protocol, RawBatch};
use journal::{Journal, Options, OsClock, OsFs};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// A usual syslog line, and a usual structured event.
const RECORD_BYTES: [usize; 2] = [300, 1000];
/// A lone sender, a few relays, many hosts.
const APPENDERS: [usize; 3] = [1, 8, 64];
/// Records of a small batch: what a relay has at hand when it sends.
const BATCH_RECORDS: usize = 100;
/// Arena of a full batch; with what the format adds it stays within one group.
const BATCH_BYTES: usize = 1_000_000;
/// Full batches under way, so that the writer always has the next one.
const WINDOW: usize = 8;
/// A full commit group, and the file it goes round in.
const DISK_WRITE: (usize, u64) = (1 << 20, 64);

fn main() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().collect();
    if let [_, what, dir] = &args[..]
        && what == FILL_AND_DIE
    {
        return fill_and_die(Path::new(dir));
    }
    let seconds: f64 = args.get(1).map_or(Ok(5.0), |a| a.parse())?;
    let dir = args.get(2).cloned().unwrap_or_else(|| "journal-bench".into());
    let (dir, time) = (Path::new(&dir), Duration::from_secs_f64(seconds));
    std::fs::create_dir_all(dir)?;
    disk(&dir.join("disk"), time)?;
    for record_bytes in RECORD_BYTES {
        throughput(&dir.join("full"), record_bytes, time)?;
        for appenders in APPENDERS {
            latency(&dir.join("small"), record_bytes, appenders, time)?;
        }
    }
    restart(&dir.join("restart"))?;
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

fn figure(name: &str, value: f64, unit: &str) {
    println!(r#"{{"bench":"journal","name":"{name}","value":{value:.4},"unit":"{unit}"}}"#);
}

/// Whole groups written over a file whose blocks exist, each synced: what no journal can beat.
fn disk(path: &Path, time: Duration) -> Result<(), Failed> {
    let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
    let group = vec![b'x'; DISK_WRITE.0];
    for n in 0..DISK_WRITE.1 {
        file.write_all_at(&group, n * DISK_WRITE.0 as u64)?;
    }
    file.sync_all()?;
    let (mut took, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < time {
        let start = Instant::now();
        file.write_all_at(&group, took.len() as u64 % DISK_WRITE.1 * DISK_WRITE.0 as u64)?;
        file.sync_data()?;
        took.push(start.elapsed());
    }
    let rate = (took.len() * DISK_WRITE.0) as f64 / begun.elapsed().as_secs_f64() / 1e6;
    figure("disk_1mib_rate", rate, "MB/s");
    percentiles("disk_1mib", &mut took);
    std::fs::remove_file(path)?;
    Ok(())
}

fn percentiles(name: &str, took: &mut [Duration]) {
    took.sort_unstable();
    for (label, of_1000) in [("p50", 500), ("p99", 990)] {
        if let Some(one) = took.get((took.len() * of_1000 / 1000).min(took.len() - 1)) {
            figure(&format!("{name}_{label}"), one.as_secs_f64() * 1e3, "ms");
        }
    }
}

fn open(dir: &Path) -> Result<Journal, Failed> {
    let _ = std::fs::remove_dir_all(dir);
    let options = Options { disk_reserve_bytes: 0, spares: 2, ..Options::default() };
    let (journal, _) = Journal::open(dir, options, Arc::new(OsFs), Arc::new(OsClock))?;
    journal.set_cursor("bench", 0)?;
    Ok(journal)
}

fn batch(source: &str, record_bytes: usize, records: usize) -> RawBatch {
    let mut batch = RawBatch::of(Arc::new(Envelope::of(source, Protocol::Http)));
    let line: Vec<u8> = (0..record_bytes).map(|i| b'a' + (i % 26) as u8).collect();
    for n in 0..records {
        batch.push(1_795_000_000_000_000_000 + n as i64, &line);
    }
    batch
}

/// CPU seconds of this process so far, user and system.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: Vec<f64> = stat
        .rsplit(") ")
        .next()
        .unwrap_or("")
        .split(' ')
        .map(|n| n.parse().unwrap_or(0.0))
        .collect();
    // Fields 14 and 15 of the file, in hundredths.
    (ticks.get(11).unwrap_or(&0.0) + ticks.get(12).unwrap_or(&0.0)) / 100.0
}

/// Keeps the folder small: what was written may go, its files come round again.
fn retire_while(journal: &Journal, stop: &AtomicBool) {
    while !stop.load(SeqCst) {
        if let Some(durable) = journal.durable() {
            let moved = journal.set_cursor("bench", durable).and_then(|()| journal.retire());
            moved.expect("retiring");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Full batches, a window of them under way: the rate.
fn throughput(dir: &Path, record_bytes: usize, time: Duration) -> Result<(), Failed> {
    let journal = open(dir)?;
    let appender = journal.appender();
    let full = batch("bench", record_bytes, BATCH_BYTES / record_bytes);
    let (back, landed) = std::sync::mpsc::channel();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<(), Failed> {
        scope.spawn(|| retire_while(&journal, &stop));
        let run = |time: Duration| -> Result<(u64, Duration), Failed> {
            for _ in 0..WINDOW {
                back.send(())?;
            }
            let (begun, mut sent) = (Instant::now(), 0);
            while begun.elapsed() < time {
                landed.recv()?;
                let back = back.clone();
                appender.append(full.clone(), move |result| {
                    result.expect("durable");
                    let _ = back.send(());
                })?;
                sent += 1;
            }
            for _ in 0..WINDOW {
                landed.recv()?;
            }
            Ok((sent, begun.elapsed()))
        };
        // Until the files are there to be recycled.
        run(time / 4)?;
        let (cpu, before) = (cpu_s(), journal.stats());
        let (batches, took) = run(time)?;
        let (cpu, after) = (cpu_s() - cpu, journal.stats());
        stop.store(true, SeqCst);
        let records = batches as f64 * full.records.len() as f64;
        let name = |part: &str| format!("{record_bytes}b_full_{part}");
        figure(&name("rate"), records / took.as_secs_f64(), "records/s");
        let bytes = records * record_bytes as f64;
        figure(&name("bytes"), bytes / took.as_secs_f64() / 1e6, "MB/s");
        figure(&name("cpu"), cpu / records * 1e6, "CPU s/million");
        let groups = (after.groups - before.groups) as f64;
        figure(&name("group"), (after.group_bytes - before.group_bytes) as f64 / groups, "bytes");
        let syncs = (after.syncs - before.syncs) as f64;
        let sync_ns = (after.sync_ns_sum - before.sync_ns_sum) as f64;
        figure(&name("sync_mean"), sync_ns / syncs / 1e6, "ms");
        Ok(())
    })?;
    journal.close()?;
    Ok(())
}

/// Small batches, each appender waits for its ack before the next: the latency.
fn latency(
    dir: &Path,
    record_bytes: usize,
    appenders: usize,
    time: Duration,
) -> Result<(), Failed> {
    let journal = open(dir)?;
    let stop = AtomicBool::new(false);
    let (cpu, begun) = (cpu_s(), Instant::now());
    let mut took = std::thread::scope(|scope| {
        scope.spawn(|| retire_while(&journal, &stop));
        let one = |number: usize| {
            let appender = journal.appender();
            let small = batch(&format!("bench-{number}"), record_bytes, BATCH_RECORDS);
            let mut took = Vec::new();
            while begun.elapsed() < time {
                let one = small.clone();
                let start = Instant::now();
                appender.append_wait(one).expect("durable");
                took.push(start.elapsed());
            }
            took
        };
        let threads: Vec<_> = (0..appenders).map(|n| scope.spawn(move || one(n))).collect();
        let all: Vec<Duration> =
            threads.into_iter().flat_map(|t| t.join().expect("an appender")).collect();
        stop.store(true, SeqCst);
        all
    });
    let records = (took.len() * BATCH_RECORDS) as f64;
    let name = format!("{record_bytes}b_x{appenders}");
    figure(&format!("{name}_rate"), records / begun.elapsed().as_secs_f64(), "records/s");
    figure(&format!("{name}_cpu"), (cpu_s() - cpu) / records * 1e6, "CPU s/million");
    percentiles(&format!("{name}_ack"), &mut took);
    let stats = journal.stats();
    figure(&format!("{name}_sync_mean"), stats.sync_ns_sum as f64 / stats.syncs as f64 / 1e6, "ms");
    journal.close()?;
    Ok(())
}

/// What a process of this program is told to do by its first argument: fill the folder of the second, and
/// die.
const FILL_AND_DIE: &str = "--fill-and-die";

/// 1 GiB that nobody reads; then the process is gone, with nothing closed.
fn fill_and_die(dir: &Path) -> Result<(), Failed> {
    let journal = open(dir)?;
    let full = batch("bench", 300, BATCH_BYTES / 300);
    for _ in 0..1074 {
        journal.appender().append_wait(full.clone())?;
    }
    std::process::abort();
}

/// A process that has 1 GiB that nobody has read dies: how long until records are taken again.
fn restart(dir: &Path) -> Result<(), Failed> {
    let own = std::env::current_exe()?;
    for (name, forget) in [("restart", false), ("restart_without_snapshot", true)] {
        let status = std::process::Command::new(&own).arg(FILL_AND_DIE).arg(dir).status()?;
        // An error of its own would be a code, and little in the folder.
        if let Some(code) = status.code() {
            return Err(format!("the process that fills the journal ended with {code}").into());
        }
        if forget {
            let _ = std::fs::remove_file(dir.join("senders.snap"));
        }
        let options = Options { disk_reserve_bytes: 0, ..Options::default() };
        let start = Instant::now();
        let (journal, recovery) = Journal::open(dir, options, Arc::new(OsFs), Arc::new(OsClock))?;
        let opened = start.elapsed();
        journal.appender().append_wait(batch("bench", 300, 1))?;
        assert!(recovery.holes.is_empty() && !recovery.clean, "{recovery:?}");
        figure(&format!("{name}_open"), opened.as_secs_f64() * 1e3, "ms");
        figure(&format!("{name}_first_ack"), start.elapsed().as_secs_f64() * 1e3, "ms");
        journal.close()?;
        std::fs::remove_dir_all(dir)?;
    }
    Ok(())
}
