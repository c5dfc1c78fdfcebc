//! Syslog over a byte stream (RFC 6587, RFC 5425): where one message ends and the next begins.
//!
//! Octet counting (`51 <34>1 ...`) and newline framing are told apart for every frame, because
//! real senders mix them behind one load balancer. Pure: bytes in, frames out, no I/O.
//!
//! ```text
//! frame starts with 1-9, up to 10 digits, a space, and a plausible count  -> counted
//! anything else                                                           -> up to the next LF
//! ```
//!
//! Invariant: however the stream is cut into chunks, the same frames come out.

/// Largest frame a listener can be configured to: the limit on one expanded event.
pub const FRAME_BYTES_CEILING: usize = 64 << 20;

/// Default of [`Limits::frame_bytes_max`]: far above any syslog sender's own limit, low enough
/// that a thousand connections with a half-sent frame each do not exhaust memory.
pub const FRAME_BYTES_MAX_DEFAULT: usize = 1 << 20;

/// Most digits a count may have. A larger number is not a count but a line that starts with one.
const COUNT_DIGITS_MAX: usize = 10;

/// Buffer kept between frames; a longer one, grown by one long frame, is given back.
const KEPT_CAPACITY: usize = 16 << 10;

/// How messages are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Per frame (see the module's text).
    #[default]
    Auto,
    /// Newlines only; for senders whose continuation lines start with digits.
    Newline,
}

/// Limits of a [`Framer`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest frame that is delivered; a longer one is skipped to its end and reported.
    pub frame_bytes_max: usize,
    /// How messages are told apart.
    pub mode: Mode,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frame_bytes_max: FRAME_BYTES_MAX_DEFAULT, mode: Mode::Auto }
    }
}

/// What comes out of a [`Framer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// One message without its trailing LF, CR and NUL bytes; never empty.
    Message(&'a [u8]),
    /// A message over the limit ended; it had this many bytes and none were kept.
    Oversize {
        /// Bytes skipped.
        bytes: u64,
    },
    /// The stream ended inside a message; this is what had arrived of it.
    CutOff(&'a [u8]),
}

/// Cuts a byte stream into frames. Holds at most one incomplete frame.
#[derive(Debug)]
pub struct Framer {
    limits: Limits,
    /// Bytes of the incomplete frame.
    held: Vec<u8>,
    /// How many bytes of `held` are known to contain no LF.
    scanned: usize,
    skip: Skip,
}

/// What is left of a frame over the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    Nothing,
    Counted { left: u64, bytes: u64 },
    ToNewline { bytes: u64 },
}

/// What the start of a frame says.
enum Head {
    /// Header of `header` bytes, then `count` bytes.
    Counted {
        header: usize,
        count: usize,
    },
    Line,
    /// Digits only so far: more bytes decide.
    Undecided,
}

impl Framer {
    /// A framer at the start of a stream. Limits are capped at [`FRAME_BYTES_CEILING`].
    pub fn new(limits: Limits) -> Self {
        let frame_bytes_max = limits.frame_bytes_max.clamp(1, FRAME_BYTES_CEILING);
        let limits = Limits { frame_bytes_max, ..limits };
        Self { limits, held: Vec::new(), scanned: 0, skip: Skip::Nothing }
    }

