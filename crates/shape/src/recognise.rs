//! What shows that text is a product's: all packs' descriptions in one pass over the message.
//!
//! ```text
//! message --one automaton for all packs' pieces--> which pieces stand where
//!   program? --> descriptions that name it --> packs' programs --> signs in their packs' order
//! signs = all descriptions, starts, pieces and probes; [`Gate`] and what the header lacks leave a few
//! ```
//! Pieces that may stand anywhere also stand in what a client chooses: its URL, its user agent, a
//! subject. They are asked last, of text that no product's beginning shows ([`Rank`]).
//!
//! The work per message hardly grows with the number of packs.

use crate::extract::Pattern;
use crate::gate::{Bits, FirstBytes, Gate, members};
use crate::native::{Body, Parser};
use crate::packs::Pack;
use crate::product::Why;
use crate::spec::Marks;
use event::Dictionary;
use filter::grams::{Grams, PADDING};
use hashbrown::HashMap;
use memchr::memmem::Finder;

/// Shorter pieces are hits at every other place of a message.
const GRAM_BYTES_MIN: usize = 3;

/// Most bytes of a message that recognition looks at.
const LOOKED_AT_BYTES_MAX: usize = 4_096;

/// Which pieces stand in the message. Kept between messages for its memory.
#[derive(Default)]
pub(crate) struct Hits {
    inside: Vec<u64>,
    at_start: Vec<u64>,
    /// The signs that may show something.
    signs: Bits,
    /// The signs of which a piece stands in the message.
    found: Bits,
    /// The message with room behind it.
    padded: Vec<u8>,
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
    pieces: Vec<Vec<u8>>,
    /// Finds them by their numbers, but for short ones.
    grams: Grams,
    /// A dash or a brace: a few that stand in most messages, and are asked for once instead of found often.
    short: Vec<usize>,
    packs: Vec<PackMarks>,
    /// The installation has packs of its own, which are asked before all others.
    has_own: bool,
    /// Everything that shows a pack, in the order in which it is asked.
    signs: Vec<Sign>,
    gate: Gate,
    /// The signs that need nothing of a header; those that need a message id; structured data.
    headerless: Bits,
    with_msgid: Bits,
    with_data: Bits,
    with_program_start: Bits,
    /// The signs that are formats of whole lines.
    lines: Bits,
    /// The signs that need a piece; piece -> the signs that it lets through.
    with_piece: Bits,
    by_piece: Vec<Bits>,
    /// By lower-case program.
    programs: HashMap<Vec<u8>, Named>,
}

/// What a program's name shows.
#[derive(Default)]
struct Named {
    /// The signs that name it.
    signs: Vec<usize>,
    /// The pack whose it is.
    pack: Option<usize>,
}

struct PackMarks {
    any: Vec<Description>,
    starts: Vec<usize>,
    contains: Vec<usize>,
    probe: Option<Parser>,
    /// Pieces without which the probe finds nothing; empty = unknown.
    probe_needs: Vec<usize>,
    /// Packs that describe messages that look like this one's.
    unless: Vec<usize>,
}

/// One thing that shows pack `pack`.
struct Sign {
    pack: usize,
    kind: SignKind,
}

#[derive(Clone, Copy)]
enum SignKind {
    /// The description at this place.
    Described(usize),
    Starts,
    Contains,
    Probe,
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
    first: FirstBytes,
    /// Pieces one of which a match of the pattern holds; empty = unknown.
    needs: Vec<usize>,
    /// The longest piece of `contains`, if there is one.
    longest: Vec<usize>,
    /// Nothing says how the message begins or who wrote it.
    is_free: bool,
}

