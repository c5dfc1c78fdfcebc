//! The agent's end of the agent protocol: follows files and sends what is new until it is acked.
//!
//! ```text
//! files --Tailer--> queue (bounded) --window--> socket
//!   ^  (blocking       |                           |
//!   |   thread)        +<-- Ack: durable ----------+
//!   +-- checkpoints <--+
//! ```
//!
//! What is sent stays in the queue until it is acked; after a broken connection all of it is sent
//! again under the same numbers, and the server drops what it has. A crash loses the queue, and
//! the checkpoints bring it back from the files. New lines are noticed through the kernel's file
//! notifications where they work, and by looking every [`Config::poll`] in any case.

use crate::agent_protocol::{Batch, Frame, Last, VERSION, encode, encode_batch};
use crate::backoff::Backoff;
use crate::intake::wall_ns;
use crate::sources::agent::{FrameReader, send};
use crate::tail::{Resumed, TailError, Tailer};
use bytes::Buf;
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Settings of a client.
#[derive(Clone)]
pub struct Config {
    /// The server, `HOST:PORT`.
    pub server: String,
    /// TLS settings. Without, only a loopback address is spoken to: the token would be readable.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Name of this agent, for the server's operator; it decides nothing.
    pub agent: String,
    /// The secret that decides what the agent may send as.
    pub token: String,
    /// How often files are looked for and at.
    pub poll: Duration,
    /// Folders whose changes lead to a look at once; may be empty.
    pub watch: Vec<PathBuf>,
    /// How long a stop waits for acks of what was sent.
    pub stop_wait: Duration,
}

impl Config {
    /// Defaults: TLS settings, a look every 250 ms, 10 s for the last acks.
    pub fn new(server: &str, tls: Option<Arc<rustls::ClientConfig>>, token: &str) -> Self {
        Self {
            server: server.into(),
            tls,
            agent: String::new(),
            token: token.into(),
            poll: Duration::from_millis(250),
            watch: Vec::new(),
            stop_wait: Duration::from_secs(10),
        }
    }
}

/// The client cannot go on. Network errors are not among these: they are retried.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// `HOST:PORT` is malformed.
    #[error("'{0}' is not HOST:PORT")]
    Server(String),
    /// The host cannot be verified by name.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// The checkpoints cannot be saved at the end; the next start sends some lines again.
    #[error(transparent)]
    Tail(#[from] TailError),
    /// Following files panicked.
    #[error("following files failed: {0}")]
    Panicked(String),
}

/// How the client is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientStatus {
    /// Whether the server has let us in and the connection stands.
    pub connected: bool,
    /// Connections that got so far.
    pub connections: u64,
    /// Records the server confirmed as durable, repeats included.
    pub acked_records: u64,
    /// Files that go on under new numbers because another agent had gone on with theirs.
    pub forks: u64,
    /// Why the last connection ended or could not be made.
    pub last_error: Option<String>,
}

/// Shared view of a [`ClientStatus`].
pub type SharedStatus = Arc<parking_lot::Mutex<ClientStatus>>;

/// First and longest pause between connections.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));
/// Longest wait for a connection, and for its handshakes.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// The server takes an agent for gone after 60 s of silence.
const PING_EVERY: Duration = Duration::from_secs(10);
/// No ack and no byte taken for so long while something is under way: try another connection. A
/// server whose disk is full stops reading, so this is generous.
const PROGRESS_WAIT: Duration = Duration::from_secs(300);
/// Window until the server says another.
const WINDOW_BYTES_FIRST: usize = 256 << 10;
/// Lines read ahead of the acks, bytes: a window of 4 MiB and as much again to fill it from.
const QUEUE_BYTES_MAX: usize = 8 << 20;
/// What one look at the files may add.
const POLL_BYTES_MAX: usize = 1 << 20;
/// Shortest time between two looks that notifications ask for.
const LOOK_GAP: Duration = Duration::from_millis(5);
/// How often acks are written to the checkpoint file.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// What a record costs in the queue beside its bytes.
const RECORD_OVERHEAD_BYTES: usize = 16;

