//! Exports that run in the background: each in a folder of its own below the data folder, until it
//! is fetched, deleted or a day old. Nothing of them outlives the server.

use super::App;
use crate::api::problem::Problem;
use axum::http::StatusCode;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use store::{ExportFormat, ExportManifest, SearchRequest};

/// Exports that are kept at once: each may be as large as the store.
pub const EXPORTS_MAX: usize = 16;
/// Exports that run at once.
pub const RUNNING_MAX: usize = 2;
/// A finished export is kept so long, ns.
const KEPT_NS: i64 = 86_400 * event::time::SECOND_NS;

/// One export.
pub struct Job {
    /// Its name.
    pub id: String,
    /// Whose it is: nobody else sees it.
    pub who: String,
    /// The query as given.
    pub query: String,
    /// What it writes.
    pub format: ExportFormat,
    /// When it was asked for, ns.
    pub started_ns: i64,
    /// Rows so far.
    pub rows: AtomicU64,
    /// Where its files are.
    pub dir: PathBuf,
    cancelled: Arc<AtomicBool>,
    end: Mutex<Option<Result<ExportManifest, String>>>,
}

impl Job {
    /// How it ended; none while it runs.
    pub fn end(&self) -> Option<Result<ExportManifest, String>> {
        self.end.lock().clone()
    }
}

/// All exports of a running server.
pub struct Exports {
    dir: PathBuf,
    jobs: Mutex<BTreeMap<String, Arc<Job>>>,
}

impl Exports {
    /// Below the data folder; what an earlier run left is removed.
    pub fn below(data_dir: &Path) -> Self {
        let dir = data_dir.join("exports");
        let _ = std::fs::remove_dir_all(&dir);
        Self { dir, jobs: Mutex::default() }
    }

    /// The export of that name, if it is `who`'s.
    pub fn find(&self, id: &str, who: &str) -> Option<Arc<Job>> {
        self.jobs.lock().get(id).filter(|job| job.who == who).cloned()
    }

    /// All of `who`.
    pub fn of(&self, who: &str) -> Vec<Arc<Job>> {
        self.jobs.lock().values().filter(|job| job.who == who).cloned().collect()
    }

    /// Ends and removes an export; its folder goes when it has stopped writing.
    pub fn remove(&self, id: &str, who: &str) -> bool {
        let Some(job) = self.find(id, who) else { return false };
        self.jobs.lock().remove(id);
        forget(&job);
        true
    }

    /// Stops all that run: for the end of the server.
    pub fn cancel_all(&self) {
        self.jobs.lock().values().for_each(|job| job.cancelled.store(true, Ordering::Relaxed));
    }

    fn begin(&self, mut job: Job) -> Result<Arc<Job>, Problem> {
        let mut jobs = self.jobs.lock();
        let now_ns = job.started_ns;
        let old = |job: &Job| job.end().is_some() && job.started_ns + KEPT_NS < now_ns;
        jobs.retain(|_, other| {
            let keep = !old(other);
            if !keep {
                forget(other);
            }
            keep
        });
        let running = jobs.values().filter(|job| job.end().is_none()).count();
        if running >= RUNNING_MAX || jobs.len() >= EXPORTS_MAX {
            let detail = format!(
                "{running} exports run and {} are kept: wait for one or delete one",
                jobs.len()
            );
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail);
            return Err(Problem { retry_after_s: Some(5), ..problem });
        }
        job.dir = self.dir.join(&job.id);
        let job = Arc::new(job);
        jobs.insert(job.id.clone(), job.clone());
        Ok(job)
    }
}

fn forget(job: &Job) {
    job.cancelled.store(true, Ordering::Relaxed);
    // One that runs removes its folder itself.
    if job.end().is_some() {
        let _ = std::fs::remove_dir_all(&job.dir);
    }
}

impl App {
    /// Begins an export.
    pub fn export(
        self: &Arc<Self>,
        who: &str,
        query: &str,
        format: ExportFormat,
        mut request: SearchRequest,
    ) -> Result<Arc<Job>, Problem> {
        let mut id = [0; 12];
        getrandom::fill(&mut id).map_err(Problem::internal)?;
        request.timeout = None;
        let job = self.exports.begin(Job {
            id: id.iter().map(|b| format!("{b:02x}")).collect(),
            who: who.into(),
            query: query.into(),
            format,
            started_ns: io::intake::wall_ns(),
            rows: AtomicU64::new(0),
            dir: PathBuf::new(),
            cancelled: request.cancelled.clone(),
            end: Mutex::new(None),
        })?;
        let (app, running) = (self.clone(), job.clone());
        tokio::task::spawn_blocking(move || write(&app, &running, &request));
        Ok(job)
    }
}

fn write(app: &App, job: &Job, request: &SearchRequest) {
    let mut told = |rows| job.rows.store(rows, Ordering::Relaxed);
    let made = app.store.export(request, &job.query, job.format, &job.dir, &mut told);
    let end = made.map_err(|error| error.to_string());
    let detail = match &end {
        Ok(manifest) => format!("{} rows, {} files", manifest.rows, manifest.files.len()),
        Err(error) => error.clone(),
    };
    if let Ok(manifest) = &end {
        job.rows.store(manifest.rows, Ordering::Relaxed);
    }
    app.audit(&job.who, "search.exported", &job.query, &detail);
    *job.end.lock() = Some(end);
    if job.cancelled.load(Ordering::Relaxed) {
        let _ = std::fs::remove_dir_all(&job.dir);
    }
}
