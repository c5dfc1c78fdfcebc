//! RELP's frames: where one ends and the next begins, and how answers are written.
//!
//! ```text
//! 17 syslog 11 <34>1 hello\n      number of the transaction, command, length of the data, data, LF
//! 17 rsp 6 200 OK\n               an answer has the number of what it answers
//! 0 serverclose 0\n               number 0: a hint, which nobody answers
//! ```
//!
//! Pure: bytes in, frames out, no I/O. Each piece has a limit, and nothing is allocated on the word
//! of a length. Invariant: however the stream is cut into chunks, the same frames come out.

use std::io::Write;

/// Most digits of a number: that of the transaction, and the length of the data.
const DIGITS_MAX: usize = 9;

/// Longest command.
const COMMAND_BYTES_MAX: usize = 32;

/// Longest head of a frame: two numbers, a command, and a byte behind each.
const HEAD_BYTES_MAX: usize = DIGITS_MAX + 1 + COMMAND_BYTES_MAX + 1 + DIGITS_MAX + 1;

/// Tells a client that the server closes the connection.
pub const SERVERCLOSE: &[u8] = b"0 serverclose 0\n";

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Number of the transaction; 0 for hints, which are not answered.
    pub txnr: u32,
    /// The command, letters only.
    pub command: &'a [u8],
    /// The data, as far as the limit lets them be kept.
    pub data: &'a [u8],
    /// Bytes of the data beyond the limit; they are gone.
    pub left_out: u64,
}

/// The bytes are no frame. What follows cannot be told apart: the connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "these bytes are no RELP frame: {what}; is the sender set to RELP, with or without TLS as here?"
)]
pub struct Malformed {
    what: &'static str,
}

/// Cuts a byte stream into frames. Holds at most one incomplete frame.
#[derive(Debug)]
pub struct Framer {
    data_bytes_max: usize,
    /// An incomplete head.
    head: Vec<u8>,
    /// A frame whose head is complete.
    pending: Option<Pending>,
}

/// What a head says.
#[derive(Clone, Copy, Debug)]
struct Head {
    txnr: u32,
    command: [u8; COMMAND_BYTES_MAX],
    command_len: usize,
    data_len: usize,
    /// Without data the LF may follow the length at once.
    is_ended: bool,
}

#[derive(Debug)]
struct Pending {
    head: Head,
    data: Vec<u8>,
    /// Bytes of the data that have not come yet, those beyond the limit included.
    left: usize,
}

impl Framer {
    /// A framer at the start of a stream that keeps at most so many bytes of a frame's data.
    pub fn new(data_bytes_max: usize) -> Self {
        Self { data_bytes_max, head: Vec::new(), pending: None }
    }

    /// Takes the next bytes of the stream and calls `emit` for every frame that is now complete.
    ///
    /// # Errors
    /// [`Malformed`]: frames before it have been emitted, and the framer must not be used again.
    pub fn feed(&mut self, chunk: &[u8], mut emit: impl FnMut(Frame<'_>)) -> Result<(), Malformed> {
        let all = self.feed_while(chunk, |frame| {
            emit(frame);
            true
        });
        all.map(|_| ())
    }

    /// [`Framer::feed`] until `emit` answers false: it has enough for now. Out: the bytes behind the
    /// last frame, which are to be fed next.
    ///
    /// # Errors
    /// As [`Framer::feed`].
    pub fn feed_while<'a>(
        &mut self,
        chunk: &'a [u8],
        mut emit: impl FnMut(Frame<'_>) -> bool,
    ) -> Result<&'a [u8], Malformed> {
        let (mut rest, mut wants_more) = (chunk, true);
        while wants_more && !rest.is_empty() {
            let mut emit = |frame: Frame<'_>| wants_more = emit(frame);
            rest = match self.pending.take() {
                Some(pending) => self.go_on(pending, rest, &mut emit)?,
                None => self.begin(rest, &mut emit)?,
            };
        }
        Ok(rest)
    }

