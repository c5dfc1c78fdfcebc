//! Logsource routing: which rules an event is offered to, and the indexes of just those rules.
//!
//! ```text
//! cells of alcedo.logsource --Routes::key--> Route {rules allowed, index per group of fields}
//! ```
//! Routes are built when the first such event comes and are shared by all workers. Events choose
//! among few; should they choose among very many, the route of all rules serves the rest.

use super::cells::CellIndex;
use super::index::{BORDER, ValueIndex};
use super::memo::Memo;
use super::training::Sampler;
use crate::sigma::Rule;
use event::text::fold_into;
use event::{Dictionary, EventView, FieldId, Kind};
use filter::Values;
use hashbrown::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The field whose cells say what an event is: `product/category/service`. A component may be empty
/// (the event has none) or `*` (not known: fits anything). An event without such a cell is offered
/// to every rule but those that ask for absences alone of a product that packs know; nor is one to
/// these whose cell has nothing of what they name but what is not known.
pub const LOGSOURCE_FIELD: &str = "alcedo.logsource";
/// Most routes with indexes of their own: real estates have a few dozen; the largest takes some MB.
const ROUTES_MAX: usize = 128;
/// Most different cells whose route is remembered.
const KEYS_MAX: usize = 4_096;

pub(crate) const NONE: u32 = u32::MAX;
/// The leaf is looked up: not being hit proves that it does not hold.
pub(crate) const INDEXED: u8 = 1;
/// A hit proves that it holds.
pub(crate) const CERTAIN: u8 = 2;

/// Bit per rule.
pub(crate) type RuleBits = Box<[u64]>;

pub(crate) fn has_bit(bits: &[u64], rule: u32) -> bool {
    bits[rule as usize / 64] >> (rule % 64) & 1 == 1
}

pub(crate) fn set_bit(bits: &mut [u64], rule: usize) {
    bits[rule / 64] |= 1 << (rule % 64);
}

/// The rules one kind of event is offered to, compiled for it.
pub(crate) struct Route {
    pub(crate) allowed: RuleBits,
    /// Field id -> first member, or [`NONE`].
    pub(crate) of_field: Box<[u32]>,
    pub(crate) members: Box<[Member]>,
    /// An index per group of fields. Their hits are *entries* of this route.
    pub(crate) indexes: Box<[ValueIndex]>,
    /// Number of the first index among all that ever were: tells values of different indexes apart
    /// in a memo.
    pub(crate) first_slot: u32,
    /// Entry -> leaf.
    pub(crate) leaf_of: Box<[u32]>,
    /// Entry -> where the rules that it is a witness of start in `postings`; one more at the end.
    pub(crate) postings_from: Box<[u32]>,
    pub(crate) postings: Box<[u32]>,
    /// Leaf -> [`INDEXED`], [`CERTAIN`].
    pub(crate) flags: Box<[u8]>,
    /// Rules that have a guard.
    pub(crate) guarded: RuleBits,
    /// Rules whose witness is common: another set of leaves one of which must have been hit too.
    pub(crate) guards: HashMap<u32, Box<[u32]>>,
    /// Rules without a witness.
    pub(crate) always: Box<[u32]>,
    /// Keywords of the allowed rules, if there are any.
    pub(crate) keywords: Option<ValueIndex>,
    /// Rows that its witnesses were chosen by; 0 = by what is usual in logs.
    pub(crate) trained_rows: u32,
}

/// A field that belongs to a group of one of the indexes.
pub(crate) struct Member {
    pub(crate) index: u32,
    /// Fields that answer before this one.
    pub(crate) earlier: Box<[FieldId]>,
    /// Whether no further member of the same field follows.
    pub(crate) is_last: bool,
}