/// Follows the files of `tailer` and sends them until `stop`; then waits for the acks of what was
/// sent and saves the checkpoints. Connection failures are retried for ever.
///
/// # Errors
/// [`ClientError`].
pub async fn run(
    tailer: Tailer,
    config: Config,
    status: SharedStatus,
    stop: CancellationToken,
) -> Result<(), ClientError> {
    let host = match config.server.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => host.to_owned(),
        _ => return Err(ClientError::Server(config.server)),
    };
    let name = crate::tls::server_name(&host)?;
    let wake = Arc::new(Notify::new());
    let _watcher = watch(&config.watch, &wake);
    let mut files = Files::new(tailer, config.poll);
    let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
    while !stop.is_cancelled() {
        let connected = tokio::select! {
            () = stop.cancelled() => break,
            connected = connect(&config, name.clone()) => connected,
            fatal = files.look_on() => return Err(fatal),
        };
        let ended = match connected {
            Err(why) => why,
            Ok((reader, writer)) => {
                note(&status, |now| (now.connected, now.connections) = (true, now.connections + 1));
                backoff.reset();
                let mut session = Session::new(reader, writer, &config, &status);
                let ended = session.run(&mut files, &wake, &stop).await;
                note(&status, |now| now.connected = false);
                match ended {
                    Ok(()) => break,
                    Err(SessionEnd::Lost(why)) => why,
                    Err(SessionEnd::Fatal(error)) => return Err(error),
                }
            }
        };
        tracing::warn!(server = config.server, why = ended, "no connection; trying again");
        note(&status, |now| now.last_error = Some(ended));
        tokio::select! {
            () = tokio::time::sleep(backoff.next_pause()) => {}
            () = stop.cancelled() => {}
            fatal = files.look_on() => return Err(fatal),
        }
    }
    files.save().await
}

fn note(status: &SharedStatus, change: impl FnOnce(&mut ClientStatus)) {
    change(&mut status.lock());
}

type Stream = Box<dyn Duplex>;
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
type Ends = (FrameReader<ReadHalf<Stream>>, WriteHalf<Stream>);

/// Connects, shows the token, and waits to be let in. Errors are for people.
async fn connect(
    config: &Config,
    name: rustls::pki_types::ServerName<'static>,
) -> Result<Ends, String> {
    let attempt = async {
        let stream = TcpStream::connect(config.server.as_str()).await.map_err(|e| e.to_string())?;
        let peer = stream.peer_addr().map_err(|e| e.to_string())?.ip().to_canonical();
        let _ = stream.set_nodelay(true);
        let stream: Stream = match &config.tls {
            Some(tls) => {
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(tls));
                Box::new(connector.connect(name, stream).await.map_err(|e| format!("TLS: {e}"))?)
            }
            None if peer.is_loopback() => Box::new(stream),
            None => return Err(format!("{peer} is not loopback: the token needs TLS")),
        };
        let (reader, mut writer) = tokio::io::split(stream);
        let (agent, token) = (config.agent.clone(), config.token.clone());
        let hello = Frame::Hello { version: VERSION, agent, token };
        send(&mut writer, &[hello]).await.map_err(|e| e.to_string())?;
        let mut reader = FrameReader::new(reader);
        match reader.frame().await.map_err(|e| e.to_string())? {
            Some(Frame::HelloOk) => Ok((reader, writer)),
            Some(Frame::HelloErr { reason }) => Err(format!("the server refused: {reason}")),
            Some(_) => Err("the server does not speak the agent protocol".into()),
            None => Err("the server closed the connection".into()),
        }
    };
    match tokio::time::timeout(CONNECT_WAIT, attempt).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {} s", CONNECT_WAIT.as_secs())),
    }
}

