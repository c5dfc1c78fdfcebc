//! The plan: a tree over numbered leaves, and its binding to the field ids of one generation.

use crate::test::Test;
use event::{Dictionary, EventBatch, FieldId};

/// A predicate over an event, with names not yet resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The leaves; [`Node::Leaf`] holds indices into this list.
    pub leaves: Vec<Leaf>,
    /// The tree.
    pub root: Node,
}

/// What a leaf looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A field, by the name its author wrote: ECS, Sigma's or the product's own.
    Field(Box<str>),
    /// The raw bytes and every cell's text.
    Keyword,
}

/// One test on one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// What it looks at.
    pub target: Target,
    /// What must hold.
    pub test: Test,
}

/// How leaves combine.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Always or never.
    Const(bool),
    /// A leaf, by index.
    Leaf(u32),
    /// All parts hold (true when there are none).
    And(Vec<Node>),
    /// One part holds (false when there are none).
    Or(Vec<Node>),
    /// The part does not hold.
    Not(Box<Node>),
    /// At least so many parts hold.
    AtLeast(u32, Vec<Node>),
    /// A part with the name its author gave it (a Sigma selection); for explanations only.
    Named(Box<str>, Box<Node>),
}

/// Deepest tree that is accepted; parsers refuse deeper ones, so evaluation may recurse.
pub const DEPTH_MAX: usize = 96;
/// Most leaves in one plan: SigmaHQ's longest value list has 4,432.
pub const LEAVES_MAX: usize = 65_536;

impl Plan {
    /// The plan that holds for every event.
    pub fn everything() -> Self {
        Self { leaves: Vec::new(), root: Node::Const(true) }
    }

    /// A plan of one leaf.
    pub fn leaf(target: Target, test: Test) -> Self {
        Self { leaves: vec![Leaf { target, test }], root: Node::Leaf(0) }
    }

    /// `all` of the plans hold.
    pub fn and(plans: impl IntoIterator<Item = Plan>) -> Self {
        Self::combine(plans, Node::And)
    }

    /// One of the plans holds.
    pub fn or(plans: impl IntoIterator<Item = Plan>) -> Self {
        Self::combine(plans, Node::Or)
    }

    /// The plan does not hold.
    #[expect(clippy::should_implement_trait, reason = "reads as the other combinators do")]
    pub fn not(self) -> Self {
        Self { leaves: self.leaves, root: Node::Not(Box::new(self.root)) }
    }

    /// Combines several plans under one node, renumbering their leaves.
    pub fn combine(plans: impl IntoIterator<Item = Plan>, node: fn(Vec<Node>) -> Node) -> Self {
        let mut plans: Vec<Plan> = plans.into_iter().collect();
        if plans.len() == 1 {
            return plans.remove(0);
        }
        // Plans are kept for long, so they have no room to spare.
        let mut leaves = Vec::with_capacity(plans.iter().map(|plan| plan.leaves.len()).sum());
        let mut parts = Vec::with_capacity(plans.len());
        for plan in plans {
            let shift = leaves.len() as u32;
            leaves.extend(plan.leaves);
            parts.push(shifted(plan.root, shift));
        }
        Self { leaves, root: node(parts) }
    }

    /// Names of all fields the plan reads, each once.
    pub fn fields(&self) -> Vec<&str> {
        let mut out: Vec<&str> = Vec::new();
        for leaf in &self.leaves {
            let own = match &leaf.target {
                Target::Field(name) => Some(&**name),
                Target::Keyword => None,
            };
            for name in own.into_iter().chain(leaf.test.other_field()) {
                if !out.contains(&name) {
                    out.push(name);
                }
            }
        }
        out
    }

    /// Whether it holds for an event that has no field at all: it asks for absences alone, so of an
    /// event it knows nothing about it says yes.
    pub fn holds_without_fields(&self) -> bool {
        fn of(node: &Node, leaves: &[Leaf]) -> bool {
            let holds = |part: &&Node| of(part, leaves);
            match node {
                Node::Const(value) => *value,
                Node::Leaf(index) => {
                    let leaf = &leaves[*index as usize];
                    leaf.target != Target::Keyword && leaf.test.on_absent()
                }
                Node::And(parts) => parts.iter().all(|p| of(p, leaves)),
                Node::Or(parts) => parts.iter().any(|p| of(p, leaves)),
                Node::AtLeast(n, parts) => parts.iter().filter(holds).count() >= *n as usize,
                Node::Not(part) => !of(part, leaves),
                Node::Named(_, part) => of(part, leaves),
            }
        }
        of(&self.root, &self.leaves)
    }

