//! Settings out of the tree: every reader reports its problem and goes on, so that one run shows all.

use super::tree::{Node, Yaml};
use std::cell::RefCell;
use std::fmt;

/// One thing wrong in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File.
    pub file: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match self.hint.is_empty() {
            true => Ok(()),
            false => write!(f, "\n  hint: {}", self.hint),
        }
    }
}

/// Collects problems while one file is read.
pub struct Problems {
    file: String,
    list: RefCell<Vec<Problem>>,
}

impl Problems {
    /// For `file`.
    pub fn of(file: &str) -> Self {
        Self { file: file.to_owned(), list: RefCell::default() }
    }

    /// Adds a problem at a node.
    pub fn at(&self, node: &Node, message: impl Into<String>, hint: impl Into<String>) {
        self.list.borrow_mut().push(Problem {
            file: self.file.clone(),
            line: node.line,
            column: node.column,
            message: message.into(),
            hint: hint.into(),
        });
    }

    /// All problems in document order.
    pub fn into_list(self) -> Vec<Problem> {
        let mut list = self.list.into_inner();
        list.sort_by_key(|p| (p.line, p.column));
        list
    }
}

/// A map whose keys are read one by one; [`Section::done`] reports those nobody asked for.
pub struct Section<'a> {
    entries: &'a [(Node, Node)],
    known: RefCell<Vec<&'static str>>,
    problems: &'a Problems,
    name: String,
}

impl<'a> Section<'a> {
    /// The map at `node`; something else is a problem and reads as an empty map.
    pub fn of(node: &'a Node, name: &str, problems: &'a Problems) -> Self {
        let entries: &[(Node, Node)] = match &node.yaml {
            Yaml::Map(entries) => entries,
            Yaml::Null => &[],
            _ => {
                let message = format!("`{name}` must be a section of settings");
                problems.at(node, message, "write its settings indented below it");
                &[]
            }
        };
        Self { entries, known: RefCell::default(), problems, name: name.to_owned() }
    }

    /// The value of `key`, if it is set to something.
    pub fn get(&self, key: &'static str) -> Option<&'a Node> {
        self.known.borrow_mut().push(key);
        let (_, value) = self.entries.iter().find(|(k, _)| k.key() == key)?;
        (!matches!(value.yaml, Yaml::Null)).then_some(value)
    }

    /// A sub-section; empty when absent.
    pub fn section<T>(&self, key: &'static str, read: impl FnOnce(Section<'a>) -> T) -> Option<T> {
        let node = self.get(key)?;
        Some(read(Section::of(node, key, self.problems)))
    }

    /// All entries of a section with names chosen by the user.
    pub fn named(&self) -> impl Iterator<Item = (&'a str, &'a Node)> {
        self.entries.iter().map(|(k, v)| (k.key(), v))
    }

    /// A text.
    pub fn text(&self, key: &'static str) -> Option<String> {
        let node = self.get(key)?;
        match &node.yaml {
            Yaml::Scalar(text) => Some(text.clone()),
            _ => {
                self.problems.at(node, format!("`{key}` must be one value"), "");
                None
            }
        }
    }

    /// A value that `read` understands; `expected` is said when it does not.
    pub fn value<T>(
        &self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(key)?;
        let value = read(&text);
        if value.is_none()
            && let Some(node) = self.get(key)
        {
            self.problems.at(node, format!("`{text}` is no value for `{key}`"), expected);
        }
        value
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &'static str) -> Option<bool> {
        self.value(key, "write true or false", |t| t.parse().ok())
    }

    /// A duration such as `90s` or `30d`, in ns.
    pub fn duration_ns(&self, key: &'static str) -> Option<i64> {
        let hint = "write a duration such as 500ms, 90s, 15m, 24h, 30d";
        self.value(key, hint, filter::search::duration_ns)
    }

    /// A size such as `512MiB` or `10GB`, in bytes.
    pub fn size_bytes(&self, key: &'static str) -> Option<u64> {
        self.value(key, "write a size such as 512MiB, 64MB, 10GiB", size_bytes)
    }

    /// A list of texts; one text alone is a list of one.
    pub fn texts(&self, key: &'static str) -> Vec<(String, &'a Node)> {
        self.get(key).map(|node| self.texts_of(key, node)).unwrap_or_default()
    }

    /// As [`Section::texts`], for a name chosen by the user.
    pub fn list_of(&self, name: &str) -> Vec<(String, &'a Node)> {
        let found = self.entries.iter().find(|(k, _)| k.key() == name);
        found.map(|(_, node)| self.texts_of(name, node)).unwrap_or_default()
    }

    fn texts_of(&self, key: &str, node: &'a Node) -> Vec<(String, &'a Node)> {
        let items = match &node.yaml {
            Yaml::List(items) => items.iter().collect(),
            _ => vec![node],
        };
        let mut out = Vec::new();
        for item in items {
            match &item.yaml {
                Yaml::Scalar(text) => out.push((text.clone(), item)),
                _ => self.problems.at(item, format!("`{key}` must be a list of values"), ""),
            }
        }
        out
    }

    /// The items of a list.
    pub fn items(&self, key: &'static str) -> Vec<&'a Node> {
        match self.get(key) {
            Some(Node { yaml: Yaml::List(items), .. }) => items.iter().collect(),
            Some(node) => {
                self.problems.at(node, format!("`{key}` must be a list"), "start items with `- `");
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// The collector.
    pub fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// Reports keys that no setting has.
    pub fn done(self) {
        let known = self.known.borrow();
        for (key, _) in self.entries {
            if !known.contains(&key.key()) {
                let message = format!("`{}` is no setting of `{}`", key.key(), self.name);
                self.problems.at(key, message, did_you_mean(key.key(), &known));
            }
        }
    }
}

/// Reads `512MiB`, `10GB`, `4096`.
pub fn size_bytes(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "kib" | "k" => 1 << 10,
        "mb" => 1_000_000,
        "mib" | "m" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" | "g" => 1 << 30,
        "tb" => 1_000_000_000_000,
        "tib" | "t" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

/// The known word closest to `word`, or all of them.
fn did_you_mean(word: &str, known: &[&'static str]) -> String {
    match event::text::nearest(word, known.iter().copied()) {
        Some(best) => format!("did you mean `{best}`?"),
        None => format!("settings here are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_hints() {
        assert_eq!(size_bytes("512MiB"), Some(512 << 20));
        assert_eq!(size_bytes("10 GB"), Some(10_000_000_000));
        assert_eq!(size_bytes("x"), None);
        assert_eq!(did_you_mean("lisen", &["type", "listen"]), "did you mean `listen`?");
    }
}
