//! Verbs about what is stored: asking in SQL, taking it out, keeping it, letting it go.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `alcedo sql`
#[derive(Args, Debug)]
pub struct Sql {
    /// A SELECT over the table `events`, `-` to read it from standard input
    pub statement: String,
    /// Only events of this time back to now, such as 24h, or since a time
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only events before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Most rows (0 = 100,000)
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub limit: u64,
}

/// Forms of an export.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON object per line.
    Ndjson,
    /// RFC 4180, with a header.
    Csv,
    /// Apache Parquet, whole events.
    Parquet,
}

/// `alcedo export`
#[derive(Args, Debug)]
pub struct Export {
    /// Filter and pipes
    #[arg(default_value = "*")]
    pub query: String,
    /// Folder to write to; new or empty
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Form of the files
    #[arg(long, value_enum, default_value_t = Form::Ndjson)]
    pub format: Form,
    /// Only events of this time back to now, such as 24h, or since a time
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only events before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Read the data folder itself, whether or not a server runs on it
    #[arg(long)]
    pub offline: bool,
}

/// `alcedo searches ...`
#[derive(Subcommand, Debug)]
pub enum Searches {
    /// Saved searches by name
    List,
    /// Give a search a name, in place of what has it
    Save {
        /// Its name
        name: String,
        /// Filter and pipes
        query: String,
        /// Only events of this time back to when it runs, such as 24h, or since a time
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only events before this time
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// What it is for
        #[arg(long, default_value = "", value_name = "TEXT")]
        note: String,
        /// Raise an alert of this severity for each new event that it finds; for a filter without pipes
        #[arg(long, value_name = "LEVEL")]
        alert: Option<String>,
        /// With --alert, for pipes that give a table: run so often over what has come since, such as 5m; an
        /// alert for each row
        #[arg(long, value_name = "TIME", requires = "alert")]
        every: Option<String>,
    },
    /// Search with a saved search
    Run(RunSaved),
    /// Follow a saved search that has no pipes
    Tail {
        /// Its name
        name: String,
    },
    /// Let a saved search raise alerts for what comes, or no longer; needs the role engineer
    Alert {
        /// Its name
        name: String,
        /// Severity of the alerts: informational, low, medium, high, critical; or off
        #[arg(value_name = "LEVEL")]
        level: String,
        /// For pipes that give a table: run so often over what has come since, such as 5m
        #[arg(long, value_name = "TIME")]
        every: Option<String>,
    },
    /// Remove a saved search
    Delete {
        /// Its name
        name: String,
    },
}

/// `alcedo searches run`
#[derive(Args, Debug)]
pub struct RunSaved {
    /// Its name
    pub name: String,
    /// Further pipes: '| stats count() by user.name'
    #[arg(default_value = "")]
    pub pipes: String,
    /// Instead of its own: events of this time back to now, such as 24h, or since a time
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Instead of its own: only events before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Most rows (0 = 100,000)
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub limit: u64,
}

/// `alcedo backup ...`
#[derive(Subcommand, Debug)]
pub enum Backup {
    /// Add a backup: the running server's, or the data folder's when none runs
    Create {
        /// Folder or bucket of the backups; default: `backup: {to: ...}` of the configuration
        #[arg(long, value_name = "PLACE")]
        to: Option<String>,
    },
    /// Read every file of a backup and compare it with what was written
    Verify(BackupOf),
    /// Remove old backups, and what none of those that stay needs
    Prune {
        /// So many of the newest stay, of each installation that shares the place
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        keep: u32,
        /// Folder or bucket of the backups; default: that of the configuration or the running server
        #[arg(long, value_name = "PLACE")]
        from: Option<String>,
        /// Say what would go, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Names of the backups, oldest first
    List {
        /// Folder or bucket of the backups; default: that of the configuration
        #[arg(long, value_name = "PLACE")]
        from: Option<String>,
    },
}

/// Which backup.
#[derive(Args, Debug)]
pub struct BackupOf {
    /// Folder or bucket of the backups; default: that of the configuration
    #[arg(long, value_name = "PLACE")]
    pub from: Option<String>,
    /// Its name; default: the newest
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// `alcedo verify`
#[derive(Args, Debug)]
pub struct VerifyWhat {
    /// Read files of the far tier as well; without it their sizes are compared
    #[arg(long)]
    pub far: bool,
}

/// `alcedo retention`
#[derive(Args, Debug)]
pub struct Retention {
    /// What the rules of the configuration would remove now; nothing is changed
    #[arg(long)]
    pub dry_run: bool,
}

/// `alcedo hold ...`
#[derive(Subcommand, Debug)]
pub enum HoldVerb {
    /// Keep all events that a filter matches, whatever retention and deletions say
    Add {
        /// Filter
        filter: String,
        /// Why: a case number
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Only events since this time
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only events before this time
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
    /// Holds that are set
    List,
    /// End a hold
    Release {
        /// Its number
        id: u64,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// `alcedo reparse`
#[derive(Args, Debug)]
pub struct Reparse {
    /// Filter of the events to shape anew: tags:parse_failed
    #[arg(long = "where", value_name = "FILTER", default_value = "*")]
    pub filter: String,
    /// Only events of this time back to now, such as 24h, or since a time
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only events before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Why: which pack was mended
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    pub reason: Option<String>,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `alcedo delete`
#[derive(Args, Debug)]
pub struct Delete {
    /// Filter of the events to delete
    pub filter: String,
    /// Only events received before this time; default: now
    #[arg(long, value_name = "TIME")]
    pub before: Option<String>,
    /// Why: a case number
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    pub reason: Option<String>,
    /// Say how many events it would be, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `alcedo store`
#[derive(Subcommand, Debug, Clone, Copy)]
pub enum StoreVerb {
    /// Join small files, as the server does when their hour is over
    Join,
    /// Make indexes anew that are missing or damaged
    Reindex,
    /// Move old files to the far tier of the configuration, as the server does
    Tier {
        /// Say what would move, and move nothing; also while a server runs
        #[arg(long)]
        dry_run: bool,
    },
}
