//! What a request says beside its route: a body of JSON, parameters, parts of the path. What is wrong
//! with them is a [`Problem`], as everything else is.

use super::problem::Problem;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Json, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

/// A body of JSON.
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejected) => Err(of_body(&rejected)),
        }
    }
}

/// The parameters after `?`.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = Query::<T>::from_request_parts(parts, state).await;
        let wrong = |e| Problem::bad(format!("the parameters after `?`: {}", cause(&e)));
        found.map(|Query(params)| Self(params)).map_err(wrong)
    }
}

/// The variable parts of the path.
pub struct InPath<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = Path::<T>::from_request_parts(parts, state).await;
        let wrong = |e| Problem::bad(format!("the path: {}", cause(&e)));
        found.map(|Path(params)| Self(params)).map_err(wrong)
    }
}

fn of_body(rejected: &JsonRejection) -> Problem {
    let cause = cause(rejected);
    match rejected {
        JsonRejection::JsonSyntaxError(_) => {
            Problem::bad(format!("the body is not JSON: {cause}; send one JSON object"))
        }
        JsonRejection::JsonDataError(_) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the body is JSON, but not what this route takes: {cause}"),
        ),
        JsonRejection::MissingJsonContentType(_) => Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "this route takes JSON: send it with the header `Content-Type: application/json`",
        ),
        other => Problem::new(other.status(), format!("the body cannot be read: {cause}")),
    }
}

/// What is at the bottom of an error: the layers above it only say that there is one.
fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
