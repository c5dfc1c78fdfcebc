//! `minute`, `hour`, `day`, `week`, `month`, `year`: a part of a date, from its digits as written.

use super::Modifier;
use crate::sigma::item::Item;
use crate::sigma::problem::Refusal;
use filter::{CompareOp, TimePart};

pub(super) struct Part(&'static str, TimePart);

pub(super) const MINUTE: Part = Part("minute", TimePart::Minute);
pub(super) const HOUR: Part = Part("hour", TimePart::Hour);
pub(super) const DAY: Part = Part("day", TimePart::Day);
pub(super) const WEEK: Part = Part("week", TimePart::Week);
pub(super) const MONTH: Part = Part("month", TimePart::Month);
pub(super) const YEAR: Part = Part("year", TimePart::Year);

/// Refuses a number that no date meets, and one that every date does.
pub(crate) fn check(part: TimePart, compare: Option<CompareOp>, n: i64) -> Result<(), Refusal> {
    let (name, first, last) = range(part);
    let (is_ever, is_always) = match compare.unwrap_or(CompareOp::Eq) {
        CompareOp::Eq => ((first..=last).contains(&n), false),
        CompareOp::Lt => (first < n, last + 1 < n),
        CompareOp::Le => (first <= n, last < n),
        CompareOp::Gt => (n < last, n < first - 1),
        CompareOp::Ge => (n <= last, n < first),
    };
    let sign = compare.map_or("", CompareOp::sign);
    let how_often = match (is_ever, is_always) {
        (true, false) => return Ok(()),
        (true, true) => "always met",
        (false, _) => "never met",
    };
    let reason = format!("`{name}` goes from {first} to {last}, `{sign}{n}` is {how_often}");
    Err(Refusal::invalid(reason, "check the value"))
}

/// Name, smallest and largest number of a part.
fn range(part: TimePart) -> (&'static str, i64, i64) {
    match part {
        TimePart::Minute => ("minute", 0, 59),
        TimePart::Hour => ("hour", 0, 23),
        TimePart::Day => ("day", 1, 31),
        TimePart::Week => ("week", 1, 53),
        TimePart::Month => ("month", 1, 12),
        TimePart::Year => ("year", 0, 9_999),
    }
}

impl Modifier for Part {
    fn name(&self) -> &'static str {
        self.0
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        if item.time_part.is_some() || item.field.is_none() {
            let reason = format!("`{}` needs a field and no other part of a date", self.0);
            return Err(Refusal::invalid(reason, "write each part on a line of its own"));
        }
        item.time_part = Some(self.1);
        Ok(())
    }
}
