//! The policy table of the HTTP API: every route with what it needs. A route that is not here does
//! not exist: the guard answers 404 before any handler runs.

use super::{
    alerts, backups, bulk, destinations, events, exports, hec, hunt, ingest, keeping, loki, otlp,
    page, people, reparse, rules, searches, sources, sql, status, tokens,
};
use crate::run::App;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::routing::{MethodRouter, delete, get, post, put};
use std::sync::Arc;
use trust::Permission;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Principals with the permission.
    Needs(Permission),
    /// The same over a protocol of others, which has its own ways to send a token and to be refused.
    Speaks(Dialect, Permission),
}

/// A protocol of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Splunk's HTTP event collector.
    Hec,
    /// Elasticsearch's `_bulk`.
    Bulk,
}

use Access::{Needs, Public, Speaks};

/// What senders to the event collector need.
const HEC: Access = Speaks(Dialect::Hec, Permission::EventsWrite);
/// What senders to `_bulk` need.
const BULK: Access = Speaks(Dialect::Bulk, Permission::EventsWrite);

/// Method, path, access.
pub const ROUTES: &[(&str, &str, Access)] = &[
    ("GET", "/", Public),
    ("GET", "/ui/{*path}", Public),
    ("GET", "/healthz", Public),
    ("GET", "/readyz", Public),
    ("GET", "/metrics", Needs(Permission::MetricsRead)),
    ("GET", "/api/v1/session", Public),
    ("POST", "/api/v1/session", Public),
    ("DELETE", "/api/v1/session", Public),
    ("POST", "/api/v1/ingest", Needs(Permission::EventsWrite)),
    ("OPTIONS", "/services/collector", Public),
    ("OPTIONS", "/services/collector/event", Public),
    ("OPTIONS", "/services/collector/event/1.0", Public),
    ("OPTIONS", "/services/collector/raw", Public),
    ("OPTIONS", "/services/collector/raw/1.0", Public),
    ("POST", "/services/collector", HEC),
    ("POST", "/services/collector/event", HEC),
    ("POST", "/services/collector/event/1.0", HEC),
    ("POST", "/services/collector/raw", HEC),
    ("POST", "/services/collector/raw/1.0", HEC),
    ("POST", "/services/collector/ack", HEC),
    ("GET", "/services/collector/health", Public),
    ("GET", "/services/collector/health/1.0", Public),
    ("POST", "/_bulk", BULK),
    ("PUT", "/_bulk", BULK),
    ("POST", "/{index}/_bulk", BULK),
    ("PUT", "/{index}/_bulk", BULK),
    ("GET", "/_license", BULK),
    ("GET", "/_xpack", BULK),
    ("GET", "/_cluster/health", BULK),
    ("GET", "/_nodes", BULK),
    ("GET", "/_nodes/{*path}", BULK),
    ("GET", "/_ilm/policy/{name}", BULK),
    ("PUT", "/_ilm/policy/{name}", BULK),
    ("GET", "/_index_template/{name}", BULK),
    ("PUT", "/_index_template/{name}", BULK),
    ("GET", "/_component_template/{name}", BULK),
    ("PUT", "/_component_template/{name}", BULK),
    ("GET", "/_template/{name}", BULK),
    ("PUT", "/_template/{name}", BULK),
    ("GET", "/_ingest/pipeline/{name}", BULK),
    ("PUT", "/_ingest/pipeline/{name}", BULK),
    ("GET", "/_data_stream/{name}", BULK),
    ("PUT", "/_data_stream/{name}", BULK),
    ("GET", "/_alias/{name}", BULK),
    ("PUT", "/_alias/{name}", BULK),
    ("POST", otlp::HTTP_PATH, Needs(Permission::EventsWrite)),
    ("POST", otlp::GRPC_PATH, Needs(Permission::EventsWrite)),
    ("GET", "/api/v1/overview", Needs(Permission::SourcesRead)),
    ("GET", "/api/v1/stream", Needs(Permission::AlertsRead)),
    ("GET", "/api/v1/alerts", Needs(Permission::AlertsRead)),
    ("POST", "/api/v1/alerts/triage", Needs(Permission::AlertsTriage)),
    ("POST", "/api/v1/alerts/assign", Needs(Permission::AlertsTriage)),
    ("GET", "/api/v1/alerts/{id}", Needs(Permission::AlertsRead)),
    ("POST", "/api/v1/alerts/{id}/triage", Needs(Permission::AlertsTriage)),
    ("POST", "/api/v1/alerts/{id}/assign", Needs(Permission::AlertsTriage)),
    ("POST", "/api/v1/alerts/{id}/note", Needs(Permission::AlertsTriage)),
    ("GET", "/api/v1/alerts/{id}/around", Needs(Permission::EventsRead)),
    ("POST", "/api/v1/search", Needs(Permission::EventsRead)),
    ("GET", "/api/v1/search/histogram", Needs(Permission::EventsRead)),
    ("GET", "/api/v1/search/values", Needs(Permission::EventsRead)),
    ("GET", "/api/v1/searches", Needs(Permission::EventsRead)),
    ("PUT", "/api/v1/searches/{name}", Needs(Permission::AlertsTriage)),
    ("DELETE", "/api/v1/searches/{name}", Needs(Permission::AlertsTriage)),
    ("PUT", "/api/v1/searches/{name}/alert", Needs(Permission::RulesWrite)),
    ("POST", "/api/v1/sql", Needs(Permission::EventsRead)),
    ("POST", "/api/v1/hunt", Needs(Permission::EventsRead)),
    ("GET", "/api/v1/exports", Needs(Permission::EvidenceExport)),
    ("POST", "/api/v1/exports", Needs(Permission::EvidenceExport)),
    ("GET", "/api/v1/exports/{id}", Needs(Permission::EvidenceExport)),
    ("DELETE", "/api/v1/exports/{id}", Needs(Permission::EvidenceExport)),
    ("GET", "/api/v1/exports/{id}/files/{number}", Needs(Permission::EvidenceExport)),
    ("GET", "/api/v1/retention", Needs(Permission::SourcesRead)),
    ("POST", "/api/v1/retention/plan", Needs(Permission::RetentionRequest)),
    ("GET", "/api/v1/holds", Needs(Permission::RetentionRequest)),
    ("POST", "/api/v1/holds", Needs(Permission::RetentionRequest)),
    ("DELETE", "/api/v1/holds/{id}", Needs(Permission::RetentionApprove)),
    ("GET", "/api/v1/deletions", Needs(Permission::RetentionRequest)),
    ("POST", "/api/v1/deletions", Needs(Permission::RetentionApprove)),
    ("GET", "/api/v1/reparse", Needs(Permission::RulesRead)),
    ("POST", "/api/v1/reparse", Needs(Permission::RulesWrite)),
    ("GET", "/api/v1/backups", Needs(Permission::RetentionRequest)),
    ("POST", "/api/v1/backups", Needs(Permission::RetentionRequest)),
    ("POST", "/api/v1/backups/prune", Needs(Permission::RetentionApprove)),
    ("GET", "/api/v1/events/{id}", Needs(Permission::EventsRead)),
    ("GET", "/api/v1/events/{id}/around", Needs(Permission::EventsRead)),
    ("GET", "/api/v1/tail", Needs(Permission::EventsRead)),
    ("GET", "/ready", Public),
    ("GET", "/loki/api/v1/labels", Needs(Permission::EventsRead)),
    ("GET", "/loki/api/v1/label/{name}/values", Needs(Permission::EventsRead)),
    ("GET", "/loki/api/v1/series", Needs(Permission::EventsRead)),
    ("GET", "/loki/api/v1/query", Needs(Permission::EventsRead)),
    ("GET", "/loki/api/v1/query_range", Needs(Permission::EventsRead)),
    ("GET", "/loki/api/v1/index/stats", Needs(Permission::EventsRead)),
    ("GET", "/loki/api/v1/detected_labels", Needs(Permission::EventsRead)),
    ("GET", "/loki/api/v1/detected_fields", Needs(Permission::EventsRead)),
    ("GET", "/loki/api/v1/detected_field/{name}/values", Needs(Permission::EventsRead)),
    ("GET", "/loki/api/v1/tail", Needs(Permission::EventsRead)),
    ("GET", "/api/v1/people", Needs(Permission::AlertsRead)),
    ("GET", "/api/v1/sources", Needs(Permission::SourcesRead)),
    ("GET", "/api/v1/destinations", Needs(Permission::SourcesRead)),
    ("DELETE", "/api/v1/destinations/{name}", Needs(Permission::SourcesWrite)),
    ("GET", "/api/v1/rules", Needs(Permission::RulesRead)),
    ("GET", "/api/v1/rules/cost", Needs(Permission::RulesRead)),
    ("GET", "/api/v1/rules/{id}", Needs(Permission::RulesRead)),
    ("POST", "/api/v1/rules/reload", Needs(Permission::RulesWrite)),
    ("GET", "/api/v1/audit", Needs(Permission::AuditReadOwn)),
    ("GET", "/api/v1/tokens", Needs(Permission::TokensManage)),
    ("POST", "/api/v1/tokens", Needs(Permission::TokensManage)),
    ("DELETE", "/api/v1/tokens/{id}", Needs(Permission::TokensManage)),
];

