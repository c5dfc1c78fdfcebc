//! What looking may cost: nobody may make the redaction of one row take long. Where it would, the record is
//! withheld.

/// Steps that every row may take; one is some ten nanoseconds. Ordinary records never need so many.
const STEPS_MIN: usize = 1 << 20;
/// Further steps for each byte of the record, so that eight MiB take a second or two at most.
const STEPS_PER_BYTE: usize = 16;
/// A step is a character that is compared, or so many bytes among which none begins a value.
const BYTES_PER_STEP: usize = 8;
/// Bytes that searches for secrets may run over in any row, besides once over every text: which secret is next may
/// be known only at the end of the text. Some milliseconds.
const SEARCHED_BYTES_MIN: usize = 2 << 20;
/// Further such bytes for each byte of the record.
const SEARCHED_PER_BYTE: usize = 32;
/// Most places of one record at which something is replaced: each is a piece of memory of its own.
const PLACES_MAX: usize = 4_096;

/// There is more to do for a row than one row may ask for.
#[derive(Debug)]
pub(super) struct TooMuch;

/// What may still be done for a row.
pub(super) struct Effort {
    steps: usize,
    searched_bytes: usize,
    places: usize,
}

impl Effort {
    /// For a row whose record has so many bytes.
    pub(super) fn of(record_bytes: usize) -> Self {
        Self {
            steps: STEPS_MIN.saturating_add(record_bytes.saturating_mul(STEPS_PER_BYTE)),
            searched_bytes: SEARCHED_BYTES_MIN
                .saturating_add(record_bytes.saturating_mul(SEARCHED_PER_BYTE)),
            places: PLACES_MAX,
        }
    }

    /// A value is looked for in a text of so many bytes.
    pub(super) fn pass(&mut self, bytes: usize) -> Result<(), TooMuch> {
        self.compare(1 + bytes / BYTES_PER_STEP)
    }

    /// So many characters are compared.
    pub(super) fn compare(&mut self, characters: usize) -> Result<(), TooMuch> {
        take(&mut self.steps, characters)
    }

    /// A secret was found; so many bytes were looked at for it.
    pub(super) fn search_on(&mut self, bytes: usize) -> Result<(), TooMuch> {
        take(&mut self.searched_bytes, bytes)
    }

    /// Something is replaced at so many places of the record.
    pub(super) fn places(&mut self, count: usize) -> Result<(), TooMuch> {
        take(&mut self.places, count)
    }
}

fn take(left: &mut usize, wanted: usize) -> Result<(), TooMuch> {
    *left = left.checked_sub(wanted).ok_or(TooMuch)?;
    Ok(())
}
