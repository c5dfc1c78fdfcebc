//! The names of JSON records met before. Records of one source repeat their names, so nearly every key
//! costs one comparison, instead of joining a path and hashing it.
//!
//! ```text
//! {"a":{"b":1,"c":2}}    root --first--> a --first--> b --next--> c
//! ```
//! A name knows the object that it is a member of, and which name came behind it last time: that one is
//! compared first. Names of the generation are known until others take their places; the field of a name that
//! only a batch knows is forgotten with that batch.

use event::{Dictionary, FieldId};
use std::sync::Arc;

/// Places for names: a stream has some dozens to some hundreds.
const NAMES: usize = 1 << NAMES_BITS;
const NAMES_BITS: u32 = 11;
/// Places that a name may have, one behind the other: an object that loses its name to another loses those
/// of its members too.
const WAYS: usize = 4;
/// What no name is a member of, and what no name of its own has.
const NOBODY: u32 = 0;

/// A name at its place, as long as no other takes that.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    at: usize,
    serial: u32,
}

impl Place {
    /// Of a value whose name is not kept.
    pub(crate) const NONE: Place = Place { at: 0, serial: NOBODY };
}

/// The names, each at the place that its own and its object's name give.
#[derive(Default)]
pub(crate) struct Names {
    dict: Option<Arc<Dictionary>>,
    names: Vec<Name>,
    /// Of the name that was taken in last.
    serial: u32,
}

#[derive(Clone)]
struct Name {
    /// The dotted path of the object, then the key.
    path: String,
    /// The key as it stands in nearly every text: `"key":`.
    written: Vec<u8>,
    /// Serial of the object's name, and this name's own.
    parent: u32,
    serial: u32,
    field: Option<FieldId>,
    /// The batch that the field is of; 0: the generation.
    batch: u64,
    /// Where the key is that followed in the same object.
    next: usize,
    /// Where the first key is of the object that has this name.
    first: usize,
}

impl Name {
    #[inline]
    fn key(&self) -> &[u8] {
        // A free place has no key.
        self.written.get(1..self.written.len().saturating_sub(2)).unwrap_or_default()
    }
}

impl Names {
    /// Makes them fit the names of a generation.
    pub(crate) fn prepare(&mut self, dict: &Arc<Dictionary>) {
        if self.dict.as_ref().is_none_or(|d| !Arc::ptr_eq(d, dict)) {
            self.dict = Some(dict.clone());
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.names.clear();
        let none = Name {
            path: String::new(),
            written: Vec::new(),
            parent: NOBODY,
            serial: NOBODY,
            field: None,
            batch: 0,
            next: 0,
            first: 0,
        };
        self.names.resize(NAMES, none);
        self.serial = NOBODY;
    }

    /// The place of what values begin with whose names start with `prefix`.
    pub(crate) fn root(&mut self, prefix: &str) -> Place {
        let known = self.member(NOBODY, prefix.as_bytes());
        known.unwrap_or_else(|| self.learn(Place::NONE, prefix, 0))
    }

    /// The place of `key` in an object.
    #[inline]
    pub(crate) fn find(&self, object: Place, key: &[u8]) -> Option<Place> {
        if object.serial == NOBODY {
            return None;
        }
        self.member(object.serial, key)
    }

    #[inline]
    fn member(&self, parent: u32, key: &[u8]) -> Option<Place> {
        places_of(parent, key).find_map(|at| {
            let name = &self.names[at];
            let is_same =
                name.serial != NOBODY && name.parent == parent && is_equal(name.key(), key);
            is_same.then_some(Place { at, serial: name.serial })
        })
    }

    /// The place of the key that stood in an object last time behind the one at `before`, or first, if `text`
    /// begins with it in quotes and a colon; and how many bytes that is.
    #[inline]
    pub(crate) fn expected(
        &self,
        object: Place,
        before: Option<Place>,
        text: &[u8],
    ) -> Option<(Place, usize)> {
        let at = match before {
            Some(before) => self.names.get(before.at)?.next,
            None => self.names.get(object.at)?.first,
        };
        let name = &self.names[at];
        if name.parent != object.serial || name.parent == NOBODY {
            return None;
        }
        let is_next = text.get(..name.written.len()).is_some_and(|t| is_equal(t, &name.written));
        is_next.then_some((Place { at, serial: name.serial }, name.written.len()))
    }

    /// Notes that the key at `place` came in an object behind the one at `before`, or first.
    #[inline]
    pub(crate) fn follow(&mut self, object: Place, before: Option<Place>, place: Place) {
        match before {
            Some(before) => self.names[before.at].next = place.at,
            None => self.names[object.at].first = place.at,
        }
    }

    /// Takes a name in, which stands from `key_from` on in its path. If its places are taken, another is
    /// forgotten, but not one that values begin with.
    pub(crate) fn learn(&mut self, object: Place, path: &str, key_from: usize) -> Place {
        if self.serial == u32::MAX {
            self.clear();
        }
        self.serial += 1;
        let places = places_of(object.serial, &path.as_bytes()[key_from..]);
        let is_free = |at: &usize| self.names[*at].serial == NOBODY;
        let is_member = |at: &usize| self.names[*at].parent != NOBODY;
        let turn = self.serial as usize % WAYS;
        let oldest = || places.clone().cycle().skip(turn).take(WAYS).find(is_member);
        let at = places.clone().find(is_free).or_else(oldest).unwrap_or(0);
        let name = &mut self.names[at];
        name.path.clear();
        name.path.push_str(path);
        name.written.clear();
        for part in [b"\"", &path.as_bytes()[key_from..], b"\":"] {
            name.written.extend_from_slice(part);
        }
        (name.parent, name.serial) = (object.serial, self.serial);
        name.field = None;
        Place { at, serial: self.serial }
    }

    /// The path of a name, if it is still at its place.
    #[inline]
    pub(crate) fn path(&self, place: Place) -> Option<&str> {
        let name = self.names.get(place.at)?;
        (name.serial == place.serial && place.serial != NOBODY).then_some(name.path.as_str())
    }

    /// The field that a name is in a batch, if that is known and the name is still at its place.
    #[inline]
    pub(crate) fn field(&self, place: Place, batch: u64) -> Option<FieldId> {
        let name = self.names.get(place.at)?;
        let is_valid = name.serial == place.serial && (name.batch == 0 || name.batch == batch);
        name.field.filter(|_| is_valid)
    }

    /// Notes which field a name is in a batch.
    pub(crate) fn set_field(&mut self, place: Place, field: FieldId, batch: u64) {
        let name = &mut self.names[place.at];
        if name.serial == place.serial && place.serial != NOBODY {
            name.field = Some(field);
            name.batch = if field.is_local() { batch } else { 0 };
        }
    }
}

/// The places of a key in the object with this serial.
#[inline]
fn places_of(object: u32, key: &[u8]) -> impl Iterator<Item = usize> + Clone {
    let len = key.len();
    let word = |bytes: &[u8]| bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b));
    let (head, tail) =
        match (key.first_chunk(), key.last_chunk(), key.first_chunk(), key.last_chunk()) {
            (Some(head), Some(tail), ..) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
            (_, _, Some(head), Some(tail)) => {
                (u64::from(u32::from_le_bytes(*head)), u64::from(u32::from_le_bytes(*tail)))
            }
            _ => (word(key), 0),
        };
    let both = head ^ tail.rotate_left(29) ^ u64::from(object) << 32 ^ len as u64;
    let first = (both.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - NAMES_BITS)) as usize;
    (first..first + WAYS).map(|at| at % NAMES)
}

