//! The filter half of the grammar, by recursive descent.

use super::cursor::{Cursor, ends_word};
use super::slips;
use super::{SearchError, duration_ns};
use crate::pattern::{Part, REGEX_SIZE_BYTES_MAX, text_test};
use crate::pcre;
use crate::plan::LEAVES_MAX;
use crate::{CompareOp, Node, Number, Operand, Plan, Target, Test, TextOp};

/// Deepest nesting of parentheses and `not`.
const NESTING_MAX: usize = 64;

pub(super) fn filter(cursor: &mut Cursor<'_>) -> Result<Plan, SearchError> {
    if cursor.at_join_end() {
        return Ok(Plan::everything());
    }
    match cursor.peek() {
        None | Some('|') => Ok(Plan::everything()),
        Some(_) => disjunction(cursor, None),
    }
}

fn disjunction(cursor: &mut Cursor<'_>, field: Option<&str>) -> Result<Plan, SearchError> {
    cursor.depth += 1;
    if cursor.depth > NESTING_MAX {
        return Err(cursor.error(format!("nested deeper than {NESTING_MAX}"), None));
    }
    let mut parts = vec![conjunction(cursor, field)?];
    while cursor.eat_word("or") {
        parts.push(conjunction(cursor, field)?);
    }
    cursor.depth -= 1;
    Ok(Plan::combine(parts, Node::Or))
}

fn conjunction(cursor: &mut Cursor<'_>, field: Option<&str>) -> Result<Plan, SearchError> {
    let mut parts = vec![negation(cursor, field)?];
    loop {
        let and = cursor.eat_word("and");
        let place = cursor.place();
        let ends = matches!(cursor.peek(), None | Some(')' | '|'))
            || cursor.at_join_end()
            || cursor.eat_word("or");
        if ends {
            cursor.advance_to(place);
            if and {
                return Err(
                    cursor.error("nothing after `and`", Some("write a term or leave it out"))
                );
            }
            return Ok(Plan::combine(parts, Node::And));
        }
        parts.push(negation(cursor, field)?);
    }
}

fn negation(cursor: &mut Cursor<'_>, field: Option<&str>) -> Result<Plan, SearchError> {
    if !cursor.eat_word("not") {
        return primary(cursor, field);
    }
    cursor.depth += 1;
    if cursor.depth > NESTING_MAX {
        return Err(cursor.error(format!("nested deeper than {NESTING_MAX}"), None));
    }
    let part = negation(cursor, field)?;
    cursor.depth -= 1;
    Ok(part.not())
}

fn primary(cursor: &mut Cursor<'_>, field: Option<&str>) -> Result<Plan, SearchError> {
    if cursor.eat('(') {
        let inner = disjunction(cursor, field)?;
        return match cursor.eat(')') {
            true => Ok(inner),
            false => Err(cursor.error("`)` is missing", Some("close the group"))),
        };
    }
    if cursor.leaves >= LEAVES_MAX {
        return Err(cursor.error(format!("more than {LEAVES_MAX} terms"), None));
    }
    cursor.leaves += 1;
    match cursor.peek() {
        None | Some(')' | '|') => {
            return Err(cursor.error("a term is missing", Some("write a word or FIELD:VALUE")));
        }
        Some(_) => {}
    }
    if let Some(field) = field {
        return value(cursor, Some(field));
    }
    slips::of_term(cursor)?;
    match field_name(cursor) {
        Some((name, Lead::Colon)) => {
            cursor.skip_spaces();
            if cursor.eat('(') {
                let inner = disjunction(cursor, Some(name))?;
                return match cursor.eat(')') {
                    true => Ok(inner),
                    false => Err(cursor.error("`)` is missing", Some("close the list of values"))),
                };
            }
            value(cursor, Some(name))
        }
        Some((name, Lead::Order)) => comparison(cursor, name),
        None => value(cursor, None),
    }
}

enum Lead {
    Colon,
    Order,
}

/// A field name followed by `:` (taken) or a comparison sign (left), if that is what comes next.
fn field_name<'a>(cursor: &mut Cursor<'a>) -> Option<(&'a str, Lead)> {
    cursor.skip_spaces();
    let rest = cursor.rest();
    if let Some(quoted) = rest.strip_prefix('\'') {
        // Names with spaces are quoted: 'Threat Name':x
        let end = quoted.find("':")?;
        cursor.advance(end + 3);
        return Some((&quoted[..end], Lead::Colon));
    }
    let named = |c: char| c.is_alphanumeric() || matches!(c, '_' | '@' | '.' | '-' | '#' | '$');
    let end = rest.find(|c| !named(c)).unwrap_or(rest.len());
    if end == 0 {
        return None;
    }
    let after = rest[end..].trim_start_matches(' ');
    let spaces = rest.len() - end - after.len();
    if rest[end..].starts_with(':') {
        cursor.advance(end + 1);
        return Some((&rest[..end], Lead::Colon));
    }
    if after.starts_with(['<', '>', '=']) || after.starts_with("!=") {
        cursor.advance(end + spaces);
        return Some((&rest[..end], Lead::Order));
    }
    None
}

