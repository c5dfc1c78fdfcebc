//! Conditions of steps.

use crate::program::Index;
use crate::spec::{Condition, Spec, WhenSpec};
use crate::specialise::Foreseen;
use event::{Dictionary, EventView, FieldId, Kind, RowWriter, Value};
use filter::{Below, Binding, Plan, Presence, Target, Values};
use hashbrown::HashMap;

pub(crate) enum When {
    /// A predicate of the filter language.
    Plan(Box<Bound>),
    /// One test of one field: the cheap and common case.
    Field { field: FieldId, test: WhenTest, not: bool, absent: bool },
    /// A test that one of the pack's [`Switches`] answers, by its bit.
    Case { switch: u8, bit: u8, not: bool, absent: bool },
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
    /// All that has to hold, in the order in which it is asked.
    pub(crate) fn compile(
        spec: &Spec,
        condition: &Condition,
        id: &dyn Fn(&str) -> FieldId,
        dict: &Dictionary,
    ) -> Vec<Self> {
        match condition {
            Condition::Filter(text) => {
                let bound = |plan: Plan| {
                    let binding = plan.bind(dict);
                    let presence = plan.presence(&binding);
                    When::Plan(Box::new(Bound { plan, binding, presence }))
                };
                plan(spec, text).ok().map(bound).into_iter().collect()
            }
            Condition::Field(w) => w.chain().map(|w| Self::field(w, id)).collect(),
        }
    }

    fn field(w: &WhenSpec, id: &dyn Fn(&str) -> FieldId) -> Self {
        let not = w.not != (w.exists == Some(false));
        When::Field { field: id(&w.field), test: WhenTest::of(w), not, absent: w.absent }
    }

    /// What is certain before a row is there of which so much is foreseen.
    pub(crate) fn foreseen(&self, row: &Foreseen, switches: &Switches) -> Option<bool> {
        match self {
            When::Plan(bound) => {
                let has_needed =
                    bound.presence.has_needed(|f| row.may_have(f), row.may_have_others());
                let is_refused = bound.presence.is_refused(|f| row.has(f));
                (is_refused || !has_needed).then_some(false)
            }
            When::Field { field, test, not, absent } => match test {
                _ if !row.may_have(*field) => Some(*not || *absent),
                WhenTest::Exists if row.has(*field) => Some(!*not),
                _ => None,
            },
            When::Case { switch, bit, not, absent } => {
                let switch = usize::from(*switch);
                let field = switches.0.get(switch)?.field;
                match row.may_have(field) {
                    false => Some(*not || *absent),
                    true => row.said(switch).map(|bits| (bits >> bit & 1 == 1) != *not),
                }
            }
        }
    }

    /// Whether it holds for a row; what its switches said is in `switched`.
    #[inline]
    pub(crate) fn holds(
        &self,
        row: &mut RowWriter<'_>,
        index: &Index,
        switches: &Switches,
        switched: &mut Switched,
    ) -> bool {
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
            When::Case { switch, bit, not, absent } => {
                return match switches.bits(*switch, row, index, switched) {
                    Some(bits) => (bits >> bit & 1 == 1) != *not,
                    None => *not || *absent,
                };
            }
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

/// The fields that most steps of a pack ask for one of a list of values (a number that says what the event
/// is), and the answers of all of them by its value: one look-up for dozens of tests.
#[derive(Default)]
pub(crate) struct Switches(Box<[Switch]>);

struct Switch {
    field: FieldId,
    wholes: Wholes,
    /// How texts start, and the tests that those fulfil.
    starts: Vec<(Box<[u8]>, Fulfilled)>,
    /// The bytes that one of them begins with, a bit each.
    first: [u64; 4],
}

/// Whole texts, whatever the case of their letters, and the tests that they fulfil: a table that is walked from
/// a text's place on, half of it empty.
#[derive(Default)]
struct Wholes {
    table: Vec<Option<Whole>>,
    count: usize,
}

struct Whole {
    key: u64,
    text: Box<[u8]>,
    bits: Fulfilled,
}

/// A bit per test of one field: whether the field's value fulfils it.
pub(crate) type Fulfilled = u128;
/// What the fields of all switches say; 0 of one that is absent.
pub(crate) type Said = [Fulfilled; SWITCHES_MAX];

/// Most fields whose values are looked up; the fewest tests of one that are worth it.
pub(crate) const SWITCHES_MAX: usize = 3;
const TESTS_MIN: usize = 3;

/// What was looked up last for a row.
#[derive(Default)]
pub(crate) struct Switched([LookedUp; SWITCHES_MAX]);

/// A value by where it lies, and its bits.
#[derive(Clone, Copy, Default)]
struct LookedUp {
    place: Option<(usize, usize)>,
    bits: Fulfilled,
    is_current: bool,
}

impl Switched {
    /// The row may have changed.
    #[inline]
    pub(crate) fn may_differ(&mut self) {
        self.0.iter_mut().for_each(|known| known.is_current = false);
    }
}

impl Switches {
    /// Takes over the conditions that ask for the fields that are asked for most.
    pub(crate) fn over(steps: &mut [&mut Vec<When>]) -> Self {
        let mut counts: HashMap<FieldId, usize> = HashMap::new();
        for when in steps.iter().flat_map(|step| step.iter()) {
            if let When::Field { field, test: WhenTest::In(_) | WhenTest::Starts(_), .. } = when {
                *counts.entry(*field).or_default() += 1;
            }
        }
        let mut most: Vec<_> = counts.into_iter().filter(|(_, n)| *n >= TESTS_MIN).collect();
        most.sort_by_key(|(field, count)| (std::cmp::Reverse(*count), field.0));
        let fields = most.into_iter().take(SWITCHES_MAX).map(|(field, _)| field);
        Self(fields.enumerate().map(|(switch, field)| Switch::of(field, switch, steps)).collect())
    }

    /// The fields that are looked up.
    pub(crate) fn fields(&self) -> impl Iterator<Item = FieldId> + '_ {
        self.0.iter().map(|switch| switch.field)
    }

    /// Looks all fields up. `known` is of the same row, and forgotten ([`Switched::may_differ`]) whenever the
    /// row may have changed.
    pub(crate) fn said(&self, row: &RowWriter<'_>, index: &Index, known: &mut Switched) -> Said {
        let mut said = Said::default();
        for ((switch, known), said) in self.0.iter().zip(&mut known.0).zip(&mut said) {
            if index.get(switch.field).is_some() {
                *said = switch.look_up(row, index, known);
            }
        }
        said
    }

    /// What the field of one of them fulfils, looked up once for all that ask. `None`: it is absent.
    #[inline]
    fn bits(
        &self,
        switch: u8,
        row: &RowWriter<'_>,
        index: &Index,
        known: &mut Switched,
    ) -> Option<Fulfilled> {
        let (at, known) = (usize::from(switch), &mut known.0[usize::from(switch)]);
        let switch = self.0.get(at)?;
        index.get(switch.field)?;
        Some(if known.is_current { known.bits } else { switch.look_up(row, index, known) })
    }
}

impl Switch {
    /// Takes over the conditions that ask for `field`, as far as there are bits.
    fn of(field: FieldId, number: usize, steps: &mut [&mut Vec<When>]) -> Self {
        let (wholes, starts) = (Wholes::default(), Vec::new());
        let mut switch = Self { field, wholes, starts, first: [0; 4] };
        let mut next = 0;
        for when in steps.iter_mut().flat_map(|step| step.iter_mut()) {
            let When::Field { field: own, test, not, absent } = &*when else { continue };
            if *own != field || next == Fulfilled::BITS || !switch.takes(test, 1 << next) {
                continue;
            }
            let (switch, bit) = (number as u8, next as u8);
            *when = When::Case { switch, bit, not: *not, absent: *absent };
            next += 1;
        }
        switch
    }

