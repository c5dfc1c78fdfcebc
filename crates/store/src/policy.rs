//! What may go and what must stay: retention rules, deletions by query, legal holds.
//!
//! ```text
//! rule (age, bytes, filter) --plan--> files to drop, rows to hide --hold?--> drop | tombstone
//! delete(filter, who, why)  ----------------------------------------------> tombstone
//! tombstone: searches do not see the rows from now on; files are rewritten later, then it is gone
//! ```
//! A row that a hold matches is never removed: files with such a row stay whole, rewrites keep it. If
//! it was deleted before it was held, it stays hidden, and goes when the hold is released.
//! Everything that removes or forbids removing gives back [`AuditRecord`]s for the ledger.
//!
//! Filters are kept as text in the search language; times in them must be absolute.

use crate::error::StoreError;
use crate::kernel::{Bits, Group, Resolved};
use crate::manifest::{Change, FileEntry};
use crate::read::FileHandle;
use crate::rows::HotBatch;
use crate::scan::Snapshot;
use crate::store::{Store, Upkeep};
use crate::tier::TierOptions;
use crate::upkeep::unless_damaged;
use event::{Dictionary, EventId};
use filter::Plan;
use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const DAY_NS: i64 = 86_400 * event::time::SECOND_NS;
/// PCI DSS 10.5.1: at least 12 months of audit history.
pub const PCI_AGE_NS: i64 = 365 * DAY_NS;
/// And the last three of them immediately available.
pub const PCI_AT_HAND_NS: i64 = 90 * DAY_NS;
/// Most holds and most deletions waiting for their rewrite: each is a filter on every search.
pub const RULES_MAX: usize = 256;
/// Pause between two applications of the rules of retention.
pub const RETIRE_EVERY_NS: i64 = 60 * event::time::SECOND_NS;
/// Pause before a file that could not be read is asked again for deleted rows.
const LOOK_AGAIN_NS: i64 = 60 * event::time::SECOND_NS;
/// Looking for deleted rows lets others rewrite files after so long.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// One rule of retention. What it says applies to rows that its filter matches, or to all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionRule {
    /// Name, for plans and audit.
    pub name: String,
    /// Rows received longer ago go.
    pub age_ns: Option<i64>,
    /// Oldest files go beyond so many bytes in all; only without a filter.
    pub bytes: Option<u64>,
    /// Which rows, in the search language: `alcedo.source:noisy`, `event.severity<3`.
    pub filter: Option<String>,
}

/// Rows that must not be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Number, given by the store.
    pub id: u64,
    /// Which rows, in the search language.
    pub filter: String,
    /// Only rows with `@timestamp` at or after this, ns.
    pub since_ns: Option<i64>,
    /// Only rows with `@timestamp` before this, ns.
    pub until_ns: Option<i64>,
    /// Who asked.
    pub actor: String,
    /// Why: a case number.
    pub reason: String,
    /// When, ns.
    pub set_at_ns: i64,
}

/// Rows that searches no longer see and that go with the next rewrite.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Number, given by the store.
    pub id: u64,
    /// Which rows, in the search language.
    pub filter: String,
    /// Only rows received before this, ns: what arrives later stays.
    pub received_before_ns: i64,
    /// Who asked, or the rule of retention.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// Something that was removed, hidden, held or released.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditRecord {
    /// `retention.drop`, `retention.held`, `delete.hide`, `delete.rewrite`, `reparse.rewrite`, `hold.set`, `hold.release`.
    pub action: String,
    /// Who asked, or the rule of retention.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Filter or path.
    pub subject: String,
    /// Rows concerned.
    pub rows: u64,
    /// Bytes given back.
    pub bytes: u64,
}

/// What a rule would do now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RulePlan {
    /// Name of the rule.
    pub rule: String,
    /// Files that would be dropped whole.
    pub files: u64,
    /// Rows that would go.
    pub rows: u64,
    /// Bytes of the dropped files, and of files that are rewritten the share of the rows that go.
    pub bytes: u64,
    /// Oldest receipt among what would go, ns.
    pub oldest_ns: Option<i64>,
    /// Files that would go if no hold kept them.
    pub held_files: u64,
    /// Rows that would go if no hold kept them.
    pub held_rows: u64,
}