/// What the table says of a route; `None` = no such route.
pub fn access_of(method: &Method, path: &str) -> Option<Access> {
    // HEAD asks for the headers of GET.
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    ROUTES.iter().find(|(m, p, _)| *m == method && *p == path).map(|(.., access)| *access)
}

/// The handlers, under the same paths.
pub fn router() -> Router<Arc<App>> {
    let routes: Vec<(&str, MethodRouter<Arc<App>>)> = vec![
        ("/", get(bulk::root)),
        ("/ui/{*path}", get(page::asset)),
        ("/healthz", get(status::healthz)),
        ("/readyz", get(status::readyz)),
        ("/metrics", get(status::metrics)),
        (
            "/api/v1/session",
            get(tokens::session)
                .post(tokens::begin)
                .delete(tokens::end)
                .layer(DefaultBodyLimit::max(tokens::SIGN_IN_BYTES_MAX)),
        ),
        ("/api/v1/ingest", post(ingest::ingest)),
        ("/services/collector", post(hec::events).options(hec::options)),
        ("/services/collector/event", post(hec::events).options(hec::options)),
        ("/services/collector/event/1.0", post(hec::events).options(hec::options)),
        ("/services/collector/raw", post(hec::lines).options(hec::options)),
        ("/services/collector/raw/1.0", post(hec::lines).options(hec::options)),
        ("/services/collector/ack", post(hec::acks)),
        ("/services/collector/health", get(hec::health)),
        ("/services/collector/health/1.0", get(hec::health)),
        ("/_bulk", post(bulk::bulk).put(bulk::bulk)),
        ("/{index}/_bulk", post(bulk::bulk_into).put(bulk::bulk_into)),
        ("/_license", get(bulk::admin)),
        ("/_xpack", get(bulk::admin)),
        ("/_cluster/health", get(bulk::admin)),
        ("/_nodes", get(bulk::admin)),
        ("/_nodes/{*path}", get(bulk::admin)),
        ("/_ilm/policy/{name}", get(bulk::admin).put(bulk::admin)),
        ("/_index_template/{name}", get(bulk::admin).put(bulk::admin)),
        ("/_component_template/{name}", get(bulk::admin).put(bulk::admin)),
        ("/_template/{name}", get(bulk::admin).put(bulk::admin)),
        ("/_ingest/pipeline/{name}", get(bulk::admin).put(bulk::admin)),
        ("/_data_stream/{name}", get(bulk::admin).put(bulk::admin)),
        ("/_alias/{name}", get(bulk::admin).put(bulk::admin)),
        (otlp::HTTP_PATH, post(otlp::http::export)),
        (otlp::GRPC_PATH, post(otlp::grpc::export)),
        ("/api/v1/overview", get(status::overview)),
        ("/api/v1/stream", get(status::stream)),
        ("/api/v1/alerts", get(alerts::list)),
        ("/api/v1/alerts/triage", post(alerts::triage_all)),
        ("/api/v1/alerts/assign", post(alerts::assign_all)),
        ("/api/v1/alerts/{id}", get(alerts::show)),
        ("/api/v1/alerts/{id}/triage", post(alerts::triage)),
        ("/api/v1/alerts/{id}/assign", post(alerts::assign)),
        ("/api/v1/alerts/{id}/note", post(alerts::note)),
        ("/api/v1/alerts/{id}/around", get(alerts::around)),
        ("/api/v1/search", post(events::search)),
        ("/api/v1/search/histogram", get(events::histogram)),
        ("/api/v1/search/values", get(events::values)),
        ("/api/v1/searches", get(searches::list)),
        ("/api/v1/searches/{name}", put(searches::save).delete(searches::remove)),
        ("/api/v1/searches/{name}/alert", put(searches::set_alert)),
        ("/api/v1/sql", post(sql::sql)),
        ("/api/v1/hunt", post(hunt::hunt)),
        ("/api/v1/exports", get(exports::list).post(exports::create)),
        ("/api/v1/exports/{id}", get(exports::show).delete(exports::remove)),
        ("/api/v1/exports/{id}/files/{number}", get(exports::file)),
        ("/api/v1/retention", get(keeping::retention)),
        ("/api/v1/retention/plan", post(keeping::plan)),
        ("/api/v1/holds", get(keeping::holds).post(keeping::hold)),
        ("/api/v1/holds/{id}", delete(keeping::release)),
        ("/api/v1/deletions", get(keeping::deletions).post(keeping::delete)),
        ("/api/v1/reparse", get(reparse::show).post(reparse::begin)),
        ("/api/v1/backups", get(backups::list).post(backups::create)),
        ("/api/v1/backups/prune", post(backups::prune)),
        ("/api/v1/events/{id}", get(events::show)),
        ("/api/v1/events/{id}/around", get(events::around)),
        ("/api/v1/tail", get(events::tail)),
        ("/ready", get(loki::ready)),
        ("/loki/api/v1/labels", get(loki::labels)),
        ("/loki/api/v1/label/{name}/values", get(loki::values)),
        ("/loki/api/v1/series", get(loki::series)),
        ("/loki/api/v1/query", get(loki::query)),
        ("/loki/api/v1/query_range", get(loki::query_range)),
        ("/loki/api/v1/index/stats", get(loki::stats)),
        ("/loki/api/v1/detected_labels", get(loki::detected::labels)),
        ("/loki/api/v1/detected_fields", get(loki::detected::fields)),
        ("/loki/api/v1/detected_field/{name}/values", get(loki::detected::values)),
        ("/loki/api/v1/tail", get(loki::tail)),
        ("/api/v1/people", get(people::list)),
        ("/api/v1/sources", get(sources::sources)),
        ("/api/v1/destinations", get(destinations::list)),
        ("/api/v1/destinations/{name}", delete(destinations::remove)),
        ("/api/v1/rules", get(rules::list)),
        ("/api/v1/rules/cost", get(rules::cost)),
        ("/api/v1/rules/{id}", get(rules::show)),
        ("/api/v1/rules/reload", post(rules::reload)),
        ("/api/v1/audit", get(tokens::audit)),
        ("/api/v1/tokens", get(tokens::list).post(tokens::create)),
        ("/api/v1/tokens/{id}", delete(tokens::revoke)),
    ];
    routes.into_iter().fold(Router::new(), |router, (path, handler)| router.route(path, handler))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_routes_are_public() {
        // What a route would take is no secret.
        let asked = ROUTES.iter().filter(|(method, ..)| *method != "OPTIONS");
        let public: Vec<&str> =
            asked.filter(|(.., a)| *a == Public).map(|(_, path, _)| *path).collect();
        let expected = ["/", "/ui/{*path}", "/healthz", "/readyz", "/ready"];
        let is_probe = |p: &str| p.starts_with("/services/collector/health");
        assert!(
            public.iter().all(|p| expected.contains(p) || is_probe(p) || *p == "/api/v1/session"),
            "{public:?}"
        );
    }

    #[test]
    fn a_route_that_is_not_in_the_table_is_denied() {
        assert_eq!(access_of(&Method::PUT, "/api/v1/tokens"), None);
        assert_eq!(access_of(&Method::GET, "/api/v1/nothing"), None);
        assert_eq!(access_of(&Method::HEAD, "/healthz"), Some(Public));
    }
}
