//! A rule between reading and lowering: what pipeline steps work on.

use crate::sigma::correlation::Correlation;
use crate::sigma::detection::Detection;
use crate::sigma::item::Item;
use crate::sigma::rule::LogSource;
use crate::sigma::yaml::Node;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A rule as it stands in a pipeline.
#[derive(Debug)]
pub struct Draft<'a> {
    /// The document, for conditions on its attributes.
    pub node: &'a Node,
    /// The logsource; for a correlation, those of all rules that it relates.
    pub logsources: Vec<LogSource>,
    /// What is changed.
    pub body: Body,
    /// Values of placeholders.
    pub vars: BTreeMap<String, Vec<String>>,
    /// Ids of the steps that were applied so far.
    pub applied: BTreeSet<Arc<str>>,
    /// What `set_state` set.
    pub state: BTreeMap<String, String>,
    /// Names of fields that steps have mapped, and what they were mapped to.
    pub mapped: BTreeSet<String>,
}

/// What a rule consists of.
#[derive(Debug)]
pub enum Body {
    /// A rule about single events.
    Detection(Detection),
    /// A filter for such rules. Only its fields and values are changed: conditions and logsources
    /// belong to the rules it narrows.
    Filter(Detection),
    /// A rule about the hits of others.
    Correlation(Correlation),
}

impl<'a> Draft<'a> {
    /// A draft before the first step.
    pub fn new(node: &'a Node, logsources: Vec<LogSource>, body: Body) -> Self {
        Self {
            node,
            logsources,
            body,
            vars: BTreeMap::new(),
            applied: BTreeSet::new(),
            state: BTreeMap::new(),
            mapped: BTreeSet::new(),
        }
    }

    /// The selections and conditions, if it has such.
    pub fn detection(&self) -> Option<&Detection> {
        match &self.body {
            Body::Detection(detection) | Body::Filter(detection) => Some(detection),
            Body::Correlation(_) => None,
        }
    }

    /// Whether an item holds the condition.
    pub fn any_item(&self, holds: impl Fn(&Item) -> bool) -> bool {
        let mut found = false;
        let selections = self.detection().map_or(&[][..], |d| &d.selections);
        for selection in selections.iter().filter_map(|(_, selection)| selection.as_ref()) {
            selection.visit(&mut |item| found |= holds(item));
        }
        found
    }
}