/// What a deletion would hide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletionPlan {
    /// Rows that it matches, those that a hold keeps among them.
    pub rows: u64,
    /// Their share of the bytes of their files.
    pub bytes: u64,
    /// Oldest receipt among them, ns.
    pub oldest_ns: Option<i64>,
    /// Rows among them that a hold keeps: while there is one, the deletion is refused.
    pub held_rows: u64,
    /// The holds that do, or that may do so in files that cannot be read.
    pub holds: Vec<Hold>,
    /// Files that cannot be read; their rows are not counted.
    pub unread_files: u64,
}

/// The share of a file's bytes that some of its rows have.
fn share_bytes(entry: &FileEntry, rows: usize) -> u64 {
    let share = u128::from(entry.total_bytes()) * rows as u128 / u128::from(entry.rows.max(1));
    share.min(u128::from(u64::MAX)) as u64
}

/// The earlier of two times, where there are any.
fn earlier(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a.into_iter().chain(b).min()
}

/// When the disk will be full.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Forecast {
    /// Bytes on the local disk now.
    pub bytes: u64,
    /// Bytes that came per day of receipt, over the last week.
    pub bytes_per_day: u64,
    /// Bytes that will be stored once rows leave as fast as they come; none without a limit.
    pub settled_bytes: Option<u64>,
    /// Days until the free space is used up; none if that never happens.
    pub days_left: Option<u64>,
}

/// A hold or a tombstone ready for use.
pub(crate) struct Hidden {
    pub(crate) resolved: Resolved,
    pub(crate) since_ns: Option<i64>,
    pub(crate) until_ns: Option<i64>,
    pub(crate) received_before_ns: Option<i64>,
}

impl Hidden {
    pub(crate) fn of(text: &str, dict: &Dictionary) -> Result<Self, StoreError> {
        let resolved = Resolved::new(plan_of(text)?, dict);
        Ok(Self { resolved, since_ns: None, until_ns: None, received_before_ns: None })
    }

    /// The rows of `mask` that it matches.
    pub(crate) fn rows(&self, group: &mut Group, mask: &Bits) -> Result<Bits, StoreError> {
        let mut mask = mask.and(&group.in_time(self.since_ns, self.until_ns)?);
        if let Some(before) = self.received_before_ns {
            let times = group.received()?;
            mask.retain(|row| times[row] < before);
        }
        group.matching(&self.resolved, &mask)
    }

    /// Whether it matches a hot row.
    pub(crate) fn holds(&self, binding: &filter::Binding, row: &event::EventView<'_>) -> bool {
        let at = row.event_ns();
        self.since_ns.is_none_or(|s| at >= s)
            && self.until_ns.is_none_or(|u| at < u)
            && self.received_before_ns.is_none_or(|b| row.received_ns() < b)
            && self.resolved.plan.matches(binding, row)
    }
}

/// What is known of a file's deleted rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looked {
    /// Of which [`Store::looks_epoch`] it is.
    epoch: u64,
    /// Of the deletions up to this number it has no rows but those that a hold keeps.
    through: u64,
    /// Of these deletions it has such rows.
    held: Vec<u64>,
    /// It could not be read: it is asked again no sooner than then, ns.
    again_ns: Option<i64>,
}

impl Looked {
    /// Whether the file was looked at for the deletion, or is too young for it.
    fn knows(&self, tombstone: &Tombstone, epoch: u64, entry: &FileEntry) -> bool {
        let was_asked = self.epoch == epoch && tombstone.id <= self.through;
        was_asked || entry.received_min_ns >= tombstone.received_before_ns
    }

    fn rests(&self, now_ns: i64) -> bool {
        // A clock that was set back must not make it rest for long.
        self.again_ns.is_some_and(|at| now_ns < at && at.saturating_sub(now_ns) <= LOOK_AGAIN_NS)
    }
}

/// Whether a file is to be looked at for deleted rows; never again once it could not be read whole.
fn is_due(file: &FileHandle, tombstones: &[Tombstone], epoch: u64, now_ns: i64) -> bool {
    let looked = file.looked.lock();
    !file.is_damaged()
        && !looked.rests(now_ns)
        && !tombstones.iter().all(|t| looked.knows(t, epoch, &file.entry))
}

/// All deletions and holds of a moment, ready for use.
struct Burial<'t> {
    epoch: u64,
    deletions: Vec<(&'t Tombstone, Hidden)>,
    holds: Vec<Hidden>,
}

