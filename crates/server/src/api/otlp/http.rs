//! OTLP/HTTP: `POST /v1/logs`, protobuf or JSON as `Content-Type` says, answered in the same.

use super::status::{Status, success};
use super::{Export, Peer, text_of};
use crate::api::asked::Params;
use crate::api::ingest::Target;
use crate::api::problem::Problem;
use crate::run::App;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use parse::otlp::Form;
use std::sync::Arc;
use trust::Principal;

/// Takes a request's logs.
pub async fn export(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    peer: Peer,
    Params(target): Params<Target>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let form = form(text_of(&headers, header::CONTENT_TYPE.as_str())).ok_or_else(|| {
        let detail = "the content type has to be application/x-protobuf or application/json";
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    })?;
    let export = Export::begin(&app, &principal, peer, target.source.as_deref())?;
    let (bytes, room) = export.body(body, 0).await?;
    let encoding = text_of(&headers, header::CONTENT_ENCODING.as_str());
    let rejected = export.take(form, encoding, (bytes, 0), room).await?;
    Ok(answer(StatusCode::OK, form, success(form, rejected, &export.remark(rejected))))
}

/// The encoding of a request by its content type.
pub(super) fn form(kind: Option<&str>) -> Option<Form> {
    let essence = kind.unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/x-protobuf" | "application/protobuf" => Some(Form::Protobuf),
        "application/json" => Some(Form::Json),
        _ => None,
    }
}

/// A refusal for those who sent protobuf.
pub(super) fn refusal_protobuf(status: &Status<'_>) -> Response {
    refusal(Form::Protobuf, status)
}

/// A refusal for those who sent JSON, or what is neither.
pub(super) fn refusal_json(status: &Status<'_>) -> Response {
    refusal(Form::Json, status)
}

fn refusal(form: Form, status: &Status<'_>) -> Response {
    let mut response = answer(status.http, form, status.encoded(form));
    if let Some(seconds) = status.retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn answer(status: StatusCode, form: Form, body: Vec<u8>) -> Response {
    let kind = match form {
        Form::Protobuf => "application/x-protobuf",
        Form::Json => "application/json",
    };
    (status, [(header::CONTENT_TYPE, kind)], body).into_response()
}
