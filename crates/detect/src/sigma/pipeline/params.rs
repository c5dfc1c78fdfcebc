//! Parameters of steps and conditions, each taken once; what is left over is an error.

use crate::sigma::problem::{Position, Refusal};
use crate::sigma::yaml::{Node, Yaml};
use std::collections::BTreeMap;

/// The entries of one map.
#[derive(Debug)]
pub struct Params<'n> {
    entries: Vec<(&'n str, &'n Node)>,
    /// Where the map stands.
    pub at: Position,
}

impl<'n> Params<'n> {
    /// The entries of a map.
    ///
    /// # Errors
    /// Anything else.
    pub fn of(node: &'n Node) -> Result<Self, Refusal> {
        let Yaml::Map(entries) = &node.value else {
            let reason = format!("{} where a map should stand", node.kind());
            return Err(Refusal::invalid(reason, "write `name: value` lines").at(node.at));
        };
        let entries = entries.iter().map(|(k, v)| (k.as_str(), v)).collect();
        Ok(Self { entries, at: node.at })
    }

    /// Takes a parameter out.
    pub fn take(&mut self, name: &str) -> Option<&'n Node> {
        let at = self.entries.iter().position(|(k, _)| *k == name)?;
        Some(self.entries.remove(at).1)
    }

    /// Takes a parameter that must be there.
    ///
    /// # Errors
    /// It is not.
    pub fn required(&mut self, name: &str) -> Result<&'n Node, Refusal> {
        let at = self.at;
        self.take(name).ok_or_else(|| {
            Refusal::invalid(format!("`{name}` is missing"), format!("add `{name}:`")).at(at)
        })
    }

    /// Takes a text that must be there.
    ///
    /// # Errors
    /// It is not, or it is no scalar.
    pub fn text(&mut self, name: &str) -> Result<String, Refusal> {
        text(self.required(name)?)
    }

    /// Takes a text that may be there.
    ///
    /// # Errors
    /// It is no scalar.
    pub fn optional_text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        self.take(name).filter(|n| n.value != Yaml::Null).map(text).transpose()
    }

    /// Takes true or false; false if it is not there.
    ///
    /// # Errors
    /// It is something else.
    pub fn flag(&mut self, name: &str) -> Result<bool, Refusal> {
        match self.take(name) {
            None => Ok(false),
            Some(Node { value: Yaml::Bool(b), .. }) => Ok(*b),
            Some(node) => {
                let reason = format!("`{name}` is {}", node.kind());
                Err(Refusal::invalid(reason, "write true or false").at(node.at))
            }
        }
    }

    /// Takes a text or a list of texts; `None` if it is not there.
    ///
    /// # Errors
    /// It is something else.
    pub fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>, Refusal> {
        self.take(name).filter(|n| n.value != Yaml::Null).map(texts).transpose()
    }

    /// Takes a map from a text to a text or a list of texts.
    ///
    /// # Errors
    /// It is missing or something else.
    pub fn mapping(&mut self, name: &str) -> Result<BTreeMap<String, Vec<String>>, Refusal> {
        let inner = Params::of(self.required(name)?)?;
        inner.entries.into_iter().map(|(k, v)| Ok((k.to_owned(), texts(v)?))).collect()
    }

    /// Refuses what nobody took.
    ///
    /// # Errors
    /// There is something.
    pub fn finish(self) -> Result<(), Refusal> {
        match self.entries.first() {
            None => Ok(()),
            Some((name, node)) => {
                let reason = format!("`{name}` has no meaning here");
                Err(Refusal::invalid(reason, "remove it or correct its name").at(node.at))
            }
        }
    }
}

/// The text of a scalar.
///
/// # Errors
/// Null, a list or a map.
pub fn text(node: &Node) -> Result<String, Refusal> {
    node.text().ok_or_else(|| {
        let reason = format!("{} where text should stand", node.kind());
        Refusal::invalid(reason, "write text").at(node.at)
    })
}

/// A text, or a list of texts.
///
/// # Errors
/// Anything else.
pub fn texts(node: &Node) -> Result<Vec<String>, Refusal> {
    match &node.value {
        Yaml::List(items) => items.iter().map(text).collect(),
        _ => Ok(vec![text(node)?]),
    }
}