impl Burial<'_> {
    /// Deleted rows of a file that no hold keeps, each with the number of a deletion that it is of. Of a
    /// file without any it is remembered.
    fn look(&self, file: &FileHandle) -> Result<HashMap<EventId, usize>, StoreError> {
        let mut looked = file.looked.lock().clone();
        if looked.epoch != self.epoch {
            looked = Looked { epoch: self.epoch, ..Looked::default() };
        }
        let mut found = HashMap::new();
        for (number, (tombstone, doomed)) in self.deletions.iter().enumerate() {
            if looked.knows(tombstone, self.epoch, &file.entry) {
                continue;
            }
            let Matched { ids, spared, .. } = matching(file, doomed, &self.holds)?;
            let is_held = spared > 0;
            for id in ids {
                found.entry(id).or_insert(number);
            }
            looked.held.extend(is_held.then_some(tombstone.id));
        }
        if found.is_empty() {
            let newest = self.deletions.iter().map(|(tombstone, _)| tombstone.id).max();
            looked.through = newest.unwrap_or_default();
            let waits = |id: &u64| self.deletions.iter().any(|(tombstone, _)| tombstone.id == *id);
            looked.held.retain(waits);
            looked.again_ns = None;
            *file.looked.lock() = looked;
        }
        Ok(found)
    }
}

/// Reads a filter; its times must be absolute, so `now` is the beginning of time.
fn plan_of(text: &str) -> Result<Plan, StoreError> {
    let relative = text.split(|c: char| !c.is_alphanumeric()).any(|word| word == "now");
    let parsed = filter::search::parse_filter(text, 0);
    match (parsed, relative) {
        (Ok(plan), false) => Ok(plan),
        (Ok(_), true) => Err(StoreError::Filter {
            filter: text.into(),
            reason: "`now` would mean something else tomorrow: write the time".into(),
        }),
        (Err(error), _) => {
            Err(StoreError::Filter { filter: text.into(), reason: error.to_string() })
        }
    }
}

/// Whether a text can be the filter of a hold, a deletion or a rule.
pub fn check_filter(text: &str) -> Result<(), StoreError> {
    plan_of(text).map(drop)
}

/// A warning where less is kept, or less of it at hand, than PCI DSS 10.5.1 asks for; empty when all
/// is well or nothing is ever removed.
pub fn warnings(rules: &[RetentionRule], tier: Option<&TierOptions>) -> Vec<String> {
    let short = rules.iter().filter_map(|rule| {
        let age = filter::search::duration_text(rule.age_ns.filter(|age| *age < PCI_AGE_NS)?);
        Some(format!(
            "rule `{}` keeps {age}: PCI DSS 10.5.1 asks for 12 months of audit logs, the last three \
             at hand",
            rule.name
        ))
    });
    let by_size = rules.iter().filter(|rule| rule.bytes.is_some()).map(|rule| {
        format!(
            "rule `{}` is by size: a busy month can shorten it below the 12 months of PCI DSS 10.5.1",
            rule.name
        )
    });
    let hot = tier.filter(|tier| tier.hot_age_ns < PCI_AT_HAND_NS).map(|tier| {
        let age = filter::search::duration_text(tier.hot_age_ns);
        format!(
            "events move to the far tier after {age}: PCI DSS 10.5.1 asks for the last three \
             months at hand, which they are only while the far tier answers"
        )
    });
    let hot_size = tier.filter(|tier| tier.hot_bytes.is_some()).map(|_| {
        "events move to the far tier by size: a busy month can leave less than the three months at \
         hand of PCI DSS 10.5.1"
            .to_owned()
    });
    short.chain(by_size).chain(hot).chain(hot_size).collect()
}

impl Store {
    /// The holds that are set.
    pub fn holds(&self) -> Vec<Hold> {
        self.writer.lock().manifest.state().holds.clone()
    }

    /// Deletions whose rewrites are still to come.
    pub fn tombstones(&self) -> Vec<Tombstone> {
        self.writer.lock().manifest.state().tombstones.clone()
    }

    /// Sets a hold: from now on no row that it matches is removed by anything. Its `id` is given.
    pub fn set_hold(&self, mut hold: Hold) -> Result<(Hold, AuditRecord), StoreError> {
        plan_of(&hold.filter)?;
        let _upkeep = self.upkeep.lock();
        let mut writer = self.writer.lock();
        let state = writer.manifest.state();
        self.room_for_rule(&hold.filter, state.holds.len())?;
        hold.id = state.version + 1;
        let change = Change { holds: vec![hold.clone()], ..Change::default() };
        self.commit(&mut writer, change)?;
        let audit = record("hold.set", &hold.actor, &hold.reason, &hold.filter, 0, 0);
        Ok((hold, audit))
    }

