//! A pack's steps for rows of one layout: what is certain of all of them is answered once (partial
//! evaluation).
//!
//! ```text
//! all steps + fields that the rows have + what the switches say --> steps that may act, what they have to ask
//!   84 steps, 250 mappings, 1 event id                          -->   9 steps,  20 mappings
//! ```
//! A step is left out if a condition of it cannot hold, an operation if the row has nothing for it. What earlier
//! steps may write counts as what the row may have: too much is left, never too little, and values are asked as
//! ever. So the row comes out as if all steps had been run.

use crate::ops::Mapping;
use crate::program::Step;
use crate::when::{Fulfilled, SWITCHES_MAX, Said, Switches};
use event::FieldId;

/// What is known of a row beforehand: after its first steps it is less.
pub(crate) struct Foreseen {
    certain: Fields,
    possible: Fields,
    /// It may have fields of any name.
    is_open: bool,
    /// It may have fields that only its batch knows.
    has_others: bool,
    /// What the switches' fields say, as long as that is certain.
    said: [Option<Fulfilled>; SWITCHES_MAX],
    switched: Vec<FieldId>,
}

impl Foreseen {
    /// A row with these fields, each with whether its value is null, of a generation that knows so many.
    pub(crate) fn of(
        fields: impl Iterator<Item = (FieldId, bool)>,
        known: usize,
        switches: &Switches,
        said: &Said,
    ) -> Self {
        let (mut certain, mut possible) = (Fields::none(known), Fields::none(known));
        let mut has_others = false;
        for (field, is_null) in fields {
            // What stands first counts.
            if !is_null && !possible.has(field) {
                certain.insert(field);
            }
            has_others |= !possible.insert(field);
        }
        let switched: Vec<FieldId> = switches.fields().collect();
        let mut told = [None; SWITCHES_MAX];
        for ((told, said), field) in told.iter_mut().zip(said).zip(&switched) {
            *told = certain.has(*field).then_some(*said);
        }
        Self { certain, possible, is_open: false, has_others, said: told, switched }
    }

    /// Whether it certainly has the field, with a value that is not null.
    pub(crate) fn has(&self, field: FieldId) -> bool {
        self.certain.has(field)
    }

    pub(crate) fn may_have(&self, field: FieldId) -> bool {
        self.is_open || self.possible.has(field)
    }

    pub(crate) fn may_have_others(&self) -> bool {
        self.has_others
    }

    /// What the first value of a switch's field fulfils.
    pub(crate) fn said(&self, switch: usize) -> Option<Fulfilled> {
        self.said[switch]
    }

    /// From now on it may have the field; what stood first in it still does.
    pub(crate) fn may_write(&mut self, field: FieldId) {
        if !self.has(field) {
            self.may_change(field);
        }
        self.has_others |= !self.possible.insert(field);
    }

    /// Its first value in the field may be another from now on.
    pub(crate) fn may_change(&mut self, field: FieldId) {
        for (said, _) in self.said.iter_mut().zip(&self.switched).filter(|(_, f)| **f == field) {
            *said = None;
        }
    }

    /// Its values in a field may stand in another from now on, before those that are there.
    pub(crate) fn may_rename(&mut self, from: FieldId, to: FieldId) {
        self.may_change(from);
        self.may_change(to);
        self.certain.remove(from);
        self.has_others |= !self.possible.insert(to);
    }

    /// It may have fields of any name besides from now on.
    pub(crate) fn may_write_any(&mut self) {
        (self.is_open, self.has_others) = (true, true);
        for (said, field) in self.said.iter_mut().zip(&self.switched) {
            *said = said.filter(|_| self.certain.has(*field));
        }
    }

    /// It may be any row from now on.
    pub(crate) fn may_be_any(&mut self) {
        self.certain.clear();
        self.may_write_any();
    }
}

/// A set of a generation's fields.
struct Fields(Vec<u64>);

impl Fields {
    fn none(known: usize) -> Self {
        Self(vec![0; known.div_ceil(64)])
    }

    /// Out: whether it is a field of the generation; others are in no set.
    fn insert(&mut self, field: FieldId) -> bool {
        let word = self.0.get_mut(field.0 as usize / 64);
        word.map(|word| *word |= 1 << (field.0 % 64)).is_some()
    }

    fn remove(&mut self, field: FieldId) {
        if let Some(word) = self.0.get_mut(field.0 as usize / 64) {
            *word &= !(1 << (field.0 % 64));
        }
    }

    fn has(&self, field: FieldId) -> bool {
        self.0.get(field.0 as usize / 64).is_some_and(|word| word >> (field.0 % 64) & 1 == 1)
    }

    fn clear(&mut self) {
        self.0.fill(0);
    }
}

/// What is left of a pack's steps.
pub(crate) struct Specialised {
    pub(crate) steps: Box<[LeftStep]>,
}

/// What is left of one step.
pub(crate) struct LeftStep {
    pub(crate) number: usize,
    /// The conditions that have to be asked, by their places.
    pub(crate) asked: Box<[usize]>,
    pub(crate) ops: Box<[LeftOp]>,
}

/// What is left of one operation.
pub(crate) enum LeftOp {
    /// All of it; its place in the step.
    Whole(usize),
    /// Some of the mappings of a `map`.
    Map(Box<[Mapping]>),
}

impl Specialised {
    /// The steps for rows of which so much is known.
    pub(crate) fn of(steps: &[Step], switches: &Switches, mut row: Foreseen) -> Self {
        let left = steps.iter().enumerate().filter_map(|(number, step)| {
            let mut asked = Vec::new();
            for (place, when) in step.when.iter().enumerate() {
                match when.foreseen(&row, switches) {
                    Some(true) => {}
                    Some(false) => return None,
                    None => asked.push(place),
                }
            }
            let mut ops = Vec::new();
            for (place, op) in step.ops.iter().enumerate() {
                if !op.may_act(&row) {
                    continue;
                }
                ops.push(op.left(&row).map_or(LeftOp::Whole(place), LeftOp::Map));
                op.foresee(&mut row);
            }
            // A step that has to match says so if it does not.
            let is_left = !ops.is_empty() || step.must;
            is_left.then(|| LeftStep { number, asked: asked.into(), ops: ops.into() })
        });
        Self { steps: left.collect() }
    }
}
