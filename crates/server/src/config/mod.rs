//! Configuration: one YAML file, checked whole, then used.
//!
//! [`Config`] is what was written, with defaults filled in. Reading never stops at the first
//! mistake: [`load`] gives all [`Problem`]s of a file with their lines.

mod detection;
pub mod kafka;
pub mod read;
mod tier;
pub mod tree;

use crate::run::memory::HOT_BYTES_DEFAULT;
use detect::SigmaSettings;
pub use read::Problem;
use read::{Problems, Section};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use store::backup::Place;
use store::{RetentionRule, TierOptions};
use tree::{Node, Yaml};

/// Everything an operator can set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of all state.
    pub data_dir: PathBuf,
    /// Address of the HTTP listener (ingest, API, page).
    pub http: SocketAddr,
    /// Certificate and key for all TLS listeners.
    pub tls: Option<TlsFiles>,
    /// Plain-text listeners beyond loopback were asked for in so many words.
    pub insecure_listen: bool,
    /// Where events come from.
    pub sources: Vec<Source>,
    /// Folders and files of Sigma rules.
    pub rules: Vec<PathBuf>,
    /// Rules that are watched and not acted upon: ids, names, or folders and files.
    pub shadow: Vec<PathBuf>,
    /// How rules are read and correlations are run.
    pub detection: Detection,
    /// Folder of packs beside the built-in ones.
    pub packs: Option<PathBuf>,
    /// Enrichment tables.
    pub enrich: Enrich,
    /// Tables that `lookup` of a search may name: CSV files with a header.
    pub lookups: BTreeMap<String, PathBuf>,
    /// File of the rules that say what nobody may see.
    pub redact: Option<PathBuf>,
    /// Drop filters: marked rows are matched but not stored.
    pub drop: Vec<DropFilter>,
    /// Where alerts go.
    pub notify: Vec<Notify>,
    /// How long events are kept.
    pub retention: Retention,
    /// Where old files of the store move to.
    pub tier: Option<TierOptions>,
    /// Where backups of the running server go.
    pub backup: Option<Place>,
    /// When it makes them by itself, and which stay.
    pub backups: Backups,
    /// When a source counts as silent or as a flood.
    pub watch: Watch,
    /// How long repeats of an alert for the same entity are folded, ns.
    pub suppress_ns: i64,
    /// Memory that may be used; `None`: most of what the machine or the control group has.
    pub memory_bytes_max: Option<u64>,
    /// Most memory of events that are in no file yet, more are left to the journal; `None`: see
    /// [`crate::run::memory`].
    pub hot_bytes_max: Option<usize>,
    /// The version that clients of Elasticsearch are told.
    pub elasticsearch_version: String,
}

/// PEM files of a TLS listener.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// Authority whose client certificates are required, if any.
    pub client_ca: Option<PathBuf>,
}

/// One configured source.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name, `alcedo.source` of its events.
    pub name: String,
    /// How it listens.
    pub kind: SourceKind,
    /// Fixed pack, or automatic.
    pub pack: Option<String>,
    /// Zone of times without one.
    pub zone: shape::Zone,
    /// Repeats within this time are marked, ns; 0 = off.
    pub dedupe_ns: i64,
    /// How its lines become events, where several are one.
    pub multiline: Option<shape::Multiline>,
    /// Silence beyond this is an alert, ns; `None` = learned.
    pub silent_after_ns: Option<i64>,
}

/// How a source listens, or what it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Syslog on these addresses.
    Syslog(Vec<SyslogListen>),
    /// `POST /api/v1/ingest` on the HTTP listener.
    Http,
    /// Our own agents on this address.
    Agent(SocketAddr),
    /// Topics of Kafka.
    Kafka(Box<kafka::Topics>),
}

/// One syslog listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogListen {
    /// Transport.
    pub transport: Transport,
    /// Address.
    pub address: SocketAddr,
}

/// Transport of a syslog listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// RFC 5426.
    Udp,
    /// RFC 6587.
    Tcp,
    /// RFC 5425.
    Tls,
    /// RELP: each message is answered.
    Relp,
    /// RELP behind TLS.
    Relps,
}

impl Transport {
    /// Every transport with its name: the scheme of a listener's address.
    pub const ALL: &[(Self, &'static str)] = &[
        (Self::Udp, "udp"),
        (Self::Tcp, "tcp"),
        (Self::Tls, "tls"),
        (Self::Relp, "relp"),
        (Self::Relps, "relps"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(transport, _)| *transport == self).map_or("", |(_, name)| name)
    }

    /// Whether it needs a certificate, and may be reached by others for that.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Relps)
    }
}

/// How rules are read and correlations are run.
#[derive(Clone, Debug, Default)]
pub struct Detection {
    /// Files of processing pipelines.
    pub pipelines: Vec<PathBuf>,
    /// How Sigma is read where the specification leaves room; its pipelines are read later.
    pub sigma: SigmaSettings,
    /// Lateness and budgets of correlations.
    pub correlation: detect::correlate::Settings,
    /// Whether a rule that costs more than it may stays in force.
    pub keep_over_budget: bool,
}