impl Route {
    /// Calls `hit` with every entry that may hold for the row; some may come twice. Keywords only if
    /// `reads_keywords`.
    pub(crate) fn scan(
        &self,
        row: &EventView<'_>,
        cells: &CellIndex,
        buffers: &mut Buffers,
        reads_keywords: bool,
        mut hit: impl FnMut(u32),
    ) {
        let Buffers { memo, spare, folded } = buffers;
        for (field, value) in row.cells() {
            let Some(mut at) = self.of_field.get(field.0 as usize).copied() else { continue };
            while at != NONE {
                let member = &self.members[at as usize];
                at = if member.is_last { NONE } else { at + 1 };
                if member.earlier.iter().any(|f| cells.has(*f)) {
                    continue;
                }
                let index = &self.indexes[member.index as usize];
                index.present().iter().for_each(|e| hit(*e));
                if value.kind == Kind::Null || !index.reads_values() {
                    continue;
                }
                let slot = self.first_slot + member.index;
                let hits = memo.hits(slot, value, spare, |hits| index.scan(value, folded, hits));
                hits.iter().for_each(|e| hit(*e));
            }
        }
        if reads_keywords && let Some(keywords) = &self.keywords {
            spare.clear();
            scan_keywords(keywords, row, folded, spare);
            spare.iter().for_each(|e| hit(*e));
        }
    }

    /// The rules that entry `entry` is a witness of.
    pub(crate) fn rules_of(&self, entry: u32) -> &[u32] {
        let at = entry as usize;
        let (from, to) = (self.postings_from[at], self.postings_from[at + 1]);
        &self.postings[from as usize..to as usize]
    }
}

/// Looks keywords up in the raw bytes and in every cell that is not a piece of them: all in one text,
/// so that the search starts once per row.
fn scan_keywords(
    index: &ValueIndex,
    row: &EventView<'_>,
    folded: &mut Vec<u8>,
    hits: &mut Vec<u32>,
) {
    if !index.may_hit(row.own_bytes()) {
        return;
    }
    let raw = row.raw();
    folded.clear();
    fold_into(raw, folded);
    let mut was_ascii = raw.is_ascii();
    let range = raw.as_ptr_range();
    let mut last = None;
    for (_, value) in row.cells() {
        let own = value.bytes.as_ptr_range();
        let is_piece = own.start >= range.start && own.end <= range.end;
        // Fields often share the value of the cell before.
        if !is_piece && value.kind != Kind::Null && last.as_ref() != Some(&own) {
            folded.push(BORDER);
            fold_into(value.bytes, folded);
            was_ascii &= value.bytes.is_ascii();
        }
        last = Some(own);
    }
    index.scan_folded(folded, was_ascii, hits);
}

/// What looking values up needs besides the route.
pub(crate) struct Buffers {
    pub(crate) memo: Memo,
    pub(crate) spare: Vec<u32>,
    pub(crate) folded: Vec<u8>,
}

impl Buffers {
    /// For routes over so many leaves.
    pub(crate) fn for_leaves(leaves: usize) -> Self {
        Self { memo: Memo::for_leaves(leaves), spare: Vec::new(), folded: Vec::new() }
    }
}

/// Tells which rules an event is offered to.
pub(crate) struct Router {
    field: Option<FieldId>,
    /// Each logsource that rules name: its three components, folded, and the rules.
    logsources: Vec<([Option<Box<str>>; 3], RuleBits)>,
    /// What an event of unknown kind is offered to: all but the rules that ask for absences alone of
    /// products that packs read, which would match every event that no pack took.
    of_unknown: RuleBits,
}

impl Router {
    pub(crate) fn new(rules: &[Arc<Rule>], dict: &Dictionary) -> Self {
        let none = vec![0u64; rules.len().div_ceil(64)].into_boxed_slice();
        let mut of_unknown = none.clone();
        let mut logsources: HashMap<[Option<Box<str>>; 3], RuleBits> = HashMap::new();
        for (index, rule) in rules.iter().enumerate() {
            // Correlations have no plan: they match no event.
            let Some(plan) = rule.plan() else { continue };
            let parts =
                rule.logsource.parts().map(|p| p.map(|t| t.to_ascii_lowercase().into_boxed_str()));
            let is_known = parts[0].as_ref().is_some_and(|product| dict.knows_product(product));
            if !(is_known && plan.holds_without_fields()) {
                set_bit(&mut of_unknown, index);
            }
            set_bit(logsources.entry(parts).or_insert_with(|| none.clone()), index);
        }
        let field = dict.id(LOGSOURCE_FIELD);
        Self { field, logsources: logsources.into_iter().collect(), of_unknown }
    }

