//! All SigmaHQ rules against streams of events.

use crate::Options;
use crate::corpus::{self, Stream};
use crate::cpu::{resident_mib, timed};
use crate::ours::{Ours, Worker};
use crate::report::{figure, rounded, tell};
use crate::rsigma::{self, Rsigma};
use ::detect::correlate::{Engine, Hit, Settings};
use ::detect::load_paths;
use shape::PackSet;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Instant;

/// Most events in one batch, as the feeder cuts them.
const BATCH_ROWS: usize = 256;
/// Batches that one side does before it is the other's turn: enough that what a turn finds cold (caches,
/// memory that the allocator gave back meanwhile) is a small part of it, as in a stream that does not stop.
const BATCHES_PER_TURN: usize = 32;
/// Batches of hits that wait for the one thread that correlates.
const WAITING_MAX: usize = 64;
/// How often two threads are measured against one.
const TURNS: usize = 5;
/// Rules told by cost.
const TOLD_RULES: usize = 12;

/// Runs the comparison.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let Some(folders) = corpus::rules()? else {
        tell("skipped: no corpus");
        return Ok(());
    };
    let packs = Arc::new(PackSet::builtin().map_err(|e| e.to_string())?);
    let before = resident_mib();
    let started = Instant::now();
    let (cpu_s, ours) = timed(|| Ours::load(&packs, &folders));
    let ours = ours?;
    figure(
        "load",
        started.elapsed().as_secs_f64(),
        "s",
        &[
            ("cpu_s", rounded(cpu_s).into()),
            ("rules", ours.rules.rules().len().into()),
            ("resident_mib", rounded(resident_mib() - before).into()),
        ],
    );
    one_rule(&ours)?;
    // As the server does: what events are new in kind is then worked out in the background.
    let (warm_s, ()) = timed(|| ours.rules.warm());
    figure("warm", warm_s, "s", &[("resident_mib", rounded(resident_mib() - before).into())]);
    let streams = corpus::streams(options.scale, options.only.as_deref())?;
    let rival = if options.rival {
        let before = resident_mib();
        let (cpu_s, rival) = timed(|| Rsigma::load(&folders));
        tell(&format!("{}: {cpu_s:.2} s, {:.0} MiB", rsigma::NAME, resident_mib() - before));
        Some(rival?)
    } else {
        None
    };
    // Our own rules hold the correlations: SigmaHQ has none.
    let with_own: Vec<_> =
        folders.iter().cloned().chain([corpus::project().join("rules")]).collect();
    let correlating = Ours::load(&packs, &with_own)?;
    correlating.rules.warm();
    for stream in &streams {
        one(stream, &ours, rival.as_ref())?;
        two_threads(stream, &correlating)?;
    }
    let before = resident_mib();
    tell(&format!("{:?}, {before:.0} MiB resident", ours.rules.matcher_stats()));
    Ok(())
}

/// How long it takes until a rule that was added, then edited, is in force: its file is read, and
/// the set of all rules updated. All other files are known not to have changed.
fn one_rule(ours: &Ours) -> Result<(), String> {
    let extra = corpus::scratch_folder("one_rule")?;
    let others = ours.rules.rules().to_vec();
    let mut set = ours.rules.update(others.clone(), ours.rules.dict());
    for (name, text) in [("rule_added", "whoami"), ("rule_edited", "whoami /all")] {
        let rule = format!(
            "title: t\nid: bench\nlogsource: {{product: windows, category: process_creation}}\n\
             detection: {{s: {{CommandLine|contains: '{text}'}}, condition: s}}\n"
        );
        let file = extra.join("rule.yml");
        std::fs::write(&file, rule).map_err(|e| e.to_string())?;
        let started = Instant::now();
        let (cpu_s, changed) = timed(|| {
            let mut rules = others.clone();
            rules.extend(load_paths(std::slice::from_ref(&file)).0.into_iter().map(Arc::new));
            set.update(rules, set.dict())
        });
        let wall_ms = started.elapsed().as_secs_f64() * 1e3;
        if changed.find("bench").is_none() || changed.matcher_stats().added != 1 {
            return Err(format!("{name}: the rule is not in force"));
        }
        figure(name, cpu_s * 1e3, "ms", &[("wall_ms", rounded(wall_ms).into())]);
        set = changed;
    }
    std::fs::remove_dir_all(extra).map_err(|e| e.to_string())
}

