//! What Unix programs say about log-ins: sshd, PAM, sudo, su, cron, systemd-logind, useradd.
//!
//! ```text
//! sshd[12]: Failed password for invalid user bob from 192.0.2.7 port 4711 ssh2
//!           |      |            |            |        |              |
//!           outcome method      invalid_user user     source         source_port
//! ```
//!
//! The message texts are those of OpenSSH (`auth.c`, `packet.c`), Linux-PAM (`pam_unix`), sudo, shadow
//! and systemd. Names come from the attacker: nothing in a name can change where the address is read.

use Action::*;
use Outcome::*;

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

impl<'a> AuthEvent<'a> {
    fn new(action: Action, outcome: Outcome) -> Self {
        Self {
            action,
            outcome,
            weight: 1,
            user: None,
            target_user: None,
            invalid_user: false,
            uid: None,
            group: None,
            source: None,
            source_port: None,
            method: None,
            fingerprint: None,
            tty: None,
            command: None,
            cwd: None,
            session: None,
            service: None,
            reason: None,
        }
    }
}

/// Reads the message of `program` (syslog tag without process id). `None` when it is not one of
/// these programs' known messages.
///
/// A repeated message is unwrapped and its count becomes the weight. Names and addresses are
/// pieces of the message; a name that itself contains ` from ` cannot move the address, because
/// the last ` from ` counts.
pub fn parse<'a>(program: &[u8], message: &'a [u8]) -> Option<AuthEvent<'a>> {
    if let Some((count, inner)) = repeated(message) {
        let mut event = parse(program, inner).filter(|_| repeated(inner).is_none())?;
        event.weight = event.weight.saturating_mul(count);
        return Some(event);
    }
    let message = message.trim_ascii();
    if let Some(event) = pam(program, message) {
        return Some(event);
    }
    match base_name(program) {
        b"sshd" | b"sshd-session" | b"sshd-auth" => sshd(message),
        b"sudo" | b"sudo-rs" => sudo(message),
        b"su" => su(message),
        b"CRON" | b"CROND" | b"cron" | b"crond" | b"/USR/SBIN/CRON" | b"anacron" => cron(message),
        b"systemd-logind" => logind(message),
        b"login" => console_login(message),
        b"useradd" | b"userdel" | b"usermod" | b"groupadd" | b"groupdel" | b"groupmod"
        | b"gpasswd" | b"chage" | b"passwd" | b"chpasswd" => account(message),
        _ => None,
    }
}

/// `/usr/sbin/sshd` -> `sshd`, `sshd(pam_unix)` -> `sshd`.
fn base_name(program: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'(', program).unwrap_or(program.len());
    let program = &program[..end];
    program.rsplit(|c| *c == b'/').next().unwrap_or(program)
}

/// Where `what` begins, place by place. Messages are short: making a searcher for each of these words costs
/// more than looking at every place of one byte of it, the second where there is one (the first is often a
/// blank).
fn places<'t>(text: &'t [u8], what: &'t [u8]) -> impl DoubleEndedIterator<Item = usize> + 't {
    let before = usize::from(what.len() > 1);
    let at = move |i: usize| i.checked_sub(before).filter(|from| text[*from..].starts_with(what));
    memchr::memchr_iter(what[before], text).filter_map(at)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    places(text, what).next()
}

fn rfind(text: &[u8], what: &[u8]) -> Option<usize> {
    places(text, what).next_back()
}

fn split<'a>(text: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let i = find(text, at)?;
    Some((&text[..i], &text[i + at.len()..]))
}

/// Like [`split`] at the last place.
fn rsplit<'a>(text: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let i = rfind(text, at)?;
    Some((&text[..i], &text[i + at.len()..]))
}

/// The first word and what follows its blank.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b' ', text) {
        Some(i) => (&text[..i], &text[i + 1..]),
        None => (text, &[]),
    }
}

fn some(text: &[u8]) -> Option<&[u8]> {
    Some(text).filter(|t| !t.is_empty())
}

fn digits(text: &[u8]) -> &[u8] {
    &text[..text.iter().take_while(|c| c.is_ascii_digit()).count()]
}

fn without_preauth(text: &[u8]) -> &[u8] {
    text.strip_suffix(b" [preauth]").unwrap_or(text)
}

/// `ADDRESS port 22 ...` or `ADDRESS: 11: reason` into the event; what follows is returned.
fn peer<'a>(event: &mut AuthEvent<'a>, text: &'a [u8]) -> &'a [u8] {
    let (address, rest) = word(text);
    let bare = address.strip_suffix(b":").unwrap_or(address);
    event.source = some(bare);
    let Some(port) = rest.strip_prefix(b"port ") else { return rest };
    let number = digits(port);
    event.source_port = some(number);
    &port[number.len()..]
}

/// `[invalid user ]NAME from ADDRESS port N ...`.
fn user_from<'a>(event: &mut AuthEvent<'a>, text: &'a [u8]) -> Option<&'a [u8]> {
    let (name, rest) = match rsplit(text, b" from ") {
        Some(parts) => parts,
        // An empty name: "Failed password for invalid user  from 1.2.3.4" was trimmed above.
        None => (&b""[..], text.strip_prefix(b"from ")?),
    };
    named(event, name);
    Some(peer(event, rest))
}