/// Enrichment tables; all optional, all reloadable while running.
#[derive(Clone, Debug, Default)]
pub struct Enrich {
    /// MaxMind databases (city, country, ASN), told apart by their metadata.
    pub mmdb: Vec<PathBuf>,
    /// Asset table, CSV with a header.
    pub assets: Option<PathBuf>,
    /// Table of people, CSV with a header.
    pub identities: Option<PathBuf>,
    /// Indicator lists, one indicator per line or CSV.
    pub indicators: Vec<PathBuf>,
    /// Lists of what is known to be harmless: it is no indicator.
    pub warnings: Vec<PathBuf>,
}

impl Enrich {
    /// The files of all tables.
    pub fn files(&self) -> Vec<PathBuf> {
        let lists = self.mmdb.iter().chain(&self.assets).chain(&self.identities);
        lists.chain(&self.indicators).chain(&self.warnings).cloned().collect()
    }
}

/// A named drop filter.
#[derive(Clone, Debug)]
pub struct DropFilter {
    /// Its name, for the ledger of what was dropped.
    pub name: String,
    /// The filter text.
    pub when: String,
}

/// One destination of alerts.
#[derive(Clone, Debug)]
pub struct Notify {
    /// Its name; also the name of its durable cursor.
    pub name: String,
    /// What it is.
    pub to: NotifyTo,
    /// Alerts below this level stay in the queue only.
    pub min_level: event::Level,
}

/// Kinds of destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotifyTo {
    /// Lines on standard output.
    Terminal,
    /// NDJSON appended to a file.
    File(PathBuf),
    /// HTTP POST of JSON.
    Webhook(String),
}

/// How long events are kept.
#[derive(Clone, Debug)]
pub struct Retention {
    /// Received longer ago than this goes, ns.
    pub age_ns: Option<i64>,
    /// Stored bytes above this go, oldest first.
    pub size_bytes: Option<u64>,
    /// Shorter times for some events, by filter.
    pub rules: Vec<RetentionRule>,
    /// Alerts, deliveries and audit that are older go, ns; but none as long as events are kept from then.
    pub ledger_ns: Option<i64>,
}

/// Backups that the server makes by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backups {
    /// So long after the last one, ns; `None`: only when somebody asks.
    pub every_ns: Option<i64>,
    /// So many stay, after each that it makes by itself; `None`: all.
    pub keep: Option<usize>,
}

/// Stream health settings.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// Silence of any host of a source without its own setting, ns; `None` = learned.
    pub silent_after_ns: Option<i64>,
    /// Width of a volume bucket, ns.
    pub volume_bucket_ns: i64,
}

/// PCI DSS 4.0 10.5.1 wants twelve months; 400 days leave room for the audit itself.
const RETENTION_AGE_DEFAULT_NS: i64 = 400 * 86_400 * 1_000_000_000;
/// One page per five minutes and entity is what an on-call person can bear.
const SUPPRESS_DEFAULT_NS: i64 = 300 * 1_000_000_000;
/// Five-minute buckets: long enough for a median over quiet sources.
const VOLUME_BUCKET_DEFAULT_NS: i64 = 300 * 1_000_000_000;

/// The clients that the tests run take it.
const ELASTICSEARCH_VERSION_DEFAULT: &str = "8.19.0";
/// Less would make files of some hundred rows.
pub const HOT_BYTES_LEAST: usize = 1 << 20;

impl Default for Config {
    fn default() -> Self {
        let syslog = |transport| SyslogListen {
            transport,
            address: SocketAddr::from(([127, 0, 0, 1], 5514)),
        };
        let listens = vec![syslog(Transport::Udp), syslog(Transport::Tcp)];
        Self {
            data_dir: PathBuf::from("alcedo-data"),
            http: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: None,
            insecure_listen: false,
            sources: vec![
                Source::of("syslog", SourceKind::Syslog(listens)),
                Source::of("http", SourceKind::Http),
            ],
            rules: Vec::new(),
            shadow: Vec::new(),
            detection: Detection::default(),
            packs: None,
            enrich: Enrich::default(),
            lookups: BTreeMap::new(),
            redact: None,
            drop: Vec::new(),
            notify: vec![Notify {
                name: "terminal".into(),
                to: NotifyTo::Terminal,
                min_level: event::Level::Low,
            }],
            retention: Retention {
                age_ns: Some(RETENTION_AGE_DEFAULT_NS),
                size_bytes: None,
                rules: Vec::new(),
                // Evidence stays unless somebody says how long.
                ledger_ns: None,
            },
            tier: None,
            backup: None,
            backups: Backups::default(),
            watch: Watch { silent_after_ns: None, volume_bucket_ns: VOLUME_BUCKET_DEFAULT_NS },
            suppress_ns: SUPPRESS_DEFAULT_NS,
            memory_bytes_max: None,
            hot_bytes_max: None,
            elasticsearch_version: ELASTICSEARCH_VERSION_DEFAULT.into(),
        }
    }
}

