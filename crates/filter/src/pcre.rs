//! Expressions as rules and searches write them (PCRE, as the specification of rules says), as our engine
//! reads them.
//!
//! The two agree in nearly all they both know. Where the same signs mean something else in each, the
//! meaning is that of PCRE: here they are written anew.
//!
//! | written | in our engine | here |
//! | --- | --- | --- |
//! | `[a&&b]`, `[!--]`, `[a~~b]`, `[[x]` | operations on sets | members |
//! | `\<`, `\>` | borders of words | characters |
//! | `a{b}`, `{,3}` | errors | characters |
//! | `\d`, `\w`, `\s`, `\b` | Unicode | ASCII, unless it begins with `(*UCP)` |
//! | `\v`, `\h` | one tab, nothing | classes of white space |
//! | `\p{Lu}`, `\w` under `i` | any case | as they are |
//! | `$`, `\Z` | the very end | the end, or before the line end there |
//! | `\K` | an error | nothing: it moves the start of what is found |
//! | `\R`, `\X` | errors | not covered, as `a++` |
//! | `a++` | `a+` repeated | not covered: no linear-time engine can keep what it has taken |
//!
//! What is not the same, because the engine has no words for it:
//!
//! | written | in PCRE | here |
//! | --- | --- | --- |
//! | `\B` | between characters | also between the bytes of one |
//! | `^` under `m` | not behind a line end that ends the value | there, too |

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

/// Members of a class, as they stand between brackets.
const DIGIT: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
const SPACE: &str = r"\t\n\x0B\f\r\x20";
const VERTICAL: &str = r"\n\x0B\f\r\x{85}\x{2028}\x{2029}";
const HORIZONTAL: &str = r"\t\x20\x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}";
/// The end of the value, or before a line end that ends it.
const END: &str = r"(?:\n?\z)";

/// The engine cannot honour an expression exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} ({hint})")]
pub struct PcreError {
    /// What it has that the engine has not.
    pub reason: String,
    /// What to write instead.
    pub hint: String,
}

impl PcreError {
    fn new(reason: impl Into<String>, hint: &str) -> Self {
        Self { reason: reason.into(), hint: hint.into() }
    }
}

/// The expression in the words of the engine. `flags` are those that hold from its start. What neither
/// of the two knows is left as it stands, for the engine to say what is wrong.
///
/// # Errors
/// Not covered: possessive repetition, verbs such as `(*SKIP)`, recursion, `\R`, `\X`, and an end of the value
/// before what may take a line end.
pub fn translated(source: &str, flags: &str) -> Result<String, PcreError> {
    let mut reader = Reader {
        rest: source,
        out: String::with_capacity(source.len() + 16),
        flags: Flags::default().with(flags),
        open: Vec::new(),
        is_unicode: false,
        is_behind_group: false,
    };
    reader.verbs()?;
    while let Some(next) = reader.take() {
        reader.item(next)?;
    }
    Ok(reader.out)
}

#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    by_line: bool,
    spaced: bool,
    caseless: bool,
}

impl Flags {
    /// As `(?flags)` changes them.
    fn with(mut self, flags: &str) -> Self {
        let mut on = true;
        for flag in flags.chars() {
            match flag {
                '-' => on = false,
                '^' => self = Self::default(),
                'm' => self.by_line = on,
                'x' => self.spaced = on,
                'i' => self.caseless = on,
                _ => {}
            }
        }
        self
    }
}

struct Reader<'a> {
    rest: &'a str,
    out: String,
    flags: Flags,
    /// Flags to return to where each open group ends.
    open: Vec<Flags>,
    is_unicode: bool,
    /// What was read last is a group.
    is_behind_group: bool,
}

/// One member of a class.
enum Member {
    Char(char),
    /// Several, as they are written for the engine; their case counts as that of one.
    Chars(String),
    /// A set that is meant as it is, as it is written for the engine.
    Set(String),
}