/// Whether two keys are the same bytes. They are short: a call of the library's comparison costs more
/// than comparing them eight bytes at a time.
#[inline]
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    let len = a.len();
    if len != b.len() {
        return false;
    }
    if len < 8 {
        return match (a.first_chunk::<4>(), a.last_chunk::<4>()) {
            // Bytes in the middle may be compared twice.
            (Some(head), Some(tail)) => {
                b.first_chunk() == Some(head) && b.last_chunk() == Some(tail)
            }
            _ => a.iter().eq(b),
        };
    }
    let (mut at, last) = (0, len - 8);
    while at < last {
        if a.get(at..at + 8) != b.get(at..at + 8) {
            return false;
        }
        at += 8;
    }
    a.last_chunk::<8>() == b.last_chunk()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_equal_byte_by_byte() {
        let text = b"abcdefghijklmnopqrstuvwxyz0123456789";
        for len in 0..text.len() {
            assert!(is_equal(&text[..len], &text[..len]) && !is_equal(&text[..len], &text[..=len]));
            for at in 0..len {
                let mut other = text[..len].to_vec();
                other[at] ^= 1;
                assert!(!is_equal(&text[..len], &other), "{len} {at}");
            }
        }
    }

    #[test]
    fn a_name_is_known_until_another_takes_its_place() {
        let mut names = Names::default();
        names.prepare(&Dictionary::ecs());
        let root = names.root("");
        let host = names.learn(root, "host", 0);
        let name = names.learn(host, "host.name", 5);
        assert!(names.find(root, b"host").is_some() && names.find(host, b"name").is_some());
        assert!(names.find(root, b"name").is_none() && names.find(host, b"host").is_none());
        assert_eq!(names.path(name), Some("host.name"));
        names.set_field(name, FieldId(FieldId::LOCAL), 7);
        assert_eq!(names.field(name, 7), Some(FieldId(FieldId::LOCAL)));
        assert_eq!(names.field(name, 8), None, "another batch has other names under its ids");
        names.set_field(name, FieldId(20), 8);
        assert_eq!(names.field(name, 9), Some(FieldId(20)));
        names.clear();
        assert!(names.path(host).is_none() && names.field(name, 9).is_none());
        names.set_field(name, FieldId(21), 7);
        let root = names.root("");
        // The same name anew is another: what was below the first is not below it.
        let anew = names.learn(root, "host", 0);
        assert!(names.find(anew, b"name").is_none() && names.field(anew, 7).is_none());
    }

    #[test]
    fn a_flood_of_names_takes_all_places_but_those_that_values_begin_with() {
        let mut names = Names::default();
        names.prepare(&Dictionary::ecs());
        let (root, below) = (names.root(""), names.root("json"));
        for n in 0..20_000 {
            let key = format!("n{n}");
            let place = names.learn(root, &key, 0);
            assert_eq!(names.path(place), Some(key.as_str()));
        }
        let same = |a: Place, b: Place| (a.at, a.serial) == (b.at, b.serial);
        assert!(same(names.root(""), root) && same(names.root("json"), below));
        assert!(names.find(root, b"n19999").is_some() && names.find(root, b"n0").is_none());
    }
}