    /// Writes what decides the row's route.
    pub(crate) fn key<'a>(&self, row: &impl Values<'a>, key: &mut Vec<u8>) {
        key.clear();
        for value in self.field.into_iter().flat_map(|f| row.values(f)) {
            key.extend_from_slice(value.bytes);
            key.push(b'\n');
        }
    }

    /// The rules that events with such a key are offered to.
    pub(crate) fn allowed(&self, key: &[u8]) -> RuleBits {
        let cells: Vec<&[u8]> = key.split(|b| *b == b'\n').filter(|c| !c.is_empty()).collect();
        if cells.is_empty() {
            return self.of_unknown.clone();
        }
        let mut allowed = vec![0u64; self.of_unknown.len()].into_boxed_slice();
        for (parts, rules) in &self.logsources {
            let rules = rules.iter().zip(&self.of_unknown);
            match cells.iter().map(|cell| fit(parts, cell)).max() {
                Some(Fit::Equal) => allowed.iter_mut().zip(rules).for_each(|(all, r)| *all |= r.0),
                Some(Fit::Open) => {
                    allowed.iter_mut().zip(rules).for_each(|(all, r)| *all |= r.0 & r.1);
                }
                Some(Fit::Other) | None => {}
            }
        }
        allowed
    }
}

/// How a cell fits what a rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// A component is another one.
    Other,
    /// None is another one, and none is known to be the same: the event is as good as unknown.
    Open,
    /// One is the same and none is another one, or the rule names none.
    Equal,
}

/// Compares each component that the rule names with the cell's, which fits if it is not known.
fn fit(parts: &[Option<Box<str>>; 3], cell: &[u8]) -> Fit {
    let mut components = cell.splitn(3, |b| *b == b'/');
    let (mut names_one, mut has_equal) = (false, false);
    for wanted in parts {
        let have = components.next().unwrap_or_default();
        let Some(wanted) = wanted else { continue };
        names_one = true;
        match have.eq_ignore_ascii_case(wanted.as_bytes()) {
            true => has_equal = true,
            false if have == b"*" => {}
            false => return Fit::Other,
        }
    }
    if names_one && !has_equal { Fit::Open } else { Fit::Equal }
}

/// Whether each component that the rule names equals the cell's, or the cell's is not known.
pub(crate) fn fits(parts: &[Option<Box<str>>; 3], cell: &[u8]) -> bool {
    fit(parts, cell) != Fit::Other
}

/// The routes of a set, shared by all workers.
#[derive(Default)]
pub(crate) struct Routes {
    built: Mutex<HashMap<RuleBits, Arc<Route>>>,
    /// The route of all rules, if it was made beforehand: it serves a new kind of event at once, while
    /// the kind's own route is made in the background.
    wide: OnceLock<Arc<Route>>,
    /// Kinds of events that wait for a route of their own.
    wanted: Mutex<Vec<RuleBits>>,
}

impl Routes {
    /// The route for these rules, built by `build` when it is new. Building under the lock lets a
    /// second worker wait instead of doing the same work.
    pub(crate) fn get(
        &self,
        allowed: &RuleBits,
        build: impl Fn(RuleBits) -> Route,
        all: impl Fn() -> RuleBits,
    ) -> Arc<Route> {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = built.get(allowed) {
            return route.clone();
        }
        if let Some(wide) = self.wide.get() {
            if built.len() < ROUTES_MAX {
                self.want(allowed);
            }
            return wide.clone();
        }
        let key = if built.len() < ROUTES_MAX { allowed.clone() } else { all() };
        built.entry(key).or_insert_with_key(|bits| Arc::new(build(bits.clone()))).clone()
    }

