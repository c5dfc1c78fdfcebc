//! Tokens: `alc_<kind>_<id>_<secret><check>`.
//!
//! ```text
//! alc _ ing _ 0123456789abcdef _ <64 hex digits: the secret><8 hex digits: CRC-32C of all before>
//! ```
//! The prefix lets secret scanners find a leaked token and the check lets them (and us) tell a token
//! from a typing error without a look-up. The secret is 256 random bits, so one SHA-256 is enough at
//! rest: there is nothing to guess, and a slow hash would hand attackers a way to burn our CPU.

use crate::hash::{Hash, from_hex, to_hex};
use crate::role::{Principal, Role};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// Prefix of every token.
pub const PREFIX: &str = "alc_";
/// Bytes of a token's text, always the same.
pub const TOKEN_BYTES: usize = 4 + 3 + 1 + ID_DIGITS + 1 + 64 + 8;
/// Most source patterns a scope may have: a listing a person still reads.
pub const SOURCES_MAX: usize = 256;
/// Longest source pattern, bytes; with it, matching one costs at most a few thousand steps.
pub const PATTERN_MAX_BYTES: usize = 128;
/// Most networks a scope may have.
pub const NETWORKS_MAX: usize = 256;

const ID_DIGITS: usize = 16;

/// What a token is for, readable in its text. Rights come from the stored scope, never from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Writes events.
    Ingest,
    /// Calls the API.
    Api,
    /// Opens the page for the first time; see [`crate::setup`].
    Setup,
}

impl TokenKind {
    /// All kinds with the three letters they have in a token's text.
    pub const ALL: &[(TokenKind, &'static str)] =
        &[(TokenKind::Ingest, "ing"), (TokenKind::Api, "api"), (TokenKind::Setup, "set")];

    /// Its three letters.
    pub fn code(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// What a token is limited to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// What it may act as.
    pub roles: Vec<Role>,
    /// Sources it may write: exact names, or patterns in which `*` stands for anything. None = none.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Networks it may be used from; empty means anywhere.
    #[serde(default)]
    pub networks: Vec<IpNet>,
    /// Wall time from which it is refused, ns since 1970-01-01 UTC; `None` means never.
    #[serde(default)]
    pub expires_ns: Option<i64>,
}

/// A scope that cannot be given to a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// No role at all.
    #[error("a token without a role can do nothing; name at least one role")]
    NoRole,
    /// A writing token that names no source.
    #[error("an ingest token needs at least one source; `*` allows all")]
    NoSource,
    /// Too much of something.
    #[error("{what}: {count} given, at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there were.
        count: usize,
        /// How many there may be.
        max: usize,
    },
}

impl Scope {
    /// Whether the scope makes sense and stays within its limits.
    pub fn check(&self) -> Result<(), ScopeError> {
        if self.roles.is_empty() {
            return Err(ScopeError::NoRole);
        }
        if self.roles.contains(&Role::Ingest) && self.sources.is_empty() {
            return Err(ScopeError::NoSource);
        }
        let longest = self.sources.iter().map(String::len).max().unwrap_or(0);
        let limits = [
            ("sources", self.sources.len(), SOURCES_MAX),
            ("bytes of a source pattern", longest, PATTERN_MAX_BYTES),
            ("networks", self.networks.len(), NETWORKS_MAX),
        ];
        match limits.into_iter().find(|(_, count, max)| count > max) {
            Some((what, count, max)) => Err(ScopeError::TooMany { what, count, max }),
            None => Ok(()),
        }
    }
}

/// What is kept of a token: everything but the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Public id, 16 hex digits.
    pub id: String,
    /// What it is for.
    pub kind: TokenKind,
    /// A name for people.
    pub name: String,
    /// SHA-256 of the secret.
    pub secret_hash: Hash,
    /// What it is limited to.
    pub scope: Scope,
    /// Who made it.
    pub created_by: String,
    /// When, ns since 1970-01-01 UTC.
    pub created_ns: i64,
    /// When it was revoked; `None` while it is good.
    #[serde(default)]
    pub revoked_ns: Option<i64>,
}

impl TokenRecord {
    /// Whether it is neither revoked nor expired at `now_ns` (wall, ns since 1970-01-01 UTC).
    pub fn is_good(&self, now_ns: i64) -> bool {
        let expired = self.scope.expires_ns.is_some_and(|expires_ns| now_ns >= expires_ns);
        self.revoked_ns.is_none() && !expired
    }
}

/// A token that was just made: the only moment its text exists on our side.
pub struct NewToken {
    /// The text, to be shown once and then forgotten.
    pub text: String,
    /// What to keep.
    pub record: TokenRecord,
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken").field("record", &self.record).finish_non_exhaustive()
    }
}

/// No token could be made.
#[derive(Debug, thiserror::Error)]
pub enum NewTokenError {
    /// The scope is not usable.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes ({0}); check that getrandom(2) is allowed")]
    Random(getrandom::Error),
}

