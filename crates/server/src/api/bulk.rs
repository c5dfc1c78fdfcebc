//! Elasticsearch's `_bulk`, and what its clients ask before: shippers for Elasticsearch and OpenSearch are
//! taken as they are and answered in its words, after the bytes are on disk. What bodies mean is
//! `io::bulk`'s.

use super::asked::InPath;
use super::auth::{bearer, by_token, peer_of};
use super::body::{self, Cut, Peer, Sender};
use super::page;
use super::problem::Problem;
use crate::run::App;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use event::Protocol;
use io::bulk::{Action, INDEX_BYTES_MAX, Operation, Operations, Wrong};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;
use trust::{Permission, Principal};

/// Clients of Elasticsearch refuse a server that does not send this.
const PRODUCT: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-elastic-product"), HeaderValue::from_static("Elasticsearch"));
/// Most operations of one body. Shippers send some thousand at most.
const OPERATIONS_MAX: usize = 100_000;
/// Longest answer: one is held until its reader has taken it, and says a hundred bytes of each operation,
/// which may have as few.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What somebody is told whose request is not done.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    kind: &'static str,
    reason: String,
    retry_after_s: Option<u32>,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, reason: impl Into<String>) -> Self {
        Self { status, kind, reason: reason.into(), retry_after_s: None }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let (status, kind) = match problem.status {
            // Clients back off after 429 and send again.
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                (StatusCode::TOO_MANY_REQUESTS, "es_rejected_execution_exception")
            }
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                (status, "security_exception")
            }
            status if status.is_server_error() => (status, "internal_server_error"),
            status => (status, "illegal_argument_exception"),
        };
        Self { retry_after_s: problem.retry_after_s, ..Self::new(status, kind, problem.detail) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let cause = json!({"type": self.kind, "reason": self.reason});
        let mut error = cause.clone();
        error["root_cause"] = json!([cause]);
        let body = json!({"error": error, "status": self.status.as_u16()});
        let mut response = (self.status, [PRODUCT], axum::Json(body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // Not Basic: a browser would ask for a token and send it from then on, whatever page asks it to.
            let ways = HeaderValue::from_static("ApiKey, Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, ways);
        }
        response
    }
}

/// Who asks: `ApiKey` with a token, alone or behind an id and in Base64, `Basic` with the token as password,
/// or `Bearer TOKEN`.
pub fn principal(
    app: &App,
    request: &Request,
    permission: Permission,
) -> Result<Principal, Refusal> {
    let refuse = |status, reason: &str| Refusal::new(status, "security_exception", reason);
    let token = token_of(request.headers()).ok_or_else(|| {
        let ways = "send a token: as API key, as password of any user, or as bearer token";
        refuse(StatusCode::UNAUTHORIZED, ways)
    })?;
    let found = by_token(app, &token, peer_of(request))
        .map_err(|_| refuse(StatusCode::UNAUTHORIZED, trust::AuthError::PUBLIC))?;
    match found.may(permission) {
        true => Ok(found),
        false => Err(refuse(StatusCode::FORBIDDEN, "the token may not write events")),
    }
}

fn token_of(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let Some((_, key)) = value.split_once(' ').filter(|(s, _)| s.eq_ignore_ascii_case("apikey"))
    else {
        return bearer(headers);
    };
    let key = key.trim();
    let pair = base64::engine::general_purpose::STANDARD.decode(key).ok();
    let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
    let token = pair.and_then(|pair| Some(pair.split_once(':')?.1.to_owned()));
    Some(token.map_or(key.into(), Cow::Owned))
}

/// `POST`, `PUT /_bulk`
pub async fn bulk(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    peer: Peer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    take(
        &app,
        Sender { principal: &principal, peer, headers: &headers, protocol: Protocol::Bulk },
        None,
        body,
    )
    .await
}

/// `POST`, `PUT /{index}/_bulk`
pub async fn bulk_into(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    peer: Peer,
    InPath(index): InPath<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let is_wrong = |c: char| c.is_control() || "\\/*?\"<>| ,#".contains(c);
    if index.len() > INDEX_BYTES_MAX || index.contains(is_wrong) {
        let reason = format!(
            "an index has a name of at most {INDEX_BYTES_MAX} bytes without blanks and \\ / * ? \" < > | , #"
        );
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "invalid_index_name_exception", reason));
    }
    let sender =
        Sender { principal: &principal, peer, headers: &headers, protocol: Protocol::Bulk };
    take(&app, sender, Some(&index), body).await
}