/// When a sign is asked. Within a rank, packs are asked in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It tells how the message begins or who wrote it, or stands in a pack of the installation.
    Certain,
    /// Its pieces may stand anywhere.
    Free,
    /// It fits texts of any product.
    Generic,
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
        let (matches, line) = (pattern(&marks.matches), pattern(&marks.line));
        let gate = matches.as_ref().or(line.as_ref()).map(Pattern::gate);
        let is_anchored = !marks.starts.is_empty()
            || gate.as_ref().is_some_and(|(first, _)| !first.says_nothing());
        let is_headed =
            !marks.program.is_empty() || !marks.msgid.is_empty() || !marks.data.is_empty();
        let (first, needs) = gate.unwrap_or_else(|| {
            let starts = marks.starts.iter().map(String::as_bytes);
            (FirstBytes::of_starts(starts), Vec::new())
        });
        Self {
            programs: lower(&marks.program),
            msgids: marks.msgid.iter().map(|m| m.as_bytes().to_vec()).collect(),
            starts: marks.starts.iter().map(|s| (pieces.id(s), s.clone().into())).collect(),
            contains: marks.contains.iter().map(|s| (pieces.id(s), finder(s))).collect(),
            data: marks.data.iter().map(finder).collect(),
            matches,
            line,
            first,
            needs: needs.iter().map(|word| pieces.id(word)).collect(),
            longest: marks
                .contains
                .iter()
                .max_by_key(|s| s.len())
                .map(|s| pieces.id(s))
                .into_iter()
                .collect(),
            is_free: !is_anchored && !is_headed,
        }
    }

    /// Pieces one of which stands in every message that fits; empty if none has to.
    fn witnesses(&self) -> &[usize] {
        match self.longest.as_slice() {
            [] => &self.needs,
            longest => longest,
        }
    }

    /// Whether the message fits. `hits` spares the search where the message was scanned already.
    fn fits(&self, body: &Body<'_>, lower: &[u8], hits: Option<&Hits>) -> bool {
        let text = &body.text[..body.text.len().min(LOOKED_AT_BYTES_MAX)];
        // Where the message was scanned, the gate has told its first bytes.
        (hits.is_some() || self.first.may_start(text))
            && (self.programs.is_empty() || self.programs.iter().any(|p| is_program(p, lower)))
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
            && hits.is_none_or(|hits| {
                self.needs.is_empty() || self.needs.iter().any(|id| Hits::has(&hits.inside, *id))
            })
            && (self.data.is_empty() || self.data.iter().any(|f| f.find(body.data).is_some()))
            && self.matches.as_ref().is_none_or(|m| m.is_match(text))
            && self.line.as_ref().is_none_or(|m| !body.has_header && m.is_match(text))
    }
}

/// Formats that announce themselves come from any program.
fn announces_itself(text: &[u8]) -> bool {
    text.starts_with(b"CEF:") || text.starts_with(b"LEEF:")
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
    fn id(&mut self, text: impl AsRef<[u8]>) -> usize {
        let texts = &mut self.texts;
        *self.ids.entry_ref(text.as_ref()).or_insert_with(|| {
            texts.push(text.as_ref().to_vec());
            texts.len() - 1
        })
    }
}

