//! The command line: every verb, its options and its help.

pub mod store;

use self::store::{
    Backup, BackupOf, Delete, Export, HoldVerb, Reparse, Retention, Searches, Sql, StoreVerb,
    VerifyWhat,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Real-time security log streaming: durable intake, one shape, every Sigma rule, search.
#[derive(Parser, Debug)]
#[command(name = "alcedo", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// Options that every verb has.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options that every verb has.
#[derive(Args, Debug, Clone, Default)]
pub struct Global {
    /// Configuration file (YAML)
    #[arg(short = 'c', long, global = true, value_name = "FILE", env = "ALCEDO_CONFIG")]
    pub config: Option<PathBuf>,
    /// Folder of all state (overrides the configuration)
    #[arg(long, global = true, value_name = "DIR", env = "ALCEDO_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address of a running server, for verbs that ask one
    #[arg(long, global = true, value_name = "URL", env = "ALCEDO_SERVER")]
    pub server: Option<String>,
    /// Token for a running server
    #[arg(long, global = true, value_name = "TOKEN", env = "ALCEDO_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Authority of a server's certificate (PEM)
    #[arg(long, global = true, value_name = "FILE", env = "ALCEDO_CA")]
    pub ca: Option<PathBuf>,
    /// Output form; default: table on a terminal, ndjson otherwise
    #[arg(short = 'o', long, global = true, value_enum)]
    pub output: Option<Output>,
    /// Say nothing on stderr but errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// Output forms.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// One JSON object per line.
    Ndjson,
    /// One JSON document.
    Json,
    /// Columns for people.
    Table,
}

/// The verbs.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Play an attack live on this machine and show the alerts
    Demo(Demo),
    /// Run the server
    Run(Run),
    /// Ship files of this host to a server
    Agent(Box<agent::Args>),
    /// Check configuration and rules; all problems at once
    Check(Check),
    /// Print the event each record becomes
    Parse(ParseFiles),
    /// Packs: list, test, new
    #[command(subcommand)]
    Packs(Packs),
    /// Print the pseudonym that takes a value's place, to search for it
    Redact(Redact),
    /// Run Sigma rules over log files without a server, or over what is stored
    Hunt(Hunt),
    /// Search stored and live events
    Search(Search),
    /// Searches with a name: list, save, run, tail, alert, delete
    #[command(subcommand)]
    Searches(Searches),
    /// Ask in SQL
    Sql(Sql),
    /// Write all results of a search to files, with a manifest
    Export(Export),
    /// Follow events as they arrive
    Tail(Tail),
    /// Show the events around an event or an alert
    Around(Around),
    /// List and work alerts
    #[command(subcommand)]
    Alerts(Alerts),
    /// Rules: list, check, test, new, fields, coverage, cost, navigator, import, explain, reload
    #[command(subcommand)]
    Rules(Rules),
    /// Sources and their health
    Sources,
    /// Where alerts go: list, and drop what is not configured any more
    #[command(subcommand)]
    Destinations(Destinations),
    /// Create, list and revoke tokens
    #[command(subcommand)]
    Tokens(Tokens),
    /// Shape stored events anew with the packs of now
    Reparse(Reparse),
    /// Rules of retention: what they remove, when the disk will be full
    Retention(Retention),
    /// Legal holds: add, list, release
    #[command(subcommand)]
    Hold(HoldVerb),
    /// Delete the events that a filter matches
    Delete(Delete),
    /// Backups: create, verify, list, prune
    #[command(subcommand)]
    Backup(Backup),
    /// Make a data folder of a backup
    Restore(BackupOf),
    /// Check the store and the sealed journal offline
    Verify(VerifyWhat),
    /// Work on the store's files offline: join, reindex, tier
    #[command(subcommand)]
    Store(StoreVerb),
    /// Look into the journal offline
    #[command(subcommand)]
    Journal(Journal),
    /// Make certificates
    #[command(subcommand)]
    Certs(Certs),
}