fn named<'a>(event: &mut AuthEvent<'a>, name: &'a [u8]) {
    let stripped =
        [&b"invalid user "[..], b"illegal user "].iter().find_map(|p| name.strip_prefix(*p));
    if name == b"invalid user" {
        event.invalid_user = true;
        return;
    }
    event.invalid_user |= stripped.is_some();
    event.user = some(stripped.unwrap_or(name));
}

fn sshd(text: &[u8]) -> Option<AuthEvent<'_>> {
    let levels = [&b"error: "[..], b"fatal: "];
    let text = levels.iter().find_map(|level| text.strip_prefix(*level)).unwrap_or(text);
    let text = without_preauth(text);
    let (first, rest) = word(text);
    match first {
        b"Accepted" | b"Failed" | b"Postponed" => ssh_result(first, rest),
        b"Invalid" | b"Illegal" => {
            let mut event = AuthEvent::new(Login, Failure);
            event.invalid_user = true;
            event.reason = Some(b"invalid user");
            let rest = rest.strip_prefix(b"user ")?;
            user_from(&mut event, rest)?;
            Some(event)
        }
        b"Connection" | b"Received" | b"Disconnected" | b"Disconnecting" | b"Did" | b"Bad"
        | b"Disconnecting:" | b"Unable" | b"Timeout" | b"Timeout," | b"Connecting" | b"Read"
        | b"Write" => ssh_connection(text),
        b"banner" => ssh_banner(split(text, b"Connection from ")?.1),
        b"ROOT" => {
            let mut event = AuthEvent::new(Login, Failure);
            event.user = Some(b"root");
            event.reason = Some(b"root login refused");
            peer(&mut event, text.strip_prefix(b"ROOT LOGIN REFUSED FROM ")?);
            Some(event)
        }
        b"maximum" => {
            let mut event = AuthEvent::new(Login, Failure);
            event.reason = Some(&text[..find(text, b" exceeded")?]);
            user_from(&mut event, split(text, b" exceeded for ")?.1)?;
            Some(event)
        }
        b"input_userauth_request:" => {
            let mut event = AuthEvent::new(Login, Failure);
            named(&mut event, rest.strip_prefix(b"invalid user").map(<[u8]>::trim_ascii)?);
            event.invalid_user = true;
            event.reason = Some(b"invalid user");
            Some(event)
        }
        b"User" => ssh_denied(rest),
        b"PAM:" => {
            let mut event = AuthEvent::new(Login, Failure);
            event.method = Some(b"pam");
            let (reason, rest) = split(rest, b" for ")?;
            event.reason = some(reason);
            user_from(&mut event, rest)?;
            Some(event)
        }
        b"reverse" | b"Address" => ssh_name_mismatch(text),
        b"Server" => {
            let mut event = AuthEvent::new(Service, Success);
            event.reason = Some(rest);
            Some(event).filter(|_| rest.starts_with(b"listening"))
        }
        b"Starting" => {
            let mut event = AuthEvent::new(SessionOpened, Success);
            let (_, rest) = split(rest, b" for ")?;
            event.tty = split(text, b" on ").and_then(|(_, t)| some(word(t).0));
            user_from(&mut event, rest)?;
            Some(event)
        }
        _ => None,
    }
}

/// `password for [invalid user ]NAME from ADDRESS port N ssh2[: RSA SHA256:...]`.
fn ssh_result<'a>(verb: &'a [u8], rest: &'a [u8]) -> Option<AuthEvent<'a>> {
    let outcome = match verb {
        b"Accepted" => Success,
        b"Failed" => Failure,
        _ => Unknown,
    };
    let mut event = AuthEvent::new(Login, outcome);
    let (method, rest) = split(rest, b" for ")?;
    event.method = some(method);
    // The key's name and fingerprint stand behind the protocol.
    let (who, key) = match rsplit(rest, b" ssh2: ") {
        Some((who, key)) => (who, key),
        None => (rest, &b""[..]),
    };
    user_from(&mut event, who)?;
    event.fingerprint = key.split(|c| *c == b' ').find(|w| {
        w.starts_with(b"SHA256:") || w.starts_with(b"MD5:") || w.len() == 47 && w[2] == b':'
    });
    Some(event)
}

/// `banner exchange: Connection from 1.2.3.4 port 5: invalid format`, behind `from`.
fn ssh_banner(text: &[u8]) -> Option<AuthEvent<'_>> {
    let mut event = AuthEvent::new(Connection, Failure);
    let rest = peer(&mut event, text);
    event.reason = some(rest.strip_prefix(b": ").unwrap_or(rest));
    Some(event)
}