/// Wakes us when a file in one of the folders changes. Without it (no inotify, too many watches)
/// the regular looks do.
fn watch(folders: &[PathBuf], wake: &Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    use notify::{EventKind, Watcher, event::ModifyKind};
    if folders.is_empty() {
        return None;
    }
    let wake = Arc::clone(wake);
    let told = move |event: notify::Result<notify::Event>| {
        // Our own reading makes access events; they must not wake us.
        let news = event.is_ok_and(|e| match e.kind {
            EventKind::Modify(kind) => !matches!(kind, ModifyKind::Metadata(_)),
            EventKind::Create(_) => true,
            _ => false,
        });
        if news {
            wake.notify_one();
        }
    };
    let mut watcher = match notify::recommended_watcher(told) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "no file notifications; looking at intervals only");
            return None;
        }
    };
    for folder in folders {
        if let Err(error) = watcher.watch(folder, notify::RecursiveMode::NonRecursive) {
            let folder = folder.display();
            tracing::warn!(%folder, %error, "not notified; looking at intervals only");
        }
    }
    Some(watcher)
}

/// The files and what was read of them without an ack.
struct Files {
    /// Away while a look is under way.
    tailer: Option<Box<Tailer>>,
    look: Option<JoinHandle<Looked>>,
    /// Acks that came meanwhile.
    acks: Vec<(u128, u64, u64)>,
    /// What the server said it has, to be compared at the next look.
    asked: Vec<Question>,
    /// What was compared and found to be ours.
    cleared: Vec<(u128, u64)>,
    /// A file could not be compared.
    uncompared: bool,
    /// Number of the connection that asks; what an earlier one asked clears nothing for it.
    connection: u64,
    /// Producers of ours that another agent had gone on with.
    forks: u64,
    queue: VecDeque<Batch>,
    queue_bytes: usize,
    poll: Duration,
    looked: Option<Instant>,
    discovered: Option<Instant>,
    saved: Instant,
    /// The last look found as much as it may: there is more.
    more: bool,
}

/// A producer and epoch with the server's last record.
type Question = (u128, u64, Option<Last>);

/// What a look brought.
struct Looked {
    tailer: Box<Tailer>,
    read: Result<Vec<Batch>, TailError>,
    /// Verdicts on what this connection asked; `None`: the file cannot be read.
    verdicts: Vec<(u128, u64, Option<Resumed>)>,
    connection: u64,
}

impl Files {
    fn new(tailer: Tailer, poll: Duration) -> Self {
        Self {
            tailer: Some(Box::new(tailer)),
            look: None,
            acks: Vec::new(),
            asked: Vec::new(),
            cleared: Vec::new(),
            uncompared: false,
            connection: 0,
            forks: 0,
            queue: VecDeque::new(),
            queue_bytes: 0,
            poll,
            looked: None,
            discovered: None,
            saved: Instant::now(),
            more: false,
        }
    }

    fn is_full(&self) -> bool {
        self.queue_bytes >= QUEUE_BYTES_MAX
    }

    /// How long until the next look is due; none while one is under way.
    fn due_in(&self, asked: bool) -> Option<Duration> {
        self.tailer.as_ref()?;
        let Some(looked) = self.looked else { return Some(Duration::ZERO) };
        if !self.asked.is_empty() {
            return Some(Duration::ZERO);
        }
        let pause = match (self.more && !self.is_full(), asked && !self.is_full()) {
            (true, _) => Duration::ZERO,
            (false, true) => LOOK_GAP.min(self.poll),
            (false, false) => self.poll,
        };
        Some(pause.saturating_sub(looked.elapsed()))
    }

    /// Looks on while there is no connection: a file that comes and goes meanwhile has to be
    /// opened in time. Returns when that failed for good.
    async fn look_on(&mut self) -> ClientError {
        loop {
            let due = self.due_in(false);
            tokio::select! {
                looked = self.finish_look() => if let Err(error) = looked {
                    return error;
                },
                () = sleep_for(due) => self.start_look(),
            }
        }
    }

