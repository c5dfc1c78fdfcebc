//! What is past its time goes from the front of the stream, what lives on stays, and a crash at any
//! call comes up right.

use crate::*;
use event::time::SECOND_NS;
use journal::{Fs, SealedBlocks};
use ledger::{
    AlertDetail, AlertFilter, Audit, AuditFilter, AuditRow, DeliveryStatus, Front, LedgerError,
    Retirement, SavedRow, SavedSearch, SearchRun, check_retired,
};
use testkit::{SimClock, SimFs};
use trust::{Frontier, Hash, Role, Scope, TokenKind, TokenRecord};

const DAY_NS: i64 = 86_400 * SECOND_NS;
/// Records are kept for so long.
const KEPT_NS: i64 = 400 * DAY_NS;
/// Alerts of each age: with [`REASON_BYTES`] some segments of the smallest size.
const ALERTS: u64 = 40;
const REASON_BYTES: usize = 20_000;

/// What anybody can ask.
#[derive(Clone, Debug, PartialEq)]
struct Answers {
    alerts: Vec<AlertDetail>,
    audit: Vec<AuditRow>,
    tokens: Vec<TokenRecord>,
    searches: Vec<SavedRow>,
}

impl Answers {
    fn of(ledger: &Ledger) -> Self {
        let page = ledger.alerts(&AlertFilter::default(), 1_000, None).unwrap();
        let mut audit = ledger.audit(&AuditFilter::default(), 1_000, None).unwrap().rows;
        // A retirement's own line stands where it was written, which a crash may shift.
        audit.retain(|row| row.action != "ledger.retire");
        Self {
            alerts: page.rows.iter().map(|r| ledger.alert(&r.id).unwrap().unwrap()).collect(),
            audit,
            tokens: ledger.tokens(),
            searches: ledger.searches().unwrap(),
        }
    }

    /// What is left when all below `next` has gone but those alerts.
    fn without(mut self, next: u64, living: &[String]) -> Self {
        self.alerts.retain(|a| a.offset >= next || living.contains(&a.alert.id));
        self.audit.retain(|row| row.offset >= next);
        self
    }
}

/// In memory where the system has such a place: hundreds of indexes are opened here.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A ledger on any file system, with its clock.
struct World {
    fs: Arc<dyn Fs>,
    clock: SimClock,
    dir: tempfile::TempDir,
}

impl World {
    fn new(fs: impl Fs + 'static) -> Self {
        Self { fs: Arc::new(fs), clock: SimClock::new(7), dir: folder() }
    }

    fn stream(&self) -> std::path::PathBuf {
        self.dir.path().join("stream")
    }

    fn journal(&self) -> Arc<Journal> {
        let sealer: journal::Sealer = Arc::new(|blocks: &SealedBlocks<'_>| {
            let mut leaves = Frontier::default();
            let each = |block: &journal::Block| {
                block.records().for_each(|record| leaves.push(Hash::of(record.bytes)));
            };
            blocks.for_each(each).map_or([0; 32], |()| leaves.root().0)
        });
        let options = journal::Options {
            segment_size_bytes: 256 << 10,
            disk_reserve_bytes: 0,
            spares: 0,
            sealer: Some(sealer),
            ..journal_options()
        };
        let clock = Arc::new(self.clock.clone());
        Arc::new(Journal::open(self.stream(), options, self.fs.clone(), clock).unwrap().0)
    }

    fn open(&self) -> (Arc<Journal>, Ledger) {
        let journal = self.journal();
        (journal.clone(), Ledger::open(self.dir.path(), journal).unwrap())
    }

    fn days_pass(&self, days: u64) {
        self.clock.advance(days * DAY_NS as u64);
    }

    fn keep_from_ns(&self) -> i64 {
        journal::Clock::wall_ns(&self.clock) - KEPT_NS
    }

    fn retire(&self, ledger: &Ledger) -> Result<Retirement, LedgerError> {
        ledger.retire(self.keep_from_ns(), &actor("alcedo"), &|| true)
    }

    /// As soon as everything old is sealed, which the journal does in a thread of its own.
    fn retire_all(&self, journal: &Journal, ledger: &Ledger) -> (u64, u64) {
        wait_sealed(journal);
        match self.retire(ledger).unwrap() {
            Retirement::Done { range, alerts } => (range.next, alerts),
            other => panic!("{other:?}"),
        }
    }

    fn forget_index(&self) {
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(self.dir.path().join(format!("ledger.sqlite{end}")));
        }
    }
}