impl NewToken {
    /// Makes a token with fresh random bits.
    pub fn generate(
        kind: TokenKind,
        name: &str,
        scope: Scope,
        created_by: &str,
        now_ns: i64,
    ) -> Result<Self, NewTokenError> {
        scope.check()?;
        let (mut id, mut secret) = ([0; ID_DIGITS / 2], [0; 32]);
        getrandom::fill(&mut id).map_err(NewTokenError::Random)?;
        getrandom::fill(&mut secret).map_err(NewTokenError::Random)?;
        let record = TokenRecord {
            id: to_hex(&id),
            kind,
            name: name.to_owned(),
            secret_hash: Hash::of(&secret),
            scope,
            created_by: created_by.to_owned(),
            created_ns: now_ns,
            revoked_ns: None,
        };
        Ok(Self { text: token_text(kind, &record.id, &secret), record })
    }
}

fn token_text(kind: TokenKind, id: &str, secret: &[u8; 32]) -> String {
    let body = format!("{PREFIX}{}_{id}_{}", kind.code(), to_hex(secret));
    let check = crc32c::crc32c(body.as_bytes());
    format!("{body}{check:08x}")
}

/// The parts of a token's text. No `Debug`: it holds the secret.
pub struct TokenText<'a> {
    /// What it claims to be for.
    pub kind: TokenKind,
    /// Public id.
    pub id: &'a str,
    secret: [u8; 32],
}

impl<'a> TokenText<'a> {
    /// Takes a token's text apart. `None` unless every byte is as it should be, check included.
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() != TOKEN_BYTES || !text.is_ascii() {
            return None;
        }
        let (body, check) = text.split_at(TOKEN_BYTES - 8);
        let mut parts = body.strip_prefix(PREFIX)?.split('_');
        let (code, id, secret_text) = (parts.next()?, parts.next()?, parts.next()?);
        let kind = TokenKind::ALL.iter().find(|(_, c)| *c == code)?.0;
        let (mut id_bytes, mut secret, mut sum) = ([0; ID_DIGITS / 2], [0; 32], [0; 4]);
        let fine = parts.next().is_none()
            // Lower case only, so that a token has one spelling.
            && !text.bytes().any(|b| b.is_ascii_uppercase())
            && from_hex(id.as_bytes(), &mut id_bytes)
            && from_hex(secret_text.as_bytes(), &mut secret)
            && from_hex(check.as_bytes(), &mut sum)
            && u32::from_be_bytes(sum) == crc32c::crc32c(body.as_bytes());
        fine.then_some(Self { kind, id, secret })
    }

    /// SHA-256 of the secret.
    pub fn secret_hash(&self) -> Hash {
        Hash::of(&self.secret)
    }
}

/// Why somebody was not let in. The text is for the audit record; a client is told
/// [`AuthError::PUBLIC`] only, which does not say which part was wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Not a token at all.
    #[error("the text is not a token: it is cut, mistyped or something else")]
    Malformed,
    /// No token has this id.
    #[error("no token with id {id}")]
    Unknown {
        /// The id that was asked for.
        id: String,
    },
    /// The id exists, the secret or the kind is another.
    #[error("wrong secret for token {id}")]
    WrongSecret {
        /// The token.
        id: String,
    },
    /// It was revoked.
    #[error("token {id} was revoked")]
    Revoked {
        /// The token.
        id: String,
    },
    /// Its time is over.
    #[error("token {id} expired at {}", event::time::rfc3339(*expires_ns))]
    Expired {
        /// The token.
        id: String,
        /// Since when.
        expires_ns: i64,
    },
    /// It is bound to other networks.
    #[error("token {id} may not be used from {}", peer.map_or("an unknown address".into(), |p| p.to_string()))]
    WrongNetwork {
        /// The token.
        id: String,
        /// Where it was used from.
        peer: Option<IpAddr>,
    },
}

impl AuthError {
    /// What a client is told, whatever the cause.
    pub const PUBLIC: &'static str =
        "the token is not valid here; ask an administrator for a new one";
}

/// Checks a token that came from `peer` at `now_ns` (wall, ns since 1970-01-01 UTC). `lookup` finds
/// the record of an id in memory. Costs one hash and one comparison whether or not the id exists.
/// The secret is checked before anything else is said about the token.
pub fn verify(
    token_text: &str,
    peer: Option<IpAddr>,
    now_ns: i64,
    lookup: impl FnOnce(&str) -> Option<TokenRecord>,
) -> Result<Principal, AuthError> {
    let token = TokenText::parse(token_text).ok_or(AuthError::Malformed)?;
    let id = token.id.to_owned();
    let found = lookup(token.id);
    let expected = found.as_ref().map_or(Hash::default(), |record| record.secret_hash);
    let same = token.secret_hash().eq_constant_time(&expected);
    let Some(record) = found else { return Err(AuthError::Unknown { id }) };
    if !same || record.kind != token.kind || record.id != token.id {
        return Err(AuthError::WrongSecret { id });
    }
    if record.revoked_ns.is_some() {
        return Err(AuthError::Revoked { id });
    }
    if let Some(expires_ns) = record.scope.expires_ns.filter(|expires_ns| now_ns >= *expires_ns) {
        return Err(AuthError::Expired { id, expires_ns });
    }
    if !network_allows(&record.scope.networks, peer) {
        return Err(AuthError::WrongNetwork { id, peer });
    }
    Ok(Principal {
        identity: format!("token:{id}"),
        roles: record.scope.roles,
        sources: record.scope.sources,
    })
}