/// Shapes and matches events `from..to`; CPU seconds of both. `see` is given every batch.
fn work(
    stream: &Stream,
    range: Range<usize>,
    ours: &Ours,
    worker: &mut Worker,
    mut see: impl FnMut(&mut Worker, &[&[u8]]) -> Result<(), String>,
) -> Result<(f64, f64), String> {
    let (mut shape_s, mut match_s) = (0.0, 0.0);
    let mut from = range.start;
    while from < range.end {
        let to = (from + BATCH_ROWS).min(range.end);
        let events = stream.events(from..to);
        shape_s += timed(|| ours.shape(&events, worker)).0;
        match_s += timed(|| ours.matches(worker)).0;
        see(worker, &events)?;
        from = to;
    }
    Ok((shape_s, match_s))
}

fn one(stream: &Stream, ours: &Ours, rival: Option<&Rsigma>) -> Result<(), String> {
    let (mut worker, mut checking) = (Worker::default(), Worker::default());
    let (mut train_s, mut theirs_s, mut exact_rows) = (0.0, 0.0, 0);
    let (mut own, mut other) = (BTreeMap::new(), BTreeMap::new());
    let (mut shape_s, mut match_s) = (0.0, 0.0);
    let turn_rows = BATCH_ROWS * BATCHES_PER_TURN;
    let theirs = |turn: &Range<usize>, other: &mut BTreeMap<String, u64>| {
        let Some(rival) = rival else { return 0.0 };
        let mut seconds = 0.0;
        for batch in turn.clone().step_by(BATCH_ROWS) {
            let events = stream.events(batch..(batch + BATCH_ROWS).min(turn.end));
            let mut found = Vec::new();
            seconds += timed(|| rival.run(&events, &mut found)).0;
            for (_, rule) in found {
                *other.entry(rule).or_insert(0u64) += 1;
            }
        }
        seconds
    };
    for (number, from) in (0..stream.len()).step_by(turn_rows).enumerate() {
        let turn = from..(from + turn_rows).min(stream.len());
        // Who comes second finds the events in the caches: each does, every other turn.
        let is_theirs_first = number % 2 == 1;
        if is_theirs_first {
            theirs_s += theirs(&turn, &mut other);
        }
        let (shape, matching) = work(stream, turn.clone(), ours, &mut worker, |worker, _| {
            // What a thread in the background does: its CPU time is told apart.
            if ours.rules.wants_training() {
                train_s += timed(|| ours.rules.retrain()).0;
            }
            for found in &worker.matches {
                *own.entry(ours.rules.rule(found.rule).id.to_string()).or_insert(0u64) += 1;
            }
            Ok(())
        })?;
        (shape_s, match_s) = (shape_s + shape, match_s + matching);
        if !is_theirs_first {
            theirs_s += theirs(&turn, &mut other);
        }
        // In a pass of its own: asking all rules about one row one by one leaves nothing of a turn in the
        // caches, which the other side's turns are spared.
        work(stream, turn, ours, &mut checking, |worker, _| {
            exact_rows += ours.check_one_row(worker)?;
            Ok(())
        })?;
    }
    let events = stream.len() as f64;
    let (rate, theirs) = (events / (shape_s + match_s), events / theirs_s);
    let per_event_ns = |seconds: f64| rounded(seconds / events * 1e9).into();
    let mut more = vec![
        ("events", stream.len().into()),
        ("mean_bytes", stream.mean_bytes().into()),
        ("shape_ns", per_event_ns(shape_s)),
        ("match_ns", per_event_ns(match_s)),
        ("train_s", rounded(train_s).into()),
        ("matches", own.values().sum::<u64>().into()),
        ("rows_checked", exact_rows.into()),
    ];
    if rival.is_some() {
        let only = |a: &BTreeMap<String, u64>, b: &BTreeMap<String, u64>| -> u64 {
            a.iter().map(|(k, n)| n.saturating_sub(b.get(k).copied().unwrap_or(0))).sum()
        };
        more.extend([
            ("peer", rsigma::NAME.into()),
            ("peer_value", rounded(theirs).into()),
            ("ratio", rounded(rate / theirs).into()),
            ("peer_matches", other.values().sum::<u64>().into()),
            ("ours_only", only(&own, &other).into()),
            ("peer_only", only(&other, &own).into()),
        ]);
    }
    figure(&stream.name, rate, "events/s per core", &more);
    if rival.is_some() {
        tell_only(rsigma::NAME, &other, &own, ours);
        tell_only("ours", &own, &other, ours);
    }
    tell_costs(ours);
    Ok(())
}

