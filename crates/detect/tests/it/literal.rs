//! Random rules on random events: the compiled matcher against a reader of the specification that
//! takes it word by word and shares no code with it.

use detect::ruletest::push_event;
use detect::{RuleSet, Scratch, load_text};
use event::EventBatch;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

/// `ALCEDO_CASES` asks for more; the default takes a few seconds.
fn cases() -> u32 {
    std::env::var("ALCEDO_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(200)
}

#[derive(Clone, Debug)]
struct Line {
    field: Option<&'static str>,
    modifiers: &'static [&'static str],
    values: Vec<Json>,
}

#[derive(Clone, Debug)]
enum Condition {
    Name(usize),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    Of(&'static str, usize),
}

#[derive(Clone, Debug)]
struct TestRule {
    /// Lists of maps; a list of one map is written as a map.
    selections: Vec<Vec<Vec<Line>>>,
    condition: Condition,
}

// ---- the rule as text ----

impl TestRule {
    fn text(&self, id: usize) -> String {
        let mut out = format!("title: t\nid: r{id}\ndetection:\n");
        for (name, maps) in NAMES.iter().zip(&self.selections) {
            let maps: Vec<String> = maps.iter().map(|lines| map_text(lines)).collect();
            match maps.as_slice() {
                [map] => out.push_str(&format!("  {name}: {map}\n")),
                maps => out.push_str(&format!("  {name}: [{}]\n", maps.join(", "))),
            }
        }
        out + &format!("  condition: {}\n", self.condition.text())
    }
}

/// The last is left out of `them`.
const NAMES: [&str; 3] = ["sel_a", "sel_b", "_c"];

fn map_text(lines: &[Line]) -> String {
    // Keys must differ: the same line twice says nothing new.
    let mut parts: Vec<(String, String)> = Vec::new();
    for line in lines {
        let key: Vec<&str> = std::iter::once(line.field.unwrap_or(""))
            .chain(line.modifiers.iter().copied())
            .collect();
        let key = key.join("|");
        let value = match line.values.as_slice() {
            [one] if !line.modifiers.contains(&"all") => one.to_string(),
            many => Json::from(many.to_vec()).to_string(),
        };
        if parts.iter().all(|(k, _)| *k != key) {
            parts.push((key, value));
        }
    }
    let parts: Vec<_> = parts.iter().map(|(k, v)| format!("'{k}': {v}")).collect();
    format!("{{{}}}", parts.join(", "))
}

/// The lines that [`map_text`] writes.
fn written(lines: &[Line]) -> Vec<&Line> {
    let mut out: Vec<&Line> = Vec::new();
    for line in lines {
        if out.iter().all(|l| (l.field, l.modifiers) != (line.field, line.modifiers)) {
            out.push(line);
        }
    }
    out
}

impl Condition {
    fn text(&self) -> String {
        match self {
            Condition::Name(n) => NAMES[*n].into(),
            Condition::And(a, b) => format!("({}) and ({})", a.text(), b.text()),
            Condition::Or(a, b) => format!("({}) or ({})", a.text(), b.text()),
            Condition::Not(a) => format!("not ({})", a.text()),
            Condition::Of(pattern, 0) => format!("all of {pattern}"),
            Condition::Of(pattern, n) => format!("{n} of {pattern}"),
        }
    }

    fn holds(&self, selections: &[bool]) -> bool {
        match self {
            Condition::Name(n) => selections[*n],
            Condition::And(a, b) => a.holds(selections) && b.holds(selections),
            Condition::Or(a, b) => a.holds(selections) || b.holds(selections),
            Condition::Not(a) => !a.holds(selections),
            Condition::Of(pattern, n) => {
                let members: &[usize] = match *pattern {
                    "them" | "sel_*" | "*_*" => &[0, 1],
                    "*b" => &[1],
                    _ => &[2],
                };
                let held = members.iter().filter(|m| selections[**m]).count();
                if *n == 0 { held == members.len() } else { held >= *n }
            }
        }
    }
}

// ---- what the specification says, word by word ----

fn naive(rule: &TestRule, event: &Json, raw: &str) -> bool {
    let selections: Vec<bool> = rule
        .selections
        .iter()
        .map(|maps| maps.iter().any(|m| written(m).iter().all(|l| line_holds(l, event, raw))))
        .collect();
    rule.condition.holds(&selections)
}

/// The values of a field: `None` if it is not there.
fn values_of<'e>(event: &'e Json, field: &str) -> Option<Vec<&'e Json>> {
    match event.get(field)? {
        Json::Array(members) if members.is_empty() => None,
        Json::Array(members) => Some(members.iter().collect()),
        one => Some(vec![one]),
    }
}

