//! The section `detection`: how rules are read, and what correlations may cost.

use super::Detection;
use super::read::Section;
use detect::correlate::{SHARDS, Settings};
use detect::{FilterReading, SigmaSettings};
use std::path::Path;

/// Windows are held for this long at least and at most, ns: a second of lateness is what clocks of
/// one rack disagree by; beyond an hour every event would wait for the one that is late.
const LATENESS_NS: std::ops::RangeInclusive<i64> = 1_000_000_000..=3_600_000_000_000;
/// Below this a rule cannot hold the shards' own tables.
const BYTES_PER_RULE_MIN: u64 = 1 << 20;

pub(super) fn read(section: Section<'_>, base: &Path) -> Detection {
    let pipelines = section.texts("pipelines").into_iter().map(|(t, _)| base.join(t)).collect();
    let flag = |key| section.flag(key).unwrap_or(false);
    let filters = section.value("filters", "write required or excluded", |text| match text {
        "required" => Some(FilterReading::Required),
        "excluded" => Some(FilterReading::Excluded),
        _ => None,
    });
    let mut sigma = SigmaSettings {
        filters: filters.unwrap_or_default(),
        neq_needs_field: flag("neq_needs_field"),
        null_includes_empty: flag("null_includes_empty"),
        base64_ignores_case: flag("base64_ignores_case"),
        ..SigmaSettings::default()
    };
    section.section("placeholders", |tables| {
        for (name, _) in tables.named() {
            let values = tables.list_of(name).into_iter().map(|(text, _)| text).collect();
            sigma.placeholders.insert(name.to_owned(), values);
        }
    });
    let keep = section.value("over_budget", "write pause or keep", |text| match text {
        "pause" => Some(false),
        "keep" => Some(true),
        _ => None,
    });
    let correlation = section.section("correlation", correlation).unwrap_or_default();
    section.done();
    Detection { pipelines, sigma, correlation, keep_over_budget: keep.unwrap_or(false) }
}

fn correlation(section: Section<'_>) -> Settings {
    let mut settings = Settings::default();
    let span = |key| {
        let hint = "write a duration from 1s to 1h";
        section.value(key, hint, |text| {
            filter::search::duration_ns(text).filter(|ns| LATENESS_NS.contains(ns))
        })
    };
    settings.lateness_ns = span("lateness").unwrap_or(settings.lateness_ns);
    settings.hold_max_ns = span("hold").unwrap_or(settings.hold_max_ns);
    let hint = "write a size of at least 1MiB";
    let bytes = section.value("bytes_per_rule", hint, |text| {
        super::read::size_bytes(text).filter(|bytes| *bytes >= BYTES_PER_RULE_MIN)
    });
    settings.bytes_per_rule = bytes.map_or(settings.bytes_per_rule, |bytes| bytes as usize);
    let values = section.value("remembered_values", "write a number of at least 256", |text| {
        text.parse::<usize>().ok().filter(|n| *n >= SHARDS)
    });
    // Values spread evenly over the shards: a keyed hash decides.
    settings.seen_per_shard_max = values.map_or(settings.seen_per_shard_max, |n| n / SHARDS);
    section.done();
    settings
}