    /// Releases a hold. None if there is no such hold.
    pub fn release_hold(
        &self,
        id: u64,
        actor: &str,
        reason: &str,
    ) -> Result<Option<AuditRecord>, StoreError> {
        let _upkeep = self.upkeep.lock();
        let mut writer = self.writer.lock();
        let found = writer.manifest.state().holds.iter().find(|h| h.id == id).cloned();
        let Some(hold) = found else { return Ok(None) };
        self.commit(&mut writer, Change { released: vec![id], ..Change::default() })?;
        // What it kept may go at once.
        *self.retired_at_ns.lock() = None;
        self.looks_epoch.fetch_add(1, Ordering::SeqCst);
        self.settled.lock().clear();
        Ok(Some(record("hold.release", actor, reason, &hold.filter, 0, 0)))
    }

    /// Hides the rows of a filter that were received before `received_before_ns`, at once and for
    /// all searches; a later [`Store::maintain`] rewrites the files. Refused if a hold matches one of
    /// the rows, or may do so in a file that cannot be read.
    pub fn delete(
        &self,
        filter: &str,
        received_before_ns: i64,
        actor: &str,
        reason: &str,
    ) -> Result<AuditRecord, StoreError> {
        // Rows that are only in memory so far are judged like all others.
        self.flush()?;
        let _upkeep = self.upkeep.lock();
        let plan = self.doomed_rows(filter, received_before_ns)?;
        if let Some(hold) = plan.holds.into_iter().next() {
            return Err(StoreError::Held { hold: hold.id, reason: hold.reason });
        }
        self.hide(filter, received_before_ns, actor, reason, Vec::new())?;
        let reason = match plan.unread_files {
            0 => reason.to_owned(),
            n => format!("{reason} ({n} files could not be read, and their rows not be counted)"),
        };
        Ok(record("delete.hide", actor, &reason, filter, plan.rows, 0))
    }

    /// What [`Store::delete`] would hide now of what is in files, and what holds would refuse it.
    pub fn deletion_plan(
        &self,
        filter: &str,
        received_before_ns: i64,
    ) -> Result<DeletionPlan, StoreError> {
        let _upkeep = self.upkeep.lock();
        self.doomed_rows(filter, received_before_ns)
    }

    /// The rows that a deletion would hide. A hold may keep what is in a file that cannot be read.
    fn doomed_rows(
        &self,
        filter: &str,
        received_before_ns: i64,
    ) -> Result<DeletionPlan, StoreError> {
        let mut doomed = Hidden::of(filter, &self.dictionary())?;
        doomed.received_before_ns = Some(received_before_ns);
        let (snapshot, _) = self.snapshot();
        let (holds, listed) = (self.hidden_holds()?, self.holds());
        let (mut plan, mut keep) = (DeletionPlan::default(), vec![false; listed.len()]);
        for file in &snapshot.files {
            let found = matching(file, &doomed, &[]);
            let Some(all) = unless_damaged(found, std::slice::from_ref(file))? else {
                plan.unread_files += 1;
                keep.fill(true);
                continue;
            };
            if all.ids.is_empty() {
                continue;
            }
            plan.rows += all.ids.len() as u64;
            plan.bytes += share_bytes(&file.entry, all.ids.len());
            plan.oldest_ns = earlier(plan.oldest_ns, all.oldest_ns);
            for (hold, keeps) in holds.iter().zip(&mut keep) {
                *keeps |= matching(file, &doomed, std::slice::from_ref(hold))?.spared > 0;
            }
            if !holds.is_empty() {
                plan.held_rows += matching(file, &doomed, &holds)?.spared;
            }
        }
        let kept = listed.into_iter().zip(keep);
        plan.holds = kept.filter(|(_, keeps)| *keeps).map(|(hold, _)| hold).collect();
        Ok(plan)
    }

    /// Hides rows by a new deletion, in the place of those in `replaced`, which must not hide others.
    fn hide(
        &self,
        filter: &str,
        received_before_ns: i64,
        actor: &str,
        reason: &str,
        replaced: Vec<u64>,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        let state = writer.manifest.state();
        self.room_for_rule(filter, state.tombstones.len().saturating_sub(replaced.len()))?;
        let tombstone = Tombstone {
            id: state.version + 1,
            filter: filter.into(),
            received_before_ns,
            actor: actor.into(),
            reason: reason.into(),
        };
        let change = Change { tombstones: vec![tombstone], buried: replaced, ..Change::default() };
        self.commit(&mut writer, change)?;
        self.refresh_hidden(&writer)
    }

