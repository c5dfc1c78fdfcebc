//! How a run ends: exit codes that scripts can rely on, and errors that say what to do.

use crate::config::Problem;
use miette::Diagnostic;
use std::fmt;
use std::process::ExitCode;

/// Exit codes. Documented in README and `docs/cli.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Done, and something was found that the caller asked to be told of (a failed test).
    Findings = 1,
    /// Configuration or rules are not valid.
    Invalid = 3,
    /// Stored data is not what it was.
    Integrity = 4,
    /// The server cannot be reached, or refuses the token.
    Unreachable = 5,
    /// Interrupted or incomplete.
    Partial = 6,
    /// A mistake of ours.
    Bug = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// An error at the edge: what failed, why, what to do, and how the run ends.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{message}")]
pub struct Failure {
    /// What failed and why.
    pub message: String,
    /// What to do.
    #[help]
    pub help: Option<String>,
    /// How the run ends.
    pub exit: Exit,
}

impl Failure {
    /// A failure with a hint.
    pub fn new(exit: Exit, message: impl fmt::Display, help: impl Into<String>) -> Self {
        let help = Some(help.into()).filter(|h: &String| !h.is_empty());
        Self { message: message.to_string(), help, exit }
    }

    /// Settings or rules that are not valid.
    pub fn invalid(message: impl fmt::Display, help: impl Into<String>) -> Self {
        Self::new(Exit::Invalid, message, help)
    }

    /// All problems of a file at once.
    pub fn problems(problems: &[Problem]) -> Self {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let count = problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        Self::invalid(format!("{count} {noun} in the configuration\n{}", lines.join("\n")), "")
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Bug, error, "")
    }
}

/// Result of a verb.
pub type Outcome = Result<Exit, Failure>;
