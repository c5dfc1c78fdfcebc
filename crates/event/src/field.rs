//! Field names as numbers. One [`Dictionary`] per generation of rules, packs and settings.
//!
//! Ids are dense from 0: first the intrinsic fields every event has, then ECS, then what packs and
//! rules mention. Every other name lives in the batch that carries it ([`FieldId::LOCAL`] bit) and
//! dies with it, so that hostile field names cannot fill a process-wide table. Ids are never stored.

use hashbrown::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

/// A field name of one generation, or of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(pub u32);

impl FieldId {
    /// Set in ids that belong to one batch only.
    pub const LOCAL: u32 = 1 << 31;
    /// When the event happened: RFC 3339 text, from the row.
    pub const TIMESTAMP: FieldId = FieldId(0);
    /// The record's bytes as received.
    pub const ORIGINAL: FieldId = FieldId(1);
    /// When we received it: RFC 3339 text, from the row.
    pub const INGESTED: FieldId = FieldId(2);
    /// The [`crate::EventId`] as text, from the row.
    pub const ID: FieldId = FieldId(3);
    /// Name of the configured source, from the envelope.
    pub const SOURCE: FieldId = FieldId(4);
    /// Verified identity of the sender, from the envelope.
    pub const IDENTITY: FieldId = FieldId(5);
    /// Address of the peer, from the envelope.
    pub const PEER: FieldId = FieldId(6);
    /// How many occurrences the row stands for, from the row.
    pub const COUNT: FieldId = FieldId(7);
    /// Number of intrinsic fields; cells never carry these ids.
    pub const INTRINSIC: u32 = 8;

    /// Whether the name belongs to one batch only.
    pub fn is_local(self) -> bool {
        self.0 & Self::LOCAL != 0
    }

    /// The field that takes what an event itself says under an intrinsic field's name:
    /// `alcedo.claimed.NAME`. Only for intrinsic ids.
    pub fn claimed(self) -> FieldId {
        FieldId(self.0 + Self::INTRINSIC)
    }

    /// Whether the value comes from the row or its envelope instead of a cell.
    pub fn is_intrinsic(self) -> bool {
        self.0 < Self::INTRINSIC
    }
}

/// Names of the intrinsic fields in the order of their ids.
pub const INTRINSIC_NAMES: [&str; FieldId::INTRINSIC as usize] = [
    "@timestamp",
    "event.original",
    "event.ingested",
    "event.id",
    "alcedo.source",
    "alcedo.identity",
    "log.source.address",
    "event.count",
];

/// What a field holds by ECS. Decides stored columns and how search compares; a value that does not
/// fit its type is kept all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// Exact text.
    Keyword,
    /// Free text.
    Text,
    /// IPv4 or IPv6 address.
    Ip,
    /// Integer.
    Long,
    /// Number.
    Double,
    /// true or false.
    Boolean,
    /// Point in time.
    Date,
}

/// ECS field names and types (ECS 9.x), one `name TAB type` a line.
const ECS: &str = include_str!("../data/ecs.tsv");

/// The ECS fields Alcedo knows, as (name, type).
pub fn ecs_fields() -> impl Iterator<Item = (&'static str, FieldType)> {
    ECS.lines().filter_map(|line| {
        let (name, kind) = line.split_once('\t')?;
        Some((name, field_type(kind)?))
    })
}

/// ECS fields of which an event has one value: a second one is somebody else's guess, and rules and charts that
/// count by them would count the event twice. By name.
const ONE_VALUED: &[&str] = &[
    "client.ip",
    "client.port",
    "destination.ip",
    "destination.port",
    "event.action",
    "event.code",
    "event.kind",
    "event.outcome",
    "http.request.method",
    "http.response.status_code",
    "network.direction",
    "network.transport",
    "process.executable",
    "process.name",
    "process.pid",
    "server.ip",
    "server.port",
    "source.ip",
    "source.port",
    "url.domain",
    "url.original",
    "url.path",
    "url.port",
    "url.query",
    "url.scheme",
    "user.domain",
    "user.id",
    "user.name",
];

/// Whether an event has at most one value of the field.
pub fn is_one_valued(name: &str) -> bool {
    ONE_VALUED.binary_search(&name).is_ok()
}

fn field_type(name: &str) -> Option<FieldType> {
    Some(match name {
        "keyword" => FieldType::Keyword,
        "text" => FieldType::Text,
        "ip" => FieldType::Ip,
        "long" => FieldType::Long,
        "double" => FieldType::Double,
        "boolean" => FieldType::Boolean,
        "date" => FieldType::Date,
        _ => return None,
    })
}

struct Entry {
    name: Box<str>,
    kind: FieldType,
}

/// The names of one generation, and which fields answer to which other names.
pub struct Dictionary {
    entries: Vec<Entry>,
    by_name: HashMap<Box<str>, FieldId>,
    aliases: HashMap<Box<str>, Vec<FieldId>>,
    /// By id; apart from the entries, because it is read for every cell.
    hot: Vec<u16>,
    hot_count: u16,
    products: HashSet<Box<str>>,
    /// The fields in the order of their names, once somebody asked.
    by_order: OnceLock<Box<[FieldId]>>,
}