    /// Bytes of the incomplete frame held in memory.
    pub fn held_bytes(&self) -> usize {
        self.head.len() + self.pending.as_ref().map_or(0, |pending| pending.data.len())
    }

    /// Reads a head; a frame that is all there goes out without a copy. Out: what is left.
    fn begin<'a>(
        &mut self,
        bytes: &'a [u8],
        emit: &mut impl FnMut(Frame<'_>),
    ) -> Result<&'a [u8], Malformed> {
        let known = self.head.len();
        let read = if known == 0 {
            Head::read(bytes)?
        } else {
            let more = bytes.len().min(HEAD_BYTES_MAX - known);
            self.head.extend_from_slice(&bytes[..more]);
            Head::read(&self.head)?
        };
        let Some((head, used)) = read else {
            // Shorter than the longest head, or it would have been one or been refused.
            if known == 0 {
                self.head.extend_from_slice(bytes);
            }
            return Ok(&[]);
        };
        self.head.clear();
        let rest = &bytes[used - known..];
        if head.is_ended {
            emit(head.frame(&[]));
            return Ok(rest);
        }
        if head.data_len <= self.data_bytes_max
            && let Some((data, [trailer, rest @ ..])) = rest.split_at_checked(head.data_len)
        {
            check_trailer(*trailer)?;
            emit(head.frame(data));
            return Ok(rest);
        }
        self.pending = Some(Pending { head, data: Vec::new(), left: head.data_len });
        Ok(rest)
    }

    /// Takes more of a frame whose head is known. Out: what is left.
    fn go_on<'a>(
        &mut self,
        mut pending: Pending,
        bytes: &'a [u8],
        emit: &mut impl FnMut(Frame<'_>),
    ) -> Result<&'a [u8], Malformed> {
        let (data, rest) = bytes.split_at(pending.left.min(bytes.len()));
        let room = self.data_bytes_max.saturating_sub(pending.data.len());
        pending.data.extend_from_slice(&data[..data.len().min(room)]);
        pending.left -= data.len();
        let [trailer, rest @ ..] = rest else {
            self.pending = Some(pending);
            return Ok(rest);
        };
        check_trailer(*trailer)?;
        emit(pending.head.frame(&pending.data));
        Ok(rest)
    }
}

impl Head {
    /// The head at the start of `bytes`, with its length; `None` when there is not all of it.
    fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some((txnr, end)) = number(bytes)? else { return Ok(None) };
        if bytes[end] != b' ' {
            return Err(Malformed { what: "no space follows the number" });
        }
        let letters = &bytes[end + 1..];
        let command_len = letters.iter().take_while(|b| b.is_ascii_alphabetic()).count();
        if command_len > COMMAND_BYTES_MAX {
            return Err(Malformed { what: "the command is too long" });
        }
        match letters.get(command_len) {
            None => return Ok(None),
            Some(b' ') if command_len > 0 => {}
            Some(_) => return Err(Malformed { what: "a command has letters only" }),
        }
        let length_at = end + 1 + command_len + 1;
        let Some((data_len, end)) = number(&bytes[length_at..])? else { return Ok(None) };
        let end = length_at + end;
        let is_ended = match bytes[end] {
            b' ' => false,
            b'\n' if data_len == 0 => true,
            _ => return Err(Malformed { what: "no space follows the length" }),
        };
        let mut command = [0; COMMAND_BYTES_MAX];
        command[..command_len].copy_from_slice(&letters[..command_len]);
        let head = Self { txnr, command, command_len, data_len: data_len as usize, is_ended };
        Ok(Some((head, end + 1)))
    }

    fn frame<'a>(&'a self, data: &'a [u8]) -> Frame<'a> {
        Frame {
            txnr: self.txnr,
            command: &self.command[..self.command_len],
            data,
            left_out: (self.data_len - data.len()) as u64,
        }
    }
}

