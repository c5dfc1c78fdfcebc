//! YAML as a tree that knows its lines, so that every problem of a file is shown at once.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::fmt;

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Line, from 1; 0 when unknown.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What stands there.
    pub yaml: Yaml,
}

/// A YAML value. Scalars stay text: what they mean is decided by the setting they are given to.
#[derive(Clone, Debug)]
pub enum Yaml {
    /// Nothing after the colon.
    Null,
    /// Any scalar.
    Scalar(String),
    /// A list.
    List(Vec<Node>),
    /// A map in document order, keys with their own places.
    Map(Vec<(Node, Node)>),
}

/// Reads one document. Duplicate keys, tabs and the like are the parser's errors.
pub fn parse(text: &str) -> Result<Node, serde_saphyr::Error> {
    if text.trim().is_empty() {
        return Ok(Node { line: 1, column: 1, yaml: Yaml::Map(Vec::new()) });
    }
    let spanned: Spanned<Yaml> = serde_saphyr::from_str(text)?;
    Ok(node(spanned))
}

impl Node {
    /// The text of a scalar key.
    pub fn key(&self) -> &str {
        match &self.yaml {
            Yaml::Scalar(text) => text,
            _ => "",
        }
    }
}

fn node(spanned: Spanned<Yaml>) -> Node {
    let place = &spanned.referenced;
    Node { line: place.line() as usize, column: place.column() as usize, yaml: spanned.value }
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YamlVisitor)
    }
}

struct YamlVisitor;

impl<'de> Visitor<'de> for YamlVisitor {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar, a list or a map")
    }
    fn visit_unit<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }
    fn visit_none<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Yaml, D::Error> {
        Yaml::deserialize(deserializer)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Yaml, E> {
        Ok(Yaml::Scalar(value.to_string()))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Yaml, E> {
        Ok(Yaml::Scalar(value.to_string()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Yaml, E> {
        Ok(Yaml::Scalar(value.to_string()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Yaml, E> {
        Ok(Yaml::Scalar(value.to_string()))
    }
    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Yaml, E> {
        Ok(Yaml::Scalar(value.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Yaml, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = access.next_element::<Spanned<Yaml>>()? {
            out.push(node(item));
        }
        Ok(Yaml::List(out))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Yaml, A::Error> {
        let mut out: Vec<(Node, Node)> = Vec::new();
        while let Some(key) = access.next_key::<Spanned<Yaml>>()? {
            let key = node(key);
            if !matches!(key.yaml, Yaml::Scalar(_)) {
                return Err(A::Error::custom("a key must be a plain word"));
            }
            out.push((key, node(access.next_value::<Spanned<Yaml>>()?)));
        }
        Ok(Yaml::Map(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_kept() {
        let root = parse("a: 1\nb:\n  - x\n  - y: yes\n").unwrap();
        let Yaml::Map(entries) = &root.yaml else { panic!() };
        assert_eq!((entries[0].0.line, entries[0].1.column), (1, 4));
        let Yaml::List(items) = &entries[1].1.yaml else { panic!() };
        assert_eq!(items[1].line, 4);
        assert!(parse("a: 1\na: 2\n").is_err());
        assert!(parse("").is_ok());
    }
}