/// The messages about connections that come and go.
fn ssh_connection(text: &[u8]) -> Option<AuthEvent<'_>> {
    let mut event = AuthEvent::new(Disconnect, Unknown);
    if let Some(rest) = text.strip_prefix(b"Connection from ") {
        event.action = Connection;
        peer(&mut event, rest);
        return Some(event);
    }
    if let Some(rest) = text.strip_prefix(b"Received disconnect from ") {
        let rest = peer(&mut event, rest);
        let rest = rest.strip_prefix(b":").unwrap_or(rest);
        let code = digits(rest);
        let reason = rest[code.len()..].strip_prefix(b":").unwrap_or(&rest[code.len()..]);
        event.reason = some(reason.trim_ascii());
        return Some(event);
    }
    if let Some(rest) = text.strip_prefix(b"Disconnecting: ") {
        let (reason, user) = split(rest, b" for ").unwrap_or((rest, b""));
        event.reason = some(reason);
        named(&mut event, user);
        event.outcome =
            if find(reason, b"authentication failures").is_some() { Failure } else { Unknown };
        return Some(event);
    }
    if find(text, b"identification string").is_some() || text.starts_with(b"Bad protocol version") {
        event.action = Connection;
        event.outcome = Failure;
        event.reason = some(split(text, b" from ").map_or(text, |(reason, _)| reason));
        peer(&mut event, rsplit(text, b" from ")?.1);
        return Some(event);
    }
    const HEADS: [&[u8]; 10] = [
        b"Connection closed by ",
        b"Connection reset by ",
        b"Disconnected from ",
        b"Disconnecting ",
        b"Unable to negotiate with ",
        b"Read error from remote host ",
        b"Write error from remote host ",
        b"Timeout before authentication for ",
        b"Timeout, client not responding from ",
        b"Connection timed out with ",
    ];
    let head = HEADS.iter().find(|h| text.starts_with(h))?;
    let rest = &text[head.len()..];
    // "connection from 1.2.3.4 to 5.6.7.8, pid = 9".
    let rest = match rest.strip_prefix(b"connection from ") {
        Some(rest) => split(rest, b" to ").map_or(rest, |(from, _)| from),
        None => rest,
    };
    // "invalid user NAME 1.2.3.4 port 5": the address is the word in front of " port ".
    let (front, port) = match rsplit(rest, b" port ") {
        Some(parts) => parts,
        // Nobody has a name yet where no port is written: "1.2.3.4: no matching cipher".
        None => {
            split(rest, b": ").map_or((rest, &b""[..]), |(from, _)| (from, &rest[from.len()..]))
        }
    };
    let (who, address) = rsplit(front, b" ").unwrap_or((b"", front));
    event.source = some(address);
    event.source_port = some(digits(port));
    let who = who.strip_prefix(b"authenticating ").unwrap_or(who);
    named(&mut event, who.strip_prefix(b"user ").unwrap_or(who));
    let (_, reason) = split(port, b": ").unwrap_or((b"", b""));
    event.reason = some(reason);
    if head.starts_with(b"Unable")
        || find(head, b" error from ").is_some()
        || find(reason, b"authentication failures").is_some()
    {
        event.outcome = Failure;
    }
    Some(event)
}

/// `NAME from ADDRESS not allowed because ...`, `NAME not allowed because ...`.
fn ssh_denied(rest: &[u8]) -> Option<AuthEvent<'_>> {
    let (who, reason) = split(rest, b" not allowed because ")?;
    let mut event = AuthEvent::new(Login, Failure);
    event.reason = some(reason);
    if user_from(&mut event, who).is_none() {
        named(&mut event, who);
    }
    Some(event)
}

/// `reverse mapping checking getaddrinfo for HOST [1.2.3.4] failed - ...` and `Address ... maps to`.
fn ssh_name_mismatch(text: &[u8]) -> Option<AuthEvent<'_>> {
    let mut event = AuthEvent::new(Connection, Unknown);
    event.reason = Some(b"reverse name does not map back to the address");
    event.source = match text.strip_prefix(b"Address ") {
        Some(rest) => some(split(rest, b" maps to ")?.0),
        None => {
            let inner = split(text, b"[")?.1;
            some(split(inner, b"]")?.0)
        }
    };
    Some(event)
}

/// `pam_unix(sshd:auth): text`, the old `sshd(pam_unix)` tag, `PAM 5 more authentication failures; ...`.
fn pam<'a>(program: &[u8], message: &'a [u8]) -> Option<AuthEvent<'a>> {
    let (service, text) = if message.starts_with(b"pam_") {
        let (module, text) = split(message, b"): ")?;
        let (_, service) = split(module, b"(")?;
        (some(service.split(|c| *c == b':').next()?), text)
    } else if program.ends_with(b"(pam_unix)") || message.starts_with(b"PAM ") {
        (None, message)
    } else {
        return None;
    };
    let mut event = pam_text(text)?;
    event.service = service;
    Some(event)
}

