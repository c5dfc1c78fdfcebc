//! Who works here: names of identities, for lists to show and alerts to be given to.

use crate::run::App;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;
use trust::{Permission, TokenRecord, allowed};

/// `GET /api/v1/people`: everybody who signs in with a token, also whoever no longer may, since
/// records go on naming them.
pub async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    let now_ns = io::intake::wall_ns();
    let tokens = app.ledger.tokens();
    let readers = tokens.iter().filter(|t| may(t, Permission::AlertsRead));
    let people: Vec<Value> = readers
        .map(|t| {
            json!({
                "identity": format!("token:{}", t.id),
                "name": t.name,
                "can_triage": may(t, Permission::AlertsTriage) && t.is_good(now_ns),
            })
        })
        .collect();
    Json(json!({"people": people}))
}

/// A name for people: that of the token, else the identity itself.
pub fn name_of(app: &App, identity: &str) -> String {
    let token = identity.strip_prefix("token:").and_then(|id| app.ledger.token(id));
    token.map_or_else(|| identity.to_owned(), |t| t.name)
}

/// Whether alerts can be given to this identity now.
pub fn may_triage(app: &App, identity: &str) -> bool {
    let token = identity.strip_prefix("token:").and_then(|id| app.ledger.token(id));
    token.is_some_and(|t| may(&t, Permission::AlertsTriage) && t.is_good(io::intake::wall_ns()))
}

fn may(token: &TokenRecord, permission: Permission) -> bool {
    token.scope.roles.iter().any(|role| allowed(*role, permission))
}
