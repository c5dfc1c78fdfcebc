//! A body of another protocol on its way to the disk: judged, bounded and charged as one for
//! `/api/v1/ingest`; what its records are, its protocol says.

use super::ingest::{
    RECORDS_MAX, append, body_bytes_max, decoded, envelope, open, read, too_many_records,
};
use super::problem::Problem;
use crate::run::App;
use axum::body::Body;
use axum::extract::{ConnectInfo, Extension};
use axum::http::{HeaderMap, StatusCode};
use event::{Envelope, Protocol, RawBatch};
use std::net::SocketAddr;
use std::sync::Arc;
use trust::Principal;

/// Where a request comes from, as handlers are told.
pub type Peer = Option<Extension<ConnectInfo<SocketAddr>>>;

/// Who sends a body, and over what.
pub struct Sender<'r> {
    /// Whose token it is.
    pub principal: &'r Principal,
    /// From where.
    pub peer: Peer,
    /// The request's headers.
    pub headers: &'r HeaderMap,
    /// The protocol.
    pub protocol: Protocol,
}

/// Takes a body in. `cut` makes records of its plain bytes and says what else there is to tell; what it cut
/// is durable when this returns.
pub async fn take<T>(
    app: &App,
    sender: Sender<'_>,
    body: Body,
    cut: impl FnOnce(&[u8], &mut Cut) -> Result<T, Problem>,
) -> Result<(usize, T), Problem> {
    let source = open(app, None, sender.principal)?;
    let bytes_max = body_bytes_max(app.memory.all);
    let (bytes, room) = read(&source, body, bytes_max).await?;
    let plain = decoded(sender.headers, &bytes, bytes_max)?;
    let peer = sender.peer.map(|p| p.0.0);
    let mut made = Cut {
        envelope: envelope(&source, sender.principal, peer, sender.protocol),
        batch: RawBatch::default(),
        bytes_max,
        record: Vec::new(),
        now_ns: io::intake::wall_ns(),
    };
    made.batch.bytes.reserve(plain.len());
    let told = cut(&plain, &mut made)?;
    drop(plain);
    drop((bytes, room));
    let Cut { mut batch, envelope, .. } = made;
    batch.envelopes = vec![Arc::new(envelope)];
    let records = batch.records.len();
    if records > 0 {
        append(&source, batch).await?;
    }
    Ok((records, told))
}

/// The records of a body.
pub struct Cut {
    /// What they all have.
    pub envelope: Envelope,
    batch: RawBatch,
    bytes_max: usize,
    record: Vec<u8>,
    now_ns: i64,
}

impl Cut {
    /// Adds a record that `write` writes. What holds for many stands in each of them: that is bounded as the
    /// body is.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Problem> {
        if self.batch.records.len() == RECORDS_MAX {
            return Err(too_many_records());
        }
        self.record.clear();
        write(&mut self.record);
        if self.batch.bytes.len() + self.record.len() > self.bytes_max {
            let detail = format!(
                "the events have more than {} bytes with what is said of them; send smaller batches",
                self.bytes_max
            );
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        self.batch.push(self.now_ns, &self.record);
        Ok(())
    }
}