fn text_of(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(n) => Some(n.to_string()),
        Json::Bool(b) => Some(b.to_string()),
        _ => None,
    }
}

fn line_holds(line: &Line, event: &Json, raw: &str) -> bool {
    let has = |m: &str| line.modifiers.contains(&m);
    let one = |wanted: &Json| match line.field {
        None => {
            let mut texts = vec![raw.to_owned()];
            for value in event.as_object().unwrap().keys() {
                let values = values_of(event, value).unwrap_or_default();
                texts.extend(values.iter().filter_map(|v| text_of(v)));
            }
            texts.iter().any(|text| text_holds(line, wanted, text, true))
        }
        Some(field) => field_holds(line, wanted, event, field),
    };
    let found = match has("all") {
        true => line.values.iter().all(one),
        false => line.values.iter().any(one),
    };
    found != has("neq")
}

fn field_holds(line: &Line, wanted: &Json, event: &Json, field: &str) -> bool {
    let has = |m: &str| line.modifiers.contains(&m);
    let values = values_of(event, field);
    if has("exists") {
        return values.is_some() == (*wanted == json!(true));
    }
    let Some(values) = values else { return wanted.is_null() };
    if wanted.is_null() {
        return values.iter().any(|v| v.is_null());
    }
    let texts: Vec<String> = values.iter().filter_map(|v| text_of(v)).collect();
    if has("fieldref") {
        let others = values_of(event, wanted.as_str().unwrap()).unwrap_or_default();
        let others: Vec<String> = others.iter().filter_map(|v| text_of(v)).collect();
        let related = |a: &String, b: &String| {
            let (a, b) = (folded(a), folded(b));
            match line.modifiers {
                [.., "startswith"] => a.starts_with(&b),
                [.., "endswith"] => a.ends_with(&b),
                [.., "contains"] => a.windows(b.len().max(1)).any(|w| w == b) || b.is_empty(),
                _ => a == b,
            }
        };
        return texts.iter().any(|a| others.iter().any(|b| related(a, b)));
    }
    texts.iter().any(|text| text_holds(line, wanted, text, false))
}

fn text_holds(line: &Line, wanted: &Json, text: &str, anywhere: bool) -> bool {
    let has = |m: &str| line.modifiers.contains(&m);
    let compared = |holds: fn(&i128, &i128) -> bool| {
        let part = match line.modifiers {
            ["hour", ..] => text.get(11..13).filter(|_| text.len() >= 19),
            _ => Some(text),
        };
        let number = part.and_then(|t| t.trim().parse::<i128>().ok());
        number.is_some_and(|n| holds(&n, &i128::from(wanted.as_i64().unwrap())))
    };
    match line.modifiers {
        [.., "gt"] => return compared(|a, b| a > b),
        [.., "gte"] => return compared(|a, b| a >= b),
        [.., "lt"] => return compared(|a, b| a < b),
        [.., "lte"] => return compared(|a, b| a <= b),
        ["hour"] => return compared(|a, b| a == b),
        ["re", flags @ ..] if !has("neq") => {
            let mut source = wanted.as_str().unwrap().to_owned();
            for flag in flags {
                source = format!("(?{flag}){source}");
            }
            return regex::Regex::new(&source).unwrap().is_match(text);
        }
        ["cidr", ..] => return in_network(wanted.as_str().unwrap(), text),
        _ => {}
    }
    let mut pattern = tokens(&text_of(wanted).unwrap());
    if has("contains") || has("endswith") || anywhere {
        pattern.insert(0, Token::Star);
    }
    if has("contains") || has("startswith") || anywhere {
        pattern.push(Token::Star);
    }
    if has("windash") {
        for at in 0..pattern.len() {
            let word = |t: Option<&Token>| matches!(t, Some(Token::Char(c)) if c.is_alphanumeric() || *c == '_');
            let before = at.checked_sub(1).and_then(|i| pattern.get(i));
            if matches!(pattern[at], Token::Char(c) if DASHES.contains(&c))
                && word(pattern.get(at + 1))
                && !word(before)
            {
                pattern[at] = Token::Dash;
            }
        }
    }
    let exact = has("cased");
    let text: Vec<char> = if exact { text.chars().collect() } else { folded(text) };
    if !exact {
        for token in &mut pattern {
            if let Token::Char(c) = token {
                *c = fold(*c);
            }
        }
    }
    matches(&pattern, &text)
}

const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];

#[derive(Clone, Copy, Debug)]
enum Token {
    Char(char),
    One,
    Star,
    Dash,
}

