//! All SigmaHQ rules against streams of events.

use crate::Options;
use crate::corpus::{self, Stream};
use crate::cpu::{resident_mib, timed};
use crate::ours::{Ours, Worker};
use crate::report::{figure, rounded, tell};
use crate::rsigma::{self, Rsigma};
use ::detect::load_paths;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Events in one batch, as the feeder cuts them.
const BATCH_ROWS: usize = 1_024;
/// Rules told by cost.
const TOLD_RULES: usize = 12;

/// Runs the comparison.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let Some(folders) = corpus::rules()? else {
        tell("skipped: no corpus");
        return Ok(());
    };
    let before = resident_mib();
    let started = Instant::now();
    let (cpu_s, ours) = timed(|| Ours::load(&folders));
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
    let streams = corpus::streams(options.scale, options.only.as_deref())?;
    let rival = if options.rival {
        let before = resident_mib();
        let (cpu_s, rival) = timed(|| Rsigma::load(&folders));
        tell(&format!("{}: {cpu_s:.2} s, {:.0} MiB", rsigma::NAME, resident_mib() - before));
        Some(rival?)
    } else {
        None
    };
    for stream in &streams {
        one(stream, &ours, rival.as_ref())?;
        two_threads(stream, &ours);
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
    range: std::ops::Range<usize>,
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
    let mut worker = Worker::default();
    let (mut train_s, mut theirs_s, mut exact_rows) = (0.0, 0.0, 0);
    let (mut own, mut other) = (BTreeMap::new(), BTreeMap::new());
    let (shape_s, match_s) = work(stream, 0..stream.len(), ours, &mut worker, |worker, events| {
        // What a thread in the background does: its CPU time is told apart.
        if ours.rules.wants_training() {
            train_s += timed(|| ours.rules.retrain()).0;
        }
        exact_rows += ours.check_one_row(worker)?;
        for found in &worker.matches {
            *own.entry(ours.rules.rule(found.rule).id.to_string()).or_insert(0u64) += 1;
        }
        if let Some(rival) = rival {
            let mut found = Vec::new();
            theirs_s += timed(|| rival.run(events, &mut found)).0;
            for (_, rule) in found {
                *other.entry(rule).or_insert(0u64) += 1;
            }
        }
        Ok(())
    })?;
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
    tell_costs(ours);
    Ok(())
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

/// Both cores at once, against one: what sharing the rules costs.
fn two_threads(stream: &Stream, ours: &Ours) {
    let half = stream.len() / 2;
    let run = |range: std::ops::Range<usize>| {
        let mut worker = Worker::default();
        let used = work(stream, range, ours, &mut worker, |_, _| Ok(()));
        used.map_or(0.0, |(shape_s, match_s)| shape_s + match_s)
    };
    let one_s = run(0..half) + run(half..2 * half);
    let both_s: f64 = std::thread::scope(|scope| {
        let threads = [0..half, half..2 * half].map(|range| scope.spawn(move || run(range)));
        threads.into_iter().map(|t| t.join().unwrap_or(f64::NAN)).sum()
    });
    figure(
        &format!("{}_two_threads", stream.name),
        one_s / both_s,
        "efficiency",
        &[("events/s", rounded(2.0 * 2.0 * half as f64 / both_s).into())],
    );
}
