//! An answer that is made line by line on a thread of its own, for a reader who may be slow, be gone, or
//! lose the right to go on reading.

use crate::run::App;
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde_json::json;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::SendTimeoutError};
use trust::Principal;

/// Lines that wait for the reader.
const LINES_WAITING_MAX: usize = 256;
/// How long a reader may be waited for: whoever makes the answer has a place that others wait for.
const READER_WAIT_MAX: Duration = Duration::from_secs(60);
/// How much of that a line that was taken gives back, so that one a minute is no way to keep the place.
const LINE_GIVES_BACK: Duration = Duration::from_millis(100);
/// How often it is asked whether the reader still may read.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The end into which the answer is put.
pub struct Lines<T> {
    tell: mpsc::Sender<T>,
    app: Arc<App>,
    principal: Principal,
    checked: Instant,
    /// How long the reader was waited for, less what it made good.
    waited: Duration,
    is_over: bool,
    broken_off: Arc<OnceLock<&'static str>>,
}

/// The end out of which the answer comes.
pub struct Told<T> {
    told: mpsc::Receiver<T>,
    broken_off: Arc<OnceLock<&'static str>>,
}

/// Both ends of an answer to this principal. The first is for a blocking thread of the runtime.
pub fn lines<T>(app: Arc<App>, principal: Principal) -> (Lines<T>, Told<T>) {
    let (tell, told) = mpsc::channel(LINES_WAITING_MAX);
    let (checked, waited) = (Instant::now(), Duration::ZERO);
    let broken_off = Arc::new(OnceLock::new());
    let told = Told { told, broken_off: broken_off.clone() };
    (Lines { tell, app, principal, checked, waited, is_over: false, broken_off }, told)
}

/// The line of an answer that could not go on.
pub fn error_line(error: &str) -> String {
    format!("{}\n", json!({"alcedo.error": error}))
}

impl<T: Send + 'static> Told<T> {
    /// The first piece, when it is there.
    pub async fn first(&mut self) -> Option<T> {
        self.told.recv().await
    }

    /// What is left, behind `first`, as an answer of lines that `text` writes. `gone` is dropped with it. An
    /// answer that was broken off says so in its last line: it ends as a whole one does otherwise.
    pub fn into_response<G: Send + 'static>(
        self,
        first: Option<T>,
        gone: G,
        text: impl Fn(T) -> String + Send + 'static,
    ) -> Response {
        let rest = tokio_stream::wrappers::ReceiverStream::new(self.told);
        let lines = futures::stream::iter(first).chain(rest).map(text);
        let end = async move { self.broken_off.get().map(|why| error_line(why)) };
        let end = futures::stream::once(end).filter_map(std::future::ready);
        let lines = lines.chain(end).map(move |line| {
            let _ = &gone;
            Ok::<_, Infallible>(line)
        });
        let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
        (kind, Body::from_stream(lines)).into_response()
    }
}

impl<T> Lines<T> {
    /// Hands over a line; waits for a slow reader. Breaks when it is of no use to go on: the reader is gone, had
    /// to be waited for a minute, or its token was taken back. What is put in afterwards goes nowhere.
    pub fn put(&mut self, line: T) -> ControlFlow<()> {
        let (mut line, began) = (line, Instant::now());
        while self.goes_on(began) {
            let sent = Handle::current().block_on(self.tell.send_timeout(line, CHECK_EVERY));
            match sent {
                Ok(()) => {
                    self.waited = (self.waited + began.elapsed()).saturating_sub(LINE_GIVES_BACK);
                    return ControlFlow::Continue(());
                }
                Err(SendTimeoutError::Timeout(back)) => line = back,
                Err(SendTimeoutError::Closed(_)) => break,
            }
        }
        self.is_over = true;
        ControlFlow::Break(())
    }

    fn goes_on(&mut self, began: Instant) -> bool {
        if self.is_over {
            return false;
        }
        if self.waited + began.elapsed() >= READER_WAIT_MAX {
            let why = "the answer was broken off: it was read too slowly; ask for less at once";
            let _ = self.broken_off.set(why);
            return false;
        }
        if self.checked.elapsed() < CHECK_EVERY {
            return true;
        }
        self.checked = Instant::now();
        if self.app.is_good(&self.principal.identity, io::intake::wall_ns()) {
            return true;
        }
        let _ = self.broken_off.set("the answer was broken off: its token is good no more");
        false
    }
}