async fn take(
    app: &App,
    sender: Sender<'_>,
    index: Option<&str>,
    body: Body,
) -> Result<Response, Refusal> {
    let began = Instant::now();
    let (_, items) = body::take(app, sender, body, |plain, cut| cut_all(plain, index, cut)).await?;
    let took_ms = began.elapsed().as_millis();
    let Items { mut text, has_errors, .. } = items;
    text.insert_str(0, &format!("{{\"took\":{took_ms},\"errors\":{has_errors},\"items\":["));
    text.push_str("]}");
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(([PRODUCT, kind], text).into_response())
}

fn cut_all(plain: &[u8], index: Option<&str>, cut: &mut Cut) -> Result<Items, Problem> {
    let mut items = Items::default();
    for operation in Operations::new(plain, index) {
        let operation = operation.map_err(|wrong| Problem::bad(wrong.to_string()))?;
        if items.count == OPERATIONS_MAX {
            let detail = format!("a body may have {OPERATIONS_MAX} operations; send smaller ones");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        match operation.document {
            Ok(document) => cut.push(|record| operation.write(document, record))?,
            // Shippers drop what its item says no to: the line is kept, and marked when it is parsed.
            Err(_) if !operation.line.is_empty() => {
                cut.push(|record| record.extend_from_slice(operation.line))?;
            }
            Err(_) => {}
        }
        items.push(&operation);
        if items.text.len() > ANSWER_BYTES_MAX {
            let detail = "there is too much to say of so many operations; send smaller bodies";
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
    }
    match items.count {
        0 => Err(Problem::bad("the body has no operations; send pairs of lines")),
        _ => Ok(items),
    }
}

/// What is said of each operation, in their order.
#[derive(Default)]
struct Items {
    text: String,
    count: usize,
    has_errors: bool,
}

impl Items {
    fn push(&mut self, operation: &Operation<'_>) {
        let text = |json: &[u8]| serde_json::from_slice(json).unwrap_or(Value::Null);
        let mut said = json!({"_index": text(&operation.index)});
        if let Some(id) = operation.id {
            said["_id"] = text(id);
        }
        match operation.document {
            Ok(_) => {
                let (status, result) = match operation.action {
                    Action::Update => (200, "updated"),
                    _ => (201, "created"),
                };
                said["status"] = status.into();
                said["result"] = result.into();
            }
            Err(wrong) => {
                self.has_errors = true;
                said["status"] = 400.into();
                said["error"] = error_of(wrong);
            }
        }
        let comma = if self.count == 0 { "" } else { "," };
        self.count += 1;
        self.text.push_str(&format!("{comma}{{\"{}\":{said}}}", operation.action.name()));
    }
}

fn error_of(wrong: Wrong) -> Value {
    json!({"type": wrong.kind(), "reason": wrong.to_string()})
}

/// `GET /`: the page for browsers, for all others what clients of Elasticsearch look at first.
pub async fn root(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accepts.is_some_and(|kinds| kinds.contains("text/html")) {
        return page::index().await.into_response();
    }
    let answer = json!({
        "name": "alcedo",
        "cluster_name": "alcedo",
        "cluster_uuid": "alcedo",
        "version": {
            "number": app.config.elasticsearch_version,
            "build_flavor": "default",
            "build_type": "tar",
            "build_hash": "unknown",
            "build_date": "2025-01-01T00:00:00.000Z",
            "build_snapshot": false,
            "lucene_version": "9.12.0",
            "minimum_wire_compatibility_version": "7.17.0",
            "minimum_index_compatibility_version": "7.0.0",
        },
        "tagline": "You Know, for Search",
    });
    ([PRODUCT], axum::Json(answer)).into_response()
}

/// What shippers ask and set before they send: templates, policies and pipelines are taken for there and set,
/// because nothing here needs them.
pub async fn admin(method: Method, uri: Uri) -> Response {
    let license = json!({"status": "active", "uid": "alcedo", "type": "basic", "mode": "basic"});
    let off = json!({"available": false, "enabled": false});
    let answer = match uri.path() {
        _ if method == Method::PUT => json!({"acknowledged": true}),
        "/_license" => json!({"license": license}),
        "/_xpack" => json!({"license": license, "features": {"ilm": off, "security": off}}),
        "/_cluster/health" => json!({
            "cluster_name": "alcedo", "status": "green", "timed_out": false,
            "number_of_nodes": 1, "number_of_data_nodes": 1,
        }),
        path if path.starts_with("/_nodes") => json!({"cluster_name": "alcedo", "nodes": {}}),
        _ => json!({}),
    };
    ([PRODUCT], axum::Json(answer)).into_response()
}
