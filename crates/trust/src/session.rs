//! Sessions of the page: who is signed in, until when. Pure state; time is an argument.

use crate::hash::{Hash, from_hex, to_hex};
use crate::role::{Principal, Role};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A session ends this long after it began, whatever happens in it: 8 hours, a working day.
pub const ABSOLUTE_NS: i64 = 8 * 3_600 * event::time::SECOND_NS;
/// A session ends this long after it was last used: 30 minutes.
pub const IDLE_NS: i64 = 30 * 60 * event::time::SECOND_NS;
/// Most sessions at a time; beyond it the one unused for longest ends. About 300 bytes each.
pub const SESSIONS_MAX: usize = 10_000;

/// One signed-in browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// SHA-256 of the session id; the id itself is in the browser's cookie only.
    pub id_hash: Hash,
    /// Who signed in, as the identity was checked: `user:NAME`, `token:ID`.
    pub identity: String,
    /// What that one may act as.
    pub roles: Vec<Role>,
    /// When it began, wall ns since 1970-01-01 UTC.
    pub created_ns: i64,
    /// When it was last used.
    pub used_ns: i64,
}

impl Session {
    /// Whether it is still good at `now_ns`.
    pub fn is_live(&self, now_ns: i64) -> bool {
        now_ns.saturating_sub(self.created_ns) < ABSOLUTE_NS
            && now_ns.saturating_sub(self.used_ns) < IDLE_NS
    }

    /// Who it is.
    pub fn principal(&self) -> Principal {
        Principal {
            identity: self.identity.clone(),
            roles: self.roles.clone(),
            sources: Vec::new(),
        }
    }
}

/// All sessions.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    live: BTreeMap<Hash, Session>,
}

impl Sessions {
    /// Signs `identity` in. Returns the new id, 64 hex digits, for the cookie; it is not kept.
    pub fn begin(
        &mut self,
        identity: &str,
        roles: Vec<Role>,
        now_ns: i64,
    ) -> Result<String, getrandom::Error> {
        let mut id = [0; 32];
        getrandom::fill(&mut id)?;
        self.expire(now_ns);
        if self.live.len() >= SESSIONS_MAX {
            let oldest = self.live.values().min_by_key(|s| s.used_ns).map(|s| s.id_hash);
            oldest.and_then(|hash| self.live.remove(&hash));
        }
        let id_hash = Hash::of(&id);
        let identity = identity.to_owned();
        let session = Session { id_hash, identity, roles, created_ns: now_ns, used_ns: now_ns };
        self.live.insert(id_hash, session);
        Ok(to_hex(&id))
    }

    /// The live session behind a cookie, marked as used now. A dead one is removed.
    pub fn check(&mut self, id: &str, now_ns: i64) -> Option<&Session> {
        let hash = hash_of(id)?;
        if !self.live.get(&hash)?.is_live(now_ns) {
            self.live.remove(&hash);
            return None;
        }
        let session = self.live.get_mut(&hash)?;
        session.used_ns = session.used_ns.max(now_ns);
        Some(session)
    }

    /// Signs out. Returns the session if there was one.
    pub fn end(&mut self, id: &str) -> Option<Session> {
        self.live.remove(&hash_of(id)?)
    }

    /// Ends every session of somebody (a token revoked, a role changed). Returns how many.
    pub fn end_all_of(&mut self, identity: &str) -> usize {
        let before = self.live.len();
        self.live.retain(|_, s| s.identity != identity);
        before - self.live.len()
    }

    /// Forgets dead sessions. Returns how many.
    pub fn expire(&mut self, now_ns: i64) -> usize {
        let before = self.live.len();
        self.live.retain(|_, s| s.is_live(now_ns));
        before - self.live.len()
    }

    /// All sessions, for listing.
    pub fn list(&self) -> impl ExactSizeIterator<Item = &Session> {
        self.live.values()
    }
}

fn hash_of(id: &str) -> Option<Hash> {
    let mut bytes = [0; 32];
    from_hex(id.as_bytes(), &mut bytes).then(|| Hash::of(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_NS: i64 = 60 * event::time::SECOND_NS;

    #[test]
    fn a_session_ends_idle_absolute_and_by_sign_out() {
        let mut sessions = Sessions::default();
        let id = sessions.begin("user:kim", vec![Role::Analyst], 0).unwrap();
        assert_eq!(sessions.check(&id, 29 * MINUTE_NS).unwrap().principal().identity, "user:kim");
        assert!(sessions.check(&id, 58 * MINUTE_NS).is_some());
        assert!(sessions.check(&id, 88 * MINUTE_NS).is_none());
        assert!(sessions.check(&id, 59 * MINUTE_NS).is_none(), "dead is dead");

        let id = sessions.begin("user:kim", vec![], 0).unwrap();
        for minute in (0..480).step_by(20) {
            assert!(sessions.check(&id, minute * MINUTE_NS).is_some());
        }
        assert!(sessions.check(&id, 480 * MINUTE_NS).is_none());

        let id = sessions.begin("user:kim", vec![], 0).unwrap();
        assert!(sessions.end(&id).is_some() && sessions.check(&id, 0).is_none());
        for wrong in ["", "zz", &"0".repeat(64)] {
            assert!(sessions.check(wrong, 0).is_none());
        }
    }

    #[test]
    fn a_user_can_be_signed_out_everywhere_and_ids_are_kept_hashed() {
        let mut sessions = Sessions::default();
        let id = sessions.begin("user:kim", vec![], 0).unwrap();
        sessions.begin("user:kim", vec![], 0).unwrap();
        sessions.begin("user:lee", vec![], 0).unwrap();
        assert!(!format!("{sessions:?}").contains(&id));
        assert_eq!((sessions.end_all_of("user:kim"), sessions.list().len()), (2, 1));
    }

    #[test]
    fn the_number_of_sessions_is_bounded_and_the_least_used_goes() {
        let mut sessions = Sessions::default();
        let first = sessions.begin("u", vec![], 0).unwrap();
        let second = sessions.begin("u", vec![], 1).unwrap();
        for _ in 0..SESSIONS_MAX - 1 {
            sessions.begin("u", vec![], 2).unwrap();
        }
        assert_eq!(sessions.list().len(), SESSIONS_MAX);
        assert!(sessions.check(&first, 3).is_none() && sessions.check(&second, 3).is_some());
    }
}
