//! The `correlation` section becomes a [`Correlation`].

use crate::sigma::condition::{self, Expr};
use crate::sigma::correlation::{
    Alias, BoundOp, Correlation, CorrelationCondition, CorrelationType, RuleExpr, Timespan,
};
use crate::sigma::problem::Refusal;
use crate::sigma::yaml::{Node, Yaml};
use filter::Number;

/// Most rules one correlation relates.
pub const RULES_MAX: usize = 256;
/// Most fields that separate groups.
pub const GROUP_BY_MAX: usize = 16;

const KEYS: &[&str] = &[
    "type",
    "rules",
    "group-by",
    "aliases",
    "timespan",
    "timeframe",
    "condition",
    "generate",
    "learn-for",
];

/// Reads a `correlation:` section. `outer_generate` is a `generate` beside it, where the
/// specification puts it too.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn read(section: &Node, outer_generate: Option<&Node>) -> Result<Correlation, Refusal> {
    let Yaml::Map(entries) = &section.value else {
        let reason = format!("`correlation` is {}", section.kind());
        return Err(Refusal::invalid(reason, "write type, rules, timespan").at(section.at));
    };
    if let Some((key, value)) = entries.iter().find(|(k, _)| !KEYS.contains(&k.as_str())) {
        let reason = format!("unknown attribute `{key}` of a correlation");
        return Err(Refusal::not_covered(reason, "remove it").at(value.at));
    }
    let required = |key: &str| {
        section.get(key).ok_or_else(|| {
            Refusal::invalid(format!("there is no `{key}`"), format!("add `{key}:`")).at(section.at)
        })
    };
    let kind = read_type(required("type")?)?;
    let rules = texts(required("rules")?, RULES_MAX)?;
    if rules.is_empty() {
        return Err(Refusal::invalid("no rules are named", "list ids or names").at(section.at));
    }
    let group_by = section.get("group-by").map_or(Ok(Vec::new()), |n| texts(n, GROUP_BY_MAX))?;
    let aliases = section.get("aliases").map_or(Ok(Vec::new()), |n| read_aliases(n, &rules))?;
    let timespan_node = match section.get("timespan") {
        Some(node) => node,
        None => section.get("timeframe").map_or_else(|| required("timespan"), Ok)?,
    };
    let timespan = read_timespan(timespan_node)?;
    let learn_for = section.get("learn-for").map(read_timespan).transpose()?;
    if learn_for.is_some() && kind != CorrelationType::FirstSeen {
        let reason = "`learn-for` belongs to first_seen only";
        return Err(Refusal::invalid(reason, "remove it").at(section.at));
    }
    let condition = read_condition(kind, section.get("condition"), &rules)
        .map_err(|r| r.at(section.get("condition").map_or(section.at, |c| c.at)))?;
    let generate = match section.get("generate").or(outer_generate) {
        None => false,
        Some(Node { value: Yaml::Bool(b), .. }) => *b,
        Some(node) => {
            return Err(Refusal::invalid("`generate` is true or false", "fix it").at(node.at));
        }
    };
    Ok(Correlation { kind, rules, group_by, aliases, timespan, condition, generate, learn_for })
}

