//! Records of finished logs through the live workers, without a journal: what `alcedo hunt` does.
//!
//! ```text
//! push(records) --jobs--> workers --results--> put back in order --> each(Done)
//! ```
//! The caller reads on while workers shape and match; results come back in the order of the jobs, so
//! what is found does not depend on the number of threads. Correlations are the caller's, over the
//! hits of the whole hunt ([`detect::correlate::in_event_time`]).

use crate::feeder::{Job, Loose, Records};
use crate::generation::Generation;
use crate::in_hand::Care;
use crate::worker::{Done, Worker};
use crossbeam_channel::{Receiver, Sender, bounded};
use event::EventBatch;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Jobs on their way per worker: enough that none waits for the reader, few enough that memory stays
/// at some tens of MB.
const JOBS_PER_WORKER: u64 = 4;

/// A hunt that runs.
pub struct Hunt {
    generation: Arc<Generation>,
    jobs: Option<Sender<(u64, Job)>>,
    results: Receiver<(u64, Box<Done>)>,
    threads: Vec<JoinHandle<()>>,
    limit: u64,
    /// Jobs sent, jobs handed back.
    sent: u64,
    next: u64,
    early: BTreeMap<u64, Box<Done>>,
}

impl Hunt {
    /// Starts `threads` workers (at least one).
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn start(generation: Arc<Generation>, threads: usize) -> std::io::Result<Self> {
        let count = threads.max(1);
        let limit = count as u64 * JOBS_PER_WORKER;
        let (jobs_in, jobs) = bounded::<(u64, Job)>(limit as usize);
        let (results_in, results) = bounded(limit as usize);
        let spawn = |index: usize| {
            let (jobs, results) = (jobs.clone(), results_in.clone());
            std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                let mut worker = Worker::default();
                for (number, job) in jobs {
                    if results.send((number, Box::new(worker.work(job)))).is_err() {
                        return;
                    }
                }
            })
        };
        let threads = (0..count).map(spawn).collect::<std::io::Result<_>>()?;
        let early = BTreeMap::new();
        Ok(Self {
            generation,
            jobs: Some(jobs_in),
            results,
            threads,
            limit,
            sent: 0,
            next: 0,
            early,
        })
    }

    /// Gives records to the workers, and hands what is ready to `each`, in order.
    pub fn push<E>(
        &mut self,
        records: Loose,
        each: &mut dyn FnMut(Done) -> Result<(), E>,
    ) -> Result<(), E> {
        self.give(Records::Loose(records), each)
    }

    /// The same for events that were shaped before, with the dictionary of the hunt's generation.
    pub fn push_shaped<E>(
        &mut self,
        events: Box<EventBatch>,
        each: &mut dyn FnMut(Done) -> Result<(), E>,
    ) -> Result<(), E> {
        self.give(Records::Shaped(events), each)
    }

    fn give<E>(
        &mut self,
        records: Records,
        each: &mut dyn FnMut(Done) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.sent - self.next >= self.limit {
            if !self.take(each)? {
                break;
            }
        }
        let generation = self.generation.clone();
        let (headers, joins, read) = (Vec::new(), Vec::new(), Vec::new());
        let job = Job { generation, records, care: Care::None, headers, joins, read };
        if let Some(jobs) = &self.jobs
            && jobs.send((self.sent, job)).is_ok()
        {
            self.sent += 1;
        }
        Ok(())
    }

    /// Waits for everything that was pushed.
    pub fn finish<E>(mut self, each: &mut dyn FnMut(Done) -> Result<(), E>) -> Result<(), E> {
        self.jobs = None;
        while self.next < self.sent && self.take(each)? {}
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked; its records were not looked at");
            }
        }
        Ok(())
    }

    /// One result more, and all that are in order then. Out: whether there can be another.
    fn take<E>(&mut self, each: &mut dyn FnMut(Done) -> Result<(), E>) -> Result<bool, E> {
        let Ok((number, done)) = self.results.recv() else { return Ok(false) };
        self.early.insert(number, done);
        while let Some(done) = self.early.remove(&self.next) {
            self.next += 1;
            each(*done)?;
        }
        Ok(true)
    }
}