impl Config {
    /// Files that are read again when they change: tables, rules of redaction and their key.
    pub fn tables(&self) -> Vec<PathBuf> {
        let key = self.redact.as_ref().and_then(|path| shape::Redaction::key_file(path));
        self.enrich.files().into_iter().chain(self.redact.clone()).chain(key).collect()
    }

    /// What was set, section by section, in a form that can be compared and tells no secret: for the
    /// audit record of a change.
    pub fn digests(&self) -> Vec<(&'static str, String)> {
        let sections: [(&str, String); 19] = [
            ("data_dir", format!("{:?}", self.data_dir)),
            ("listen", format!("{:?} {}", self.http, self.insecure_listen)),
            ("tls", format!("{:?}", self.tls)),
            ("sources", format!("{:?}", self.sources)),
            ("rules", format!("{:?}", self.rules)),
            ("detection", format!("{:?}", self.detection)),
            ("packs", format!("{:?}", self.packs)),
            ("enrich", format!("{:?}", self.enrich)),
            ("lookups", format!("{:?}", self.lookups)),
            ("redact", format!("{:?}", self.redact)),
            ("drop", format!("{:?}", self.drop)),
            ("notify", format!("{:?}", self.notify)),
            ("retention", format!("{:?}", self.retention)),
            // A file with credentials is named here, never read.
            ("tier", format!("{:?}", self.tier)),
            ("backup", format!("{:?} {:?}", self.backup, self.backups)),
            ("watch", format!("{:?}", self.watch)),
            ("alerts", format!("{:?}", self.suppress_ns)),
            (
                "limits",
                // As it was when the default did not depend on the ceiling: nothing was changed.
                format!(
                    "{:?} {}",
                    self.memory_bytes_max,
                    self.hot_bytes_max.unwrap_or(HOT_BYTES_DEFAULT)
                ),
            ),
            ("elasticsearch", self.elasticsearch_version.clone()),
        ];
        let digest = |text: &str| {
            let hash = Sha256::digest(text.as_bytes());
            hash.iter().take(16).map(|b| format!("{b:02x}")).collect()
        };
        sections.into_iter().map(|(name, text)| (name, digest(&text))).collect()
    }
}

impl Source {
    /// A source with default settings.
    pub fn of(name: &str, kind: SourceKind) -> Self {
        Self {
            name: name.into(),
            kind,
            pack: None,
            zone: shape::Zone::default(),
            dedupe_ns: 0,
            multiline: None,
            silent_after_ns: None,
        }
    }
}

/// Reads a file. Relative paths in it are relative to its folder.
pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
    let shown = path.display().to_string();
    let whole = |message: String, hint: &str| {
        vec![Problem { file: shown.clone(), line: 0, column: 0, message, hint: hint.into() }]
    };
    let text = std::fs::read_to_string(path)
        .map_err(|e| whole(format!("cannot be read: {e}"), "check the path given with -c"))?;
    parse(&text, &shown, path.parent().unwrap_or(Path::new(".")))
}

/// Reads configuration text; `base` is what relative paths are relative to.
pub fn parse(text: &str, file: &str, base: &Path) -> Result<Config, Vec<Problem>> {
    let problems = Problems::of(file);
    let root = match tree::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let place = error.location();
            let node = Node {
                line: place.map_or(0, |l| l.line() as usize),
                column: place.map_or(0, |l| l.column() as usize),
                yaml: tree::Yaml::Null,
            };
            let first = error.to_string().lines().next().unwrap_or_default().to_owned();
            problems.at(&node, format!("not valid YAML: {first}"), "mind the indentation");
            return Err(problems.into_list());
        }
    };
    let section = Section::of(&root, "the file", &problems);
    let config = read_root(&section, base);
    section.done();
    check_listeners(&config, &root, &problems);
    tier::check(&config, &root, &problems);
    let list = problems.into_list();
    if list.is_empty() { Ok(config) } else { Err(list) }
}

