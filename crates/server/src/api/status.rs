//! Is it well: overview, live news, metrics and probes.

use super::problem::Problem;
use super::viewer::{sse, viewer};
use crate::run::bus::News;
use crate::run::{App, lag};
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ledger::AlertFilter;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::broadcast;
use trust::Principal;
use watch::Step;

/// `GET /healthz`: the process runs.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: it accepts and searches. What people should see to, while all work goes on, is no
/// reason to take it out of service.
pub async fn readyz(State(app): State<Arc<App>>) -> Response {
    match app.hindrances() {
        problems if problems.is_empty() => "ready\n".into_response(),
        problems => (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n")).into_response(),
    }
}

/// `GET /api/v1/overview`
pub async fn overview(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    app.blocking(|app| Ok(Json(overview_json(app)))).await
}

fn overview_json(app: &App) -> Value {
    let now_ns = io::intake::wall_ns();
    let generation = app.generation();
    let problems = app.archive.problems();
    let (failed, not_covered) = detect::RefusedRule::counts(&detect::RefusedRule::of(&*problems));
    let (events_per_s, bytes_per_s) = app.rates.mean(now_ns);
    let history: Vec<Value> = app
        .rates
        .history(now_ns)
        .iter()
        .map(|s| json!([s.at_s * 1000, s.events, s.alerts]))
        .collect();
    let counts = app.ledger.counts(&AlertFilter::default()).unwrap_or_default();
    let open = AlertFilter {
        states: vec![alert::State::New, alert::State::Acknowledged],
        ..AlertFilter::default()
    };
    let open = app.ledger.counts(&open).unwrap_or_default();
    let (journal, stored) = (app.journal.stats(), app.store.stats());
    json!({
        "now": event::time::rfc3339(now_ns),
        "started": event::time::rfc3339(app.started_ns),
        "version": env!("CARGO_PKG_VERSION"),
        "generation": {
            "number": generation.number,
            "rules_live": generation.rules.rules().len(),
            "rules_not_covered": not_covered,
            "rules_failed": failed,
            "rules_kept": app.archive.kept().len(),
        },
        "rate": {"events_per_s": events_per_s, "bytes_per_s": bytes_per_s, "history": history},
        "totals": app.totals(),
        "alerts": {"by_level": open.by_level, "by_state": counts.by_state},
        "lag": {
            "detect_ms": app.detect_lag_ms(now_ns),
            "store_ms": app.store_lag_ms(now_ns),
            "consumers": consumers_json(app),
        },
        "disk": {"data_bytes": journal.disk_bytes + stored.file_bytes + stored.index_bytes
                     - stored.far_bytes,
                 "free_bytes": journal.free_bytes},
        "tier": app.store.tier_stats(now_ns),
        "degraded": degraded_json(app),
        "problems": app.problems(),
        "demo": app.demo,
    })
}

/// Each consumer with what it has not passed.
fn consumers_json(app: &App) -> Vec<Value> {
    let json = |lag: lag::Lag| {
        json!({
            "name": lag.name,
            "seconds": lag.seconds,
            "bytes": lag.behind.bytes,
            "records": lag.behind.records,
        })
    };
    lag::all(app).into_iter().map(json).collect()
}

/// What is given up under overload, the last step taken.
fn degraded_json(app: &App) -> Value {
    let level = app.degraded.load(Ordering::SeqCst);
    let step = level.checked_sub(1).and_then(|at| Step::ALL.get(usize::from(at)));
    json!({
        "level": level,
        "step": step.map(|(step, _)| step.name()),
        "what": step.map(|(_, what)| *what),
        "why": step.map(|_| app.strain.lock().sentence()),
    })
}

/// `GET /api/v1/stream`: alerts, greetings, and the overview each second. `reload` says that alerts
/// changed which are not told one by one: many at once, or more than this viewer could take.
pub async fn stream(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
) -> impl IntoResponse {
    let (mut viewer, told) = viewer();
    let mut news = app.bus.news();
    tokio::spawn(async move {
        let reload = |why: &str| ("reload", json!({"why": why}).to_string());
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut missed = false;
        loop {
            let (kind, data) = tokio::select! {
                news = news.recv() => match news {
                    Ok(News::Alert(alert)) => ("alert", alert.to_string()),
                    Ok(News::Hello(hello)) => ("hello", hello.to_string()),
                    Ok(News::ManyAlerts) => reload("changed"),
                    Err(broadcast::error::RecvError::Lagged(_)) => reload("missed"),
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                _ = second.tick() => {
                    if !app.is_good(&principal.identity, io::intake::wall_ns()) {
                        return;
                    }
                    let shown = app.clone();
                    let overview = tokio::task::spawn_blocking(move || overview_json(&shown)).await;
                    ("overview", overview.unwrap_or_default().to_string())
                }
            };
            if missed {
                let (kind, data) = reload("missed");
                match viewer.put(kind, &data) {
                    ControlFlow::Continue(told) => missed = !told,
                    ControlFlow::Break(()) => return,
                }
            }
            match viewer.put(kind, &data) {
                ControlFlow::Continue(told) => missed |= !told && kind != "overview",
                ControlFlow::Break(()) => return,
            }
        }
    });
    sse(told)
}

/// `GET /metrics`: Prometheus text.
pub async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    app.blocking(|app| {
        let text = metrics_text(app);
        Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
    })
    .await
}

fn metrics_text(app: &App) -> String {
    let mut out = String::new();
    let mut plain = |name: &str, help: &str, kind: &str, value: f64| {
        let _ = writeln!(out, "# HELP alcedo_{name} {help}\n# TYPE alcedo_{name} {kind}");
        let _ = writeln!(out, "alcedo_{name} {value}");
    };
    let now_ns = io::intake::wall_ns();
    journal_metrics(app, &mut plain);
    run_metrics(app, now_ns, &mut plain);
    store_metrics(app, now_ns, &mut plain);
    http_metrics(app, &mut plain);
    let ledger = app.ledger.counters();
    plain(
        "ledger_disagreements_total",
        "Replayed alerts that differ",
        "counter",
        ledger.disagreements as f64,
    );
    write_lags(app, &mut out);
    for source in app.contexts() {
        for (name, value) in source.stats.snapshot().each() {
            let _ = writeln!(out, "alcedo_source_{name}{{source=\"{}\"}} {value}", source.name);
        }
        // What is read and not durable, and what is there of messages that are not complete.
        for (name, budget) in [("in_flight", &source.budget), ("held", &source.holding)] {
            let (source, bytes) = (&source.name, budget.in_flight_bytes());
            let _ = writeln!(out, "alcedo_source_{name}_bytes{{source=\"{source}\"}} {bytes}");
        }
    }
    if let Some(totals) = app.totals().as_object() {
        for (name, value) in totals {
            let _ = writeln!(out, "alcedo_events_{name}_total {value}");
        }
    }
    for (filter, count) in app.drops() {
        let _ = writeln!(
            out,
            "alcedo_drop_filter_events_total{{filter=\"{}\"}} {count}",
            label(&filter)
        );
    }
    correlation_metrics(app, &mut out);
    out
}

/// What is on disk of the journal, and how its writing does.
fn journal_metrics(app: &App, plain: &mut dyn FnMut(&str, &str, &str, f64)) {
    let journal = app.journal.stats();
    plain(
        "journal_durable_offset",
        "Last durable offset",
        "gauge",
        journal.durable.unwrap_or(0) as f64,
    );
    plain("journal_queue_bytes", "Bytes waiting for the disk", "gauge", journal.queue_bytes as f64);
    plain("journal_disk_bytes", "Bytes of segments", "gauge", journal.disk_bytes as f64);
    plain(
        "journal_free_bytes",
        "Bytes free on the file system",
        "gauge",
        journal.free_bytes as f64,
    );
    plain("journal_records_total", "Records written", "counter", journal.records as f64);
    plain("journal_syncs_total", "Calls of fdatasync", "counter", journal.syncs as f64);
    plain(
        "journal_sync_seconds_total",
        "Time in fdatasync",
        "counter",
        journal.sync_ns_sum as f64 / 1e9,
    );
    plain(
        "journal_write_errors_total",
        "Writes and syncs that failed",
        "counter",
        journal.write_errors as f64,
    );
    plain("journal_repeats_total", "Records dropped as repeats", "counter", journal.repeats as f64);
    plain(
        "journal_torn_bytes_total",
        "Bytes of torn tails removed",
        "counter",
        journal.torn_bytes as f64,
    );
}

/// How far the work is behind, what is given up, and what is in force.
fn run_metrics(app: &App, now_ns: i64, plain: &mut dyn FnMut(&str, &str, &str, f64)) {
    plain(
        "detect_lag_seconds",
        "Time between receipt and detection",
        "gauge",
        app.detect_lag_ms(now_ns) as f64 / 1e3,
    );
    plain(
        "store_lag_seconds",
        "Age of the oldest event that is in no file of the store yet",
        "gauge",
        app.store_lag_ms(now_ns) as f64 / 1e3,
    );
    plain(
        "degraded_level",
        "Steps given up under overload, 0 to 7",
        "gauge",
        f64::from(app.degraded.load(Ordering::SeqCst)),
    );
    plain("door_bytes", "Bytes between sockets and disk", "gauge", app.door.used_bytes() as f64);
    plain("rules_live", "Rules in force", "gauge", app.generation().rules.rules().len() as f64);
    plain("generation", "Generation in force", "gauge", app.generation().number as f64);
}

/// What is in the store, and in the far tier.
fn store_metrics(app: &App, now_ns: i64, plain: &mut dyn FnMut(&str, &str, &str, f64)) {
    let store = app.store.stats();
    plain("store_files", "Files of the store", "gauge", store.files as f64);
    plain("store_file_bytes", "Bytes of the store's files", "gauge", store.file_bytes as f64);
    plain(
        "store_index_bytes",
        "Bytes of the indexes beside the store's files",
        "gauge",
        store.index_bytes as f64,
    );
    plain("store_hot_bytes", "Rows that are in no file yet", "gauge", store.hot_bytes as f64);
    plain("store_file_rows", "Rows in files", "gauge", store.file_rows as f64);
    if let Some(tier) = app.store.tier_stats(now_ns) {
        tier_metrics(&tier, plain);
    }
}

/// What is in the far tier, what should be, and what went on with it.
fn tier_metrics(tier: &store::TierStats, plain: &mut dyn FnMut(&str, &str, &str, f64)) {
    let mut gauge = |name, help, value: u64| plain(name, help, "gauge", value as f64);
    gauge("tier_far_files", "Files that are in the far tier only", tier.far_files);
    gauge("tier_far_bytes", "Their bytes", tier.far_bytes);
    gauge("tier_pending_files", "Files that should move to the far tier", tier.pending_files);
    gauge("tier_pending_bytes", "Their bytes", tier.pending_bytes);
    gauge("tier_behind_seconds", "How long the oldest of them has been due", tier.behind_s);
    gauge("tier_doomed_objects", "Objects that are to be deleted", tier.doomed_objects);
    let mut counter = |name, help, value: u64| plain(name, help, "counter", value as f64);
    counter("tier_gets_total", "Requests to the far tier for bytes", tier.gets);
    counter("tier_got_bytes_total", "Bytes that came from the far tier", tier.got_bytes);
    counter("tier_cache_hits_total", "Pieces of far files found in memory", tier.cache_hits);
    counter("tier_sent_bytes_total", "Bytes sent to the far tier", tier.sent_bytes);
    counter("tier_failures_total", "Calls to the far tier that failed", tier.failures);
    counter("tier_answers_total", "Calls to the far tier that were answered", tier.answers);
}

/// Who is connected over HTTP, and who was sent away.
fn http_metrics(app: &App, plain: &mut dyn FnMut(&str, &str, &str, f64)) {
    let stats = app.http_stats.snapshot();
    plain("http_connections", "Connections over HTTP", "gauge", stats.connections as f64);
    let mut counter = |name, help, value: u64| plain(name, help, "counter", value as f64);
    let refused = "Connections over HTTP that a cap turned away";
    counter("http_connections_refused_total", refused, stats.connections_refused);
    let idle = "Connections over HTTP that were closed for being silent or too slow";
    counter("http_connections_idle_total", idle, stats.connections_idle);
}

/// What each correlation holds and gave up; names end in what they count.
fn correlation_metrics(app: &App, out: &mut String) {
    for stats in app.correlations().iter() {
        let rule = label(&stats.id);
        let gauges = [
            ("groups", stats.groups as f64),
            ("packed_groups", stats.packed as f64),
            ("bytes", stats.bytes as f64),
            ("sketch_bytes", stats.sketch_bytes as f64),
            ("held_seconds", stats.held_ns as f64 / 1e9),
            ("over_budget", f64::from(u8::from(stats.tight))),
        ];
        for (name, value) in gauges {
            let _ = writeln!(out, "alcedo_correlation_{name}{{rule=\"{rule}\"}} {value}");
        }
        for (name, value) in stats.counters.each() {
            let _ = writeln!(out, "alcedo_correlation_{name}_total{{rule=\"{rule}\"}} {value}");
        }
    }
}

fn write_lags(app: &App, out: &mut String) {
    let lags = lag::all(app);
    let mut gauge = |name: &str, help: &str, value: fn(&lag::Lag) -> f64| {
        let _ = writeln!(out, "# HELP alcedo_consumer_{name} {help}");
        let _ = writeln!(out, "# TYPE alcedo_consumer_{name} gauge");
        for lag in &lags {
            let consumer = label(&lag.name);
            let _ =
                writeln!(out, "alcedo_consumer_{name}{{consumer=\"{consumer}\"}} {}", value(lag));
        }
    };
    gauge("lag_seconds", "Age of the oldest record a consumer has not passed", |l| l.seconds);
    gauge("lag_bytes", "Bytes a consumer has not passed", |l| l.behind.bytes as f64);
    gauge("lag_records", "Records a consumer has not passed", |l| l.behind.records as f64);
}

/// Text as the value of a label.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
