//! Logsource routing: which rules an event is offered to.

use super::index::{IndexBuilder, ValueIndex};
use crate::sigma::Rule;
use event::{EventView, FieldId};
use filter::Test;
use hashbrown::HashMap;

/// The field whose cells say what an event is: `product/category/service`. A component may be empty
/// (the event has none) or `*` (not known: fits anything). An event without such a cell is offered
/// to every rule.
pub const LOGSOURCE_FIELD: &str = "alcedo.logsource";
/// Most different routes kept; events choose among few, so this only bounds memory.
const ROUTES_MAX: usize = 1_024;

/// Rules one kind of event is offered to.
pub(crate) struct Route {
    /// Bit per rule.
    allowed: Box<[u64]>,
    /// Rules without a witness among them.
    pub(crate) always: Box<[u32]>,
    /// The keyword leaves of the allowed rules, if there are any: an index per route, so that
    /// events are not searched for the keywords of other products.
    pub(crate) keywords: Option<ValueIndex>,
}

impl Route {
    /// Whether the rule may match such events.
    pub(crate) fn allows(&self, rule: u32) -> bool {
        self.allowed[rule as usize / 64] >> (rule % 64) & 1 == 1
    }
}

/// What routes are made from.
pub(crate) struct Router {
    field: Option<FieldId>,
    /// Per rule: its three components, folded; `None` for correlations, which match no event.
    logsources: Vec<Option<[Option<Box<str>>; 3]>>,
    always: Vec<u32>,
    keywords: Vec<KeywordLeaf>,
}

/// A keyword leaf that is looked up.
pub(crate) struct KeywordLeaf {
    pub(crate) leaf: u32,
    pub(crate) test: Test,
    /// All rules that have it.
    pub(crate) rules: Vec<u32>,
}

impl Router {
    pub(crate) fn new(
        rules: &[Rule],
        field: Option<FieldId>,
        always: Vec<u32>,
        keywords: Vec<KeywordLeaf>,
    ) -> Self {
        let components = |rule: &Rule| {
            rule.plan()?;
            Some(rule.logsource.parts().map(|p| p.map(|t| t.to_ascii_lowercase().into())))
        };
        Self { field, logsources: rules.iter().map(components).collect(), always, keywords }
    }

    fn build(&self, cells: &[u8]) -> Route {
        let cells: Vec<&[u8]> = cells.split(|b| *b == b'\n').filter(|c| !c.is_empty()).collect();
        let mut allowed = vec![0u64; self.logsources.len().div_ceil(64)].into_boxed_slice();
        for (index, logsource) in self.logsources.iter().enumerate() {
            let Some(parts) = logsource else { continue };
            if cells.is_empty() || cells.iter().any(|cell| fits(parts, cell)) {
                allowed[index / 64] |= 1 << (index % 64);
            }
        }
        let mut route = Route { allowed, always: Box::default(), keywords: None };
        route.always = self.always.iter().copied().filter(|r| route.allows(*r)).collect();
        let mut keywords: Option<IndexBuilder> = None;
        for keyword in &self.keywords {
            if keyword.rules.iter().any(|r| route.allows(*r)) {
                keywords.get_or_insert_default().add(keyword.leaf, &keyword.test);
            }
        }
        route.keywords = keywords.map(IndexBuilder::build);
        route
    }
}

/// Whether each component that the rule names equals the cell's, or the cell's is not known.
pub(crate) fn fits(parts: &[Option<Box<str>>; 3], cell: &[u8]) -> bool {
    let mut components = cell.splitn(3, |b| *b == b'/');
    parts.iter().all(|wanted| {
        let have = components.next().unwrap_or_default();
        match wanted {
            None => true,
            Some(_) if have == b"*" => true,
            Some(text) => have.eq_ignore_ascii_case(text.as_bytes()),
        }
    })
}

/// Routes seen so far.
#[derive(Default)]
pub(crate) struct Routes {
    known: HashMap<Box<[u8]>, usize>,
    list: Vec<Route>,
    key: Vec<u8>,
}

impl Routes {
    pub(crate) fn clear(&mut self) {
        self.known.clear();
        self.list.clear();
    }

    /// The route of a row.
    pub(crate) fn of(&mut self, router: &Router, row: &EventView<'_>) -> &Route {
        self.key.clear();
        for value in router.field.into_iter().flat_map(|f| row.all(f)) {
            self.key.extend_from_slice(value.bytes);
            self.key.push(b'\n');
        }
        if let Some(at) = self.known.get(self.key.as_slice()) {
            return &self.list[*at];
        }
        if self.list.len() >= ROUTES_MAX {
            self.clear();
        }
        self.known.insert(self.key.as_slice().into(), self.list.len());
        self.list.push(router.build(&self.key));
        &self.list[self.list.len() - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_component_must_fit_one_and_the_same_cell() {
        let parts = |p: [&str; 3]| p.map(|t| (!t.is_empty()).then(|| Box::from(t)));
        let rule = parts(["windows", "process_creation", ""]);
        assert!(fits(&rule, b"Windows/process_creation/sysmon"));
        assert!(fits(&rule, b"windows/*/") && fits(&rule, b"*/*/*"));
        assert!(!fits(&rule, b"windows//security") && !fits(&rule, b"linux/process_creation/"));
        assert!(!fits(&rule, b"windows"));
        assert!(fits(&parts(["", "", ""]), b"anything"));
    }
}
