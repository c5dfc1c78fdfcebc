//! Conditions of steps.

use crate::program::Index;
use crate::spec::{Condition, Spec, WhenSpec};
use event::{Dictionary, FieldId, RowWriter};
use filter::{Binding, Plan, Target};

pub(crate) enum When {
    /// A predicate of the filter language.
    Plan(Plan, Binding),
    /// One test of one field: the cheap and common case.
    Field { field: FieldId, test: WhenTest, not: bool },
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
        Condition::Field(w) => vec![w.field.clone()],
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
                When::Plan(plan, binding)
            }
            Condition::Field(w) => {
                let not = w.not != (w.exists == Some(false));
                When::Field { field: id(&w.field), test: WhenTest::of(w), not }
            }
        })
    }

    pub(crate) fn holds(&self, row: &mut RowWriter<'_>, index: &Index) -> bool {
        let (field, test, not) = match self {
            When::Plan(plan, binding) => return plan.matches(binding, &row.view()),
            When::Field { field, test, not } => (field, test, not),
        };
        let value = index.get(*field).map(|at| row.cell(at).1.bytes);
        let holds = match (test, value) {
            (WhenTest::Exists, value) => value.is_some(),
            (_, None) => false,
            (WhenTest::In(list), Some(v)) => {
                let wanted = key(v);
                list.iter().any(|(key, text)| *key == wanted && text.eq_ignore_ascii_case(v))
            }
            (WhenTest::Starts(prefix), Some(v)) => v.starts_with(prefix),
        };
        holds != *not
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
