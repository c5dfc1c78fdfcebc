//! A rule's condition solved into an event that fires it, and one that just misses.
//!
//! ```text
//! plan --choose--> leaves that must (not) hold --text--> fields and values --check--> event
//!                                                     \--spoil one value--> near miss
//! ```
//! Nothing is believed: a candidate counts only when [`filter::Plan::matches`] says so. A condition
//! that is not solved within the budget gives `None`; that says nothing about the rule.
//!
//! Used to prove that every loaded rule can fire and can keep still, and to show authors an event
//! their rule is about.

mod choose;
mod text;

use event::{DictionaryBuilder, EventBatch, EventView};
use filter::{Plan, Target, Test};
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// Most ways to choose leaves that are tried.
const CHOICES_MAX: usize = 256;
/// Most ways of which the one is taken that keeps most of what is given.
const WAYS_COMPARED_MAX: usize = 32;
/// Name of the field that carries keywords.
const KEYWORD_FIELD: &str = "message";

/// An event that fires a rule, and one that does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// Field names as the rule writes them, with values.
    pub positive: Map<String, Json>,
    /// The same with one value spoilt; `None` where no single change was found.
    pub near_miss: Option<Map<String, Json>>,
}

/// Solves a plan. `given` are fields that the event has anyway (a channel, an event id): a way that keeps
/// them goes before one that does not, but the plan may ask for other values, then those win.
pub fn solve(plan: &Plan, given: &Map<String, Json>) -> Option<Solution> {
    let checker = Checker::new(plan, given);
    let choices = choose::choices(plan, CHOICES_MAX);
    let solved = choices.iter().filter_map(|choice| {
        let positive = build(plan, choice, given, None)?;
        checker.holds(&positive).then_some((choice, positive))
    });
    let mut best: Option<(usize, Way<'_>)> = None;
    for way in solved.take(WAYS_COMPARED_MAX) {
        let kept = given.iter().filter(|(name, value)| way.1.get(*name) == Some(value)).count();
        if best.as_ref().is_none_or(|(most, _)| kept > *most) {
            best = Some((kept, way));
        }
        if kept == given.len() {
            break;
        }
    }
    let (_, (choice, positive)) = best?;
    let near_miss = spoilt(plan, choice, given, &checker, &positive);
    Some(Solution { positive, near_miss })
}

/// A leaf, and whether it must hold.
type Choice = Vec<(u32, bool)>;

/// A choice and the event that it makes.
type Way<'c> = (&'c Choice, Map<String, Json>);

struct Checker<'a> {
    plan: &'a Plan,
    dict: Arc<event::Dictionary>,
}

impl<'a> Checker<'a> {
    fn new(plan: &'a Plan, given: &Map<String, Json>) -> Self {
        let mut names = DictionaryBuilder::new();
        for name in plan.fields().into_iter().chain(given.keys().map(String::as_str)) {
            names.field(name);
        }
        Self { plan, dict: names.build() }
    }

    fn holds(&self, event: &Map<String, Json>) -> bool {
        let mut batch = EventBatch::new(self.dict.clone());
        let event = Json::Object(event.clone());
        crate::ruletest::push_event(&mut batch, &event, event.to_string().as_bytes());
        let row: EventView<'_> = batch.row(0);
        self.plan.matches(&self.plan.bind(&batch), &row)
    }
}

