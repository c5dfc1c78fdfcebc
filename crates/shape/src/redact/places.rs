//! Where values stand: in fields that were not chosen, and in the record.

use super::classes::Class;
use super::edits::Record;
use super::effort::{Effort, TooMuch};
use super::plot::{Change, Found, Plot};
use super::secrets::Secret;
use super::{Redactor, Scratch, TELLING_BYTES_MIN, VALUES_MAX, occurrences, words};
use crate::value;
use event::batch::is_reserved;
use event::{Kind, RowWriter};
use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

/// Hexadecimal digits of both cases.
const HEX: [&[u8; 16]; 2] = [b"0123456789ABCDEF", b"0123456789abcdef"];
/// Digits of fewer bytes may stand for anything.
const CODED_BYTES_MIN: usize = 4;
/// So much of what stands in front of a secret tells it from other text.
const LEAD_BYTES_MAX: usize = 64;

/// A secret of a text that is no piece of the record, by which the record's own spelling of it is found.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hidden<'a> {
    lead: &'a [u8],
    value: &'a [u8],
}

impl<'a> Hidden<'a> {
    pub(super) fn of(text: &'a [u8], secret: &Secret) -> Self {
        let range = &secret.range;
        let far = range.start.saturating_sub(LEAD_BYTES_MAX).max(secret.lead.min(range.start));
        let is_within = |byte: &&u8| **byte & 0xc0 == 0x80;
        let from = far + text[far..range.start].iter().take_while(is_within).count();
        Self { lead: &text[from..range.start], value: &text[range.clone()] }
    }
}

impl Redactor {
    /// Takes secrets that were found in texts out of the record: those that stand there behind the same name, or
    /// else wherever they are a word, but for pieces of which fields are made that tell what happened.
    pub(super) fn in_record_too(
        &self,
        row: &RowWriter<'_>,
        record: &Record<'_>,
        hidden: BTreeMap<Hidden<'_>, Box<str>>,
        effort: &mut Effort,
        plot: &mut Plot,
    ) -> Result<(), TooMuch> {
        let guarded = LazyCell::new(|| {
            let classes = self.classes_of(row, false);
            let guarded = classes.iter().enumerate().filter(|(_, class)| **class == Class::Guarded);
            disjoint(guarded.filter_map(|(at, _)| row.raw_range(at)).collect())
        });
        for (Hidden { lead, value }, text) in hidden {
            let mut spans = Vec::new();
            if !lead.is_empty() {
                occurrences::behind(record.bytes, (lead, value), effort, &mut spans)?;
            }
            let is_telling = value.len() >= TELLING_BYTES_MIN && !words::is_common(value);
            if spans.is_empty() && is_telling {
                spans = in_record(record, value, &guarded, effort)?;
            }
            effort.places(spans.len())?;
            plot.edits.extend(spans.into_iter().map(|span| record.edit(span, &text)));
            in_digits(record, (value, &text), effort, plot)?;
        }
        Ok(())
    }

    /// Where the values stand: in other fields, in the record.
    pub(super) fn places(
        &self,
        row: &RowWriter<'_>,
        record: &Record<'_>,
        effort: &mut Effort,
        plot: &mut Plot,
    ) -> Result<(), TooMuch> {
        // Most rows have only values that are not looked for elsewhere.
        let is_withheld = plot.is_withheld;
        let classes = LazyCell::new(|| self.classes_of(row, is_withheld));
        let classes = || classes.as_slice();
        spellings(row, &classes, plot);
        let found = std::mem::take(&mut plot.found);
        let mut has_span = vec![false; found.len()];
        for (at, place) in &plot.taken {
            if let Some(span) = plot.span(row, *at) {
                effort.places(1)?;
                plot.edits.push(record.edit(span, &found[*place].text));
                has_span[*place] = true;
            }
        }
        let mut searches = 0;
        for (found, has_span) in found.iter().zip(has_span) {
            let is_unclear = || {
                words::is_common(&found.value) || is_ambiguous(row, classes(), plot, &found.value)
            };
            let in_place = found.in_place || !found.everywhere && is_unclear();
            if in_place && (has_span || plot.is_withheld) {
                continue;
            }
            // What was decoded can only be found by looking for it.
            searches += 1;
            if searches > VALUES_MAX && !plot.is_withheld {
                return Err(TooMuch);
            }
            let guarded = match in_place {
                true => Vec::new(),
                false => others(row, record, (found, classes()), effort, plot)?,
            };
            if !plot.is_withheld {
                let mut spans = in_record(record, &found.value, &disjoint(guarded), effort)?;
                if spans.is_empty() && !has_span {
                    // Audit records write texts with blanks and quotes as hexadecimal digits.
                    let digits = hex(&found.value, HEX[0]);
                    occurrences::all(record.bytes, digits.as_bytes(), effort, &mut spans)?;
                }
                effort.places(spans.len())?;
                plot.edits.extend(spans.into_iter().map(|span| record.edit(span, &found.text)));
            }
        }
        plot.found = found;
        Ok(())
    }

