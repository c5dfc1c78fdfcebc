//! What shows that text is a product's: all packs' descriptions in one pass over the message.
//!
//! ```text
//! message --one automaton for all packs' pieces--> which pieces stand where
//!   program? --> descriptions that name it --> packs' programs --> (pieces) packs in their order
//! ```
//! The work per message does not grow with the number of packs except for a few bit tests each.

use crate::extract::Pattern;
use crate::native::{Body, Parser};
use crate::packs::Pack;
use crate::product::Why;
use crate::spec::Marks;
use aho_corasick::AhoCorasick;
use event::Dictionary;
use hashbrown::HashMap;
use memchr::memmem::Finder;

/// Most bytes of a message that recognition looks at.
const LOOKED_AT_BYTES_MAX: usize = 4_096;

/// Which pieces stand in the message. Kept between messages for its memory.
#[derive(Default)]
pub(crate) struct Hits {
    inside: Vec<u64>,
    at_start: Vec<u64>,
}

impl Hits {
    fn start(&mut self, pieces: usize) {
        let words = pieces.div_ceil(64);
        for list in [&mut self.inside, &mut self.at_start] {
            list.clear();
            list.resize(words, 0);
        }
    }

    fn has(list: &[u64], piece: usize) -> bool {
        list.get(piece / 64).is_some_and(|w| w & (1 << (piece % 64)) != 0)
    }
}

/// The recognition of a generation's packs.
pub(crate) struct Recogniser {
    pieces: Option<AhoCorasick>,
    piece_count: usize,
    packs: Vec<PackMarks>,
    /// Lower-case program -> descriptions (pack, place) that name it.
    described: HashMap<Vec<u8>, Vec<(usize, usize)>>,
    /// Lower-case program -> pack.
    programs: HashMap<Vec<u8>, usize>,
}

struct PackMarks {
    any: Vec<Description>,
    starts: Vec<usize>,
    contains: Vec<usize>,
    probe: Option<Parser>,
}

/// [`Marks`], compiled.
struct Description {
    programs: Vec<Vec<u8>>,
    msgids: Vec<Vec<u8>>,
    starts: Vec<(usize, Vec<u8>)>,
    contains: Vec<(usize, Finder<'static>)>,
    data: Vec<Finder<'static>>,
    matches: Option<Pattern>,
    line: Option<Pattern>,
}

impl Description {
    fn new(marks: &Marks, pack: &Pack, dict: &Dictionary, pieces: &mut Pieces) -> Self {
        let lower = |list: &[String]| list.iter().map(|t| t.to_ascii_lowercase().into()).collect();
        let finder = |t: &String| Finder::new(t.as_bytes()).into_owned();
        let full = |name: &str| pack.spec.full(name);
        let pattern = |text: &String| match text.as_str() {
            "" => None,
            text => Pattern::new(text, &pack.spec.patterns, &full, dict),
        };
        Self {
            programs: lower(&marks.program),
            msgids: marks.msgid.iter().map(|m| m.as_bytes().to_vec()).collect(),
            starts: marks.starts.iter().map(|s| (pieces.id(s), s.clone().into())).collect(),
            contains: marks.contains.iter().map(|s| (pieces.id(s), finder(s))).collect(),
            data: marks.data.iter().map(finder).collect(),
            matches: pattern(&marks.matches),
            line: pattern(&marks.line),
        }
    }

    /// Whether the message fits. `hits` spares the search where the message was scanned already.
    fn fits(&self, body: &Body<'_>, lower: &[u8], hits: Option<&Hits>) -> bool {
        let text = &body.text[..body.text.len().min(LOOKED_AT_BYTES_MAX)];
        (self.programs.is_empty() || self.programs.iter().any(|p| is_program(p, lower)))
            && (self.msgids.is_empty() || self.msgids.iter().any(|m| is_msgid(m, body.msgid)))
            && (self.starts.is_empty()
                || self.starts.iter().any(|(id, start)| match hits {
                    Some(hits) => Hits::has(&hits.at_start, *id),
                    None => text.starts_with(start),
                }))
            && self.contains.iter().all(|(id, finder)| match hits {
                Some(hits) => Hits::has(&hits.inside, *id),
                None => finder.find(text).is_some(),
            })
            && (self.data.is_empty() || self.data.iter().any(|f| f.find(body.data).is_some()))
            && self.matches.as_ref().is_none_or(|m| m.is_match(text))
            && self.line.as_ref().is_none_or(|m| !body.has_header && m.is_match(text))
    }
}

fn is_program(wanted: &[u8], lower: &[u8]) -> bool {
    match wanted.strip_suffix(b"*") {
        Some(start) => lower.starts_with(start),
        None => wanted == lower,
    }
}

fn is_msgid(wanted: &[u8], msgid: &[u8]) -> bool {
    match wanted.strip_suffix(b"*") {
        Some(start) => msgid.starts_with(start),
        None => wanted == msgid,
    }
}

/// The pieces of all packs, each once.
#[derive(Default)]
struct Pieces {
    texts: Vec<Vec<u8>>,
    ids: HashMap<Vec<u8>, usize>,
}

impl Pieces {
    fn id(&mut self, text: &str) -> usize {
        let texts = &mut self.texts;
        *self.ids.entry(text.as_bytes().to_vec()).or_insert_with(|| {
            texts.push(text.as_bytes().to_vec());
            texts.len() - 1
        })
    }
}

impl Recogniser {
    pub(crate) fn new(packs: &[Pack], dict: &Dictionary) -> Self {
        let mut pieces = Pieces::default();
        let mut described: HashMap<Vec<u8>, Vec<(usize, usize)>> = HashMap::new();
        let mut programs = HashMap::new();
        let mut all = Vec::with_capacity(packs.len());
        for (at, pack) in packs.iter().enumerate() {
            let recognise = &pack.spec.recognise;
            let any: Vec<_> = recognise
                .any
                .iter()
                .map(|marks| Description::new(marks, pack, dict, &mut pieces))
                .collect();
            for (place, description) in any.iter().enumerate() {
                for program in description.programs.iter().filter(|p| !p.ends_with(b"*")) {
                    described.entry_ref(program.as_slice()).or_default().push((at, place));
                }
            }
            for program in &recognise.program {
                programs.entry(program.to_ascii_lowercase().into_bytes()).or_insert(at);
            }
            all.push(PackMarks {
                any,
                starts: recognise.starts.iter().map(|s| pieces.id(s)).collect(),
                contains: recognise.contains.iter().map(|s| pieces.id(s)).collect(),
                probe: recognise.probe.then(|| Parser::by_name(&pack.spec.parser)).flatten(),
            });
        }
        let automaton = AhoCorasick::new(&pieces.texts).ok();
        let piece_count = pieces.texts.len();
        Self { pieces: automaton, piece_count, packs: all, described, programs }
    }

