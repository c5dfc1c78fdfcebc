//! Why a bench gave no figures.

/// What went wrong, and where to look.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// A file, socket or process failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Something that the bench needs is not on this machine.
    #[error("{what} is missing; {hint}")]
    Missing {
        /// What.
        what: String,
        /// How to get it.
        hint: String,
    },
    /// The measured server ended, or said something unexpected.
    #[error("the server {detail}")]
    Server {
        /// What it did, with the end of its log where that helps.
        detail: String,
    },
    /// A state that should come did not.
    #[error("waited {waited_s} s for {what}; last seen: {seen}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long, s.
        waited_s: u64,
        /// The state at the end.
        seen: String,
    },
}

impl BenchError {
    /// For `map_err`: an I/O error with what was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// A server that did something unexpected.
    pub(crate) fn server(detail: impl Into<String>) -> Self {
        Self::Server { detail: detail.into() }
    }
}
