//! Wording: the one-sentence reason, a terminal line, the JSON for webhooks and files, Markdown.
//!
//! Log text is hostile. On terminals and in the reason it goes through [`event::text::render`]; for
//! Markdown it goes through [`markdown`] as well; JSON needs no escape of its own, since the encoder
//! escapes and the receiver decides how to show it.

use crate::{RuleMeta, State};
use event::text::render;
use event::time::rfc3339;
use event::{Alert, Level};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Longest value in a reason, in characters; the whole value is in the explanation.
pub const VALUE_MAX_CHARS: usize = 160;
/// Most values in a reason beyond those of the entity: more than four is no longer one sentence.
pub const VALUES_MAX: usize = 4;

/// How a level is shown: word and shape, so that nothing depends on colour.
pub const SEVERITY: &[(Level, &str, char)] = &[
    (Level::Informational, "INFO", '\u{b7}'),
    (Level::Low, "LOW", '\u{25cb}'),
    (Level::Medium, "MEDIUM", '\u{25cf}'),
    (Level::High, "HIGH", '\u{25c6}'),
    (Level::Critical, "CRITICAL", '\u{25b2}'),
];

/// One sentence saying what happened to whom, from a rule's title, its entity and the values that
/// matter: `Encoded PowerShell: host.name WS-17, user.name alice; process.command_line is ...`.
/// Values that the entity already shows are left out. The result has no control characters.
pub fn reason(title: &str, entity: &BTreeMap<String, String>, values: &[(&str, &[u8])]) -> String {
    let mut out = render(title.trim().trim_end_matches('.').as_bytes());
    for (index, (name, value)) in entity.iter().enumerate() {
        let sep = if index == 0 { ": " } else { ", " };
        let _ = write!(out, "{sep}{} {}", render(name.as_bytes()), shorten(value.as_bytes()));
    }
    let news = values
        .iter()
        .filter(|(name, value)| entity.get(*name).is_none_or(|shown| shown.as_bytes() != *value));
    for (index, (name, value)) in news.take(VALUES_MAX).enumerate() {
        let sep = match (index, entity.is_empty()) {
            (0, true) => ": ",
            (0, false) => "; ",
            _ => ", ",
        };
        let _ = write!(out, "{sep}{} is {}", render(name.as_bytes()), shorten(value));
    }
    out
}

/// One line for a terminal: time, shape, word, reason, count, id. No control characters, no colour.
pub fn line(alert: &Alert) -> String {
    let (_, word, shape) = SEVERITY[alert.level as usize];
    let mut out = format!("{} {shape} {word:<8} ", rfc3339(alert.event_ns));
    out.push_str(&render(alert.reason.as_bytes()));
    if alert.count > 1 {
        let _ = write!(out, " (x{})", alert.count);
    }
    let _ = write!(out, "  [{}]", render(alert.id.as_bytes()));
    out
}

/// The alert as JSON for webhooks, files and other tools: ECS names, and `kibana.alert.*` names
/// where Elastic has one, as flat dotted keys. The rule's author, licence and references are always
/// there, empty or not.
pub fn native_json(alert: &Alert, meta: &RuleMeta, state: State) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| {
        out.insert(name.to_owned(), value);
    };
    put("@timestamp", json!(rfc3339(alert.stream_ns)));
    put("event.kind", json!("signal"));
    put("event.id", json!(alert.fired_by.to_string()));
    put("message", json!(alert.reason));
    put("tags", json!(alert.tags));
    put("kibana.alert.uuid", json!(alert.id));
    put("kibana.alert.original_time", json!(rfc3339(alert.event_ns)));
    put("kibana.alert.severity", json!(alert.level.name()));
    put("kibana.alert.reason", json!(alert.reason));
    put("kibana.alert.workflow_status", json!(state.workflow_status()));
    put("kibana.alert.rule.name", json!(alert.title));
    put("kibana.alert.rule.uuid", json!(alert.rule_id));
    put("kibana.alert.rule.type", json!(alert.rule_type));
    put("kibana.alert.rule.author", json!([alert.author]));
    put("kibana.alert.rule.license", json!(meta.license));
    put("kibana.alert.rule.references", json!(meta.references));
    put("kibana.alert.rule.description", json!(meta.description));
    put("kibana.alert.rule.false_positives", json!(meta.falsepositives));
    let ancestors: Vec<Value> = alert
        .evidence
        .iter()
        .map(|e| json!({"id": e.id.to_string(), "type": "event", "rule": e.rule, "depth": 0}))
        .collect();
    put("kibana.alert.ancestors", json!(ancestors));
    put("alcedo.alert.entity", json!(alert.entity));
    put("alcedo.alert.count", json!(alert.count));
    put("alcedo.alert.backfill", json!(alert.backfill));
    put("alcedo.alert.explanation", json!(alert.explanation));
    put("alcedo.rule.hash", json!(alert.rule_hash));
    put("alcedo.rule.generation", json!(alert.generation));
    // The entity under its own names too, so that receivers can route on `host.name`. Field names
    // come from the rule; a name of ours is never overwritten.
    for (name, value) in &alert.entity {
        if !out.contains_key(name) {
            out.insert(name.clone(), json!(value));
        }
    }
    Value::Object(out)
}

/// Text made inert for Markdown and chat: control characters are shown, HTML and mention characters
/// become entities, every other ASCII punctuation mark gets a backslash (CommonMark 2.4), so that no
/// link, image, mention or format can come out of a log.
pub fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in render(text.as_bytes()).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '@' => out.push_str("&#64;"),
            c if c.is_ascii_punctuation() => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// The alert as a short Markdown message: everything in it that is not ours is escaped.
