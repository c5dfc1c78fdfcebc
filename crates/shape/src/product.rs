//! Which product a record is from: per record, without memory, so that it is the same on replay.

use crate::gate::{Bits, members};
use crate::native::{Body, Parser};
use crate::packs::Pack;
use crate::program::{Index, Program};
use crate::recognise::{Hits, Recogniser};
use event::{Dictionary, RowWriter};
use hashbrown::HashMap;

/// Why a pack was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Configured,
    /// Pack and form, by place: told for every event, so no text is made of it here.
    JsonForm(usize, usize),
    Json,
    Xml,
    SyslogProgram,
    Described,
    Remembered,
    StartsWith,
    Contains,
    Probed,
    Columns,
    Header,
    Nothing,
}

impl Why {
    pub(crate) fn text(&self, products: &Products) -> String {
        match self {
            Why::Configured => "the source is configured to this pack".into(),
            Why::JsonForm(pack, form) => {
                let form = &products.all[*pack].forms[*form].name;
                format!("the JSON has the fields of form `{form}`")
            }
            Why::Json => "it is JSON of no known product".into(),
            Why::Xml => "it is Windows event XML".into(),
            Why::SyslogProgram => "the syslog header names a program of this pack".into(),
            Why::Described => "program, message id and pieces are this product's".into(),
            Why::Remembered => "the source sends this product, and this message is of it".into(),
            Why::StartsWith => "the message starts as this product's do".into(),
            Why::Contains => "the message contains what this product's do".into(),
            Why::Probed => "the pack's parser recognises the text".into(),
            Why::Columns => "the stream's header lines name its columns".into(),
            Why::Header => "it has a syslog header and nothing more is known".into(),
            Why::Nothing => "nothing is known of this text".into(),
        }
    }
}

/// All packs' JSON forms by a field that each of them needs: of a hundred and more, the names in one
/// record leave a few to be asked.
struct FormIndex {
    /// Pack and form, in the order in which they are asked.
    places: Vec<(usize, usize)>,
    /// Forms that name no field.
    always: Bits,
    /// By field: 0, or one more than the place in `sets`.
    by_field: Vec<u16>,
    sets: Vec<Bits>,
}

impl FormIndex {
    fn new(all: &[Program], dict: &Dictionary) -> Self {
        let forms = |(at, program): (usize, &Program)| {
            let forms = program.forms.iter().enumerate();
            let told = forms.filter(|(_, form)| !form.is_configured_only);
            told.map(move |(form, _)| (at, form)).collect::<Vec<_>>()
        };
        let places: Vec<_> = all.iter().enumerate().flat_map(forms).collect();
        let none = vec![0; places.len().div_ceil(64)];
        let (mut by_field, mut sets) = (vec![0; dict.len()], Vec::new());
        let mut always = none.clone();
        for (bit, (at, form)) in places.iter().enumerate() {
            let keys = all[*at].forms[*form].keys();
            if keys.is_empty() {
                always[bit / 64] |= 1 << (bit % 64);
            }
            for key in keys {
                let Some(slot) = by_field.get_mut(key.0 as usize) else { continue };
                if *slot == 0 {
                    sets.push(none.clone());
                    *slot = sets.len() as u16;
                }
                sets[usize::from(*slot) - 1][bit / 64] |= 1 << (bit % 64);
            }
        }
        Self { places, always, by_field, sets }
    }

    /// Writes the forms that could fit the row to `out`.
    fn of(&self, row: &RowWriter<'_>, out: &mut Bits) {
        out.clone_from(&self.always);
        for field in row.fields(0) {
            let slot = self.by_field.get(field.0 as usize).copied().unwrap_or(0);
            if let Some(set) = self.sets.get(usize::from(slot).wrapping_sub(1)) {
                out.iter_mut().zip(set).for_each(|(to, bits)| *to |= bits);
            }
        }
    }
}

/// The programs of a generation, by what shows them.
pub(crate) struct Products {
    pub(crate) all: Vec<Program>,
    by_name: HashMap<String, usize>,
    recogniser: Recogniser,
    forms: FormIndex,
    windows: usize,
    json: usize,
    syslog: usize,
    text: usize,
}