fn comparison(cursor: &mut Cursor<'_>, field: &str) -> Result<Plan, SearchError> {
    let signs: [(&str, CompareOp, bool); 6] = [
        ("!=", CompareOp::Eq, true),
        (">=", CompareOp::Ge, false),
        ("<=", CompareOp::Le, false),
        (">", CompareOp::Gt, false),
        ("<", CompareOp::Lt, false),
        ("=", CompareOp::Eq, false),
    ];
    let found = signs.iter().find(|(sign, ..)| cursor.rest().starts_with(sign));
    let Some((sign, op, negated)) = found else {
        return Err(cursor.error("a comparison is missing", Some("use <, <=, >, >=, = or !=")));
    };
    cursor.advance(sign.len());
    cursor.skip_spaces();
    let place = cursor.place();
    slips::of_comparison(cursor, sign)?;
    if *op == CompareOp::Eq && is_pattern(cursor) {
        let plan = value(cursor, Some(field))?;
        return Ok(if *negated { plan.not() } else { plan });
    }
    let text = match cursor.rest().starts_with('"') {
        true => quoted(cursor)?,
        false => cursor.take_while(|c| !ends_word(c) && c != ']').to_owned(),
    };
    if text.is_empty() {
        return Err(cursor.error("a value is missing", Some("compare with a number or a time")));
    }
    let test = match (operand(&text, cursor.now_ns), op) {
        (Some(operand), op) => Test::Compare { op: *op, operand },
        (None, CompareOp::Eq) => Test::text(TextOp::Equals, &text, false),
        (None, _) => {
            let message = format!("`{text}` is neither a number nor a time");
            return Err(cursor.error_at(
                place,
                message,
                Some("write 5, 2026-11-24T02:14Z or now-15m"),
            ));
        }
    };
    let plan = Plan::leaf(Target::Field(field.into()), test);
    Ok(if *negated { plan.not() } else { plan })
}

/// Whether what is compared with is more than a plain text: `=` then means what `:` does.
fn is_pattern(cursor: &mut Cursor<'_>) -> bool {
    let place = cursor.place();
    let word = bare_word(cursor);
    cursor.advance_to(place);
    word.contains(['*', '?']) || slips::is_address_and_slash(word)
}

/// Fields of prose: a word or a phrase is looked for inside their value, not compared with all of it.
pub const FULL_TEXT_FIELDS: [&str; 4] =
    ["message", "error.message", "error.stack_trace", "event.original"];

fn is_full_text(name: &str) -> bool {
    FULL_TEXT_FIELDS.contains(&name)
}

/// A number, a time, or `now` with an offset.
fn operand(text: &str, now_ns: i64) -> Option<Operand> {
    if let Some(offset) = text.strip_prefix("now") {
        let ns = match offset.split_at_checked(1) {
            None => now_ns,
            Some(("-", amount)) => now_ns.checked_sub(duration_ns(amount)?)?,
            Some(("+", amount)) => now_ns.checked_add(duration_ns(amount)?)?,
            Some(_) => return None,
        };
        return Some(Operand::Time(ns));
    }
    if let Some(number) = Number::parse(text.as_bytes()) {
        return Some(Operand::Number(number));
    }
    event::time::parse_written(text).map(Operand::Time)
}

fn value(cursor: &mut Cursor<'_>, field: Option<&str>) -> Result<Plan, SearchError> {
    let target = || match field {
        Some(name) => Target::Field(name.into()),
        None => Target::Keyword,
    };
    let whole = |test| Ok(Plan::leaf(target(), test));
    cursor.skip_spaces();
    let rest = cursor.rest();
    if rest.starts_with('"') {
        let text = quoted(cursor)?;
        let whole_value = field.is_some_and(|name| !is_full_text(name));
        let op = if whole_value { TextOp::Equals } else { TextOp::Contains };
        return whole(Test::text(op, &text, false));
    }
    if let Some(test) = expression(cursor)? {
        return whole(test);
    }
    if let Some(name) = field {
        if rest.starts_with(['<', '>', '=']) {
            return comparison(cursor, name);
        }
        if rest.starts_with('[') {
            return range(cursor, name);
        }
    }
    let place = cursor.place();
    let word = bare_word(cursor);
    if word.is_empty() {
        return Err(cursor.error("a value is missing", Some("quote an empty one: \"\"")));
    }
    if word == "*" || word == "*:*" && field.is_none() {
        return Ok(match field {
            None => Plan::everything(),
            Some(_) => Plan::leaf(target(), Test::text(TextOp::Contains, "", false)),
        });
    }
    if field.is_some()
        && word.contains('/')
        && let Ok(net) = word.parse::<ipnet::IpNet>()
    {
        return whole(Test::Cidr(net.trunc()));
    }
    slips::of_value(cursor, place, word, field)?;
    let mut parts = wildcards(word);
    let one_text = matches!(&parts[..], [Part::Text(_)]);
    if field.is_none_or(|name| one_text && is_full_text(name)) {
        parts.insert(0, Part::Any);
        parts.push(Part::Any);
    }
    let test = text_test(&parts, false).map_err(|e| cursor.error_at(place, e.to_string(), None))?;
    whole(test)
}

