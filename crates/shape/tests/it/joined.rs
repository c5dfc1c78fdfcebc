//! Hostile parts: joining and shaping what comes of it is total, and every record comes out once.

use super::Bench;
use event::{Envelope, Protocol};
use proptest::prelude::*;
use shape::joins::{Joins, LinesBy, Multiline, Part, Whole};
use std::cell::RefCell;
use std::sync::Arc;

/// Pieces of lines that look like parts, and bytes that do not.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"type=SYSCALL",
        b"type=EXECVE",
        b"type=PATH",
        b"type=PROCTITLE",
        b"type=1302",
        b"type=UNKNOWN[1327]",
        b" msg=audit(1.5:7): ",
        b" msg=audit(",
        b"node=h ",
        b"items=9223372036854775807",
        b" a0=\"x\" a1[0]=2D a1_len=9",
        b" name=\"",
        b"saddr=0200",
        b"CISE_X ",
        b"0001939187 ",
        b"2 1 ",
        b"2 0 ",
        b"256 255 ",
        b"<13>Mar  5 14:07:09 h ",
        b"\n",
        b"{\"a\":\"\\",
        b"}",
        b"[",
    ];
    let piece = prop_oneof![
        4 => proptest::sample::select(pieces).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(piece, 0..7).prop_map(|pieces| pieces.concat())
}

fn settings() -> Vec<Option<Multiline>> {
    let by = |by: Option<LinesBy>| by.map(|by| Multiline { by, wait_ns: 5 });
    let all = [LinesBy::starts("^t"), LinesBy::continues("^ "), Some(LinesBy::Json), None];
    all.into_iter().map(by).collect()
}

thread_local! {
    /// Compiled once: all packs take a second.
    static BENCH: RefCell<Bench> = RefCell::new(Bench::new());
}

proptest! {
    #[test]
    fn every_part_comes_out_once_and_is_shaped(lines in proptest::collection::vec(line(), 0..40)) {
        let envelope = Arc::new(Envelope::of("s", Protocol::SyslogTcp));
        for setting in settings() {
            let (mut joins, mut alone, mut out) = (Joins::default(), 0, Vec::<Whole>::new());
            for (offset, bytes) in lines.iter().enumerate() {
                let ns = offset as i64;
                let part = Part {
                    offset: offset as u64,
                    wall_ns: ns,
                    stream_ns: ns,
                    envelope: &envelope,
                    bytes,
                };
                alone += u64::from(joins.push(&part, setting.as_ref(), &mut out).is_none());
                if offset % 7 == 0 {
                    joins.expire(ns, &mut out);
                }
            }
            joins.finish(&mut out);
            prop_assert_eq!(alone + out.iter().map(|w| w.parts).sum::<u64>(), lines.len() as u64);
            BENCH.with_borrow_mut(|bench| {
                for whole in &out {
                    bench.clear();
                    bench.shape(&whole.bytes);
                    prop_assert!(!bench.batch.is_empty());
                }
                Ok(())
            })?;
        }
    }
}
