//! ATT&CK: which techniques rules are about, as a layer for the ATT&CK Navigator.
//!
//! With its version 19 ATT&CK gave what is done against defences new numbers (T1562 and parts of
//! T1070 became T1685 to T1690). Rules of both generations are in use, so a layer is written in the
//! numbers of one of them and tags of the other are translated.

use crate::sigma::Rule;
use serde::Serialize;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// Numbers of techniques.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Generation {
    /// Up to ATT&CK 18.
    V18,
    /// From ATT&CK 19 on.
    V19,
}

/// The same technique before and after, most special first.
const RENUMBERED: &[(&str, &str)] = &[
    ("T1562.001", "T1685"),
    ("T1562.002", "T1685.001"),
    ("T1562.008", "T1685.002"),
    ("T1562.012", "T1685.004"),
    ("T1070.001", "T1685.005"),
    ("T1070.002", "T1685.006"),
    ("T1562.004", "T1686"),
    ("T1562.007", "T1686.001"),
    ("T1562.013", "T1686.002"),
    ("T1562.004", "T1686.003"),
    ("T1562.010", "T1689"),
    ("T1562.003", "T1690"),
    ("T1562", "T1685"),
];

/// Most rule titles in the comment of a technique.
const TITLES_MAX: usize = 20;

/// Techniques that a rule's tags name, in the numbers of `generation`: `T1059.001`.
pub fn techniques(rule: &Rule, generation: Generation) -> Vec<String> {
    let mut out: Vec<String> = rule
        .tags
        .iter()
        .filter_map(|tag| tag.to_ascii_lowercase().strip_prefix("attack.").map(str::to_uppercase))
        .filter(|id| is_technique(id))
        .map(|id| translated(&id, generation))
        .collect();
    out.sort();
    out.dedup();
    out
}

fn is_technique(id: &str) -> bool {
    let Some(number) = id.strip_prefix('T') else { return false };
    let (number, sub) = number.split_once('.').unwrap_or((number, "000"));
    let digits =
        |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
    digits(number, 4) && digits(sub, 3)
}

fn translated(id: &str, generation: Generation) -> String {
    let mut pairs = RENUMBERED.iter();
    let found = match generation {
        Generation::V18 => pairs.find(|(_, new)| *new == id).map(|(old, _)| old),
        Generation::V19 => pairs.find(|(old, _)| *old == id).map(|(_, new)| new),
    };
    found.map_or_else(|| id.to_owned(), |id| (*id).to_owned())
}

/// A layer (format 4.5) in which each technique's score is its number of rules.
pub fn navigator<'a>(
    rules: impl Iterator<Item = &'a Rule>,
    generation: Generation,
    name: &str,
) -> Json {
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut count = 0;
    for rule in rules {
        count += 1;
        for technique in techniques(rule, generation) {
            found.entry(technique).or_default().push(&rule.title);
        }
    }
    let most = found.values().map(Vec::len).max().unwrap_or(1);
    let entries: Vec<Json> = found
        .iter()
        .map(|(id, titles)| {
            let mut comment =
                titles.iter().take(TITLES_MAX).copied().collect::<Vec<_>>().join("\n");
            if titles.len() > TITLES_MAX {
                comment.push_str(&format!("\nand {} more", titles.len() - TITLES_MAX));
            }
            json!({
                "techniqueID": id, "score": titles.len(), "comment": comment, "enabled": true,
                "showSubtechniques": false,
            })
        })
        .collect();
    let version = match generation {
        Generation::V18 => "18",
        Generation::V19 => "19",
    };
    json!({
        "name": name,
        "versions": {"attack": version, "navigator": "5.1.0", "layer": "4.5"},
        "domain": "enterprise-attack",
        "description": format!("{count} rules; the score is the number of rules of a technique"),
        "sorting": 3,
        "hideDisabled": false,
        "techniques": entries,
        "gradient": {"colors": ["#dbeafe", "#1d4ed8"], "minValue": 1, "maxValue": most},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load_text;

    #[test]
    fn tags_of_both_generations_meet_in_one_number() {
        let rule = |id: &str, tag: &str| {
            format!(
                "title: {id}\nid: {id}\ntags: [attack.execution, {tag}]\n\
                 detection: {{s: {{F: x}}, condition: s}}\n---\n"
            )
        };
        let text = rule("a", "attack.t1070.001") + &rule("b", "attack.t1685.005");
        let (rules, _) = load_text(&text);
        for (generation, id) in [(Generation::V18, "T1070.001"), (Generation::V19, "T1685.005")] {
            let layer = navigator(rules.iter(), generation, "n");
            let techniques = layer["techniques"].as_array().unwrap();
            assert_eq!(techniques.len(), 1);
            assert_eq!(techniques[0]["techniqueID"], id);
            assert_eq!(techniques[0]["score"], 2);
        }
    }

    #[test]
    fn only_techniques_are_techniques() {
        for (text, is) in
            [("T1059", true), ("T1059.001", true), ("T15", false), ("EXECUTION", false)]
        {
            assert_eq!(is_technique(text), is, "{text}");
        }
    }
}
