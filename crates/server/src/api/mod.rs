//! The HTTP API and the page. [`routes`] is the policy table; every answer carries the same strict
//! security headers, whatever it is.

pub mod alerts;
pub mod asked;
pub mod auth;
pub mod backups;
pub mod body;
pub mod bulk;
pub mod destinations;
pub mod events;
pub mod exports;
pub mod hec;
pub mod hunt;
pub mod ingest;
pub mod keeping;
pub mod lines;
pub mod loki;
pub mod otlp;
pub mod page;
pub mod people;
pub mod problem;
pub mod reparse;
pub mod routes;
pub mod rules;
pub mod searches;
pub mod sources;
pub mod sql;
pub mod status;
pub mod tokens;
pub mod viewer;

use crate::run::App;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use std::sync::Arc;

/// Largest body of a request that asks or changes something. What is ingested has its own limit, in
/// [`ingest`].
const BODY_BYTES_MAX: usize = 16 << 20;

/// Headers of every answer. Scripts and styles come from this server only, nothing may frame the
/// page, and markup cannot be made from strings.
const HEADERS: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; font-src 'none'; frame-ancestors 'none'; base-uri 'none'; \
         form-action 'self'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];

/// All routes behind the guard.
pub fn router(app: Arc<App>) -> Router {
    routes::router()
        .route_layer(from_fn_with_state(app.clone(), auth::guard))
        .fallback(async || problem::Problem::missing("page or route"))
        .layer(from_fn(otlp::in_its_words))
        .layer(from_fn(secure))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        let headers = response.headers_mut();
        if !headers.contains_key(*name) {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
    }
    response
}
