//! OpenTelemetry logs: OTLP/HTTP and OTLP/gRPC on the server's own port. The answer comes after the bytes are
//! on disk.
//!
//! ```text
//! POST /v1/logs --http---+                                   +--> answer: message, or status
//!                        +--> Export: source, body, records --+         in the sender's protocol
//! LogsService --grpc-----+
//! ```
//! A unary call of gRPC is a message behind five bytes and an answer with trailers; that is done here by hand,
//! so that a call is a request like any other: same guard, same limits, same patience.
//!
//! Clients of OTLP throw away what was answered with anything but 429, 502, 503 or 504 (gRPC: `UNAVAILABLE`,
//! `RESOURCE_EXHAUSTED` with a time to try again): what may be sent again never has another status.

pub mod grpc;
pub mod http;
mod status;

use super::ingest::{self, Room};
use super::problem::Problem;
use crate::run::App;
use axum::body::Body;
use axum::extract::{ConnectInfo, Extension, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use event::{Certainty, Envelope, Gap, GapCause, Protocol, RawBatch};
use parse::otlp::{Form, Limits, Rejected};
use status::Status;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::sync::Semaphore;
use trust::Principal;

/// Path of OTLP/HTTP.
pub const HTTP_PATH: &str = "/v1/logs";
/// Path of OTLP/gRPC.
pub const GRPC_PATH: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
/// Further paths of OTLP/HTTP, which senders try when they are not told to send logs alone.
const OTHER_HTTP_PATHS: [&str; 3] = ["/v1/traces", "/v1/metrics", "/v1development/profiles"];
/// What is said of them.
const ONLY_LOGS: &str = "only logs are taken here: POST /v1/logs, or LogsService/Export; switch the export of traces and metrics off";

/// A request is made into records beside the runtime's other work from this size on.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// So many are unpacked and made into records at a time: more would only hold memory, which is charged by what
/// was sent.
const UNPACKED_AT_ONCE: usize = 2;

/// The turns for that.
static UNPACKING: Semaphore = Semaphore::const_new(UNPACKED_AT_ONCE);

/// A thousand errors with one stack trace shrink 700 fold: what may come of a body is bounded by its length,
/// and how many are unpacked by turns.
const RATIO_MAX: usize = 2_000;

/// Connected sender, as the listener knows it.
type Peer = Option<Extension<ConnectInfo<SocketAddr>>>;

/// An export under way, for either transport.
struct Export {
    source: io::Context,
    envelope: Arc<Envelope>,
    bytes_max: usize,
}

impl Export {
    /// Begins before the body is read.
    fn begin(
        app: &App,
        principal: &Principal,
        peer: Peer,
        source: Option<&str>,
    ) -> Result<Self, Problem> {
        let source = ingest::open(app, source, principal)?;
        let peer = peer.map(|peer| peer.0.0);
        let envelope = ingest::envelope(&source, principal, peer, Protocol::Otlp);
        let bytes_max = ingest::body_bytes_max(app.memory.all);
        Ok(Self { source, envelope: Arc::new(envelope), bytes_max })
    }

    /// Reads the body, of at most so many bytes beyond a message's limit.
    async fn body(&self, body: Body, beside_bytes: usize) -> Result<(Vec<u8>, Room), Problem> {
        ingest::read(&self.source, body, self.bytes_max + beside_bytes).await
    }

    /// Makes the message durable, that is `bytes` from `at` on; what of it was not taken. While the journal is
    /// waited for, nothing of the body is held.
    async fn take(
        &self,
        form: Form,
        encoding: Option<&str>,
        (bytes, at): (Vec<u8>, usize),
        room: Room,
    ) -> Result<Rejected, Problem> {
        let made = || self.records(form, encoding, &bytes[at..]);
        let (batch, rejected) = match (bytes.len(), encoding) {
            (0..INLINE_BYTES_MAX, None) => made(),
            _ => {
                // Each may become as long as a body may be, however short it is.
                let turn = UNPACKING.acquire().await;
                let made = tokio::task::block_in_place(made);
                drop(turn);
                made
            }
        }?;
        drop((bytes, room));
        if !batch.is_empty() {
            ingest::append(&self.source, batch).await?;
        }
        Ok(rejected)
    }

    /// Counts what is no call, or cannot be unpacked or read.
    fn not_decoded(&self) {
        self.source.stats.decode_errors.fetch_add(1, Relaxed);
    }

    fn records(
        &self,
        form: Form,
        encoding: Option<&str>,
        message: &[u8],
    ) -> Result<(RawBatch, Rejected), Problem> {
        let plain = ingest::plain(encoding, message, self.bytes_max, RATIO_MAX)
            .inspect_err(|_| self.not_decoded())?;
        let now_ns = io::intake::wall_ns();
        let mut batch = RawBatch::of(self.envelope.clone());
        let limits = Limits {
            record_bytes_max: self.bytes_max,
            batch_bytes_max: self.bytes_max,
            records_max: ingest::RECORDS_MAX,
        };
        let rejected = parse::otlp::read(form, &plain, &limits, now_ns, &mut batch);
        let rejected = rejected.map_err(|error| {
            self.not_decoded();
            Problem::bad(format!("{error}; send an ExportLogsServiceRequest"))
        })?;
        if rejected.records > 0 {
            // The sender must not send them again, so the stream has to tell.
            self.source.stats.oversize_records.fetch_add(rejected.records, Relaxed);
            self.source.stats.oversize_bytes.fetch_add(rejected.bytes, Relaxed);
            let gap = Gap {
                protocol: Some(Protocol::Otlp),
                count: rejected.records,
                bytes: rejected.bytes,
                ..Gap::at(GapCause::Oversize, Certainty::Known, &self.source.name, now_ns)
            };
            gap.push_to(&mut batch, 0);
        }
        Ok((batch, rejected))
    }

    /// What the sender is told of records that were not taken.
    fn remark(&self, rejected: Rejected) -> String {
        match rejected.records {
            0 => String::new(),
            n => format!(
                "{n} log records were not taken: with resources and scopes written into each record, a \
                 request may become {} bytes and {} records; send smaller batches",
                self.bytes_max,
                ingest::RECORDS_MAX
            ),
        }
    }
}

/// A header's text.
fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Middleware: problems of a call of gRPC, or of OTLP's paths, are told as these protocols tell them,
/// whoever found them.
pub async fn in_its_words(request: Request, next: Next) -> Response {
    let kind = text_of(request.headers(), header::CONTENT_TYPE.as_str());
    let path = request.uri().path();
    let is_http = path == HTTP_PATH || OTHER_HTTP_PATHS.contains(&path);
    let tongue: fn(&Status<'_>) -> Response = match kind {
        Some(kind) if grpc::is_call(path, kind) => grpc::refusal,
        kind if is_http && http::form(kind) == Some(Form::Protobuf) => http::refusal_protobuf,
        _ if is_http => http::refusal_json,
        _ => return next.run(request).await,
    };
    let response = next.run(request).await;
    let Some(problem) = response.extensions().get::<Problem>() else { return response };
    let mut problem = problem.clone();
    if problem.status == StatusCode::NOT_FOUND {
        problem.detail = ONLY_LOGS.into();
    }
    tongue(&Status::of(&problem))
}
