//! Sessions, tokens and the audit list.

use super::alerts::{actor, problem_of};
use super::asked::{InPath, JsonBody, Params};
use super::auth::{bearer, cookie, set_cookie};
use super::events::time_of;
use super::people::name_of;
use super::problem::Problem;
use crate::run::App;
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ledger::AuditFilter;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use trust::{AuthError, NewToken, POLICY, Permission, Principal, Role, Scope, TokenKind};

/// Longest name of a token: it stands in lists, beside every step its holder takes.
const NAME_CHARS_MAX: usize = 100;

/// Longest body of a sign-in: it is read before anybody knows who sent it.
pub const SIGN_IN_BYTES_MAX: usize = 16 << 10;

/// Body of a sign-in.
#[derive(Deserialize)]
pub struct SignIn {
    token: String,
}

/// Who somebody is and what they may do, so that the page offers nothing else.
fn who(app: &App, principal: &Principal) -> Value {
    let roles: Vec<&str> = principal.roles.iter().map(|r| r.name()).collect();
    let may = POLICY.iter().map(|(permission, _)| permission).filter(|p| principal.may(**p));
    let may: Vec<&Permission> = may.collect();
    json!({
        "name": principal.identity, "display_name": name_of(app, &principal.identity),
        "role": roles.first(), "roles": roles, "may": may,
    })
}

/// `GET /api/v1/session`
pub async fn session(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let by_token = bearer(&headers).and_then(|t| app.principal_of_token(&t, None).ok());
    let principal = by_token.or_else(|| app.principal_of_session(cookie(&headers)?));
    let nobody = || Problem::new(StatusCode::UNAUTHORIZED, "nobody is signed in");
    principal.map(|p| Json(who(&app, &p))).ok_or_else(nobody)
}

/// `POST /api/v1/session`
pub async fn begin(
    State(app): State<Arc<App>>,
    JsonBody(sign_in): JsonBody<SignIn>,
) -> Result<Response, Problem> {
    app.blocking(move |app| {
        let refused = |_| Problem::new(StatusCode::UNAUTHORIZED, AuthError::PUBLIC);
        let principal = app.sign_in(&sign_in.token).map_err(refused)?;
        let id = app.begin_session(&principal).map_err(Problem::internal)?;
        app.audit(&principal.identity, "login.ok", "", "");
        let cookie = set_cookie(&id, app.has_tls());
        Ok(([(header::SET_COOKIE, cookie)], Json(who(app, &principal))).into_response())
    })
    .await
}

/// `DELETE /api/v1/session`
pub async fn end(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if let Some(id) = cookie(&headers) {
        app.end_session(id);
    }
    let gone = set_cookie("", app.has_tls());
    ([(header::SET_COOKIE, gone)], Json(json!({}))).into_response()
}

/// `GET /api/v1/tokens`
pub async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    let now_ns = io::intake::wall_ns();
    let tokens: Vec<Value> = app
        .ledger
        .tokens()
        .iter()
        .map(|t| {
            json!({
                "id": t.id, "name": t.name,
                "role": t.scope.roles.iter().map(|r| r.name()).collect::<Vec<_>>().join(","),
                "sources": t.scope.sources,
                "created": event::time::rfc3339(t.created_ns),
                "created_by": t.created_by,
                "created_by_name": name_of(&app, &t.created_by),
                "expires": t.scope.expires_ns.map(event::time::rfc3339),
                "revoked": t.revoked_ns.is_some(),
                "revoked_at": t.revoked_ns.map(event::time::rfc3339),
                "is_good": t.is_good(now_ns),
            })
        })
        .collect();
    let roles: Vec<&str> = Role::ALL.iter().map(|(_, name)| *name).collect();
    Json(json!({"tokens": tokens, "roles": roles}))
}

/// Body of a new token.
#[derive(Deserialize)]
pub struct Wish {
    name: String,
    role: String,
    #[serde(default)]
    sources: Vec<String>,
    #[serde(default)]
    expires_in: Option<String>,
}

