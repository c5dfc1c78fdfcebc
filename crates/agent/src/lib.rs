//! The small binary: follows log files of this host and ships them to a server.
//!
//! ```text
//! command line --+
//!                +--> Plan --> io::tail --> io::agent_client --TLS--> server
//! settings.yaml -+             (checkpoints)  (sent until acked)
//! ```
//!
//! Invariants:
//! - A line counts as shipped only after the server said that it is durable.
//! - The token is never sent without TLS, except over loopback when `--plain` asks for it.
//! - All that is wrong with the settings is said before anything is sent.
//!
//! Not here: how files are followed and what goes over the wire (crate `io`), parsing, rules.
#![forbid(unsafe_code)]

mod plan;
mod settings;

pub use plan::Plan;
pub use settings::{Settings, SettingsError};

use io::agent_client::{self, ClientError};
use io::tail::{self, TailError, Tailer};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// Options of the agent. The names keep clear of the global options of the `alcedo` binary, which
/// has these under its verb `agent`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Args {
    /// Server to ship to
    #[arg(long, value_name = "HOST:PORT")]
    pub to: Option<String>,
    /// File that holds the agent's token; without, the variable ALCEDO_TOKEN is used
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Authority of the server's certificate (PEM); default: the system's authorities
    #[arg(long, value_name = "FILE")]
    pub authority: Option<PathBuf>,
    /// Speak without TLS; only to a server on this machine
    #[arg(long)]
    pub plain: bool,
    /// Folder for what is remembered of each file
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Name of this agent; default: the host's name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Settings file (YAML) with the same names; options given here win
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Files to follow; `*` in the last part of a path stands for any text
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Options or settings are not valid.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// TLS material is not usable.
    #[error(transparent)]
    Tls(#[from] io::tls::TlsError),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] TailError),
    /// Another agent uses the state folder.
    #[error("{}: another agent uses this state folder; give each agent its own with --state", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// Shipping ended.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl AgentError {
    /// Whether options, settings or TLS files have to be corrected.
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Settings(_) | Self::Tls(_) | Self::Client(ClientError::Server(_)))
    }
}

/// Ships files until `stop`, then waits up to ten seconds for the last acks.
///
/// # Errors
/// [`AgentError`]. A server that cannot be reached is not one: that is retried for ever.
pub async fn run(args: Args, stop: CancellationToken) -> Result<(), AgentError> {
    ship(Plan::of(args)?, agent_client::SharedStatus::default(), stop).await
}

/// As [`run`], from a finished plan; `status` shows how it goes.
///
/// # Errors
/// As [`run`].
pub async fn ship(
    plan: Plan,
    status: agent_client::SharedStatus,
    stop: CancellationToken,
) -> Result<(), AgentError> {
    let tls = if plan.plain {
        None
    } else {
        Some(io::tls::client_config(plan.authority.as_deref(), None)?)
    };
    let config = tail::Config::new(&plan.name, &plan.state, plan.paths.clone());
    let _lock = lock(&plan)?;
    let tailer = Tailer::open(config)?;
    let mut config = agent_client::Config::new(&plan.to, tls, &plan.token);
    config.agent.clone_from(&plan.name);
    config.watch = plan.folders();
    tracing::info!(to = plan.to, name = plan.name, paths = plan.paths.len(), "shipping");
    Ok(agent_client::run(tailer, config, status, stop).await?)
}

/// Two agents on one state folder would overwrite each other's checkpoints.
fn lock(plan: &Plan) -> Result<std::fs::File, AgentError> {
    let path = plan.state.join("LOCK");
    let error = |source| TailError::State { path: path.clone(), source };
    std::fs::create_dir_all(&plan.state).map_err(error)?;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(&path).map_err(error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(AgentError::InUse { dir: plan.state.clone() })
        }
        Err(std::fs::TryLockError::Error(source)) => Err(error(source).into()),
    }
}
