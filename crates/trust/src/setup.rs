//! First start: a secret link that works once and for a quarter of an hour, instead of a default
//! password.

use crate::hash::Hash;
use crate::role::{Principal, Role};
use crate::token::{AuthError, NewToken, NewTokenError, Scope, TokenKind, TokenText};

/// How long the link is good: 15 minutes.
pub const SETUP_NS: i64 = 15 * 60 * event::time::SECOND_NS;

/// The pending first sign-in. Dropped by a restart: a new one is printed then.
#[derive(Debug)]
pub struct Setup {
    id: String,
    secret_hash: Hash,
    roles: Vec<Role>,
    expires_ns: i64,
    used: bool,
}

impl Setup {
    /// Makes the secret. Returns the state and the token's text for the link. `roles` is what
    /// whoever follows the link may act as.
    pub fn begin(roles: Vec<Role>, now_ns: i64) -> Result<(Self, String), NewTokenError> {
        let expires_ns = now_ns.saturating_add(SETUP_NS);
        let scope = Scope {
            roles: roles.clone(),
            sources: Vec::new(),
            networks: Vec::new(),
            expires_ns: Some(expires_ns),
        };
        let new = NewToken::generate(TokenKind::Setup, "setup", scope, "alcedo", now_ns)?;
        let secret_hash = new.record.secret_hash;
        Ok((Self { id: new.record.id, secret_hash, roles, expires_ns, used: false }, new.text))
    }

    /// Follows the link: once, in time. Whoever may is `user:setup`, to be given a session.
    pub fn redeem(&mut self, text: &str, now_ns: i64) -> Result<Principal, AuthError> {
        let token = TokenText::parse(text).ok_or(AuthError::Malformed)?;
        let id = token.id.to_owned();
        let same = token.secret_hash().eq_constant_time(&self.secret_hash);
        if !same || token.kind != TokenKind::Setup || token.id != self.id {
            return Err(AuthError::WrongSecret { id });
        }
        if self.used {
            return Err(AuthError::Revoked { id });
        }
        if now_ns >= self.expires_ns {
            return Err(AuthError::Expired { id, expires_ns: self.expires_ns });
        }
        self.used = true;
        Ok(Principal {
            identity: "user:setup".into(),
            roles: self.roles.clone(),
            sources: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_works_once_and_in_time() {
        let (mut setup, text) = Setup::begin(vec![Role::Admin, Role::Analyst], 0).unwrap();
        let (mut other, _) = Setup::begin(vec![Role::Admin], 0).unwrap();
        assert!(matches!(other.redeem(&text, 1), Err(AuthError::WrongSecret { .. })));
        assert_eq!(setup.redeem("x", 1), Err(AuthError::Malformed));
        assert_eq!(setup.redeem(&text, 1).unwrap().roles, [Role::Admin, Role::Analyst]);
        assert!(matches!(setup.redeem(&text, 2), Err(AuthError::Revoked { .. })));
        let (mut late, text) = Setup::begin(vec![Role::Admin], 0).unwrap();
        assert!(matches!(late.redeem(&text, SETUP_NS), Err(AuthError::Expired { .. })));
        assert!(!format!("{late:?}").contains(&text[29..93]));
    }
}