/// `POST /api/v1/tokens`
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    JsonBody(wish): JsonBody<Wish>,
) -> Result<Json<Value>, Problem> {
    let now_ns = io::intake::wall_ns();
    let name = wish.name.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
        let text =
            format!("`name` says who or what it is for, in 1 to {NAME_CHARS_MAX} characters");
        return Err(Problem::bad(text));
    }
    let roles = roles_of(&wish.role)?;
    let kind = if roles == [Role::Ingest] { TokenKind::Ingest } else { TokenKind::Api };
    let expires_ns = match &wish.expires_in {
        None => None,
        Some(text) => Some(
            filter::search::duration_ns(text)
                .and_then(|ns| now_ns.checked_add(ns))
                .ok_or_else(|| Problem::bad(format!("`{text}` is no duration; write 90d")))?,
        ),
    };
    let mut sources = wish.sources.clone();
    if sources.is_empty() && roles.contains(&Role::Ingest) {
        sources.push("http".into());
    }
    let scope = Scope { roles, sources, networks: Vec::new(), expires_ns };
    let new = NewToken::generate(kind, name, scope, &principal.identity, now_ns)
        .map_err(|e| Problem::bad(e.to_string()))?;
    app.blocking(move |app| {
        app.ledger.create_token(new.record.clone(), actor(&principal)).map_err(problem_of)?;
        let detail = format!("role {}", wish.role);
        app.note(&actor(&principal), "token.create", &new.record.id, &detail);
        Ok(Json(json!({
            "token": new.text,
            "id": new.record.id,
            "name": new.record.name,
            "expires": new.record.scope.expires_ns.map(event::time::rfc3339),
        })))
    })
    .await
}

/// Roles by their names, comma separated. `admin` alone cannot read events; an analyst who also
/// administers has both.
pub fn roles_of(text: &str) -> Result<Vec<Role>, Problem> {
    let names = text.split(',').map(str::trim).filter(|n| !n.is_empty());
    let roles: Option<Vec<Role>> = names.map(Role::from_name).collect();
    let known: Vec<&str> = Role::ALL.iter().map(|(_, name)| *name).collect();
    roles
        .filter(|r| !r.is_empty())
        .ok_or_else(|| Problem::bad(format!("`{text}` is no role; roles are {}", known.join(", "))))
}

/// `DELETE /api/v1/tokens/{id}`
pub async fn revoke(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    InPath(id): InPath<String>,
) -> Result<Json<Value>, Problem> {
    app.blocking(move |app| {
        app.ledger.revoke_token(&id, actor(&principal)).map_err(problem_of)?;
        app.note(&actor(&principal), "token.revoke", &id, "");
        Ok(Json(json!({"revoked": id})))
    })
    .await
}

/// Query of the audit list.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Page {
    /// By this identity.
    who: Option<String>,
    /// Of this action, or of all below it: `token` has `token.create`.
    action: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// `GET /api/v1/audit`: all of it for those who may, else what the asker did.
pub async fn audit(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Params(page): Params<Page>,
) -> Result<Json<Value>, Problem> {
    app.blocking(move |app| {
        let limit = page.limit.unwrap_or(100);
        let now_ns = io::intake::wall_ns();
        let own_only = !principal.may(Permission::AuditRead);
        let filter = AuditFilter {
            who: match own_only {
                true => Some(principal.identity.clone()),
                false => page.who.clone().filter(|who| !who.is_empty()),
            },
            action: page.action.clone().filter(|action| !action.is_empty()),
            since_ns: time_of(page.since.as_deref(), now_ns)?,
            until_ns: time_of(page.until.as_deref(), now_ns)?,
        };
        let found = app.ledger.audit(&filter, limit, page.cursor.as_deref()).map_err(problem_of)?;
        let records: Vec<Value> = found
            .rows
            .iter()
            .map(|r| {
                json!({"at": event::time::rfc3339(r.at_ns), "who": r.who,
                       "who_name": name_of(app, &r.who), "action": r.action,
                       "target": r.target, "detail": r.detail, "client": r.client})
            })
            .collect();
        Ok(Json(json!({"records": records, "next": found.next, "own_only": own_only})))
    })
    .await
}
