//! What lowering one document may use up, and the settings it follows.

use crate::sigma::modifiers::windash;
use crate::sigma::problem::Refusal;
use crate::sigma::settings::SigmaSettings;
use crate::sigma::string::Piece;
use crate::sigma::{item, string};
use filter::{Expression, Part, Test, pattern, pcre};

/// Longest regular expression, in bytes: SigmaHQ's longest has 1,100.
pub const REGEX_SOURCE_BYTES_MAX: usize = 64 << 10;
/// Memory that the expressions of one document may take when compiled. SigmaHQ's rule with the most
/// takes under 10 MiB, most of it for Unicode classes under bounded repetition.
pub const REGEX_BYTES_MAX: usize = 32 << 20;
/// Sizes tried one after the other, so that a document is charged about what it takes.
const REGEX_SIZES: [usize; 3] = [64 << 10, 1 << 20, 8 << 20];
/// Compiled bytes a character with inner wildcards around it takes, about: a case-insensitive
/// character is a class of a few ranges.
const GLOB_BYTES_PER_BYTE: usize = 256;

/// Lowers the items of one document.
pub struct Lowering<'a> {
    /// The settings.
    pub settings: &'a SigmaSettings,
    regex_bytes_left: usize,
}

impl<'a> Lowering<'a> {
    /// For one document.
    pub fn new(settings: &'a SigmaSettings) -> Self {
        Self { settings, regex_bytes_left: REGEX_BYTES_MAX }
    }

    /// The test for text with wildcards.
    ///
    /// # Errors
    /// Over a limit.
    pub fn text(&mut self, parts: &[Part], cased: bool) -> Result<Test, Refusal> {
        let wildcards = parts.iter().any(|p| !matches!(p, Part::Text(_)));
        if wildcards && self.regex_bytes_left == 0 {
            return Err(out_of_budget());
        }
        let test = pattern::text_test(parts, cased)
            .map_err(|e| Refusal::not_covered(e.to_string(), "shorten the value"))?;
        if let Test::Regex { shown, .. } = &test {
            self.charge(shown.len().saturating_mul(GLOB_BYTES_PER_BYTE))?;
        }
        Ok(test)
    }

    /// The test for a regular expression as rules write them, see [`pcre`].
    ///
    /// # Errors
    /// Not an expression, not a linear-time one, or over a limit.
    pub fn pcre(&mut self, source: &str, flags: &str) -> Result<Test, Refusal> {
        check_length(source)?;
        let translated =
            pcre::translated(source, flags).map_err(|e| Refusal::not_covered(e.reason, e.hint))?;
        let mut test = self.regex(&translated, flags)?;
        if let Test::Regex { shown, .. } = &mut test {
            *shown = with_flags(source, flags).into();
        }
        Ok(test)
    }

    /// The test for an expression in the words of the engine.
    ///
    /// # Errors
    /// As [`Lowering::pcre`].
    pub fn regex(&mut self, source: &str, flags: &str) -> Result<Test, Refusal> {
        let whole = with_flags(source, flags);
        if self.regex_bytes_left == 0 {
            return Err(out_of_budget());
        }
        let mut last = None;
        for size in REGEX_SIZES {
            match Expression::new(&whole, size) {
                Ok(regex) => {
                    self.charge(size.min(whole.len().saturating_mul(1 << 10)))?;
                    return Ok(Test::Regex {
                        shown: whole.as_str().into(),
                        regex,
                        by_character: false,
                    });
                }
                Err(error @ regex::Error::CompiledTooBig(_)) => last = Some(error),
                Err(error) => return Err(refused(&error)),
            }
        }
        // What was tried in vain has cost as much.
        self.regex_bytes_left = self.regex_bytes_left.saturating_sub(REGEX_SIZES[2]);
        Err(last.as_ref().map_or_else(out_of_budget, refused))
    }

    /// Every text that a value with placeholders stands for.
    ///
    /// # Errors
    /// A placeholder without values, or too many texts.
    pub fn resolved(&self, pieces: &[Piece]) -> Texts {
        self.resolved_as(pieces, string::parse)
    }

    /// Every expression that one with placeholders stands for.
    ///
    /// # Errors
    /// As [`Lowering::resolved`].
    pub fn expressions(&self, pieces: &[Piece]) -> Result<Vec<String>, Refusal> {
        let all = self.resolved_as(pieces, string::in_expression)?;
        Ok(all.iter().map(|parts| string::texts(parts)).collect())
    }

