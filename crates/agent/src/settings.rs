//! The settings file.

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Longest settings file or token file, bytes: a typed-in file is a thousandth of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a settings file may say: the same names as on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Server, `HOST:PORT`.
    pub to: Option<String>,
    /// File that holds the token.
    pub token_file: Option<PathBuf>,
    /// Authority of the server's certificate (PEM).
    pub authority: Option<PathBuf>,
    /// Speak without TLS, to this machine only.
    pub plain: bool,
    /// Folder for what is remembered.
    pub state: Option<PathBuf>,
    /// Name of this agent.
    pub name: Option<String>,
    /// Files to follow.
    pub paths: Vec<PathBuf>,
}

/// Options or settings are not valid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A line of the settings file.
    #[error("{}:{line}: {message}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Line, from 1; 0 when unknown.
        line: u64,
        /// What is wrong.
        message: String,
    },
    /// A file cannot be read.
    #[error("{}: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// Something is missing or does not fit together.
    #[error("{0}")]
    Plan(String),
}

impl Settings {
    /// Reads a settings file. Relative paths in it are taken from its own folder.
    ///
    /// # Errors
    /// [`SettingsError`] with file and line.
    pub fn read(file: &Path) -> Result<Self, SettingsError> {
        let mut settings = Self::parse(file, &read_text(file)?)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let own = [&mut settings.token_file, &mut settings.authority, &mut settings.state];
        for path in own.into_iter().flatten().chain(&mut settings.paths) {
            *path = folder.join(&*path);
        }
        Ok(settings)
    }

    /// Parses a settings file's text; `file` is its name for messages.
    ///
    /// # Errors
    /// [`SettingsError::Line`].
    pub fn parse(file: &Path, text: &str) -> Result<Self, SettingsError> {
        if text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| SettingsError::Line {
            file: file.into(),
            line: error.location().map_or(0, |l| l.line()),
            message: error.to_string().lines().next().unwrap_or_default().to_owned(),
        })
    }
}

/// A small text file, whole.
pub(crate) fn read_text(file: &Path) -> Result<String, SettingsError> {
    use std::io::Read;
    let wrong = |reason: String| SettingsError::File { file: file.into(), reason };
    let opened = std::fs::File::open(file).map_err(|e| wrong(e.to_string()))?;
    let mut text = String::new();
    let read = opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|e| wrong(e.to_string()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(format!("has more than {FILE_BYTES_MAX} bytes; is it the right file?")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(text: &str) -> u64 {
        match Settings::parse(Path::new("agent.yaml"), text) {
            Err(SettingsError::Line { line, .. }) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_names_are_read_and_others_are_refused_with_their_line() {
        let text = "to: logs.example:8444\ntoken_file: t\nauthority: ca.pem\nplain: false\n\
                    state: s\nname: web-1\npaths:\n  - /var/log/*.log\n";
        let settings = Settings::parse(Path::new("agent.yaml"), text).unwrap();
        assert_eq!(settings.to.as_deref(), Some("logs.example:8444"));
        assert_eq!(settings.paths, [PathBuf::from("/var/log/*.log")]);
        assert_eq!(line_of("to: a:1\n\ntokn_file: t\n"), 3);
        assert_eq!(line_of("to: a:1\npaths: {}\n"), 2);
        assert_eq!(Settings::parse(Path::new("x"), "# nothing\n\n"), Ok(Settings::default()));
    }

    #[test]
    fn messages_name_file_and_line() {
        let error = Settings::parse(Path::new("agent.yaml"), "a: 1\n").unwrap_err().to_string();
        assert!(error.starts_with("agent.yaml:1: ") && error.contains('a'), "{error}");
    }

    #[test]
    fn relative_paths_start_at_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.yaml");
        std::fs::write(&file, "token_file: t\npaths: [/abs, rel]\n").unwrap();
        let settings = Settings::read(&file).unwrap();
        assert_eq!(settings.token_file, Some(dir.path().join("t")));
        assert_eq!(settings.paths, [PathBuf::from("/abs"), dir.path().join("rel")]);
    }
}