    /// Takes over a test, if it can.
    fn takes(&mut self, test: &WhenTest, bit: Fulfilled) -> bool {
        match test {
            WhenTest::In(list) => {
                list.iter().for_each(|(key, text)| self.wholes.add(*key, text, bit));
            }
            WhenTest::Starts(start) => {
                let Some(first) = start.first() else { return false };
                self.first[usize::from(first >> 6)] |= 1 << (first & 63);
                match self.starts.iter_mut().find(|(known, _)| known == start) {
                    Some((_, bits)) => *bits |= bit,
                    None => self.starts.push((start.clone(), bit)),
                }
            }
            WhenTest::Exists => return false,
        }
        true
    }

    /// What the first value of the field fulfils, which is there.
    fn look_up(&self, row: &RowWriter<'_>, index: &Index, known: &mut LookedUp) -> Fulfilled {
        let value = index.get(self.field).map_or(&[][..], |at| row.cell(at).1.bytes);
        let place = Some((value.as_ptr() as usize, value.len()));
        if known.place != place {
            known.place = place;
            known.bits = self.bits_of(value);
        }
        known.is_current = true;
        known.bits
    }

    fn bits_of(&self, value: &[u8]) -> Fulfilled {
        let mut bits = self.wholes.bits_of(value);
        let is_start = |first: &u8| self.first[usize::from(first >> 6)] >> (first & 63) & 1 == 1;
        if value.first().is_some_and(is_start) {
            let starts = self.starts.iter().filter(|(start, _)| value.starts_with(start));
            starts.for_each(|(_, own)| bits |= own);
        }
        bits
    }
}

impl Wholes {
    fn add(&mut self, key: u64, text: &[u8], bit: Fulfilled) {
        if self.count * 2 >= self.table.len() {
            let more = std::iter::repeat_with(|| None).take(self.table.len().max(4) * 2).collect();
            let old = std::mem::replace(&mut self.table, more);
            old.into_iter().flatten().for_each(|whole| {
                let at = self.place(whole.key, &whole.text);
                self.table[at] = Some(whole);
            });
        }
        let at = self.place(key, text);
        match &mut self.table[at] {
            Some(whole) => whole.bits |= bit,
            none => {
                *none = Some(Whole { key, text: text.into(), bits: bit });
                self.count += 1;
            }
        }
    }

    fn bits_of(&self, value: &[u8]) -> Fulfilled {
        if self.table.is_empty() {
            return 0;
        }
        let at = self.place(key(value), value);
        self.table[at].as_ref().map_or(0, |whole| whole.bits)
    }

    /// Where the text stands, or would stand.
    fn place(&self, key: u64, text: &[u8]) -> usize {
        // The table's length is a power of two.
        let mask = self.table.len() - 1;
        let mut at = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & mask;
        while let Some(whole) = &self.table[at] {
            if whole.key == key && whole.text.eq_ignore_ascii_case(text) {
                break;
            }
            at = (at + 1) & mask;
        }
        at
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
#[inline]
fn key(text: &[u8]) -> u64 {
    let first = match text.first_chunk::<8>() {
        Some(first) => u64::from_le_bytes(*first) << 8,
        None => text.iter().rev().fold(0, |key, byte| key << 8 | u64::from(*byte)) << 8,
    };
    (first | 0x2020_2020_2020_2000) & !0xff | (text.len() & 0xff) as u64
}
