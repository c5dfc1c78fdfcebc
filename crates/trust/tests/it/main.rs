//! Properties of tokens and proofs over generated input.
#![allow(clippy::unwrap_used, reason = "tests")]

mod proofs;
mod tokens;