/// The number at the start of `bytes`, with the place behind it; `None` when it may go on.
fn number(bytes: &[u8]) -> Result<Option<(u32, usize)>, Malformed> {
    let digits = bytes.iter().take(DIGITS_MAX + 1).take_while(|b| b.is_ascii_digit());
    let (mut number, mut count) = (0u32, 0);
    for digit in digits {
        count += 1;
        if count > DIGITS_MAX {
            return Err(Malformed { what: "a number has more than nine digits" });
        }
        number = number * 10 + u32::from(digit - b'0');
    }
    match bytes.get(count) {
        None => Ok(None),
        Some(_) if count == 0 => Err(Malformed { what: "a number is missing" }),
        Some(_) => Ok(Some((number, count))),
    }
}

fn check_trailer(byte: u8) -> Result<(), Malformed> {
    match byte {
        b'\n' => Ok(()),
        _ => Err(Malformed { what: "no line feed follows the data" }),
    }
}

/// Appends the answer to a transaction: a code, a blank and a text of at most 80 letters, then what
/// the command has to be told, each on a line of its own.
pub fn answer(out: &mut Vec<u8>, txnr: u32, text: &str) {
    let _ = writeln!(out, "{txnr} rsp {} {text}", text.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (u32, String, Vec<u8>, u64);

    /// Frames, and what ended the stream.
    fn run(max: usize, chunks: &[&[u8]]) -> (Vec<Owned>, Result<(), Malformed>) {
        let mut out = Vec::new();
        let mut framer = Framer::new(max);
        for chunk in chunks {
            let fed = framer.feed(chunk, |frame| {
                let command = String::from_utf8(frame.command.to_vec()).unwrap();
                out.push((frame.txnr, command, frame.data.to_vec(), frame.left_out));
            });
            assert!(framer.held_bytes() <= max + HEAD_BYTES_MAX);
            if fed.is_err() {
                return (out, fed);
            }
        }
        (out, Ok(()))
    }

    fn frame(txnr: u32, command: &str, data: &str, left_out: u64) -> Owned {
        (txnr, command.to_owned(), data.as_bytes().to_vec(), left_out)
    }

    fn encoded((txnr, command, data, _): &Owned) -> Vec<u8> {
        let mut out = format!("{txnr} {command} {}", data.len()).into_bytes();
        if !data.is_empty() {
            out.push(b' ');
            out.extend_from_slice(data);
        }
        out.push(b'\n');
        out
    }

    #[test]
    fn a_session_is_cut_into_its_frames() {
        let stream =
            b"1 open 14 relp_version=1\n2 syslog 8 <34>a\nb\n\n3 close 0\n0 x 0 \n007 y 1  \n";
        let (frames, end) = run(1 << 10, &[stream]);
        let want = [
            frame(1, "open", "relp_version=1", 0),
            frame(2, "syslog", "<34>a\nb\n", 0),
            frame(3, "close", "", 0),
            frame(0, "x", "", 0),
            frame(7, "y", " ", 0),
        ];
        assert_eq!((frames.as_slice(), end), (&want[..], Ok(())));
    }

    #[test]
    fn who_has_enough_gets_the_rest_back() {
        let mut framer = Framer::new(1 << 10);
        let mut seen = Vec::new();
        let mut rest = &b"1 a 0\n2 syslog 3 abc\n3 b 0\n4 syslog 9 ab"[..];
        let mut rests = Vec::new();
        while !rest.is_empty() {
            let one = |frame: Frame<'_>| {
                seen.push(frame.txnr);
                false
            };
            rest = framer.feed_while(rest, one).unwrap();
            rests.push(rest.len());
        }
        assert_eq!((seen, rests), (vec![1, 2, 3], vec![34, 19, 13, 0]));
    }

    #[test]
    fn data_over_the_limit_are_cut_and_the_next_frame_survives() {
        let (frames, end) = run(4, &[b"1 syslog 7 abcdefg\n2 syslog 4 hijk\n3 syslog 5 lmnop\n"]);
        let want = [
            frame(1, "syslog", "abcd", 3),
            frame(2, "syslog", "hijk", 0),
            frame(3, "syslog", "lmno", 1),
        ];
        assert_eq!((frames.as_slice(), end), (&want[..], Ok(())));
    }

    #[test]
    fn what_is_no_frame_ends_the_stream_after_the_frames_before_it() {
        let long = "a".repeat(33);
        for wrong in [
            "<34>1 hello\n",
            "\n",
            " 1 syslog 1 a\n",
            "1  syslog 1 a\n",
            "1000000000 syslog 1 a\n",
            "1 syslog 1000000000 a\n",
            "1 syslog -1 a\n",
            "1 syslog 1\n",
            "1 syslog a\n",
            "1 sys2log 1 a\n",
            "1\tsyslog 1 a\n",
            "1 syslog 1 ab\n",
            "1 syslog 0 a\n",
            "\x16\x03\x01\x02\0",
            &format!("1 {long} 0\n"),
            &long,
        ] {
            let stream = format!("5 close 0\n{wrong}");
            let (frames, end) = run(1 << 10, &[stream.as_bytes()]);
            assert_eq!(frames, [frame(5, "close", "", 0)], "{wrong:?}");
            assert!(end.is_err(), "{wrong:?}");
        }
        let longest = format!("999999999 {} 999999999 ", "a".repeat(32));
        assert_eq!(run(1 << 10, &[longest.as_bytes()]), (vec![], Ok(())));
    }

    #[test]
    fn memory_is_bounded_whatever_length_is_claimed() {
        let mut framer = Framer::new(1 << 10);
        framer.feed(b"1 syslog 999999999 ", |_| panic!("no frame")).unwrap();
        for _ in 0..10_000 {
            framer.feed(&[b'x'; 1000], |_| panic!("no frame")).unwrap();
            assert!(framer.held_bytes() <= 1 << 10);
        }
        let mut framer = Framer::new(1 << 10);
        let fed: Vec<_> = (0..20).map(|_| framer.feed(b"1", |_| panic!("no frame"))).collect();
        assert!(fed[..9].iter().all(Result::is_ok) && fed[9].is_err());
    }

    #[test]
    fn answers_are_frames() {
        let mut out = Vec::new();
        answer(&mut out, 17, "200 OK");
        assert_eq!(out, b"17 rsp 6 200 OK\n");
        out.extend_from_slice(SERVERCLOSE);
        let want = [frame(17, "rsp", "200 OK", 0), frame(0, "serverclose", "", 0)];
        assert_eq!(run(1 << 10, &[&out]).0, want);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_frames(
            stream in prop::collection::vec(
                prop::sample::select(vec![
                    "1 syslog 3 abc\n", "2 syslog 12 <1>long\ndata\n", "3 close 0\n", "0 hint 0 \n",
                    "4 syslog 30 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", "1", " ", "\n", "syslog", "5 a 0",
                    "000000000", "\u{fe}",
                ]), 0..40),
            cuts in prop::collection::vec(1usize..9, 1..40),
        ) {
            let stream = stream.concat().into_bytes();
            let chunks = testkit::cut(&stream, &cuts);
            prop_assert_eq!(run(8, &chunks), run(8, &[&stream]));
        }

        #[test]
        fn any_bytes_end_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = run(16, &[&bytes]);
        }

        #[test]
        fn what_was_written_is_read(
            frames in prop::collection::vec(
                (0u32..1_000_000_000, "[a-zA-Z]{1,32}", prop::collection::vec(any::<u8>(), 0..40), Just(0u64)),
                0..20),
        ) {
            let stream: Vec<u8> = frames.iter().flat_map(encoded).collect();
            prop_assert_eq!(run(40, &[&stream]), (frames, Ok(())));
        }
    }
}
