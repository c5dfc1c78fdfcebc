//! `alcedo_tests`: the tests that stand beside a rule.
//!
//! ```yaml
//! alcedo_tests:
//!   - {name: one event, event: {EventID: 1102}, match: true}
//!   - {name: as sent, raw: 'Nov 23 22:14:15 web-1 sshd[1]: ...', match: false}
//!   - name: several
//!     stream:
//!       - {raw: 'user{n} ...', repeat: 5, every: 10s}
//!       - {event: {...}, at: 2m}
//!       - {event: {...}, at: [3m, 4m, 290s]}
//!     match: true
//!     count: 1
//! ```

use crate::sigma::correlation::Timespan;
use crate::sigma::problem::Refusal;
use crate::sigma::rule::{RuleTest, TestInput, TestStep};
use crate::sigma::yaml::{Node, Yaml};

/// Most tests of one rule.
const TESTS_MAX: usize = 1_000;
/// Most records that one step stands for, so that a typing error does not fill the memory.
const REPEAT_MAX: u32 = 100_000;

/// Reads the tests of a document.
///
/// # Errors
/// The first part that is not well formed.
pub(super) fn read(node: &Node) -> Result<Vec<RuleTest>, Refusal> {
    let Some(section) = node.get("alcedo_tests") else { return Ok(Vec::new()) };
    let Yaml::List(items) = &section.value else { return Err(wrong(section)) };
    if items.len() > TESTS_MAX {
        let reason = format!("more than {TESTS_MAX} tests");
        return Err(Refusal::invalid(reason, "move some to `regression_data`").at(section.at));
    }
    items.iter().map(test).collect()
}

fn wrong(node: &Node) -> Refusal {
    let hint = "a list of {name, event or raw or stream, match}";
    Refusal::invalid("`alcedo_tests` is not well formed", hint).at(node.at)
}

fn test(item: &Node) -> Result<RuleTest, Refusal> {
    let steps = match item.get("stream") {
        None => steps(item)?,
        Some(Node { value: Yaml::List(list), .. }) if input(item).is_none() => {
            list.iter().map(steps).collect::<Result<Vec<_>, _>>()?.concat()
        }
        Some(other) => return Err(wrong(other)),
    };
    let Some(Yaml::Bool(expected)) = item.get("match").map(|m| &m.value) else {
        return Err(wrong(item));
    };
    let count = match item.get("count") {
        None => None,
        Some(Node { value: Yaml::Int(n), at, .. }) => match u32::try_from(*n) {
            Ok(n) if (n > 0) == *expected => Some(n),
            _ => {
                let hint = "with `match: true` at least 1, with `match: false` none";
                return Err(Refusal::invalid("`count` does not fit `match`", hint).at(*at));
            }
        },
        Some(other) => return Err(wrong(other)),
    };
    let name = item.get("name").and_then(Node::text).unwrap_or_default().into();
    Ok(RuleTest { name, steps, expected: *expected, count })
}

/// A step, or one for each of its times.
fn steps(item: &Node) -> Result<Vec<TestStep>, Refusal> {
    let input = input(item).ok_or_else(|| wrong(item))?;
    let repeat = match item.get("repeat") {
        None => 1,
        Some(Node { value: Yaml::Int(n), at, .. }) => {
            u32::try_from(*n).ok().filter(|n| (1..=REPEAT_MAX).contains(n)).ok_or_else(|| {
                let reason = format!("`repeat` is from 1 to {REPEAT_MAX}");
                Refusal::invalid(reason, "correct it").at(*at)
            })?
        }
        Some(other) => return Err(wrong(other)),
    };
    let every_ns = span(item.get("every"), "every")?;
    let of = |at: Option<&Node>| {
        Ok(TestStep { input: input.clone(), at_ns: span(at, "at")?, repeat, every_ns })
    };
    match item.get("at") {
        Some(Node { value: Yaml::List(times), .. }) if !times.is_empty() => {
            times.iter().map(|at| of(Some(at))).collect()
        }
        at => Ok(vec![of(at)?]),
    }
}

/// Exactly one of `event` and `raw`.
fn input(item: &Node) -> Option<TestInput> {
    match (item.get("event"), item.get("raw").and_then(Node::text)) {
        (Some(event), None) if matches!(event.value, Yaml::Map(_)) => {
            Some(TestInput::Event(event.json()))
        }
        (None, Some(raw)) => Some(TestInput::Raw(raw.into())),
        _ => None,
    }
}

fn span(node: Option<&Node>, key: &str) -> Result<i64, Refusal> {
    let Some(value) = node else { return Ok(0) };
    let text = value.text().unwrap_or_default();
    if text == "0" || text == "0s" {
        return Ok(0);
    }
    let span = Timespan::parse(&text).ok_or_else(|| {
        Refusal::invalid(format!("`{key}` is a length of time"), "write 10s, 5m, 8d").at(value.at)
    })?;
    Ok(span.ns())
}
