//! What is known of the rule behind an alert beyond what the alert itself carries.

use serde::{Deserialize, Serialize};

/// Licence, sources and advice of a rule. Shown wherever its alerts are shown: rules are other
/// people's work, and most of their licences ask for the author's name to travel along.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleMeta {
    /// Licence of the rule as its file states it (SPDX or `DRL-1.1`); empty when it states none.
    pub license: String,
    /// Links the rule's author gave.
    pub references: Vec<String>,
    /// The rule's own description.
    pub description: String,
    /// Known harmless causes, in the author's words.
    pub falsepositives: Vec<String>,
}