pub fn markdown_message(alert: &Alert, meta: &RuleMeta) -> String {
    let (_, word, shape) = SEVERITY[alert.level as usize];
    let mut out = format!("{shape} **{word}** {}\n", markdown(&alert.reason));
    let _ = write!(out, "\nRule: {}", markdown(&alert.title));
    if !alert.author.is_empty() {
        let _ = write!(out, " by {}", markdown(&alert.author));
    }
    if !meta.license.is_empty() {
        let _ = write!(out, " \\({}\\)", markdown(&meta.license));
    }
    for link in &meta.references {
        let _ = write!(out, "\nReference: {}", markdown(link));
    }
    out
}

fn shorten(value: &[u8]) -> String {
    // Four bytes hold any character, so this prefix always has enough of them.
    let head = &value[..value.len().min(VALUE_MAX_CHARS * 4)];
    let shown = render(head);
    match shown.char_indices().nth(VALUE_MAX_CHARS) {
        Some((at, _)) => format!("{}... ({} bytes)", &shown[..at], value.len()),
        None if head.len() < value.len() => format!("{shown}... ({} bytes)", value.len()),
        None => shown,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use event::{EventId, Evidence, Explanation};

    pub(crate) fn alert() -> Alert {
        Alert {
            id: "0123".into(),
            rule_id: "929a".into(),
            title: "Encoded PowerShell".into(),
            rule_type: "detection".into(),
            author: "A. Author".into(),
            level: Level::High,
            tags: vec!["attack.t1059.001".into()],
            rule_hash: "sha256:00".into(),
            generation: 3,
            reason: "Encoded PowerShell: host.name WS-17".into(),
            entity: BTreeMap::from([("host.name".into(), "WS-17".into())]),
            event_ns: 1_795_479_240_000_000_000,
            stream_ns: 1_795_479_241_000_000_000,
            fired_by: EventId::at(9),
            evidence: vec![Evidence::new(EventId::at(9), 0, "929a".into(), 1)],
            count: 1,
            explanation: Explanation::default(),
            backfill: false,
        }
    }

    #[test]
    fn the_reason_is_one_sentence_with_the_values_that_matter() {
        let entity = BTreeMap::from([
            ("host.name".to_owned(), "WS-17".to_owned()),
            ("user.name".to_owned(), "al\x1bice".to_owned()),
        ]);
        let values: &[(&str, &[u8])] =
            &[("user.name", b"al\x1bice"), ("process.command_line", b"powershell -enc SQBF")];
        assert_eq!(
            reason("Encoded PowerShell.", &entity, values),
            "Encoded PowerShell: host.name WS-17, user.name al\\x1bice; \
             process.command_line is powershell -enc SQBF"
        );
        assert_eq!(reason("T", &BTreeMap::new(), &[("a", b"b")]), "T: a is b");
        let long = vec![b'x'; 100_000];
        let cut = reason("T", &BTreeMap::new(), &[("a", &long)]);
        assert!(cut.len() < 250 && cut.ends_with("... (100000 bytes)"), "{cut}");
    }

    #[test]
    fn a_terminal_line_shows_severity_by_word_and_shape_and_contains_nothing_that_acts() {
        let mut hostile = alert();
        hostile.reason = "a\x1b[2J\u{202e}b".into();
        hostile.count = 12;
        assert_eq!(
            line(&hostile),
            "2026-11-24T00:14:00Z \u{25c6} HIGH     a\\x1b[2J\\u{202e}b (x12)  [0123]"
        );
        for (level, _, _) in Level::ALL.iter().map(|(l, n)| (l, n, ())) {
            assert_eq!(SEVERITY[*level as usize].0, *level);
        }
    }

    #[test]
    fn json_names_rule_author_license_and_references_even_when_there_are_none() {
        let json = native_json(&alert(), &RuleMeta::default(), State::New);
        assert_eq!(json["event.kind"], "signal");
        assert_eq!(json["kibana.alert.rule.name"], "Encoded PowerShell");
        assert_eq!(json["kibana.alert.rule.author"], json!(["A. Author"]));
        assert_eq!(json["kibana.alert.rule.license"], "");
        assert_eq!(json["kibana.alert.rule.references"], json!([]));
        assert_eq!(json["kibana.alert.workflow_status"], "open");
        assert_eq!(json["kibana.alert.severity"], "high");
        assert_eq!(json["kibana.alert.ancestors"][0]["id"], "0-9-0");
        assert_eq!(json["host.name"], "WS-17");
    }

    #[test]
    fn an_entity_cannot_overwrite_our_names() {
        let mut forged = alert();
        forged.entity.insert("event.kind".into(), "event".into());
        let json = native_json(&forged, &RuleMeta::default(), State::Closed);
        assert_eq!(json["event.kind"], "signal");
        assert_eq!(json["kibana.alert.workflow_status"], "closed");
    }

    #[test]
    fn markdown_from_a_log_is_inert() {
        assert_eq!(
            markdown("[x](http://e) <!channel> @all **b**"),
            "\\[x\\]\\(http\\:\\/\\/e\\) &lt;\\!channel&gt; &#64;all \\*\\*b\\*\\*"
        );
        let mut hostile = alert();
        hostile.reason = "![p](http://evil/x.png)".into();
        let message = markdown_message(&hostile, &RuleMeta::default());
        assert!(!message.contains("]("), "{message}");
        assert!(message.contains("A\\. Author"));
    }
}