impl Recogniser {
    pub(crate) fn new(packs: &[Pack], dict: &Dictionary) -> Self {
        let mut pieces = Pieces::default();
        let mut programs: HashMap<Vec<u8>, Named> = HashMap::new();
        let mut all = Vec::with_capacity(packs.len());
        let place = |name: &String| packs.iter().position(|pack| pack.spec.pack == *name);
        for (at, pack) in packs.iter().enumerate() {
            let recognise = &pack.spec.recognise;
            let describe = |marks| Description::new(marks, pack, dict, &mut pieces);
            let any = recognise.any.iter().map(describe).collect();
            for program in &recognise.program {
                let named = programs.entry(program.to_ascii_lowercase().into_bytes()).or_default();
                named.pack.get_or_insert(at);
            }
            let probe = recognise.probe.then(|| Parser::by_name(&pack.spec.parser)).flatten();
            let needed = probe.and_then(Parser::needed_piece);
            all.push(PackMarks {
                any,
                starts: recognise.starts.iter().map(|s| pieces.id(s)).collect(),
                contains: recognise.contains.iter().map(|s| pieces.id(s)).collect(),
                probe,
                probe_needs: needed.into_iter().map(|piece| pieces.id(piece)).collect(),
                unless: recognise.unless.iter().filter_map(&place).collect(),
            });
        }
        let mut signs: Vec<_> =
            all.iter().enumerate().flat_map(|(at, pack)| pack.signs(at)).collect();
        signs.sort_by_key(|sign| match packs[sign.pack].is_own {
            true => Rank::Certain,
            false => all[sign.pack].rank(sign.kind),
        });
        for (bit, sign) in signs.iter().enumerate() {
            let description = all[sign.pack].described(sign.kind);
            let names = description.map(|d| d.programs.as_slice()).unwrap_or_default();
            for program in names.iter().filter(|p| !p.ends_with(b"*")) {
                programs.entry_ref(program.as_slice()).or_default().signs.push(bit);
            }
        }
        let that = |is: &dyn Fn(&Sign) -> bool| -> Bits {
            let mut bits = vec![0; signs.len().div_ceil(64)];
            for (bit, sign) in signs.iter().enumerate() {
                bits[bit / 64] |= u64::from(is(sign)) << (bit % 64);
            }
            bits
        };
        let such = |is: &dyn Fn(&Description) -> bool| {
            that(&|sign| all[sign.pack].described(sign.kind).is_some_and(is))
        };
        let witnesses = |sign: &Sign| all[sign.pack].witnesses(sign.kind);
        let wants_start = |d: &Description| d.programs.iter().any(|p| p.ends_with(b"*"));
        let wants_header =
            |d: &Description| !d.programs.is_empty() || !d.msgids.is_empty() || !d.data.is_empty();
        let headerless = such(&wants_header).iter().map(|word| !word).collect();
        let first = |sign: &Sign| {
            let description = all[sign.pack].described(sign.kind);
            description.map(|d| d.first.clone()).unwrap_or_default()
        };
        let by_piece =
            (0..pieces.texts.len()).map(|piece| that(&|sign| witnesses(sign).contains(&piece)));
        let by_piece = by_piece.collect();
        let gate = Gate::new(&signs.iter().map(first).collect::<Vec<_>>());
        let is_short = |id: &usize| pieces.texts[*id].len() < GRAM_BYTES_MIN;
        let (short, long): (Vec<_>, Vec<_>) = (0..pieces.texts.len()).partition(is_short);
        let numbered = long.into_iter().map(|id| (pieces.texts[id].as_slice().into(), id as u32));
        Self {
            grams: Grams::new(numbered.collect()),
            short,
            pieces: pieces.texts,
            gate,
            headerless,
            with_msgid: such(&|d| !d.msgids.is_empty()),
            with_data: such(&|d| !d.data.is_empty()),
            with_program_start: such(&wants_start),
            with_piece: that(&|sign| !witnesses(sign).is_empty()),
            by_piece,
            lines: such(&|d| d.line.is_some()),
            packs: all,
            has_own: packs.iter().any(|pack| pack.is_own),
            signs,
            programs,
        }
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
            let named = self.programs.get(lower.as_slice());
            for bit in named.iter().flat_map(|named| &named.signs) {
                let sign = &self.signs[*bit];
                let description = self.packs[sign.pack].described(sign.kind);
                if description.is_some_and(|d| d.fits(body, lower, None)) {
                    return Some((sign.pack, Why::Described));
                }
            }
            let announced = announces_itself(body.text);
            if let Some(at) = named.and_then(|named| named.pack).filter(|_| !announced) {
                return Some((at, Why::SyslogProgram));
            }
        }
        self.choose(body, lower, hits);
        if hits.signs.iter().all(|word| *word == 0) {
            return None;
        }
        self.scan(body.text, hits);
        members(&hits.signs).find_map(|bit| {
            let sign = &self.signs[bit];
            Some((sign.pack, self.packs[sign.pack].why(sign.kind, body, lower, hits)?))
        })
    }

    /// Whether a message is of pack `at`, told without looking at other packs.
    pub(crate) fn is_of(&self, at: usize, body: &Body<'_>, lower: &mut Vec<u8>) -> Option<Why> {
        if announces_itself(body.text) {
            return None;
        }
        lower.clear();
        lower.extend(body.program.iter().map(u8::to_ascii_lowercase));
        let named = self.programs.get(lower.as_slice()).filter(|_| !lower.is_empty());
        if named.is_some_and(|named| named.pack == Some(at)) {
            return Some(Why::Remembered);
        }
        if self.has_own {
            return None;
        }
        // Pieces that stand anywhere show nothing before all others were asked.
        // A program that others name is theirs, whatever its text looks like.
        if named.is_some() {
            return None;
        }
        let describes = |at: usize, lower: &[u8]| {
            let mut certain = self.packs[at].any.iter().filter(|d| !d.is_free);
            certain.any(|d| d.fits(body, lower, None))
        };
        let pack = &self.packs[at];
        let may_probe = pack.rank(SignKind::Probe) == Rank::Certain;
        let is_probed = || may_probe && pack.probe.is_some_and(|parser| parser.probe(body));
        let is_shown = describes(at, lower) || is_probed();
        let is_others = || pack.unless.iter().any(|other| describes(*other, lower));
        (is_shown && !is_others()).then_some(Why::Remembered)
    }

    /// Whether a record that starts as a syslog header may is a line of a known format instead; `None`
    /// if it does not start so, and nobody looked.
    pub(crate) fn is_headless(&self, raw: &[u8], hits: &mut Hits) -> Option<bool> {
        let is_numeric = raw.first().is_some_and(u8::is_ascii_digit);
        if !is_numeric && raw.get(5..7).is_none_or(|c| !c.contains(&b',')) {
            return None;
        }
        let text = &raw[..raw.len().min(LOOKED_AT_BYTES_MAX)];
        hits.signs.clone_from(&self.lines);
        self.gate.narrow(text, &mut hits.signs);
        let is_line = members(&hits.signs).any(|bit| {
            let sign = &self.signs[bit];
            let description = self.packs[sign.pack].described(sign.kind);
            description.and_then(|d| d.line.as_ref()).is_some_and(|line| line.is_match(text))
        });
        Some(is_line)
    }

    /// Leaves the signs that the header and the first bytes of the message allow.
    fn choose(&self, body: &Body<'_>, lower: &[u8], hits: &mut Hits) {
        let signs = &mut hits.signs;
        // The gate clears the bits behind the last sign.
        signs.clone_from(&self.headerless);
        let mut also = |more: &Bits| signs.iter_mut().zip(more).for_each(|(to, m)| *to |= m);
        if !body.msgid.is_empty() {
            also(&self.with_msgid);
        }
        if !body.data.is_empty() {
            also(&self.with_data);
        }
        if !lower.is_empty() {
            // Those that name the program itself were asked already.
            also(&self.with_program_start);
        }
        if body.has_header || body.is_no_line {
            signs.iter_mut().zip(&self.lines).for_each(|(to, line)| *to &= !line);
        }
        self.gate.narrow(&body.text[..body.text.len().min(LOOKED_AT_BYTES_MAX)], signs);
    }

    /// Finds the pieces, and drops the signs that lack theirs.
    fn scan(&self, text: &[u8], hits: &mut Hits) {
        hits.start(self.pieces.len());
        hits.found.clear();
        hits.found.resize(self.signs.len().div_ceil(64), 0);
        let text = &text[..text.len().min(LOOKED_AT_BYTES_MAX)];
        let Hits { inside, at_start, found, padded, .. } = &mut *hits;
        padded.clear();
        padded.extend_from_slice(text);
        padded.extend_from_slice(&[0; PADDING]);
        let mut is_in = |id: usize| {
            let (word, bit) = (id / 64, 1 << (id % 64));
            if inside[word] & bit != 0 {
                return;
            }
            inside[word] |= bit;
            if text.starts_with(&self.pieces[id]) {
                at_start[word] |= bit;
            }
            found.iter_mut().zip(&self.by_piece[id]).for_each(|(to, signs)| *to |= signs);
        };
        self.grams.scan(padded, text.is_ascii(), |number| is_in(number as usize));
        let stands = |id: &&usize| memchr::memmem::find(text, &self.pieces[**id]).is_some();
        self.short.iter().filter(stands).for_each(|id| is_in(*id));
        for ((sign, with_piece), found) in
            hits.signs.iter_mut().zip(&self.with_piece).zip(&hits.found)
        {
            *sign &= !with_piece | found;
        }
    }
}