    fn room_for_rule(&self, filter: &str, count: usize) -> Result<(), StoreError> {
        match count < RULES_MAX {
            true => Ok(()),
            false => Err(StoreError::Filter {
                filter: filter.into(),
                reason: format!("there are {RULES_MAX} already: release some"),
            }),
        }
    }

    /// Makes the tombstones of the manifest count for searches.
    pub(crate) fn refresh_hidden(&self, writer: &crate::store::Writer) -> Result<(), StoreError> {
        let dict = self.dictionary();
        let mut hidden = Vec::new();
        for tombstone in &writer.manifest.state().tombstones {
            let mut one = Hidden::of(&tombstone.filter, &dict)?;
            one.received_before_ns = Some(tombstone.received_before_ns);
            hidden.push(one);
        }
        self.set_hidden(Arc::new(hidden));
        Ok(())
    }

    pub(crate) fn hidden_holds(&self) -> Result<Vec<Hidden>, StoreError> {
        let dict = self.dictionary();
        let make = |hold: &Hold| {
            let mut one = Hidden::of(&hold.filter, &dict)?;
            (one.since_ns, one.until_ns) = (hold.since_ns, hold.until_ns);
            Ok(one)
        };
        self.holds().iter().map(make).collect()
    }

    /// Whether a hold matches a row of the file.
    fn is_held(&self, file: &FileHandle, holds: &[Hidden]) -> Result<bool, StoreError> {
        for hold in holds {
            match matching_ids(file, hold, &[]) {
                Ok(ids) if ids.is_empty() => {}
                // What cannot be read may be what is held.
                Ok(_) | Err(StoreError::File { .. } | StoreError::Far { .. }) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// What the rules would remove now. Nothing is changed.
    pub fn retention_plan(
        &self,
        rules: &[RetentionRule],
        now_ns: i64,
    ) -> Result<Vec<RulePlan>, StoreError> {
        let mut taken = HashSet::new();
        let mut out = Vec::new();
        for rule in rules {
            out.push(self.plan_rule(rule, now_ns, &mut taken)?.0);
        }
        Ok(out)
    }

    /// Files that a rule without a filter takes.
    fn plan_rule(
        &self,
        rule: &RetentionRule,
        now_ns: i64,
        taken: &mut HashSet<String>,
    ) -> Result<(RulePlan, Vec<Arc<FileHandle>>), StoreError> {
        let mut plan = RulePlan { rule: rule.name.clone(), ..RulePlan::default() };
        let (snapshot, _) = self.snapshot();
        let mut files: Vec<Arc<FileHandle>> = snapshot.files.clone();
        files.retain(|f| !taken.contains(&f.entry.path));
        files.sort_by_key(|f| (f.entry.received_max_ns, f.entry.first));
        if let Some(filter) = &rule.filter {
            let Some(age) = rule.age_ns else { return Ok((plan, Vec::new())) };
            let mut doomed = Hidden::of(filter, &self.dictionary())?;
            doomed.received_before_ns = Some(now_ns.saturating_sub(age));
            let holds = self.hidden_holds()?;
            let old = |f: &Arc<FileHandle>| now_ns.saturating_sub(f.entry.received_min_ns) > age;
            for file in files.iter().filter(|f| old(f) && !f.is_damaged()) {
                let found = matching(file, &doomed, &holds);
                let Some(found) = unless_damaged(found, std::slice::from_ref(file))? else {
                    continue;
                };
                plan.rows += found.ids.len() as u64;
                plan.bytes += share_bytes(&file.entry, found.ids.len());
                plan.oldest_ns = earlier(plan.oldest_ns, found.oldest_ns);
                plan.held_rows += found.spared;
            }
            return Ok((plan, Vec::new()));
        }
        let holds = self.hidden_holds()?;
        let mut total: u64 = files.iter().map(|f| f.entry.total_bytes()).sum();
        let mut go = Vec::new();
        for file in files {
            let age = now_ns.saturating_sub(file.entry.received_max_ns);
            let too_old = rule.age_ns.is_some_and(|max| age > max);
            let too_much = rule.bytes.is_some_and(|max| total > max);
            if !too_old && !too_much {
                break;
            }
            if self.is_held(&file, &holds)? {
                plan.held_files += 1;
                plan.held_rows += file.entry.rows;
                continue;
            }
            total -= file.entry.total_bytes();
            plan.files += 1;
            plan.rows += file.entry.rows;
            plan.bytes += file.entry.total_bytes();
            plan.oldest_ns = earlier(plan.oldest_ns, Some(file.entry.received_min_ns));
            taken.insert(file.entry.path.clone());
            go.push(file);
        }
        Ok((plan, go))
    }

    /// Applies the rules: drops whole files, hides rows of rules with a filter. Asked more often
    /// than every [`RETIRE_EVERY_NS`] it does nothing: rules with a filter, and files that a hold
    /// keeps, are looked at anew each time. Nor does it while others rewrite files. What was done before
    /// something failed is in `done`.
    pub(crate) fn retire(
        &self,
        rules: &[RetentionRule],
        now_ns: i64,
        done: &mut Upkeep,
    ) -> Result<(), StoreError> {
        let Some(_upkeep) = self.upkeep.try_lock() else { return Ok(()) };
        if !self.retirement_is_due(now_ns) {
            return Ok(());
        }
        for rule in rules {
            let (plan, go) = self.plan_rule(rule, now_ns, &mut HashSet::new())?;
            if let (Some(filter), Some(age)) = (&rule.filter, rule.age_ns) {
                let reason = format!("older than {} days", age / DAY_NS);
                let before = now_ns.saturating_sub(age);
                // One deletion at a time per rule: the next begins when its rewrites are done, and
                // takes the place of one that waits for a hold or a damaged file.
                let mut own = self.tombstones();
                own.retain(|t| t.actor == rule.name);
                let waits = own.iter().any(|t| !self.settled.lock().contains(&t.id));
                if plan.rows > 0 && !waits {
                    own.retain(|t| t.filter == *filter && t.received_before_ns <= before);
                    let replaced = own.iter().map(|t| t.id).collect();
                    self.hide(filter, before, &rule.name, &reason, replaced)?;
                    let audit = record("delete.hide", &rule.name, &reason, filter, plan.rows, 0);
                    done.audit.push(audit);
                }
                continue;
            }
            if go.is_empty() {
                continue;
            }
            let (mut remove, mut audit) = (Vec::with_capacity(go.len()), Vec::new());
            for file in go {
                let entry = &file.entry;
                let (path, bytes) = (&entry.path, entry.total_bytes());
                audit.push(record("retention.drop", &rule.name, "", path, entry.rows, bytes));
                remove.push(path.clone());
            }
            self.drop_files(remove)?;
            done.audit.extend(audit);
            done.retired_files += plan.files;
            done.retired_rows += plan.rows;
        }
        Ok(())
    }

    /// Whether it is time to apply the rules; if so, the next time is counted from now.
    fn retirement_is_due(&self, now_ns: i64) -> bool {
        let mut last = self.retired_at_ns.lock();
        let due = last.is_none_or(|at| now_ns < at || now_ns - at >= RETIRE_EVERY_NS);
        if due {
            *last = Some(now_ns);
        }
        due
    }

    pub(crate) fn drop_files(&self, remove: Vec<String>) -> Result<(), StoreError> {
        let gone: HashSet<String> = remove.iter().cloned().collect();
        let mut writer = self.writer.lock();
        let change = Change { remove, retire: true, ..Change::default() };
        self.commit(&mut writer, change)?;
        self.swap_files(&writer, &gone, Vec::new());
        Ok(())
    }

    /// Erases the rows of all deletions from one file that has some, and ends the deletions of which no
    /// row is left. One whose last rows a hold keeps stays: it hides them, and erases them when the hold
    /// is released. Nothing is done while others rewrite files. What was done is added to `audit`.
    ///
    /// What was found in a file is remembered as long as it is listed, so that each is looked at once
    /// for each deletion; looking goes on with the next call after [`LOOK_TIME`].
    pub(crate) fn bury(&self, now_ns: i64, audit: &mut Vec<AuditRecord>) -> Result<(), StoreError> {
        let Some(_upkeep) = self.upkeep.try_lock() else { return Ok(()) };
        let epoch = self.looks_epoch.load(Ordering::SeqCst);
        let tombstones = self.tombstones();
        if tombstones.is_empty() {
            return Ok(());
        }
        let (snapshot, _) = self.snapshot();
        let due = |f: &&Arc<FileHandle>| is_due(f, &tombstones, epoch, now_ns);
        if snapshot.files.iter().any(|f| due(&f)) {
            let burial = self.burial(&tombstones, epoch)?;
            let started = Instant::now();
            for file in snapshot.files.iter().filter(due) {
                if started.elapsed() >= LOOK_TIME {
                    break;
                }
                self.step("looking for deleted rows");
                let found = unless_damaged(burial.look(file), std::slice::from_ref(file))?;
                let erased = match found {
                    Some(found) if found.is_empty() => continue,
                    Some(found) => self.erase(file, &found, &burial, now_ns, audit)?,
                    None => false,
                };
                if erased {
                    self.settled.lock().clear();
                    return Ok(());
                }
                file.looked.lock().again_ns = Some(now_ns.saturating_add(LOOK_AGAIN_NS));
            }
        }
        self.end_deletions(&tombstones, epoch, &snapshot, now_ns)
    }

    fn burial<'t>(
        &self,
        tombstones: &'t [Tombstone],
        epoch: u64,
    ) -> Result<Burial<'t>, StoreError> {
        let dict = self.dictionary();
        let make = |tombstone: &'t Tombstone| {
            let mut doomed = Hidden::of(&tombstone.filter, &dict)?;
            doomed.received_before_ns = Some(tombstone.received_before_ns);
            Ok((tombstone, doomed))
        };
        let deletions = tombstones.iter().map(make).collect::<Result<_, StoreError>>()?;
        Ok(Burial { epoch, deletions, holds: self.hidden_holds()? })
    }

