//! Conditions of steps.

use crate::program::Index;
use crate::spec::{Condition, Spec, WhenSpec};
use event::{Dictionary, EventView, FieldId, Kind, RowWriter, Value};
use filter::{Below, Binding, Plan, Presence, Target, Values};
use hashbrown::HashMap;

pub(crate) enum When {
    /// A predicate of the filter language.
    Plan(Box<Bound>),
    /// One test of one field: the cheap and common case.
    Field { field: FieldId, test: WhenTest, not: bool, absent: bool },
    /// A test that the pack's [`Switch`] answers, by its bit.
    Case { bit: u32, not: bool },
}

/// A predicate, its fields, and what their presence says of it.
pub(crate) struct Bound {
    plan: Plan,
    binding: Binding,
    presence: Presence,
}

pub(crate) enum WhenTest {
    /// The texts with their [`key`]: steps ask a field's value for dozens of numbers, one after the
    /// other.
    In(Box<[(u64, Box<[u8]>)]>),
    Starts(Box<[u8]>),
    Exists,
}

/// Reads a condition of the filter language; a leading dot in a name stands for the pack's prefix.
pub(crate) fn plan(spec: &Spec, text: &str) -> Result<Plan, String> {
    let mut plan = filter::search::parse_filter(text, 0).map_err(|e| e.to_string())?;
    for leaf in &mut plan.leaves {
        if let Target::Field(name) = &mut leaf.target {
            *name = spec.full(name).into();
        }
    }
    Ok(plan)
}

/// Names that a condition reads.
pub(crate) fn names(spec: &Spec, condition: &Condition) -> Vec<String> {
    match condition {
        Condition::Filter(text) => plan(spec, text)
            .map(|p| p.fields().into_iter().map(str::to_owned).collect())
            .unwrap_or_default(),
        Condition::Field(w) => w.chain().map(|w| w.field.clone()).collect(),
    }
}

impl When {
    pub(crate) fn compile(
        spec: &Spec,
        condition: &Condition,
        id: &dyn Fn(&str) -> FieldId,
        dict: &Dictionary,
    ) -> Option<Self> {
        Some(match condition {
            Condition::Filter(text) => {
                let plan = plan(spec, text).ok()?;
                let binding = plan.bind(dict);
                let presence = plan.presence(&binding);
                When::Plan(Box::new(Bound { plan, binding, presence }))
            }
            Condition::Field(w) => Self::field(w, id),
        })
    }

    /// What has to hold besides the first condition.
    pub(crate) fn further(condition: &Condition, id: &dyn Fn(&str) -> FieldId) -> Vec<Self> {
        match condition {
            Condition::Filter(_) => Vec::new(),
            Condition::Field(w) => w.chain().skip(1).map(|w| Self::field(w, id)).collect(),
        }
    }

    fn field(w: &WhenSpec, id: &dyn Fn(&str) -> FieldId) -> Self {
        let not = w.not != (w.exists == Some(false));
        When::Field { field: id(&w.field), test: WhenTest::of(w), not, absent: w.absent }
    }

    pub(crate) fn holds(&self, row: &mut RowWriter<'_>, index: &Index) -> bool {
        let (field, test, not, absent) = match self {
            When::Plan(bound) => {
                let Bound { plan, binding, presence } = &**bound;
                let has = |field| index.get(field).is_some();
                if !presence.may_hold(has, !index.others().is_empty()) {
                    return false;
                }
                let row = Indexed { view: row.view(), index };
                return plan.root.holds(&|leaf| plan.leaf_matches(leaf, binding, &row));
            }
            When::Field { field, test, not, absent } => (field, test, not, absent),
            // Asked of the switch instead.
            When::Case { .. } => return false,
        };
        // Most of what conditions ask for is not there.
        let Some(at) = index.get(*field) else { return *not || *absent };
        let cell = row.cell(at).1;
        let value = cell.bytes;
        let holds = match test {
            // `"errorCode": null` says that there is none.
            WhenTest::Exists => cell.kind != Kind::Null,
            WhenTest::In(list) => {
                let wanted = key(value);
                list.iter().any(|(key, text)| *key == wanted && text.eq_ignore_ascii_case(value))
            }
            WhenTest::Starts(prefix) => value.starts_with(prefix),
        };
        holds != *not
    }
}

/// A row whose cells are known: most of what conditions ask for is not there, and that costs one look-up.
struct Indexed<'r, 'i> {
    view: EventView<'r>,
    index: &'i Index,
}

