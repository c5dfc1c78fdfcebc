//! `POST /api/v1/ingest`: NDJSON, JSON arrays or text lines, gzip or zstd. The answer comes after
//! the bytes are on disk.

use super::asked::Params;
use super::problem::Problem;
use crate::run::App;
use crate::run::patience::TooSlow;
use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use event::{Envelope, Producer, Protocol, RawBatch};
use futures::StreamExt;
use io::body::{self, Limits, Shape};
use io::intake::HELD_BYTES_FREE;
use io::{Fate, RefusedCause};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use trust::Principal;

/// How long a request waits for the journal before it is told to come again.
const DURABLE_WAIT: Duration = Duration::from_secs(30);

/// Largest body, as sent and expanded: a record of the greatest length that is stored.
const BODY_BYTES_MAX: usize = journal::RECORD_BYTES_MAX;

/// Part of the memory ceiling that one body may have: on its way from the socket into a file a record takes
/// eleven times its size, and others come at the same time.
const BODY_MEMORY_PART: u64 = 24;

/// A body may have so much in any case.
const BODY_BYTES_MIN: usize = 1 << 20;

/// Least room taken for a body at a time, while there is so much.
const CHARGE_BYTES: usize = 256 << 10;

/// Most records of one body: a line of one byte costs 32 in memory.
pub(super) const RECORDS_MAX: usize = 1 << 20;

/// Room that a body takes while it is here.
pub(super) type Room = Option<OwnedSemaphorePermit>;

/// Query of the route.
#[derive(Deserialize)]
pub struct Target {
    pub(super) source: Option<String>,
}

/// Takes a body.
pub async fn ingest(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    Params(target): Params<Target>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let source = open(&app, target.source.as_deref(), &principal)?;
    let body_bytes_max = body_bytes_max(app.memory.all);
    let (bytes, room) = read(&source, body, body_bytes_max).await?;
    let envelope = envelope(&source, &principal, peer.map(|p| p.0.0), Protocol::Http);
    let text = |name| headers.get(name).and_then(|v: &header::HeaderValue| v.to_str().ok());
    // Whatever bytes it is of: one that is passed over would be no promise.
    let producer =
        headers.get("idempotency-key").map(|key| producer_of(&principal, key.as_bytes()));
    let plain = decoded(&headers, &bytes, body_bytes_max)?;
    let mut batch = cut(&plain, text(header::CONTENT_TYPE), Arc::new(envelope))?;
    drop(plain);
    batch.producer = producer;
    let accepted = batch.records.len();
    if accepted == 0 {
        return Err(Problem::bad("the body has no records; send NDJSON, a JSON array or lines"));
    }
    drop((bytes, room));
    let durable = append(&source, batch).await?;
    Ok(Json(json!({
        "accepted": accepted,
        "first": durable.first,
        "last": durable.last,
        "repeats": durable.repeats,
    })))
}

/// The source that a body is for, if it takes any now: asked before the body is read, which would only take
/// room.
pub(super) fn open(
    app: &App,
    source: Option<&str>,
    principal: &Principal,
) -> Result<io::Context, Problem> {
    let source = app.http_source(source, principal)?;
    match app.refusal() {
        Some(cause) => Err(turned_away(&source, cause)),
        None => Ok(source),
    }
}

/// What is said of a body that is not read, or not to its end. Its records cannot be counted, so it is.
fn turned_away(source: &io::Context, cause: RefusedCause) -> Problem {
    source.stats.refused_requests.fetch_add(1, Relaxed);
    Problem::refused(cause)
}

/// Who sends this, over which protocol.
pub(super) fn envelope(
    source: &io::Context,
    principal: &Principal,
    peer: Option<SocketAddr>,
    protocol: Protocol,
) -> Envelope {
    let peer = peer.map(|p| p.ip().to_canonical().to_string()).unwrap_or_default();
    Envelope {
        identity: principal.identity.as_str().into(),
        peer: peer.into(),
        ..source.envelope(protocol)
    }
}

/// A body without its content encoding.
pub(super) fn decoded<'a>(
    headers: &HeaderMap,
    bytes: &'a [u8],
    bytes_max: usize,
) -> Result<Cow<'a, [u8]>, Problem> {
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|v| v.to_str().ok());
    plain(encoding, bytes, bytes_max, Limits::default().ratio_max)
}