fn read_root(root: &Section<'_>, base: &Path) -> Config {
    let mut config = Config::default();
    if let Some(dir) = root.text("data_dir") {
        config.data_dir = base.join(dir);
    }
    root.section("listen", |s| {
        if let Some(address) = address(&s, "http") {
            config.http = address;
        }
        config.insecure_listen = s.flag("insecure").unwrap_or(false);
        s.done();
    });
    config.tls = root.section("tls", |s| tls(s, base)).flatten();
    if let Some(node) = root.get("sources") {
        config.sources = sources(&Section::of(node, "sources", root.problems()), base);
    }
    config.shadow = root.texts("shadow").into_iter().map(|(t, _)| base.join(t)).collect();
    config.rules = root.texts("rules").into_iter().map(|(t, _)| base.join(t)).collect();
    if let Some(found) = root.section("detection", |s| detection::read(s, base)) {
        config.detection = found;
    }
    config.packs = root.text("packs").map(|t| base.join(t));
    if let Some(found) = root.section("enrich", |s| enrich(s, base)) {
        config.enrich = found;
    }
    if let Some(node) = root.get("lookups") {
        config.lookups = lookups(&Section::of(node, "lookups", root.problems()), base);
    }
    config.redact = root.text("redact").map(|t| base.join(t));
    config.drop = root.items("drop").iter().filter_map(|n| drop_filter(n, root)).collect();
    if root.get("notify").is_some() {
        config.notify = destinations(root, base);
    }
    root.section("retention", |s| {
        config.retention = retention(&s, &config.retention);
        s.done();
    });
    config.tier = root.section("tier", |s| tier::read(s, base)).flatten();
    let backup = root.section("backup", |s| tier::backup(s, base)).flatten();
    (config.backup, config.backups) = match backup {
        Some((place, backups)) => (Some(place), backups),
        None => (None, Backups::default()),
    };
    root.section("watch", |s| {
        config.watch.silent_after_ns = s.duration_ns("silent_after");
        if let Some(width) = s.duration_ns("volume_bucket").filter(|w| *w > 0) {
            config.watch.volume_bucket_ns = width;
        }
        s.done();
    });
    root.section("alerts", |s| {
        config.suppress_ns = s.duration_ns("suppress").unwrap_or(config.suppress_ns);
        s.done();
    });
    root.section("limits", |s| {
        config.memory_bytes_max = s.size_bytes("memory");
        let hot = s.size_bytes("hot_rows").and_then(|n| usize::try_from(n).ok());
        config.hot_bytes_max = hot.map(|bytes| bytes.max(HOT_BYTES_LEAST));
        s.done();
    });
    root.section("elasticsearch", |s| {
        if let Some(version) = s.text("version") {
            config.elasticsearch_version = version;
        }
        s.done();
    });
    config
}

fn enrich(section: Section<'_>, base: &Path) -> Enrich {
    let path = |key| section.text(key).map(|t| base.join(t));
    let paths = |key| section.texts(key).into_iter().map(|(t, _)| base.join(t)).collect();
    let found = Enrich {
        mmdb: paths("mmdb"),
        assets: path("assets"),
        identities: path("identities"),
        indicators: paths("indicators"),
        warnings: paths("warnings"),
    };
    section.done();
    found
}

fn destinations(root: &Section<'_>, base: &Path) -> Vec<Notify> {
    let mut out: Vec<Notify> = Vec::new();
    let items = root.items("notify");
    for (node, one) in items.iter().filter_map(|n| Some((n, notify(n, root, base)?))) {
        if out.iter().any(|other| other.name == one.name) {
            let text = format!("two destinations of `notify` are called `{}`", one.name);
            let hint = "give each a `name` of its own: by it, it is known how far it got";
            root.problems().at(node, text, hint);
        }
        out.push(one);
    }
    out
}

fn address(section: &Section<'_>, key: &'static str) -> Option<SocketAddr> {
    section.value(key, "write an address and a port, such as 127.0.0.1:8080", |t| t.parse().ok())
}

fn tls(section: Section<'_>, base: &Path) -> Option<TlsFiles> {
    let path = |key| section.text(key).map(|t| base.join(t));
    let (cert, key, client_ca) = (path("cert"), path("key"), path("client_ca"));
    let files = match (cert, key) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key, client_ca }),
        _ => {
            let node = Node { line: 0, column: 0, yaml: tree::Yaml::Null };
            let hint = "`alcedo certs init` makes both";
            section.problems().at(&node, "`tls` needs `cert` and `key`", hint);
            None
        }
    };
    section.done();
    files
}

fn sources(section: &Section<'_>, base: &Path) -> Vec<Source> {
    let mut out: Vec<Source> = Vec::new();
    for (name, node) in section.named() {
        let problems = section.problems();
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
            problems.at(node, format!("`{name}` is no source name"), "use letters, digits, - _ .");
            continue;
        }
        if name == crate::run::own_events::SOURCE {
            problems.at(
                node,
                "`alcedo` is the source of this server's own events",
                "take another name",
            );
            continue;
        }
        if let Some(source) = source(name, node, base, problems) {
            out.push(source);
        }
    }
    out
}

