//! OTLP/gRPC: the unary call `LogsService/Export`.
//!
//! ```text
//! request   flag (1 = compressed as `grpc-encoding` says), length (4 bytes, big-endian), message
//! answer    the same, then trailers with `grpc-status`; a refusal is headers alone
//! ```
//! See https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.

use super::status::{Status, success};
use super::{Export, Peer, text_of};
use crate::api::problem::Problem;
use crate::run::App;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use parse::otlp::Form;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use trust::Principal;

/// Content type of calls and answers; `+proto` may follow.
const KIND: &str = "application/grpc";
/// Flag and length before a message.
const FRAME_BYTES: usize = 5;
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
/// Where OpenTelemetry's exporter for Python looks for the time to try again.
const RETRY_INFO: HeaderName = HeaderName::from_static("google.rpc.retryinfo-bin");
const ACCEPTS: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Whether a request is a call: by its content type, and by a path that begins with a service's name. A
/// refusal of any other route must not look like success to who reads HTTP's status alone.
pub(super) fn is_call(path: &str, kind: &str) -> bool {
    let service = path.split('/').nth(1);
    kind.starts_with(KIND) && service.is_some_and(|name| name.contains('.'))
}

/// Takes a call's logs.
pub async fn export(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    peer: Peer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let kind = text_of(&headers, header::CONTENT_TYPE.as_str()).unwrap_or("");
    if !matches!(kind.strip_prefix(KIND), Some("" | "+proto")) {
        let detail = "the content type has to be application/grpc or application/grpc+proto";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let export = Export::begin(&app, &principal, peer, None)?;
    let (bytes, room) = export.body(body, FRAME_BYTES).await?;
    let is_compressed = unframed(&bytes).inspect_err(|_| export.not_decoded())?;
    let encoding = text_of(&headers, "grpc-encoding").filter(|_| is_compressed);
    let rejected = export.take(Form::Protobuf, encoding, (bytes, FRAME_BYTES), room).await?;
    let message = success(Form::Protobuf, rejected, &export.remark(rejected));
    let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
    let body =
        Full::new(framed(&message)).with_trailers(async { Some(Ok::<_, Infallible>(trailers)) });
    Ok(answer(Body::new(body)))
}

/// Whether the message behind the frame's head is compressed.
fn unframed(bytes: &[u8]) -> Result<bool, Problem> {
    let wrong = || Problem::bad("the call has to be one message behind its flag and its length");
    let (head, message) = bytes.split_at_checked(FRAME_BYTES).ok_or_else(wrong)?;
    let [flag @ (0 | 1), a, b, c, d] = *head else { return Err(wrong()) };
    match u32::from_be_bytes([a, b, c, d]) as usize == message.len() {
        true => Ok(flag == 1),
        false => Err(wrong()),
    }
}

fn framed(message: &[u8]) -> Bytes {
    let len = u32::try_from(message.len()).unwrap_or(0);
    [&[0], &len.to_be_bytes()[..], message].concat().into()
}

fn answer(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(KIND)),
        (ACCEPTS, HeaderValue::from_static("identity,gzip,zstd")),
    ];
    (headers, body).into_response()
}

/// A refusal: headers alone.
pub(super) fn refusal(status: &Status<'_>) -> Response {
    let mut response = answer(Body::empty());
    let binary = |bytes: Vec<u8>| base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes);
    let retry = status.retry_info().map(|info| (RETRY_INFO, binary(info)));
    let fields = [
        (STATUS, status.code.to_string()),
        (MESSAGE, percent_encoded(status.message)),
        (DETAILS, binary(status.encoded(Form::Protobuf))),
    ];
    for (name, value) in fields.into_iter().chain(retry) {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(byte.into()),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_holds_its_message_and_nothing_else() {
        assert!(!unframed(&framed(b"abc")).unwrap());
        assert!(unframed(&[1, 0, 0, 0, 1, b'x']).unwrap());
        for wrong in [&b""[..], b"\0\0\0\0", b"\x02\0\0\0\0", b"\0\0\0\0\x02x", b"\0\0\0\0\x01xy"] {
            assert_eq!(unframed(wrong).unwrap_err().status, StatusCode::BAD_REQUEST, "{wrong:?}");
        }
    }

    #[test]
    fn a_call_goes_to_a_service() {
        assert!(is_call(crate::api::otlp::GRPC_PATH, "application/grpc+proto"));
        assert!(is_call("/no.such.Service/Call", KIND));
        assert!(!is_call("/api/v1/ingest", KIND) && !is_call("/a.b/c", "application/json"));
    }

    #[test]
    fn messages_are_plain_ascii() {
        assert_eq!(percent_encoded("50 % für\n"), "50 %25 f%C3%BCr%0A");
    }
}