    /// Takes the file's place by one without the rows that were found, or drops it if it has no others.
    /// Out: whether it did; not if the file cannot be read whole.
    fn erase(
        &self,
        file: &Arc<FileHandle>,
        found: &HashMap<EventId, usize>,
        burial: &Burial<'_>,
        now_ns: i64,
        audit: &mut Vec<AuditRecord>,
    ) -> Result<bool, StoreError> {
        let one = std::slice::from_ref(file);
        let (path, mut bytes) = (file.entry.path.clone(), file.entry.total_bytes());
        let rows = found.len() as u64;
        if rows == file.entry.rows {
            self.drop_files(vec![path.clone()])?;
        } else {
            let keep = |row: &crate::rows::FullRow| !found.contains_key(&row.head.id);
            let Some(entry) = unless_damaged(self.rewrite(one, &keep, now_ns), one)? else {
                return Ok(false);
            };
            bytes = bytes.saturating_sub(entry.total_bytes());
            let add = self.handles(std::slice::from_ref(&entry));
            let change =
                Change { add: vec![entry], remove: vec![path.clone()], ..Change::default() };
            let mut writer = self.writer.lock();
            self.commit(&mut writer, change)?;
            self.swap_files(&writer, &HashSet::from_iter([path.clone()]), add);
        }
        for (number, (tombstone, _)) in burial.deletions.iter().enumerate() {
            let own = found.values().filter(|of| **of == number).count() as u64;
            if own > 0 {
                let (actor, reason) = (&tombstone.actor, &tombstone.reason);
                let share = (u128::from(bytes) * u128::from(own) / u128::from(rows)) as u64;
                audit.push(record("delete.rewrite", actor, reason, &path, own, share));
            }
        }
        Ok(true)
    }