    /// Takes the next bytes of the stream and calls `emit` for every frame that is now complete.
    pub fn feed(&mut self, chunk: &[u8], mut emit: impl FnMut(Frame<'_>)) {
        if self.held.is_empty() {
            // The usual case: whole frames in one read, handed over without a copy.
            let used = self.cut(chunk, &mut emit);
            self.held.extend_from_slice(&chunk[used..]);
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(chunk);
            let used = self.cut(&held, &mut emit);
            held.drain(..used);
            if held.is_empty() && held.capacity() > KEPT_CAPACITY {
                held = Vec::new();
            }
            self.held = held;
        }
    }

    /// The stream ended: what is held comes out, a line without LF as a whole message (many
    /// senders leave the last one off), an incomplete counted frame or skip as cut off.
    pub fn finish(&mut self, mut emit: impl FnMut(Frame<'_>)) {
        match std::mem::replace(&mut self.skip, Skip::Nothing) {
            Skip::Nothing => {}
            Skip::Counted { left, bytes } => emit(Frame::Oversize { bytes: bytes - left }),
            Skip::ToNewline { bytes } => emit(Frame::Oversize { bytes }),
        }
        let held = std::mem::take(&mut self.held);
        self.scanned = 0;
        match self.head(&held) {
            Head::Counted { header, .. } => {
                let rest = trim(&held[header..]);
                if !rest.is_empty() {
                    emit(Frame::CutOff(rest));
                }
            }
            Head::Line | Head::Undecided => {
                let line = trim(&held);
                if !line.is_empty() {
                    emit(Frame::Message(line));
                }
            }
        }
    }

    /// Bytes of the incomplete frame held in memory.
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// Cuts complete frames off the front of `data`; returns how many bytes are used up.
    fn cut(&mut self, data: &[u8], emit: &mut impl FnMut(Frame<'_>)) -> usize {
        let mut at = 0;
        loop {
            at += self.pass_skip(&data[at..], emit);
            if self.skip != Skip::Nothing {
                return data.len();
            }
            if self.scanned == 0 {
                // Separators between frames: LF after a counted frame, NUL trailers.
                at += data[at..].iter().take_while(|b| matches!(b, b'\n' | b'\r' | 0)).count();
            }
            let rest = &data[at..];
            let taken = match self.head(rest) {
                Head::Undecided => return at,
                Head::Counted { header, count } => self.cut_counted(rest, header, count, emit),
                Head::Line => self.cut_line(rest, emit),
            };
            match taken {
                Some(n) => at += n,
                None => return at,
            }
        }
    }

    /// Uses up bytes of a frame that is being skipped.
    fn pass_skip(&mut self, data: &[u8], emit: &mut impl FnMut(Frame<'_>)) -> usize {
        match self.skip {
            Skip::Nothing => 0,
            Skip::Counted { left, bytes } => {
                let used = data.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - used as u64;
                self.skip = Skip::Counted { left, bytes };
                if left == 0 {
                    self.skip = Skip::Nothing;
                    emit(Frame::Oversize { bytes });
                }
                used
            }
            Skip::ToNewline { bytes } => match memchr::memchr(b'\n', data) {
                Some(end) => {
                    self.skip = Skip::Nothing;
                    emit(Frame::Oversize { bytes: bytes + end as u64 });
                    end + 1
                }
                None => {
                    self.skip = Skip::ToNewline { bytes: bytes + data.len() as u64 };
                    data.len()
                }
            },
        }
    }

    fn cut_counted(
        &mut self,
        rest: &[u8],
        header: usize,
        count: usize,
        emit: &mut impl FnMut(Frame<'_>),
    ) -> Option<usize> {
        if count > self.limits.frame_bytes_max {
            self.skip = Skip::Counted { left: count as u64, bytes: count as u64 };
            return Some(header);
        }
        let message = rest.get(header..header + count)?;
        let message = trim(message);
        if !message.is_empty() {
            emit(Frame::Message(message));
        }
        Some(header + count)
    }

    fn cut_line(&mut self, rest: &[u8], emit: &mut impl FnMut(Frame<'_>)) -> Option<usize> {
        let Some(end) = memchr::memchr(b'\n', &rest[self.scanned..]) else {
            self.scanned = rest.len();
            if rest.len() > self.limits.frame_bytes_max {
                self.scanned = 0;
                self.skip = Skip::ToNewline { bytes: rest.len() as u64 };
                return Some(rest.len());
            }
            return None;
        };
        let end = self.scanned + end;
        self.scanned = 0;
        if end > self.limits.frame_bytes_max {
            emit(Frame::Oversize { bytes: end as u64 });
        } else {
            let message = trim(&rest[..end]);
            if !message.is_empty() {
                emit(Frame::Message(message));
            }
        }
        Some(end + 1)
    }

    fn head(&self, data: &[u8]) -> Head {
        match data.first() {
            None => return Head::Undecided,
            Some(b'1'..=b'9') if self.limits.mode == Mode::Auto => {}
            Some(_) => return Head::Line,
        }
        let digits = data.iter().take(COUNT_DIGITS_MAX + 1).take_while(|b| b.is_ascii_digit());
        let (mut count, mut header) = (0u64, 0usize);
        for digit in digits {
            count = count * 10 + u64::from(digit - b'0');
            header += 1;
        }
        if header > COUNT_DIGITS_MAX {
            return Head::Line;
        }
        match data.get(header) {
            None => Head::Undecided,
            // A "count" above the ceiling is a line that starts with a number, such as a Unix
            // timestamp; skipping gigabytes on its word would lose the stream.
            Some(b' ') if count <= FRAME_BYTES_CEILING as u64 => {
                Head::Counted { header: header + 1, count: count as usize }
            }
            Some(_) => Head::Line,
        }
    }
}

/// A message without the LF, CR and NUL bytes at its end.
pub fn trim(message: &[u8]) -> &[u8] {
    let end = message.iter().rposition(|b| !matches!(b, b'\n' | b'\r' | 0));
    &message[..end.map_or(0, |i| i + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Owned {
        Message(Vec<u8>),
        Oversize(u64),
        CutOff(Vec<u8>),
    }

    fn run(limits: Limits, chunks: &[&[u8]]) -> Vec<Owned> {
        let mut out = Vec::new();
        let mut framer = Framer::new(limits);
        let mut keep = |f: Frame<'_>| {
            out.push(match f {
                Frame::Message(m) => Owned::Message(m.to_vec()),
                Frame::Oversize { bytes } => Owned::Oversize(bytes),
                Frame::CutOff(m) => Owned::CutOff(m.to_vec()),
            });
        };
        for chunk in chunks {
            framer.feed(chunk, &mut keep);
        }
        framer.finish(&mut keep);
        out
    }

    fn message(text: &str) -> Owned {
        Owned::Message(text.as_bytes().to_vec())
    }

    fn small() -> Limits {
        Limits { frame_bytes_max: 16, ..Limits::default() }
    }

    #[test]
    fn both_framings_on_one_stream() {
        let got = run(Limits::default(), &[b"<1>a\n5 <2>bc<3>d\r\n\0\n6 <4>e\n\n<5>f"]);
        let want = ["<1>a", "<2>bc", "<3>d", "<4>e", "<5>f"].map(message);
        assert_eq!(got, want);
    }

    #[test]
    fn counted_frames_keep_inner_newlines_and_any_bytes() {
        let got = run(Limits::default(), &[b"8 <1>a\nb\xff\nc"]);
        assert_eq!(got, [Owned::Message(b"<1>a\nb\xff".to_vec()), message("c")]);
    }

    #[test]
    fn numbers_that_are_no_counts_start_lines() {
        for line in ["2024-01-01 up", "1700000000 host up", "99999999999 x", "12", "0 x", "123456"]
        {
            let stream = format!("{line}\n<1>z\n");
            let got = run(Limits::default(), &[stream.as_bytes()]);
            assert_eq!(got, [message(line), message("<1>z")], "{line}");
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_reported_and_the_next_one_survives() {
        let got = run(small(), &[b"20 <1>aaaaaaaaaaaaaaaaa<2>b\n"]);
        assert_eq!(got, [Owned::Oversize(20), message("<2>b")]);
        let got = run(small(), &[b"<1>aaaaaaaaaaaaaaaaaaaa\n3 <2>"]);
        assert_eq!(got, [Owned::Oversize(23), message("<2>")]);
        let exact = run(small(), &[b"<1>0123456789abc\n"]);
        assert_eq!(exact, [message("<1>0123456789abc")]);
    }

    #[test]
    fn the_end_of_the_stream_gives_up_what_is_held() {
        assert_eq!(run(Limits::default(), &[b"<1>no lf"]), [message("<1>no lf")]);
        let cut = run(Limits::default(), &[b"9 <1>a"]);
        assert_eq!(cut, [Owned::CutOff(b"<1>a".to_vec())]);
        assert_eq!(run(small(), &[b"20 <1>a"]), [Owned::Oversize(4)]);
        assert_eq!(run(small(), &[b""]), []);
    }

    #[test]
    fn newline_mode_takes_digits_as_text() {
        let limits = Limits { mode: Mode::Newline, ..Limits::default() };
        assert_eq!(run(limits, &[b"3 apples\nx\n"]), [message("3 apples"), message("x")]);
    }

    #[test]
    fn memory_of_an_endless_line_is_bounded() {
        let mut framer = Framer::new(small());
        for _ in 0..1000 {
            framer.feed(&[b'x'; 100], |_| panic!("no frame"));
            assert!(framer.held_bytes() <= 16 + 100);
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_frames(
            stream in prop::collection::vec(
                prop::sample::select(vec![
                    "\n", "5 ", "20 ", "<1>", "abc", "7", "\0", "\r\n", " ", "00000000000",
                    "xxxxxxxxxxxxxxxxxxxxx", "\u{fe}",
                ]), 0..40),
            cuts in prop::collection::vec(1usize..9, 1..40),
        ) {
            let stream = stream.concat().into_bytes();
            let chunks = testkit::cut(&stream, &cuts);
            prop_assert_eq!(run(small(), &chunks), run(small(), &[&stream]));
        }

        #[test]
        fn counted_messages_come_back(messages in prop::collection::vec("<[0-9]{1,3}>[a-z \n]{0,8}[a-z]", 0..20)) {
            let stream: String = messages.iter().map(|m| format!("{} {m}", m.len())).collect();
            let want: Vec<_> = messages.iter().map(|m| message(m)).collect();
            prop_assert_eq!(run(Limits::default(), &[stream.as_bytes()]), want);
        }
    }
}
