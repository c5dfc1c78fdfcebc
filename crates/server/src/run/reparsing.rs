//! A run of `reparse`: one at a time, on a thread of its own, its progress kept for whoever asks.

use super::App;
use crate::api::problem::Problem;
use axum::http::StatusCode;
use pipeline::{Again, Reshaper};
use serde_json::{Value, json};
use shape::shaper::TAG_JOIN_INCOMPLETE;
use std::sync::Arc;
use store::reparse::Reshape;
use store::{AuditRecord, Reparse, ReparseCounts, StoredRow};

/// The last run, or the one that goes on.
#[derive(Clone, Debug)]
pub struct Reparsing {
    wanted: Reparse,
    counts: ReparseCounts,
    began_ns: i64,
    ended_ns: Option<i64>,
    error: Option<String>,
}

impl Reparsing {
    /// For whoever asks.
    pub fn to_json(&self) -> Value {
        let (wanted, counts) = (&self.wanted, &self.counts);
        let time = |ns: Option<i64>| ns.map(event::time::rfc3339);
        json!({
            "filter": wanted.filter,
            "since": time(wanted.since_ns),
            "until": time(wanted.until_ns),
            "actor": wanted.actor,
            "reason": wanted.reason,
            "dry_run": wanted.dry_run,
            "files": counts.files,
            "files_done": counts.files_done,
            "matched": counts.matched,
            "changed": counts.changed,
            "mended": counts.mended,
            "worse": counts.worse,
            "held": counts.held,
            "passed_over": counts.passed_over,
            "began_at": event::time::rfc3339(self.began_ns),
            "ended_at": time(self.ended_ns),
            "error": self.error,
        })
    }
}

/// Begins a run; refused while another goes on.
pub fn begin(app: &Arc<App>, wanted: Reparse) -> Result<Value, Problem> {
    store::policy::check_filter(&wanted.filter)?;
    let mut place = app.reparsing.lock();
    if place.as_ref().is_some_and(|run| run.ended_ns.is_none()) {
        let detail = "a reparse is running: GET /api/v1/reparse shows how far it is";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let began_ns = io::intake::wall_ns();
    let run = Reparsing {
        wanted: wanted.clone(),
        counts: ReparseCounts::default(),
        began_ns,
        ended_ns: None,
        error: None,
    };
    let told = run.to_json();
    let kept = app.clone();
    std::thread::Builder::new()
        .name("reparse".into())
        .spawn(move || {
            precedence::step_back();
            run_to_end(&kept, &wanted, began_ns);
        })
        .map_err(Problem::internal)?;
    *place = Some(run);
    Ok(told)
}

fn run_to_end(app: &Arc<App>, wanted: &Reparse, now_ns: i64) {
    let record = |action: &str, rows| AuditRecord {
        action: action.into(),
        actor: wanted.actor.clone(),
        reason: wanted.reason.clone(),
        subject: wanted.filter.clone(),
        rows,
        bytes: 0,
    };
    if !wanted.dry_run {
        // Before anything changes: a crash must not leave changes that nobody is named for.
        app.audit_store("api", &[record("reparse.begin", 0)]);
    }
    let generation = app.generation();
    let mut reshaper = Reshaper::new(generation.clone());
    let reshape: &mut Reshape<'_> = &mut |rows: &[StoredRow<'_>]| {
        // What only a header line explains cannot be told again without it.
        let is_headed = |row: &StoredRow<'_>| {
            let pack = row.first("alcedo.pack").and_then(|p| std::str::from_utf8(p).ok());
            pack.is_some_and(|pack| generation.shaper.needs_header(pack))
        };
        let again = rows.iter().map(|row| Again {
            head: row.head(),
            raw: row.raw(),
            is_short: row.has("tags", TAG_JOIN_INCOMPLETE.as_bytes()),
        });
        let keep = rows.iter().map(is_headed).collect();
        (reshaper.shape(again), keep)
    };
    let done = app.store.reparse(
        wanted,
        reshape,
        &mut |counts, audit| {
            app.audit_store("api", audit.as_slice());
            if let Some(run) = &mut *app.reparsing.lock() {
                run.counts = counts;
            }
            !app.is_stopping()
        },
        now_ns,
    );
    let rows = done.as_ref().map_or(0, |counts| counts.changed);
    if !wanted.dry_run {
        app.audit_store("api", &[record("reparse.end", rows)]);
    }
    if let Some(run) = &mut *app.reparsing.lock() {
        run.ended_ns = Some(io::intake::wall_ns());
        match done {
            Ok(counts) => run.counts = counts,
            Err(error) => run.error = Some(error.to_string()),
        }
    }
}