/// `alcedo demo`
#[derive(Args, Debug, Clone)]
pub struct Demo {
    /// Keep the data in this folder instead of a temporary one
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Benign events per second around the attack
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub rate: u32,
    /// Stop by itself after so many seconds (0 = play on until Ctrl-C)
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub stop_after: u64,
    /// HTTP port on 127.0.0.1 (0 = any free one)
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub port: u16,
}

/// `alcedo run`
#[derive(Args, Debug, Clone, Default)]
pub struct Run {
    /// Further folders or files of Sigma rules
    #[arg(long, value_name = "PATH")]
    pub rules: Vec<PathBuf>,
}

/// `alcedo check`
#[derive(Args, Debug)]
pub struct Check {
    /// Rule folders or files to check beside those of the configuration
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// How files are cut into records.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Each line is a record.
    Lines,
    /// Each file is one record.
    Whole,
    /// NDJSON whose `message` string is the record.
    JsonMessage,
}

/// `alcedo parse`
#[derive(Args, Debug)]
pub struct ParseFiles {
    /// Files, `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How files are cut into records
    #[arg(long, value_enum, default_value_t = Framing::Lines)]
    pub framing: Framing,
    /// Use this pack instead of telling the product from each record
    #[arg(long, value_name = "NAME")]
    pub pack: Option<String>,
    /// Folder of packs beside the built-in ones; default: that of the configuration
    #[arg(long, value_name = "DIR")]
    pub packs: Option<PathBuf>,
    /// Say which pack takes each record and why, and which step wrote what from which bytes
    #[arg(long)]
    pub explain: bool,
}

/// `alcedo redact`
#[derive(Args, Debug)]
pub struct Redact {
    /// Values, as somebody knows them; `-` reads one a line from standard input
    #[arg(required = true, value_name = "VALUE")]
    pub values: Vec<String>,
}

/// `alcedo packs ...`
#[derive(Subcommand, Debug)]
pub enum Packs {
    /// Packs in the order in which they are asked
    List {
        /// Folder of packs beside the built-in ones; default: that of the configuration
        #[arg(long, value_name = "DIR")]
        packs: Option<PathBuf>,
    },
    /// Compare what the samples of packs give with the events that are expected
    Test {
        /// Folders of packs, or packs
        #[arg(required = true, value_name = "DIR")]
        folders: Vec<PathBuf>,
        /// Write what the samples give as what is expected
        #[arg(long)]
        accept: bool,
    },
    /// Make a new pack with a sample
    New {
        /// Its name: lower-case letters, digits, hyphens
        name: String,
        /// Folder of packs to make it in; default: that of the configuration
        #[arg(long, value_name = "DIR")]
        packs: Option<PathBuf>,
    },
}

/// `alcedo hunt`
#[derive(Args, Debug)]
pub struct Hunt {
    /// A rule file or a folder of rules; may be given several times
    #[arg(long, required = true, value_name = "PATH")]
    pub rules: Vec<PathBuf>,
    /// How rules are read.
    #[command(flatten)]
    pub pipelines: Pipelines,
    /// Log files: NDJSON, JSON, EVTX, text; gzip and zstd are understood
    #[arg(required_unless_present = "since", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Instead of files: stored events of this time back to now, such as 30d, or since a time
    #[arg(long, value_name = "TIME", conflicts_with = "files")]
    pub since: Option<String>,
    /// With --since: only events before this time
    #[arg(long, value_name = "TIME", requires = "since")]
    pub until: Option<String>,
    /// With --since: read the data folder itself, whether or not a server runs on it
    #[arg(long, requires = "since")]
    pub offline: bool,
}

/// `alcedo search`
#[derive(Args, Debug)]
pub struct Search {
    /// Filter and pipes, for example: source.ip:10.0.0.0/8 | stats count() by user.name
    #[arg(default_value = "*")]
    pub query: String,
    /// Only events of this time back to now, such as 24h, or since a time
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only events before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Most rows (0 = all)
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub limit: u64,
}