/// The rules that one side matches more often, most first.
fn tell_only(side: &str, a: &BTreeMap<String, u64>, b: &BTreeMap<String, u64>, ours: &Ours) {
    let more = |(id, n): (&String, &u64)| {
        let extra = n.saturating_sub(b.get(id).copied().unwrap_or(0));
        let rule = ours.rules.find(id).map(|r| ours.rules.rule(r));
        let title = rule.map_or_else(|| id.clone(), |r| format!("{} ({:?})", r.title, r.logsource));
        (extra, title)
    };
    let mut all: Vec<_> = a.iter().map(more).filter(|(extra, _)| *extra > 0).collect();
    all.sort_by(|x, y| y.cmp(x));
    for (extra, title) in all.iter().take(TOLD_RULES) {
        tell(&format!("  only {side}: {extra:7}  {title}"));
    }
}

/// The most expensive rules, for whoever tunes the matcher.
fn tell_costs(ours: &Ours) {
    let costs = ours.rules.costs();
    let sum = |of: fn(&::detect::RuleCost) -> u64| costs.iter().map(of).sum::<u64>();
    tell(&format!(
        "candidates {}, matched {}, work {}",
        sum(|c| c.candidates),
        sum(|c| c.matched),
        sum(|c| c.work)
    ));
    for cost in costs.iter().take(TOLD_RULES) {
        let mut witness = cost.witness.join(" | ");
        witness.truncate(witness.floor_char_boundary(100));
        let title = &ours.rules.rule(cost.rule).title;
        let (candidates, matched, work) = (cost.candidates, cost.matched, cost.work);
        tell(&format!(
            "  {work:9} work {candidates:8} candidates {matched:7} matched  {title}: {witness}"
        ));
    }
}

/// Two workers and the thread that correlates on both cores at once, against all of it on one
/// thread: what sharing costs. The workers take batches in turn.
fn two_threads(stream: &Stream, ours: &Ours) -> Result<(), String> {
    let batches: Vec<Range<usize>> =
        (0..stream.len() / BATCH_ROWS).map(|n| n * BATCH_ROWS..(n + 1) * BATCH_ROWS).collect();
    // What is learned of the traffic is learned before: both runs find the same.
    some(stream, &batches, ours, |_| ())?;
    ours.rules.retrain();
    // The middle one: both cores are seldom ours alone for long.
    let mut turns = Vec::new();
    for _ in 0..TURNS {
        turns.push((alone(stream, &batches, ours)?, together(stream, &batches, ours)?));
    }
    turns.sort_by(|a, b| (a.0.total_s / a.1).total_cmp(&(b.0.total_s / b.1)));
    let (one, both_s) = &turns[TURNS / 2];
    let events = (batches.len() * BATCH_ROWS) as f64;
    let more = [
        ("machine", rounded(machine_efficiency()).into()),
        ("events/s", rounded(2.0 * events / both_s).into()),
        ("hits", one.hits.into()),
        ("firings", one.firings.into()),
        ("correlate_ns", rounded(one.correlate_s / events * 1e9).into()),
    ];
    figure(&format!("{}_two_threads", stream.name), one.total_s / both_s, "efficiency", &more);
    Ok(())
}