impl<'a> Reader<'a> {
    fn take(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn skip(&mut self, text: &str) -> bool {
        let after = self.rest.strip_prefix(text);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// The text up to `end`, which is taken too; `None` if there is none.
    fn until(&mut self, end: &str) -> Option<&'a str> {
        let (text, after) = self.rest.split_once(end)?;
        self.rest = after;
        Some(text)
    }

    /// `(*UTF)` and `(*UCP)` at the start say what the characters are.
    fn verbs(&mut self) -> Result<(), PcreError> {
        loop {
            if self.skip("(*UCP)") {
                self.is_unicode = true;
            } else if !self.skip("(*UTF)") && !self.skip("(*UTF8)") {
                return Ok(());
            }
        }
    }

    fn item(&mut self, next: char) -> Result<(), PcreError> {
        // What says nothing does not come between a group and its repetition.
        let is_blank = self.flags.spaced && (next.is_whitespace() || next == '#');
        let is_behind_group = self.is_behind_group;
        self.is_behind_group = next == ')' || is_behind_group && is_blank;
        match next {
            '\\' => {
                self.is_behind_group = is_behind_group && self.rest.starts_with('E');
                return self.escape();
            }
            '[' => self.class(),
            '(' => {
                self.is_behind_group = is_behind_group && self.rest.starts_with("?#");
                return self.group();
            }
            ')' => {
                self.flags = self.open.pop().unwrap_or(self.flags);
                self.out.push(')');
            }
            '$' if !self.flags.by_line => return self.end("$"),
            '*' | '+' | '?' => {
                self.out.push(next);
                return self.after_repetition(is_behind_group);
            }
            '{' => match repetition(self.rest) {
                Some(length) => {
                    self.out.push('{');
                    self.out.push_str(&self.rest[..length]);
                    self.rest = &self.rest[length..];
                    return self.after_repetition(is_behind_group);
                }
                None => self.out.push_str(r"\{"),
            },
            '}' => self.out.push_str(r"\}"),
            '#' if self.flags.spaced => {
                // A comment, up to the end of its line.
                let length = self.rest.find('\n').unwrap_or(self.rest.len());
                self.rest = &self.rest[length..];
            }
            _ => self.out.push(next),
        }
        Ok(())
    }

    /// `?` behind a repetition changes what is found, not whether; `+` changes whether, unless nothing
    /// follows that could want back what was taken: of a group, also which of its alternatives.
    fn after_repetition(&mut self, of_group: bool) -> Result<(), PcreError> {
        if self.skip("?") {
            self.out.push('?');
        } else if self.rest.starts_with('+') {
            let before_end = self.rest == "+$" && !self.flags.by_line && !of_group;
            let is_last = self.rest == "+" || before_end;
            if !is_last {
                let reason = "regular expression: possessive repetition (`++`, `*+`, `?+`, `}+`)";
                let hint =
                    "no linear-time engine has it; write the repetition without the last `+`";
                return Err(PcreError::new(reason, hint));
            }
            self.skip("+");
        }
        Ok(())
    }

    fn group(&mut self) -> Result<(), PcreError> {
        if self.rest.starts_with('*') {
            let reason = "regular expression: a verb such as `(*SKIP)`";
            let hint = "no linear-time engine has them, but `(*UCP)` and `(*UTF)` at the start; \
                        write `\\(` for the character";
            return Err(PcreError::new(reason, hint));
        }
        if self.skip("?#") {
            // A comment; one that does not end is an error of the engine's, too.
            if self.until(")").is_none() {
                self.out.push('(');
            }
            return Ok(());
        }
        let outer = self.flags;
        if let Some(inside) = self.rest.strip_prefix('?') {
            let is_flag = |c: char| c.is_ascii_alphabetic() || matches!(c, '-' | '^');
            let length = inside.find(|c| !is_flag(c)).unwrap_or(inside.len());
            let flags = &inside[..length];
            match inside[length..].chars().next() {
                // Another expression inside itself in PCRE, line ends of two bytes in the engine.
                _ if flags.contains('R') => {
                    let reason = "regular expression: recursion";
                    let hint = "no linear-time engine has it; write out what repeats";
                    return Err(PcreError::new(reason, hint));
                }
                Some(')') => {
                    self.flags = outer.with(flags);
                    self.rest = &inside[length + 1..];
                    self.out.push_str(&format!("(?{flags})"));
                    return Ok(());
                }
                Some(':') => {
                    self.flags = outer.with(flags);
                    self.rest = &inside[length + 1..];
                    self.out.push_str(&format!("(?{flags}:"));
                }
                Some('\'') if flags.is_empty() => {
                    self.rest = &inside[1..];
                    let name = self.until("'").unwrap_or_default();
                    self.out.push_str(&format!("(?P<{name}>"));
                }
                // Names and look-around; the engine knows the former and says so of the latter.
                _ => {
                    self.rest = &inside[length..];
                    self.out.push_str(&format!("(?{flags}"));
                    let mark = self.rest.find(|c| !matches!(c, '<' | '=' | '!' | '>' | '|'));
                    let mark = mark.unwrap_or(self.rest.len());
                    self.out.push_str(&self.rest[..mark]);
                    self.rest = &self.rest[mark..];
                }
            }
        } else {
            self.out.push('(');
        }
        self.open.push(outer);
        Ok(())
    }

    /// `$` and `\Z`: what stands for them takes a line end that ends the value itself, so nothing that would
    /// look at it, or take it, can follow.
    fn end(&mut self, sign: &str) -> Result<(), PcreError> {
        if minds_line_end(self.rest, self.flags.spaced) {
            let reason = format!("regular expression: `{sign}` before more of the text");
            let hint = "say which end is meant: `\\n` for the line end, or the flag `m`";
            return Err(PcreError::new(reason, hint));
        }
        self.out.push_str(END);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), PcreError> {
        let Some(next) = self.take() else {
            self.out.push('\\');
            return Ok(());
        };
        if next == 'Q' {
            let text = self.quoted();
            text.chars().for_each(|c| push_char(c, &mut self.out));
            return Ok(());
        }
        if let Some(set) = self.set(next) {
            self.out.push_str(&format!("(?-i:[{set}])"));
            return Ok(());
        }
        match next {
            'R' | 'X' => {
                let what = if next == 'R' { "any line end" } else { "a character with its marks" };
                let reason = format!("regular expression: `\\{next}` ({what})");
                let hint = "it gives nothing back once taken, as no linear-time engine can; \
                            write the characters out";
                return Err(PcreError::new(reason, hint));
            }
            // Where the match is said to begin, not whether there is one.
            'K' => self.out.push_str("(?:)"),
            'E' => {}
            'b' if !self.is_unicode => self.out.push_str(r"(?-u:\b)"),
            'B' if !self.is_unicode => self.out.push_str(r"(?-u:\B)"),
            'Z' => return self.end("\\Z"),
            'N' if !self.rest.starts_with('{') => self.out.push_str(r"[^\n]"),
            // References, not octal numbers: the engine says that it has none.
            '1'..='9' => self.out.push_str(&format!("\\{next}")),
            _ => match self.character(next) {
                Some(character) => push_char(character, &mut self.out),
                None => {
                    let whole = self.as_written(next);
                    // A property is of the character as it stands, whatever the case of letters.
                    match matches!(next, 'p' | 'P') && self.flags.caseless {
                        true => self.out.push_str(&format!("(?-i:{whole})")),
                        false => self.out.push_str(&whole),
                    }
                }
            },
        }
        Ok(())
    }

    /// An escape that is left to the engine, with what stands in braces behind it; a property of one letter
    /// needs none.
    fn as_written(&mut self, letter: char) -> String {
        let braced = self.rest.starts_with('{').then(|| self.rest.find('}')).flatten();
        let bare = || match letter {
            'p' | 'P' => self.rest.chars().next().map_or(0, char::len_utf8),
            _ => 0,
        };
        let (inside, after) = self.rest.split_at(braced.map_or_else(bare, |end| end + 1));
        self.rest = after;
        format!("\\{letter}{inside}")
    }

    /// Members between brackets. A `[` among them opens nothing, unless it names a class of POSIX.
    fn class(&mut self) {
        let is_negated = self.skip("^");
        // Characters, whose case may not matter, and sets, which are meant as they are.
        let (mut characters, mut sets) = (String::new(), String::new());
        let (mut is_first, mut is_closed) = (true, false);
        // Where the end is missing the engine finds that, too.
        while let Some(next) = self.take() {
            is_closed = next == ']' && !is_first;
            if is_closed {
                break;
            }
            is_first = false;
            match self.member(next) {
                Member::Set(set) => sets.push_str(&set),
                Member::Chars(more) => characters.push_str(&more),
                Member::Char(from) => {
                    push_char(from, &mut characters);
                    self.range(&mut characters, &mut sets);
                }
            }
        }
        let exact = (self.flags.caseless && is_closed && !sets.is_empty())
            .then(|| exact_class(is_negated, &characters, &sets));
        if let Some(exact) = exact.flatten() {
            return self.out.push_str(&exact);
        }
        self.out.push_str(if is_negated { "[^" } else { "[" });
        self.out.push_str(&characters);
        self.out.push_str(&sets);
        if is_closed {
            self.out.push(']');
        }
    }

    /// The rest of a range, if the member before begins one.
    fn range(&mut self, characters: &mut String, sets: &mut String) {
        if !self.rest.starts_with('-') || self.rest.starts_with("-]") {
            return;
        }
        self.skip("-");
        let Some(next) = self.take() else { return };
        match self.member(next) {
            Member::Char(to) => {
                characters.push('-');
                push_char(to, characters);
            }
            Member::Chars(more) => {
                push_char('-', characters);
                characters.push_str(&more);
            }
            Member::Set(set) => {
                push_char('-', characters);
                sets.push_str(&set);
            }
        }
    }

    fn member(&mut self, next: char) -> Member {
        match next {
            '[' => match posix_class(self.rest) {
                Some(length) => {
                    let set = format!("[{}", &self.rest[..length]);
                    self.rest = &self.rest[length..];
                    // Of both cases: letters. What it is of, it is in ASCII.
                    let both = |name| if self.flags.caseless { "alpha" } else { name };
                    let set = set.replace("upper", both("upper")).replace("lower", both("lower"));
                    Member::Set(set)
                }
                None => Member::Char('['),
            },
            '\\' => self.escaped_member(),
            _ => Member::Char(next),
        }
    }

    fn escaped_member(&mut self) -> Member {
        let Some(next) = self.take() else { return Member::Chars("\\".into()) };
        match next {
            'b' => return Member::Char('\x08'),
            'E' => return Member::Chars(String::new()),
            'Q' => {
                let mut members = String::new();
                self.quoted().chars().for_each(|c| push_char(c, &mut members));
                return Member::Chars(members);
            }
            _ => {}
        }
        if let Some(set) = self.set(next) {
            return Member::Set(set);
        }
        match self.character(next) {
            Some(character) => Member::Char(character),
            None if matches!(next, 'p' | 'P') => Member::Set(self.as_written(next)),
            None => Member::Chars(self.as_written(next)),
        }
    }

    /// The text of `\Q...\E`, or all that is left.
    fn quoted(&mut self) -> &'a str {
        match self.until(r"\E") {
            Some(text) => text,
            None => std::mem::take(&mut self.rest),
        }
    }