/// A wildcard is plain behind a backslash, a backslash is plain behind a backslash.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let next = chars.get(at + 1);
        match (chars[at], next) {
            ('\\', Some(c @ ('*' | '?' | '\\'))) => {
                out.push(Token::Char(*c));
                at += 1;
            }
            ('*', _) => out.push(Token::Star),
            ('?', _) => out.push(Token::One),
            (c, _) => out.push(Token::Char(c)),
        }
        at += 1;
    }
    out
}

fn matches(pattern: &[Token], text: &[char]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some(Token::Star), _) => (0..=text.len()).any(|n| matches(&pattern[1..], &text[n..])),
        (Some(Token::One), Some(_)) => matches(&pattern[1..], &text[1..]),
        (Some(Token::Dash), Some(c)) => DASHES.contains(c) && matches(&pattern[1..], &text[1..]),
        (Some(Token::Char(a)), Some(b)) => a == b && matches(&pattern[1..], &text[1..]),
        _ => false,
    }
}

fn fold(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

fn folded(text: &str) -> Vec<char> {
    text.chars().map(fold).collect()
}

fn in_network(network: &str, text: &str) -> bool {
    let address = |text: &str| -> Option<u32> {
        let parts: Vec<&str> = text.split('.').collect();
        let good = parts.len() == 4 && parts.iter().all(|p| *p == "0" || !p.starts_with('0'));
        let bytes: Option<Vec<u8>> = parts.iter().map(|p| p.parse().ok()).collect();
        let bytes: [u8; 4] = bytes.filter(|_| good)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    };
    let (base, bits) = network.split_once('/').unwrap();
    let mask = u32::MAX.checked_shl(32 - bits.parse::<u32>().unwrap()).unwrap_or(0);
    address(text).is_some_and(|ip| ip & mask == address(base).unwrap() & mask)
}

// ---- random rules and events ----

const TEXTS: &[&str] = &[
    "",
    "a",
    "b",
    "ab",
    "AB",
    "aab",
    "xaby",
    "a\nb",
    "äÖ",
    "Äöx",
    "\u{212a}",
    "k",
    "ſ",
    "5",
    "46",
    "4624",
    "-5",
    "true",
    "a*b",
    "a?b",
    "a\\b",
    "\\",
    "C:\\a\\b",
    "-a",
    "/a",
    "x -a /b",
    "–a",
    "10.1.2.3",
    "10.9.0.1",
    "192.168.0.1",
    "2026-01-02T23:04:05Z",
    "2026-01-02 05:04:05",
    "İ",
];
const PATTERNS: &[&str] = &[
    "a", "B", "ab", "äö", "ÄÖ", "k", "5", "46", "a*b", "*b", "a*", "*a*", "?", "a?b", "??",
    "a\\*b", "a\\?b", "a\\\\b", "\\\\", "\\", "*\\\\*", "C:\\*", "C:\\\\*", "-a", "/a", " -a",
    "*?b*", "x*y", "true", "-b -a",
];
const EXPRESSIONS: &[&str] =
    &["a", "^a", "b$", "a.b", "[0-9]+", "^$", "A|B", "^\\d{4}$", "(a|x).*b"];

type Kind = (&'static [&'static str], fn() -> BoxedStrategy<Json>);

fn some(list: &'static [&'static str]) -> BoxedStrategy<Json> {
    prop::sample::select(list.to_vec()).prop_map(|t| json!(t)).boxed()
}