/// What one thread needs for all of it, CPU seconds, and what came of it.
#[derive(Default)]
struct Alone {
    total_s: f64,
    correlate_s: f64,
    hits: usize,
    firings: usize,
}

fn alone(stream: &Stream, batches: &[Range<usize>], ours: &Ours) -> Result<Alone, String> {
    let mut engine = Engine::new(ours.specs.clone(), Settings::default());
    let mut out = Alone::default();
    let work_s = some(stream, batches, ours, |found| {
        out.hits += found.len();
        let (cpu_s, fired) = timed(|| correlate(&mut engine, &found));
        out.correlate_s += cpu_s;
        out.firings += fired;
    })?;
    out.total_s = work_s + out.correlate_s;
    Ok(out)
}

/// What this machine's two cores keep of their speed when both are busy with arithmetic that shares
/// nothing: below 1 where they are two threads of one core. No program's efficiency can be expected to be
/// much higher.
fn machine_efficiency() -> f64 {
    const STEPS: u64 = 400_000_000;
    let busy = || {
        let mut state = [1u64, 2, 3, 4];
        timed(|| {
            for step in 0..STEPS {
                for word in &mut state {
                    *word = word.wrapping_mul(5).wrapping_add(std::hint::black_box(step));
                }
            }
            std::hint::black_box(state);
        })
        .0
    };
    let alone_s = busy();
    let together_s = std::thread::scope(|scope| {
        let other = scope.spawn(busy);
        let own_s = busy();
        own_s + other.join().unwrap_or(own_s)
    });
    2.0 * alone_s / together_s
}

/// CPU seconds of all three threads.
fn together(stream: &Stream, batches: &[Range<usize>], ours: &Ours) -> Result<f64, String> {
    let (send, receive) = mpsc::sync_channel::<Vec<Hit>>(WAITING_MAX);
    std::thread::scope(|scope| {
        let workers = [0, 1].map(|turn| {
            let send = send.clone();
            let own: Vec<_> = batches.iter().skip(turn).step_by(2).cloned().collect();
            scope.spawn(move || {
                let closed = "the thread that correlates has ended";
                some(stream, &own, ours, |hits| send.send(hits).expect(closed))
            })
        });
        drop(send);
        let mut engine = Engine::new(ours.specs.clone(), Settings::default());
        let mut total_s = 0.0;
        for hits in receive {
            total_s += timed(|| correlate(&mut engine, &hits)).0;
        }
        for worker in workers {
            total_s += worker.join().map_err(|_| "a worker panicked".to_owned())??;
        }
        Ok(total_s)
    })
}

/// CPU seconds of shaping, matching and reading out hits for some batches.
fn some(
    stream: &Stream,
    batches: &[Range<usize>],
    ours: &Ours,
    mut take: impl FnMut(Vec<Hit>),
) -> Result<f64, String> {
    let mut worker = Worker::default();
    let mut total_s = 0.0;
    // A thread of a stream that does not stop has its memory, and has seen values before.
    for range in batches.iter().take(BATCHES_PER_TURN) {
        work(stream, range.clone(), ours, &mut worker, |_, _| Ok(()))?;
    }
    for range in batches {
        let (shape_s, match_s) = work(stream, range.clone(), ours, &mut worker, |worker, _| {
            let (cpu_s, hits) = timed(|| ours.hits(worker));
            total_s += cpu_s;
            take(hits);
            Ok(())
        })?;
        total_s += shape_s + match_s;
    }
    Ok(total_s)
}

/// How many firings a batch of hits gives.
fn correlate(engine: &mut Engine, hits: &[Hit]) -> usize {
    let mut out = Vec::new();
    let now = hits.iter().map(|h| h.event_ns).max().unwrap_or_default();
    engine.process(hits, now, &mut out);
    out.len()
}