fn source(name: &str, node: &Node, base: &Path, problems: &Problems) -> Option<Source> {
    let section = Section::of(node, name, problems);
    let kind = match section.text("type").as_deref() {
        Some("syslog") => {
            let listens = section.texts("listen");
            if listens.is_empty() {
                problems.at(node, "a syslog source needs `listen`", "listen: udp://127.0.0.1:5514");
            }
            let listens = listens.iter().filter_map(|(t, n)| syslog_listen(t, n, problems));
            SourceKind::Syslog(listens.collect())
        }
        Some("http") => SourceKind::Http,
        Some("agent") => {
            let fallback = SocketAddr::from(([127, 0, 0, 1], 6515));
            SourceKind::Agent(address(&section, "listen").unwrap_or(fallback))
        }
        Some("kafka") => SourceKind::Kafka(Box::new(kafka::read(&section, node, base))),
        other => {
            let message = match other {
                Some(other) => format!("`{other}` is no type of source"),
                None => "a source needs a `type`".to_owned(),
            };
            problems.at(
                section.get("type").unwrap_or(node),
                message,
                "types: syslog, http, agent, kafka",
            );
            section.get("listen");
            SourceKind::Http
        }
    };
    let mut source = Source::of(name, kind);
    source.pack = section.text("pack");
    source.dedupe_ns = section.duration_ns("dedupe").unwrap_or(0);
    source.multiline = section.section("multiline", multiline).flatten();
    source.silent_after_ns = section.duration_ns("silent_after");
    let hint = "write an offset (+02:00) or a place (Europe/Berlin)";
    source.zone = section.value("zone", hint, shape::Zone::parse).unwrap_or_default();
    section.done();
    Some(source)
}

/// How long an event of several lines waits for the next, unless it is set.
const LINES_WAIT_DEFAULT_NS: i64 = event::time::SECOND_NS;
/// Longest such wait: the balance of a minute is judged a minute after it.
const LINES_WAIT_MAX_NS: i64 = 30 * event::time::SECOND_NS;

/// `{starts: REGEX}`, `{continues: REGEX}` or `{json: true}`, with `wait`.
fn multiline(section: Section<'_>) -> Option<shape::Multiline> {
    use shape::joins::LinesBy;
    let hint = "a regular expression without look-around: '^\\d{4}-'";
    let starts = section.value("starts", hint, LinesBy::starts);
    let continues = section.value("continues", hint, LinesBy::continues);
    let by = match (starts, continues, section.flag("json").unwrap_or(false)) {
        (Some(by), None, false) | (None, Some(by), false) => Some(by),
        (None, None, true) => Some(LinesBy::Json),
        _ => {
            let node = Node { line: 0, column: 0, yaml: tree::Yaml::Null };
            let hint = "starts: '^\\d{4}-', continues: '^\\s', or json: true";
            section.problems().at(&node, "`multiline` needs one of its three rules", hint);
            None
        }
    };
    let wait_ns = section.duration_ns("wait").unwrap_or(LINES_WAIT_DEFAULT_NS);
    if !(1..=LINES_WAIT_MAX_NS).contains(&wait_ns) {
        let node = section.get("wait");
        let none = Node { line: 0, column: 0, yaml: tree::Yaml::Null };
        section.problems().at(node.unwrap_or(&none), "`wait` is too long", "at most 30s");
    }
    section.done();
    Some(shape::Multiline { by: by?, wait_ns })
}

fn syslog_listen(text: &str, node: &Node, problems: &Problems) -> Option<SyslogListen> {
    let parsed = text.split_once("://").and_then(|(scheme, address)| {
        let (transport, _) = Transport::ALL.iter().find(|(_, name)| *name == scheme)?;
        Some(SyslogListen { transport: *transport, address: address.parse().ok()? })
    });
    if parsed.is_none() {
        let hint = "write udp://, tcp://, tls://, relp:// or relps:// and an address: \
                    udp://127.0.0.1:5514";
        problems.at(node, format!("`{text}` is no syslog listener"), hint);
    }
    parsed
}

/// Names and files of tables.
fn lookups(section: &Section<'_>, base: &Path) -> BTreeMap<String, PathBuf> {
    let mut out = BTreeMap::new();
    for (name, node) in section.named() {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_legal = !name.is_empty() && name.len() <= 64 && name.chars().all(legal);
        match &node.yaml {
            Yaml::Scalar(path) if is_legal => drop(out.insert(name.to_owned(), base.join(path))),
            _ => {
                let text = format!("`{name}` is no name of a table with its file");
                section.problems().at(node, text, "lookups: { hosts: hosts.csv }");
            }
        }
    }
    out
}

fn retention(section: &Section<'_>, default: &Retention) -> Retention {
    // `never` keeps everything: no rule of age.
    let age = |key, default: Option<i64>| match section.text(key).is_some_and(|t| t == "never") {
        true => None,
        false => section.duration_ns(key).or(default),
    };
    let (age_ns, ledger_ns) = (age("age", default.age_ns), age("ledger", default.ledger_ns));
    let mut rules: Vec<RetentionRule> = Vec::new();
    for node in section.items("rules") {
        let problems = section.problems();
        let Some(rule) = retention_rule(node, problems) else { continue };
        match rules.iter().any(|r| r.name == rule.name) || rule.name == "default" {
            true => problems.at(node, format!("`{}` is taken", rule.name), "choose another name"),
            false => rules.push(rule),
        }
    }
    Retention { age_ns, size_bytes: section.size_bytes("size"), rules, ledger_ns }
}

