//! Losses that tests ask for, so that it is seen that they are found. Not there in release builds.

use event::EventBatch;

/// Names a text: batches with a record that holds it are lost on their way to the store.
#[cfg(debug_assertions)]
const LOSE: &str = "ALCEDO_FAULT_LOSE";

/// Whether a batch is lost between detection and the store.
#[cfg(debug_assertions)]
pub fn loses(batch: &EventBatch) -> bool {
    static TEXT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let Some(text) = TEXT.get_or_init(|| std::env::var(LOSE).ok()) else { return false };
    let text = text.as_bytes();
    batch.rows().any(|row| row.raw().windows(text.len().max(1)).any(|window| window == text))
}

/// Whether a batch is lost between detection and the store: never.
#[cfg(not(debug_assertions))]
pub fn loses(_: &EventBatch) -> bool {
    false
}