    /// Starts a look on a blocking thread; with a full queue it opens files and reads nothing.
    fn start_look(&mut self) {
        let Some(mut tailer) = self.tailer.take() else { return };
        let acks = std::mem::take(&mut self.acks);
        let (asked, connection) = (std::mem::take(&mut self.asked), self.connection);
        let now = Instant::now();
        let discover = self.discovered.is_none_or(|at| now - at >= self.poll);
        if discover {
            self.discovered = Some(now);
        }
        let save = now - self.saved >= SAVE_EVERY;
        if save {
            self.saved = now;
        }
        self.looked = Some(now);
        let bytes_max = if self.is_full() { 0 } else { POLL_BYTES_MAX };
        self.look = Some(tokio::task::spawn_blocking(move || {
            for (producer, epoch, up_to_seq) in acks {
                tailer.acked(producer, epoch, up_to_seq);
            }
            let verdicts = asked.into_iter().map(|one| compare(&mut tailer, one)).collect();
            let saved = if save { tailer.save_if_moved() } else { Ok(()) };
            let read = saved.and_then(|()| tailer.poll_within(wall_ns(), bytes_max, discover));
            Looked { tailer, read, verdicts, connection }
        }));
    }

    /// Waits for the look under way, if there is one. May be dropped and called again.
    async fn finish_look(&mut self) -> Result<(), ClientError> {
        let Some(look) = &mut self.look else { return std::future::pending().await };
        let looked = look.await;
        self.look = None;
        let looked = looked.map_err(|e| ClientError::Panicked(e.to_string()))?;
        self.tailer = Some(looked.tailer);
        for (producer, epoch, verdict) in looked.verdicts {
            match verdict {
                Some(Resumed::Forked) => self.forget(producer, epoch),
                _ if looked.connection != self.connection => {}
                Some(Resumed::Same) => self.cleared.push((producer, epoch)),
                None => self.uncompared = true,
            }
        }
        match looked.read {
            Ok(batches) => {
                self.more = !batches.is_empty();
                for batch in batches {
                    self.queue_bytes += cost(&batch);
                    self.queue.push_back(batch);
                }
            }
            Err(error) => {
                // The state folder may be repaired; nothing was read, so nothing is lost.
                tracing::error!(%error, "cannot follow files");
                self.more = false;
            }
        }
        Ok(())
    }

    /// What is left of an earlier connection says nothing about this one.
    fn begin_connection(&mut self) {
        self.connection += 1;
        self.asked.clear();
        self.cleared.clear();
        self.uncompared = false;
    }

    /// Takes out what was read under numbers that are not ours any more. None of it was sent on this
    /// connection: it was waiting for the comparison.
    fn forget(&mut self, producer: u128, epoch: u64) {
        tracing::error!(
            producer = format!("{producer:032x}"),
            "another agent goes on with this file's numbers: a copy of this one's state folder, or \
             a later run of this one that is gone; going on under new numbers"
        );
        self.forks += 1;
        self.queue.retain(|batch| (batch.producer, batch.epoch) != (producer, epoch));
        self.queue_bytes = self.queue.iter().map(cost).sum();
    }

    /// Acks included that no look has taken in yet, so that a resume does not ask for less.
    fn next_seq(&self, batch: &Batch) -> u64 {
        let key = (batch.producer, batch.epoch);
        let acked = self.acks.iter().filter(|ack| (ack.0, ack.1) == key).map(|ack| ack.2 + 1);
        acked.max().unwrap_or(0).max(batch.base_seq)
    }

    async fn save(&mut self) -> Result<(), ClientError> {
        if self.look.is_some() {
            self.finish_look().await?;
        }
        let Some(mut tailer) = self.tailer.take() else { return Ok(()) };
        let acks = std::mem::take(&mut self.acks);
        let saved = tokio::task::spawn_blocking(move || {
            for (producer, epoch, up_to_seq) in acks {
                tailer.acked(producer, epoch, up_to_seq);
            }
            tailer.save_if_moved()
        });
        Ok(saved.await.map_err(|e| ClientError::Panicked(e.to_string()))??)
    }
}