fn retention_rule(node: &Node, problems: &Problems) -> Option<RetentionRule> {
    let section = Section::of(node, "rules", problems);
    let (name, when) = (section.text("name"), section.text("when"));
    let age_ns = section.duration_ns("age");
    if let Some(Err(error)) = when.as_deref().map(store::policy::check_filter) {
        problems.at(section.get("when").unwrap_or(node), error.to_string(), "");
    }
    section.done();
    match (name, when, age_ns) {
        (Some(name), Some(filter), Some(age)) => {
            Some(RetentionRule { name, age_ns: Some(age), bytes: None, filter: Some(filter) })
        }
        _ => {
            let hint = "- { name: noisy, when: 'alcedo.source:noisy', age: 30d }";
            problems.at(node, "a rule of retention needs `name`, `when` and `age`", hint);
            None
        }
    }
}

fn drop_filter(node: &Node, root: &Section<'_>) -> Option<DropFilter> {
    let section = Section::of(node, "drop", root.problems());
    let (name, when) = (section.text("name"), section.text("when"));
    if let Some(text) = &when
        && let Err(error) = filter::search::parse_filter(text, 0)
    {
        let place = section.get("when").unwrap_or(node);
        root.problems().at(place, error.to_string(), "`when` is a search filter");
    }
    section.done();
    match (name, when) {
        (Some(name), Some(when)) => Some(DropFilter { name, when }),
        _ => {
            root.problems().at(node, "a drop filter needs `name` and `when`", "");
            None
        }
    }
}

fn notify(node: &Node, root: &Section<'_>, base: &Path) -> Option<Notify> {
    let section = Section::of(node, "notify", root.problems());
    let hint = "levels: informational, low, medium, high, critical";
    let min_level = section.value("min_level", hint, event::Level::from_name);
    let name = section.text("name");
    let (url, path) = (section.text("url"), section.text("path"));
    let to = match section.text("to").as_deref() {
        Some("terminal") => Some(NotifyTo::Terminal),
        Some("file") => path.map(|p| NotifyTo::File(base.join(p))),
        Some("webhook") => url
            .filter(|u| u.starts_with("http://") || u.starts_with("https://"))
            .map(NotifyTo::Webhook),
        _ => None,
    };
    section.done();
    let Some(to) = to else {
        let hint = "to: terminal | file with `path` | webhook with an http(s) `url`";
        root.problems().at(node, "`notify` needs a destination", hint);
        return None;
    };
    let kind = match &to {
        NotifyTo::Terminal => "terminal",
        NotifyTo::File(_) => "file",
        NotifyTo::Webhook(_) => "webhook",
    };
    let name = name.unwrap_or_else(|| kind.to_owned());
    Some(Notify { name, to, min_level: min_level.unwrap_or(event::Level::Low) })
}

