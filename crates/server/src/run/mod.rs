//! A running server: start-up as a list of steps, and the clean way down.

pub mod app;
pub mod background;
pub mod backups;
pub mod bus;
pub mod exports;
pub mod faults;
pub mod generations;
pub mod http;
pub mod kept;
pub mod lag;
pub mod late;
pub mod live_searches;
pub mod memory;
pub mod outboxes;
pub mod outlets;
pub mod overload;
pub mod own_events;
pub mod patience;
pub mod pauses;
pub mod places;
pub mod rates;
pub mod refill;
pub mod reparsing;
pub mod retiring;
pub mod scheduled;
pub mod secrets;
pub mod terminal;
pub mod texts;
pub mod tier;
pub mod upkeep;
pub mod watcher;

pub use app::{App, Bell};

use crate::api::tokens::roles_of;
use crate::config::{Config, SourceKind, Transport};
use crate::exit::{Exit, Failure};
use crate::files::lookups::Lookups;
use app::Made;
use detect::Changed;
use generations::{Archive, Course};
use io::outbox::OutboxHandle;
use io::sources::listener::Caps;
use journal::{Journal, Options, OsClock, OsFs, SealedBlocks};
use ledger::Ledger;
use outlets::{Doors, Recorder};
use pipeline::{Core, CoreSettings, Pipeline};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use store::Store;
use tokio_util::sync::CancellationToken;
use trust::{NewToken, Role, Scope, Setup, TokenKind};

/// Name of the cursor behind which detection needs no record.
const CURSOR_DETECT: &str = "detect";
/// Name of the cursor behind which everything is in the store's files.
const CURSOR_STORE: &str = "store";
/// Name of the cursor from which the journal is read for a store that could not take rows.
const CURSOR_REFILL: &str = "refill";

/// How a start differs from the ordinary.
#[derive(Default)]
pub struct Start {
    /// This is the demo.
    pub demo: bool,
    /// Told about greetings and alerts.
    pub terminal: Option<app::Terminal>,
}

/// A running server.
pub struct Server {
    /// Its parts.
    pub app: Arc<App>,
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// Where syslog listens.
    pub syslog: Vec<(Transport, SocketAddr)>,
    /// Where agents connect to.
    pub agents: Option<SocketAddr>,
    /// The one-time token of the page.
    pub setup_token: String,
    /// A token for sending to the first HTTP source, if one was made now.
    pub ingest_token: Option<String>,
    ledger_stream: Arc<Journal>,
    pipeline: Option<Pipeline>,
    recorder: Recorder,
    recorder_thread: JoinHandle<()>,
    sources: Vec<io::Running>,
    outboxes: Vec<OutboxHandle>,
    upkeep: background::Background,
    tidying: background::Background,
    tier: Option<background::Background>,
    backups: Option<background::Background>,
    searches: Option<background::Background>,
    overload: Option<background::Background>,
    stop: CancellationToken,
    rules_watch: tokio::sync::Mutex<watcher::Watcher>,
}