    fn resolved_as(&self, pieces: &[Piece], read: fn(&str) -> Vec<Part>) -> Texts {
        resolve(pieces, &mut |name| match self.settings.placeholders.get(name) {
            Some(values) => Ok(values.iter().map(|v| read(v)).collect()),
            None => Err(Refusal::not_covered(
                format!("the placeholder %{name}% has no values here"),
                "give it values in the settings or by a pipeline",
            )),
        })
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Refusal> {
        let enough = self.regex_bytes_left >= bytes;
        self.regex_bytes_left = self.regex_bytes_left.saturating_sub(bytes);
        if enough { Ok(()) } else { Err(out_of_budget()) }
    }
}

fn check_length(source: &str) -> Result<(), Refusal> {
    if source.len() <= REGEX_SOURCE_BYTES_MAX {
        return Ok(());
    }
    let reason = format!("regular expression: longer than {REGEX_SOURCE_BYTES_MAX} bytes");
    Err(Refusal::not_covered(reason, "write a list of values instead"))
}

fn with_flags(source: &str, flags: &str) -> String {
    match flags.is_empty() {
        true => source.to_owned(),
        false => format!("(?{flags}){source}"),
    }
}

fn out_of_budget() -> Refusal {
    let reason = format!("the rule's expressions take more than {} MiB", REGEX_BYTES_MAX >> 20);
    let hint = "use contains, startswith and endswith, or split the rule";
    Refusal { once: true, ..Refusal::not_covered(reason, hint) }
}

fn refused(error: &regex::Error) -> Refusal {
    if matches!(error, regex::Error::CompiledTooBig(_)) {
        let reason = "regular expression: takes too much memory";
        return Refusal::not_covered(reason, "use shorter repetitions");
    }
    let text = error.to_string();
    let said = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
    if let Some((_, reason, hint)) = BROKEN_REGEX.iter().find(|(phrase, ..)| said.contains(phrase))
    {
        return Refusal::misspelt(format!("regular expression: {reason}"), *hint);
    }
    let hint = "only what a linear-time engine knows: no look-around, no back-references";
    Refusal::not_covered(format!("regular expression: {said}"), hint)
}

/// What is wrong in every dialect, not only in that of the engine: its words, ours, what to do.
const BROKEN_REGEX: &[(&str, &str, &str)] = &[
    ("unclosed group", "a group `(` is not closed", "close it, or write `\\(` for the character"),
    ("unopened group", "`)` closes no group", "remove it, or write `\\)` for the character"),
    ("capture group name", "the name of a group is not closed", "write `(?P<name>...)`"),
    ("unclosed character class", "a class `[` is not closed", "close it, or write `\\[`"),
    (
        "repetition operator missing",
        "`*`, `+`, `?` or `{` repeats nothing",
        "write `\\*` for the character",
    ),
    ("incomplete escape", "a backslash at the end", "write `\\\\` for the character"),
    ("invalid character class range", "a class has a range that runs backwards", "turn it round"),
    (
        "invalid repetition count range",
        "a repetition has a range that runs backwards",
        "turn it round",
    ),
];

/// Texts in place of a placeholder, or why there are none.
pub type Texts = Result<Vec<Vec<Part>>, Refusal>;

/// Replaces the placeholders by each of their values in turn.
///
/// # Errors
/// What `values` says of a name, or more than [`item::VALUES_MAX`] texts.
pub fn resolve(pieces: &[Piece], values: &mut dyn FnMut(&str) -> Texts) -> Texts {
    let mut out: Vec<Vec<Part>> = vec![Vec::new()];
    for piece in pieces {
        match piece {
            Piece::Part(part) => out.iter_mut().for_each(|parts| parts.push(part.clone())),
            Piece::Placeholder(name) => {
                let values = values(name)?;
                if values.is_empty() {
                    let reason = format!("the placeholder %{name}% has an empty list of values");
                    return Err(Refusal::not_covered(reason, "give it at least one value"));
                }
                if out.len().saturating_mul(values.len()) > item::VALUES_MAX {
                    let reason = format!("%{name}% makes too many values");
                    return Err(Refusal::not_covered(reason, "shorten its list"));
                }
                let each = |parts: &Vec<Part>| -> Vec<Vec<Part>> {
                    values.iter().map(|v| [parts.as_slice(), v].concat()).collect()
                };
                out = out.iter().flat_map(each).collect();
            }
        }
    }
    Ok(out)
}

/// An expression over the whole value in which option dashes are classes.
pub(crate) fn dash_classes(
    parts: &[Part],
    cased: bool,
    lowering: &mut Lowering<'_>,
) -> Result<Test, Refusal> {
    let mut source = String::from("\\A");
    for part in parts {
        match part {
            Part::Text(text) => source.push_str(&windash::class_source(text)),
            Part::Any => source.push_str("(?-u:.)*"),
            Part::One => source.push('.'),
        }
    }
    source.push_str("\\z");
    check_length(&source)?;
    let mut test = lowering.regex(&source, if cased { "s" } else { "si" })?;
    if let Test::Regex { by_character, .. } = &mut test {
        *by_character = parts.contains(&Part::One);
    }
    Ok(test)
}
