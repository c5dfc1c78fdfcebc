//! Who may do what, and how anybody can check that nothing was changed.
//!
//! ```text
//! request: token or session --verify--> Principal --may(Permission)--> POLICY --> yes | no
//!
//! record: SHA-256(0x00 || envelope || raw) = leaf --\
//!         leaves of one offset range               --> range root -> line of sealed.log -> log root
//! ```
//!
//! Invariants
//! - Denied unless one table, [`POLICY`], says otherwise.
//! - Secrets are kept as SHA-256 only, compared in constant time, and have no `Debug`.
//! - Merkle hashing is RFC 6962's (leaf prefix 0x00, node prefix 0x01), so other tools can check it.
//! - A line of `sealed.log` carries the hash of the line before it: none can be changed, removed or
//!   put in between without breaking the chain.
//!
//! Not here: sockets, HTTP, files, SQL, clocks (time is an argument). The only effect is reading
//! random bytes from the operating system when a secret is made.
//!
//! Reading order: [`role`] (policy), [`token`], [`session`], [`setup`] (first start), [`merkle`],
//! [`record`] (what is hashed), [`sealed`] (the log of roots).
#![forbid(unsafe_code)]

pub mod hash;
pub mod merkle;
pub mod record;
pub mod role;
pub mod sealed;
pub mod session;
pub mod setup;
pub mod token;

pub use hash::Hash;
pub use merkle::{Frontier, MerkleTree};
pub use record::{SealedRecord, range_root, record_leaf};
pub use role::{POLICY, Permission, Principal, Role, allowed};
pub use sealed::{SealedLog, SealedRange};
pub use session::{Session, Sessions};
pub use setup::Setup;
pub use token::{AuthError, NewToken, Scope, TokenKind, TokenRecord, verify};