impl PackMarks {
    /// What shows this pack, in the order in which it is asked.
    fn signs(&self, pack: usize) -> impl Iterator<Item = Sign> {
        let rest = [
            (!self.starts.is_empty()).then_some(SignKind::Starts),
            (!self.contains.is_empty()).then_some(SignKind::Contains),
            self.probe.map(|_| SignKind::Probe),
        ];
        let described = (0..self.any.len()).map(SignKind::Described);
        described.chain(rest.into_iter().flatten()).map(move |kind| Sign { pack, kind })
    }

    fn described(&self, kind: SignKind) -> Option<&Description> {
        match kind {
            SignKind::Described(at) => self.any.get(at),
            _ => None,
        }
    }

    fn rank(&self, kind: SignKind) -> Rank {
        match (kind, self.probe) {
            (SignKind::Described(at), _) if self.any[at].is_free => Rank::Free,
            (SignKind::Contains, _) => Rank::Free,
            (SignKind::Probe, Some(Parser::Kv)) => Rank::Generic,
            // They look for their beginning wherever that stands.
            (SignKind::Probe, Some(Parser::Auditd | Parser::Cef | Parser::Leef)) => Rank::Free,
            _ => Rank::Certain,
        }
    }

    /// Pieces one of which stands in every message that has the sign; empty if none has to.
    fn witnesses(&self, kind: SignKind) -> &[usize] {
        match kind {
            SignKind::Described(at) => self.any[at].witnesses(),
            SignKind::Starts => &self.starts,
            SignKind::Contains => &self.contains[..1],
            SignKind::Probe => &self.probe_needs,
        }
    }