    fn want(&self, allowed: &RuleBits) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.len() < ROUTES_MAX && !wanted.contains(allowed) {
            wanted.push(allowed.clone());
        }
    }

    /// Rules that wait for a route of their own, and how many more do.
    pub(crate) fn next_wanted(&self) -> Option<(RuleBits, usize)> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let next = wanted.pop()?;
        Some((next, wanted.len()))
    }

    /// Whether rules wait for a route of their own.
    pub(crate) fn has_wanted(&self) -> bool {
        !self.wanted.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whether the route of all rules was made beforehand.
    pub(crate) fn is_warm(&self) -> bool {
        self.wide.get().is_some()
    }

    /// Lets `route`, which has all rules, serve what has none of its own yet.
    pub(crate) fn set_wide(&self, route: Arc<Route>) {
        self.replace(route.clone());
        // Whoever was first is as good.
        let _ = self.wide.set(route);
    }

    /// Puts a better route in the place of one for the same rules.
    pub(crate) fn replace(&self, route: Arc<Route>) {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        built.insert(route.allowed.clone(), route);
    }

    /// All that were built.
    pub(crate) fn all(&self) -> Vec<Arc<Route>> {
        self.built.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Where a worker's rows go: the routes it has met, so that no lock is taken for a known one.
#[derive(Default)]
pub(crate) struct Directory {
    known: HashMap<Box<[u8]>, u32>,
    pub(crate) chosen: Vec<Chosen>,
    key: Vec<u8>,
    last: Option<u32>,
    last_key: Vec<u8>,
}

/// A route, and which of its rules count.
pub(crate) struct Chosen {
    pub(crate) route: Arc<Route>,
    /// The rules that such events are offered to: all that the route allows, or some.
    pub(crate) allowed: RuleBits,
    /// Whether one of them has keywords.
    pub(crate) reads_keywords: bool,
    pub(crate) sampler: Sampler,
}

impl Chosen {
    pub(crate) fn new(route: Arc<Route>, allowed: RuleBits, with_keywords: &[u64]) -> Self {
        let reads_keywords = allowed.iter().zip(with_keywords).any(|(a, b)| a & b != 0);
        Self { route, allowed, reads_keywords, sampler: Sampler::default() }
    }
}

impl Directory {
    fn clear(&mut self) {
        self.known.clear();
        self.chosen.clear();
        self.last = None;
    }

    /// Takes the routes that `find` gives now. Samplers stay: sampling that started anew with every
    /// route that is replaced would never come to an end.
    pub(crate) fn refresh(&mut self, find: impl Fn(&RuleBits) -> Arc<Route>) {
        for chosen in &mut self.chosen {
            chosen.route = find(&chosen.allowed);
        }
    }

    /// Number of the row's entry in `chosen`, which `find` fills for a key it has not met.
    pub(crate) fn of<'a>(
        &mut self,
        router: &Router,
        row: &impl Values<'a>,
        find: impl FnOnce(&[u8]) -> Chosen,
    ) -> u32 {
        router.key(row, &mut self.key);
        if let Some(last) = self.last
            && self.last_key == self.key
        {
            return last;
        }
        let number = match self.known.get(self.key.as_slice()) {
            Some(number) => *number,
            None => {
                if self.chosen.len() >= KEYS_MAX {
                    self.clear();
                }
                let number = self.chosen.len() as u32;
                self.chosen.push(find(&self.key));
                self.known.insert(self.key.as_slice().into(), number);
                number
            }
        };
        self.last = Some(number);
        self.last_key.clone_from(&self.key);
        number
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

    #[test]
    fn what_is_not_known_is_no_equal() {
        let parts = |p: [&str; 3]| p.map(|t| (!t.is_empty()).then(|| Box::from(t)));
        assert_eq!(fit(&parts(["zeek", "", "rdp"]), b"*/webserver/*"), Fit::Open);
        assert_eq!(fit(&parts(["apache", "webserver", ""]), b"*/webserver/*"), Fit::Equal);
        assert_eq!(fit(&parts(["", "", "apache"]), b"*/webserver/apache"), Fit::Equal);
        assert_eq!(fit(&parts(["linux", "", "sshd"]), b"*/webserver/"), Fit::Other);
        assert_eq!(fit(&parts(["", "", ""]), b"*/webserver/*"), Fit::Equal);
    }
}