    /// What `\d` and the like stand for, as members of a class.
    fn set(&self, letter: char) -> Option<String> {
        let is_shorthand = matches!(letter, 'd' | 'D' | 'w' | 'W' | 's' | 'S');
        if self.is_unicode && is_shorthand {
            return Some(format!("\\{letter}"));
        }
        let members = match letter.to_ascii_lowercase() {
            'd' => DIGIT,
            'w' => WORD,
            's' => SPACE,
            'v' => VERTICAL,
            'h' => HORIZONTAL,
            _ => return None,
        };
        // Alone in its brackets, the sign that turns a class round is enough; the brackets within a
        // class are those of the engine, which nests them.
        Some(match letter.is_ascii_uppercase() {
            true => format!("[^{members}]"),
            false => members.to_owned(),
        })
    }

    /// The character that an escape stands for; `None` if it is no character, or not one here.
    fn character(&mut self, letter: char) -> Option<char> {
        Some(match letter {
            'a' => '\x07',
            'e' => '\x1b',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'c' => char::from(u8::try_from(self.take()?).ok()?.to_ascii_uppercase() ^ 0x40),
            'x' if self.rest.starts_with('{') => {
                let digits = self.rest.get(1..)?.split_once('}')?.0;
                let character = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
                self.rest = &self.rest[digits.len() + 2..];
                character
            }
            'x' => self.number(0, 16)?,
            '0'..='7' => self.number(letter.to_digit(8)?, 8)?,
            c if c.is_ascii_alphanumeric() || !c.is_ascii() => return None,
            c => c,
        })
    }

