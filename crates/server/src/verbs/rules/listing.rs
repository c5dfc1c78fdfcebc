//! `alcedo rules list|fields|coverage`: what there is, what it reads, what feeds it.

use super::super::ask::{ask, rows};
use super::super::{output, say};
use super::parts_of;
use crate::api::rules::of_refused;
use crate::cli::{Global, Output, RuleFiles, RulesList};
use crate::exit::{Exit, Failure, Outcome};
use crate::generation::Parts;
use crate::verbs::check::reading;
use detect::coverage::{self, Feed, State};
use detect::{RefusedRule, Rule};
use event::Level;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};

/// `alcedo rules list`
pub(super) fn list(args: &RulesList, global: &Global) -> Outcome {
    let all = match args.paths.is_empty() {
        true => {
            let found = ask(global, async |client| client.get("/api/v1/rules").await)?;
            found["rules"].as_array().cloned().unwrap_or_default()
        }
        false => {
            let reading = reading(global, &args.pipelines)?;
            of_parts(&Parts::of_files(&args.paths, None, &reading)?)
        }
    };
    let level = match &args.level {
        None => None,
        Some(name) => Some(Level::from_name(name).ok_or_else(|| {
            Failure::invalid(
                format!("{name} is no level"),
                "informational, low, medium, high, critical",
            )
        })?),
    };
    let kept: Vec<Value> = all.into_iter().filter(|row| keeps(args, level, row)).collect();
    let columns = ["state", "level", "type", "title", "file", "reason"];
    rows(&kept.into(), &columns, output(global));
    Ok(Exit::Ok)
}

fn keeps(args: &RulesList, level: Option<Level>, row: &Value) -> bool {
    let text = |name: &str| row[name].as_str().unwrap_or_default();
    let is = |wanted: &Option<String>, have: &str| {
        wanted.as_ref().is_none_or(|w| w.eq_ignore_ascii_case(have))
    };
    let of_logsource = args.logsource.as_ref().is_none_or(|wanted| {
        text("logsource").split('/').any(|part| part.eq_ignore_ascii_case(wanted))
    });
    let tagged = args.tag.as_ref().is_none_or(|wanted| {
        let wanted = wanted.to_ascii_lowercase();
        let tags = row["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        tags.map(str::to_ascii_lowercase).any(|tag| tag.starts_with(&wanted))
    });
    let high_enough = level.is_none_or(|l| Level::from_name(text("level")).is_some_and(|r| r >= l));
    is(&args.state, text("state")) && of_logsource && tagged && high_enough
}

fn of_parts(parts: &Parts) -> Vec<Value> {
    let mut out: Vec<Value> = parts.rules.iter().map(|rule| of_rule(rule)).collect();
    let refused = RefusedRule::of(parts.broken_pipelines.iter().chain(&parts.problems));
    out.extend(refused.iter().map(of_refused));
    out
}

fn of_rule(rule: &Rule) -> Value {
    json!({
        "id": &*rule.id, "title": &*rule.title, "level": rule.level.name(),
        "status": &*rule.status, "type": rule.type_name(),
        "state": if rule.shadow { "shadow" } else { "live" },
        "logsource": rule.logsource.shown(), "tags": rule.tags, "author": &*rule.author,
        "file": format!("{}:{}", rule.source.file.display(), rule.source.line),
    })
}

/// `alcedo rules fields`
pub(super) fn fields(files: &RuleFiles, global: &Global) -> Outcome {
    let parts = parts_of(files, global)?;
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for rule in &parts.rules {
        for field in rule.plan().map(|p| p.fields()).unwrap_or_default() {
            *uses.entry(field).or_default() += 1;
        }
    }
    let feeds = parts.ground.packs.feeds();
    let list = uses.iter().map(|(field, rules)| {
        let packs: BTreeMap<&str, Vec<String>> = feeds
            .iter()
            .map(|f| (f.name(), f.answers(field)))
            .filter(|(_, a)| !a.is_empty())
            .collect();
        let names: Vec<&str> = packs.keys().copied().collect();
        json!({"field": field, "rules": rules, "packs": names.join(" "), "answered_by": packs})
    });
    let list: Vec<Value> = list.collect();
    rows(&list.into(), &["field", "rules", "packs"], output(global));
    Ok(Exit::Ok)
}

/// `alcedo rules coverage`
pub(super) fn coverage(files: &RuleFiles, live: bool, global: &Global) -> Outcome {
    let parts = parts_of(files, global)?;
    let in_use: Option<HashSet<String>> = match live {
        false => None,
        true => {
            let found = ask(global, async |client| client.get("/api/v1/sources").await)?;
            let sources = found["sources"].as_array().cloned().unwrap_or_default();
            Some(sources.iter().filter_map(|s| Some(s["pack"].as_str()?.to_owned())).collect())
        }
    };
    let own = parts.ground.packs.feeds();
    let feeds_of = |packs: Option<&HashSet<String>>| -> Vec<Feed<'_>> {
        let used = own.iter().filter(|f| packs.is_none_or(|packs| packs.contains(f.name())));
        let feed = used.map(|f| Feed {
            name: f.name().to_owned(),
            logsources: f.logsources(),
            answers: Box::new(|name| f.answers(name)),
        });
        feed.collect()
    };
    let known = coverage::coverage(&parts.rules, &feeds_of(None));
    let covered = coverage::coverage(&parts.rules, &feeds_of(in_use.as_ref()));
    let mut counts = [0usize; 3];
    let mut list = Vec::new();
    for ((rule, covered), known) in parts.rules.iter().zip(covered).zip(known) {
        counts[covered.state as usize] += 1;
        // Whose events would feed it, if somebody sent them.
        let would_feed = if covered.state == State::NotFed { known.feeds } else { Vec::new() };
        list.push(json!({
            "id": &*rule.id, "title": &*rule.title, "state": covered.state,
            "feeds": covered.feeds, "missing": covered.missing, "needs": covered.needs,
            "would_feed": would_feed,
        }));
    }
    let form = output(global);
    rows(&list.into(), &["state", "title", "feeds", "missing", "needs", "would_feed"], form);
    let [fed, partly, not] = counts;
    debug_assert_eq!([State::Fed as usize, State::NotFed as usize], [0, 2]);
    let text =
        format!("{fed} fed, {partly} fed with fields that are not known there, {not} not fed");
    match form {
        Output::Table => say(&text),
        _ if !global.quiet => super::super::complain(&text),
        _ => {}
    }
    Ok(Exit::Ok)
}
