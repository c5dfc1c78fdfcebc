//! The thread that does what can wait: spares, seals, the manifest.

use crate::error::JournalError;
use crate::fs::{Access, is_full};
use crate::scan::{Bounds, scan};
use crate::sealed::{SealedLog, SealedRoot};
use crate::segment::{Footer, SegmentHead, segment_name};
use crate::shared::{SealedBlocks, Shared};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

pub(crate) enum Chore {
    /// There may be segments to seal, and a spare to make.
    Seal,
    Stop,
}

/// Cursors are durable after this long at the latest.
const ROUND: Duration = Duration::from_secs(1);

pub(crate) struct Keeper {
    pub(crate) shared: Arc<Shared>,
    pub(crate) chores: Receiver<Chore>,
    pub(crate) sealed_log: SealedLog,
}

impl Keeper {
    pub(crate) fn run(mut self) {
        let mut last_durable = None;
        loop {
            match self.chores.recv_timeout(ROUND) {
                Ok(Chore::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Chore::Seal) => {}
                Err(RecvTimeoutError::Timeout) => {
                    let durable = self.shared.durable_next.load(SeqCst);
                    if self.shared.cursors.lock().dirty || last_durable != Some(durable) {
                        last_durable = Some(durable);
                        self.note("manifest", self.shared.save_manifest(|_| ()));
                    }
                    if let Ok(free) = self.shared.fs.available_bytes(&self.shared.dir) {
                        self.shared.counters.free_bytes.store(free, SeqCst);
                    }
                }
            }
            self.note("spare", self.shared.prepare_spare());
            let sealed = self.seal_all();
            self.note("seal", sealed);
        }
    }

    fn note(&self, what: &'static str, result: io::Result<()>) {
        if let Err(error) = result {
            self.shared.counters.keeper_errors.fetch_add(1, SeqCst);
            // A full disk is told by the writer, once.
            if !is_full(&error) {
                tracing::warn!(%error, what, "will be tried again");
            }
        }
    }

    /// Seals every segment that has a successor.
    fn seal_all(&mut self) -> io::Result<()> {
        loop {
            let segments = self.shared.segments.read();
            let mut pairs = segments.iter().zip(segments.keys().skip(1));
            let Some((head, next)) =
                pairs.find(|((_, s), _)| !s.sealed).map(|((_, s), n)| (s.head.clone(), *n))
            else {
                return Ok(());
            };
            drop(segments);
            self.seal(&head, next)?;
            if let Some(entry) = self.shared.segments.write().get_mut(&head.first_offset) {
                entry.sealed = true;
                entry.index.lock().clear();
            }
            self.shared.save_producers()?;
        }
    }

    fn seal(&mut self, head: &SegmentHead, next_offset: u64) -> io::Result<()> {
        let name = segment_name(head.first_offset);
        let file = self.shared.fs.open(&self.shared.path(&name), Access::ReadWrite)?;
        let bounds = Bounds { end_offset: next_offset, proven_next: next_offset };
        let found = scan(&file, head, &name, &bounds, &mut |_| ())?;
        if let Some(hole) = found.holes.first() {
            tracing::error!(segment = name, from = hole.from_offset, "damage met while sealing");
        }
        let blocks = SealedBlocks { file: &file, head, next_offset };
        let root = self.shared.options.sealer.as_ref().map(|sealer| sealer(&blocks));
        let footer = Footer {
            first_offset: head.first_offset,
            next_offset,
            records: found.records,
            blocks: found.blocks,
            end_pos: found.end_pos,
            wall_min_ns: found.wall_min_ns,
            wall_max_ns: found.wall_max_ns,
            last_stream_ns: found.last_stream_ns,
            root,
            index: found.index,
        };
        file.write_at(&footer.encode(head.salt), head.footer_pos)?;
        file.sync_data()?;
        self.sealed_log.append(&SealedRoot {
            segment_id: head.id,
            first_offset: head.first_offset,
            next_offset,
            records: found.records,
            root: root.unwrap_or_default(),
            sealed_wall_ns: self.shared.clock.wall_ns(),
        })
    }
}

/// The last manifest of a run; `clean` says that nothing was lost on the way out.
pub(crate) fn farewell(shared: &Shared, clean: bool) -> Result<(), JournalError> {
    shared
        .save_manifest(|m| m.clean = clean)
        .map_err(JournalError::io("write", &shared.path("MANIFEST")))
}
