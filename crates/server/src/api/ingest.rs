//! `POST /api/v1/ingest`: NDJSON, JSON arrays or text lines, gzip or zstd. The answer comes after
//! the bytes are on disk.

use super::problem::Problem;
use crate::run::App;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use event::{Envelope, Producer, Protocol, RawBatch};
use io::RefusedCause;
use io::body::{self, Limits, Shape};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use trust::Principal;

/// How long a request waits for the journal before it is told to come again.
const DURABLE_WAIT: Duration = Duration::from_secs(30);

/// Query of the route.
#[derive(Deserialize)]
pub struct Target {
    source: Option<String>,
}

/// Takes a body.
pub async fn ingest(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    Query(target): Query<Target>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<Value>, Problem> {
    let source = app.http_source(target.source.as_deref(), &principal)?;
    let peer = peer.map(|p| p.0.0.ip().to_canonical().to_string()).unwrap_or_default();
    let envelope = Envelope {
        identity: principal.identity.as_str().into(),
        peer: peer.into(),
        ..source.envelope(Protocol::Http)
    };
    let text = |name| headers.get(name).and_then(|v: &header::HeaderValue| v.to_str().ok());
    let producer = text(header::HeaderName::from_static("idempotency-key"))
        .map(|key| producer_of(&principal, key));
    let (encoding, kind) = (text(header::CONTENT_ENCODING), text(header::CONTENT_TYPE));
    let plain = body::decode(encoding, &bytes, &Limits::default()).map_err(|error| {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
        Problem::new(status, error.to_string())
    })?;
    let mut batch = cut(&plain, kind, Arc::new(envelope));
    batch.producer = producer;
    let accepted = batch.records.len();
    if accepted == 0 {
        return Err(Problem::bad("the body has no records; send NDJSON, a JSON array or lines"));
    }
    let durable = append(&source, batch).await?;
    Ok(Json(json!({
        "accepted": accepted,
        "first": durable.first,
        "last": durable.last,
        "repeats": durable.repeats,
    })))
}

fn cut(plain: &[u8], kind: Option<&str>, envelope: Arc<Envelope>) -> RawBatch {
    let now_ns = io::intake::wall_ns();
    let mut batch = RawBatch::of(envelope);
    match body::shape(kind, plain) {
        Shape::Json => {
            for record in parse::records::split_json(plain) {
                // What is no JSON is a record all the same: it is kept, marked and searchable.
                let piece = record.unwrap_or_else(|broken| broken.piece);
                batch.push(now_ns, piece.bytes);
            }
        }
        Shape::Lines => {
            for line in parse::records::split_lines(plain, false) {
                batch.push(now_ns, line.bytes);
            }
        }
    }
    batch
}

/// A body that is sent twice under one key is taken once.
fn producer_of(principal: &Principal, key: &str) -> Producer {
    let mut hash = Sha256::new();
    hash.update(principal.identity.as_bytes());
    hash.update([0]);
    hash.update(key.as_bytes());
    let hash = hash.finalize();
    let id = hash.iter().take(16).fold(0u128, |n, b| n << 8 | u128::from(*b));
    Producer::once(id)
}

async fn append(source: &io::Context, batch: RawBatch) -> Result<event::Durable, Problem> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let stop = tokio_util::sync::CancellationToken::new();
    let wait = async {
        let offered = source.submit(batch, &stop, move |outcome| {
            let _ = tell.send(outcome);
        });
        offered.await.map_err(refused)?;
        match told.await {
            Ok(Ok(durable)) => Ok(durable),
            Ok(Err(error)) => Err(Problem::busy(error.to_string())),
            Err(_) => Err(Problem::busy("the server is shutting down")),
        }
    };
    match tokio::time::timeout(DURABLE_WAIT, wait).await {
        Ok(result) => result,
        Err(_) => Err(Problem::busy("the journal is behind; send the batch again")),
    }
}

fn refused(cause: RefusedCause) -> Problem {
    match cause {
        RefusedCause::Invalid => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "a record or batch is over the limit")
        }
        other => Problem::busy(other.to_string()),
    }
}