impl Server {
    /// Starts everything. When it returns, events are accepted and searches are answered.
    pub async fn start(config: Config, start: Start) -> Result<Self, Failure> {
        make_folder(&config.data_dir).map_err(|e| {
            Failure::invalid(format!("{}: {e}", config.data_dir.display()), "check `data_dir`")
        })?;
        // Before anything is written.
        crate::verbs::check::readable(&config)?;
        Lookups::of(&config).check()?;
        let secret = secrets::secret(&config.data_dir)?;
        // Watching begins before reading: no change can fall in between.
        let watched: Vec<_> = config.rules.iter().chain(&config.packs).cloned().collect();
        let watcher = watcher::Watcher::new(&watched, &config.tables());
        let rules_watch = tokio::sync::Mutex::new(watcher);
        let app = open_parts(config, start, secret)?;
        let ledger_stream = app.ledger_stream.clone();
        let (recorder, recorder_thread) = Recorder::start(app.clone())?;
        let (pipeline, ground) = start_pipeline(&app, &recorder, secret)?;
        let stop = CancellationToken::new();
        let outboxes = outboxes::start(&app, &ledger_stream, &stop)?;
        let caps = places::caps(&app.config, app.memory.all, places::take_descriptors());
        let (sources, syslog, agents) = start_sources(&app, caps).await?;
        let http = http::serve(app.clone(), caps, stop.clone()).await?;
        let upkeep = upkeep::start(app.clone(), ground)?;
        let tidying = upkeep::start_tidying(app.clone())?;
        let tier = tier::start(&app)?;
        let backups = backups::start(&app)?;
        let searches = Some(scheduled::start(app.clone())?);
        let overload = Some(overload::start(app.clone())?);
        let (setup_token, ingest_token) = first_tokens(&app)?;
        let server = Self {
            app,
            http,
            syslog,
            agents,
            setup_token,
            ingest_token,
            ledger_stream,
            pipeline: Some(pipeline),
            recorder,
            recorder_thread,
            sources,
            outboxes,
            upkeep,
            tidying,
            tier,
            backups,
            searches,
            overload,
            stop,
            rules_watch,
        };
        server.app.audit("alcedo", "server.start", "", env!("CARGO_PKG_VERSION"));
        // A full disk is no reason to be gone: alerts and searches have to be there.
        if let Err(error) = audit_configuration(&server.app) {
            tracing::error!(error = %error.message, "the settings of this start are not remembered");
        }
        if let Err(error) = server.write_run_file() {
            tracing::error!(
                error = %error.message,
                "run.json is not written; verbs on this host need `--server` and `--token`"
            );
        }
        Ok(server)
    }

    /// Stops in the order of the stream: doors, detection, alerts, store.
    pub async fn stop(self) -> Result<(), Failure> {
        self.end(true).await
    }

    /// Stops as [`Server::stop`] does, but writes no more files: its folder is deleted next.
    pub async fn discard(self) -> Result<(), Failure> {
        self.end(false).await
    }

    async fn end(mut self, is_kept: bool) -> Result<(), Failure> {
        for thread in self.overload.take().into_iter().chain(self.searches.take()) {
            let _ = tokio::task::spawn_blocking(|| thread.stop()).await;
        }
        // All at once: each may have to wait for a sender.
        futures::future::join_all(self.sources.drain(..).map(|source| source.stop())).await;
        let pipeline = self.pipeline.take();
        let recorder = self.recorder.clone();
        tokio::task::spawn_blocking(move || {
            // All that is durable is worked off before the snapshot.
            if let Some(pipeline) = pipeline {
                pipeline.stop();
            }
            recorder.barrier();
        })
        .await
        .map_err(|e| Failure::new(Exit::Bug, e, ""))?;
        self.app.exports.cancel_all();
        self.app.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
        self.app.audit("alcedo", "server.stop", "", "");
        self.stop.cancel();
        for outbox in self.outboxes.drain(..) {
            outbox.ended().await;
        }
        let _ = std::fs::remove_file(self.app.config.data_dir.join("run.json"));
        let Self {
            app,
            ledger_stream,
            recorder,
            recorder_thread,
            upkeep,
            tidying,
            tier,
            backups,
            ..
        } = self;
        drop(recorder);
        tokio::task::spawn_blocking(move || {
            // An upload may be cut anywhere; waiting for the other side could take minutes.
            app.store.leave_far_tier();
            for thread in tier.into_iter().chain(backups) {
                thread.stop();
            }
            tidying.stop();
            upkeep.stop();
            // The recorder's queue closes with the pipeline's and our own handle.
            let _ = recorder_thread.join();
            if !is_kept {
                return;
            }
            if let Err(error) = app.store.flush() {
                tracing::error!(%error, "hot rows stay in the journal and come back at the start");
            }
            let checkpoints = [app.journal.checkpoint(), ledger_stream.checkpoint()];
            for error in checkpoints.into_iter().filter_map(Result::err) {
                tracing::error!(%error, "a manifest was not written");
            }
            // Here and not by whoever lets go of them last: the process may end before that one does.
            for error in [app.journal.shut(), ledger_stream.shut()].into_iter().filter_map(Result::err) {
                tracing::warn!(%error, "a journal was not closed cleanly; the next start repairs it");
            }
        })
        .await
        .map_err(|e| Failure::new(Exit::Bug, e, ""))
    }

    /// Returns after the files of rules or packs have changed, with which.
    pub async fn rules_changed(&self) -> Changed {
        let mut watcher = self.rules_watch.lock().await;
        let changed = watcher.changed().await;
        // Rules of redaction may name another key by now: it is watched before it is read.
        watcher.watch_files(&self.app.config.tables());
        changed
    }

