//! Properties of the alert desk over generated histories.
#![allow(clippy::unwrap_used, reason = "tests")]

mod folding;