    /// Masks all that could hold values which are not known: fields that tell what happened stay, unless a rule
    /// reaches those, too.
    pub(super) fn blank(
        &self,
        row: &RowWriter<'_>,
        active: u64,
        scratch: &mut Scratch,
        plot: &mut Plot,
    ) {
        let rules = self.by_names & active;
        let mut named =
            self.redaction.rules.iter().enumerate().filter(|(at, _)| rules >> at & 1 == 1);
        let everywhere = named.any(|(_, rule)| rule.everywhere);
        plot.rules |= rules;
        for at in 0..row.cell_count() {
            let (field, value) = row.cell(at);
            let is_guarded = self.class(row, field) == Class::Guarded;
            let stays = is_guarded && (!everywhere || is_reserved(row.name(field)));
            let is_plain = matches!(value.kind, Kind::Null | Kind::Bool) || value.bytes.is_empty();
            if stays || is_plain || plot.is_taken(at) || self.is_done(value.bytes) {
                continue;
            }
            plot.note(field, rules);
            plot.set(at, Change::Whole(self.text(value.bytes, super::Form::Mask, scratch)));
        }
    }
}

/// Takes a value out of the fields that were not chosen. Out: the pieces of the record that
/// have to stay because fields that tell what happened are made of them.
fn others(
    row: &RowWriter<'_>,
    record: &Record<'_>,
    (found, classes): (&Found, &[Class]),
    effort: &mut Effort,
    plot: &mut Plot,
) -> Result<Vec<Range<usize>>, TooMuch> {
    let mut guarded = Vec::new();
    for (at, class) in classes.iter().enumerate() {
        if plot.is_taken(at) {
            continue;
        }
        let cell = row.cell(at).1;
        let span = plot.span(row, at);
        let class = if found.everywhere { Class::Text } else { *class };
        let part = match class {
            Class::Who | Class::Twin => match part_of(cell.bytes, &found.value, effort) {
                Err(TooMuch) if plot.is_withheld => {
                    plot.mask(at);
                    continue;
                }
                part => part?,
            },
            _ => None,
        };
        match (class, part, span) {
            (_, Some(part), Some(span)) => {
                let part = span.start + part.start..span.start + part.end;
                effort.places(1)?;
                plot.edits.push(record.edit(part, &found.text));
            }
            (_, Some(part), None) => {
                plot.put(at, cell.bytes.len(), &part, &found.text);
            }
            (Class::Guarded, None, span) => guarded.extend(span),
            // Its place in the record is looked at with the rest of it.
            (_, None, Some(_)) | (Class::Twin, None, None) => {}
            (_, None, None) => {
                let mut spans = Vec::new();
                let looked = occurrences::all(cell.bytes, &found.value, effort, &mut spans);
                if looked.is_err() {
                    plot.mask(at);
                }
                for span in &spans {
                    plot.put(at, cell.bytes.len(), span, &found.text);
                }
            }
        }
    }
    Ok(guarded)
}

/// Where a value stands in the record as a word, but for the pieces that have to stay.
fn in_record(
    record: &Record<'_>,
    value: &[u8],
    guarded: &[Range<usize>],
    effort: &mut Effort,
) -> Result<Vec<Range<usize>>, TooMuch> {
    let mut spans = Vec::new();
    occurrences::all(record.bytes, value, effort, &mut spans)?;
    spans.retain(|span| {
        let behind = guarded.partition_point(|g| g.end <= span.start);
        guarded.get(behind).is_none_or(|g| g.start >= span.end)
    });
    Ok(spans)
}

