//! The page's files, embedded in the binary.

use super::asked::InPath;
use super::problem::Problem;
use axum::http::header;
use axum::response::{IntoResponse, Response};

#[derive(rust_embed::RustEmbed)]
#[folder = "../../ui"]
#[include = "index.html"]
#[include = "style.css"]
#[include = "icon.svg"]
#[include = "src/*.js"]
#[include = "vendor/*.js"]
struct Files;

/// Endings that are served, with their types.
const TYPES: &[(&str, &str)] = &[
    (".html", "text/html; charset=utf-8"),
    (".css", "text/css; charset=utf-8"),
    (".js", "text/javascript; charset=utf-8"),
    (".svg", "image/svg+xml"),
];

/// `GET /`
pub async fn index() -> Result<Response, Problem> {
    file("index.html")
}

/// `GET /ui/...`
pub async fn asset(InPath(path): InPath<String>) -> Result<Response, Problem> {
    file(&path)
}

fn file(path: &str) -> Result<Response, Problem> {
    let found = Files::get(path).ok_or_else(|| Problem::missing("file"))?;
    let kind = TYPES.iter().find(|(ending, _)| path.ends_with(ending));
    let (_, kind) = kind.ok_or_else(|| Problem::missing("file"))?;
    let headers = [(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, found.data.into_owned()).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_in_the_binary() {
        assert!(Files::get("index.html").is_some_and(|f| !f.data.is_empty()));
        assert!(Files::iter().any(|f| f.starts_with("src/")));
    }
}