fn compare(tailer: &mut Tailer, (producer, epoch, last): Question) -> (u128, u64, Option<Resumed>) {
    let verdict = tailer.resumed(producer, epoch, last, wall_ns());
    let verdict = verdict.inspect_err(|error| {
        tracing::error!(%error, "a file cannot be compared with what the server has of it");
    });
    (producer, epoch, verdict.ok())
}

fn cost(batch: &Batch) -> usize {
    batch.bytes.len() + batch.records.len() * RECORD_OVERHEAD_BYTES
}

/// Why a session ended before a stop.
enum SessionEnd {
    Lost(String),
    Fatal(ClientError),
}

/// One connection.
struct Session<'a> {
    reader: FrameReader<ReadHalf<Stream>>,
    writer: WriteHalf<Stream>,
    config: &'a Config,
    status: &'a SharedStatus,
    /// Encoded and not taken by the socket; whether the writer may hold something.
    out: bytes::BytesMut,
    unflushed: bool,
    window_bytes: usize,
    /// How many batches at the queue's front were sent on this connection, and their bytes.
    sent: usize,
    sent_bytes: usize,
    /// Producers and epochs that were resumed on this connection, and whether they may be sent.
    resumed: HashMap<(u128, u64), bool>,
    progress: Instant,
}

impl<'a> Session<'a> {
    fn new(
        reader: FrameReader<ReadHalf<Stream>>,
        writer: WriteHalf<Stream>,
        config: &'a Config,
        status: &'a SharedStatus,
    ) -> Self {
        Self {
            reader,
            writer,
            config,
            status,
            out: bytes::BytesMut::new(),
            unflushed: false,
            window_bytes: WINDOW_BYTES_FIRST,
            sent: 0,
            sent_bytes: 0,
            resumed: HashMap::new(),
            progress: Instant::now(),
        }
    }

    /// Sends until `stop` and until all that was sent is acked, or the wait for that is over.
    async fn run(
        &mut self,
        files: &mut Files,
        wake: &Notify,
        stop: &CancellationToken,
    ) -> Result<(), SessionEnd> {
        files.begin_connection();
        let mut ping = tokio::time::interval(PING_EVERY);
        let mut asked = false;
        let mut stop_by: Option<Instant> = None;
        loop {
            let stopping = stop_by.is_some();
            if stopping && self.sent == 0 {
                let _ = tokio::time::timeout(CONNECT_WAIT, self.writer.shutdown()).await;
                return Ok(());
            }
            if !stopping {
                self.fill(files);
            }
            let due = if stopping { None } else { files.due_in(asked) };
            let busy = !self.out.is_empty() || self.unflushed;
            tokio::select! {
                biased;
                () = stop.cancelled(), if !stopping => {
                    stop_by = Some(Instant::now() + self.config.stop_wait);
                }
                () = sleep_until(stop_by) => return Ok(()),
                frame = self.reader.frame() => self.take(frame, files)?,
                written = write_some(&mut self.writer, &mut self.out, &mut self.unflushed), if busy => {
                    written.map_err(|e| SessionEnd::Lost(e.to_string()))?;
                    self.progress = Instant::now();
                }
                looked = files.finish_look() => {
                    looked.map_err(SessionEnd::Fatal)?;
                    self.resumed.extend(files.cleared.drain(..).map(|key| (key, true)));
                    note(self.status, |now| now.forks = files.forks);
                    if files.uncompared {
                        return Err(SessionEnd::Lost("a file cannot be compared".into()));
                    }
                }
                () = wake.notified(), if !asked => asked = true,
                () = sleep_for(due) => {
                    asked = false;
                    files.start_look();
                }
                _ = ping.tick() => self.keep_alive()?,
            }
        }
    }