    /// The character of the number that begins with `first` and has at most two more digits.
    fn number(&mut self, first: u32, radix: u32) -> Option<char> {
        let mut number = first;
        for _ in 0..2 {
            let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(radix)) else {
                break;
            };
            number = number * radix + digit;
            self.take();
        }
        char::from_u32(number)
    }
}

/// A class in which the case of `characters` does not matter, and `sets` are what they are: all its ranges,
/// written out. `None` if the engine knows no such class, and says why when it reads it.
fn exact_class(is_negated: bool, characters: &str, sets: &str) -> Option<String> {
    let class_of = |flags: &str, members: &str| {
        let mut parser = regex_syntax::ParserBuilder::new().utf8(false).build();
        match parser.parse(&format!("{flags}[{members}]")).ok()?.into_kind() {
            HirKind::Class(Class::Unicode(class)) => Some(class),
            // A class of one is a literal in the engine's tree.
            HirKind::Literal(literal) => {
                let c = std::str::from_utf8(&literal.0).ok()?.chars().next()?;
                Some(ClassUnicode::new([ClassUnicodeRange::new(c, c)]))
            }
            _ => None,
        }
    };
    let mut class = class_of("", sets)?;
    if !characters.is_empty() {
        class.union(&class_of("(?i)", characters)?);
    }
    if is_negated {
        class.negate();
    }
    let code = |c: char| u32::from(c);
    let ranges =
        class.iter().map(|r| format!("\\x{{{:X}}}-\\x{{{:X}}}", code(r.start()), code(r.end())));
    let ranges: String = ranges.collect();
    (!ranges.is_empty()).then(|| format!("(?-i:[{ranges}])"))
}