fn read_type(node: &Node) -> Result<CorrelationType, Refusal> {
    let name = node.text().unwrap_or_default();
    CorrelationType::from_name(&name).ok_or_else(|| {
        let known: Vec<_> = CorrelationType::ALL.iter().map(|(_, n)| *n).collect();
        let hint = format!("types are: {}", known.join(", "));
        Refusal::not_covered(format!("unknown correlation type `{name}`"), hint).at(node.at)
    })
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
        let reason = format!("{} where text should stand", n.kind());
        n.text().map(String::into_boxed_str).ok_or_else(|| Refusal::invalid(reason, "").at(n.at))
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

fn read_timespan(node: &Node) -> Result<Timespan, Refusal> {
    let text = node.text().unwrap_or_default();
    Timespan::parse(&text).ok_or_else(|| {
        let reason = format!("`{text}` is not a length of time");
        Refusal::invalid(reason, "write 30s, 10m, 1h, 7d, 2w, 1M or 1y").at(node.at)
    })
}

fn read_condition(
    kind: CorrelationType,
    node: Option<&Node>,
    rules: &[Box<str>],
) -> Result<CorrelationCondition, Refusal> {
    let Some(node) = node else {
        return match kind.is_temporal() {
            true => Ok(CorrelationCondition::AllRules),
            false => Err(Refusal::invalid("there is no condition", "add `condition:`")),
        };
    };
    match &node.value {
        Yaml::Map(entries) => read_bounds(kind, entries),
        Yaml::Text(text) if kind.is_temporal() => {
            let expr = expression(&condition::parse(text)?, rules)?;
            let mut named = Vec::new();
            expr.visit(&mut |rule| named.push(rule.to_owned()));
            if let Some(unused) = rules.iter().find(|r| !named.iter().any(|n| **n == ***r)) {
                let reason = format!("the condition does not use `{unused}`");
                return Err(Refusal::invalid(reason, "use it or remove it from `rules`"));
            }
            Ok(CorrelationCondition::Expression(expr))
        }
        _ => {
            let reason = format!("the condition of {} is {}", kind.name(), node.kind());
            Err(Refusal::invalid(reason, "write a map such as `gte: 5`"))
        }
    }
}

fn read_bounds(
    kind: CorrelationType,
    entries: &[(String, Node)],
) -> Result<CorrelationCondition, Refusal> {
    let (mut bounds, mut fields, mut percentile) = (Vec::new(), Vec::new(), None);
    for (key, value) in entries {
        match key.as_str() {
            "field" => fields = texts(value, GROUP_BY_MAX)?,
            "percentile" => {
                let number = value.text().and_then(|t| t.parse::<f64>().ok());
                let number = number.filter(|n| (0.0..=100.0).contains(n)).ok_or_else(|| {
                    Refusal::invalid("a percentile is 0 to 100", "fix it").at(value.at)
                })?;
                percentile = Some(number);
            }
            name => {
                let op = BoundOp::from_name(name).ok_or_else(|| {
                    let hint = "use gt, gte, lt, lte, eq, neq, field, percentile";
                    Refusal::not_covered(format!("unknown condition `{name}`"), hint).at(value.at)
                })?;
                let number = match &value.value {
                    Yaml::Int(n) => Number::Int(*n),
                    Yaml::Float(n) => Number::Float(*n),
                    _ => {
                        let reason = format!("`{name}` needs a number");
                        return Err(Refusal::invalid(reason, "write a number").at(value.at));
                    }
                };
                bounds.push((op, number));
            }
        }
    }
    if kind.needs_field() && fields.is_empty() {
        let reason = format!("{} needs a `field` in its condition", kind.name());
        return Err(Refusal::invalid(reason, "add `field:`"));
    }
    if !kind.needs_field() && !fields.is_empty() {
        let reason = format!("{} takes no `field`", kind.name());
        return Err(Refusal::invalid(reason, "use value_count"));
    }
    let first_seen = kind == CorrelationType::FirstSeen;
    if bounds.is_empty() != first_seen {
        let reason = match first_seen {
            true => "first_seen has no threshold",
            false => "the condition has no threshold",
        };
        return Err(Refusal::invalid(reason, "see docs/sigma.md"));
    }
    match (kind == CorrelationType::ValuePercentile, percentile) {
        (true, None) => Err(Refusal::invalid("no percentile given", "add `percentile: 95`")),
        (false, Some(_)) => Err(Refusal::invalid("percentile without value_percentile", "")),
        _ => Ok(CorrelationCondition::Bounds { bounds, fields, percentile }),
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
            return Err(Refusal::invalid("`of` has no meaning here", "use and, or, not"));
        }
    })
}
