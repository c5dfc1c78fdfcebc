//! Splunk's HTTP event collector: what senders for Splunk post, taken in as it is and answered in its
//! words, after the bytes are on disk. What bodies mean is `io::hec`'s.

use super::auth::{bearer, by_token, peer_of};
use super::body::{self, Cut, Peer, Sender};
use super::ingest;
use super::problem::Problem;
use crate::run::App;
use axum::body::Body;
use axum::extract::{Extension, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use event::Protocol;
use io::hec::{CHANNEL_BYTES_MAX, Code, Events, RawLine, Refused, SAID};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;
use trust::{AuthError, Permission, Principal};

/// The pack that reads what senders say of events.
const PACK: &str = "splunk-hec";
/// Header that names the channel.
const CHANNEL: &str = "x-splunk-request-channel";
/// Largest question about acknowledgements: all ids that a channel may have open, of ten digits.
const QUESTION_BYTES_MAX: usize = 256 << 10;

/// What a request is answered.
#[derive(Debug)]
pub struct Answer {
    code: Code,
    status: StatusCode,
    /// The first event that is wrong, counted from 0.
    wrong_event: Option<usize>,
    ack_id: Option<u64>,
    /// More than the code's own words.
    detail: Option<String>,
    retry_after_s: Option<u32>,
}

impl From<Code> for Answer {
    fn from(code: Code) -> Self {
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::BAD_REQUEST);
        Self { code, status, wrong_event: None, ack_id: None, detail: None, retry_after_s: None }
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        Self { wrong_event: Some(refused.number), ..refused.code.into() }
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        let code = match problem.status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::REQUEST_TIMEOUT => Code::Busy,
            StatusCode::FORBIDDEN => Code::InvalidToken,
            status if status.is_server_error() => Code::Internal,
            _ => Code::InvalidFormat,
        };
        let plain = Self::from(code);
        // Senders come again after 503 and know no 429.
        let status = match code {
            Code::Busy if problem.retry_after_s.is_some() => plain.status,
            _ => problem.status,
        };
        let (detail, retry_after_s) = (Some(problem.detail), problem.retry_after_s);
        Self { status, detail, retry_after_s, ..plain }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut body = json!({"text": self.code.text(), "code": self.code as u8});
        let mut add = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body[name] = value;
            }
        };
        add("invalid-event-number", self.wrong_event.map(Value::from));
        add("ackId", self.ack_id.map(Value::from));
        add("detail", self.detail.map(Value::from));
        let mut response = (self.status, axum::Json(body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// Who asks: `Authorization: Splunk TOKEN`, `Basic` with the token as password, or `?token=`. The query
/// is nobody's to write down: nothing here logs requests, and refusals do not repeat it.
pub fn principal(
    app: &App,
    request: &Request,
    permission: Permission,
) -> Result<Principal, Answer> {
    let token = token_of(request.headers(), request.uri())?;
    let found = by_token(app, &token, peer_of(request)).map_err(|error| match error {
        AuthError::Revoked { .. } | AuthError::Expired { .. } => Code::TokenDisabled,
        _ => Code::InvalidToken,
    })?;
    match found.may(permission) {
        true => Ok(found),
        false => Err(Code::InvalidToken.into()),
    }
}

fn token_of<'r>(headers: &'r HeaderMap, uri: &Uri) -> Result<Cow<'r, str>, Code> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        let token = Said::of(uri).and_then(|said| said.take("token"));
        return token.map(Cow::Owned).ok_or(Code::TokenRequired);
    };
    let splunk = value.to_str().ok().and_then(|text| text.split_once(' '));
    let splunk = splunk.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("splunk"));
    let token = splunk.map(|(_, token)| token.trim().into()).or_else(|| bearer(headers));
    token.ok_or(Code::InvalidAuthorization)
}

/// What stands in the query.
struct Said(Vec<(String, String)>);

impl Said {
    fn of(uri: &Uri) -> Option<Self> {
        Query::try_from_uri(uri).ok().map(|Query(pairs)| Self(pairs))
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| &**value).filter(|value| !value.is_empty())
    }

    fn take(self, name: &str) -> Option<String> {
        self.0.into_iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, v)| v)
    }
}

