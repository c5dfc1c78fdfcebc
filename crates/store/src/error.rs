//! What can go wrong, and what to do about it.

use std::path::{Path, PathBuf};

/// Opening, writing or keeping files failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{action} `{}` failed: {source}; check free space and permissions", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A Parquet file could not be written or read.
    #[error("file `{}`: {reason}; run `verify` and restore it from a copy", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the reader or writer said.
        reason: String,
    },
    /// The store was opened for reading only.
    #[error("store `{}` is open for reading only; stop the program that writes it, or ask it", path.display())]
    ReadOnly {
        /// The store's folder.
        path: PathBuf,
    },
    /// A filter of a hold, a deletion or a rule of retention.
    #[error("filter `{filter}`: {reason}")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Rows to be deleted are under a legal hold.
    #[error("hold {hold} ({reason}) keeps some of these rows; release it first")]
    Held {
        /// Number of the hold.
        hold: u64,
        /// Its reason.
        reason: String,
    },
    /// The far tier did not give or take an object.
    #[error("object `{object}` of the far tier: {reason}; nothing is lost here, try again")]
    Far {
        /// Its name below the tier's prefix.
        object: String,
        /// What the far tier or the way to it said.
        reason: String,
    },
    /// A place has no backup, or none of this name.
    #[error("{place} has no backup{}", name.as_ref().map(|name| format!(" `{name}`")).unwrap_or_default())]
    NoBackup {
        /// The place as given.
        place: String,
        /// The name that was asked for; none: any.
        name: Option<String>,
    },
    /// The settings of the far tier.
    #[error("far tier `{to}`: {reason}")]
    Tier {
        /// Its address as given.
        to: String,
        /// What is wrong with the settings.
        reason: String,
    },
    /// The store is of a later format.
    #[error(
        "store `{}` was written by a newer version of this program: its format is {found}, this one reads \
         up to {known}; use that version; nothing was changed",
        path.display()
    )]
    Newer {
        /// The log of its manifest.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// The list of files is damaged other than by a torn last write.
    #[error("manifest `{}` is damaged at byte {at}: {reason}; restore it from a copy", path.display())]
    Manifest {
        /// The log file.
        path: PathBuf,
        /// Byte offset of the first bad record.
        at: u64,
        /// What is wrong with it.
        reason: String,
    },
}

impl StoreError {
    pub(crate) fn io<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(std::io::Error) -> StoreError + 'a {
        move |source| StoreError::Io { action, path: path.to_path_buf(), source }
    }

    pub(crate) fn file(path: &Path, reason: impl std::fmt::Display) -> StoreError {
        StoreError::File { path: path.to_path_buf(), reason: reason.to_string() }
    }
}

/// A search could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The pipes do not fit together.
    #[error("{0}")]
    Pipes(String),
    /// The same, and where in the query.
    #[error("column {column}: {reason}")]
    At {
        /// Character, from 1.
        column: usize,
        /// What is wrong there, and what to write instead.
        reason: String,
    },
    /// The query engine gave up, for instance at its memory limit.
    #[error("query engine: {0}; narrow the time range or the filter")]
    Engine(String),
    /// Sorting, grouping or joining needs more than a search may use.
    #[error(
        "it needs more memory than a search may use; narrow the time range or the filter, group or \
         sort by fields with fewer or shorter values, or export the events"
    )]
    Memory,
    /// As many searches run as are allowed.
    #[error("{running} searches are running; try again in a moment or cancel one")]
    Busy {
        /// How many.
        running: usize,
    },
    /// Reading a file failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SearchError {
    /// Says where in `query` the name stands that the error is about, if it is about one.
    pub fn located_in(self, query: &str) -> Self {
        let SearchError::Pipes(reason) = self else { return self };
        let name = reason.split('`').nth(1).unwrap_or_default();
        match place_of(name, query) {
            Some(column) => SearchError::At { column, reason },
            None => SearchError::Pipes(reason),
        }
    }
}

/// Where a whole name stands last: what comes first made the column that it is not.
fn place_of(name: &str, query: &str) -> Option<usize> {
    let in_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '@');
    let whole = |at: &usize| {
        let (before, after) = (&query[..*at], &query[at + name.len()..]);
        !before.ends_with(in_name) && !after.starts_with(in_name)
    };
    if name.is_empty() {
        return None;
    }
    let at = query.rmatch_indices(name).map(|(at, _)| at).find(whole)?;
    Some(query[..at].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_about_names_say_where_they_stand() {
        let error = || SearchError::Pipes("no column `n`; there are: count".into());
        let shown = error().located_in("n:1 | stats count() by n\u{e9}n | sort n").to_string();
        assert_eq!(shown, "column 35: no column `n`; there are: count");
        assert_eq!(error().located_in("* | head 1").to_string(), error().to_string());
        let other = SearchError::Busy { running: 1 };
        assert!(matches!(other.located_in("1"), SearchError::Busy { .. }));
    }
}