fn wait_sealed(journal: &Journal) {
    let began = std::time::Instant::now();
    while journal.sealed_before(i64::MAX).unwrap().len() as u64 + 1 < journal.stats().segments {
        assert!(began.elapsed().as_secs() < 30, "segments are not sealed");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn long_alert(n: u64) -> Alert {
    let mut alert = make_alert(n, Level::High, "WS-1");
    alert.reason = format!("{n} {}", "r".repeat(REASON_BYTES));
    alert
}

fn token(n: u64) -> TokenRecord {
    TokenRecord {
        id: format!("{n:016x}"),
        name: "t".into(),
        kind: TokenKind::Api,
        secret_hash: Hash::of(&n.to_le_bytes()),
        scope: Scope {
            roles: vec![Role::Admin],
            sources: vec![],
            networks: vec![],
            expires_ns: None,
        },
        created_by: "user:kim".into(),
        created_ns: 1,
        revoked_ns: None,
    }
}

/// Everything that can be in the ledger, about alerts `from..from + ALERTS`: all are closed but every
/// tenth, which is somebody's.
fn live(ledger: &Ledger, from: u64) {
    let mut records = Vec::new();
    for n in from..from + ALERTS {
        let alert = long_alert(n);
        let id = alert.id.clone();
        let delivery = LedgerRecord::Delivery {
            alert: id.clone(),
            sink: "siem".into(),
            status: DeliveryStatus::Delivered,
            attempts: 1,
            detail: String::new(),
            actor: actor("alcedo"),
        };
        let actor = actor("user:kim");
        let note =
            LedgerRecord::Note { alert: id.clone(), text: "looked".into(), actor: actor.clone() };
        let taken = LedgerRecord::Assign { alert: id, assignee: Some("kim".into()), actor };
        records.extend([fired(&alert), folded(&alert, n + 2), delivery, note]);
        records.extend((n % 10 == 0).then_some(taken));
    }
    ledger.submit(records, 1).unwrap();
    let closed =
        (from..from + ALERTS).filter(|n| n % 10 != 0).map(|n| make_alert(n, Level::Low, "").id);
    let closed = AlertFilter { ids: closed.collect(), ..AlertFilter::default() };
    assert_eq!(ledger.bulk_triage(&closed, &close("expected")).unwrap().1, 0);
    for n in [from, from + 1] {
        ledger.create_token(token(n), actor("user:kim")).unwrap();
        let (name, query) = (format!("s{n}"), format!("n:{n}"));
        let search = SavedSearch { name, query, ..SavedSearch::default() };
        ledger.save_search(search, actor("user:kim")).unwrap();
    }
    ledger.revoke_token(&token(from).id, actor("user:kim")).unwrap();
    ledger.remove_search(&format!("s{from}"), actor("user:kim")).unwrap();
    let run = SearchRun { until: from, rows: 3, ..SearchRun::default() };
    let ran = LedgerRecord::SearchRan { name: format!("s{}", from + 1), run, actor: actor("a") };
    let audit = Audit { action: "login.ok".into(), target: String::new(), detail: String::new() };
    ledger.submit(vec![ran, LedgerRecord::Audit { audit, actor: actor("user:kim") }], 1).unwrap();
}

/// An old ledger that something happens to 500 days later. Ids of the old alerts that live on: those
/// that are open, one that was noted on, one that more happened to.
fn grow(world: &World, ledger: &Ledger) -> Vec<String> {
    live(ledger, 0);
    world.days_pass(500);
    live(ledger, 1_000);
    let id = |n: u64| make_alert(n, Level::High, "").id;
    ledger.note(&id(11), "again", actor("user:kim")).unwrap();
    let mut more = folded(&long_alert(12), 99);
    if let LedgerRecord::AlertFolded { folded } = &mut more {
        folded.last_stream_ns = world.keep_from_ns() + 1;
        folded.evidence.clear();
    }
    ledger.submit(vec![more], 1).unwrap();
    // Two that are decided only now: one was open, one is opened again.
    ledger.triage(&id(20), &close("at last")).unwrap();
    let reopen = TriageRequest { to: State::Acknowledged, why: "no".into(), ..acknowledge() };
    ledger.triage(&id(13), &reopen).unwrap();
    (0..ALERTS / 10).map(|n| id(n * 10)).chain([11, 12, 13].map(id)).collect()
}

/// Scenario: alerts, decisions, tokens, searches and audit of two ages with 500 days between them; what
/// is older than 400 goes; another 500 days later the rest.
/// Guarantees: open alerts and those that anything happened to since are there with all they had, so
/// are tokens and searches; closed alerts and audit of that time are not. An index that is made again
/// answers the same; the space is freed; the chain goes on over the second time.
#[test]
fn what_is_past_its_time_goes_and_answers_stay() {
    let world = World::new(OsFs);
    let (journal, ledger) = world.open();
    let living = grow(&world, &ledger);
    let before = Answers::of(&ledger);
    let segments = journal.stats().segments;
    let (next, alerts) = world.retire_all(&journal, &ledger);
    assert_eq!((journal.stats().first_offset, alerts), (next, living.len() as u64));
    assert!(journal.stats().segments < segments);
    let expected = before.without(next, &living);
    // The last segment of the old age has some of it left.
    let gone = 2 * ALERTS - expected.alerts.len() as u64;
    assert!(gone > ALERTS / 2 && gone < ALERTS, "{gone}");
    assert_eq!(Answers::of(&ledger), expected);
    assert_eq!(world.retire(&ledger).unwrap(), Retirement::Nothing);
    ledger.rebuild().unwrap();
    assert_eq!(Answers::of(&ledger), expected, "rebuilt in place");
    let counters = ledger.counters();
    assert_eq!((counters.holes, counters.unreadable, counters.disagreements), (0, 0, 0));
    drop((journal, ledger));
    world.forget_index();
    let (journal, ledger) = world.open();
    assert_eq!(Answers::of(&ledger), expected, "made again");
    // A replay of what is kept is known, also of what was carried over.
    let again = [fired(&long_alert(10)), fired(&long_alert(1_001))].to_vec();
    assert_eq!(ledger.submit(again, 1).unwrap().known, 2);
    world.days_pass(500);
    live(&ledger, 2_000);
    let audit = ledger.audit(&AuditFilter::default(), 1_000, None).unwrap().rows;
    assert_eq!(audit.iter().filter(|row| row.action == "ledger.retire").count(), 1);
    let (second, _) = world.retire_all(&journal, &ledger);
    assert!(second > next);
    let expected = Answers::of(&ledger);
    let open = |a: &&AlertDetail| a.offset < second;
    assert!(expected.alerts.iter().filter(open).all(|a| a.state != State::Closed));
    // One was closed and one opened since; those of the second age are all there.
    let still_open = (2 * ALERTS / 10) as usize;
    assert_eq!(expected.alerts.iter().filter(open).count(), still_open, "{second}");
    assert_eq!((expected.tokens.len(), expected.searches.len()), (6, 3));
    drop((journal, ledger));
    let front = check_retired(&world.stream(), second).unwrap();
    let Front::InOrder { alerts, .. } = front else { panic!("{front:?}") };
    assert_eq!(alerts as usize, still_open);
    world.forget_index();
    assert_eq!(Answers::of(&world.open().1), expected);
}

/// Scenario: a front that is gone by other means: a file removed by hand; a journal that was told to
/// let go without the ledger's record; a record of an earlier range; rows that are not there.
/// Guarantees: exactly the range that a record names is taken for gone in order.
#[test]
fn only_what_a_record_names_is_gone_in_order() {
    let world = World::new(OsFs);
    let (journal, ledger) = world.open();
    assert_eq!(check_retired(&world.stream(), 0).unwrap(), Front::Whole);
    grow(&world, &ledger);
    let (next, _) = world.retire_all(&journal, &ledger);
    drop(ledger);
    let segments = journal.sealed_before(i64::MAX).unwrap();
    drop(journal);
    let sound = || journal::inspect::fsck(&world.stream(), &mut |_| ()).unwrap().is_sound();
    assert!(sound());
    assert!(matches!(check_retired(&world.stream(), next).unwrap(), Front::InOrder { .. }));
    // By hand.
    let name = format!("{:020}.wal", segments[0].first_offset);
    let (file, aside) = (world.stream().join(&name), world.dir.path().join("aside"));
    std::fs::rename(&file, &aside).unwrap();
    assert!(!sound(), "the manifest says where it begins");
    std::fs::rename(&aside, &file).unwrap();
    // With the manifest's consent, and without a record.
    let journal = world.journal();
    let further = segments[0].next_offset;
    assert_eq!(journal.retire_below(further).unwrap().first_offset, further);
    drop(journal);
    assert!(sound());
    let Front::Wrong { why } = check_retired(&world.stream(), further).unwrap() else { panic!() };
    assert!(why.contains("no record says"), "{why}");
    // An index of that stream is made of what is there, and says that something is missing.
    world.forget_index();
    assert!(world.open().1.counters().holes > 0);
}

/// Scenario: everything old is open; a reader has not passed it; a backup holds the stream; the disk has
/// no room for what lives on.
/// Guarantees: it stays, nothing is written for it, and it goes when that is over.
#[test]
fn what_is_needed_or_cannot_be_paid_for_stays() {
    let disk = SimFs::new(3);
    let world = World::new(disk.clone());
    let (journal, ledger) = world.open();
    ledger.submit((0..ALERTS).map(|n| fired(&long_alert(n))).collect(), 1).unwrap();
    world.days_pass(500);
    ledger.submit((1_000..1_000 + ALERTS).map(|n| fired(&long_alert(n))).collect(), 1).unwrap();
    wait_sealed(&journal);
    let end = journal.durable();
    let told = world.retire(&ledger).unwrap();
    assert!(matches!(told, Retirement::Postponed { .. }), "{told:?}");
    assert_eq!((journal.durable(), journal.stats().first_offset), (end, 0));
    let all = AlertFilter { until_ns: Some(400), ..AlertFilter::default() };
    ledger.bulk_triage(&all, &close("expected")).unwrap();
    journal.set_cursor("notify:siem", 0).unwrap();
    // Decided today: that alone makes it live on for another 400 days.
    assert!(matches!(world.retire(&ledger).unwrap(), Retirement::Nothing));
    world.days_pass(500);
    ledger.submit((2_000..2_000 + ALERTS).map(|n| fired(&long_alert(n))).collect(), 1).unwrap();
    wait_sealed(&journal);
    assert_eq!(world.retire(&ledger).unwrap(), Retirement::Nothing, "a reader is behind");
    journal.set_cursor("notify:siem", 50).unwrap();
    disk.set_available(1 << 20);
    let look = |free_bytes: u64| {
        let began = std::time::Instant::now();
        while journal.stats().free_bytes != free_bytes {
            assert!(began.elapsed().as_secs() < 30, "the journal does not look at the disk");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    look(1 << 20);
    let refused = world.retire(&ledger).unwrap_err();
    assert!(matches!(refused, LedgerError::NoRoom { .. }), "{refused}");
    disk.set_available(1 << 40);
    look(1 << 40);
    journal.set_hold(Some(0));
    let told = world.retire(&ledger).unwrap();
    let Retirement::Done { range, .. } = told else { panic!("{told:?}") };
    assert!(range.next <= 50);
    assert_eq!(journal.stats().first_offset, 0, "held");
    journal.set_hold(None);
    let _ = world.retire(&ledger).unwrap();
    assert!(journal.stats().first_offset >= range.next);
}

/// Scenario: the machine dies at each call to the disk while the front goes, and of what was not synced
/// some survives; the index is as it was left, one from before, or gone.
/// Guarantees: the three answer the same: all as before, or all as after; the next call brings it to an
/// end.
#[test]
fn a_crash_at_any_call_comes_up_right() {
    let first = SimFs::new(1);
    let world = World::new(first.clone());
    let (journal, ledger) = world.open();
    let living = grow(&world, &ledger);
    wait_sealed(&journal);
    let before = Answers::of(&ledger);
    drop(ledger);
    Arc::into_inner(journal).unwrap().close().unwrap();
    let index = std::fs::read(world.dir.path().join("ledger.sqlite")).unwrap();
    let (mut met_before, mut met_after, mut calls) = (0, 0, 0);
    loop {
        calls += 1;
        let disk = first.after_power_loss(calls);
        let world = World { fs: Arc::new(disk.clone()), ..reopened(&world, &index) };
        let (journal, ledger) = world.open();
        disk.crash_after(calls);
        let done = world.retire(&ledger);
        let is_dead = disk.is_dead();
        drop((ledger, journal));
        disk.disarm();
        let disk = disk.after_power_loss(1_000 + calls);
        let left = std::fs::read(world.dir.path().join("ledger.sqlite")).unwrap();
        let world = World { fs: Arc::new(disk), ..world };
        let opened = |bytes: Option<&Vec<u8>>| {
            world.forget_index();
            if let Some(bytes) = bytes {
                std::fs::write(world.dir.path().join("ledger.sqlite"), bytes).unwrap();
            }
            let opened = world.open();
            assert_eq!(opened.1.counters().holes, 0, "call {calls}");
            opened
        };
        let as_left = Answers::of(&opened(Some(&left)).1);
        let from_before = Answers::of(&opened(Some(&index)).1);
        let (journal, ledger) = opened(None);
        let made_again = Answers::of(&ledger);
        assert!(as_left == made_again && from_before == made_again, "call {calls}: {done:?}");
        match made_again == before {
            true => met_before += 1,
            false => met_after += 1,
        }
        let next = match world.retire(&ledger).unwrap() {
            Retirement::Done { range, .. } => range.next,
            Retirement::Nothing => journal.stats().first_offset,
            other => panic!("{other:?}"),
        };
        assert_eq!(journal.stats().first_offset, next, "call {calls}");
        let expected = before.clone().without(next, &living);
        assert!(Answers::of(&ledger) == expected, "call {calls}");
        if !is_dead {
            break;
        }
    }
    println!("{calls} calls; came up as before {met_before} times, as after {met_after} times");
    assert!(met_before > 3 && met_after > 3 && calls > 10, "{met_before} {met_after} {calls}");
}

/// The same clock, and an index of its own as it was.
fn reopened(world: &World, index: &[u8]) -> World {
    let dir = folder();
    std::fs::write(dir.path().join("ledger.sqlite"), index).unwrap();
    World { fs: world.fs.clone(), clock: world.clock.clone(), dir }
}

/// A log of roots with another root in its first line, which is 96 bytes long.
fn with_another_root(mut log: Vec<u8>) -> Vec<u8> {
    log[48] ^= 1;
    let crc = crc32c::crc32c(&log[..92]);
    log[92..96].copy_from_slice(&crc.to_le_bytes());
    log
}

/// Scenario: a block of what is old enough rots, a segment has another root than it was sealed with; somebody
/// sets a hold while rows are being copied.
/// Guarantees: nothing goes, and why is told; without them it goes.
#[test]
fn what_cannot_be_read_or_is_held_meanwhile_stays() {
    let world = World::new(OsFs);
    let (journal, ledger) = world.open();
    grow(&world, &ledger);
    wait_sealed(&journal);
    let held = ledger.retire(world.keep_from_ns(), &actor("alcedo"), &|| false).unwrap();
    assert_eq!((held, journal.stats().first_offset), (Retirement::Nothing, 0));
    let first = world.stream().join(format!("{:020}.wal", 0));
    let sound = std::fs::read(&first).unwrap();
    let mut rotten = sound.clone();
    let middle = rotten.len() / 2;
    rotten[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(&first, &rotten).unwrap();
    let refused = world.retire(&ledger).unwrap_err();
    assert!(matches!(refused, LedgerError::OldPartDamaged { .. }), "{refused}");
    assert_eq!(journal.stats().first_offset, 0);
    std::fs::write(&first, &sound).unwrap();
    // Whoever can write to the folder can make records anew that read well: their root is another one. Here
    // it is the log that changes, so that the two differ.
    let log = world.stream().join("roots.log");
    let sealed = std::fs::read(&log).unwrap();
    std::fs::write(&log, with_another_root(sealed.clone())).unwrap();
    let refused = world.retire(&ledger).unwrap_err();
    assert!(matches!(refused, LedgerError::OldPartChanged { first: 0, .. }), "{refused}");
    assert_eq!(journal.stats().first_offset, 0);
    std::fs::write(&log, &sealed).unwrap();
    assert!(matches!(world.retire(&ledger).unwrap(), Retirement::Done { .. }));
}

/// Scenario: records of nearly every type in a stream that was retired from.
/// Guarantees: a record's name is its type in the JSON, which stands first: counts and scans go by both.
#[test]
fn a_records_name_is_its_type() {
    let world = World::new(OsFs);
    let (journal, ledger) = world.open();
    grow(&world, &ledger);
    world.retire_all(&journal, &ledger);
    drop((journal, ledger));
    let mut names = std::collections::BTreeSet::new();
    journal::inspect::export(&world.stream(), 0, u64::MAX, &mut |_| (), |one| {
        let journal::inspect::Exported::Record(view, bytes) = one else { return };
        if view.kind == event::RecordKind::Ledger {
            let name = serde_json::from_slice::<LedgerRecord>(bytes).unwrap().name();
            let text = std::str::from_utf8(bytes).unwrap();
            assert!(text.starts_with(&format!("{{\"type\":\"{name}\"")), "{text}");
            names.insert(name);
        }
    })
    .unwrap();
    assert!(
        names.len() >= 12 && names.contains("carried") && names.contains("retired"),
        "{names:?}"
    );
}
