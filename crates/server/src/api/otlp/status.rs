//! What senders are told: `google.rpc.Status` and `ExportLogsServiceResponse`, in protobuf and in JSON.

use crate::api::problem::Problem;
use axum::http::StatusCode;
use parse::otlp::{Form, Rejected};
use serde_json::json;

/// Name of the detail that says when to try again.
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
/// Seconds after which to try again what has no time of its own.
const RETRY_AFTER_S: u32 = 1;

/// Codes of gRPC.
const INVALID_ARGUMENT: u8 = 3;
const PERMISSION_DENIED: u8 = 7;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const UNAVAILABLE: u8 = 14;
const UNAUTHENTICATED: u8 = 16;

/// A refusal in the words of both transports.
pub(super) struct Status<'a> {
    /// gRPC's code.
    pub(super) code: u8,
    /// HTTP's status.
    pub(super) http: StatusCode,
    pub(super) message: &'a str,
    /// The sender may try again after so many seconds, and not at all without.
    pub(super) retry_after_s: Option<u32>,
}

impl<'a> Status<'a> {
    pub(super) fn of(problem: &'a Problem) -> Self {
        let (code, http, retry_after_s) = match problem.status {
            StatusCode::UNAUTHORIZED => (UNAUTHENTICATED, problem.status, None),
            StatusCode::FORBIDDEN => (PERMISSION_DENIED, problem.status, None),
            StatusCode::NOT_FOUND | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                (UNIMPLEMENTED, problem.status, None)
            }
            StatusCode::PAYLOAD_TOO_LARGE => (RESOURCE_EXHAUSTED, problem.status, None),
            StatusCode::TOO_MANY_REQUESTS => {
                (RESOURCE_EXHAUSTED, problem.status, problem.retry_after_s)
            }
            // A slow line and a fault of ours pass: with any other status the sender would drop its logs.
            status if status == StatusCode::REQUEST_TIMEOUT || status.is_server_error() => {
                let seconds = problem.retry_after_s.or(Some(RETRY_AFTER_S));
                (UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE, seconds)
            }
            _ => (INVALID_ARGUMENT, StatusCode::BAD_REQUEST, None),
        };
        Self { code, http, message: &problem.detail, retry_after_s }
    }

    /// The message `RetryInfo`, where trying again can help.
    pub(super) fn retry_info(&self) -> Option<Vec<u8>> {
        let (mut duration, mut info) = (Vec::new(), Vec::new());
        put_number(&mut duration, 1, self.retry_after_s?.into());
        put_bytes(&mut info, 1, &duration);
        Some(info)
    }

    /// The message `Status`.
    pub(super) fn encoded(&self, form: Form) -> Vec<u8> {
        match form {
            Form::Protobuf => {
                let mut out = Vec::new();
                put_number(&mut out, 1, self.code.into());
                put_bytes(&mut out, 2, self.message.as_bytes());
                if let Some(info) = self.retry_info() {
                    let mut any = Vec::new();
                    put_bytes(&mut any, 1, RETRY_INFO.as_bytes());
                    put_bytes(&mut any, 2, &info);
                    put_bytes(&mut out, 3, &any);
                }
                out
            }
            Form::Json => {
                let mut out = json!({"code": self.code, "message": self.message});
                if let Some(seconds) = self.retry_after_s {
                    out["details"] =
                        json!([{"@type": RETRY_INFO, "retryDelay": format!("{seconds}s")}]);
                }
                out.to_string().into_bytes()
            }
        }
    }
}

/// The message `ExportLogsServiceResponse`; empty when all was taken.
pub(super) fn success(form: Form, rejected: Rejected, remark: &str) -> Vec<u8> {
    match (form, rejected.records) {
        (Form::Protobuf, 0) => Vec::new(),
        (Form::Json, 0) => b"{}".to_vec(),
        (Form::Protobuf, records) => {
            let (mut partial, mut out) = (Vec::new(), Vec::new());
            put_number(&mut partial, 1, records);
            put_bytes(&mut partial, 2, remark.as_bytes());
            put_bytes(&mut out, 1, &partial);
            out
        }
        (Form::Json, records) => {
            let partial =
                json!({"rejectedLogRecords": records.to_string(), "errorMessage": remark});
            json!({"partialSuccess": partial}).to_string().into_bytes()
        }
    }
}

/// A field of the type varint.
fn put_number(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3);
    put_varint(out, value);
}

/// A field of text, or of a message.
fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a sender that drops its logs at every status but those for trying again is told one of
    /// these whenever trying again can help, with a time, and no other time.
    #[test]
    fn what_passes_is_told_with_a_time_and_what_does_not_is_not() {
        use io::RefusedCause::*;
        for cause in [OverShare, Overloaded, MemoryShort, DiskFull, Faulted, Closed] {
            let problem = Problem::refused(cause);
            let status = Status::of(&problem);
            assert_eq!(status.code, cause.answer().unwrap().grpc);
            assert!(matches!(status.http.as_u16(), 429 | 503) && status.retry_after_s.is_some());
        }
        for passes in [
            Problem::busy("x"),
            Problem::internal("x"),
            Problem::new(StatusCode::REQUEST_TIMEOUT, "x"),
        ] {
            let status = Status::of(&passes);
            assert_eq!((status.code, status.http.as_u16()), (UNAVAILABLE, 503));
            assert!(status.retry_after_s.is_some());
        }
        let told = |http, code| {
            let problem = Problem::new(StatusCode::from_u16(http).unwrap(), "x");
            let status = Status::of(&problem);
            assert_eq!((status.code, status.retry_after_s), (code, None), "{http}");
        };
        let never = [(400, 3), (401, 16), (403, 7), (404, 12), (409, 3), (413, 8), (415, 12)];
        never.into_iter().for_each(|(http, code)| told(http, code));
    }

    #[test]
    fn a_status_is_the_message_of_google_rpc() {
        let problem = Problem { retry_after_s: Some(300), ..Problem::busy("no room") };
        let status = Status::of(&problem);
        let mut expected = b"\x08\x0e\x12\x07no room\x1a\x31\x0a\x28".to_vec();
        expected.extend_from_slice(RETRY_INFO.as_bytes());
        expected.extend_from_slice(b"\x12\x05\x0a\x03\x08\xac\x02");
        assert_eq!(status.encoded(Form::Protobuf), expected);
        let told: serde_json::Value = serde_json::from_slice(&status.encoded(Form::Json)).unwrap();
        let details = json!([{"@type": RETRY_INFO, "retryDelay": "300s"}]);
        assert_eq!(told, json!({"code": 14, "message": "no room", "details": details}));
    }
}
