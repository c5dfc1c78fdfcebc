//! Asking a running server, for verbs.

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::verbs::check::config_of;
use io::http_client::{HttpClient, HttpError};
use serde_json::Value;

/// A connection's particulars.
pub struct Client {
    http: HttpClient,
    base: String,
}

impl Client {
    /// The server named on the command line, else the one that runs on this data folder.
    pub fn of(global: &Global) -> Result<Self, Failure> {
        let data_dir = config_of(global)?.data_dir;
        let base = match &global.server {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => local_server(&data_dir).ok_or_else(|| {
                let message = format!("no server runs on {}", data_dir.display());
                let hint = "start `alcedo run`, or say --server URL or --data-dir DIR";
                Failure::new(Exit::Unreachable, message, hint)
            })?,
        };
        let token = match &global.token {
            Some(token) => token.clone(),
            None => std::fs::read_to_string(data_dir.join("admin.token")).unwrap_or_default(),
        };
        let http = HttpClient::new(token.trim(), global.ca.as_deref()).map_err(failed)?;
        Ok(Self { http, base })
    }

    /// GET, JSON answer.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.http.json("GET", &self.url(path), None).await.map_err(failed)
    }

    /// POST of JSON, JSON answer.
    pub async fn post(&self, path: &str, body: Value) -> Result<Value, Failure> {
        self.http.json("POST", &self.url(path), Some(body)).await.map_err(failed)
    }

    /// PUT of JSON, JSON answer.
    pub async fn put(&self, path: &str, body: Value) -> Result<Value, Failure> {
        self.http.json("PUT", &self.url(path), Some(body)).await.map_err(failed)
    }

    /// DELETE, JSON answer.
    pub async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.http.json("DELETE", &self.url(path), None).await.map_err(failed)
    }

    /// Lines of an answer as they come; `each` says whether to go on.
    pub async fn lines(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        each: &mut (dyn FnMut(&str) -> bool + Send),
    ) -> Result<(), Failure> {
        self.http.lines(method, &self.url(path), body, each).await.map_err(failed)
    }

    /// Bytes of an answer as they come, from a place on.
    pub async fn bytes(
        &self,
        path: &str,
        from: u64,
        each: &mut (dyn FnMut(&[u8]) -> std::io::Result<()> + Send),
    ) -> Result<(), Failure> {
        self.http.pieces(&self.url(path), from, each).await.map_err(failed)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

fn local_server(data_dir: &std::path::Path) -> Option<String> {
    let run: Value =
        serde_json::from_slice(&std::fs::read(data_dir.join("run.json")).ok()?).ok()?;
    let scheme = if run["tls"].as_bool() == Some(true) { "https" } else { "http" };
    Some(format!("{scheme}://{}", run["http"].as_str()?))
}

fn failed(error: HttpError) -> Failure {
    let hint = match error.status {
        Some(401 | 403) => "set ALCEDO_TOKEN or --token to a token that may do this",
        Some(400 | 404 | 409 | 429) => "",
        Some(_) => "see the server's log",
        None => "is the server running? --server URL names another one",
    };
    let exit = match error.status {
        Some(400 | 404 | 409) => Exit::Invalid,
        _ => Exit::Unreachable,
    };
    Failure::new(exit, error.message, hint)
}
