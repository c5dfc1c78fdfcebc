//! Unpacking, with one unpacker a thread: a search unpacks thousands of pieces, and making what unpacks
//! one costs more than unpacking it.

use std::cell::RefCell;
use zstd::bulk::Decompressor;

thread_local! {
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// What was packed as one frame of zstd. `size` is how long it is, or may be at most; the error says
/// what is wrong with it.
pub(crate) fn unpacked(packed: &[u8], size: usize) -> Result<Vec<u8>, String> {
    UNPACKER.with_borrow_mut(|unpacker| {
        let unpacker = match unpacker {
            Some(unpacker) => unpacker,
            None => unpacker.insert(Decompressor::new().map_err(|e| e.to_string())?),
        };
        unpacker.decompress(packed, size).map_err(|e| e.to_string())
    })
}

/// How long a frame says that it is.
pub(crate) fn told_size(packed: &[u8]) -> Option<u64> {
    zstd::zstd_safe::get_frame_content_size(packed).ok().flatten()
}
