//! Who asks: a bearer token or a session cookie; and the one place where access is decided.

use super::problem::Problem;
use super::routes::{Access, Dialect, access_of};
use super::{bulk, hec};
use crate::run::App;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use trust::{AuthError, Permission, Principal};

/// Name of the session cookie over plain HTTP (loopback); with TLS it is `__Host-sid`.
const COOKIE: &str = "alcedo_sid";
/// The same where the connection is encrypted.
const COOKIE_TLS: &str = "__Host-sid";
/// Header that requests with a cookie must carry unless they only read: no form or link can set it.
pub const OWN_HEADER: &str = "x-alcedo";

/// Middleware: denies what the policy table does not allow, and says who is asking.
pub async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    match decide(&app, &request) {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// How somebody is turned away, in the words of the protocol.
enum Refusal {
    Own(Problem),
    Hec(hec::Answer),
    Bulk(bulk::Refusal),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Own(problem)
    }
}

impl Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Own(problem) => problem.into_response(),
            Self::Hec(answer) => answer.into_response(),
            Self::Bulk(refusal) => refusal.into_response(),
        }
    }
}

fn decide(app: &App, request: &Request) -> Result<Principal, Refusal> {
    let nobody = || Principal { identity: "anonymous".into(), roles: vec![], sources: vec![] };
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let access = path.and_then(|path| access_of(request.method(), path));
    let Some(access) = access else {
        return Err(Problem::missing("page or route").into());
    };
    let permission = match access {
        Access::Public => return Ok(nobody()),
        Access::Needs(permission) => permission,
        Access::Speaks(Dialect::Hec, permission) => {
            return hec::principal(app, request, permission).map_err(Refusal::Hec);
        }
        Access::Speaks(Dialect::Bulk, permission) => {
            return bulk::principal(app, request, permission).map_err(Refusal::Bulk);
        }
    };
    let principal = principal_of(app, request.method(), request.headers(), peer_of(request))?;
    // A source's scope is judged where the source is known: in the ingest route.
    if !principal.may(permission) {
        let detail = format!("{} may not do this ({permission:?})", principal.identity);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).into());
    }
    Ok(principal)
}

fn principal_of(
    app: &App,
    method: &Method,
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
) -> Result<Principal, Problem> {
    let unauthorized = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, detail);
    if let Some(token) = bearer(headers) {
        return by_token(app, &token, peer).map_err(|_| unauthorized(AuthError::PUBLIC));
    }
    let Some(id) = cookie(headers) else {
        return Err(unauthorized("sign in, or send a token: Authorization: Bearer alc_..."));
    };
    if method != Method::GET && !headers.contains_key(OWN_HEADER) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "the header X-Alcedo is missing"));
    }
    app.principal_of_session(id).ok_or_else(|| unauthorized("the session is over; sign in again"))
}

/// Whoever holds a token; one that is refused is told to this server's own stream.
pub(super) fn by_token(
    app: &App,
    token: &str,
    peer: Option<SocketAddr>,
) -> Result<Principal, AuthError> {
    app.principal_of_token(token, peer.map(|p| p.ip())).inspect_err(|_| {
        let client = peer.map(|p| p.ip().to_string()).unwrap_or_default();
        app.tell_refused("login.refused", &client);
    })
}

/// Where a request comes from.
pub(super) fn peer_of(request: &Request) -> Option<SocketAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|c| c.0)
}

/// The token of an `Authorization` header: `Bearer TOKEN`, or `Basic` with the token as password, as
/// programs send it that know nothing else.
pub fn bearer(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(token.trim().into());
    }
    let engine = base64::engine::general_purpose::STANDARD;
    let basic =
        scheme.eq_ignore_ascii_case("basic").then(|| engine.decode(token.trim()).ok())??;
    let basic = String::from_utf8(basic).ok()?;
    Some(basic.split_once(':')?.1.to_owned().into())
}

/// The session id of a cookie.
pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).into_iter();
    let pairs = all.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    let mut named = pairs.filter_map(|pair| pair.trim().split_once('='));
    named.find(|(name, _)| *name == COOKIE || *name == COOKIE_TLS).map(|(_, id)| id)
}

/// The `Set-Cookie` value that begins (or, with an empty id, ends) a session.
pub fn set_cookie(id: &str, tls: bool) -> String {
    let age = if id.is_empty() { "; Max-Age=0" } else { "" };
    let (name, secure) = if tls { (COOKIE_TLS, "; Secure") } else { (COOKIE, "") };
    format!("{name}={id}; Path=/; HttpOnly; SameSite=Strict{secure}{age}")
}

/// What a route needs, for readers of the table.
pub fn needs(permission: Permission) -> Access {
    Access::Needs(permission)
}