/// Largest number of hot slots a row has. The table is written for every row, so 64 slots are four
/// cache lines of it; what reads most fields of a row brings an index of its own.
pub const HOT_MAX: u16 = 64;
const NOT_HOT: u16 = u16::MAX;

impl Dictionary {
    /// The intrinsic and ECS fields alone.
    pub fn ecs() -> Arc<Self> {
        DictionaryBuilder::new().build()
    }

    /// Id of a name that this generation knows.
    pub fn id(&self, name: &str) -> Option<FieldId> {
        self.by_name.get(name).copied()
    }

    /// Name of a known id. Panics on a batch-local id: ask the batch.
    pub fn name(&self, id: FieldId) -> &str {
        &self.entries[id.0 as usize].name
    }

    /// Declared type of a known id; `Keyword` where nobody declared one.
    pub fn kind(&self, id: FieldId) -> FieldType {
        self.entries.get(id.0 as usize).map_or(FieldType::Keyword, |e| e.kind)
    }

    /// Number of known fields; ids are `0..len`.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no fields: never, the intrinsic ones always exist.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The fields that answer to `name`, first present one wins: the name itself, then its aliases
    /// in the order they were declared. This is how Sigma's vocabulary (`Image`, `c-uri`) and ECS
    /// names find the same cells, live, in rules and over history.
    pub fn answers(&self, name: &str) -> Vec<FieldId> {
        let own = self.id(name).into_iter();
        let others = self.aliases.get(name).into_iter().flatten().copied();
        let mut out: Vec<FieldId> = Vec::new();
        for id in own.chain(others) {
            if !out.contains(&id) {
                out.push(id);
            }
        }
        out
    }

    /// Whether this dictionary is `older` with further names behind it: then every id and every
    /// answer of `older` means the same here.
    pub fn extends(&self, older: &Dictionary) -> bool {
        let same = |(a, b): (&Entry, &Entry)| a.name == b.name && a.kind == b.kind;
        let is_kept = self.products == older.products
            && self.entries.len() >= older.entries.len()
            && self.entries.iter().zip(&older.entries).all(same);
        let has_all = older.aliases.keys().all(|name| self.aliases.contains_key(name));
        is_kept
            && has_all
            && self.aliases.iter().all(|(name, fields)| {
                older.aliases.get(name).map_or(older.id(name).is_none(), |old| old == fields)
            })
    }

    /// The known fields that are part of an object: `a.b` and `a.b.c` of `a`.
    pub fn below(&self, object: &str) -> impl Iterator<Item = FieldId> + '_ {
        let ordered = self.by_order.get_or_init(|| {
            let mut all: Box<[FieldId]> = (0..self.len() as u32).map(FieldId).collect();
            all.sort_unstable_by_key(|id| self.name(*id));
            all
        });
        let head = format!("{object}.");
        let from = ordered.partition_point(|id| self.name(*id) < head.as_str());
        let fields = ordered[from..].iter().copied();
        fields.take_while(move |id| self.name(*id).starts_with(&head))
    }

    /// Names that have aliases, for listings and completion.
    pub fn alias_names(&self) -> impl Iterator<Item = &str> {
        self.aliases.keys().map(|k| &**k)
    }

    /// Whether there are packs for events of this product (Sigma's word): then an event that no pack
    /// took is hardly one of it.
    pub fn knows_product(&self, product: &str) -> bool {
        self.products.contains(product)
    }

    /// The dense slot of a hot field.
    pub fn hot_slot(&self, id: FieldId) -> Option<u16> {
        let slot = *self.hot.get(id.0 as usize)?;
        (slot != NOT_HOT).then_some(slot)
    }

    /// Number of hot slots per row.
    pub fn hot_count(&self) -> u16 {
        self.hot_count
    }
}

/// Collects names for a new [`Dictionary`].
pub struct DictionaryBuilder {
    inner: Dictionary,
}

impl Default for DictionaryBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl DictionaryBuilder {
    /// Starts with the intrinsic and the ECS fields.
    pub fn new() -> Self {
        let mut builder = Self {
            inner: Dictionary {
                entries: Vec::with_capacity(2048),
                by_name: HashMap::with_capacity(2048),
                aliases: HashMap::new(),
                hot: Vec::with_capacity(2048),
                hot_count: 0,
                products: HashSet::new(),
                by_order: OnceLock::new(),
            },
        };
        for (index, name) in INTRINSIC_NAMES.iter().enumerate() {
            let kind = match FieldId(index as u32) {
                FieldId::TIMESTAMP | FieldId::INGESTED => FieldType::Date,
                FieldId::COUNT => FieldType::Long,
                FieldId::ORIGINAL => FieldType::Text,
                _ => FieldType::Keyword,
            };
            builder.field_of(name, kind);
        }
        for name in INTRINSIC_NAMES {
            builder.field(&format!("alcedo.claimed.{name}"));
        }
        for (name, kind) in ecs_fields() {
            builder.field_of(name, kind);
        }
        builder
    }

