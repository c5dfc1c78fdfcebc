//! Which rules can fire here: what feeds them, and which of their fields nothing answers.
//!
//! ```text
//! rule logsource --fits?--> feeds (packs, or the packs of live sources) --answers?--> fields
//! ```
//! A rule that nothing feeds is *not fed*, whatever its state says: it is shown as such, never as a
//! quiet live one.

use crate::matcher::fits;
use crate::sigma::{LogSource, Rule};
use serde::Serialize;
use std::borrow::Borrow;

/// One kind of events that arrives or could arrive.
pub struct Feed<'a> {
    /// Name of the pack.
    pub name: String,
    /// Logsources of its events, as `product/category/service`.
    pub logsources: Vec<String>,
    /// Fields of its events that answer to a name; empty = none that is known.
    pub answers: Box<Answers<'a>>,
}

/// The fields that answer to a name.
pub type Answers<'a> = dyn Fn(&str) -> Vec<String> + 'a;

/// Whether a rule can be fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A feed carries its logsource, and something answers to every field.
    Fed,
    /// A feed carries its logsource, but some fields are not known there.
    FieldsMissing,
    /// No feed carries its logsource.
    NotFed,
}

/// What is known of one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Whether it can be fed.
    pub state: State,
    /// Feeds that carry its logsource.
    pub feeds: Vec<String>,
    /// Fields that nothing in those feeds answers to.
    pub missing: Vec<String>,
    /// What would have to be sent, where nothing feeds it: `product/category/service`.
    pub needs: String,
}

/// The coverage of every rule, in their order. A correlation is as covered as the worst rule that it
/// builds on.
pub fn coverage(rules: &[impl Borrow<Rule>], feeds: &[Feed<'_>]) -> Vec<Coverage> {
    let rules: Vec<&Rule> = rules.iter().map(Borrow::borrow).collect();
    let mut out: Vec<Coverage> = rules.iter().map(|rule| of_detection(rule, feeds)).collect();
    // Correlations may build on correlations: as often as they can be chained.
    for _ in 0..crate::correlate::spec::CHAIN_DEPTH_MAX {
        for (at, rule) in rules.iter().enumerate() {
            let Some(correlation) = rule.correlation() else { continue };
            let parts = correlation.rules.iter().filter_map(|name| {
                rules.iter().position(|r| r.answers_to(name)).map(|i| out[i].clone())
            });
            if let Some(worst) = parts.max_by_key(|c| c.state) {
                out[at] = worst;
            }
        }
    }
    out
}

fn of_detection(rule: &Rule, feeds: &[Feed<'_>]) -> Coverage {
    let own: Vec<&Feed<'_>> =
        feeds.iter().filter(|f| f.logsources.iter().any(|l| carries(&rule.logsource, l))).collect();
    if own.is_empty() {
        let needs = rule.logsource.shown();
        return Coverage { state: State::NotFed, feeds: Vec::new(), missing: Vec::new(), needs };
    }
    let fields = rule.plan().map(|p| p.fields()).unwrap_or_default();
    // What every event has, whoever sent it.
    let is_own = |name: &str| event::field::INTRINSIC_NAMES.contains(&name);
    let is_missing = |name: &str| !is_own(name) && own.iter().all(|f| (f.answers)(name).is_empty());
    let missing = fields.iter().filter(|name| is_missing(name));
    let missing: Vec<String> = missing.map(|f| (*f).to_owned()).collect();
    Coverage {
        state: if missing.is_empty() { State::Fed } else { State::FieldsMissing },
        feeds: own.iter().map(|f| f.name.clone()).collect(),
        missing,
        needs: String::new(),
    }
}

/// Whether events of the logsource `text` are what rules of `wanted` are about. Routing also offers
/// events of an unknown product to rules of every product; that feeds none of them.
fn carries(wanted: &LogSource, text: &str) -> bool {
    if wanted.product.is_some() && text.starts_with("*/") {
        return false;
    }
    let parts = wanted.parts().map(|p| p.map(|t| t.to_ascii_lowercase().into_boxed_str()));
    fits(&parts, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load_text;

    #[test]
    fn rules_are_fed_by_what_carries_their_logsource() {
        let text = "title: a\nid: a\nlogsource: {product: linux, service: sshd}\n\
             detection: {s: {user.name: x, Odd: y, alcedo.source: z}, condition: s}\n---\n\
             title: b\nid: b\nlogsource: {product: zeek, service: dns}\n\
             detection: {s: {query: x}, condition: s}\n---\n\
             title: c\nid: c\n\
             correlation: {type: temporal, rules: [a, b], group-by: [user.name], timespan: 5m}\n";
        let (rules, problems) = load_text(text);
        assert_eq!(problems, []);
        let feed = Feed {
            name: "linux-auth".into(),
            logsources: vec!["linux//sshd".into()],
            answers: Box::new(|name| match name {
                "user.name" => vec!["user.name".into()],
                _ => Vec::new(),
            }),
        };
        let got = coverage(&rules, &[feed]);
        let states: Vec<State> = got.iter().map(|c| c.state).collect();
        assert_eq!(states, [State::FieldsMissing, State::NotFed, State::NotFed]);
        assert_eq!((&*got[0].missing, &*got[1].needs), (&["Odd".to_owned()][..], "zeek/-/dns"));
    }
}