impl Products {
    pub(crate) fn new(packs: &[Pack], dict: &Dictionary) -> Self {
        let all: Vec<Program> = packs.iter().map(|p| Program::compile(p, dict)).collect();
        let place = |name: &str| all.iter().position(|p| p.name == name).unwrap_or(0);
        Self {
            by_name: all.iter().enumerate().map(|(at, p)| (p.name.clone(), at)).collect(),
            recogniser: Recogniser::new(packs, dict),
            forms: FormIndex::new(&all, dict),
            windows: place("windows"),
            json: place("json"),
            syslog: place("syslog"),
            text: place("text"),
            all,
        }
    }

    /// See [`Recogniser::is_headless`].
    pub(crate) fn is_headless(&self, raw: &[u8], hits: &mut Hits) -> Option<bool> {
        self.recogniser.is_headless(raw, hits)
    }

    pub(crate) fn configured(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The product of a flattened JSON record and the form to apply. With `only`, just that pack's
    /// forms are tried.
    pub(crate) fn of_json(
        &self,
        row: &RowWriter<'_>,
        index: &Index,
        only: Option<usize>,
        possible: &mut Bits,
    ) -> (usize, Option<usize>, Why) {
        if let Some(at) = only {
            let form = self.all[at].forms.iter().position(|f| f.fits(row, index));
            return (at, form, Why::Configured);
        }
        self.forms.of(row, possible);
        let fitting = members(possible).map(|bit| self.forms.places[bit]);
        match { fitting }.find(|(at, form)| self.all[*at].forms[*form].fits(row, index)) {
            Some((at, form)) => (at, Some(form), Why::JsonForm(at, form)),
            None => (self.json, None, Why::Json),
        }
    }

    /// Whether a record is in one of the forms of pack `at`.
    pub(crate) fn has_form(&self, at: usize, row: &RowWriter<'_>, index: &Index) -> bool {
        self.all[at].forms.iter().any(|form| form.fits(row, index))
    }

    /// The product of text that is no JSON. `remembered` is asked first.
    pub(crate) fn of_text(
        &self,
        body: &Body<'_>,
        remembered: Option<usize>,
        lower: &mut Vec<u8>,
        hits: &mut Hits,
    ) -> (usize, Why) {
        if let Some(at) = remembered
            && let Some(why) = self.recogniser.is_of(at, body, lower)
        {
            return (at, why);
        }
        let found = self.recogniser.of(body, lower, hits);
        found.unwrap_or(match body.has_header {
            true => (self.syslog, Why::Header),
            false => (self.text, Why::Nothing),
        })
    }

    /// A product that sends JSON which names no form, told by its syslog header.
    pub(crate) fn of_json_header(
        &self,
        body: &Body<'_>,
        lower: &mut Vec<u8>,
        hits: &mut Hits,
    ) -> Option<(usize, Why)> {
        if body.program.is_empty() && body.msgid.is_empty() && body.data.is_empty() {
            return None;
        }
        let found = self.recogniser.of(body, lower, hits);
        found.filter(|(at, _)| self.all[*at].parser == Parser::Json)
    }

    /// Whether records that are configured to this pack carry others as objects: then a product that is
    /// told by carrier and object together is asked first.
    pub(crate) fn carries_objects(&self, at: usize) -> bool {
        self.all[at].forms.iter().any(|form| !form.inside.is_empty())
    }

    /// Whether this is one of the packs for text and JSON of no known product.
    pub(crate) fn is_generic(&self, at: usize) -> bool {
        self.has_names(at) || at == self.syslog || at == self.text
    }

    /// Whether it is one whose records have names, which mean something in any program.
    pub(crate) fn has_names(&self, at: usize) -> bool {
        at == self.json || self.all[at].name == "kv"
    }

    /// The pack that reads text with this parser.
    pub(crate) fn with_parser(&self, parser: Parser) -> Option<usize> {
        self.all.iter().position(|p| p.parser == parser)
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
