//! The `correlation` section becomes a [`Correlation`].

use crate::correlate::spec::TIMESPAN_MAX_NS;
use crate::sigma::condition::{self, Expr};
use crate::sigma::correlation::{
    Alias, BoundOp, Correlation, CorrelationCondition, CorrelationType, RuleExpr, Timespan, Window,
};
use crate::sigma::problem::{Refusal, Refusals, did_you_mean};
use crate::sigma::yaml::{Node, Yaml};
use filter::Number;
use std::ops::RangeInclusive;

/// Most rules one correlation relates.
pub const RULES_MAX: usize = 255;
/// Most fields that separate groups.
pub const GROUP_BY_MAX: usize = 16;

/// Fewest visits that can be called regular: of fewer there is one gap, which is as long as itself.
const VISITS_MIN: f64 = 3.0;
/// Widest jitter, percent: beyond it what comes by chance is often regular.
const JITTER_MAX: f64 = 50.0;
/// Least share of regular gaps, percent: some half of all gaps is always near the median.
const SHARE_MIN: f64 = 50.0;
/// Share of regular gaps where none is given, percent: a visit in ten may be left out or come between
/// two others, which makes two gaps irregular.
const SHARE_DEFAULT: f64 = 80.0;

const KEYS: &[&str] = &[
    "type",
    "rules",
    "group-by",
    "aliases",
    "timespan",
    "timeframe",
    "condition",
    "generate",
    "window",
    "gap",
    "learn-for",
];

/// Reads a `correlation:` section. `outer_generate` is a `generate` beside it, where the
/// specification puts it too. `None` if anything was wrong; everything that is goes into `problems`.
pub fn read(
    section: &Node,
    outer_generate: Option<&Node>,
    problems: &mut Refusals,
) -> Option<Correlation> {
    let Yaml::Map(entries) = &section.value else {
        let reason = format!("`correlation` is {}", section.kind());
        problems.push(Refusal::invalid(reason, "write type, rules, timespan").at(section.at));
        return None;
    };
    for (key, value) in entries.iter().filter(|(k, _)| !KEYS.contains(&k.as_str())) {
        let reason = format!("unknown attribute `{key}` of a correlation");
        let hint = did_you_mean(key, KEYS.iter().copied());
        problems.push(Refusal::misspelt(reason, hint).at(value.key_at));
    }
    let kind = read_type(section).map_err(|r| r.at(section.at));
    let kind = problems.ok(kind);
    let rules = problems.ok(read_rules(section, kind).map_err(|r| r.at(section.at)));
    let known = rules.as_deref().unwrap_or_default();
    let list = |key: &str| section.get(key).map_or(Ok(Vec::new()), |n| texts(n, GROUP_BY_MAX));
    let group_by = problems.ok(list("group-by"));
    let aliases = section.get("aliases").map_or(Ok(Vec::new()), |n| read_aliases(n, known));
    let aliases = problems.ok(aliases);
    let counted = section.get("condition").and_then(|c| c.get("field"));
    let counted = counted.and_then(|f| texts(f, GROUP_BY_MAX).ok()).unwrap_or_default();
    let used = [group_by.as_deref().unwrap_or_default(), &counted].concat();
    refuse_unused_aliases(section, aliases.as_deref().unwrap_or_default(), &used, problems);
    let timespan = section
        .get("timespan")
        .or(section.get("timeframe"))
        .map_or_else(|| Err(missing("timespan").at(section.at)), read_timespan);
    let timespan = problems.ok(timespan);
    let window = problems.ok(read_window(section, kind));
    let learn_for = problems.ok(read_learn_for(section, kind));
    let generate = problems.ok(read_generate(section.get("generate").or(outer_generate)));
    let place = section.get("condition").map_or(section.at, |c| c.at);
    let kind = kind?;
    let condition = read_condition(kind, section.get("condition"), known);
    let condition = problems.ok(condition.map_err(|r| r.at(place)));
    Some(Correlation {
        kind,
        rules: rules?,
        group_by: group_by?,
        aliases: aliases?,
        timespan: timespan?,
        window: window?,
        condition: condition?,
        generate: generate?,
        learn_for: learn_for?,
    })
}