    /// Ends the deletions of which no row is left, and takes note of those for which nothing is to be
    /// done until something changes.
    fn end_deletions(
        &self,
        tombstones: &[Tombstone],
        epoch: u64,
        snapshot: &Snapshot,
        now_ns: i64,
    ) -> Result<(), StoreError> {
        let kept = |hot: &HotBatch| {
            let rows = hot.kept.iter().map(|row| hot.batch.row(*row as usize).received_ns());
            rows.min()
        };
        let oldest_hot_ns = snapshot.hot.iter().filter_map(kept).min();
        let is_over = |t: &Tombstone| oldest_hot_ns.is_none_or(|at| at >= t.received_before_ns);
        let mut ends: Vec<bool> = tombstones.iter().map(is_over).collect();
        let mut settled = vec![true; tombstones.len()];
        for file in &snapshot.files {
            let looked = file.looked.lock();
            for (number, tombstone) in tombstones.iter().enumerate() {
                let knows = looked.knows(tombstone, epoch, &file.entry);
                ends[number] &= knows && !looked.held.contains(&tombstone.id);
                // Rows of a file that cannot be read stay hidden as long as it is there.
                settled[number] &= knows || looked.rests(now_ns) || file.is_damaged();
            }
        }
        let of = |flags: &[bool]| -> HashSet<u64> {
            let chosen = tombstones.iter().zip(flags).filter(|(_, flag)| **flag);
            chosen.map(|(tombstone, _)| tombstone.id).collect()
        };
        *self.settled.lock() = of(&settled);
        let buried: Vec<u64> = of(&ends).into_iter().collect();
        if buried.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer.lock();
        self.commit(&mut writer, Change { buried, ..Change::default() })?;
        self.refresh_hidden(&writer)
    }