    /// Asks one of the pack's signs.
    fn why(&self, kind: SignKind, body: &Body<'_>, lower: &[u8], hits: &Hits) -> Option<Why> {
        match kind {
            SignKind::Described(at) => {
                self.any[at].fits(body, lower, Some(hits)).then_some(Why::Described)
            }
            SignKind::Starts => {
                let found = self.starts.iter().any(|id| Hits::has(&hits.at_start, *id));
                found.then_some(Why::StartsWith)
            }
            SignKind::Contains => {
                let found = self.contains.iter().all(|id| Hits::has(&hits.inside, *id));
                found.then_some(Why::Contains)
            }
            SignKind::Probe => self.probe.filter(|parser| parser.probe(body)).map(|_| Why::Probed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PackSet, transport};
    use event::DictionaryBuilder;

    impl Recogniser {
        /// As [`Recogniser::of`], but every sign is asked, whatever the gate says.
        fn of_slowly(&self, body: &Body<'_>) -> Option<(usize, Why)> {
            let lower = body.program.to_ascii_lowercase();
            for (at, pack) in self.packs.iter().enumerate().filter(|_| !lower.is_empty()) {
                let named = |d: &&Description| d.programs.contains(&lower);
                if pack.any.iter().filter(named).any(|d| d.fits(body, &lower, None)) {
                    return Some((at, Why::Described));
                }
            }
            let announced = body.text.starts_with(b"CEF:") || body.text.starts_with(b"LEEF:");
            let named = self.programs.get(&lower).and_then(|named| named.pack);
            if let Some(at) = named.filter(|_| !announced) {
                return Some((at, Why::SyslogProgram));
            }
            let mut hits = Hits::default();
            hits.signs.resize(self.signs.len().div_ceil(64), u64::MAX);
            self.scan(body.text, &mut hits);
            self.signs.iter().find_map(|sign| {
                let pack = &self.packs[sign.pack];
                let why = match sign.kind {
                    SignKind::Described(at) => {
                        pack.any[at].fits(body, &lower, None).then_some(Why::Described)
                    }
                    kind => pack.why(kind, body, &lower, &hits),
                };
                Some((sign.pack, why?))
            })
        }
    }

    /// The lines of all packs' samples, and what is left of them when they are cut.
    fn lines() -> Vec<Vec<u8>> {
        let packs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs");
        let of = |pack: &crate::PackFiles| crate::testing::lines(&packs.join(pack.name)).unwrap();
        let cut = |line: Vec<u8>| {
            let space = line.iter().position(|c| *c == b' ').map_or(0, |at| at + 1);
            let half = line[..line.len() / 2].to_vec();
            [line[1..].to_vec(), line[space.min(line.len())..].to_vec(), half, line]
        };
        crate::packs::ALL.iter().flat_map(of).flat_map(cut).collect()
    }

    #[test]
    fn the_gate_changes_no_answer() {
        let set = PackSet::builtin().unwrap();
        let mut names = DictionaryBuilder::new();
        set.register(&mut names);
        let recogniser = Recogniser::new(&set.packs, &names.build());
        let (mut lower, mut hits, mut recognised) = (Vec::new(), Hits::default(), 0);
        for line in lines() {
            let bare = transport::bare(&line);
            let headed = Body { program: b"Daemon", has_header: true, ..bare };
            let named = Body { msgid: b"ASA-6-302013", data: b"[x y=\"1\"]", ..headed };
            for body in [bare, headed, named] {
                let fast = recogniser.of(&body, &mut lower, &mut hits);
                let text = String::from_utf8_lossy(&line);
                assert_eq!(fast, recogniser.of_slowly(&body), "{text}");
                recognised += usize::from(fast.is_some());
            }
        }
        assert!(recognised > 1_000, "{recognised}");
    }

    /// Guarantee: what a source is known for tells sooner what its records are, and nothing else.
    #[test]
    fn what_is_remembered_changes_no_answer() {
        let set = PackSet::builtin().unwrap();
        let mut names = DictionaryBuilder::new();
        set.register(&mut names);
        let known = |name: &String| set.packs.iter().any(|pack| pack.spec.pack == *name);
        assert!(set.packs.iter().flat_map(|pack| &pack.spec.recognise.unless).all(known));
        let recogniser = Recogniser::new(&set.packs, &names.build());
        let (mut lower, mut hits, mut sooner) = (Vec::new(), Hits::default(), 0);
        for line in lines() {
            let bare = transport::bare(&line);
            let headed = Body { program: b"Daemon", has_header: true, ..bare };
            // Programs that other packs name.
            let of_sshd = Body { program: b"sshd", ..headed };
            let of_haproxy = Body { program: b"haproxy", ..headed };
            for body in [bare, headed, of_sshd, of_haproxy] {
                let found = recogniser.of(&body, &mut lower, &mut hits).map(|(at, _)| at);
                for at in 0..set.packs.len() {
                    if recogniser.is_of(at, &body, &mut lower).is_some() {
                        let (text, pack) =
                            (String::from_utf8_lossy(&line), &set.packs[at].spec.pack);
                        assert_eq!(found, Some(at), "{pack}: {text}");
                        sooner += 1;
                    }
                }
            }
        }
        assert!(sooner > 1_000, "{sooner}");
    }
}