/// The event that a choice asks for. `spoil`: this leaf's value is made wrong.
fn build(
    plan: &Plan,
    choice: &Choice,
    given: &Map<String, Json>,
    spoil: Option<(u32, usize)>,
) -> Option<Map<String, Json>> {
    let mut event = given.clone();
    let mut fields: Vec<&Target> = Vec::new();
    for (leaf, _) in choice {
        let target = &plan.leaves[*leaf as usize].target;
        if !fields.contains(&target) {
            fields.push(target);
        }
    }
    for target in fields {
        let of_field = |wanted: bool| {
            choice
                .iter()
                .filter(move |(_, must)| *must == wanted)
                .map(|(leaf, _)| (*leaf, &plan.leaves[*leaf as usize]))
                .filter(|(_, leaf)| leaf.target == *target)
        };
        let name = match target {
            Target::Field(name) => &**name,
            Target::Keyword => KEYWORD_FIELD,
        };
        let holding: Vec<(u32, &Test)> = of_field(true).map(|(i, l)| (i, &l.test)).collect();
        let failing: Vec<&Test> = of_field(false).map(|(_, l)| &l.test).collect();
        let Some(value) = value_of(name, &holding, &failing, &event, spoil)? else {
            event.remove(name);
            continue;
        };
        if let Some(Test::Field { other, .. }) =
            holding.iter().map(|(_, t)| *t).find(|t| matches!(t, Test::Field { .. }))
        {
            event.entry(other.to_string()).or_insert_with(|| value.clone());
        }
        event.insert(name.to_owned(), value);
    }
    Some(event)
}

/// A value for the field `name`, `Some(None)` for its absence.
#[expect(clippy::option_option, reason = "no answer, and absence as the answer, are two things")]
fn value_of(
    name: &str,
    holding: &[(u32, &Test)],
    failing: &[&Test],
    event: &Map<String, Json>,
    spoil: Option<(u32, usize)>,
) -> Option<Option<Json>> {
    if holding.iter().any(|(_, t)| matches!(t, Test::Null)) {
        return Some(None);
    }
    let mut pieces = text::Pieces::default();
    for (leaf, test) in holding {
        let spoilt = spoil.filter(|(s, _)| s == leaf).map(|(_, way)| way);
        if let Test::Field { other, .. } = test {
            let same = event.get(&**other).and_then(Json::as_str).unwrap_or("same");
            pieces.exact(if spoilt.is_some() { "another" } else { same });
            continue;
        }
        pieces.add(test, spoilt)?;
    }
    if holding.is_empty() {
        // Nothing is asked of it: absent is best, unless absence is what must not be.
        let must_be_there = failing.iter().any(|t| matches!(t, Test::Null));
        // Of each field another, for they may have to differ.
        return Some(must_be_there.then(|| Json::from(format!("other {name}"))));
    }
    Some(Some(pieces.value(failing)))
}

/// The event with the value of one leaf spoilt so that the plan no longer holds.
fn spoilt(
    plan: &Plan,
    choice: &Choice,
    given: &Map<String, Json>,
    checker: &Checker<'_>,
    positive: &Map<String, Json>,
) -> Option<Map<String, Json>> {
    let mut held: Vec<u32> = choice.iter().filter(|(_, must)| *must).map(|(l, _)| *l).collect();
    held.sort_unstable_by_key(|leaf| std::cmp::Reverse(*leaf));
    for leaf in &held {
        for way in 0..text::WAYS {
            let event = build(plan, choice, given, Some((*leaf, way)));
            if let Some(event) = event.filter(|e| !checker.holds(e)) {
                return Some(event);
            }
        }
    }
    // No single character decides: the absence of a field may, or a field that must be absent.
    for leaf in choice.iter().map(|(l, _)| *l) {
        let Target::Field(name) = &plan.leaves[leaf as usize].target else { continue };
        let mut event = positive.clone();
        if event.remove(&**name).is_none() {
            event.insert(name.to_string(), "other".into());
        }
        if !checker.holds(&event) {
            return Some(event);
        }
    }
    // What must not hold is made to hold.
    let flipped = choice.iter().enumerate().filter(|(_, (_, must))| !must).find_map(|(at, _)| {
        let mut choice = choice.clone();
        choice[at].1 = true;
        build(plan, &choice, given, None).filter(|e| !checker.holds(e))
    });
    flipped.or_else(|| Some(Map::new()).filter(|e| !checker.holds(e)))
}

#[cfg(test)]
mod tests;