/// Takes a value out of hexadecimal digits that stand for a text with it.
fn in_digits(
    record: &Record<'_>,
    (value, text): (&[u8], &str),
    effort: &mut Effort,
    plot: &mut Plot,
) -> Result<(), TooMuch> {
    if value.len() < CODED_BYTES_MIN {
        return Ok(());
    }
    for digits in HEX {
        effort.pass(record.bytes.len())?;
        let wanted = hex(value, digits);
        for at in memchr::memmem::find_iter(record.bytes, &wanted) {
            effort.places(1)?;
            plot.edits.push(record.edit(at..at + wanted.len(), &hex(text.as_bytes(), digits)));
        }
    }
    Ok(())
}

/// An address is written in more than one way: other fields that hold the same one are taken,
/// too.
fn spellings<'c>(row: &RowWriter<'_>, classes: &dyn Fn() -> &'c [Class], plot: &mut Plot) {
    let is_v6 = |f: &Found| value::parse_ip(&f.value).filter(IpAddr::is_ipv6);
    let found = plot.found.iter().take(VALUES_MAX).enumerate();
    let known: Vec<(IpAddr, usize)> = found.filter_map(|(at, f)| Some((is_v6(f)?, at))).collect();
    if known.is_empty() {
        return;
    }
    for (at, class) in classes().iter().enumerate() {
        let cell = row.cell(at).1.bytes;
        let may_be =
            cell.len() <= crate::value::ADDRESS_BYTES_MAX && memchr::memchr(b':', cell).is_some();
        if !may_be || *class == Class::Guarded || plot.is_taken(at) {
            continue;
        }
        let address = value::parse_ip(cell);
        if let Some((_, place)) = known.iter().find(|(known, _)| Some(*known) == address) {
            let Found { text, everywhere, in_place, .. } = &plot.found[*place];
            let (text, everywhere, in_place) = (text.clone(), *everywhere, *in_place);
            let place = plot.add(Found { value: cell.into(), text, everywhere, in_place });
            plot.take(at, place);
        }
    }
}

/// Whether a field that tells what happened has the same value: then it is not clear what the
/// record means with it.
fn is_ambiguous(row: &RowWriter<'_>, classes: &[Class], plot: &Plot, value: &[u8]) -> bool {
    let guarded = classes.iter().enumerate().filter(|(_, class)| **class == Class::Guarded);
    let mut others = guarded.map(|(at, _)| at).filter(|at| !plot.is_taken(*at));
    others.any(|at| row.cell(at).1.bytes.eq_ignore_ascii_case(value))
}

/// The part of a cell that is the value: all of it, behind `DOMAIN\`, before `@domain` or `:port`.
///
/// # Errors
/// It takes longer than one row may ask for.
fn part_of(
    cell: &[u8],
    value: &[u8],
    effort: &mut Effort,
) -> Result<Option<Range<usize>>, TooMuch> {
    if occurrences::same(cell, value, effort)? {
        return Ok(Some(0..cell.len()));
    }
    if cell.len() <= value.len() {
        return Ok(None);
    }
    let fits = |range: &Range<usize>| {
        let (before, after) = (&cell[..range.start], &cell[range.end..]);
        let starts = before.is_empty() || before.ends_with(b"\\") || before == b"::ffff:";
        let ends = match after {
            [] | [b'@', ..] => true,
            [b':', port @ ..] => port.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        starts && ends
    };
    let behind = memchr::memrchr(b'\\', cell).map_or(0, |at| at + 1);
    let starts = [0, behind, if cell.starts_with(b"::ffff:") { 7 } else { 0 }];
    let ranges = starts.into_iter().map(|start| start..start + value.len());
    for range in ranges.filter(|range| range.end <= cell.len() && fits(range)) {
        if occurrences::same(&cell[range.clone()], value, effort)? {
            return Ok(Some(range));
        }
    }
    Ok(None)
}

/// The same places in order, those that touch or overlap as one.
fn disjoint(mut places: Vec<Range<usize>>) -> Vec<Range<usize>> {
    places.sort_unstable_by_key(|place| place.start);
    places.dedup_by(|next, kept| {
        let touches = next.start <= kept.end;
        if touches {
            kept.end = kept.end.max(next.end);
        }
        touches
    });
    places
}

fn hex(value: &[u8], digits: &[u8; 16]) -> String {
    let of = |nibble: u8| char::from(digits[usize::from(nibble)]);
    value.iter().flat_map(|byte| [of(byte >> 4), of(byte & 15)]).collect()
}
