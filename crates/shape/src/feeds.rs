//! What each pack's events carry, for saying which rules they can feed.

use crate::native::ID_NAMES;
use crate::packs::{Pack, PackSet};
use std::collections::HashSet;

/// One pack's events, as rules see them.
pub struct Feed<'a> {
    pack: &'a Pack,
    /// Fields that the pack itself writes.
    written: HashSet<String>,
}

impl PackSet {
    /// Every pack, in the order in which they are looked at.
    pub fn feeds(&self) -> Vec<Feed<'_>> {
        self.packs.iter().map(Feed::new).collect()
    }
}

impl<'a> Feed<'a> {
    fn new(pack: &'a Pack) -> Self {
        let spec = &pack.spec;
        let below = |name: &String| match spec.prefix.is_empty() {
            true => name.clone(),
            false => format!("{}.{name}", spec.prefix),
        };
        let mut written: HashSet<String> = spec.known.iter().map(below).collect();
        for step in &spec.steps {
            written.extend(crate::ops::names(step, spec).iter().map(|name| spec.full(name)));
        }
        written.extend(ID_NAMES.iter().map(|name| (*name).to_owned()));
        Self { pack, written }
    }

    /// Name of the pack.
    pub fn name(&self) -> &'a str {
        &self.pack.spec.pack
    }

    /// Logsources that its events may have.
    pub fn logsources(&self) -> Vec<String> {
        let Pack { spec, routes, .. } = self.pack;
        let steps = spec.steps.iter().flat_map(|s| s.logsource.clone());
        let mut out: Vec<String> =
            spec.logsource.iter().cloned().chain(steps).chain(routes.logsources()).collect();
        out.sort();
        out.dedup();
        out
    }

    /// Fields of its events that are known to answer to a name; none = the name is not known here.
    pub fn answers(&self, name: &str) -> Vec<String> {
        let spec = &self.pack.spec;
        if let Some(fields) = spec.sigma.get(name) {
            return fields.texts().iter().map(|f| spec.full(f)).collect();
        }
        let prefixed = spec.sigma_prefixes.iter().map(|p| format!("{p}{name}"));
        prefixed.chain([name.to_owned()]).filter(|f| self.written.contains(f)).collect()
    }
}