fn pam_text(text: &[u8]) -> Option<AuthEvent<'_>> {
    if let Some(rest) = text.strip_prefix(b"session opened for user ") {
        let mut event = AuthEvent::new(SessionOpened, Success);
        let (name, by) = split(rest, b" by ").unwrap_or((rest, b""));
        let ((name, uid), (by, by_uid)) = (name_and_id(name), name_and_id(by));
        // `login` opens sessions by a name that is nobody's.
        let by = if by == b"LOGIN" { b"" } else { by };
        event.target_user = some(name);
        event.user = some(by);
        // The number belongs to whom the event names as its user.
        event.uid = if by.is_empty() { uid } else { by_uid };
        return Some(event);
    }
    if let Some(rest) = text.strip_prefix(b"session closed for user ") {
        let mut event = AuthEvent::new(SessionClosed, Success);
        event.target_user = some(name_and_id(rest).0);
        return Some(event);
    }
    if let Some(name) = text.strip_prefix(b"password changed for ") {
        let mut event = AuthEvent::new(PasswordChanged, Success);
        event.target_user = some(name);
        return Some(event);
    }
    if let Some(name) = text
        .strip_prefix(b"user \"")
        .and_then(|t| t.strip_suffix(b"\" does not exist in /etc/passwd"))
    {
        let mut event = AuthEvent::new(PasswordChanged, Failure);
        event.target_user = some(name);
        event.invalid_user = true;
        event.reason = Some(b"user unknown");
        return Some(event);
    }
    if text.starts_with(b"check pass; user unknown") {
        let mut event = AuthEvent::new(Login, Failure);
        event.invalid_user = true;
        event.reason = Some(b"user unknown");
        return Some(event);
    }
    if let Some((reason, name)) = locked(text) {
        let mut event = AuthEvent::new(Login, Failure);
        event.user = some(name);
        event.reason = some(reason);
        return Some(event);
    }
    let (head, fields) = split(text, b";")?;
    let (more, _) = word(head.strip_prefix(b"PAM ").unwrap_or(head));
    if head == b"authentication success" {
        let mut event = AuthEvent::new(Login, Success);
        pam_peers(&mut event, fields);
        return Some(event);
    }
    if !head.ends_with(b"authentication failure") && !head.ends_with(b"authentication failures") {
        return None;
    }
    let mut event = AuthEvent::new(Login, Failure);
    event.reason = Some(b"authentication failure");
    if head.ends_with(b"failures") {
        event.weight = number(more).unwrap_or(1);
    }
    pam_peers(&mut event, fields);
    Some(event)
}

/// Who and from where. `uid` is the number of the process that asks, not the account's. Without a host `ruser` is
/// who asks (`su`), `user` the account that is asked for; with one (`rsh`, FTP, mail) it is a name of the sender's
/// choice, by which guesses at one account would be told apart.
fn pam_peers<'a>(event: &mut AuthEvent<'a>, fields: &'a [u8]) {
    let mut asking = None;
    for (key, value) in pam_fields(fields) {
        match key {
            b"user" => event.user = some(value),
            b"rhost" => event.source = some(value),
            b"tty" => event.tty = some(value),
            b"ruser" => asking = some(value),
            _ => {}
        }
    }
    let is_local = event.source.is_none();
    if let Some(asking) = asking.filter(|a| is_local && event.user != Some(a)) {
        event.target_user = event.user.replace(asking);
    }
}

/// What the modules that count failures say, and of whom: pam_faillock, pam_tally2; and pam_unix
/// when nobody could be asked for the password.
fn locked(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(rest) = text.strip_prefix(b"Consecutive login failures for user ") {
        return Some((b"consecutive login failures", word(rest).0));
    }
    if let Some(rest) = text.strip_prefix(b"auth could not identify password for [") {
        return Some((b"could not identify password", split(rest, b"]")?.0));
    }
    let rest = text.strip_prefix(b"user ")?;
    let (name, rest) = word(rest);
    find(rest, b" tally ").map(|_| (rest, name))
}

/// `logname= uid=0 euid=0 tty=ssh ruser= rhost=1.2.3.4  user=root`: values have no blanks.
fn pam_fields(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|c| *c == b' ').filter_map(|pair| {
        let i = memchr::memchr(b'=', pair)?;
        Some((&pair[..i], &pair[i + 1..]))
    })
}

/// `root(uid=0)` -> `root`, `0`.
fn name_and_id(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match split(text, b"(uid=") {
        Some((name, id)) => (name, some(digits(id))),
        None => (text.trim_ascii(), None),
    }
}

fn number(text: &[u8]) -> Option<u32> {
    let digits = digits(text);
    (!digits.is_empty() && digits.len() <= 6)
        .then(|| digits.iter().fold(0, |n, c| n * 10 + u32::from(c - b'0')))
}

/// `bob : [reason ; ]TTY=pts/0 ; PWD=/home ; USER=root ; COMMAND=/bin/su -`.
fn sudo(text: &[u8]) -> Option<AuthEvent<'_>> {
    let (user, rest) = split(text, b" : ")?;
    let mut event = AuthEvent::new(Command, Success);
    event.user = some(user.trim_ascii());
    let (fields, command) = match split(rest, b"COMMAND=") {
        Some((fields, command)) => (fields, some(command)),
        None => (rest, None),
    };
    event.command = command;
    for part in fields.split(|c| *c == b';').map(<[u8]>::trim_ascii) {
        if let Some(tty) = part.strip_prefix(b"TTY=") {
            event.tty = some(tty);
        } else if let Some(cwd) = part.strip_prefix(b"PWD=") {
            event.cwd = some(cwd);
        } else if let Some(target) = part.strip_prefix(b"USER=") {
            event.target_user = some(target);
        } else if let Some(group) = part.strip_prefix(b"GROUP=") {
            event.group = some(group);
        } else if !part.is_empty() && !part.contains(&b'=') {
            event.outcome = Failure;
            event.reason = Some(part);
            if find(part, b"incorrect password attempt").is_some() {
                event.weight = number(part).unwrap_or(1).max(1);
            }
        }
    }
    (event.command.is_some() || event.reason.is_some()).then_some(event)
}