/// `POST /services/collector[/event[/1.0]]`: objects one after another.
pub async fn events(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    peer: Peer,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Answer, Answer> {
    take(&app, (&principal, peer), (&uri, &headers), body, |plain, cut| {
        cut.envelope.pack = PACK.into();
        let mut refused = None;
        for event in Events::new(plain) {
            match event {
                Ok(event) => {
                    event.records().try_for_each(|one| cut.push(|record| one.write(record)))?;
                }
                // Senders drop what they are told 400 for, and what stands behind it: all of it is kept.
                Err(wrong) => {
                    cut.push(|record| record.extend_from_slice(wrong.bytes))?;
                    refused = refused.or(Some(wrong.refused));
                }
            }
        }
        Ok(refused)
    })
    .await
}

/// `POST /services/collector/raw[/1.0]`: lines, and in the query what holds for all of them.
pub async fn lines(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    peer: Peer,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Answer, Answer> {
    let said = Said::of(&uri).unwrap_or(Said(Vec::new()));
    let said = SAID.into_iter().filter_map(|name| Some((name, said.get(name)?)));
    let around = RawLine::new(said);
    take(&app, (&principal, peer), (&uri, &headers), body, |plain, cut| {
        // A line of which nothing is said is a record as over any door.
        if !around.is_bare() {
            cut.envelope.pack = PACK.into();
        }
        for line in parse::records::split_lines(plain, false) {
            cut.push(|record| around.write(line.bytes, record))?;
        }
        Ok(around.refused())
    })
    .await
}

/// Takes a body in. All of it is durable before the answer tells of a wrong event.
async fn take(
    app: &App,
    (principal, peer): (&Principal, Peer),
    (uri, headers): (&Uri, &HeaderMap),
    body: Body,
    cut: impl FnOnce(&[u8], &mut Cut) -> Result<Option<Refused>, Problem>,
) -> Result<Answer, Answer> {
    let channel = channel_of(uri, headers)?;
    let sender = Sender { principal, peer, headers, protocol: Protocol::Hec };
    match body::take(app, sender, body, cut).await? {
        (0, _) => return Err(Code::NoData.into()),
        (_, Some(refused)) => return Err(refused.into()),
        _ => {}
    }
    let note =
        |channel: String| app.hec_acks.lock().note(&principal.identity, &channel, Instant::now());
    Ok(Answer { ack_id: channel.map(note), ..Code::Success.into() })
}

/// The channel that a request names, if it does.
fn channel_of(uri: &Uri, headers: &HeaderMap) -> Result<Option<String>, Answer> {
    let channel = match headers.get(CHANNEL) {
        Some(value) => Some(value.to_str().map_err(|_| Code::InvalidChannel)?.to_owned()),
        None => Said::of(uri).and_then(|said| said.take("channel")),
    };
    let is_name = |name: &String| {
        !name.is_empty()
            && name.len() <= CHANNEL_BYTES_MAX
            && name.bytes().all(|c| c.is_ascii_graphic())
    };
    match channel {
        Some(name) if !is_name(&name) => Err(Code::InvalidChannel.into()),
        channel => Ok(channel),
    }
}

/// Body of a question about acknowledgements.
#[derive(Deserialize)]
struct Question {
    acks: Vec<u64>,
}

/// `POST /services/collector/ack`: which batches of the channel are durable. Each is told once.
pub async fn acks(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<Value>, Answer> {
    let channel = channel_of(&uri, &headers)?.ok_or(Code::ChannelMissing)?;
    let source = app.http_source(None, &principal)?;
    let (bytes, _room) = ingest::read(&source, body, QUESTION_BYTES_MAX).await?;
    let question: Question = serde_json::from_slice(&bytes).map_err(|error| {
        Problem::bad(format!("the body has to be like {{\"acks\":[0,1]}}: {error}"))
    })?;
    let ids = question.acks;
    let told = app.hec_acks.lock().take(&principal.identity, &channel, &ids, Instant::now());
    let told: Map<String, Value> =
        ids.iter().zip(told).map(|(id, is_durable)| (id.to_string(), is_durable.into())).collect();
    Ok(axum::Json(json!({"acks": told})))
}

/// `OPTIONS` of the routes that take events: Docker's driver asks before it lets a container start.
pub async fn options() -> StatusCode {
    StatusCode::OK
}

/// `GET /services/collector/health[/1.0]`: whether events are taken now.
pub async fn health(State(app): State<Arc<App>>) -> Answer {
    match app.refusal() {
        Some(cause) => Problem::refused(cause).into(),
        None => Code::Healthy.into(),
    }
}
