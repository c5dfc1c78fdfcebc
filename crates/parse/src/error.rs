//! Why bytes were not what a parser looks for, and where.

use thiserror::Error;

/// What a parser says about input it could not read to the end.
///
/// The input's sender has to act (or nobody): the raw bytes are kept whatever is said here. All
/// offsets are bytes into the slice that was handed to the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum ParseError {
    /// Something else stands where the format wants `expected`.
    #[error("not valid {format}: expected {expected} at byte {at}")]
    Expected {
        /// Format that was being read.
        format: &'static str,
        /// Byte offset of the first byte that does not fit.
        at: usize,
        /// What the format wants there.
        expected: &'static str,
    },
    /// A part is longer than the format or a limit of ours allows.
    #[error("not valid {format}: {what} at byte {at} is longer than {limit}")]
    TooLong {
        /// Format that was being read.
        format: &'static str,
        /// Byte offset where the limit is passed.
        at: usize,
        /// The part that is too long.
        what: &'static str,
        /// Most that is allowed (bytes, or levels for nesting).
        limit: usize,
    },
    /// Text that has to be UTF-8 is not.
    #[error("not valid {format}: bytes from {at} on are not UTF-8")]
    NotUtf8 {
        /// Format that was being read.
        format: &'static str,
        /// Byte offset of the first byte that is not UTF-8.
        at: usize,
    },
    /// There is nothing to read.
    #[error("not valid {format}: the input is empty")]
    Empty {
        /// Format that was asked for.
        format: &'static str,
    },
}

impl ParseError {
    /// Byte offset of the problem.
    pub fn at(&self) -> usize {
        match *self {
            Self::Expected { at, .. } | Self::TooLong { at, .. } | Self::NotUtf8 { at, .. } => at,
            Self::Empty { .. } => 0,
        }
    }

    /// The same problem, `by` bytes further on (a part was handed on without what precedes it).
    pub fn shifted(self, by: usize) -> Self {
        match self {
            Self::Expected { format, at, expected } => {
                Self::Expected { format, at: at + by, expected }
            }
            Self::TooLong { format, at, what, limit } => {
                Self::TooLong { format, at: at + by, what, limit }
            }
            Self::NotUtf8 { format, at } => Self::NotUtf8 { format, at: at + by },
            Self::Empty { .. } => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_place_and_the_expectation() {
        let error = ParseError::Expected { format: "JSON", at: 7, expected: "a value" };
        assert_eq!(error.shifted(3).to_string(), "not valid JSON: expected a value at byte 10");
        assert_eq!(error.shifted(3).at(), 10);
    }
}