    /// Starts with everything another dictionary holds: what is built [extends](Dictionary::extends)
    /// it, unless names it knows are given new aliases.
    pub fn extending(older: &Dictionary) -> Self {
        let entry = |e: &Entry| Entry { name: e.name.clone(), kind: e.kind };
        Self {
            inner: Dictionary {
                entries: older.entries.iter().map(entry).collect(),
                by_name: older.by_name.clone(),
                aliases: older.aliases.clone(),
                hot: older.hot.clone(),
                hot_count: older.hot_count,
                products: older.products.clone(),
                by_order: OnceLock::new(),
            },
        }
    }

    /// The id of `name`, added as a keyword if it is new.
    pub fn field(&mut self, name: &str) -> FieldId {
        self.field_of(name, FieldType::Keyword)
    }

    /// The id of `name`, added with `kind` if it is new.
    pub fn field_of(&mut self, name: &str, kind: FieldType) -> FieldId {
        if let Some(id) = self.inner.by_name.get(name) {
            return *id;
        }
        let id = FieldId(self.inner.entries.len() as u32);
        self.inner.entries.push(Entry { name: name.into(), kind });
        self.inner.hot.push(NOT_HOT);
        self.inner.by_name.insert(name.into(), id);
        id
    }

    /// Lets `name` be answered by `field` when no earlier answer is present.
    pub fn alias(&mut self, name: &str, field: &str) {
        let id = self.field(field);
        let list = self.inner.aliases.entry_ref(name).or_default();
        if !list.contains(&id) {
            list.push(id);
        }
    }

    /// Notes that there are packs for events of a product.
    pub fn product(&mut self, product: &str) {
        self.inner.products.get_or_insert_with(product, |p| p.into());
    }

    /// Gives the field a dense slot in every row, if there is one left: for fields that live rules
    /// read.
    pub fn hot(&mut self, id: FieldId) {
        let slot = &mut self.inner.hot[id.0 as usize];
        if *slot == NOT_HOT && self.inner.hot_count < HOT_MAX && !id.is_intrinsic() {
            *slot = self.inner.hot_count;
            self.inner.hot_count += 1;
        }
    }

    /// The fields that answer to `name` so far; see [`Dictionary::answers`].
    pub fn answers(&self, name: &str) -> Vec<FieldId> {
        self.inner.answers(name)
    }

    /// Done.
    pub fn build(self) -> Arc<Dictionary> {
        Arc::new(self.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intrinsic_ids_are_fixed_and_ecs_is_typed() {
        let d = Dictionary::ecs();
        for (i, name) in INTRINSIC_NAMES.iter().enumerate() {
            assert_eq!(d.id(name), Some(FieldId(i as u32)));
        }
        assert_eq!(d.kind(d.id("source.ip").unwrap()), FieldType::Ip);
        assert_eq!(d.kind(d.id("source.port").unwrap()), FieldType::Long);
        assert!(ecs_fields().count() > 800);
    }

    #[test]
    fn an_extended_dictionary_keeps_ids_and_answers() {
        let mut b = DictionaryBuilder::new();
        b.alias("Image", "process.executable");
        let older = b.build();
        let mut b = DictionaryBuilder::extending(&older);
        b.field("New");
        b.alias("CommandLine", "process.command_line");
        let newer = b.build();
        assert!(newer.extends(&older) && older.extends(&older) && !older.extends(&newer));
        assert_eq!(newer.answers("Image"), older.answers("Image"));
        let mut b = DictionaryBuilder::extending(&older);
        b.alias("Image", "file.path");
        assert!(!b.build().extends(&older));
        let mut b = DictionaryBuilder::extending(&older);
        b.alias("user.name", "file.path");
        assert!(!b.build().extends(&older));
    }

    #[test]
    fn what_lies_below_a_name_is_found_by_its_order() {
        let mut b = DictionaryBuilder::new();
        for name in
            ["made.up", "made.up.too", "made.upper", "made-up.not", "made", "made.", "MADE.UP"]
        {
            b.field(name);
        }
        let first = b.build();
        let mut b = DictionaryBuilder::extending(&first);
        let later = b.field("made.a");
        let d = b.build();
        for object in ["made", "made.up", "process", "process.parent", "no", "", "made."] {
            let is_below = |id: &FieldId| d.name(*id).starts_with(&format!("{object}."));
            let expected: Vec<FieldId> =
                (0..d.len() as u32).map(FieldId).filter(is_below).collect();
            let mut found: Vec<FieldId> = d.below(object).collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{object}");
        }
        assert!(d.below("made").any(|id| id == later) && first.below("made").count() == 4);
    }

    #[test]
    fn a_name_is_answered_by_itself_first_then_by_its_aliases_in_order() {
        let mut b = DictionaryBuilder::new();
        b.alias("Image", "winlog.event_data.Image");
        b.alias("Image", "process.executable");
        let image = b.field("Image");
        let d = b.build();
        let names: Vec<_> = d.answers("Image").into_iter().map(|i| d.name(i).to_owned()).collect();
        assert_eq!(names, ["Image", "winlog.event_data.Image", "process.executable"]);
        assert_eq!(d.answers("Image")[0], image);
        assert!(d.answers("nothing").is_empty());
    }
}
