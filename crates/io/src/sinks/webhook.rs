//! One HTTP POST per payload.
//!
//! ```text
//! 2xx                          delivered
//! 408, 429, 5xx, network       failed, may succeed later (Retry-After is reported)
//! 3xx, other 4xx, rest         failed, will fail again
//! ```
//!
//! Redirects are not followed: a receiver must not be able to point us at another host.

use super::{DeliverError, Delivering, Sink};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use std::time::Duration;

/// Longest pause taken over from a Retry-After header: nobody may silence alerts for longer.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// How much of a refusal's body is shown to the operator.
const REASON_BYTES_MAX: usize = 256;

/// The URL cannot be used, or no HTTP client can be made.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Not an absolute http or https URL.
    #[error("a webhook needs an http:// or https:// URL with a host: {reason}")]
    Url {
        /// What is wrong with it. The URL itself is not repeated: it may hold a secret.
        reason: String,
    },
    /// The HTTP client cannot be made.
    #[error("cannot make the HTTP client: {0}")]
    Client(String),
}

/// Delivers by HTTP POST.
pub struct Webhook {
    client: Client,
    url: Url,
}

/// The host only; path and query often hold a token.
impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

impl Webhook {
    /// A webhook at `url`; each delivery may take `timeout` from connecting to the answer's end.
    /// The usual proxy environment variables are honoured. Takes the process-wide TLS provider;
    /// installs one if there is none.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub fn new(url: &str, timeout: Duration) -> Result<Self, WebhookError> {
        let wrong = |reason: String| WebhookError::Url { reason };
        let url = Url::parse(url).map_err(|e| wrong(e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(format!("the scheme is '{}'", url.scheme())));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("there is no host".into()));
        }
        // An error means that somebody installed a provider before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("alcedo/", env!("CARGO_PKG_VERSION")))
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|e| WebhookError::Client(causes(&e)))?;
        Ok(Self { client, url })
    }

    /// Sends `payload` with `idempotency_key`.
    ///
    /// # Errors
    /// [`DeliverError`]; see the table in the module's text.
    pub async fn deliver(&self, payload: &[u8], idempotency_key: &str) -> Result<(), DeliverError> {
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", header_text(idempotency_key))
            .body(payload.to_vec());
        let response = request.send().await.map_err(|e| DeliverError {
            retryable: true,
            retry_after: None,
            what: causes(&e.without_url()),
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let retryable = status.is_server_error()
            || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        let retry_after = retry_after(response.headers(), crate::intake::wall_ns());
        let reason = reason(response).await;
        Err(DeliverError { retryable, retry_after, what: format!("HTTP {status}{reason}") })
    }
}

impl Sink for Webhook {
    fn deliver<'a>(&'a self, payload: &'a [u8], key: &'a str) -> Delivering<'a> {
        Box::pin(self.deliver(payload, key))
    }
}

/// A header value of the key; bytes that headers cannot carry are replaced, never refused.
fn header_text(key: &str) -> HeaderValue {
    let visible = key.bytes().map(|b| if b.is_ascii_graphic() { b } else { b'_' });
    let visible: Vec<u8> = visible.collect();
    HeaderValue::from_bytes(&visible).unwrap_or_else(|_| HeaderValue::from_static("_"))
}

/// The pause asked for, in seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now_ns: i64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second();
            Duration::from_secs(u64::try_from(at - now_ns / 1_000_000_000).unwrap_or(0))
        }
    };
    Some(pause.min(RETRY_AFTER_MAX))
}

/// The start of the answer's body, as one printable line; nothing when it cannot be had.
async fn reason(mut response: Response) -> String {
    let mut body = Vec::new();
    while body.len() < REASON_BYTES_MAX {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        body.extend_from_slice(&chunk[..chunk.len().min(REASON_BYTES_MAX - body.len())]);
    }
    let text = String::from_utf8_lossy(&body);
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) }
}

/// An error with what caused it: "error sending request" alone helps nobody.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_are_taken_and_their_secrets_stay_out_of_messages() {
        let timeout = Duration::from_secs(1);
        for url in ["ftp://h/s3cret", "file:///s3cret", "s3cret", "http://", "mailto:s3cret@h"] {
            let error = Webhook::new(url, timeout).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
        let webhook = Webhook::new("https://h.example/s3cret?t=s3cret", timeout).unwrap();
        assert!(!format!("{webhook:?}").contains("s3cret"));
    }

    #[test]
    fn pauses_are_seconds_or_dates_and_bounded() {
        let at = |text: &str, now_s: i64| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            retry_after(&headers, now_s * 1_000_000_000).map(|d| d.as_secs())
        };
        assert_eq!(at("7", 0), Some(7));
        assert_eq!(at("99999999999", 0), Some(3600));
        assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_747), Some(30));
        assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_800), Some(0));
        assert_eq!(at("soon", 0), None);
    }

    #[test]
    fn keys_fit_into_a_header() {
        assert_eq!(header_text("a-1:\r\nX: y\u{e9}"), "a-1:__X:_y__");
    }
}
