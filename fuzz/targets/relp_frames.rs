//! Any bytes as RELP, whole and in pieces: the same frames, the same end, bounded memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relp_framing::Framer;

/// The file alone: it needs nothing of its room, whose TLS and HTTP clients every target would build.
#[allow(dead_code)]
#[path = "../../crates/io/src/relp_framing.rs"]
mod relp_framing;

/// Far below what a frame may claim, so that messages over the limit are met.
const DATA_BYTES_MAX: usize = 64;
/// Above the longest head of a frame.
const HEAD_BYTES_MAX: usize = 64;

type Frames = Vec<(u32, Vec<u8>, Vec<u8>, u64)>;

fn run<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Frames, bool) {
    let (mut framer, mut frames) = (Framer::new(DATA_BYTES_MAX), Vec::new());
    for chunk in chunks {
        let fed = framer.feed(chunk, |frame| {
            frames.push((frame.txnr, frame.command.to_vec(), frame.data.to_vec(), frame.left_out));
        });
        assert!(framer.held_bytes() <= DATA_BYTES_MAX + HEAD_BYTES_MAX);
        if fed.is_err() {
            return (frames, false);
        }
    }
    (frames, true)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((step, stream)) = bytes.split_first() else { return };
    let pieces = stream.chunks(1 + usize::from(*step));
    assert_eq!(run(std::iter::once(stream)), run(pieces));
});