    /// Whether the pipeline has ended although nobody asked it to.
    pub fn has_failed(&self) -> bool {
        self.pipeline.as_ref().is_some_and(Pipeline::has_failed)
    }

    /// Addresses for scripts: `run.json` in the data folder, there while the server runs.
    fn write_run_file(&self) -> Result<(), Failure> {
        let syslog: Vec<_> = self
            .syslog
            .iter()
            .map(|(transport, address)| {
                json!({"transport": transport.name(), "address": address.to_string()})
            })
            .collect();
        let run = json!({
            "http": self.http.to_string(),
            "tls": self.app.has_tls(),
            "syslog": syslog,
            "agent": self.agents.map(|a| a.to_string()),
            "pid": std::process::id(),
        });
        let path = self.app.config.data_dir.join("run.json");
        generations::write_synced(&path, run.to_string().as_bytes())
    }
}

/// A configuration that is not the one of the last start is an audit record that names the sections
/// which changed, not what is in them: settings may hold secrets.
fn audit_configuration(app: &App) -> Result<(), Failure> {
    let path = app.config.data_dir.join("config.digests.json");
    let now: BTreeMap<String, String> =
        app.config.digests().into_iter().map(|(name, hash)| (name.to_owned(), hash)).collect();
    let before: Option<BTreeMap<String, String>> =
        std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if before.as_ref() == Some(&now) {
        return Ok(());
    }
    if let Some(before) = before {
        let differs = |name: &&String| before.get(*name) != now.get(*name);
        let changed: Vec<&str> = now.keys().filter(differs).map(String::as_str).collect();
        app.audit("alcedo", "config.changed", "", &changed.join(", "));
    } else {
        app.audit("alcedo", "config.first", "", "");
    }
    generations::write_synced(&path, &serde_json::to_vec(&now).unwrap_or_default())
}

/// The root over a sealed segment's records: what `alcedo verify` recomputes.
pub fn segment_root(blocks: &SealedBlocks<'_>) -> [u8; 32] {
    root_of(blocks, &|_| ())
}

/// While the server runs, events come first: it rests three times as long as hashing a piece took.
fn rest_between_pieces() -> impl Fn(usize) {
    const PIECE_BYTES: usize = 1 << 20;
    const REST_MAX: std::time::Duration = std::time::Duration::from_millis(40);
    let state = std::cell::Cell::new((0, std::time::Instant::now()));
    move |hashed_bytes| {
        let (bytes, began) = state.get();
        if bytes + hashed_bytes < PIECE_BYTES {
            return state.set((bytes + hashed_bytes, began));
        }
        std::thread::sleep((began.elapsed() * 3).min(REST_MAX));
        state.set((0, std::time::Instant::now()));
    }
}

/// `hashed` is told the bytes of each block when it has been worked in.
fn root_of(blocks: &SealedBlocks<'_>, hashed: &dyn Fn(usize)) -> [u8; 32] {
    let mut leaves = trust::Frontier::default();
    let read = blocks.for_each(|block| {
        let mut bytes = 0;
        for record in block.records() {
            leaves.push(upkeep::leaf_of(&record));
            bytes += record.bytes.len();
        }
        hashed(bytes);
    });
    // A segment that cannot be read whole gets no root: `verify` then says so.
    if read.is_err() { [0; 32] } else { leaves.root().0 }
}

/// Makes the folder of all state if it is not there, for its user alone: what is logged is in it. One that
/// somebody made has the rights that he gave it.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if !folder.is_dir() => Err(error),
        _ => Ok(()),
    }
}

/// Opens what is on the disk, in the order in which one needs the other.
fn open_parts(config: Config, start: Start, secret: [u8; 16]) -> Result<Arc<App>, Failure> {
    let (journal, ledger_stream, end) = open_streams(&config.data_dir)?;
    let ledger = open_ledger(&config.data_dir, &ledger_stream)?;
    let config = with_searches(config, &ledger)?;
    let archive = Arc::new(Archive::open(config.clone(), secret)?);
    // The rules' tables are there, and stay.
    precedence::small_pages();
    let shares = memory::Shares::of(&config, overload::resident_bytes());
    let store = open_store(&config, &shares)?;
    store.set_dictionary(archive.current().dict.clone());
    archive.forget_from(end)?;
    archive.announce(&journal)?;
    let Start { demo, terminal } = start;
    let made =
        Made { config, shares, journal, ledger, ledger_stream, store, archive, demo, terminal };
    Ok(Arc::new(App::new(made)))
}

