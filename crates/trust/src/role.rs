//! Roles, permissions and the one table that connects them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What somebody or something is here to do. Separate on purpose: an administrator does not read
/// events, a custodian does not change configuration, nobody changes the audit log. One person may
/// hold several roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Searches and reads alerts.
    Reader,
    /// Reads and triages alerts.
    Analyst,
    /// Writes and promotes rules and enrichment.
    Engineer,
    /// Manages users, tokens, sources and settings.
    Admin,
    /// Approves deletion, releases holds, exports evidence.
    Custodian,
    /// Reads the audit log and verifies.
    Auditor,
    /// A token that writes events of its sources.
    Ingest,
    /// An agent's certificate, bound to its source.
    Agent,
}

impl Role {
    /// All roles with their names.
    pub const ALL: &[(Role, &'static str)] = &[
        (Role::Reader, "reader"),
        (Role::Analyst, "analyst"),
        (Role::Engineer, "engineer"),
        (Role::Admin, "admin"),
        (Role::Custodian, "custodian"),
        (Role::Auditor, "auditor"),
        (Role::Ingest, "ingest"),
        (Role::Agent, "agent"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The role of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(role, _)| *role)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that can be allowed. Every HTTP route names exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Send events, of the sources in scope only.
    EventsWrite,
    /// Search, tail and read events, masked fields hidden.
    EventsRead,
    /// See masked fields; asks for a reason and is audited.
    EventsUnmask,
    /// Read alerts and their history.
    AlertsRead,
    /// Acknowledge, assign, note, close, reopen.
    AlertsTriage,
    /// Export evidence with proofs.
    EvidenceExport,
    /// Read rules and coverage.
    RulesRead,
    /// Edit rules and enrichment, run them in shadow, promote them.
    RulesWrite,
    /// See sources and their health.
    SourcesRead,
    /// Add and change sources and listeners.
    SourcesWrite,
    /// Create, list and revoke tokens.
    TokensManage,
    /// Create, change and lock users.
    UsersManage,
    /// Prolong retention, set holds, make backups; ask for a shorter retention or for deletion.
    RetentionRequest,
    /// Approve deletion, shorter retention or the release of a hold.
    RetentionApprove,
    /// Read the audit log whole.
    AuditRead,
    /// Read the audit records of one's own actions.
    AuditReadOwn,
    /// Run verification, read proofs.
    Verify,
    /// Read the process's own metrics.
    MetricsRead,
}

use Permission::*;
use Role::*;

/// Who may do what. A permission without a row, or a role that a row does not name, is refused.
pub const POLICY: &[(Permission, &[Role])] = &[
    (EventsWrite, &[Ingest, Agent]),
    (EventsRead, &[Reader, Analyst, Engineer, Custodian]),
    (EventsUnmask, &[Analyst, Custodian]),
    (AlertsRead, &[Reader, Analyst, Engineer, Custodian]),
    (AlertsTriage, &[Analyst]),
    (EvidenceExport, &[Analyst, Custodian]),
    (RulesRead, &[Reader, Analyst, Engineer, Admin, Auditor]),
    (RulesWrite, &[Engineer]),
    (SourcesRead, &[Reader, Analyst, Engineer, Admin, Custodian, Auditor]),
    (SourcesWrite, &[Admin]),
    (TokensManage, &[Admin]),
    (UsersManage, &[Admin]),
    (RetentionRequest, &[Admin, Custodian]),
    (RetentionApprove, &[Custodian]),
    (AuditRead, &[Custodian, Auditor]),
    (AuditReadOwn, &[Reader, Analyst, Engineer, Admin, Custodian, Auditor]),
    (Verify, &[Custodian, Auditor]),
    (MetricsRead, &[Reader, Analyst, Engineer, Admin, Auditor]),
];

/// Whether the table allows `permission` to `role`.
pub fn allowed(role: Role, permission: Permission) -> bool {
    POLICY.iter().any(|(p, roles)| *p == permission && roles.contains(&role))
}

/// Somebody whose identity has been checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// Verified identity as it goes into envelopes and audit records: `token:ID`, `user:NAME`.
    pub identity: String,
    /// What it may act as.
    pub roles: Vec<Role>,
    /// Sources it may write, exact names or patterns with `*`; empty means none.
    pub sources: Vec<String>,
}

impl Principal {
    /// Whether any of its roles is allowed this.
    pub fn may(&self, permission: Permission) -> bool {
        self.roles.iter().any(|role| allowed(*role, permission))
    }

