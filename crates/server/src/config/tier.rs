//! `tier:` where old files of the store move to, and `backup:` where copies of it go.

use super::read::{Problems, Section};
use super::tree::Node;
use super::{Backups, Config};
use std::path::Path;
use std::time::Duration;
use store::TierOptions;
use store::backup::Place;

/// Backups more often than that would only ever be copying.
const BACKUP_EVERY_LEAST_NS: i64 = 15 * 60 * event::time::SECOND_NS;
const DAY_NS: i64 = 86_400 * event::time::SECOND_NS;
/// Longer than that is no time-out of one request any more, and shorter none that a line can keep.
const TIMEOUT_S: std::ops::RangeInclusive<i64> = 1..=600;

/// Reads the section. Relative paths in it are relative to `base`.
pub(super) fn read(section: Section<'_>, base: &Path) -> Option<TierOptions> {
    let mut tier = TierOptions::new(section.text("to").unwrap_or_default());
    tier.hot_age_ns = section.duration_ns("hot").unwrap_or(tier.hot_age_ns);
    tier.hot_bytes = section.size_bytes("hot_size");
    let cache = section.size_bytes("cache").and_then(|n| usize::try_from(n).ok());
    tier.cache_bytes = cache.unwrap_or(tier.cache_bytes);
    reach(&section, base, &mut tier);
    let (place, problems) = (section.get("to"), section.problems());
    section.done();
    if let Some(node) = place {
        if let Err(error) = tier.check() {
            let hint = "docs/keeping.md has all settings of a far tier";
            problems.at(node, error.to_string(), hint);
            return None;
        }
        return Some(tier);
    }
    let nowhere = Node { line: 0, column: 0, yaml: super::tree::Yaml::Null };
    problems.at(&nowhere, "`tier` needs `to`", "to: s3://BUCKET/PREFIX or file:///FOLDER");
    None
}

/// Settings of the way to an object store, as [`reach`] reads them.
const REACH: [&str; 7] =
    ["upload_rate", "timeout", "endpoint", "region", "virtual_hosted", "allow_http", "credentials"];

/// Reads where backups go: a folder relative to `base`, or a bucket with the settings of a far tier.
pub(super) fn backup(section: Section<'_>, base: &Path) -> Option<(Place, Backups)> {
    let mut settings = TierOptions::new(section.text("to").unwrap_or_default());
    reach(&section, base, &mut settings);
    let backups = schedule(&section);
    let (place, problems) = (section.get("to"), section.problems());
    let reaching = REACH.iter().find_map(|key| Some((*key, section.get(key)?)));
    let every = section.get("every");
    section.done();
    let Some(node) = place.filter(|_| !settings.to.is_empty()) else {
        let nowhere = Node { line: 0, column: 0, yaml: super::tree::Yaml::Null };
        let node = reaching.map(|(_, node)| node).or(every).unwrap_or(&nowhere);
        problems.at(node, "`backup` needs `to`", "to: FOLDER or s3://BUCKET/PREFIX");
        return None;
    };
    let place = Place::of(settings, base);
    if let (Place::Folder(_), Some((key, node))) = (&place, reaching) {
        let text = format!("`{key}` is about a bucket, and `to` names a folder");
        problems.at(node, text, "leave it out, or write to: s3://BUCKET/PREFIX");
        return None;
    }
    if let Err(error) = place.check() {
        problems.at(node, error.to_string(), "docs/keeping.md has all settings of backups");
        return None;
    }
    Some((place, backups))
}

fn schedule(section: &Section<'_>) -> Backups {
    let problems = section.problems();
    let every_ns = section.duration_ns("every");
    if every_ns.is_some_and(|ns| ns < BACKUP_EVERY_LEAST_NS)
        && let Some(node) = section.get("every")
    {
        problems.at(
            node,
            "`every` is too short",
            "at least 15m; what is new is in the journal anyway",
        );
    }
    let hint = "a number of backups, at least 1: keep: 14";
    let keep = section.value("keep", hint, |t| t.parse().ok().filter(|n| *n > 0));
    if let (Some(node), None) = (section.get("keep"), section.get("every")) {
        problems.at(
            node,
            "`keep` is for backups by `every`",
            "`alcedo backup prune` is for others",
        );
    }
    Backups { every_ns, keep }
}

/// Settings of the way to an object store.
fn reach(section: &Section<'_>, base: &Path, tier: &mut TierOptions) {
    tier.upload_bytes_per_s = section.size_bytes("upload_rate").filter(|rate| *rate > 0);
    if let Some(ns) = section.duration_ns("timeout") {
        let seconds = (ns / event::time::SECOND_NS).clamp(*TIMEOUT_S.start(), *TIMEOUT_S.end());
        tier.request_timeout = Duration::from_secs(seconds.unsigned_abs());
    }
    tier.endpoint = section.text("endpoint");
    tier.region = section.text("region");
    tier.virtual_hosted = section.flag("virtual_hosted").unwrap_or(false);
    tier.allow_http = section.flag("allow_http").unwrap_or(false);
    tier.credentials = section.text("credentials").map(|t| base.join(t));
}

/// A far tier that nothing can ever move to is a mistake, and so is one among the store's own files.
pub(super) fn check(config: &Config, root: &Node, problems: &Problems) {
    let store = config.data_dir.join("store");
    if let Some(Err(error)) = config.tier.as_ref().map(|tier| tier.check_apart(&store)) {
        problems.at(root, error.to_string(), "docs/keeping.md has all settings of a far tier");
    }
    let Some(tier) = config.tier.as_ref().filter(|tier| tier.hot_bytes.is_none()) else { return };
    if let Some(age) = config.retention.age_ns.filter(|age| *age <= tier.hot_age_ns) {
        let (kept, hot) = (age / DAY_NS, tier.hot_age_ns / DAY_NS);
        let text = format!("events are kept {kept} days and move to the far tier after {hot}");
        problems.at(root, text, "make `tier: {hot: ...}` shorter than `retention: {age: ...}`");
    }
}