/// The data's stream, the ledger's, and the offset at which the data's went on.
fn open_streams(data_dir: &Path) -> Result<(Arc<Journal>, Arc<Journal>, u64), Failure> {
    let open = |name: &str, options: Options| {
        let dir = data_dir.join(name);
        let opened = Journal::open(&dir, options, Arc::new(OsFs), Arc::new(OsClock));
        let (journal, recovery) = opened
            .map_err(|e| Failure::new(Exit::Integrity, e, "`alcedo journal fsck` tells more"))?;
        if !recovery.created && !recovery.clean {
            tracing::warn!(
                stream = name,
                torn_bytes = recovery.torn_bytes,
                "recovered after a crash"
            );
        }
        for hole in &recovery.holes {
            tracing::error!(stream = name, ?hole, "acknowledged records cannot be read");
        }
        let end = recovery.last_offset.map_or(0, |last| last + 1);
        Ok::<_, Failure>((Arc::new(journal), end))
    };
    let sealer: journal::Sealer = Arc::new(|blocks| root_of(blocks, &rest_between_pieces()));
    let data = Options { tick: true, sealer: Some(sealer.clone()), ..Options::default() };
    let ledger = Options { sealer: Some(sealer), ..ledger::journal_options() };
    let ((data, end), (ledger, _)) = (open("data", data)?, open("ledger", ledger)?);
    Ok((data, ledger, end))
}

/// The configuration, with the rules that saved searches are behind all others.
fn with_searches(mut config: Config, ledger: &Ledger) -> Result<Config, Failure> {
    live_searches::write(&config.data_dir, ledger)?;
    config.rules.push(live_searches::folder(&config.data_dir));
    Ok(config)
}

fn open_ledger(data_dir: &Path, stream: &Arc<Journal>) -> Result<Arc<Ledger>, Failure> {
    let dir = data_dir.join("ledger-index");
    std::fs::create_dir_all(&dir)?;
    let ledger = Ledger::open(&dir, stream.clone());
    ledger.map(Arc::new).map_err(|e| match e {
        ledger::LedgerError::Full(_) => {
            let help = format!("free space on the disk of {}", data_dir.display());
            Failure::new(Exit::Unreachable, e, help)
        }
        e => Failure::new(Exit::Integrity, e, ""),
    })
}

/// Rows are written to files when they fill this part of what they may fill: while one is written,
/// others come.
const FLUSH_ONE_IN: usize = 4;

/// What the configuration says about the store; sizes in memory are those of a large machine.
pub fn store_options(config: &Config) -> store::Options {
    store::Options {
        retention_age_ns: config.retention.age_ns,
        retention_bytes: config.retention.size_bytes,
        retention_rules: config.retention.rules.clone(),
        tier: config.tier.clone(),
        ..store::Options::default()
    }
}

fn open_store(config: &Config, shares: &memory::Shares) -> Result<Arc<Store>, Failure> {
    let options = store::Options {
        hot_bytes_max: shares.hot_rows / FLUSH_ONE_IN,
        searches_bytes_max: shares.searches,
        search_bytes_max: shares.search,
        ..store_options(config)
    };
    let (store, report) = Store::open(&config.data_dir.join("store"), options)
        .map_err(|e| Failure::new(Exit::Integrity, e, "`alcedo verify` tells more"))?;
    for missing in &report.missing {
        tracing::error!(file = missing, "a file of the store is missing");
    }
    Ok(Arc::new(store))
}