    /// Encodes what the window has room for; one batch always, however small the window is. What was
    /// not resumed yet is, with all others in the queue, and waits for the answer.
    fn fill(&mut self, files: &Files) {
        let mut frames = Vec::new();
        while self.out.is_empty()
            && let Some(batch) = files.queue.get(self.sent)
            && (self.sent == 0 || self.sent_bytes + cost(batch) <= self.window_bytes)
        {
            match self.resumed.get(&(batch.producer, batch.epoch)) {
                Some(true) => {}
                Some(false) => return,
                None => return self.resume_all(files),
            }
            if self.sent == 0 {
                self.progress = Instant::now();
            }
            encode_batch(batch, &mut frames);
            self.sent += 1;
            self.sent_bytes += cost(batch);
            self.out.extend_from_slice(&frames);
            frames.clear();
        }
    }

    fn resume_all(&mut self, files: &Files) {
        let mut frames = Vec::new();
        for batch in files.queue.iter().skip(self.sent) {
            let (producer, epoch) = (batch.producer, batch.epoch);
            if self.resumed.contains_key(&(producer, epoch)) {
                continue;
            }
            self.resumed.insert((producer, epoch), false);
            let next_seq = files.next_seq(batch);
            encode(&Frame::Resume { producer, epoch, next_seq }, &mut frames);
        }
        self.out.extend_from_slice(&frames);
    }

    fn take(
        &mut self,
        frame: std::io::Result<Option<Frame>>,
        files: &mut Files,
    ) -> Result<(), SessionEnd> {
        let lost = |why: &str| Err(SessionEnd::Lost(why.to_owned()));
        match frame {
            Err(error) => lost(&error.to_string()),
            Ok(None) => lost("the server closed the connection"),
            Ok(Some(Frame::Ack { producer, epoch, up_to_seq })) => {
                self.progress = Instant::now();
                self.acked(files, (producer, epoch, up_to_seq));
                Ok(())
            }
            Ok(Some(Frame::Credit { window_bytes })) => {
                self.window_bytes = (window_bytes as usize).min(QUEUE_BYTES_MAX);
                Ok(())
            }
            Ok(Some(Frame::Ping)) => Ok(()),
            Ok(Some(Frame::Resumed { producer, epoch, last })) => {
                files.asked.push((producer, epoch, last));
                Ok(())
            }
            Ok(Some(_)) => lost("the server sent what only agents send"),
        }
    }

    /// Forgets what is durable. Acks come in the order of sending, per producer and epoch.
    fn acked(&mut self, files: &mut Files, (producer, epoch, up_to_seq): (u128, u64, u64)) {
        let mut index = 0;
        let mut records = 0;
        while index < self.sent {
            let batch = &files.queue[index];
            let covered =
                (batch.producer, batch.epoch) == (producer, epoch) && batch.last_seq() <= up_to_seq;
            if !covered {
                index += 1;
                continue;
            }
            if let Some(batch) = files.queue.remove(index) {
                records += batch.records.len() as u64;
                files.queue_bytes -= cost(&batch);
                self.sent_bytes -= cost(&batch);
                self.sent -= 1;
            }
        }
        if records > 0 {
            files.acks.push((producer, epoch, up_to_seq));
            self.status.lock().acked_records += records;
        }
    }

    fn keep_alive(&mut self) -> Result<(), SessionEnd> {
        if self.sent > 0 && self.progress.elapsed() > PROGRESS_WAIT {
            let why = format!("no progress for {} s", PROGRESS_WAIT.as_secs());
            return Err(SessionEnd::Lost(why));
        }
        if self.out.is_empty() {
            let mut frame = Vec::new();
            encode(&Frame::Ping, &mut frame);
            self.out.extend_from_slice(&frame);
        }
        Ok(())
    }
}

/// Writes what the socket takes, or flushes. May be dropped and called again without loss.
async fn write_some(
    writer: &mut WriteHalf<Stream>,
    out: &mut bytes::BytesMut,
    unflushed: &mut bool,
) -> std::io::Result<()> {
    if out.has_remaining() {
        *unflushed = true;
        if writer.write_buf(out).await? == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
    } else {
        writer.flush().await?;
        *unflushed = false;
    }
    Ok(())
}

async fn sleep_for(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
