//! Errors as `application/problem+json` (RFC 9457).

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// What a client is told when a request is not answered.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Status.
    pub status: StatusCode,
    /// What is wrong, for people.
    pub detail: String,
    /// Column of a query, from 1, where that is what is wrong.
    pub column: Option<usize>,
    /// Seconds after which to try again.
    pub retry_after_s: Option<u32>,
}

impl Problem {
    /// A problem with a status and a sentence.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), column: None, retry_after_s: None }
    }

    /// 400.
    pub fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404.
    pub fn missing(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no such {what}"))
    }

    /// 500: the cause goes to the operator's log, not to the client.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "this failed on our side; see the server's log",
        )
    }

    /// 503 with a time to try again.
    pub fn busy(detail: impl Into<String>) -> Self {
        let retry_after_s = Some(1);
        Self { retry_after_s, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// 429 or 503 with a time to try again, as it is due; 413 where trying again cannot help.
    pub fn refused(cause: io::RefusedCause) -> Self {
        let Some(answer) = cause.answer() else {
            return Self::new(StatusCode::PAYLOAD_TOO_LARGE, cause.to_string());
        };
        let status = StatusCode::from_u16(answer.http).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        Self { retry_after_s: Some(answer.retry_after_s), ..Self::new(status, cause.to_string()) }
    }
}

impl From<store::StoreError> for Problem {
    fn from(error: store::StoreError) -> Self {
        match error {
            store::StoreError::Held { .. } => Self::new(StatusCode::CONFLICT, error.to_string()),
            store::StoreError::Filter { .. } => Self::bad(error.to_string()),
            error => Self::internal(error),
        }
    }
}

impl From<store::SearchError> for Problem {
    fn from(error: store::SearchError) -> Self {
        match error {
            store::SearchError::Busy { .. } => Self {
                retry_after_s: Some(1),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, error.to_string())
            },
            store::SearchError::Store(error) => error.into(),
            store::SearchError::At { column, .. } => {
                Self { column: Some(column), ..Self::bad(error.to_string()) }
            }
            error => Self::bad(error.to_string()),
        }
    }
}

impl From<filter::search::SearchError> for Problem {
    fn from(error: filter::search::SearchError) -> Self {
        Self { column: Some(error.column), ..Self::bad(error.to_string()) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("error");
        let mut body =
            json!({"title": title, "status": self.status.as_u16(), "detail": self.detail});
        if let Some(column) = self.column {
            body["column"] = column.into();
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, "application/problem+json".parse().expect("constant"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        // For protocols that say it in their own words.
        response.extensions_mut().insert(self);
        response
    }
}