/// `alcedo tail`
#[derive(Args, Debug)]
pub struct Tail {
    /// Filter
    #[arg(default_value = "*")]
    pub query: String,
}

/// `alcedo around`
#[derive(Args, Debug)]
pub struct Around {
    /// Id of an event (`0-123-0`) or of an alert
    pub id: String,
    /// Minutes before and after
    #[arg(long, default_value_t = 15, value_name = "N")]
    pub minutes: u32,
}

/// `alcedo alerts ...`
#[derive(Subcommand, Debug)]
pub enum Alerts {
    /// The queue, newest first
    List {
        /// open, new, acknowledged, closed or all
        #[arg(long, default_value = "open")]
        state: String,
        /// Lowest level
        #[arg(long)]
        level: Option<String>,
        /// Most rows
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
    /// One alert with its events and history
    Show {
        /// Alert id
        id: String,
    },
    /// Why an alert fired
    Why {
        /// Alert id
        id: String,
    },
    /// Take an alert into work
    Ack {
        /// Alert id
        id: String,
    },
    /// Close an alert
    Close {
        /// Alert id
        id: String,
        /// true_positive, benign_true_positive or false_positive
        #[arg(long)]
        disposition: String,
        /// Reason
        #[arg(long)]
        why: Option<String>,
    },
    /// Open a closed alert again
    Reopen {
        /// Alert id
        id: String,
    },
}

/// `alcedo destinations ...`
#[derive(Subcommand, Debug)]
pub enum Destinations {
    /// All destinations, how they do, and how far they are behind
    List,
    /// Let go of one that is not configured any more: alerts it did not get are not sent to it
    Drop {
        /// Its name
        name: String,
    },
}

/// `alcedo rules ...`
#[derive(Subcommand, Debug)]
pub enum Rules {
    /// Rules with their state: of files, or of the running server
    List(RulesList),
    /// Check rule files without a server
    Check {
        /// Which rules
        #[command(flatten)]
        files: RuleFiles,
    },
    /// Run the tests that stand beside rules, and SigmaHQ's `regression_data`
    Test {
        /// Which rules
        #[command(flatten)]
        files: RuleFiles,
        /// Write the results as JUnit XML
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
    },
    /// Print a new rule to start from, with tests
    New {
        /// Its title
        title: String,
        /// What it is about: product/category/service, - for none
        #[arg(long, default_value = "windows/process_creation/-", value_name = "P/C/S")]
        logsource: String,
    },
    /// Fields that rules read, and which packs answer to them
    Fields {
        /// Which rules
        #[command(flatten)]
        files: RuleFiles,
    },
    /// Which rules can fire here: what feeds them, which fields are not known there
    Coverage {
        /// Which rules
        #[command(flatten)]
        files: RuleFiles,
        /// Count only packs that sources of the running server use
        #[arg(long)]
        live: bool,
    },
    /// A layer for the ATT&CK Navigator
    Navigator {
        /// Which rules
        #[command(flatten)]
        files: RuleFiles,
        /// Numbers of techniques: of ATT&CK 18 (T1562) or of 19 (T1685)
        #[arg(long, default_value_t = 19, value_parser = clap::value_parser!(u8).range(18..=19))]
        attack: u8,
    },
    /// Copy rules of a folder or an archive (zip, tar) into a rule folder
    Import(RulesImport),
    /// What rules cost on the running server, the most expensive first
    Cost(RulesCost),
    /// Why a rule matches an event, or does not; for a correlation: its groups in a file
    Explain(RulesExplain),
    /// Let the running server read its rules again
    Reload,
}

/// Processing pipelines in the form of pySigma.
#[derive(Args, Debug, Clone, Default)]
pub struct Pipelines {
    /// A processing pipeline beside those of the configuration; may be given several times
    #[arg(long, value_name = "FILE")]
    pub pipeline: Vec<PathBuf>,
}

/// Rules of files.
#[derive(Args, Debug, Clone)]
pub struct RuleFiles {
    /// Rule folders or files
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// How they are read.
    #[command(flatten)]
    pub pipelines: Pipelines,
}

/// `alcedo rules cost`
#[derive(Args, Debug)]
pub struct RulesCost {
    /// Only this many rules (0 = all)
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub limit: usize,
    /// Only rules that cost more than they may
    #[arg(long)]
    pub over_budget: bool,
}

/// `alcedo rules explain`
#[derive(Args, Debug)]
pub struct RulesExplain {
    /// Id or name of a rule, or a rule file
    pub rule: String,
    /// A file with the record, `FILE:NUMBER`, `-`, or the id of an event on the server; for a
    /// correlation a file with all its records
    pub event: String,
    /// Where rules are looked for; default: those of the configuration
    #[arg(long, value_name = "PATH")]
    pub rules: Vec<PathBuf>,
    /// How they are read.
    #[command(flatten)]
    pub pipelines: Pipelines,
}

/// `alcedo rules list`
#[derive(Args, Debug)]
pub struct RulesList {
    /// Rule folders or files; without any: the rules of the running server
    pub paths: Vec<PathBuf>,
    /// How they are read.
    #[command(flatten)]
    pub pipelines: Pipelines,
    /// Only this state: live, shadow, paused, not_covered or failed
    #[arg(long)]
    pub state: Option<String>,
    /// Only this level and above
    #[arg(long)]
    pub level: Option<String>,
    /// Only rules about this product, category or service
    #[arg(long, value_name = "NAME")]
    pub logsource: Option<String>,
    /// Only rules with a tag that begins so, such as attack.t1059
    #[arg(long)]
    pub tag: Option<String>,
}

/// `alcedo rules import`
#[derive(Args, Debug)]
pub struct RulesImport {
    /// A folder, or a .zip, .tar, .tar.gz or .tar.zst
    pub from: PathBuf,
    /// Rule folder to copy into
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Which rules: core, core+, core++, et (emerging threats), th (threat hunting) or all
    #[arg(long, default_value = "all", value_name = "NAME")]
    pub pack: String,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `alcedo tokens ...`
#[derive(Subcommand, Debug)]
pub enum Tokens {
    /// Make a token; it is shown once
    Create {
        /// A name to know it by
        #[arg(long)]
        name: String,
        /// admin, analyst or ingest
        #[arg(long)]
        role: String,
        /// Sources it may write to (ingest only); default: http
        #[arg(long)]
        source: Vec<String>,
        /// Valid so long, such as 90d; default: no end
        #[arg(long)]
        expires_in: Option<String>,
    },
    /// All tokens, without their secrets
    List,
    /// End a token's life
    Revoke {
        /// Token id
        id: String,
    },
}

/// `alcedo journal ...`
#[derive(Subcommand, Debug)]
pub enum Journal {
    /// Check every segment of both streams
    Fsck,
    /// Print records as NDJSON
    Dump {
        /// First offset
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Last offset
        #[arg(long)]
        to: Option<u64>,
        /// data or ledger
        #[arg(long, default_value = "data")]
        stream: String,
    },
    /// Print whole records with their exact bytes as NDJSON, and what is missing between them
    Export {
        /// First offset
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Last offset
        #[arg(long)]
        to: Option<u64>,
        /// data or ledger
        #[arg(long, default_value = "data")]
        stream: String,
    },
    /// Copy all that can still be read of a damaged stream to a new folder
    Salvage {
        /// Folder to make; a stream can be opened there
        #[arg(value_name = "DIR")]
        out: PathBuf,
        /// data or ledger
        #[arg(long, default_value = "data")]
        stream: String,
    },
}

/// `alcedo certs ...`
#[derive(Subcommand, Debug)]
pub enum Certs {
    /// Make an authority and a server certificate
    Init {
        /// Folder to write ca.pem, cert.pem and key.pem to
        #[arg(long, default_value = "tls")]
        out: PathBuf,
        /// Host names and addresses of the server
        #[arg(long, value_name = "NAME", default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned()])]
        host: Vec<String>,
    },
}
