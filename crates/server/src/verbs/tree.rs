//! A condition with what was found, as an indented tree for people.

use serde_json::Value;

/// Lines of an explanation's condition: `+` for what held, `-` for what did not.
pub(super) fn lines(condition: &Value, depth: usize) -> Vec<String> {
    let mut out = Vec::new();
    let mut open = vec![(depth, condition)];
    while let Some((depth, node)) = open.pop() {
        if node.is_null() {
            continue;
        }
        let mark = if node["matched"].as_bool() == Some(true) { "+" } else { "-" };
        let part = |name: &str| node.get(name).map(super::ask::cell).unwrap_or_default();
        let what = match node["op"].as_str() {
            Some("leaf") => {
                let (field, pattern) = (part("field"), part("pattern"));
                format!("{field} {pattern}  {} {}", part("actual"), part("reason"))
            }
            _ => format!("{} {}", part("op"), part("name")),
        };
        out.push(format!("{}{mark} {}", "  ".repeat(depth), what.trim_end()));
        let children = node["children"].as_array().into_iter().flatten().rev();
        open.extend(children.map(|child| (depth + 1, child)));
    }
    out
}