    /// The pack of a message that is no JSON of a known form; `None` if nothing shows one.
    pub(crate) fn of(
        &self,
        body: &Body<'_>,
        lower: &mut Vec<u8>,
        hits: &mut Hits,
    ) -> Option<(usize, Why)> {
        lower.clear();
        lower.extend(body.program.iter().map(u8::to_ascii_lowercase));
        if !lower.is_empty() {
            for (at, place) in self.described.get(lower.as_slice()).into_iter().flatten() {
                if self.packs[*at].any[*place].fits(body, lower, None) {
                    return Some((*at, Why::Described));
                }
            }
            // Formats that announce themselves come from any program.
            let announced = body.text.starts_with(b"CEF:") || body.text.starts_with(b"LEEF:");
            if let Some(at) = self.programs.get(lower.as_slice()).filter(|_| !announced) {
                return Some((*at, Why::SyslogProgram));
            }
        }
        self.scan(body.text, hits);
        let order = self.packs.iter().enumerate();
        order.into_iter().find_map(|(at, pack)| Some((at, pack.why(body, lower, hits)?)))
    }

    /// Whether a message is of pack `at`, told without looking at other packs.
    pub(crate) fn is_of(&self, at: usize, body: &Body<'_>, lower: &mut Vec<u8>) -> Option<Why> {
        lower.clear();
        lower.extend(body.program.iter().map(u8::to_ascii_lowercase));
        if !lower.is_empty() && self.programs.get(lower.as_slice()) == Some(&at) {
            return Some(Why::Remembered);
        }
        let described = self.packs[at].any.iter().any(|d| d.fits(body, lower, None));
        described.then_some(Why::Remembered)
    }

    /// Whether a record that starts as a syslog header may is a line of a known format instead.
    pub(crate) fn is_headless(&self, raw: &[u8]) -> bool {
        let is_numeric = raw.first().is_some_and(u8::is_ascii_digit);
        if !is_numeric && raw.get(5..7).is_none_or(|c| !c.contains(&b',')) {
            return false;
        }
        let text = &raw[..raw.len().min(LOOKED_AT_BYTES_MAX)];
        let lines = self.packs.iter().flat_map(|p| &p.any).filter_map(|d| d.line.as_ref());
        lines.into_iter().any(|line| line.is_match(text))
    }

    fn scan(&self, text: &[u8], hits: &mut Hits) {
        hits.start(self.piece_count);
        let Some(pieces) = &self.pieces else { return };
        let text = &text[..text.len().min(LOOKED_AT_BYTES_MAX)];
        for found in pieces.find_overlapping_iter(text) {
            let id = found.pattern().as_usize();
            hits.inside[id / 64] |= 1 << (id % 64);
            if found.start() == 0 {
                hits.at_start[id / 64] |= 1 << (id % 64);
            }
        }
    }
}

impl PackMarks {
    fn why(&self, body: &Body<'_>, lower: &[u8], hits: &Hits) -> Option<Why> {
        if self.any.iter().any(|d| d.fits(body, lower, Some(hits))) {
            return Some(Why::Described);
        }
        if self.starts.iter().any(|id| Hits::has(&hits.at_start, *id)) {
            return Some(Why::StartsWith);
        }
        let contains = &self.contains;
        if !contains.is_empty() && contains.iter().all(|id| Hits::has(&hits.inside, *id)) {
            return Some(Why::Contains);
        }
        self.probe.filter(|parser| parser.probe(body)).map(|_| Why::Probed)
    }
}
