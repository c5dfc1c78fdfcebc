//! What was found out about rows of one layout (a program, the fields in their order, what the program's
//! switches say), kept for the next such row: sources repeat their records' forms.
//!
//! What is kept is worked out from the layout alone, so it never matters whether it is there. Senders choose
//! their layouts: a number of them is kept, the hash has a secret, what came once is not worked out, and what
//! came more often is no faster than every [`EVENTS_PER_LAYOUT`] rows.

use crate::specialise::Specialised;
use crate::when::Said;
use event::{FieldId, RowWriter};
use std::hash::{BuildHasher, RandomState};

/// Most layouts that are kept, and places that one may have. Of 1 to 20 KB each, a worker keeps 20 MB at the
/// very worst.
const LAYOUTS: usize = 1_024;
const WAYS: usize = 8;
/// Hashes of layouts that came once.
const SEEN: usize = 4_096;
/// Most fields of a layout that is kept: nearly all records have fewer.
const FIELDS_MAX: usize = 256;
/// To work one out costs as much as some rows.
const EVENTS_PER_LAYOUT: u32 = 8;
/// So many may be worked out one after the other.
const LAYOUTS_AT_ONCE: u32 = 64;

/// What rows have in common that steps are specialised for.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Number of the program; whether it runs for a carrier.
    program: u32,
    is_wrapper: bool,
    said: Said,
    /// Ids, [`NULL`] set where the value is null; those that only a batch knows are all the same.
    fields: Vec<u32>,
}

/// Set beside the id of a field whose value is null: whoever asks whether it is there is told no.
const NULL: u32 = 1 << 30;

impl Layout {
    /// The row's fields, and whether each one's value is null.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (FieldId, bool)> + '_ {
        self.fields.iter().map(|id| (FieldId(*id & !NULL), *id & NULL != 0))
    }
}

/// The layouts that a worker knows.
#[derive(Default)]
pub(crate) struct Layouts {
    /// By hash, [`WAYS`] places each.
    hashes: Vec<u64>,
    known: Vec<Option<Known>>,
    seen: Vec<u64>,
    secret: u64,
    /// Rows that none was worked out for.
    credit: u32,
    /// Of the row that is asked for.
    layout: Layout,
}

struct Known {
    layout: Layout,
    is_used: bool,
    left: Specialised,
}

/// What is known of a layout.
pub(crate) enum Found {
    /// It is kept at this place.
    At(usize),
    /// It should be worked out and kept at this place.
    Due(usize),
    Nothing,
}

impl Layouts {
    /// Looks for the layout of a row whose fields are its first `count`.
    pub(crate) fn find(
        &mut self,
        (program, is_wrapper): (u32, bool),
        said: &Said,
        row: &RowWriter<'_>,
        count: usize,
    ) -> Found {
        if count > FIELDS_MAX {
            return Found::Nothing;
        }
        if self.known.is_empty() {
            self.hashes.resize(LAYOUTS, 0);
            self.known.resize_with(LAYOUTS, || None);
            self.seen.resize(SEEN, 0);
            self.secret = RandomState::new().hash_one(LAYOUTS);
            self.credit = EVENTS_PER_LAYOUT * LAYOUTS_AT_ONCE;
        }
        (self.layout.program, self.layout.is_wrapper) = (program, is_wrapper);
        self.layout.said = *said;
        let id = |(field, is_null): (FieldId, bool)| {
            let id = if field.is_local() { FieldId::LOCAL } else { field.0 };
            id | if is_null { NULL } else { 0 }
        };
        self.layout.fields.resize(count, 0);
        let cells = row.fields_and_nulls();
        self.layout.fields.iter_mut().zip(cells).for_each(|(to, cell)| *to = id(cell));
        let hash = self.layout.hash(self.secret);
        let set = hash as usize % (LAYOUTS / WAYS) * WAYS;
        for at in set..set + WAYS {
            if self.hashes[at] == hash
                && let Some(known) = &mut self.known[at]
                && known.layout == self.layout
            {
                known.is_used = true;
                self.credit = (self.credit + 1).min(EVENTS_PER_LAYOUT * LAYOUTS_AT_ONCE);
                return Found::At(at);
            }
        }
        self.miss(hash, set)
    }

    #[cold]
    fn miss(&mut self, hash: u64, set: usize) -> Found {
        self.credit = (self.credit + 1).min(EVENTS_PER_LAYOUT * LAYOUTS_AT_ONCE);
        let seen = &mut self.seen[(hash >> 32) as usize % SEEN];
        if *seen != hash || self.credit < EVENTS_PER_LAYOUT {
            *seen = hash;
            return Found::Nothing;
        }
        self.credit -= EVENTS_PER_LAYOUT;
        let at = self.place_in(set, hash);
        self.hashes[at] = hash;
        Found::Due(at)
    }