/// Beyond loopback every listener that could carry secrets needs TLS, unless told otherwise.
fn check_listeners(config: &Config, root: &Node, problems: &Problems) {
    let hint = "set `tls:`, listen on 127.0.0.1, or say `listen: {insecure: true}`";
    let refuse = |what: &str, address: SocketAddr| {
        problems.at(root, format!("{what} on {address} without TLS is reachable by others"), hint);
    };
    let plain = config.tls.is_none() && !config.insecure_listen;
    if plain && !config.http.ip().is_loopback() {
        refuse("HTTP", config.http);
    }
    for source in &config.sources {
        match &source.kind {
            SourceKind::Syslog(listens) => {
                for listen in listens {
                    let is_tls = listen.transport.is_tls();
                    let open = !is_tls && !config.insecure_listen;
                    if open && !listen.address.ip().is_loopback() {
                        refuse("syslog", listen.address);
                    }
                    if is_tls && config.tls.is_none() {
                        let hint = "`alcedo certs init` makes a certificate and a key";
                        let what = listen.transport.name();
                        let text = format!("a {what}:// listener needs `tls: {{cert, key}}`");
                        problems.at(root, text, hint);
                    }
                }
            }
            SourceKind::Agent(address) if plain && !address.ip().is_loopback() => {
                refuse("agents", *address);
            }
            SourceKind::Agent(_) | SourceKind::Http | SourceKind::Kafka(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        match parse(text, "alcedo.yaml", Path::new("/x")) {
            Ok(_) => Vec::new(),
            Err(list) => list.iter().map(|p| format!("{}: {}", p.line, p.message)).collect(),
        }
    }

    #[test]
    fn all_problems_are_shown_at_once_with_their_lines() {
        let text = "data_dir: d\nlisen: {}\nsources:\n  fw:\n    type: syslog\n    listen: udp:5514\n    \
                    dedup: 5s\nretention:\n  age: forever\ndrop:\n  - name: x\n    when: 'a:('\n";
        let found = problems(text);
        assert_eq!(found.len(), 5, "{found:#?}");
        assert!(found[0].starts_with("2: `lisen`"));
        assert!(found[1].starts_with("6: `udp:5514`"));
        assert!(found[2].starts_with("7: `dedup`"));
        assert!(found[3].starts_with("9: `forever`"));
        assert!(found[4].starts_with("12: "));
    }

    #[test]
    fn beyond_loopback_tls_is_required() {
        assert_eq!(problems("listen: {http: '0.0.0.0:8080'}\n").len(), 1);
        assert!(problems("listen: {http: '0.0.0.0:8080', insecure: true}\n").is_empty());
        assert!(problems("listen: {http: '0.0.0.0:8080'}\ntls: {cert: c, key: k}\n").is_empty());
        for scheme in ["tls", "relps"] {
            let listen =
                format!("sources:\n  a: {{type: syslog, listen: '{scheme}://0.0.0.0:6514'}}\n");
            assert!(problems(&listen)[0].contains(scheme));
            assert!(problems(&format!("{listen}tls: {{cert: c, key: k}}\n")).is_empty());
        }
        for scheme in ["udp", "tcp", "relp"] {
            let listen =
                format!("sources:\n  a: {{type: syslog, listen: '{scheme}://0.0.0.0:2514'}}\n");
            assert_eq!(problems(&format!("{listen}tls: {{cert: c, key: k}}\n")).len(), 1);
            assert!(problems(&format!("{listen}listen: {{insecure: true}}\n")).is_empty());
        }
    }

    #[test]
    fn every_transport_is_named_in_the_hint() {
        let text = "sources:\n  a: {type: syslog, listen: 'beep://127.0.0.1:601'}\n";
        let hint = parse(text, "f", Path::new("/x")).unwrap_err()[0].hint.clone();
        for (transport, name) in Transport::ALL {
            assert!(hint.contains(&format!("{name}://")), "{hint}");
            assert_eq!(transport.name(), *name);
        }
    }

    #[test]
    fn a_small_site_reads_as_meant() {
        let text = "data_dir: /var/lib/alcedo\nsources:\n  fw: {type: syslog, listen: ['udp://127.0.0.1:1', \
                    'tcp://127.0.0.1:2'], zone: '+02:00', silent_after: 2m, dedupe: 10s}\n  \
                    api: {type: http, multiline: {starts: '^\\d{4}-', wait: 5s}}\n\
                    rules: [rules, more]\nnotify:\n  - {to: webhook, url: 'http://127.0.0.1:1/x', min_level: high}\n\
                    retention: {age: 30d, size: 10GiB}\nlimits: {memory: 2GiB, hot_rows: 64MiB}\n";
        let config = parse(text, "f", Path::new("/etc/alcedo")).unwrap();
        assert_eq!(config.rules, [PathBuf::from("/etc/alcedo/rules"), "/etc/alcedo/more".into()]);
        assert_eq!(config.sources[0].zone, shape::Zone::Fixed(7200));
        assert_eq!(config.sources[0].silent_after_ns, Some(120_000_000_000));
        assert_eq!(config.sources[1].multiline.as_ref().unwrap().wait_ns, 5_000_000_000);
        assert_eq!(config.notify[0].min_level, event::Level::High);
        assert_eq!(config.retention.size_bytes, Some(10 << 30));
        assert_eq!(
            (config.memory_bytes_max, config.hot_bytes_max),
            (Some(2 << 30), Some(64 << 20))
        );
    }

    #[test]
    fn lines_are_joined_by_one_rule() {
        let of = |setting: &str| {
            problems(&format!("sources:\n  a: {{type: http, multiline: {{{setting}}}}}\n")).len()
        };
        assert_eq!([of("json: true"), of("continues: '^\\s'"), of("starts: a, wait: 30s")], [0; 3]);
        for wrong in
            ["", "json: true, starts: a", "wait: 5s", "starts: '('", "json: true, wait: 31s"]
        {
            assert!(of(wrong) > 0, "{wrong}");
        }
    }

    #[test]
    fn rules_of_retention_are_checked_when_they_are_read() {
        let text = "retention:\n  age: never\n  rules:\n    - {name: noisy, when: 'alcedo.source:noisy', age: 30d}\n";
        let config = parse(text, "f", Path::new("/x")).unwrap();
        assert_eq!((config.retention.age_ns, config.retention.ledger_ns), (None, None));
        assert_eq!(config.retention.rules[0].age_ns, Some(30 * 86_400_000_000_000));
        let found = problems(
            "retention:\n  rules:\n    - {name: a, when: '@timestamp>now-1h', age: 1d}\n    - {name: b, when: 'x'}\n    \
             - {name: c, when: 'x', age: 1d}\n    - {name: c, when: 'y', age: 1d}\n",
        );
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(
            found[0].starts_with("3: ")
                && found[1].starts_with("4: ")
                && found[2].starts_with("6: ")
        );
    }

    #[test]
    fn a_far_tier_reads_as_meant_and_its_mistakes_are_told() {
        let text = "tier:\n  to: file:///tmp/alcedo-far\n  hot: 30d\n  hot_size: 200GiB\n  cache: 16MiB\n  \
                    upload_rate: 2MiB\n  timeout: 10s\n";
        let tier = parse(text, "f", Path::new("/x")).unwrap().tier.unwrap();
        assert_eq!((tier.hot_age_ns, tier.hot_bytes), (30 * 86_400_000_000_000, Some(200 << 30)));
        assert_eq!((tier.cache_bytes, tier.upload_bytes_per_s), (16 << 20, Some(2 << 20)));
        assert_eq!(tier.request_timeout.as_secs(), 10);
        assert!(parse("data_dir: d", "f", Path::new("/x")).unwrap().tier.is_none());
        for wrong in [
            "tier: {hot: 30d}",
            "tier: {to: 'ftp://x/y'}",
            "tier: {to: 'file://x'}",
            "tier: {to: '/srv'}",
            "data_dir: /x/d\ntier: {to: 'file:///x/d/store/far'}",
            "data_dir: /x/d\ntier: {to: 'file:///x/d'}",
            "tier: {to: 'file:///tmp/far', region: x}",
        ] {
            assert_eq!(problems(wrong).len(), 1, "{wrong}");
        }
        let old = "tier: {to: 'file:///tmp/alcedo-far', hot: 90d}\nretention: {age: 30d}";
        assert!(problems(old)[0].contains("30 days"), "nothing would ever move");
    }

    #[test]
    fn a_place_of_backups_reads_as_meant_and_its_mistakes_are_told() {
        let read = |text: &str| parse(text, "f", Path::new("/x")).unwrap().backup;
        let shown = |text: &str| read(text).map(|place| place.to_string());
        assert_eq!(shown("backup: {to: copies}"), Some("/x/copies".into()));
        assert_eq!(shown("backup: {to: 'file:///srv/copies'}"), Some("/srv/copies".into()));
        assert_eq!(shown("data_dir: d"), None);
        for (wrong, said) in [
            ("backup: {endpoint: 'https://s3.example'}", "needs `to`"),
            ("backup: {to: '', region: x}", "needs `to`"),
            ("backup: {}", "needs `to`"),
            (
                "backup: {to: copies, endpoint: 'https://s3.example'}",
                "`endpoint` is about a bucket",
            ),
            ("backup: {to: 'file:///srv/copies', timeout: 9s}", "`timeout` is about a bucket"),
            ("backup: {to: 'ftp://x/y'}", "not known"),
            ("backup: {to: copies, colour: red}", "colour"),
        ] {
            let found = problems(wrong);
            assert!(found.len() == 1 && found[0].contains(said), "{wrong}: {found:?}");
        }
    }

    #[test]
    fn backups_read_as_meant_and_their_mistakes_are_told() {
        let text = "backup: {to: copies, every: 12h, keep: 14}\n";
        let config = parse(text, "f", Path::new("/x")).unwrap();
        assert_eq!(config.backup.map(|place| place.to_string()).unwrap(), "/x/copies");
        let backups = Backups { every_ns: Some(12 * 3_600_000_000_000), keep: Some(14) };
        assert_eq!(config.backups, backups);
        for wrong in [
            "backup: {every: 1d}",
            "backup: {to: copies, every: 1m}",
            "backup: {to: copies, every: 1d, keep: 0}",
            "backup: {to: copies, every: 1d, keep: all}",
            "backup: {to: copies, keep: 3}",
        ] {
            assert_eq!(problems(wrong).len(), 1, "{wrong}: {:?}", problems(wrong));
        }
    }

    #[test]
    fn settings_of_detection_read_as_meant_and_every_mistake_is_told() {
        let text = "detection:\n  pipelines: sysmon.yml\n  placeholders: {Admins: [adm*, root], Dc: dc-1}\n  \
                    filters: excluded\n  neq_needs_field: true\n  correlation:\n    lateness: 2m\n    \
                    hold: 30m\n    bytes_per_rule: 8MiB\n    remembered_values: 512000\n";
        let detection = parse(text, "f", Path::new("/etc/alcedo")).unwrap().detection;
        assert_eq!(detection.pipelines, [PathBuf::from("/etc/alcedo/sysmon.yml")]);
        assert_eq!(detection.sigma.placeholders["Admins"], ["adm*", "root"]);
        assert_eq!(detection.sigma.placeholders["Dc"], ["dc-1"]);
        assert_eq!(detection.sigma.filters, detect::FilterReading::Excluded);
        assert!(detection.sigma.neq_needs_field && !detection.sigma.null_includes_empty);
        let wanted = detect::correlate::Settings {
            lateness_ns: 120_000_000_000,
            hold_max_ns: 1_800_000_000_000,
            bytes_per_rule: 8 << 20,
            seen_per_shard_max: 2_000,
        };
        assert_eq!(detection.correlation, wanted);
        let text = "detection:\n  filters: both\n  placeholders: [x]\n  correlation:\n    lateness: 3h\n    \
                    bytes_per_rule: 1KiB\n    remembered_values: few\n  pipeline: x\n";
        let lines: Vec<String> =
            problems(text).iter().map(|p| p.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(lines, ["2", "3", "5", "6", "7", "8"]);
    }
}
