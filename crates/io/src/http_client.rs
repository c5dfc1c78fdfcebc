//! A small HTTP client for the command line: JSON questions, and answers that come line by line.

use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Longest a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest error text shown.
const ERROR_CHARS_MAX: usize = 2_000;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HttpError {
    /// The status, when the server answered.
    pub status: Option<u16>,
    /// What went wrong, in the server's own words where it gave some.
    pub message: String,
}

/// A client with a token.
pub struct HttpClient {
    client: reqwest::Client,
    token: String,
}

impl HttpClient {
    /// `token` may be empty; `ca` is the authority of the server's certificate (PEM).
    pub fn new(token: &str, ca: Option<&Path>) -> Result<Self, HttpError> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = ca {
            let pem = std::fs::read(path).map_err(|e| wrong(format!("{}: {e}", path.display())))?;
            let certificate = reqwest::Certificate::from_pem(&pem).map_err(told)?;
            builder = builder.add_root_certificate(certificate);
        }
        Ok(Self { client: builder.build().map_err(told)?, token: token.to_owned() })
    }

    /// Asks and reads a JSON answer.
    pub async fn json(
        &self,
        method: &str,
        url: &str,
        body: Option<Value>,
    ) -> Result<Value, HttpError> {
        let answer = self.send(method, url, body, "application/json").await?;
        let text = answer.text().await.map_err(told)?;
        serde_json::from_str(&text).map_err(|e| wrong(format!("the answer is no JSON: {e}")))
    }

    /// Asks and hands over the answer line by line until `each` says no.
    pub async fn lines(
        &self,
        method: &str,
        url: &str,
        body: Option<Value>,
        each: &mut (dyn FnMut(&str) -> bool + Send),
    ) -> Result<(), HttpError> {
        let mut answer = self.send(method, url, body, "application/x-ndjson").await?;
        let mut held: Vec<u8> = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(told)? {
            held.extend_from_slice(&chunk);
            let mut from = 0;
            while let Some(len) = held[from..].iter().position(|b| *b == b'\n') {
                let line = String::from_utf8_lossy(&held[from..from + len]).into_owned();
                from += len + 1;
                if !each(&line) {
                    return Ok(());
                }
            }
            held.drain(..from);
        }
        if !held.is_empty() {
            each(&String::from_utf8_lossy(&held));
        }
        Ok(())
    }

    /// Asks for a file and hands it over piece by piece, from byte `from` on.
    pub async fn pieces(
        &self,
        url: &str,
        from: u64,
        each: &mut (dyn FnMut(&[u8]) -> std::io::Result<()> + Send),
    ) -> Result<(), HttpError> {
        let mut request = self.client.get(url).bearer_auth(&self.token);
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        let mut answer = checked(request.send().await.map_err(told)?).await?;
        if from > 0 && answer.status().as_u16() != 206 {
            return Err(wrong("the server begins anew instead of going on".into()));
        }
        while let Some(piece) = answer.chunk().await.map_err(told)? {
            each(&piece).map_err(|e| wrong(format!("cannot be written: {e}")))?;
        }
        Ok(())
    }

    /// Sends raw bytes, for senders of events.
    pub async fn bytes(&self, url: &str, kind: &str, body: Vec<u8>) -> Result<Value, HttpError> {
        let request = self.client.post(url).header("content-type", kind).bearer_auth(&self.token);
        let answer = checked(request.body(body).send().await.map_err(told)?).await?;
        let text = answer.text().await.map_err(told)?;
        serde_json::from_str(&text).map_err(|e| wrong(format!("the answer is no JSON: {e}")))
    }

    async fn send(
        &self,
        method: &str,
        url: &str,
        body: Option<Value>,
        accept: &str,
    ) -> Result<reqwest::Response, HttpError> {
        let method =
            reqwest::Method::from_bytes(method.as_bytes()).map_err(|e| wrong(e.to_string()))?;
        let mut request = self.client.request(method, url).header("accept", accept);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        checked(request.send().await.map_err(told)?).await
    }
}

async fn checked(answer: reqwest::Response) -> Result<reqwest::Response, HttpError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = answer.text().await.unwrap_or_default();
    let problem: Option<Value> = serde_json::from_str(&text).ok();
    let detail = problem.as_ref().and_then(|p| p["detail"].as_str()).unwrap_or(&text);
    let detail: String = detail.chars().take(ERROR_CHARS_MAX).collect();
    let message = if detail.is_empty() { status.to_string() } else { detail };
    Err(HttpError { status: Some(status.as_u16()), message })
}

fn wrong(message: String) -> HttpError {
    HttpError { status: None, message }
}

fn told(error: reqwest::Error) -> HttpError {
    use std::error::Error as _;
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        message = format!("{message}: {inner}");
        cause = inner.source();
    }
    HttpError { status: error.status().map(|s| s.as_u16()), message }
}