    /// Whether it may write events of `source`: the permission and the scope.
    pub fn may_write(&self, source: &str) -> bool {
        self.may(EventsWrite) && self.sources.iter().any(|p| crate::token::glob(p, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole policy as text: a change of it has to be made here too, on purpose.
    const MATRIX: &str = "
                      reader analyst engineer admin custodian auditor ingest agent
    EventsWrite       -      -       -        -     -         -       y      y
    EventsRead        y      y       y        -     y         -       -      -
    EventsUnmask      -      y       -        -     y         -       -      -
    AlertsRead        y      y       y        -     y         -       -      -
    AlertsTriage      -      y       -        -     -         -       -      -
    EvidenceExport    -      y       -        -     y         -       -      -
    RulesRead         y      y       y        y     -         y       -      -
    RulesWrite        -      -       y        -     -         -       -      -
    SourcesRead       y      y       y        y     y         y       -      -
    SourcesWrite      -      -       -        y     -         -       -      -
    TokensManage      -      -       -        y     -         -       -      -
    UsersManage       -      -       -        y     -         -       -      -
    RetentionRequest  -      -       -        y     y         -       -      -
    RetentionApprove  -      -       -        -     y         -       -      -
    AuditRead         -      -       -        -     y         y       -      -
    AuditReadOwn      y      y       y        y     y         y       -      -
    Verify            -      -       -        -     y         y       -      -
    MetricsRead       y      y       y        y     -         y       -      -
    ";

    #[test]
    fn the_policy_is_the_reviewed_matrix() {
        let rows: Vec<Vec<&str>> =
            MATRIX.trim().lines().map(|l| l.split_whitespace().collect()).collect();
        let names: Vec<&str> = Role::ALL.iter().map(|(_, n)| *n).collect();
        assert_eq!(rows[0], names);
        assert_eq!(rows.len() - 1, POLICY.len());
        for (row, (permission, _)) in rows[1..].iter().zip(POLICY) {
            assert_eq!(row[0], format!("{permission:?}"));
            for (cell, (role, _)) in row[1..].iter().zip(Role::ALL) {
                assert_eq!(*cell == "y", allowed(*role, *permission), "{role} {permission:?}");
            }
        }
    }

    #[test]
    fn every_permission_has_one_row_and_no_row_is_empty() {
        for (index, (permission, roles)) in POLICY.iter().enumerate() {
            assert_eq!(*permission as usize, index, "rows stand in the order of the enum");
            assert!(!roles.is_empty());
        }
        assert_eq!(MetricsRead as usize + 1, POLICY.len());
    }

    #[test]
    fn writers_only_write_and_only_their_sources() {
        let token = Principal {
            identity: "token:1".into(),
            roles: vec![Ingest],
            sources: vec!["fw-*".into(), "web".into()],
        };
        for (permission, _) in POLICY {
            assert_eq!(token.may(*permission), *permission == EventsWrite);
        }
        assert!(token.may_write("fw-1") && token.may_write("web"));
        assert!(!token.may_write("web2") && !token.may_write("x-fw-1"));
        assert!(!Principal { sources: vec![], ..token }.may_write("web"));
        let admin =
            Principal { identity: "user:a".into(), roles: vec![Admin], sources: vec!["*".into()] };
        assert!(!admin.may_write("web") && !admin.may(EventsRead));
    }
}