/// Whether what follows an end of the value may look at the line end before it, or take it. Unless it
/// surely cannot, it may.
fn minds_line_end(rest: &str, is_spaced: bool) -> bool {
    let mut rest = rest;
    // What says nothing.
    let skipped = |rest: &'_ str| -> usize {
        let comment = |end: &str| rest.find(end).map_or(rest.len(), |at| at + end.len());
        match rest.chars().next() {
            Some(c) if is_spaced && c.is_whitespace() => c.len_utf8(),
            Some('#') if is_spaced => comment("\n"),
            _ if rest.starts_with("(?#") => comment(")"),
            _ if [r"\E", r"\Z", r"\K"].iter().any(|sign| rest.starts_with(sign)) => 2,
            Some('$') => 1,
            _ => 0,
        }
    };
    loop {
        let nothing = skipped(rest);
        if nothing > 0 {
            rest = &rest[nothing..];
            continue;
        }
        let Some(next) = rest.chars().next() else { return false };
        rest = &rest[next.len_utf8()..];
        match next {
            // Repeated, the group begins again behind its end.
            ')' if rest.starts_with('{') => return true,
            ')' => {}
            '|' => match behind_group(rest) {
                Some(after) => rest = after,
                None => return false,
            },
            '*' | '+' | '?' => {}
            '{' => match repetition(rest) {
                Some(length) => rest = &rest[length..],
                None => return false,
            },
            '.' | '[' | '(' | '^' | '\n' => return true,
            _ => {
                let escaped = if next == '\\' { rest.chars().next() } else { None };
                rest = &rest[escaped.map_or(0, char::len_utf8)..];
                let is_other = match (next, escaped) {
                    ('\\', Some(c)) => "dwShVNtrfea".contains(c) || c.is_ascii_punctuation(),
                    (c, _) => c != '\\',
                };
                if !is_other {
                    return true;
                }
                let from_none = |r: &str| repetition(r).is_some() && r.starts_with('0');
                let is_optional =
                    rest.starts_with(['*', '?']) || rest.strip_prefix('{').is_some_and(from_none);
                if !is_optional {
                    return false;
                }
            }
        }
    }
}