fn network_allows(networks: &[IpNet], peer: Option<IpAddr>) -> bool {
    // A v4 client of a dual-stack listener shows up as ::ffff:a.b.c.d; it is still that v4 client.
    let Some(peer) = peer.map(|p| p.to_canonical()) else { return networks.is_empty() };
    networks.is_empty() || networks.iter().any(|network| network.contains(&peer))
}

/// Whether `text` fits `pattern`, in which `*` stands for any bytes, also none. No recursion; the
/// last `*` alone is ever retried, so the cost is at most pattern length times text length.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            (p, t) = (star + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope {
            roles: vec![Role::Ingest],
            sources: vec!["web".into()],
            networks: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            expires_ns: Some(1_000),
        }
    }

    fn token() -> NewToken {
        NewToken::generate(TokenKind::Ingest, "web", scope(), "user:kim", 1).unwrap()
    }

    fn check(new: &NewToken, peer: &str, now_ns: i64) -> Result<Principal, AuthError> {
        verify(&new.text, Some(peer.parse().unwrap()), now_ns, |_| Some(new.record.clone()))
    }

    #[test]
    fn a_token_lets_in_within_its_scope_only() {
        let new = token();
        let id = new.record.id.clone();
        assert_eq!(new.text.len(), TOKEN_BYTES);
        assert!(new.text.starts_with("alc_ing_"));
        let who = check(&new, "10.1.2.3", 999).unwrap();
        assert_eq!(who.identity, format!("token:{id}"));
        assert!(who.may_write("web"));
        assert!(check(&new, "::ffff:10.1.2.3", 999).is_ok());
        assert!(matches!(check(&new, "10.1.2.3", 1_000), Err(AuthError::Expired { .. })));
        assert!(matches!(check(&new, "11.1.2.3", 5), Err(AuthError::WrongNetwork { .. })));
        let nowhere = verify(&new.text, None, 5, |_| Some(new.record.clone()));
        assert!(matches!(nowhere, Err(AuthError::WrongNetwork { peer: None, .. })));
        let unknown = verify(&new.text, None, 5, |_| None);
        assert_eq!(unknown, Err(AuthError::Unknown { id: id.clone() }));
        let revoked = TokenRecord { revoked_ns: Some(2), ..new.record.clone() };
        assert_eq!(verify(&new.text, None, 5, |_| Some(revoked)), Err(AuthError::Revoked { id }));
    }

    #[test]
    fn another_tokens_secret_or_kind_is_refused() {
        let (one, two) = (token(), token());
        let other = TokenRecord { id: one.record.id.clone(), ..two.record };
        let got = verify(&one.text, None, 5, |_| Some(other));
        assert!(matches!(got, Err(AuthError::WrongSecret { .. })));
        let kind = TokenRecord { kind: TokenKind::Api, ..one.record.clone() };
        let got = verify(&one.text, None, 5, |_| Some(kind));
        assert!(matches!(got, Err(AuthError::WrongSecret { .. })));
    }

    #[test]
    fn one_changed_byte_is_noticed_before_any_look_up() {
        let new = token();
        for at in 0..TOKEN_BYTES {
            let mut bytes = new.text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let text = String::from_utf8(bytes).unwrap();
            let got = verify(&text, None, 5, |_| panic!("looked up"));
            assert_eq!(got, Err(AuthError::Malformed));
        }
        assert!(TokenText::parse(&new.text.to_uppercase()).is_none());
    }

    #[test]
    fn neither_debug_nor_json_shows_the_secret() {
        let new = token();
        let secret = &new.text[new.text.len() - 72..new.text.len() - 8];
        assert!(!format!("{new:?}").contains(secret));
        assert!(!serde_json::to_string(&new.record).unwrap().contains(secret));
    }

    #[test]
    fn scopes_without_meaning_or_measure_are_refused() {
        let none = Scope { roles: vec![], ..scope() };
        assert_eq!(none.check(), Err(ScopeError::NoRole));
        assert_eq!(Scope { sources: vec![], ..scope() }.check(), Err(ScopeError::NoSource));
        let long = Scope { sources: vec!["x".repeat(PATTERN_MAX_BYTES + 1)], ..scope() };
        assert!(NewToken::generate(TokenKind::Ingest, "", long, "", 0).is_err());
    }

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("web", "web", true),
            ("web", "webs", false),
            ("*", "", true),
            ("fw-*", "fw-", true),
            ("*-fw-*", "a-fw-fw-b", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("", "x", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }
}