    /// A free place of a set, else that of one that was not asked for since all others were.
    fn place_in(&mut self, set: usize, hash: u64) -> usize {
        let places = set..set + WAYS;
        if let Some(free) = places.clone().find(|at| self.known[*at].is_none()) {
            return free;
        }
        let is_idle = |at: &usize| self.known[*at].as_ref().is_some_and(|known| !known.is_used);
        places.clone().find(is_idle).unwrap_or_else(|| {
            self.known[places].iter_mut().flatten().for_each(|known| known.is_used = false);
            set + (hash >> 60) as usize % WAYS
        })
    }

    /// The layout that was asked for last.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Keeps what was worked out for it.
    pub(crate) fn keep(&mut self, at: usize, left: Specialised) {
        let layout = self.layout.clone();
        self.known[at] = Some(Known { layout, is_used: true, left });
    }

    /// What is kept at a place.
    pub(crate) fn at(&self, at: usize) -> Option<&Specialised> {
        self.known[at].as_ref().map(|known| &known.left)
    }
}

impl Layout {
    fn hash(&self, secret: u64) -> u64 {
        let mut hash = secret ^ u64::from(self.program) << 1 ^ u64::from(self.is_wrapper);
        for said in self.said {
            hash = fold(hash ^ said as u64);
            hash = fold(hash ^ (said >> 64) as u64);
        }
        let (pairs, rest) = self.fields.as_chunks::<2>();
        for [a, b] in pairs {
            hash = fold(hash ^ (u64::from(*a) << 32 | u64::from(*b)));
        }
        rest.iter().for_each(|field| hash = fold(hash ^ u64::from(*field)));
        fold(hash ^ self.fields.len() as u64)
    }
}

/// Both halves of a product: every bit of a word has a part in every bit of what comes out.
#[inline]
fn fold(word: u64) -> u64 {
    let product = u128::from(word) * 0x9e37_79b9_7f4a_7c15;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{Dictionary, Envelope, EventBatch, EventId, Kind, Protocol, RowHead};
    use std::sync::Arc;

    /// Asks for the layout of a row with these fields, and keeps it if that is due.
    fn ask(layouts: &mut Layouts, dict: &Arc<Dictionary>, fields: &[u32]) -> &'static str {
        let mut batch = EventBatch::new(dict.clone());
        let envelope = Arc::new(Envelope::of("t", Protocol::File));
        let head = RowHead { id: EventId::at(1), received_ns: 0, stream_ns: 0, envelope };
        let mut row = batch.begin(head, b"");
        for field in fields {
            row.push(FieldId(FieldId::INTRINSIC + field), Kind::Str, b"");
        }
        match layouts.find((1, false), &Said::default(), &row, fields.len()) {
            Found::At(at) => {
                let known = layouts.known[at].as_ref().map(|known| &known.layout);
                assert!(known == Some(&layouts.layout) && layouts.at(at).is_some());
                "known"
            }
            Found::Due(at) => {
                layouts.keep(at, Specialised { steps: Box::default() });
                "due"
            }
            Found::Nothing => "nothing",
        }
    }

    #[test]
    fn what_came_twice_is_known_from_then_on() {
        let (mut layouts, dict) = (Layouts::default(), Dictionary::ecs());
        for fields in [&[1, 2, 3][..], &[1, 2], &[2, 1], &[1, 2, 2], &[]] {
            let asked: Vec<_> = (0..4).map(|_| ask(&mut layouts, &dict, fields)).collect();
            assert_eq!(asked, ["nothing", "due", "known", "known"], "{fields:?}");
        }
        let long = [7; FIELDS_MAX + 1];
        assert!((0..4).all(|_| ask(&mut layouts, &dict, &long) == "nothing"));
    }

    /// Guarantees: who sends other layouts all the time, once or twice each, takes no more memory than is set
    /// aside, has few worked out, and one that goes on coming is known again and again.
    #[test]
    fn a_flood_of_layouts_costs_little() {
        let (mut layouts, dict) = (Layouts::default(), Dictionary::ecs());
        let (mut due, mut own) = (0, 0);
        for n in 0..20_000u32 {
            let fields = [n % 300, n / 300 % 300, 7];
            let is_due = (0..2).filter(|_| ask(&mut layouts, &dict, &fields) == "due").count();
            due += is_due as u32;
            own += u32::from(ask(&mut layouts, &dict, &[5]) == "known");
        }
        assert!(due <= LAYOUTS_AT_ONCE + 60_000 / EVENTS_PER_LAYOUT, "{due}");
        assert!(own > 19_000, "{own}");
        assert!(layouts.known.len() == LAYOUTS && layouts.hashes.len() == LAYOUTS);
    }
}