/// What follows the group that the text begins in; `None` if none is open.
fn behind_group(text: &str) -> Option<&str> {
    let (mut depth, mut is_class) = (0, false);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '[' if !is_class => {
                is_class = true;
                // A bracket that comes first is a member.
                let members = text[at + 1..].strip_prefix('^').unwrap_or(&text[at + 1..]);
                if members.starts_with(']') {
                    while chars.next().is_some_and(|(_, c)| c != ']') {}
                }
            }
            ']' => is_class = false,
            '(' if !is_class => depth += 1,
            ')' if !is_class && depth == 0 => return Some(&text[at..]),
            ')' if !is_class => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Length of `n}`, `n,}` or `n,m}` at the start of the text; anything else behind a `{` is no
/// repetition.
fn repetition(text: &str) -> Option<usize> {
    let end = text.find('}')?;
    let (from, to) = text[..end].split_once(',').unwrap_or((&text[..end], ""));
    let are_digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    (!from.is_empty() && are_digits(from) && are_digits(to)).then_some(end + 1)
}

/// Length of `:name:]` or `:^name:]` at the start of the text.
fn posix_class(text: &str) -> Option<usize> {
    let inside = text.strip_prefix(':')?;
    let end = inside.find(":]")?;
    let name = inside[..end].strip_prefix('^').unwrap_or(&inside[..end]);
    name.bytes().all(|b| b.is_ascii_lowercase()).then_some(end + 3)
}

/// The character itself, wherever it stands.
fn push_char(character: char, out: &mut String) {
    if character.is_whitespace() || character.is_control() {
        out.push_str(&format!("\\x{{{:X}}}", u32::from(character)));
        return;
    }
    if regex_syntax::is_meta_character(character) {
        out.push('\\');
    }
    out.push(character);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(source: &str, text: &str) -> bool {
        let translated = translated(source, "").unwrap();
        regex::bytes::Regex::new(&translated)
            .unwrap_or_else(|e| panic!("{source}: {e}"))
            .is_match(text.as_bytes())
    }

    /// Each line: an expression, texts that PCRE finds it in, texts that it does not.
    #[test]
    fn what_pcre_finds_is_found() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("[?&&]id=", &["?id=", "&id="], &["xid="]),
            ("^[!--]$", &["#", "-"], &["a"]),
            ("^[a~~b]$", &["~", "a"], &["c"]),
            ("[a-z&&[^b]]", &["b]", "&]", "^]"], &["b", "a"]),
            ("^[[a]b", &["[b", "ab"], &["cb"]),
            ("^[]a]$", &["]", "a"], &["b"]),
            ("^[^]a]$", &["b"], &["]", "a"]),
            (r"^[\w-z]$", &["-", "q"], &["."]),
            (r"^[a\-z]$", &["-", "z"], &["b"]),
            (r"^[+-]$", &["-", "+"], &[","]),
            (r"^[\b]$", &["\x08"], &["b"]),
            (r"^[[:alpha:]_]$", &["q", "_"], &["1"]),
            (r"^[[:^digit:]]$", &["q"], &["1"]),
            (r"^[\Da]$", &["x"], &["1"]),
            (r"(?i)^[\x41-\x43]$", &["b", "C"], &["d"]),
            (r"(?x) ^[ a]b # c", &[" b", "ab"], &["abc b".trim_start_matches('a')]),
            (r"\<script\>", &["x<script>y"], &["a script b"]),
            ("^a{b}$", &["a{b}"], &["ab"]),
            (r"^\${a}$", &["${a}"], &["$a"]),
            ("^a{,3}$", &["a{,3}"], &["aa"]),
            ("^a{2,3}$", &["aa", "aaa"], &["a"]),
            ("a$", &["a", "a\n"], &["a\n\n", "ab"]),
            ("(?m)a$", &["a\nb"], &["ab"]),
            (r"a\Z", &["a\n"], &["a\nb"]),
            (r"a\z", &["a"], &["a\n"]),
            ("(a$|b)c", &["bc"], &["ac", "a"]),
            (r"^\v\V$", &["\x0bx", "\u{2028}x"], &["xx"]),
            (r"^\h+\H$", &["\t \u{a0}x"], &["  "]),
            (r"^\d$", &["1"], &["٣"]),
            (r"(?i)^\w$", &["s", "K"], &["é", "\u{212a}"]),
            (r"^\W$", &["é", "."], &["e"]),
            (r"^\s\S$", &[" é"], &["\u{a0}x"]),
            (r"\bx\b", &["éx é"], &["xy"]),
            (r"(*UCP)^\w$", &["é"], &["."]),
            (r"^\Qa.b\E.$", &["a.bc"], &["axbc"]),
            (r"^\x9\x{41}\0\e\cA$", &["\tA\0\x1b\x01"], &["x"]),
            (r"^\p{Lu}[\p{Ll}]$", &["Éé"], &["éÉ"]),
            ("^(?'n'a)(?#b)c$", &["ac"], &["abc"]),
            ("^a++$", &["aa", "aa\n"], &["ab"]),
            ("^a++", &["aab"], &["b"]),
            (r"(?i)cmd\P{Ll}\.exe", &["cmdA.exe", "CMD1.EXE"], &["cmda.exe"]),
            (r"(?i)\p{Lu}x", &["Ax", "AX"], &["ax"]),
            (r"(?i)^[\p{Lu}x]$", &["A", "x", "X"], &["a"]),
            (r"(?i)^[^\p{Lu}x]$", &["a", "1"], &["A", "x", "X"]),
            (r"(?i)^[\W]$", &["\u{212a}", "\u{17f}", "."], &["k", "s"]),
            (r"(?i)^[[:upper:]\d]$", &["a", "A", "1"], &["."]),
            (r"(?i)^[\Qab\E\d]$", &["A", "b", "1"], &["c"]),
            (r"a\Kb", &["ab"], &["b", "aKb"]),
            ("a$b|c$", &["ac\n"], &["a\nb", "ab"]),
            ("^(?<n>a)(?P<m>b)(?:c)(?i:D)$", &["abcd"], &["Abcd"]),
            ("^(?:(?m)a$|b)\n?x?$", &["a\nx"], &["ax"]),
            (r"(?i)\pLx", &["éx", "AX"], &["1x"]),
            (r"(?i)[\pL]x", &["éx", "AX"], &["1x"]),
            (r"(?i)^[\PLq]$", &["1", "Q"], &["a"]),
            ("(?i)^[[:upper:]]$", &["a", "A"], &["\u{17f}", "\u{212a}", "1"]),
            ("(?i)^[[:^lower:]k]$", &["1", "k", "K", "\u{17f}", "\u{212a}"], &["a", "A"]),
            ("(?i)^[[:alpha:]]$", &["a"], &["\u{17f}"]),
            ("^[[:upper:]]$", &["A"], &["a"]),
            ("(?:a$|b)c?$", &["a", "a\n", "b\n", "bc"], &["ac"]),
            ("(?x) (?:a $ | b ) # end", &["a\n", "b"], &["ac"]),
            (r"a(?:$|\s)b*", &["a", "a\n", "a b"], &["ac"]),
            (r"(a$|[)(]b)c", &["(bc"], &["a\nc"]),
            (r"(a$)(?#c)\E", &["a\n"], &["ab"]),
        ];
        for (source, found, not_found) in cases {
            for text in *found {
                assert!(finds(source, text), "{source} in {text:?}");
            }
            for text in *not_found {
                assert!(!finds(source, text), "{source} not in {text:?}");
            }
        }
    }

    #[test]
    fn what_takes_more_than_linear_time_is_refused() {
        let written_out = [
            r"a\Rb",
            r"\X",
            r"a$\n",
            "a$[x]",
            r"(a$)\n",
            r"a\Z\n",
            r"a$b*\n",
            r"a(?:$|\s)[^x]",
            r"a$\z",
            r"a$\b",
            r"(?:\n|a$){2}$",
            r"a$b{0,2}\n",
            "a$^",
            r"(a$|[)]b)\n",
            r"(?x)a$ \n",
            r"a$(?#c)\n",
        ];
        let possessive = [
            "(a|ab)++$",
            "(?x)(a|ab) ++$",
            "(a|ab)(?#c)++$",
            r"(a|ab)\E++$",
            "a++a",
            "a*+b",
            "a?+b",
            "a{1,2}+b",
            "a(*SKIP)b",
            "(a(?R)?b)",
        ];
        for source in written_out.iter().chain(&possessive) {
            assert!(translated(source, "").is_err(), "{source}");
        }
        for source in [r"(?=a)b", r"(a)\1", "(?>a)b", r"\g{1}", "a{3,2}", "[a", "(a", "a)"] {
            let written = translated(source, "").unwrap();
            assert!(regex::bytes::Regex::new(&written).is_err(), "{source}: {written}");
        }
    }
}
