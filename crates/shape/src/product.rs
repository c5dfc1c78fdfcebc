//! Which product a record is from: per record, without memory, so that it is the same on replay.

use crate::native::{Body, Parser};
use crate::program::{Index, Program};
use hashbrown::HashMap;

/// Why a pack was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Configured,
    JsonForm(String),
    Json,
    Xml,
    SyslogProgram,
    StartsWith,
    Contains,
    Probed,
    Header,
    Nothing,
}

impl Why {
    pub(crate) fn text(&self) -> String {
        match self {
            Why::Configured => "the source is configured to this pack".into(),
            Why::JsonForm(form) => format!("the JSON has the fields of form `{form}`"),
            Why::Json => "it is JSON of no known product".into(),
            Why::Xml => "it is Windows event XML".into(),
            Why::SyslogProgram => "the syslog header names a program of this pack".into(),
            Why::StartsWith => "the message starts as this product's do".into(),
            Why::Contains => "the message contains what this product's do".into(),
            Why::Probed => "the pack's parser recognises the text".into(),
            Why::Header => "it has a syslog header and nothing more is known".into(),
            Why::Nothing => "nothing is known of this text".into(),
        }
    }
}

/// The programs of a generation, by what shows them.
pub(crate) struct Products {
    pub(crate) all: Vec<Program>,
    by_name: HashMap<String, usize>,
    by_program: HashMap<Vec<u8>, usize>,
    windows: usize,
    json: usize,
    syslog: usize,
    text: usize,
}

impl Products {
    pub(crate) fn new(all: Vec<Program>) -> Self {
        let place = |name: &str| all.iter().position(|p| p.name == name).unwrap_or(0);
        let mut by_program = HashMap::new();
        for (at, program) in all.iter().enumerate() {
            for name in &program.programs {
                by_program.entry(name.clone().into_bytes()).or_insert(at);
            }
        }
        Self {
            by_name: all.iter().enumerate().map(|(at, p)| (p.name.clone(), at)).collect(),
            by_program,
            windows: place("windows"),
            json: place("json"),
            syslog: place("syslog"),
            text: place("text"),
            all,
        }
    }

    pub(crate) fn configured(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The product of a flattened JSON record and the form to apply. With `only`, just that pack's
    /// forms are tried.
    pub(crate) fn of_json(
        &self,
        index: &Index,
        only: Option<usize>,
    ) -> (usize, Option<usize>, Why) {
        for (at, program) in self.all.iter().enumerate() {
            if only.is_some_and(|o| o != at) {
                continue;
            }
            if let Some(form) = program.forms.iter().position(|f| f.fits(index)) {
                let why = match only {
                    Some(_) => Why::Configured,
                    None => Why::JsonForm(program.forms[form].name.clone()),
                };
                return (at, Some(form), why);
            }
        }
        match only {
            Some(at) => (at, None, Why::Configured),
            None => (self.json, None, Why::Json),
        }
    }

    /// The product of text that is no JSON.
    pub(crate) fn of_text(&self, body: &Body<'_>, lower: &mut Vec<u8>) -> (usize, Why) {
        if !body.program.is_empty() {
            lower.clear();
            lower.extend(body.program.iter().map(u8::to_ascii_lowercase));
            if let Some(at) = self.by_program.get(lower.as_slice()) {
                return (*at, Why::SyslogProgram);
            }
        }
        for (at, program) in self.all.iter().enumerate() {
            if program.starts.iter().any(|s| body.text.starts_with(s)) {
                return (at, Why::StartsWith);
            }
            let contains = &program.contains;
            if !contains.is_empty() && contains.iter().all(|f| f.find(body.text).is_some()) {
                return (at, Why::Contains);
            }
            if program.probe && program.parser.probe(body) {
                return (at, Why::Probed);
            }
        }
        match body.has_header {
            true => (self.syslog, Why::Header),
            false => (self.text, Why::Nothing),
        }
    }

    pub(crate) fn windows(&self) -> usize {
        self.windows
    }

    /// The parser for a text body of program `at`; JSON packs meet text that is none.
    pub(crate) fn text_parser(&self, at: usize) -> Parser {
        match self.all[at].parser {
            Parser::Json => Parser::Text,
            parser => parser,
        }
    }
}