/// The rules that a broken correlation would silence: what its author said of them still stands, and a
/// slip elsewhere in the document must not make them alert.
pub fn silenced(node: &Node) -> Vec<Box<str>> {
    let Some(section) = node.get("correlation") else { return Vec::new() };
    let generate = read_generate(section.get("generate").or(node.get("generate")));
    if generate == Ok(true) {
        return Vec::new();
    }
    let items = |node: &Node| match &node.value {
        Yaml::List(items) => items.iter().filter_map(Node::text).collect(),
        _ => Vec::from_iter(node.text()),
    };
    let mut named: Vec<Box<str>> = match section.get("rules") {
        Some(rules) => items(rules).into_iter().map(String::into_boxed_str).collect(),
        None => read_rules(section, None).unwrap_or_default(),
    };
    named.truncate(RULES_MAX);
    named
}

fn missing(key: &str) -> Refusal {
    Refusal::invalid(format!("there is no `{key}`"), format!("add `{key}:`"))
}

fn read_type(section: &Node) -> Result<CorrelationType, Refusal> {
    let node = section.get("type").ok_or_else(|| missing("type"))?;
    let name = node.text().unwrap_or_default();
    CorrelationType::from_name(&name).ok_or_else(|| {
        let hint = did_you_mean(&name, CorrelationType::ALL.iter().map(|(_, n)| *n));
        Refusal::misspelt(format!("unknown correlation type `{name}`"), hint).at(node.at)
    })
}

/// The listed rules, or those that an expression names, in its order.
fn read_rules(section: &Node, kind: Option<CorrelationType>) -> Result<Vec<Box<str>>, Refusal> {
    let condition = section.get("condition").map(|c| &c.value);
    let rules = match (section.get("rules"), condition) {
        (Some(node), _) => texts(node, RULES_MAX).map_err(|r| r.at(node.at))?,
        (None, Some(Yaml::Text(text))) => {
            let mut named = Vec::new();
            names(&condition::parse(text)?, &mut named);
            named
        }
        (None, _) => return Err(missing("rules")),
    };
    if rules.is_empty() {
        return Err(Refusal::invalid("no rules are named", "list ids or names"));
    }
    if kind == Some(CorrelationType::Absence) && rules.len() < 2 {
        let reason = "absence needs a first rule and one that should follow";
        return Err(Refusal::invalid(reason, "list at least two rules"));
    }
    Ok(rules)
}

fn names(expr: &Expr, out: &mut Vec<Box<str>>) {
    match expr {
        Expr::Name(name) => {
            if !out.iter().any(|n| **n == **name) {
                out.push(name.as_str().into());
            }
        }
        Expr::And(parts) | Expr::Or(parts) => parts.iter().for_each(|p| names(p, out)),
        Expr::Not(part) => names(part, out),
        Expr::Of(..) => {}
    }
}

