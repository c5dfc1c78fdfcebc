//! An intake that keeps what it is given and answers when it is told to.

use event::{Durable, Envelope, RawBatch, RecordKind};
use io::intake::Done;
use io::{Fate, Intake, IntakeError, Refused};
use std::sync::Arc;
use std::time::Duration;

#[derive(Default)]
struct Inner {
    held: bool,
    failing: bool,
    waiting: Vec<(RawBatch, Done)>,
    kept: Vec<(Arc<Envelope>, RecordKind, Vec<u8>)>,
}

#[derive(Default)]
pub(crate) struct Recorder(parking_lot::Mutex<Inner>);

impl Recorder {
    /// While held, batches are taken and not answered.
    pub(crate) fn hold(&self, held: bool) {
        let mut inner = self.0.lock();
        inner.held = held;
        let waiting = if held { Vec::new() } else { std::mem::take(&mut inner.waiting) };
        drop(inner);
        for (batch, done) in waiting {
            self.answer(batch, done);
        }
    }

    pub(crate) fn fail(&self, failing: bool) {
        self.0.lock().failing = failing;
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.0.lock().waiting.iter().map(|(b, _)| b.bytes.len()).sum()
    }

    fn answer(&self, batch: RawBatch, done: Done) {
        if self.0.lock().failing {
            return done(Err(IntakeError { reason: "told to fail".into(), fate: Fate::Again }));
        }
        for record in &batch.records {
            let envelope = Arc::clone(&batch.envelopes[record.envelope as usize]);
            let bytes = batch.record_bytes(record).to_vec();
            self.0.lock().kept.push((envelope, record.kind, bytes));
        }
        done(Ok(Durable { partition: 0, first: 0, last: 0, repeats: 0 }));
    }

    /// What came of senders: all but what listeners tell of themselves.
    pub(crate) fn kept(&self) -> Vec<(Arc<Envelope>, RecordKind, Vec<u8>)> {
        let mut kept = self.0.lock().kept.clone();
        kept.retain(|(_, kind, _)| *kind != RecordKind::Lifecycle);
        kept
    }

    /// Envelopes of listeners that told that they are open.
    pub(crate) fn open(&self) -> Vec<Arc<Envelope>> {
        let inner = self.0.lock();
        let told = inner.kept.iter().filter(|(_, kind, bytes)| {
            *kind == RecordKind::Lifecycle && bytes == br#"{"event":"listener.opened"}"#
        });
        told.map(|(envelope, ..)| Arc::clone(envelope)).collect()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        let data = self.kept().into_iter().filter(|(_, kind, _)| *kind == RecordKind::Data);
        data.map(|(_, _, b)| String::from_utf8_lossy(&b).into_owned()).collect()
    }
}

impl Intake for Recorder {
    fn submit(&self, batch: RawBatch, done: Done) -> Result<(), Refused> {
        let mut inner = self.0.lock();
        if inner.held {
            inner.waiting.push((batch, done));
            return Ok(());
        }
        drop(inner);
        self.answer(batch, done);
        Ok(())
    }
}

/// Waits until the condition holds; a minute without is a failure, not a measurement.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}
