//! R2: many lives of a journal on a disk that fails and loses, each decided by a seed.

use std::time::{Duration, Instant};
use testkit::journal_sim::{Disk, Summary, run};

/// Seeds of the default run; `ALCEDO_SIM_SEEDS` sets another number, `ALCEDO_SIM_SEED` one seed, and
/// `ALCEDO_SIM_FROM` where a long run goes on that ended before all seeds were lived.
const SEEDS_DEFAULT: u64 = 250;

/// Lives in which a promise was broken once: they are lived in every run.
const ONCE_BROKEN: [u64; 2] = [374, 1_854];

/// A slow machine ends the default run here, with what it has; `ALCEDO_SIM_S` sets another time for
/// a run of any number of seeds.
const DEFAULT_WAIT_S: u64 = 20;

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn lives(disk: Disk, share: u64) -> Summary {
    let mut all = Summary::default();
    let one = |seed: u64| match run(seed, disk) {
        Ok(summary) => summary,
        Err(broken) => {
            panic!("seed {seed} ({disk:?}): {broken}\nALCEDO_SIM_SEED={seed} repeats it")
        }
    };
    if let Some(seed) = env("ALCEDO_SIM_SEED") {
        return one(seed);
    }
    let seeds = env("ALCEDO_SIM_SEEDS");
    let wait = env("ALCEDO_SIM_S").or(seeds.is_none().then_some(DEFAULT_WAIT_S));
    let begun = Instant::now();
    let mut lived = 0;
    let from = env("ALCEDO_SIM_FROM").unwrap_or(0);
    let upto = seeds.unwrap_or(SEEDS_DEFAULT) / share;
    assert!(
        from < upto,
        "ALCEDO_SIM_FROM is {from}, and the {disk:?} disk has {upto} seeds: set ALCEDO_SIM_SEEDS"
    );
    for seed in ONCE_BROKEN.into_iter().chain(from..upto) {
        all.add(&one(seed));
        lived += 1;
        if wait.is_some_and(|wait| begun.elapsed() > Duration::from_secs(wait)) {
            break;
        }
    }
    println!(
        "{lived} seeds from {from}, {disk:?} disk: {all:?}, {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    all
}

/// Scenario: senders append, number, repeat; syncs, writes and space fail; the machine dies at any
/// call, also while recovering, and any subset of what was not synced survives.
/// Guarantees: see `testkit::journal_sim`; 0 violations.
#[test]
fn sim_an_honest_disk_loses_nothing_acknowledged() {
    let met = lives(Disk::Honest, 1);
    if env("ALCEDO_SIM_SEED").is_none() {
        assert!(met.acked > 1000 && met.failed > 0 && met.crashes > 10, "{met:?}");
        assert!(met.crashes_in_recovery > 0 && met.torn_bytes > 0, "{met:?}");
        assert!(met.repeats > 0 && met.retired > 0 && met.holes == 0, "{met:?}");
    }
}

/// Scenario: as above, and now and then a write goes nowhere or to another place.
/// Guarantees: what is missing is told; what is read is right.
#[test]
fn sim_a_lying_disk_is_found_out() {
    let met = lives(Disk::Lying, 4);
    if env("ALCEDO_SIM_SEED").is_none() {
        assert!(met.holes > 0, "{met:?}");
    }
}