/// Restores detection and starts the threads at the oldest offset anybody needs.
fn start_pipeline(
    app: &Arc<App>,
    recorder: &Recorder,
    secret: [u8; 16],
) -> Result<(Pipeline, refill::Ground), Failure> {
    refill::forget(app);
    let dir = app.config.data_dir.join("detect");
    std::fs::create_dir_all(&dir)?;
    let settings = CoreSettings {
        suppress_ns: app.config.suppress_ns,
        watch: watch_settings(&app.config),
        seed: u64::from_le_bytes(secret[..8].try_into().unwrap_or_default()),
        correlation: app.config.detection.correlation.clone(),
    };
    let in_hand = Arc::new(pipeline::InHand::open(&dir)?);
    let snapshot = std::fs::read(dir.join("snapshot")).ok();
    let detect_from = snapshot.as_deref().and_then(pipeline::snapshot::next_offset).unwrap_or(0);
    let generation = app.archive.at(detect_from);
    let ground_settings = settings.clone();
    let core = match snapshot {
        None => Core::new(generation, settings),
        Some(bytes) => {
            Core::restore(&bytes, generation.clone(), settings.clone()).unwrap_or_else(|error| {
                tracing::error!(%error, "detection starts without its memory");
                Core::new(generation, settings)
            })
        }
    };
    let stored = app.store.stored_through(0).map_or(0, |id| id.offset + 1);
    let from = core.read_from().min(stored);
    app.set_progress(core.progress());
    let (journal, barrier) = (app.journal.clone(), recorder.clone());
    let keep_snapshot = Box::new(move |next_offset: u64, bytes: Vec<u8>| {
        // Every alert that this snapshot remembers as sent has to be durable first.
        barrier.barrier();
        let kept = generations::write_synced(&dir.join("snapshot"), &bytes);
        let moved = kept.map_err(|e| e.message).and_then(|()| {
            journal.set_cursor(CURSOR_DETECT, next_offset).map_err(|e| e.to_string())
        });
        if let Err(error) = moved {
            tracing::error!(error, "a snapshot was not kept; the next start replays more");
        }
    });
    let doors = Doors::new(app.clone(), recorder.clone());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = cores.saturating_sub(1).max(1);
    let ground = refill::Ground { settings: ground_settings, in_hand: in_hand.clone(), workers };
    let keep_snapshot: Option<pipeline::KeepSnapshot> = Some(keep_snapshot);
    let settings = pipeline::Settings { workers, from, in_hand, first_slot: 0, keep_snapshot };
    let generations = Arc::new(Course::of(&app.archive));
    let pipeline = Pipeline::start(&app.journal, generations, core, Box::new(doors), settings)?;
    Ok((pipeline, ground))
}

fn watch_settings(config: &Config) -> watch::Settings {
    let mut settings = watch::Settings::default();
    settings.volume.bucket_ns = config.watch.volume_bucket_ns;
    for source in &config.sources {
        let silent_after_ns = source.silent_after_ns.or(config.watch.silent_after_ns);
        let own = watch::SourceSettings { silent_after_ns };
        settings.sources.insert(source.name.clone(), own);
    }
    settings
}

type Started = (Vec<io::Running>, Vec<(Transport, SocketAddr)>, Option<SocketAddr>);

async fn start_sources(app: &Arc<App>, caps: Caps) -> Result<Started, Failure> {
    let intake: Arc<dyn io::Intake> = Arc::new(app.journal.appender());
    let tls = http::tls_config(&app.config)?;
    let (mut running, mut syslog, mut agents) = (Vec::new(), Vec::new(), None);
    for source in &app.config.sources {
        let mut context = io::Context::new(&source.name, intake.clone()).at(&app.door);
        context.pack = source.pack.as_deref().unwrap_or_default().into();
        app.add_context(context.clone());
        let listens = match &source.kind {
            SourceKind::Http => continue,
            SourceKind::Agent(address) => {
                let gate =
                    Arc::new(http::AgentGate { app: app.clone(), source: source.name.clone() });
                let config = io::sources::agent::Config::new(*address, tls.clone(), gate);
                let config = io::sources::agent::Config { caps, ..config };
                let started = io::sources::agent::start(context, config).await;
                let started = started.map_err(|e| cannot_listen(*address, &e))?;
                agents = Some(started.address);
                running.push(started);
                continue;
            }
            SourceKind::Kafka(topics) => {
                running.extend(start_topics(app, context, topics)?);
                continue;
            }
            SourceKind::Syslog(listens) => listens,
        };
        for listen in listens {
            let tls = tls.clone().filter(|_| listen.transport.is_tls());
            let started = match listen.transport {
                Transport::Udp => {
                    let config = io::sources::syslog_udp::Config::on(listen.address);
                    io::sources::syslog_udp::start(context.clone(), config).await
                }
                Transport::Tcp | Transport::Tls => {
                    let plain = io::sources::syslog_tcp::Config::plain(listen.address);
                    let config = io::sources::syslog_tcp::Config { tls, caps, ..plain };
                    io::sources::syslog_tcp::start(context.clone(), config).await
                }
                Transport::Relp | Transport::Relps => {
                    let plain = io::sources::relp::Config::plain(listen.address);
                    let config = io::sources::relp::Config { tls, caps, ..plain };
                    io::sources::relp::start(context.clone(), config).await
                }
            };
            let started = started.map_err(|e| cannot_listen(listen.address, &e))?;
            syslog.push((listen.transport, started.address));
            running.push(started);
        }
    }
    Ok((running, syslog, agents))
}

