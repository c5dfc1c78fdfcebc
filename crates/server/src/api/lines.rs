//! An answer that is made line by line on a thread of its own, for a reader who may be slow, be gone, or
//! lose the right to go on reading.

use crate::run::App;
use std::ops::ControlFlow;
use std::sync::Arc;
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
}

/// Both ends of an answer to this principal. The first is for a blocking thread of the runtime.
pub fn lines<T>(app: Arc<App>, principal: Principal) -> (Lines<T>, mpsc::Receiver<T>) {
    let (tell, told) = mpsc::channel(LINES_WAITING_MAX);
    let (checked, waited) = (Instant::now(), Duration::ZERO);
    (Lines { tell, app, principal, checked, waited, is_over: false }, told)
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
        if self.is_over || self.waited + began.elapsed() >= READER_WAIT_MAX {
            return false;
        }
        if self.checked.elapsed() < CHECK_EVERY {
            return true;
        }
        self.checked = Instant::now();
        self.app.is_good(&self.principal.identity, io::intake::wall_ns())
    }
}