/// Undoes a body's encoding, under the limit for bodies.
pub(super) fn plain<'a>(
    encoding: Option<&str>,
    bytes: &'a [u8],
    bytes_max: usize,
    ratio_max: usize,
) -> Result<Cow<'a, [u8]>, Problem> {
    let limits = Limits {
        compressed_bytes_max: bytes_max,
        expanded_bytes_max: bytes_max,
        ratio_max,
        ..Limits::default()
    };
    body::decode(encoding, bytes, &limits).map_err(|error| {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
        Problem::new(status, error.to_string())
    })
}

/// Largest body of a server with this much memory.
pub(super) fn body_bytes_max(memory_max: u64) -> usize {
    let part = usize::try_from(memory_max / BODY_MEMORY_PART).unwrap_or(usize::MAX);
    part.clamp(BODY_BYTES_MIN, BODY_BYTES_MAX)
}

fn cut(plain: &[u8], kind: Option<&str>, envelope: Arc<Envelope>) -> Result<RawBatch, Problem> {
    let now_ns = io::intake::wall_ns();
    let mut batch = RawBatch::of(envelope);
    batch.bytes.reserve_exact(plain.len());
    let mut push = |bytes: &[u8]| {
        if batch.records.len() == RECORDS_MAX {
            return Err(too_many_records());
        }
        batch.push(now_ns, bytes);
        Ok(())
    };
    match body::shape(kind, plain) {
        Shape::Json => {
            for record in parse::records::split_json(plain) {
                // What is no JSON is a record all the same: it is kept, marked and searchable.
                push(record.unwrap_or_else(|broken| broken.piece).bytes)?;
            }
        }
        Shape::Lines => {
            for line in parse::records::split_lines(plain, false) {
                push(line.bytes)?;
            }
        }
    }
    Ok(batch)
}

/// What is said of a body of more records than [`RECORDS_MAX`].
pub(super) fn too_many_records() -> Problem {
    let detail = format!("a body may have {RECORDS_MAX} records; send smaller batches");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

/// A body that is sent twice under one key is taken once.
fn producer_of(principal: &Principal, key: &[u8]) -> Producer {
    let mut hash = Sha256::new();
    hash.update(principal.identity.as_bytes());
    hash.update([0]);
    hash.update(key);
    let hash = hash.finalize();
    let id = hash.iter().take(16).fold(0u128, |n, b| n << 8 | u128::from(*b));
    Producer::once(id)
}

pub(super) async fn append(
    source: &io::Context,
    batch: RawBatch,
) -> Result<event::Durable, Problem> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let offered = source.offer(batch, move |outcome| {
        let _ = tell.send(outcome);
    });
    offered.map_err(Problem::refused)?;
    match tokio::time::timeout(DURABLE_WAIT, told).await {
        Ok(Ok(Ok(durable))) => Ok(durable),
        Ok(Ok(Err(error))) if error.fate == Fate::Again => Err(Problem::busy(error.to_string())),
        Ok(Ok(Err(error))) => Err(Problem::new(StatusCode::CONFLICT, error.to_string())),
        Ok(Err(_)) => Err(Problem::busy("the server is shutting down")),
        Err(_) => Err(Problem::busy("the journal is behind; send the batch again")),
    }
}

/// What is said of a body that did not arrive whole.
fn cut_off(error: &axum::Error) -> Problem {
    let mut causes = std::iter::successors(error.source(), |&cause| cause.source());
    match causes.find(|cause| cause.is::<TooSlow>()) {
        Some(slow) => Problem::new(StatusCode::REQUEST_TIMEOUT, slow.to_string()),
        None => Problem::bad(format!("the body ended early: {error}")),
    }
}

/// Reads a body. What it takes beyond [`HELD_BYTES_FREE`] is room that all bodies of the source have
/// together: bodies that are still coming in cannot fill the memory.
pub(super) async fn read(
    source: &io::Context,
    body: Body,
    bytes_max: usize,
) -> Result<(Vec<u8>, Room), Problem> {
    let mut pieces = body.into_data_stream();
    let (mut bytes, mut room): (Vec<u8>, Room) = (Vec::new(), None);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| cut_off(&error))?;
        if bytes.len() + piece.len() > bytes_max {
            let detail = format!("a body may have {bytes_max} bytes here; send smaller batches");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        bytes.extend_from_slice(&piece);
        let charged = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let owed = bytes.len().saturating_sub(HELD_BYTES_FREE + charged);
        if owed > 0 {
            let more = source.holding.try_take(owed.max(CHARGE_BYTES));
            let more = more.or_else(|| source.holding.try_take(owed));
            let more = more.ok_or_else(|| turned_away(source, RefusedCause::OverShare))?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
        }
    }
    Ok((bytes, room))
}