    /// When the disk will be full, given its free bytes and the rules. What is in the far tier is not
    /// on the disk, and what is to move there does not stay on it.
    pub fn forecast(&self, rules: &[RetentionRule], free_bytes: u64, now_ns: i64) -> Forecast {
        let (snapshot, _) = self.snapshot();
        let files = || snapshot.files.iter().map(|f| &f.entry);
        let here = |f: &Arc<FileHandle>| match f.is_far() {
            true => f.entry.total_bytes() - f.entry.size_bytes,
            false => f.entry.total_bytes(),
        };
        let bytes: u64 = snapshot.files.iter().map(here).sum();
        let week = now_ns.saturating_sub(7 * DAY_NS);
        let recent = || files().filter(|e| e.received_max_ns >= week);
        let oldest = recent().map(|e| e.received_min_ns).min().unwrap_or(now_ns).max(week);
        let span = now_ns.saturating_sub(oldest).max(3_600 * event::time::SECOND_NS);
        let came: u64 = recent().map(FileEntry::total_bytes).sum();
        let bytes_per_day = (u128::from(came) * DAY_NS as u128 / span as u128) as u64;
        let whole = rules.iter().filter(|rule| rule.filter.is_none());
        let limits = whole.flat_map(|rule| {
            let by_age = rule.age_ns.map(|age| {
                (u128::from(bytes_per_day) * age.max(0) as u128 / DAY_NS as u128) as u64
            });
            by_age.into_iter().chain(rule.bytes)
        });
        let tier = self.options.tier.as_ref();
        let hot = tier.map(|t| {
            let by_age = u128::from(bytes_per_day) * t.hot_age_ns.max(0) as u128 / DAY_NS as u128;
            t.hot_bytes.unwrap_or(u64::MAX).min(by_age as u64)
        });
        let settled_bytes = limits.chain(hot).min();
        let room = bytes.saturating_add(free_bytes);
        let never = bytes_per_day == 0 || settled_bytes.is_some_and(|settled| settled <= room);
        let days_left = (!never).then(|| free_bytes / bytes_per_day.max(1));
        Forecast { bytes, bytes_per_day, settled_bytes, days_left }
    }
}

pub(crate) fn record(
    action: &str,
    actor: &str,
    reason: &str,
    subject: &str,
    rows: u64,
    bytes: u64,
) -> AuditRecord {
    AuditRecord {
        action: action.into(),
        actor: actor.into(),
        reason: reason.into(),
        subject: subject.into(),
        rows,
        bytes,
    }
}

/// Events of a file that `wanted` matches and none of `except` does.
pub(crate) fn matching_ids(
    file: &FileHandle,
    wanted: &Hidden,
    except: &[Hidden],
) -> Result<HashSet<EventId>, StoreError> {
    matching(file, wanted, except).map(|found| found.ids)
}

/// Events of a file that something matches.
#[derive(Default)]
struct Matched {
    ids: HashSet<EventId>,
    /// Oldest receipt among them, ns.
    oldest_ns: Option<i64>,
    /// Events that it matches, too, and an exception as well.
    spared: u64,
}

/// See [`matching_ids`].
fn matching(file: &FileHandle, wanted: &Hidden, except: &[Hidden]) -> Result<Matched, StoreError> {
    let mut out = Matched::default();
    let stored = file.open()?;
    let sidecar = if wanted.resolved.asks_index() { stored.sidecar() } else { None };
    for number in 0..stored.groups() {
        if !wanted.resolved.may_hold(&stored, number) {
            continue;
        }
        let known = sidecar.as_ref().and_then(|s| wanted.resolved.blocks(s, number).ok());
        let blocks = known.unwrap_or(u64::MAX);
        if blocks == 0 {
            continue;
        }
        let mut group = Group::of_blocks(stored.clone(), number, blocks);
        let all = Bits::all(group.rows);
        let mut held = wanted.rows(&mut group, &all)?;
        for hidden in except {
            let spared = hidden.rows(&mut group, &held)?;
            out.spared += spared.iter().count() as u64;
            held = held.minus(&spared);
        }
        if !held.is_empty() {
            let (ids, received) = (group.ids()?, group.received()?);
            out.ids.extend(held.iter().map(|row| ids[row]));
            let oldest = held.iter().map(|row| received[row]).min();
            out.oldest_ns = earlier(out.oldest_ns, oldest);
        }
    }
    Ok(out)
}
