//! Source health.

use crate::run::App;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;
use watch::{HostStatus, SourceStatus};

/// `GET /api/v1/sources`
pub async fn sources(State(app): State<Arc<App>>) -> Json<Value> {
    let mut rows: Vec<Value> = Vec::new();
    for source in app.health().iter() {
        if source.hosts.is_empty() {
            rows.push(row(source, "", &source.total));
        }
        for (host, status) in &source.hosts {
            rows.push(row(source, host, status));
        }
    }
    let doors: Vec<Value> = app.contexts().iter().map(door).collect();
    Json(json!({"sources": rows, "doors": doors}))
}

/// What a configured source counted at its door: taken, refused, cut off.
fn door(context: &io::Context) -> Value {
    let counted = context.stats.snapshot().each().map(|(name, n)| (name.to_owned(), n.into()));
    let counted: serde_json::Map<String, Value> = counted.collect();
    json!({"source": &*context.name, "counted": counted})
}

fn row(source: &SourceStatus, host: &str, status: &HostStatus) -> Value {
    // A source that is silent has no host that is not, whatever is usual for the host.
    let state = match (source.total.silent || status.silent, source.spiking) {
        (true, _) => "silent",
        (_, true) => "spike",
        _ => "ok",
    };
    json!({
        "source": source.source,
        "host": host,
        "state": state,
        "first_seen": event::time::rfc3339(status.first_wall_ns),
        "last_seen": event::time::rfc3339(status.last_wall_ns),
        "events": status.events,
        "bytes": status.bytes,
        "events_per_s": status.rate_10s,
        "events_per_s_60s": status.rate_60s,
        "is_silent": source.total.silent || status.silent,
        "is_spiking": source.spiking,
        "parse_failures": status.parse_failures,
        "parse_failed_share": status.parse_failure_share,
        "lag_ms": status.lag_p50_ms,
        "lag_max_ms": status.lag_max_ms,
        "pack": status.product,
        "events_of_hosts_not_listed": source.overflow_events,
    })
}