fn su(text: &[u8]) -> Option<AuthEvent<'_>> {
    let mut event = AuthEvent::new(SwitchUser, Success);
    let pairs: [(&[u8], &[u8], Outcome); 4] = [
        (b"Successful su for ", b" by ", Success),
        (b"FAILED su for ", b" by ", Failure),
        (b"FAILED SU (to ", b") ", Failure),
        (b"(to ", b") ", Success),
    ];
    for (head, middle, outcome) in pairs {
        let Some(rest) = text.strip_prefix(head) else { continue };
        let (target, by) = split(rest, middle)?;
        let (user, tty) = split(by, b" on ").unwrap_or((by, b""));
        event.outcome = outcome;
        event.target_user = some(target);
        event.user = some(user);
        event.tty = some(tty);
        return Some(event);
    }
    // "'su root' failed for bob on /dev/pts/8"
    if let Some(rest) = text.strip_prefix(b"'su ") {
        let (target, rest) = split(rest, b"' ")?;
        let (verb, rest) = split(rest, b" for ")?;
        let (user, tty) = split(rest, b" on ").unwrap_or((rest, b""));
        event.outcome = if verb == b"failed" { Failure } else { Success };
        event.target_user = some(target);
        event.user = some(user);
        event.tty = some(tty);
        return Some(event);
    }
    // BSD: "BAD SU bob to root on /dev/pts/0", "bob to root on /dev/pts/0"
    let bad = text.strip_prefix(b"BAD SU ");
    if let Some((user, rest)) = split(bad.unwrap_or(text), b" to ").filter(|p| !p.0.contains(&b' '))
    {
        let (target, tty) = split(rest, b" on ")?;
        event.outcome = if bad.is_some() { Failure } else { Success };
        event.user = some(user);
        event.target_user = some(target);
        event.tty = some(tty);
        return Some(event);
    }
    // "+ /dev/pts/0 bob:root"
    let (sign, rest) = word(text);
    let (tty, names) = word(rest);
    let (user, target) = split(names, b":")?;
    event.outcome = match sign {
        b"+" => Success,
        b"-" => Failure,
        _ => return None,
    };
    event.tty = some(tty).filter(|t| *t != b"???");
    event.user = some(user);
    event.target_user = some(target);
    Some(event)
}

/// `(root) CMD (  run-parts /etc/cron.hourly)`.
fn cron(text: &[u8]) -> Option<AuthEvent<'_>> {
    let (user, rest) = split(text.strip_prefix(b"(")?, b") ")?;
    let (verb, rest) = split(rest, b" (")?;
    if !matches!(verb, b"CMD" | b"CMDOUT" | b"CMDEND") {
        return None;
    }
    let mut event = AuthEvent::new(Job, Success);
    event.user = some(user);
    // What a job printed is no command.
    if verb != b"CMDOUT" {
        event.command = some(rest.strip_suffix(b")").unwrap_or(rest).trim_ascii());
    }
    Some(event)
}

fn logind(text: &[u8]) -> Option<AuthEvent<'_>> {
    let text = text.strip_suffix(b".").unwrap_or(text);
    if let Some(rest) = text.strip_prefix(b"New session ") {
        let mut event = AuthEvent::new(SessionOpened, Success);
        let (session, user) = split(rest, b" of user ")?;
        event.session = some(session);
        event.user = some(match user.strip_prefix(b"'") {
            Some(quoted) => split(quoted, b"'").map_or(quoted, |(name, _)| name),
            None => user,
        });
        return Some(event);
    }
    let session = text.strip_prefix(b"Removed session ").or_else(|| {
        split(text.strip_prefix(b"Session ")?, b" logged out").map(|(session, _)| session)
    })?;
    let mut event = AuthEvent::new(SessionClosed, Success);
    event.session = some(session);
    Some(event)
}