impl<'r> Values<'r> for Indexed<'r, '_> {
    fn view(&self) -> EventView<'r> {
        self.view
    }

    fn values(&self, field: FieldId) -> impl Iterator<Item = Value<'r>> {
        // Intrinsic fields are no cells, and names of the batch alone are in no index.
        let is_elsewhere = field.is_intrinsic() || field.is_local();
        let elsewhere = is_elsewhere.then(|| self.view.all(field)).into_iter().flatten();
        let places = self.index.places(field).filter(|_| !is_elsewhere);
        let cells = places.map(|places| self.view.cells_of(field, places));
        elsewhere.chain(cells.into_iter().flatten())
    }

    fn has_below(&self, below: &Below) -> bool {
        // A list that is longer than the row costs more than to walk over the row.
        if below.known().len() > self.view.cells().len() {
            return self.view.has_below(below);
        }
        let names = || self.index.others().iter().map(|field| self.view.batch().name(*field));
        below.known().iter().any(|field| self.index.get(*field).is_some())
            || names().any(|name| below.has(name))
    }
}

/// The field that most steps of a pack ask for one of a list of values (a number that says what the event
/// is), and the answers of all of them by its value: one look-up for dozens of tests.
pub(crate) struct Switch {
    field: FieldId,
    /// Text, in lower case -> a bit per test that it fulfils.
    bits: HashMap<Box<[u8]>, u64>,
    longest: usize,
}

/// The field's value that was looked up last for a row, by where it lies, and its bits.
#[derive(Default)]
pub(crate) struct Switched {
    place: Option<(usize, usize)>,
    bits: u64,
    is_current: bool,
}

impl Switched {
    /// The row may have changed.
    pub(crate) fn may_differ(&mut self) {
        self.is_current = false;
    }
}

impl Switch {
    /// Fewest tests of one field that are worth it.
    const TESTS_MIN: usize = 4;

    /// Takes over the conditions that ask for the field that is asked for most.
    pub(crate) fn over(conditions: &mut [&mut When]) -> Option<Self> {
        let mut counts: HashMap<FieldId, usize> = HashMap::new();
        for condition in conditions.iter() {
            if let When::Field { field, test: WhenTest::In(_), .. } = condition {
                *counts.entry(*field).or_default() += 1;
            }
        }
        let (field, count) = counts.into_iter().max_by_key(|(field, count)| (*count, field.0))?;
        if count < Self::TESTS_MIN {
            return None;
        }
        let mut switch = Self { field, bits: HashMap::new(), longest: 0 };
        let mut next = 0;
        for condition in conditions.iter_mut() {
            let When::Field { field: own, test: WhenTest::In(list), not, absent } = &**condition
            else {
                continue;
            };
            if *own == field && !absent && next < u64::BITS {
                for (_, text) in list {
                    switch.longest = switch.longest.max(text.len());
                    let folded = text.to_ascii_lowercase().into();
                    *switch.bits.entry(folded).or_default() |= 1 << next;
                }
                **condition = When::Case { bit: next, not: *not };
                next += 1;
            }
        }
        Some(switch)
    }

    /// Whether a condition holds that this switch took over. `known` is of the same row, and forgotten
    /// ([`Switched::may_differ`]) whenever the row may have changed.
    pub(crate) fn holds(
        &self,
        bit: u32,
        row: &RowWriter<'_>,
        index: &Index,
        known: &mut Switched,
    ) -> bool {
        if !known.is_current {
            self.look_up(row, index, known);
        }
        known.bits >> bit & 1 == 1
    }

    fn look_up(&self, row: &RowWriter<'_>, index: &Index, known: &mut Switched) {
        let value = index.get(self.field).map_or(&[][..], |at| row.cell(at).1.bytes);
        let place = Some((value.as_ptr() as usize, value.len()));
        if known.place != place {
            known.place = place;
            known.bits = self.bits_of(value);
        }
        known.is_current = true;
    }

    fn bits_of(&self, value: &[u8]) -> u64 {
        if value.len() > self.longest {
            return 0;
        }
        let found = self.bits.get(value);
        // The keys are in lower case: what has no capitals would not be found the second time.
        let has_capitals = || value.iter().any(u8::is_ascii_uppercase);
        let folded = || self.bits.get(value.to_ascii_lowercase().as_slice());
        let found = found.or_else(|| has_capitals().then(folded).flatten());
        found.copied().unwrap_or_default()
    }
}

impl WhenSpec {
    /// This test and those that have to hold besides.
    fn chain(&self) -> impl Iterator<Item = &WhenSpec> {
        std::iter::successors(Some(self), |w| w.and.as_deref())
    }
}

impl WhenTest {
    fn of(w: &WhenSpec) -> Self {
        match (&w.is_in, &w.starts) {
            (Some(list), _) => {
                let keyed = |text: String| (key(text.as_bytes()), text.into_bytes().into());
                WhenTest::In(list.texts().into_iter().map(keyed).collect())
            }
            (None, Some(prefix)) => WhenTest::Starts(prefix.as_bytes().into()),
            (None, None) => WhenTest::Exists,
        }
    }
}

/// The same for texts that differ only in the case of letters: length and the first bytes.
fn key(text: &[u8]) -> u64 {
    let first = text.iter().take(7).fold(0, |key, byte| key << 8 | u64::from(byte | 0x20));
    first << 8 | (text.len() & 0xff) as u64
}