fn texts(node: &Node, most: usize) -> Result<Vec<Box<str>>, Refusal> {
    let items = match &node.value {
        Yaml::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if items.len() > most {
        let reason = format!("more than {most} entries");
        return Err(Refusal::invalid(reason, "split the correlation").at(node.at));
    }
    let text = |n: &Node| {
        let text = n.text().filter(|t| !t.is_empty()).map(String::into_boxed_str);
        let reason = format!("{} where text should stand", n.kind());
        text.ok_or_else(|| Refusal::invalid(reason, "give names as text").at(n.at))
    };
    items.iter().map(text).collect()
}

fn read_aliases(node: &Node, rules: &[Box<str>]) -> Result<Vec<Alias>, Refusal> {
    let wrong = |n: &Node| {
        Refusal::invalid("aliases are maps of rule to field", "name: {rule: field}").at(n.at)
    };
    let Yaml::Map(entries) = &node.value else { return Err(wrong(node)) };
    let mut out = Vec::new();
    for (name, fields) in entries {
        let Yaml::Map(pairs) = &fields.value else { return Err(wrong(fields)) };
        let mut list = Vec::new();
        for (rule, field) in pairs {
            if !rules.iter().any(|r| **r == **rule) {
                let reason = format!("alias `{name}` names `{rule}`, which is not in `rules`");
                return Err(Refusal::invalid(reason, "use the same id or name").at(field.at));
            }
            list.push((rule.as_str().into(), field.text().ok_or_else(|| wrong(field))?.into()));
        }
        out.push(Alias { name: name.as_str().into(), fields: list });
    }
    Ok(out)
}

/// An alias that nothing uses is a name misspelt here or there: the correlation would go by a field
/// that no event has.
fn refuse_unused_aliases(
    section: &Node,
    aliases: &[Alias],
    used: &[Box<str>],
    problems: &mut Refusals,
) {
    for alias in aliases.iter().filter(|a| !used.contains(&a.name)) {
        let hint = match event::text::nearest(&alias.name, used.iter().map(|u| &**u)) {
            Some(best) => format!("`{best}` is used; was that meant?"),
            None => "name it in `group-by` or in `field`, or remove it".to_owned(),
        };
        let place = section.get("aliases").and_then(|a| a.get(&alias.name));
        let refusal = Refusal::invalid(format!("nothing uses the alias `{}`", alias.name), hint);
        problems.push(refusal.at(place.map_or(section.at, |p| p.key_at)));
    }
}

fn read_timespan(node: &Node) -> Result<Timespan, Refusal> {
    timespan(node, Timespan::parse)
}

fn timespan(node: &Node, parse: fn(&str) -> Option<Timespan>) -> Result<Timespan, Refusal> {
    let text = node.text().unwrap_or_else(|| node.kind().to_owned());
    let span = parse(&text).ok_or_else(|| {
        let reason = format!("`{text}` is not a length of time");
        Refusal::invalid(reason, "write 30s, 10m, 1h, 7d, 2w, 1M or 1y").at(node.at)
    })?;
    if span.ns() > TIMESPAN_MAX_NS {
        let reason = format!("`{text}` is longer than 400 days");
        return Err(Refusal::invalid(reason, "search what is stored instead").at(node.at));
    }
    Ok(span)
}

fn read_window(section: &Node, kind: Option<CorrelationType>) -> Result<Window, Refusal> {
    let gap = section.get("gap");
    let name = section.get("window");
    let at = name.or(gap).map_or(section.at, |n| n.at);
    let window = match (name.and_then(Node::text).as_deref(), gap) {
        (Some("session"), Some(gap)) => Window::Session { gap: read_timespan(gap)? },
        (Some("session"), None) => return Err(missing("gap").at(at)),
        (_, Some(gap)) => {
            let reason = "`gap` belongs to `window: session`";
            return Err(Refusal::invalid(reason, "add it or remove `gap`").at(gap.at));
        }
        (Some("tumbling"), None) => Window::Tumbling,
        (Some("sliding"), None) => Window::Sliding,
        (None, None) if name.is_none() => Window::Sliding,
        _ => {
            let written =
                name.map_or_else(String::new, |n| n.text().unwrap_or_else(|| n.kind().to_owned()));
            let hint = did_you_mean(&written, ["sliding", "tumbling", "session"]);
            return Err(Refusal::misspelt(format!("unknown window `{written}`"), hint).at(at));
        }
    };
    let own = matches!(kind, Some(CorrelationType::FirstSeen | CorrelationType::Absence));
    if own && window != Window::Sliding {
        let reason = "this type has a window of its own kind";
        return Err(Refusal::invalid(reason, "remove `window`").at(at));
    }
    Ok(window)
}

fn read_learn_for(
    section: &Node,
    kind: Option<CorrelationType>,
) -> Result<Option<Timespan>, Refusal> {
    let Some(node) = section.get("learn-for") else { return Ok(None) };
    if kind.is_some_and(|k| k != CorrelationType::FirstSeen) {
        let reason = "`learn-for` belongs to first_seen only";
        return Err(Refusal::invalid(reason, "remove it").at(node.at));
    }
    timespan(node, Timespan::parse_or_nought).map(Some)
}

fn read_generate(node: Option<&Node>) -> Result<bool, Refusal> {
    match node {
        None => Ok(false),
        Some(Node { value: Yaml::Bool(b), .. }) => Ok(*b),
        Some(node) => {
            let hint = "write true or false";
            Err(Refusal::invalid("`generate` is true or false", hint).at(node.at))
        }
    }
}

fn read_condition(
    kind: CorrelationType,
    node: Option<&Node>,
    rules: &[Box<str>],
) -> Result<CorrelationCondition, Refusal> {
    if kind == CorrelationType::Absence {
        return match node {
            None => Ok(CorrelationCondition::AllRules),
            Some(_) => Err(Refusal::invalid("absence has no condition", "remove it")),
        };
    }
    let Some(node) = node else {
        return match kind.is_temporal() {
            true => Ok(CorrelationCondition::AllRules),
            false => Err(missing("condition")),
        };
    };
    match &node.value {
        Yaml::Map(entries) if kind == CorrelationType::RegularInterval => read_regular(entries),
        Yaml::Map(entries) => read_bounds(kind, entries, rules.len()),
        Yaml::Text(text) if kind.is_temporal() => {
            let expr = expression(&condition::parse(text)?, rules)?;
            let mut named = Vec::new();
            expr.visit(&mut |rule| named.push(rule.to_owned()));
            if let Some(unused) = rules.iter().find(|r| !named.iter().any(|n| **n == ***r)) {
                let reason = format!("the condition does not use `{unused}`");
                return Err(Refusal::invalid(reason, "use it or remove it from `rules`"));
            }
            match kind {
                CorrelationType::Temporal => Ok(CorrelationCondition::Expression(expr)),
                _ => ordered(&expr),
            }
        }
        _ => {
            let reason = format!("the condition of {} is {}", kind.name(), node.kind());
            Err(Refusal::invalid(reason, "write a map such as `gte: 5`"))
        }
    }
}

/// An order over an expression has a meaning only where every rule must occur.
fn ordered(expr: &RuleExpr) -> Result<CorrelationCondition, Refusal> {
    match expr {
        RuleExpr::Rule(_) => Ok(CorrelationCondition::AllRules),
        RuleExpr::And(parts) if parts.iter().all(|p| matches!(p, RuleExpr::Rule(_))) => {
            Ok(CorrelationCondition::AllRules)
        }
        _ => {
            let reason = "`or` and `not` have no order";
            let hint = "use `temporal`, or `absence` for: a is not followed by b";
            Err(Refusal::not_covered(reason, hint))
        }
    }
}

/// What a map of conditions says, before it is held against the type.
#[derive(Default)]
struct Bounds {
    bounds: Vec<(BoundOp, Number)>,
    fields: Vec<Box<str>>,
    percentile: Option<f64>,
}

fn read_bounds(
    kind: CorrelationType,
    entries: &[(String, Node)],
    rules: usize,
) -> Result<CorrelationCondition, Refusal> {
    let mut out = Bounds::default();
    for (key, value) in entries {
        match key.as_str() {
            "field" => out.fields = texts(value, GROUP_BY_MAX)?,
            "percentile" => out.percentile = Some(percentage(key, value, 0.0..=100.0)?),
            _ => out.bounds.push(read_bound(kind, key, value, &["field", "percentile"])?),
        }
    }
    out.fits(kind)?;
    out.can_hold(kind, rules)?;
    let Bounds { bounds, fields, percentile } = out;
    Ok(CorrelationCondition::Bounds { bounds, fields, percentile })
}

/// One bound; `others` are the other keys that may stand here.
fn read_bound(
    kind: CorrelationType,
    name: &str,
    value: &Node,
    others: &[&'static str],
) -> Result<(BoundOp, Number), Refusal> {
    let op = BoundOp::from_name(name).ok_or_else(|| {
        let words = BoundOp::ALL.iter().map(|(_, n)| *n).chain(others.iter().copied());
        let hint = did_you_mean(name, words);
        Refusal::misspelt(format!("unknown condition `{name}`"), hint).at(value.key_at)
    })?;
    let number = match &value.value {
        Yaml::Int(n) => Some(Number::Int(*n)),
        Yaml::Float(n, _) if n.is_finite() => Some(Number::Float(*n)),
        Yaml::Text(text) => Number::parse(text.as_bytes()),
        _ => None,
    };
    let number = number.ok_or_else(|| {
        let reason = format!("`{name}` needs a number");
        Refusal::invalid(reason, "write a number").at(value.at)
    })?;
    if kind.is_counted() && matches!(number, Number::Float(n) if n.fract() != 0.0) {
        let reason = format!("{} counts in whole numbers", kind.name());
        return Err(Refusal::invalid(reason, "write a whole number").at(value.at));
    }
    Ok((op, number))
}

fn percentage(name: &str, node: &Node, range: RangeInclusive<f64>) -> Result<f64, Refusal> {
    let number = node.text().and_then(|t| t.parse::<f64>().ok());
    number.filter(|n| range.contains(n)).ok_or_else(|| {
        let ends = format!("{} to {}", range.start(), range.end());
        let reason = format!("`{name}` is a percentage, {ends}");
        Refusal::invalid(reason, format!("write a number from {ends}")).at(node.at)
    })
}

/// The condition of `regular_interval`.
fn read_regular(entries: &[(String, Node)]) -> Result<CorrelationCondition, Refusal> {
    let kind = CorrelationType::RegularInterval;
    let mut out = Bounds::default();
    let (mut jitter, mut share, mut burst) = (None, SHARE_DEFAULT, None);
    for (key, value) in entries {
        match key.as_str() {
            "jitter" => jitter = Some(percentage(key, value, 0.0..=JITTER_MAX)?),
            "share" => share = percentage(key, value, SHARE_MIN..=100.0)?,
            "burst" => burst = Some(read_timespan(value)?),
            _ => out.bounds.push(read_bound(kind, key, value, &["jitter", "share", "burst"])?),
        }
    }
    let Some(jitter) = jitter else {
        let hint = "add `jitter: 20`: gaps within 20 % of their median are regular";
        return Err(Refusal::invalid("the condition does not say what is regular", hint));
    };
    let enough = |(op, number): &(BoundOp, Number)| match (op, number.float()) {
        (BoundOp::Gt, n) => n + 1.0 >= VISITS_MIN,
        (BoundOp::Gte | BoundOp::Eq, n) => n >= VISITS_MIN,
        _ => false,
    };
    if !out.bounds.iter().any(enough) {
        let reason = "fewer than 3 visits have less than two gaps, which are always equal";
        return Err(Refusal::invalid(reason, "add `gte: 10`, at least `gte: 3`"));
    }
    out.can_hold(kind, 1)?;
    Ok(CorrelationCondition::Regular { bounds: out.bounds, jitter, share, burst })
}

impl Bounds {
    fn fits(&self, kind: CorrelationType) -> Result<(), Refusal> {
        let first_seen = kind == CorrelationType::FirstSeen;
        if kind.needs_field() && self.fields.is_empty() {
            let reason = format!("{} needs a `field` in its condition", kind.name());
            return Err(Refusal::invalid(reason, "add `field:`"));
        }
        if !kind.needs_field() && !self.fields.is_empty() {
            let reason = format!("{} takes no `field`", kind.name());
            return Err(Refusal::invalid(reason, "use value_count"));
        }
        if self.bounds.is_empty() != first_seen {
            let reason = match first_seen {
                true => "first_seen has no threshold",
                false => "the condition has no threshold",
            };
            return Err(Refusal::invalid(reason, "see docs/sigma.md"));
        }
        match (kind == CorrelationType::ValuePercentile, self.percentile) {
            (true, None) => {
                let reason = "value_percentile does not say which percentile is measured";
                Err(Refusal::not_covered(reason, "add `percentile: 95`"))
            }
            (false, Some(_)) => {
                let reason = "`percentile` belongs to value_percentile only";
                Err(Refusal::invalid(reason, "remove it"))
            }
            _ => Ok(()),
        }
    }
}

impl Bounds {
    /// Refuses what no window can ever satisfy.
    fn can_hold(&self, kind: CorrelationType, rules: usize) -> Result<(), Refusal> {
        let counted = kind.is_counted();
        // Counts are decided when an event comes, which is one by then; silence alone counts none.
        let silence = self.bounds.iter().all(|(op, _)| matches!(op, BoundOp::Lt | BoundOp::Lte));
        let (mut low, mut high) = match (counted, kind.is_temporal()) {
            (false, _) => (f64::NEG_INFINITY, f64::INFINITY),
            (true, true) => (1.0, rules as f64),
            (true, false) => (if silence { 0.0 } else { 1.0 }, f64::INFINITY),
        };
        let (floor, ceiling) = (low, high);
        // Whether the ends themselves belong to what is left.
        let mut open = false;
        let step = if counted { 1.0 } else { 0.0 };
        for (op, bound) in self.bounds.iter().map(|(op, n)| (op, n.float())) {
            match op {
                BoundOp::Gt => low = low.max(bound + step),
                BoundOp::Gte => low = low.max(bound),
                BoundOp::Lt => high = high.min(bound - step),
                BoundOp::Lte => high = high.min(bound),
                BoundOp::Eq => (low, high) = (low.max(bound), high.min(bound)),
                BoundOp::Neq => {}
            }
        }
        for (op, bound) in self.bounds.iter().map(|(op, n)| (op, n.float())) {
            let excludes =
                *op == BoundOp::Neq || (!counted && matches!(op, BoundOp::Gt | BoundOp::Lt));
            open |= excludes && low == high && bound == low;
        }
        if low < high || (low == high && !open) {
            return Ok(());
        }
        let hint = match kind {
            CorrelationType::EventCount if high < floor => {
                "for silence after an event write `lt: 1`".to_owned()
            }
            _ if low > ceiling => format!("{rules} rules are named, more cannot occur"),
            _ => "check the numbers and their directions".to_owned(),
        };
        Err(Refusal::invalid("no window can ever satisfy the condition", hint))
    }
}

fn expression(expr: &Expr, rules: &[Box<str>]) -> Result<RuleExpr, Refusal> {
    let all = |parts: &[Expr]| -> Result<Vec<_>, _> {
        parts.iter().map(|p| expression(p, rules)).collect()
    };
    Ok(match expr {
        Expr::Name(name) if rules.iter().any(|r| **r == **name) => {
            RuleExpr::Rule(name.as_str().into())
        }
        Expr::Name(name) => {
            let reason = format!("the condition names `{name}`, which is not in `rules`");
            return Err(Refusal::invalid(reason, "use the same id or name"));
        }
        Expr::And(parts) => RuleExpr::And(all(parts)?),
        Expr::Or(parts) => RuleExpr::Or(all(parts)?),
        Expr::Not(part) => RuleExpr::Not(Box::new(expression(part, rules)?)),
        Expr::Of(..) => {
            let hint = "use and, or, not";
            return Err(Refusal::invalid("`of` has no meaning between rules", hint));
        }
    })
}
