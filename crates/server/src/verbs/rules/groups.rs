//! `alcedo rules explain` for a correlation: its groups in a file, what they have and what they lack.

use super::super::{complain, output, say};
use crate::cli::{Global, Output};
use crate::exit::{Exit, Failure, Outcome};
use crate::files::{CountedBytes, Trouble, chunks};
use detect::Scratch;
use detect::correlate::explain::{GroupReport, report};
use detect::correlate::{Extractor, Hit, KeyHasher, SpecSet, Target};
use event::{Envelope, EventBatch, EventId, Protocol, RowHead, text, time};
use pipeline::Generation;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;

/// Most groups that are shown; the closest ones come first.
const GROUPS_MAX: usize = 1_000;

/// The records of a file as one correlation sees them.
struct Seen {
    hits: Vec<Hit>,
    /// Matches of rules that the correlation builds on.
    matches: u64,
    /// Those without one of the fields that it groups by or counts: they take no part.
    left_out: u64,
}

/// Explains correlation number `rule` over all records of `path`. Ends with 1 when it does not fire.
pub(super) fn run(generation: &Generation, rule: u32, path: &Path, global: &Global) -> Outcome {
    let wrong = |e| Failure::invalid(e, "`alcedo rules check` shows it");
    let specs = SpecSet::telling(&generation.rules, rule).map_err(wrong)?;
    let seen = look(generation, &specs, path)?;
    let Seen { hits, matches, left_out } = seen;
    if left_out > 0 {
        let fields = fields_of(&specs, rule).join(", ");
        complain(&format!(
            "{left_out} of {matches} matches lack one of {fields}: they take no part"
        ));
    }
    let groups = report(&generation.rules, &specs, rule, hits);
    let fired = groups.iter().filter(|g| !g.firings.is_empty()).count();
    let form = output(global);
    let shown: Vec<Value> =
        groups.iter().take(GROUPS_MAX).map(|group| of_group(generation, rule, group)).collect();
    match form {
        Output::Table => shown.iter().flat_map(lines).for_each(|line| say(&line)),
        Output::Ndjson => shown.iter().for_each(|group| say(&group.to_string())),
        Output::Json => say(&serde_json::to_string_pretty(&shown).unwrap_or_default()),
    }
    if !global.quiet {
        let count = groups.len();
        complain(&format!("{matches} matches in {count} groups; the condition holds in {fired}"));
    }
    Ok(if fired > 0 { Exit::Ok } else { Exit::Findings })
}

fn look(generation: &Generation, specs: &Arc<SpecSet>, path: &Path) -> Result<Seen, Failure> {
    let extractor = Extractor::new(specs, &generation.dict, KeyHasher::new([0; 16]));
    let envelope = Arc::new(Envelope::of("file", Protocol::File));
    let now = io::intake::wall_ns();
    let (mut shaping, mut matching) = (shape::Scratch::default(), Scratch::new());
    let mut seen = Seen { hits: Vec::new(), matches: 0, left_out: 0 };
    let read = chunks(path, &CountedBytes::default(), &mut |chunk| {
        let mut batch = EventBatch::new(generation.dict.clone());
        for (number, range) in chunk.records {
            let (id, envelope) = (EventId::at(number), envelope.clone());
            let head = RowHead { id, received_ns: now, stream_ns: now, envelope };
            generation.shaper.shape(head, &chunk.bytes[range], &mut batch, &mut shaping);
        }
        let mut matches = Vec::new();
        generation.rules.match_batch(&batch, &mut matching, &mut matches);
        let before = seen.hits.len();
        extractor.extract(&batch, &matches, &mut seen.hits);
        for found in matches.iter().filter(|m| specs.is_referenced(m.rule)) {
            let id = batch.row(found.row as usize).id();
            seen.matches += 1;
            let takes_part =
                seen.hits[before..].iter().any(|h| h.id == id && is_of(specs, h, found.rule));
            seen.left_out += u64::from(!takes_part);
        }
        Ok(())
    });
    match read {
        Ok(()) => Ok(seen),
        Err(Trouble::Verb(failure)) => Err(failure),
        Err(Trouble::File(problem)) => {
            Err(Failure::new(Exit::Partial, format!("{} {problem}", path.display()), ""))
        }
    }
}

fn is_of(specs: &SpecSet, hit: &Hit, rule: u32) -> bool {
    let spec = specs.specs().nth(hit.spec as usize);
    spec.and_then(|s| s.references.get(usize::from(hit.slot)))
        .is_some_and(|reference| reference.target == Target::Rule(rule))
}

fn fields_of(specs: &SpecSet, rule: u32) -> Vec<String> {
    let spec = specs.specs().find(|s| s.rule == rule);
    let fields = spec.iter().flat_map(|s| s.group_by.iter().chain(&s.value_fields));
    fields.map(|name| text::render(name.as_bytes())).collect()
}

fn of_group(generation: &Generation, rule: u32, group: &GroupReport) -> Value {
    let rule = generation.rules.rule(rule);
    let names: Map<String, Value> =
        group.group.iter().map(|(n, v)| (n.to_string(), v.as_str().into())).collect();
    let occurred: Vec<Value> =
        group.occurred.iter().map(|(title, n)| json!({"rule": &**title, "times": n})).collect();
    let firings = group.firings.iter().map(|f| {
        json!({
            "reason": f.reason(), "measured": f.measured, "condition": f.condition,
            "first": time::rfc3339(f.first_ns), "last": time::rfc3339(f.last_ns),
            "fired_by": f.fired_by.offset,
            "contributing": f.evidence_ids().iter().map(|id| id.offset).collect::<Vec<u64>>(),
        })
    });
    let closest = group.closest.as_ref().map(|c| {
        json!({
            "measured": c.measured, "first": time::rfc3339(c.first_ns),
            "last": time::rfc3339(c.last_ns),
            "events": c.events.iter().map(|id| id.offset).collect::<Vec<u64>>(),
        })
    });
    json!({
        "rule": {"id": &*rule.id, "title": &*rule.title, "type": rule.type_name(), "rev": &*rule.hash},
        "group": names, "matched": !group.firings.is_empty(), "occurred": occurred,
        "firings": firings.collect::<Vec<Value>>(), "closest": closest, "lacks": group.lacks,
    })
}

/// A group for people: `+` for one that fired, `-` for one that did not. Numbers are those of records.
fn lines(group: &Value) -> Vec<String> {
    let shown = |value: &Value| super::super::ask::cell(value);
    let mark = if group["matched"] == true { "+" } else { "-" };
    let names = group["group"].as_object().into_iter().flatten();
    let names: Vec<String> = names
        .map(|(name, value)| format!("{} {}", text::render(name.as_bytes()), shown(value)))
        .collect();
    let mut out = vec![format!(
        "{mark} {}",
        if names.is_empty() { "all events".into() } else { names.join(", ") }
    )];
    for one in group["occurred"].as_array().into_iter().flatten() {
        out.push(format!("    {} times: {}", one["times"], shown(&one["rule"])));
    }
    for firing in group["firings"].as_array().into_iter().flatten() {
        out.push(format!(
            "  + {}: {} to {}",
            shown(&firing["reason"]),
            shown(&firing["first"]),
            shown(&firing["last"])
        ));
        out.push(format!("    records {}", shown(&firing["contributing"])));
    }
    if group["matched"] == false {
        out.push(format!("  - {}", shown(&group["lacks"])));
        if group["closest"].is_object() {
            out.push(format!("    records {}", shown(&group["closest"]["events"])));
        }
    }
    out
}