/// `FAILED LOGIN (1) on '/dev/tty1' FOR 'root', reason`, `ROOT LOGIN ON tty1`, `LOGIN ON tty1 BY bob`.
fn console_login(text: &[u8]) -> Option<AuthEvent<'_>> {
    let quoted = |t: &'_ [u8]| -> usize { usize::from(t.starts_with(b"'")) };
    if text.starts_with(b"FAILED LOGIN") {
        let mut event = AuthEvent::new(Login, Failure);
        if let Some((_, tty)) = split(text, b" on '") {
            event.tty = split(tty, b"'").and_then(|(tty, _)| some(tty));
        }
        let (head, who) = split(text, b" FOR ")?;
        if let Some((_, from)) = split(head, b" FROM ") {
            // A terminal's name, or who connects from elsewhere.
            match from.iter().any(|c| matches!(c, b'.' | b':')) {
                true => event.source = some(from),
                false => event.tty = some(from).filter(|f| *f != b"(null)"),
            }
        }
        let who = &who[quoted(who)..];
        let (user, reason) = split(who, b", ").unwrap_or((who, b""));
        event.user = some(user.strip_suffix(b"'").unwrap_or(user));
        event.reason = some(reason);
        return Some(event);
    }
    let mut event = AuthEvent::new(Login, Success);
    if text.starts_with(b"ROOT LOGIN") {
        event.user = Some(b"root");
        let (_, tty) = split(text, b"ON ").or_else(|| split(text, b"on "))?;
        event.tty = some(word(tty).0.trim_ascii());
        if let Some((_, from)) = split(text, b" FROM ") {
            let from = from.trim_ascii();
            event.source =
                some(from.strip_prefix(b"'").map_or(from, |f| f.strip_suffix(b"'").unwrap_or(f)));
        }
        return Some(event);
    }
    let (tty, user) = split(text.strip_prefix(b"LOGIN ON ")?, b" BY ")?;
    event.tty = some(tty);
    event.user = some(word(user).0);
    Some(event)
}

/// useradd, userdel, usermod, groupadd, groupdel, gpasswd, passwd.
fn account(text: &[u8]) -> Option<AuthEvent<'_>> {
    let mut event = AuthEvent::new(UserChanged, Success);
    let listed = |name: &[u8]| -> Option<&[u8]> {
        let i = find(text, name)? + name.len();
        let rest = &text[i..];
        some(&rest[..rest.iter().position(|c| *c == b',').unwrap_or(rest.len())])
    };
    if text.starts_with(b"new user: ") {
        event.action = UserAdded;
        event.target_user = listed(b"name=");
        event.uid = listed(b"UID=");
        return Some(event);
    }
    if text.starts_with(b"new group: ") || text.starts_with(b"group added to ") {
        event.action = GroupAdded;
        event.group = listed(b"name=");
        return Some(event);
    }
    if let Some(rest) = text.strip_prefix(b"failed adding user ") {
        event.action = UserAdded;
        event.outcome = Failure;
        event.target_user = first_quoted(rest);
        return event.target_user.map(|_| event);
    }
    if let Some(rest) = text.strip_prefix(b"delete user ") {
        event.action = UserDeleted;
        event.target_user = first_quoted(rest);
        return Some(event);
    }
    if let Some(name) = text.strip_prefix(b"changed password expiry for ") {
        event.target_user = some(name);
        return Some(event);
    }
    if text.starts_with(b"removed group ") || text.starts_with(b"group '") {
        event.action = GroupDeleted;
        event.group = first_quoted(text);
        return Some(event);
    }
    let member: [(&[u8], &[u8], Action); 2] =
        [(b"add '", b"to ", GroupMemberAdded), (b"delete '", b"from ", GroupMemberRemoved)];
    for (head, middle, action) in member {
        if text.starts_with(head) {
            event.action = action;
            event.target_user = first_quoted(text);
            event.group = split(text, middle).and_then(|(_, rest)| first_quoted(rest));
            return Some(event);
        }
    }
    if let Some(rest) = text.strip_prefix(b"user ") {
        // gpasswd: "user bob added by root to group sudo"
        let (target, rest) = word(rest);
        let (verb, rest) = split(rest, b" by ")?;
        let (by, rest) = word(rest);
        event.action = if verb == b"added" { GroupMemberAdded } else { GroupMemberRemoved };
        event.target_user = some(target);
        event.user = some(by);
        event.group = split(rest, b"group ").and_then(|(_, group)| some(group));
        return Some(event);
    }
    let rest =
        text.strip_prefix(b"change user ").or_else(|| text.strip_prefix(b"changed user "))?;
    event.target_user = first_quoted(rest);
    Some(event)
}

