//! A place in the query text, and errors that point at it.

use super::{QUERY_BYTES_MAX, SearchError};

/// Characters that end a bare word.
pub(super) fn ends_word(c: char) -> bool {
    c.is_whitespace() || matches!(c, '(' | ')' | '"' | '|')
}

pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    pub(super) now_ns: i64,
    pub(super) depth: usize,
    pub(super) leaves: usize,
    /// Joined searches that are open: `]` ends them.
    pub(super) joins: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, now_ns: i64) -> Result<Self, SearchError> {
        let cursor = Self { text, at: 0, now_ns, depth: 0, leaves: 0, joins: 0 };
        if text.len() > QUERY_BYTES_MAX {
            let message = format!("query of {} bytes is over {QUERY_BYTES_MAX}", text.len());
            return Err(cursor.error(message, Some("shorten it or use a rule")));
        }
        Ok(cursor)
    }

    /// What is left, from the current place, spaces included.
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Skips spaces and shows the next character.
    pub(super) fn peek(&mut self) -> Option<char> {
        self.skip_spaces();
        self.rest().chars().next()
    }

    pub(super) fn skip_spaces(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Takes `c` after spaces, if it is next.
    pub(super) fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    /// Takes the word (in any case) after spaces, if it is next and ends there.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        self.skip_spaces();
        let rest = self.rest();
        let Some(head) = rest.get(..word.len()) else { return false };
        let ends = rest[word.len()..].chars().next().is_none_or(|c| ends_word(c) || c == ',');
        if head.eq_ignore_ascii_case(word) && ends {
            self.at += word.len();
            return true;
        }
        false
    }

    /// Takes characters while `keep` holds (no spaces skipped).
    pub(super) fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Whether `c` ends a bare word here.
    pub(super) fn ends_word(&self, c: char) -> bool {
        ends_word(c) || c == ']' && self.joins > 0
    }

    /// Whether a joined search ends here.
    pub(super) fn at_join_end(&mut self) -> bool {
        self.joins > 0 && self.peek() == Some(']')
    }

    pub(super) fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Goes back to (or on to) a place from [`Cursor::place`].
    pub(super) fn advance_to(&mut self, place: usize) {
        self.at = place;
    }

    pub(super) fn place(&self) -> usize {
        self.at
    }

    pub(super) fn error(&self, message: impl Into<String>, hint: Option<&str>) -> SearchError {
        self.error_at(self.at, message, hint)
    }

    pub(super) fn error_at(
        &self,
        at: usize,
        message: impl Into<String>,
        hint: Option<&str>,
    ) -> SearchError {
        SearchError {
            column: self.text[..at].chars().count() + 1,
            message: message.into(),
            hint: hint.map(str::to_owned),
        }
    }
}
