//! What the agent will do: command line over settings file over defaults, complete and checked.

use crate::Args;
use crate::settings::{Settings, SettingsError, read_text};
use std::path::{Path, PathBuf};

/// Variable that holds the token when no file is named.
const TOKEN_VARIABLE: &str = "ALCEDO_TOKEN";

/// Everything [`crate::ship`] needs.
#[derive(Clone, PartialEq, Eq)]
pub struct Plan {
    /// Server, `HOST:PORT`.
    pub to: String,
    /// The token.
    pub token: String,
    /// Authority of the server's certificate (PEM); the system's when `None`.
    pub authority: Option<PathBuf>,
    /// No TLS; loopback only.
    pub plain: bool,
    /// Folder for what is remembered.
    pub state: PathBuf,
    /// Name of this agent.
    pub name: String,
    /// Files to follow.
    pub paths: Vec<PathBuf>,
}

/// All but the token.
impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan")
            .field("to", &self.to)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Plan {
    /// Reads the settings and token files the arguments name, and fills in defaults.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn of(args: Args) -> Result<Self, SettingsError> {
        Self::with_token(args, std::env::var(TOKEN_VARIABLE).ok())
    }

    fn with_token(args: Args, variable: Option<String>) -> Result<Self, SettingsError> {
        let wrong = |text: &str| SettingsError::Plan(text.into());
        let settings = match &args.settings {
            Some(file) => Settings::read(file)?,
            None => Settings::default(),
        };
        let to = args.to.or(settings.to);
        let to = to.ok_or_else(|| wrong("no server named: give --to HOST:PORT"))?;
        let paths = if args.paths.is_empty() { settings.paths } else { args.paths };
        if paths.is_empty() {
            return Err(wrong("no files named: give the paths to follow"));
        }
        let authority = args.authority.or(settings.authority);
        let plain = args.plain || settings.plain;
        if plain && authority.is_some() {
            return Err(wrong(
                "plain and authority exclude each other: without TLS nothing is checked",
            ));
        }
        let token = token(args.token_file.or(settings.token_file).as_deref(), variable)?;
        let state = args.state.or(settings.state).or_else(default_state);
        let state = state.ok_or_else(|| wrong("no folder for the state: give --state DIR"))?;
        let name = args.name.or(settings.name).unwrap_or_else(host_name);
        Ok(Self { to, token, authority, plain, state, name, paths })
    }

    /// The folders the paths lie in, each once.
    pub fn folders(&self) -> Vec<PathBuf> {
        let folder = |p: &PathBuf| match p.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let mut folders: Vec<_> = self.paths.iter().map(folder).collect();
        folders.sort();
        folders.dedup();
        folders
    }
}

fn token(file: Option<&Path>, variable: Option<String>) -> Result<String, SettingsError> {
    let text = match file {
        Some(file) => {
            warn_if_open(file);
            read_text(file)?
        }
        None => variable.unwrap_or_default(),
    };
    let token = text.trim();
    if token.is_empty() {
        let text = format!("no token: give --token-file FILE or set {TOKEN_VARIABLE}");
        return Err(SettingsError::Plan(text));
    }
    Ok(token.to_owned())
}

/// A secret that everybody on the host can read still works, but its owner should know.
fn warn_if_open(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(file).map_or(0, |m| m.permissions().mode());
    if mode & 0o004 != 0 {
        tracing::warn!(file = %file.display(), "every user can read the token; chmod 600 it");
    }
}

/// Of a service manager's choosing, else of the user's.
fn default_state() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(given) = folder("STATE_DIRECTORY") {
        return Some(given);
    }
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")));
    Some(state?.join("alcedo-agent"))
}

fn host_name() -> String {
    let read = |path| std::fs::read_to_string(path).ok();
    let name = read("/proc/sys/kernel/hostname").or_else(|| read("/etc/hostname"));
    let name = name.map(|n| n.trim().to_owned()).filter(|n| !n.is_empty());
    name.unwrap_or_else(|| "unnamed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Args {
        Args { to: Some("h:1".into()), paths: vec!["/l".into()], ..Args::default() }
    }

    fn message(args: Args, token: Option<&str>) -> String {
        Plan::with_token(args, token.map(str::to_owned)).unwrap_err().to_string()
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(message(Args::default(), Some("t")).contains("--to"));
        assert!(message(Args { paths: vec![], ..args() }, Some("t")).contains("paths"));
        assert!(message(args(), None).contains("--token-file"));
        assert!(message(args(), Some(" \n")).contains("--token-file"));
        let both = Args { plain: true, authority: Some("ca".into()), ..args() };
        assert!(message(both, Some("t")).contains("exclude"));
    }

    #[test]
    fn options_win_over_settings_and_the_file_over_the_variable() {
        let dir = tempfile::tempdir().unwrap();
        let (settings, secret) = (dir.path().join("a.yaml"), dir.path().join("t"));
        std::fs::write(&settings, "to: file:1\nname: n\nstate: s\npaths: [/a, /b/c]\n").unwrap();
        std::fs::write(&secret, "from-file\n").unwrap();
        let args = Args {
            to: Some("cli:2".into()),
            settings: Some(settings),
            token_file: Some(secret),
            ..Args::default()
        };
        let plan = Plan::with_token(args, Some("from-variable".into())).unwrap();
        assert_eq!((&*plan.to, &*plan.token, &*plan.name), ("cli:2", "from-file", "n"));
        assert_eq!(plan.state, dir.path().join("s"));
        assert_eq!(plan.folders(), [PathBuf::from("/"), PathBuf::from("/b")]);
        assert!(!format!("{plan:?}").contains("from-file"));
    }

    #[test]
    fn no_option_clashes_with_the_global_ones() {
        use clap::Args as _;
        let command = Args::augment_args(clap::Command::new("agent"));
        for taken in ["config", "data-dir", "server", "token", "ca", "output", "quiet"] {
            assert!(command.get_arguments().all(|a| a.get_long() != Some(taken)), "{taken}");
        }
        assert!(command.get_arguments().all(|a| a.get_short().is_none()));
    }
}
