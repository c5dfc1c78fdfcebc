//! The pipe half of the grammar. One line in [`ALL`] and one function per pipe.

use super::cursor::Cursor;
use super::filters::filter;
use super::{Aggregate, AggregateFunction, Pipe, SearchError, SortKey, duration_ns};

type Parse = fn(&mut Cursor<'_>) -> Result<Pipe, SearchError>;

/// Rows kept by `top` and `rare` when no number is given.
const TOP_DEFAULT: u64 = 10;
/// Most columns in one list.
const LIST_MAX: usize = 256;
/// Longest part of an unexpected word that an error shows.
const WORD_SHOWN_MAX: usize = 32;
/// Deepest nesting of joined searches.
const JOIN_DEPTH_MAX: usize = 4;

/// Every pipe: its name, its form, its parser.
pub(super) const ALL: &[(&str, &str, Parse)] = &[
    ("where", "where FILTER", where_pipe),
    ("filter", "filter FILTER", where_pipe),
    ("stats", "stats count() as n, dc(FIELD), p95(FIELD) by FIELD, FIELD", stats),
    ("count", "count by FIELD, FIELD", count),
    ("timechart", "timechart 5m count() by FIELD", timechart),
    ("top", "top 10 FIELD, FIELD", top),
    ("rare", "rare 10 FIELD", rare),
    ("sort", "sort -COLUMN, COLUMN", sort),
    ("head", "head 10", head),
    ("limit", "limit 10", head),
    ("fields", "fields FIELD, FIELD", fields),
    ("dedup", "dedup FIELD, FIELD", dedup),
    ("join", "join FIELD [SEARCH | stats count() by FIELD]", join),
    ("lookup", "lookup TABLE FIELD output COLUMN, COLUMN", lookup),
];

/// Pipes of other languages, and what to write.
const ELSEWHERE: &[(&str, &str)] = &[
    ("table", "write fields FIELD, FIELD"),
    ("project", "write fields FIELD, FIELD"),
    ("keep", "write fields FIELD, FIELD"),
    ("columns", "write fields FIELD, FIELD"),
    ("summarize", "write stats count() by FIELD"),
    ("aggregate", "write stats count() by FIELD"),
    ("group", "write stats count() by FIELD"),
    ("chart", "write stats count() by FIELD, or timechart 5m count()"),
    ("bin", "write timechart 5m count()"),
    ("bucket", "write timechart 5m count()"),
    ("uniq", "write dedup FIELD, or stats count() by FIELD"),
    ("distinct", "write dedup FIELD, or stats dc(FIELD)"),
    ("order", "write sort -COLUMN"),
    ("take", "write head 10"),
    ("tail", "write sort @timestamp | head 10"),
    ("search", "write where FILTER"),
    ("rename", "write stats ... as NAME; SQL renames columns"),
    ("eval", "SQL computes columns"),
    ("extend", "SQL computes columns"),
    ("rex", "a pack takes values out of records; /expression/ searches"),
    ("regex", "a pack takes values out of records; /expression/ searches"),
    ("parse", "a pack takes values out of records; /expression/ searches"),
];

pub(super) fn pipe(cursor: &mut Cursor<'_>) -> Result<Pipe, SearchError> {
    cursor.skip_spaces();
    let place = cursor.place();
    let name = cursor.take_while(|c| c.is_ascii_alphabetic() || c == '_');
    if name.is_empty() {
        return Err(match cursor.peek() {
            Some('|') => cursor.error_at(place, "`||` combines nothing", Some("write `or`")),
            None => cursor.error_at(place, "a pipe is missing", Some(&names_hint())),
            Some(c) => {
                cursor.error_at(place, format!("no pipe begins with `{c}`"), Some(&names_hint()))
            }
        });
    }
    let Some((name, form, parse)) = ALL.iter().find(|(n, ..)| n.eq_ignore_ascii_case(name)) else {
        let other = ELSEWHERE.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        let hint = other.map_or_else(names_hint, |(_, hint)| (*hint).to_owned());
        return Err(cursor.error_at(place, format!("no pipe is called `{name}`"), Some(&hint)));
    };
    let found = parse(cursor).map_err(|error| SearchError {
        hint: error.hint.or_else(|| Some(format!("write {form}"))),
        ..error
    })?;
    match cursor.peek() {
        None | Some('|') => Ok(found),
        // The end of a joined search, or one bracket too many: the caller knows.
        Some(']') => Ok(found),
        Some(_) => {
            let word = cursor.rest().split(|c: char| c.is_whitespace() || c == '|').next();
            let word: String = word.unwrap_or_default().chars().take(WORD_SHOWN_MAX).collect();
            let message = format!("`{name}` does not know `{word}`");
            Err(cursor.error(message, Some(&format!("write {form}"))))
        }
    }
}

fn names_hint() -> String {
    let names: Vec<&str> = ALL.iter().map(|(n, ..)| *n).collect();
    format!("pipes are {}", names.join(", "))
}

fn where_pipe(cursor: &mut Cursor<'_>) -> Result<Pipe, SearchError> {
    if matches!(cursor.peek(), None | Some('|')) {
        return Err(cursor.error("a filter is missing", None));
    }
    filter(cursor).map(Pipe::Where)
}

fn stats(cursor: &mut Cursor<'_>) -> Result<Pipe, SearchError> {
    let aggregates = aggregates(cursor)?;
    Ok(Pipe::Stats { aggregates, by: by(cursor)? })
}

fn count(cursor: &mut Cursor<'_>) -> Result<Pipe, SearchError> {
    Ok(Pipe::Stats { aggregates: vec![plain_count()], by: by(cursor)? })
}

fn timechart(cursor: &mut Cursor<'_>) -> Result<Pipe, SearchError> {
    cursor.skip_spaces();
    let place = cursor.place();
    let text = cursor.take_while(|c| c.is_ascii_alphanumeric() || c == '=');
    let span = duration_ns(text.trim_start_matches("span=")).filter(|ns| *ns > 0);
    let Some(span_ns) = span else {
        let message = format!("`{text}` is not a bucket width");
        return Err(cursor.error_at(place, message, Some("write timechart 5m count()")));
    };
    let aggregates = aggregates(cursor)?;
    Ok(Pipe::Timechart { span_ns, aggregates, by: by(cursor)? })
}

fn top(cursor: &mut Cursor<'_>) -> Result<Pipe, SearchError> {
    ranked(cursor, false)
}

fn rare(cursor: &mut Cursor<'_>) -> Result<Pipe, SearchError> {
    ranked(cursor, true)
}

fn ranked(cursor: &mut Cursor<'_>, rare: bool) -> Result<Pipe, SearchError> {
    let limit = match cursor.peek() {
        Some(c) if c.is_ascii_digit() => number(cursor)?,
        _ => TOP_DEFAULT,
    };
    Ok(Pipe::Top { limit, by: names(cursor)?, rare })
}

fn sort(cursor: &mut Cursor<'_>) -> Result<Pipe, SearchError> {
    let mut keys = Vec::new();
    cursor.eat_word("by");
    loop {
        let minus = cursor.eat('-');
        if !minus {
            cursor.eat('+');
        }
        let column = column(cursor)?;
        let named = cursor.eat_word("desc");
        if !named {
            cursor.eat_word("asc");
        }
        let descending = minus || named;
        keys.push(SortKey { column, descending });
        if !cursor.eat(',') || keys.len() >= LIST_MAX {
            return Ok(Pipe::Sort(keys));
        }
    }
}

fn head(cursor: &mut Cursor<'_>) -> Result<Pipe, SearchError> {
    number(cursor).map(Pipe::Head)
}

fn fields(cursor: &mut Cursor<'_>) -> Result<Pipe, SearchError> {
    names(cursor).map(Pipe::Fields)
}

fn dedup(cursor: &mut Cursor<'_>) -> Result<Pipe, SearchError> {
    names(cursor).map(Pipe::Dedup)
}

fn join(cursor: &mut Cursor<'_>) -> Result<Pipe, SearchError> {
    let inner = cursor.eat_word("inner");
    if !inner {
        cursor.eat_word("left");
    }
    let on = names(cursor)?;
    let hint = Some("write join user.name [event.code:4625 | stats count() by user.name]");
    if !cursor.eat('[') {
        return Err(cursor.error("`[` is missing", hint));
    }
    cursor.joins += 1;
    if cursor.joins > JOIN_DEPTH_MAX {
        return Err(cursor.error(format!("joins nest deeper than {JOIN_DEPTH_MAX}"), None));
    }
    let other = super::query(cursor)?;
    cursor.joins -= 1;
    match cursor.eat(']') {
        true => Ok(Pipe::Join { on, other: Box::new(other), inner }),
        false => Err(cursor.error("`]` is missing", hint)),
    }
}

fn lookup(cursor: &mut Cursor<'_>) -> Result<Pipe, SearchError> {
    let (table, field) = (column(cursor)?, column(cursor)?);
    let key = if cursor.eat_word("as") { Some(column(cursor)?) } else { None };
    let output = if cursor.eat_word("output") { names(cursor)? } else { Vec::new() };
    Ok(Pipe::Lookup { table, field, key, output })
}

fn plain_count() -> Aggregate {
    Aggregate { function: AggregateFunction::Count, field: None, name: "count".into() }
}

/// Zero or more `f(field) as name`; none means `count()`.
fn aggregates(cursor: &mut Cursor<'_>) -> Result<Vec<Aggregate>, SearchError> {
    let mut out = Vec::new();
    while !matches!(cursor.peek(), None | Some('|' | ']')) && !at_by(cursor) {
        out.push(aggregate(cursor)?);
        if !cursor.eat(',') || out.len() >= LIST_MAX {
            break;
        }
    }
    if out.is_empty() {
        out.push(plain_count());
    }
    Ok(out)
}

fn at_by(cursor: &mut Cursor<'_>) -> bool {
    let place = cursor.place();
    let found = cursor.eat_word("by");
    cursor.advance_to(place);
    found
}

fn aggregate(cursor: &mut Cursor<'_>) -> Result<Aggregate, SearchError> {
    cursor.skip_spaces();
    let place = cursor.place();
    let name = cursor.take_while(|c| c.is_ascii_alphanumeric() || c == '.').to_ascii_lowercase();
    let Some(function) = AggregateFunction::named(&name) else {
        let hint = "functions are count, dc, sum, avg, min, max, p50 to p99.9, median, values, \
                    first, last";
        return Err(cursor.error_at(place, format!("no function is called `{name}`"), Some(hint)));
    };
    let mut field = None;
    if cursor.eat('(') {
        if cursor.peek() != Some(')') {
            field = Some(column(cursor)?);
        }
        if !cursor.eat(')') {
            let hint = format!("write {name}(FIELD)");
            return Err(cursor.error("`)` is missing", Some(&hint)));
        }
    }
    if field.is_none() && function != AggregateFunction::Count {
        let hint = format!("write {name}(FIELD)");
        return Err(cursor.error_at(place, format!("`{name}` needs a field"), Some(&hint)));
    }
    let default = field.as_ref().map_or(name.clone(), |f| format!("{name}({f})"));
    let name = if cursor.eat_word("as") { column(cursor)? } else { default };
    Ok(Aggregate { function, field, name })
}

fn by(cursor: &mut Cursor<'_>) -> Result<Vec<String>, SearchError> {
    if cursor.eat_word("by") { names(cursor) } else { Ok(Vec::new()) }
}

fn names(cursor: &mut Cursor<'_>) -> Result<Vec<String>, SearchError> {
    let mut out = vec![column(cursor)?];
    while cursor.eat(',') && out.len() < LIST_MAX {
        out.push(column(cursor)?);
    }
    Ok(out)
}

/// A column: a field name, or a result name such as `dc(user.name)`, or one in quotes.
fn column(cursor: &mut Cursor<'_>) -> Result<String, SearchError> {
    cursor.skip_spaces();
    if let Some(quoted) = cursor.rest().strip_prefix(['"', '\'']) {
        let quote = cursor.rest().chars().next().unwrap_or('"');
        let end =
            quoted.find(quote).ok_or_else(|| cursor.error("the quote is not closed", None))?;
        cursor.advance(end + 2);
        return Ok(quoted[..end].to_owned());
    }
    let named = |c: char| c.is_alphanumeric() || matches!(c, '_' | '@' | '.' | '-' | '#' | '$');
    let place = cursor.place();
    let name = cursor.take_while(named);
    if name.is_empty() {
        return Err(cursor.error("a field name is missing", None));
    }
    if name.starts_with('-') {
        let hint = "name the fields that are to stay; `-` is for sort; quote a name that has it";
        return Err(cursor.error_at(place, format!("`{name}` is no field name"), Some(hint)));
    }
    let is_function = AggregateFunction::named(name).is_some();
    if is_function && cursor.rest().starts_with('(') {
        let rest = cursor.rest();
        let end = rest.find(')').ok_or_else(|| cursor.error("`)` is missing", None))?;
        cursor.advance(end + 1);
        let argument = rest[1..end].trim();
        return Ok(match argument {
            "" => name.to_owned(),
            field => format!("{name}({field})"),
        });
    }
    Ok(name.to_owned())
}

fn number(cursor: &mut Cursor<'_>) -> Result<u64, SearchError> {
    cursor.skip_spaces();
    let place = cursor.place();
    let text = cursor.take_while(|c| !c.is_whitespace() && !matches!(c, '|' | ']' | ','));
    let told = |message: String| Err(cursor.error_at(place, message, None));
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) if text.is_empty() => told("a number of rows is missing".into()),
        Err(_) => told(format!("`{text}` is not a number of rows")),
    }
}