/// `[1 to 9]`, both ends included; `*` leaves an end open.
fn range(cursor: &mut Cursor<'_>, field: &str) -> Result<Plan, SearchError> {
    let hint = Some("write [1 to 9], [* to 9], [now-1h to now], or (a or b) for several values");
    cursor.advance(1);
    let mut end = |op, closing: bool| -> Result<Option<Plan>, SearchError> {
        cursor.skip_spaces();
        let place = cursor.place();
        let text = cursor.take_while(|c| !ends_word(c) && c != ']');
        let followed = if closing { cursor.eat(']') } else { cursor.eat_word("to") };
        if !followed {
            let missing = if closing { "`]` is missing" } else { "`to` is missing" };
            return Err(cursor.error(missing, hint));
        }
        if text == "*" {
            return Ok(None);
        }
        let operand = operand(text, cursor.now_ns).ok_or_else(|| {
            cursor.error_at(place, format!("`{text}` is neither a number nor a time"), hint)
        })?;
        let test = Test::Compare { op, operand };
        Ok(Some(Plan::leaf(Target::Field(field.into()), test)))
    };
    let from = end(CompareOp::Ge, false)?;
    let to = end(CompareOp::Le, true)?;
    Ok(Plan::and(from.into_iter().chain(to)))
}

/// `"..."` with `\"` and `\\`.
fn quoted(cursor: &mut Cursor<'_>) -> Result<String, SearchError> {
    let mut out = String::new();
    let mut chars = cursor.rest().char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match (c, chars.peek()) {
            ('"', _) => {
                cursor.advance(at + 1);
                return Ok(out);
            }
            ('\\', Some((_, next @ ('"' | '\\')))) => {
                out.push(*next);
                chars.next();
            }
            _ => out.push(c),
        }
    }
    Err(cursor.error("the quote is not closed", Some("add a `\"`")))
}

/// `/regex/flags` when a closing slash ends the term; `None` when this is no expression.
fn expression(cursor: &mut Cursor<'_>) -> Result<Option<Test>, SearchError> {
    let rest = cursor.rest();
    let Some(body) = rest.strip_prefix('/') else { return Ok(None) };
    let Some((end, flags)) = closing_slash(body) else { return Ok(None) };
    let source = body[..end].replace("\\/", "/");
    let inline = if flags.is_empty() { String::new() } else { format!("(?{flags})") };
    let translated = pcre::translated(&source, flags)
        .map_err(|error| cursor.error(error.reason, Some(&error.hint)))?;
    let regex = regex::bytes::RegexBuilder::new(&format!("{inline}{translated}"))
        .size_limit(REGEX_SIZE_BYTES_MAX)
        .build()
        .map_err(|e| {
            let last = e.to_string().lines().last().unwrap_or_default().trim().to_owned();
            cursor.error(format!("regular expression: {last}"), Some("look-around is not possible"))
        })?;
    cursor.advance(1 + end + 1 + flags.len());
    Ok(Some(Test::Regex {
        shown: format!("/{source}/{flags}").into(),
        regex: regex.into(),
        by_character: false,
    }))
}

/// The first unescaped `/` that is followed by flags and the end of the term: (place, flags).
fn closing_slash(body: &str) -> Option<(usize, &str)> {
    let bytes = body.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'/' => {
                let after = &body[at + 1..];
                let flags = after.len() - after.trim_start_matches(['i', 'm', 's']).len();
                if after[flags..].chars().next().is_none_or(ends_word) {
                    return Some((at, &after[..flags]));
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// A bare value up to a space, bracket, quote or pipe; a backslash takes one of those along.
fn bare_word<'a>(cursor: &mut Cursor<'a>) -> &'a str {
    let rest = cursor.rest();
    let mut end = rest.len();
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let escapes = |n: char| cursor.ends_word(n) && !n.is_whitespace();
        if c == '\\' && chars.peek().is_some_and(|(_, n)| escapes(*n)) {
            chars.next();
        } else if cursor.ends_word(c) {
            end = at;
            break;
        }
    }
    cursor.advance(end);
    &rest[..end]
}

/// `*` and `?` with Sigma's escapes: `\*`, `\?`, `\\` before one of them; any other `\` is itself.
fn wildcards(word: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek().copied()) {
            ('\\', Some(next @ ('*' | '?' | '\\' | '(' | ')' | '"' | '|'))) => {
                text.push(next);
                chars.next();
            }
            ('*' | '?', _) => {
                parts.push(Part::Text(std::mem::take(&mut text)));
                parts.push(if c == '*' { Part::Any } else { Part::One });
            }
            _ => text.push(c),
        }
    }
    parts.push(Part::Text(text));
    parts
}
