//! What Unix programs say about log-ins: sshd, PAM, sudo, su, cron, systemd-logind, useradd.

/// What was attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Authentication or log-in.
    Login,
    /// A session began.
    SessionOpened,
    /// A session ended.
    SessionClosed,
    /// A network connection to the service, without authentication.
    Connection,
    /// The peer went away or was cut off.
    Disconnect,
    /// A command run as another user.
    Command,
    /// Another identity was taken (`su`).
    SwitchUser,
    /// A scheduled job ran.
    Job,
    /// An account was made.
    UserAdded,
    /// An account was removed.
    UserDeleted,
    /// An account was changed.
    UserChanged,
    /// A password was set.
    PasswordChanged,
    /// A group was made.
    GroupAdded,
    /// A group was removed.
    GroupDeleted,
    /// A member was added to a group.
    GroupMemberAdded,
    /// A member was removed from a group.
    GroupMemberRemoved,
    /// The service itself reports something (listening, stopping).
    Service,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was done or allowed.
    Success,
    /// It was refused or failed.
    Failure,
    /// The message does not say.
    Unknown,
}

/// One message of one of these programs. Absent parts are `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthEvent<'a> {
    /// What was attempted.
    pub action: Action,
    /// How it went.
    pub outcome: Outcome,
    /// How many occurrences it stands for (`message repeated 5 times` = 5).
    pub weight: u32,
    /// The account that acts, or that somebody tries to be.
    pub user: Option<&'a [u8]>,
    /// The account whose rights are taken, or that is changed.
    pub target_user: Option<&'a [u8]>,
    /// Whether the program said that the account does not exist.
    pub invalid_user: bool,
    /// Numeric id of the account or of the caller.
    pub uid: Option<&'a [u8]>,
    /// Group concerned.
    pub group: Option<&'a [u8]>,
    /// Address or name of the peer.
    pub source: Option<&'a [u8]>,
    /// Port of the peer.
    pub source_port: Option<&'a [u8]>,
    /// Authentication method (`password`, `publickey`).
    pub method: Option<&'a [u8]>,
    /// Key's fingerprint (`SHA256:...`).
    pub fingerprint: Option<&'a [u8]>,
    /// Terminal.
    pub tty: Option<&'a [u8]>,
    /// Command that was or was to be run.
    pub command: Option<&'a [u8]>,
    /// Working directory of the command.
    pub cwd: Option<&'a [u8]>,
    /// Session number of systemd-logind.
    pub session: Option<&'a [u8]>,
    /// PAM service (`sshd`, `sudo`).
    pub service: Option<&'a [u8]>,
    /// Why it failed, as the program says it.
    pub reason: Option<&'a [u8]>,
}

/// Reads the message of `program` (syslog tag without process id). `None` when it is not one of
/// these programs' known messages.
pub fn parse<'a>(program: &[u8], message: &'a [u8]) -> Option<AuthEvent<'a>> {
    let _ = (program, message);
    None
}

/// `message repeated 5 times: [ text]` -> 5 and the text; `last message repeated 5 times` -> 5 and
/// nothing.
pub fn repeated(message: &[u8]) -> Option<(u32, &[u8])> {
    let rest = message.strip_prefix(b"last ").unwrap_or(message);
    let rest = rest.strip_prefix(b"message repeated ")?;
    let digits = rest.iter().take(9).take_while(|c| c.is_ascii_digit()).count();
    let count = rest[..digits].iter().fold(0u32, |n, c| n * 10 + u32::from(c - b'0'));
    let tail = rest[digits..].strip_prefix(b" times")?;
    let inner = tail.strip_prefix(b": [").unwrap_or(&[]);
    let inner = inner.strip_suffix(b"]").unwrap_or(inner);
    (count > 0).then_some((count, inner.trim_ascii_start()))
}