const KINDS: &[Kind] = &[
    (&[], || prop_oneof![some(PATTERNS), some(TEXTS), Just(json!(46)), Just(json!(true))].boxed()),
    (&[], || prop_oneof![Just(Json::Null), Just(json!("*")), Just(json!(""))].boxed()),
    (&["contains"], || some(PATTERNS)),
    (&["startswith"], || some(PATTERNS)),
    (&["endswith"], || some(PATTERNS)),
    (&["cased"], || some(PATTERNS)),
    (&["contains", "cased"], || some(PATTERNS)),
    (&["contains", "all"], || some(PATTERNS)),
    (&["neq"], || some(PATTERNS)),
    (&["endswith", "neq"], || some(PATTERNS)),
    (&["contains", "windash"], || some(PATTERNS)),
    (&["windash"], || some(PATTERNS)),
    (&["re"], || some(EXPRESSIONS)),
    (&["re", "i"], || some(EXPRESSIONS)),
    (&["re", "s"], || some(EXPRESSIONS)),
    (&["cidr"], || some(&["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "192.168.0.1/32"])),
    (&["cidr", "neq"], || some(&["10.0.0.0/8"])),
    (&["gt"], || (-6i64..50).prop_map(Json::from).boxed()),
    (&["gte"], || (-6i64..50).prop_map(Json::from).boxed()),
    (&["lt"], || (-6i64..50).prop_map(Json::from).boxed()),
    (&["lte"], || (-6i64..50).prop_map(Json::from).boxed()),
    (&["hour"], || (0i64..24).prop_map(Json::from).boxed()),
    (&["hour", "gte"], || (0i64..24).prop_map(Json::from).boxed()),
    (&["exists"], || any::<bool>().prop_map(Json::from).boxed()),
    (&["fieldref"], || some(&["F", "G", "H"])),
    (&["fieldref", "startswith"], || some(&["F", "G"])),
    (&["fieldref", "endswith"], || some(&["F", "G"])),
    (&["fieldref", "contains"], || some(&["F", "G"])),
    (&["fieldref", "neq"], || some(&["F", "G"])),
];

fn line() -> impl Strategy<Value = Line> {
    let kind = prop::sample::select((0..KINDS.len()).collect::<Vec<_>>());
    let field = prop::sample::select(vec!["F", "G", "H"]);
    (kind, field).prop_flat_map(|(kind, field)| {
        let (modifiers, value) = KINDS[kind];
        let most = if modifiers == ["exists"] { 1 } else { 3 };
        prop::collection::vec(value(), 1..=most).prop_map(move |values| Line {
            field: Some(field),
            modifiers,
            values,
        })
    })
}

fn keyword() -> impl Strategy<Value = Line> {
    let word = some(&["a", "B", "äö", "46", "a*b", "a\\*b", "-a", "\\\\"]);
    let modifiers: [&'static [&'static str]; 3] = [&["contains"], &["contains", "all"], &["cased"]];
    let modifiers = prop::sample::select(modifiers.to_vec());
    (prop::collection::vec(word, 1..3), modifiers).prop_map(|(values, modifiers)| Line {
        field: None,
        modifiers,
        values,
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    let of = prop::sample::select(vec![
        ("them", 1),
        ("them", 0),
        ("them", 2),
        ("sel_*", 1),
        ("*_*", 0),
        ("*b", 1),
        ("_*", 1),
    ]);
    let leaf = prop_oneof![
        (0..3usize).prop_map(Condition::Name),
        of.prop_map(|(pattern, n)| Condition::Of(pattern, n)),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            two.clone().prop_map(|(a, b)| Condition::And(Box::new(a), Box::new(b))),
            two.prop_map(|(a, b)| Condition::Or(Box::new(a), Box::new(b))),
            inner.prop_map(|a| Condition::Not(Box::new(a))),
        ]
    })
}

fn rule() -> impl Strategy<Value = TestRule> {
    let line = prop_oneof![8 => line().boxed(), 1 => keyword().boxed()];
    let map = prop::collection::vec(line, 1..3);
    let selection = prop::collection::vec(map, 1..3);
    (prop::collection::vec(selection, 3), condition())
        .prop_map(|(selections, condition)| TestRule { selections, condition })
}

fn event() -> impl Strategy<Value = Json> {
    let scalar = prop_oneof![
        8 => some(TEXTS),
        1 => prop_oneof![Just(json!(4624)), Just(json!(46)), Just(json!(-5)), Just(json!(true))],
        1 => Just(Json::Null),
    ];
    let value = prop_oneof![
        4 => scalar.clone(),
        1 => prop::collection::vec(scalar, 0..3).prop_map(Json::from),
    ];
    let field = prop::sample::select(vec!["F", "G", "H", "I"]);
    prop::collection::btree_map(field, value, 0..4).prop_map(|map| json!(map))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn the_compiled_matcher_is_the_specification_word_by_word(
        rules in prop::collection::vec(rule(), 1..5),
        events in prop::collection::vec((event(), prop::sample::select(TEXTS.to_vec())), 1..8),
    ) {
        let texts: Vec<_> = rules.iter().enumerate().map(|(i, r)| r.text(i)).collect();
        let (loaded, problems) = load_text(&texts.join("---\n"));
        prop_assert!(problems.is_empty(), "{:?}\n{}", problems, texts.join("---\n"));
        let set = RuleSet::standalone(loaded);
        let mut batch = EventBatch::new(set.dict().clone());
        for (event, raw) in &events {
            push_event(&mut batch, event, raw.as_bytes());
        }
        let mut found = Vec::new();
        set.match_batch(&batch, &mut Scratch::new(), &mut found);
        for (row, (event, raw)) in events.iter().enumerate() {
            for (number, rule) in rules.iter().enumerate() {
                let got = found.iter().any(|m| (m.row, m.rule) == (row as u32, number as u32));
                let explained = set.explain(number as u32, &batch, row).matched;
                let expected = naive(rule, event, raw);
                prop_assert_eq!(got, expected, "{}\n{}\nraw {:?}", texts[number], event, raw);
                prop_assert_eq!(explained, expected, "explanation: {}\n{}", texts[number], event);
            }
        }
    }
}