/// The member's name is the installation's own, and the same after a crash.
#[cfg(feature = "kafka")]
fn start_topics(
    app: &App,
    context: io::Context,
    topics: &crate::config::kafka::Topics,
) -> Result<Option<io::Running>, Failure> {
    let hint = "docs/kafka.md has what can be set";
    let member = format!("alcedo-{}", secrets::name_of(&app.config.data_dir, &context.name)?);
    let client = crate::config::kafka::client(topics, member);
    let client = client.map_err(|e| Failure::invalid(e, hint))?;
    Ok(Some(kafka::start(context, &client).map_err(|e| Failure::invalid(e, hint))?))
}

/// A build without a client of Kafka refuses such a configuration.
#[cfg(not(feature = "kafka"))]
#[expect(clippy::unnecessary_wraps, reason = "the signature of the other build")]
fn start_topics(
    _: &App,
    _: io::Context,
    _: &crate::config::kafka::Topics,
) -> Result<Option<io::Running>, Failure> {
    Ok(None)
}

/// A listener that cannot be had.
pub fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> Failure {
    let hint = "another program may hold the port; choose another in the configuration";
    Failure::invalid(format!("cannot listen on {address}: {error}"), hint)
}

/// Name of the token that a demo's senders have from its second start on.
const DEMO_SENDER: &str = "demo-sender";

/// The page's one-time link; on a first start also a token for verbs on this host and one for
/// sending.
fn first_tokens(app: &App) -> Result<(String, Option<String>), Failure> {
    let now_ns = io::intake::wall_ns();
    let wrong = |e: &dyn std::fmt::Display| Failure::new(Exit::Bug, e, "no random numbers");
    let roles = roles_of("admin,analyst,engineer,auditor").unwrap_or_default();
    let (setup, setup_token) = Setup::begin(roles.clone(), now_ns).map_err(|e| wrong(&e))?;
    app.offer_setup(setup);
    let path = app.config.data_dir.join("admin.token");
    let actor = || ledger::Actor { who: "alcedo".into(), at_ns: now_ns, client: "server".into() };
    let make = |kind, name: &str, roles: Vec<Role>| {
        let scope = Scope { roles, sources: vec!["*".into()], networks: vec![], expires_ns: None };
        let new = NewToken::generate(kind, name, scope, "alcedo", now_ns).map_err(|e| wrong(&e))?;
        app.ledger.create_token(new.record, actor()).map_err(|e| wrong(&e))?;
        Ok::<_, Failure>(new.text)
    };
    if path.exists() {
        // Texts of tokens are not kept: a demo whose folder is there from before gets its senders a new one.
        let again = app.demo.then(|| {
            let tokens = app.ledger.tokens();
            let old = tokens.iter().filter(|t| t.name == DEMO_SENDER && t.revoked_ns.is_none());
            for token in old {
                app.ledger.revoke_token(&token.id, actor()).map_err(|e| wrong(&e))?;
            }
            make(TokenKind::Ingest, DEMO_SENDER, vec![Role::Ingest])
        });
        return Ok((setup_token, again.transpose()?));
    }
    let mut local = roles;
    local.push(Role::Ingest);
    secrets::write_token(&path, &make(TokenKind::Api, "local", local)?)?;
    let ingest = make(TokenKind::Ingest, "first-sender", vec![Role::Ingest])?;
    Ok((setup_token, Some(ingest)))
}
