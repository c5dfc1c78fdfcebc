//! What people do with an alert: the states it can be in and the one table of legal moves.

use event::Disposition;
use serde::{Deserialize, Serialize};

/// Longest reason or note kept, in bytes: a long paragraph, not a document.
pub const REASON_MAX_BYTES: usize = 8_192;

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody has taken it.
    New,
    /// Somebody is on it.
    Acknowledged,
    /// Decided: it has a disposition and a reason.
    Closed,
}

impl State {
    /// All states with their names in the API, and in Elastic's `kibana.alert.workflow_status`.
    pub const ALL: &[(State, &'static str, &'static str)] = &[
        (State::New, "new", "open"),
        (State::Acknowledged, "acknowledged", "acknowledged"),
        (State::Closed, "closed", "closed"),
    ];

    /// Name in the API.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Elastic's word for it.
    pub fn workflow_status(self) -> &'static str {
        Self::ALL[self as usize].2
    }

    /// The state of that API name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|row| row.1 == name).map(|row| row.0)
    }
}

/// What a move asks of the person who makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A reason in words.
    Reason,
    /// A disposition and a reason in words.
    Disposition,
}

/// Every legal move. What is not listed is refused; there is no other place that decides.
pub const TRANSITIONS: &[(State, State, Needs)] = &[
    // taking it, and giving it back to the queue
    (State::New, State::Acknowledged, Needs::Nothing),
    (State::Acknowledged, State::New, Needs::Nothing),
    // deciding, with or without having taken it first
    (State::New, State::Closed, Needs::Disposition),
    (State::Acknowledged, State::Closed, Needs::Disposition),
    // correcting a decision keeps it closed
    (State::Closed, State::Closed, Needs::Disposition),
    // opening it again: to the queue, or to oneself
    (State::Closed, State::New, Needs::Reason),
    (State::Closed, State::Acknowledged, Needs::Reason),
];

/// A move that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TriageError {
    /// There is no such move.
    #[error("an alert that is {} cannot become {}; it can become {}", from.name(), to.name(), targets(*from))]
    NotAllowed {
        /// Where the alert stands.
        from: State,
        /// Where it was to go.
        to: State,
    },
    /// Closing without saying as what.
    #[error("closing needs a disposition: true_positive, benign_true_positive or false_positive")]
    NoDisposition,
    /// A disposition was given for a move that does not close.
    #[error("only closing takes a disposition; leave it out to make the alert {}", to.name())]
    UnexpectedDisposition {
        /// Where the alert was to go.
        to: State,
    },
    /// No reason in words.
    #[error("say why: the reason is part of the record")]
    NoReason,
    /// A reason beyond [`REASON_MAX_BYTES`].
    #[error("the reason has {size_bytes} bytes; {REASON_MAX_BYTES} are kept, shorten it")]
    ReasonTooLong {
        /// Its size.
        size_bytes: usize,
    },
}

/// Whether an alert in `from` may go to `to` with this disposition and reason.
pub fn transition(
    from: State,
    to: State,
    disposition: Option<Disposition>,
    why: &str,
) -> Result<(), TriageError> {
    let needs = TRANSITIONS
        .iter()
        .find(|(a, b, _)| (*a, *b) == (from, to))
        .map(|(_, _, needs)| *needs)
        .ok_or(TriageError::NotAllowed { from, to })?;
    if why.len() > REASON_MAX_BYTES {
        return Err(TriageError::ReasonTooLong { size_bytes: why.len() });
    }
    if needs == Needs::Disposition && disposition.is_none() {
        return Err(TriageError::NoDisposition);
    }
    if needs != Needs::Disposition && disposition.is_some() {
        return Err(TriageError::UnexpectedDisposition { to });
    }
    if needs != Needs::Nothing && why.trim().is_empty() {
        return Err(TriageError::NoReason);
    }
    Ok(())
}

fn targets(from: State) -> String {
    let names: Vec<&str> = TRANSITIONS.iter().filter(|t| t.0 == from).map(|t| t.1.name()).collect();
    names.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_either_listed_or_refused() {
        for (from, ..) in State::ALL {
            for (to, ..) in State::ALL {
                let listed = TRANSITIONS.iter().find(|t| (t.0, t.1) == (*from, *to));
                let disposition = (*to == State::Closed).then_some(Disposition::FalsePositive);
                let got = transition(*from, *to, disposition, "seen before");
                assert_eq!(got.is_ok(), listed.is_some(), "{from:?} -> {to:?}: {got:?}");
            }
        }
        assert_eq!(
            transition(State::New, State::New, None, "x").unwrap_err().to_string(),
            "an alert that is new cannot become new; it can become acknowledged or closed"
        );
    }

    #[test]
    fn closing_says_as_what_and_why_and_reopening_says_why() {
        use State::*;
        let tp = Some(Disposition::TruePositive);
        assert_eq!(transition(New, Closed, None, "x"), Err(TriageError::NoDisposition));
        assert_eq!(transition(New, Closed, tp, " "), Err(TriageError::NoReason));
        assert_eq!(transition(Closed, New, None, ""), Err(TriageError::NoReason));
        assert_eq!(
            transition(New, Acknowledged, tp, ""),
            Err(TriageError::UnexpectedDisposition { to: Acknowledged })
        );
        assert_eq!(transition(New, Acknowledged, None, ""), Ok(()));
        let long = "x".repeat(REASON_MAX_BYTES + 1);
        assert!(transition(New, Closed, tp, &long).is_err());
    }

    #[test]
    fn names_read_back() {
        for (state, name, _) in State::ALL {
            assert_eq!(state.name(), *name);
            assert_eq!(State::from_name(name), Some(*state));
            assert_eq!(serde_json::to_value(state).unwrap(), *name);
        }
    }
}