fn first_quoted(text: &[u8]) -> Option<&[u8]> {
    let (_, rest) = split(text, b"'")?;
    some(split(rest, b"'")?.0)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Option<&[u8]>) -> &str {
        std::str::from_utf8(bytes.unwrap_or(b"-")).unwrap()
    }

    #[test]
    fn messages_and_their_parts() {
        // program, message, action, outcome, weight, user, target, source, port
        type Case = (&'static str, &'static str, Action, Outcome, u32, [&'static str; 4]);
        #[rustfmt::skip] // one case a line
        let cases: &[Case] = &[
            ("sshd", "Failed password for root from 192.0.2.7 port 4711 ssh2", Login, Failure, 1, ["root", "-", "192.0.2.7", "4711"]),
            ("sshd", "Failed password for invalid user a b from 192.0.2.7 port 4711 ssh2", Login, Failure, 1, ["a b", "-", "192.0.2.7", "4711"]),
            ("sshd", "Failed password for invalid user x from 10.0.0.1 port 1 from 192.0.2.7 port 4711 ssh2", Login, Failure, 1, ["x from 10.0.0.1 port 1", "-", "192.0.2.7", "4711"]),
            ("sshd", "Failed none for invalid user  from 192.0.2.7 port 4711 ssh2", Login, Failure, 1, ["-", "-", "192.0.2.7", "4711"]),
            ("sshd", "Accepted publickey for ubuntu from 2001:db8::7 port 4711 ssh2: RSA SHA256:KlNk", Login, Success, 1, ["ubuntu", "-", "2001:db8::7", "4711"]),
            ("sshd", "message repeated 5 times: [ Failed password for root from 192.0.2.7 port 4711 ssh2]", Login, Failure, 5, ["root", "-", "192.0.2.7", "4711"]),
            ("sshd", "Invalid user admin from 192.0.2.7", Login, Failure, 1, ["admin", "-", "192.0.2.7", "-"]),
            ("sshd", "Invalid user  from 192.0.2.7", Login, Failure, 1, ["-", "-", "192.0.2.7", "-"]),
            ("sshd", "Connection closed by invalid user bob 192.0.2.7 port 4711 [preauth]", Disconnect, Unknown, 1, ["bob", "-", "192.0.2.7", "4711"]),
            ("sshd", "Connection closed by 192.0.2.7 [preauth]", Disconnect, Unknown, 1, ["-", "-", "192.0.2.7", "-"]),
            ("sshd", "Received disconnect from 192.0.2.7: 11: Bye Bye [preauth]", Disconnect, Unknown, 1, ["-", "-", "192.0.2.7", "-"]),
            ("sshd", "Received disconnect from 192.0.2.7 port 4711:11: disconnected by user", Disconnect, Unknown, 1, ["-", "-", "192.0.2.7", "4711"]),
            ("sshd", "Disconnecting authenticating user root 192.0.2.7 port 4711: Too many authentication failures [preauth]", Disconnect, Failure, 1, ["root", "-", "192.0.2.7", "4711"]),
            ("sshd", "Disconnected from user bob 192.0.2.7 port 4711", Disconnect, Unknown, 1, ["bob", "-", "192.0.2.7", "4711"]),
            ("sshd", "error: maximum authentication attempts exceeded for invalid user bob from 192.0.2.7 port 4711 ssh2 [preauth]", Login, Failure, 1, ["bob", "-", "192.0.2.7", "4711"]),
            ("sshd", "PAM 5 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.7  user=root", Login, Failure, 5, ["root", "-", "192.0.2.7", "-"]),
            ("sshd", "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.7  user=root", Login, Failure, 1, ["root", "-", "192.0.2.7", "-"]),
            ("sshd(pam_unix)", "authentication failure; logname= uid=0 euid=0 tty=NODEVssh ruser= rhost=host.example ", Login, Failure, 1, ["-", "-", "host.example", "-"]),
            ("sshd", "reverse mapping checking getaddrinfo for h.example [192.0.2.7] failed - POSSIBLE BREAK-IN ATTEMPT!", Connection, Unknown, 1, ["-", "-", "192.0.2.7", "-"]),
            ("sshd", "Did not receive identification string from 192.0.2.7", Connection, Failure, 1, ["-", "-", "192.0.2.7", "-"]),
            ("sshd", "ROOT LOGIN REFUSED FROM 192.0.2.7 port 4711", Login, Failure, 1, ["root", "-", "192.0.2.7", "4711"]),
            ("sshd", "fatal: Timeout before authentication for 192.0.2.7 port 4711", Disconnect, Unknown, 1, ["-", "-", "192.0.2.7", "4711"]),
            ("sshd", "Timeout before authentication for connection from 192.0.2.7 to 192.0.2.1, pid = 12", Disconnect, Unknown, 1, ["-", "-", "192.0.2.7", "-"]),
            ("sshd", "Timeout, client not responding from user bob 192.0.2.7 port 4711", Disconnect, Unknown, 1, ["bob", "-", "192.0.2.7", "4711"]),
            ("sshd", "banner exchange: Connection from 192.0.2.7 port 4711: invalid format", Connection, Failure, 1, ["-", "-", "192.0.2.7", "4711"]),
            ("sshd", "pam_sss(sshd:auth): authentication success; logname= uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.7 user=bob", Login, Success, 1, ["bob", "-", "192.0.2.7", "-"]),
            ("sshd", "pam_faillock(sshd:auth): Consecutive login failures for user bob account temporarily locked", Login, Failure, 1, ["bob", "-", "-", "-"]),
            ("sshd", "pam_tally2(sshd:auth): user bob (1000) tally 5, deny 3", Login, Failure, 1, ["bob", "-", "-", "-"]),
            ("su", "BAD SU bob to root on /dev/ttyp0", SwitchUser, Failure, 1, ["bob", "root", "-", "-"]),
            ("login", "FAILED LOGIN SESSION FROM 192.0.2.7 FOR root, Error in service module", Login, Failure, 1, ["root", "-", "192.0.2.7", "-"]),
            ("chage", "changed password expiry for bob", UserChanged, Success, 1, ["-", "bob", "-", "-"]),
            ("sshd", "User bob from 192.0.2.7 not allowed because not listed in AllowUsers", Login, Failure, 1, ["bob", "-", "192.0.2.7", "-"]),
            ("CRON", "pam_unix(cron:session): session opened for user root by (uid=0)", SessionOpened, Success, 1, ["-", "root", "-", "-"]),
            ("sudo", "pam_unix(sudo:session): session opened for user root(uid=0) by bob(uid=1000)", SessionOpened, Success, 1, ["bob", "root", "-", "-"]),
            ("sudo", "  bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/bin/cat a ; b", Command, Success, 1, ["bob", "root", "-", "-"]),
            ("sudo", "bob : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/su", Command, Failure, 3, ["bob", "root", "-", "-"]),
            ("sudo", "bob : user NOT in sudoers ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/su", Command, Failure, 1, ["bob", "root", "-", "-"]),
            ("su", "Successful su for root by bob", SwitchUser, Success, 1, ["bob", "root", "-", "-"]),
            ("su", "'su root' failed for lonvick on /dev/pts/8", SwitchUser, Failure, 1, ["lonvick", "root", "-", "-"]),
            ("su", "- /dev/pts/0 bob:root", SwitchUser, Failure, 1, ["bob", "root", "-", "-"]),
            ("su", "FAILED SU (to root) bob on pts/1", SwitchUser, Failure, 1, ["bob", "root", "-", "-"]),
            ("CRON", "(root) CMD (   cd / && run-parts --report /etc/cron.hourly)", Job, Success, 1, ["root", "-", "-", "-"]),
            ("systemd-logind", "New session 5 of user ubuntu.", SessionOpened, Success, 1, ["ubuntu", "-", "-", "-"]),
            ("systemd-logind", "Removed session 5.", SessionClosed, Success, 1, ["-", "-", "-", "-"]),
            ("useradd", "new user: name=bob, UID=1001, GID=1001, home=/home/bob, shell=/bin/bash", UserAdded, Success, 1, ["-", "bob", "-", "-"]),
            ("usermod", "add 'bob' to group 'sudo'", GroupMemberAdded, Success, 1, ["-", "bob", "-", "-"]),
            ("userdel", "delete user 'bob'", UserDeleted, Success, 1, ["-", "bob", "-", "-"]),
            ("login", "FAILED LOGIN (1) on '/dev/tty1' FOR 'root', Authentication failure", Login, Failure, 1, ["root", "-", "-", "-"]),
            ("login", "ROOT LOGIN  on '/dev/pts/1' FROM '192.0.2.7'", Login, Success, 1, ["root", "-", "192.0.2.7", "-"]),
            ("login", "ROOT LOGIN ON pts/1 FROM 192.0.2.7", Login, Success, 1, ["root", "-", "192.0.2.7", "-"]),
            ("systemd-logind", "New session 44 of user 'bob' with class 'user' and type 'tty'.", SessionOpened, Success, 1, ["bob", "-", "-", "-"]),
            ("su", "pam_unix(su:auth): authentication failure; logname=bob uid=1000 euid=0 tty=pts/0 ruser=bob rhost=  user=root", Login, Failure, 1, ["bob", "root", "-", "-"]),
            ("vsftpd", "pam_unix(vsftpd:auth): authentication failure; logname= uid=0 euid=0 tty=ftp ruser=made-up-7 rhost=203.0.113.9  user=root", Login, Failure, 1, ["root", "-", "203.0.113.9", "-"]),
        ];
        for (program, message, action, outcome, weight, parts) in cases {
            let got = parse(program.as_bytes(), message.as_bytes())
                .unwrap_or_else(|| panic!("{message}"));
            assert_eq!(
                (got.action, got.outcome, got.weight),
                (*action, *outcome, *weight),
                "{message}"
            );
            let shown = [got.user, got.target_user, got.source, got.source_port].map(text);
            assert_eq!(shown, *parts, "{message}");
        }
        assert_eq!(parse(b"nginx", b"Failed password for root from 192.0.2.7 port 1 ssh2"), None);
    }

    #[test]
    fn the_smaller_parts() {
        let sudo =
            parse(b"sudo", b"bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/bin/cat a ; b")
                .unwrap();
        assert_eq!(text(sudo.command), "/bin/cat a ; b");
        assert_eq!((text(sudo.tty), text(sudo.cwd)), ("pts/0", "/home/bob"));
        let key =
            parse(b"sshd", b"Accepted publickey for u from 192.0.2.7 port 1 ssh2: RSA SHA256:KlNk")
                .unwrap();
        assert_eq!((text(key.fingerprint), text(key.method)), ("SHA256:KlNk", "publickey"));
        let session = parse(b"systemd-logind", b"New session c2 of user gdm.").unwrap();
        assert_eq!(text(session.session), "c2");
        assert_eq!(repeated(b"last message repeated 7 times"), Some((7, &b""[..])));
        assert_eq!(repeated(b"message repeated times"), None);
        assert_eq!(
            parse(b"sshd", b"message repeated 2 times: [ message repeated 2 times: [ x]]"),
            None
        );
    }
}