    /// Depth of the tree.
    pub fn depth(&self) -> usize {
        fn of(node: &Node) -> usize {
            1 + match node {
                Node::Const(_) | Node::Leaf(_) => 0,
                Node::And(parts) | Node::Or(parts) | Node::AtLeast(_, parts) => {
                    parts.iter().map(of).max().unwrap_or(0)
                }
                Node::Not(part) | Node::Named(_, part) => of(part),
            }
        }
        of(&self.root)
    }

    /// Resolves the names against a generation (for rules) or a batch (for ad-hoc filters, which
    /// may name fields that only the batch knows).
    pub fn bind(&self, names: &impl Names) -> Binding {
        let leaves = self.leaves.iter().map(|leaf| LeafFields {
            target: match &leaf.target {
                Target::Field(name) => names.answers(name).into_boxed_slice(),
                Target::Keyword => Box::default(),
            },
            other: leaf.test.other_field().map_or_else(Box::default, |n| names.answers(n).into()),
            below: match &leaf.target {
                Target::Field(name) if leaf.test.asks_below() => {
                    Below::of(names.names(name), names)
                }
                _ => Below::default(),
            },
        });
        Binding { leaves: leaves.collect() }
    }
}

fn shifted(node: Node, by: u32) -> Node {
    let all = |parts: Vec<Node>| parts.into_iter().map(|n| shifted(n, by)).collect();
    match node {
        Node::Const(value) => Node::Const(value),
        Node::Leaf(index) => Node::Leaf(index + by),
        Node::And(parts) => Node::And(all(parts)),
        Node::Or(parts) => Node::Or(all(parts)),
        Node::AtLeast(n, parts) => Node::AtLeast(n, all(parts)),
        Node::Not(part) => Node::Not(Box::new(shifted(*part, by))),
        Node::Named(name, part) => Node::Named(name, Box::new(shifted(*part, by))),
    }
}

/// Something that knows which fields answer to a name, see [`Dictionary::answers`].
pub trait Names {
    /// The fields that answer to `name`, first present one wins.
    fn answers(&self, name: &str) -> Vec<FieldId>;

    /// The names that answer to `name`, itself first, whether or not a field has them.
    fn names(&self, name: &str) -> Vec<Box<str>>;

    /// The fields that are part of one of these objects, ascending, as far as they are known at binding: all whose
    /// number is below the second.
    fn parts_of(&self, objects: &[Box<str>]) -> (Vec<FieldId>, u32);
}

impl Names for Dictionary {
    fn answers(&self, name: &str) -> Vec<FieldId> {
        Dictionary::answers(self, name)
    }

    fn names(&self, name: &str) -> Vec<Box<str>> {
        let others = Dictionary::answers(self, name).into_iter().map(|id| self.name(id));
        [name].into_iter().chain(others.filter(|other| *other != name)).map(Box::from).collect()
    }

    fn parts_of(&self, objects: &[Box<str>]) -> (Vec<FieldId>, u32) {
        let mut parts: Vec<FieldId> =
            objects.iter().flat_map(|object| self.below(object)).collect();
        parts.sort_unstable();
        parts.dedup();
        (parts, self.len() as u32)
    }
}

impl Names for EventBatch {
    fn answers(&self, name: &str) -> Vec<FieldId> {
        EventBatch::answers(self, name)
    }

    fn names(&self, name: &str) -> Vec<Box<str>> {
        self.dict().names(name)
    }

    fn parts_of(&self, objects: &[Box<str>]) -> (Vec<FieldId>, u32) {
        self.dict().parts_of(objects)
    }
}

/// The fields of each leaf of one plan, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    pub(crate) leaves: Vec<LeafFields>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LeafFields {
    pub(crate) target: Box<[FieldId]>,
    pub(crate) other: Box<[FieldId]>,
    /// Names whose fields below them decide where the target is absent; see [`Test::asks_below`].
    pub(crate) below: Below,
}

/// Which fields are part of the objects of some names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Below {
    /// The names of the objects; none: nobody asks.
    pub(crate) names: Box<[Box<str>]>,
    /// Fields of the dictionary that are part of one, ascending.
    pub(crate) known: Box<[FieldId]>,
    /// Fields from here on came later, or are a batch's own: their names tell.
    pub(crate) known_below: u32,
}

impl Below {
    fn of(objects: Vec<Box<str>>, names: &impl Names) -> Self {
        let (known, known_below) = names.parts_of(&objects);
        Self { names: objects.into(), known: known.into(), known_below }
    }

    /// The fields of the generation that are part of one of the objects, ascending.
    pub fn known(&self) -> &[FieldId] {
        &self.known
    }

    /// Whether a field of this name is part of one of the objects.
    pub fn has(&self, name: &str) -> bool {
        crate::is_part(name, &self.names)
    }
}

impl Binding {
    /// The fields that answer for leaf `index`; empty for keywords and unknown names.
    pub fn fields(&self, index: u32) -> &[FieldId] {
        &self.leaves[index as usize].target
    }
}
