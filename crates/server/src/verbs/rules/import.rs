//! `alcedo rules import`: rules of a folder or archive into a rule folder, with their licence.

use super::super::{complain, output, say};
use crate::cli::{Global, Output, RulesImport};
use crate::exit::{Exit, Failure, Outcome};
use crate::files::archive;
use detect::ProblemKind;
use event::Level;
use serde_json::json;
use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

/// Which rules of SigmaHQ a package takes: by status, level and folder, as its releases do.
struct Package {
    name: &'static str,
    folders: &'static [&'static str],
    statuses: &'static [&'static str],
    level: Level,
}

/// In the order in which they grow.
const PACKAGES: &[Package] = &[
    Package {
        name: "core",
        folders: &["rules"],
        statuses: &["stable", "test"],
        level: Level::High,
    },
    Package {
        name: "core+",
        folders: &["rules"],
        statuses: &["stable", "test"],
        level: Level::Medium,
    },
    Package {
        name: "core++",
        folders: &["rules"],
        statuses: &["stable", "test", "experimental"],
        level: Level::Medium,
    },
    Package {
        name: "et",
        folders: &["rules-emerging-threats"],
        statuses: &["stable", "test", "experimental"],
        level: Level::Medium,
    },
    Package {
        name: "th",
        folders: &["rules-threat-hunting"],
        statuses: &["stable", "test", "experimental"],
        level: Level::Informational,
    },
];

/// Runs the verb. Files that are the same stay untouched; files that are gone from the origin stay
/// and are named.
pub(super) fn run(args: &RulesImport, global: &Global) -> Outcome {
    let package = match &*args.pack {
        "all" => None,
        name => Some(PACKAGES.iter().find(|p| p.name == name).ok_or_else(|| {
            let names: Vec<&str> = PACKAGES.iter().map(|p| p.name).collect();
            let message = format!("there is no package {name}");
            Failure::invalid(message, format!("use {} or all", names.join(", ")))
        })?),
    };
    let entries = archive::entries(&args.from).map_err(|problem| {
        Failure::invalid(
            format!("{} {problem}", args.from.display()),
            "name a folder or an archive",
        )
    })?;
    let mut done = Done::default();
    for (name, bytes) in &entries {
        if is_licence(name) {
            done.place(args, name, bytes)?;
        } else if is_rule_file(name) {
            let text = String::from_utf8_lossy(bytes);
            let (rules, problems) = detect::load_text(&text);
            if rules.is_empty() && problems.is_empty() {
                continue;
            }
            let wanted = |p: &Package| in_folder(name, p) && rules.iter().any(|r| takes(p, r));
            if package.is_some_and(|p| !wanted(p)) {
                continue;
            }
            // References to rules of other files are settled when all are loaded.
            for problem in problems.iter().filter(|p| p.kind == ProblemKind::Invalid) {
                complain(&format!("{}:{}: {}", name.display(), problem.line, problem.reason));
                done.broken += 1;
            }
            done.rules += rules.len();
            done.place(args, name, bytes)?;
        }
    }
    done.tell(args, global);
    Ok(if done.broken == 0 { Exit::Ok } else { Exit::Findings })
}

fn is_licence(name: &Path) -> bool {
    let file = name.file_name().unwrap_or_default().to_string_lossy().to_ascii_uppercase();
    file.starts_with("LICENSE") || file.starts_with("LICENCE")
}

fn is_rule_file(name: &Path) -> bool {
    name.extension().is_some_and(|e| e == "yml" || e == "yaml")
        && !name.components().any(|c| c.as_os_str().to_string_lossy().starts_with('.'))
}

fn in_folder(name: &Path, package: &Package) -> bool {
    name.components().any(|c| match c {
        Component::Normal(part) => package.folders.iter().any(|f| part == *f),
        _ => false,
    })
}

fn takes(package: &Package, rule: &detect::Rule) -> bool {
    package.statuses.contains(&&*rule.status) && rule.level >= package.level
}

#[derive(Default)]
struct Done {
    rules: usize,
    broken: usize,
    new: usize,
    changed: usize,
    same: usize,
    written: HashSet<PathBuf>,
}

impl Done {
    fn place(&mut self, args: &RulesImport, name: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let path = args.to.join(name);
        match std::fs::read(&path) {
            Ok(old) if old == bytes => self.same += 1,
            Ok(_) => self.changed += 1,
            Err(_) => self.new += 1,
        }
        self.written.insert(path.clone());
        if args.dry_run {
            return Ok(());
        }
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        written.and_then(|()| std::fs::write(&path, bytes)).map_err(|e| {
            let message = format!("{} cannot be written: {e}", path.display());
            Failure::new(Exit::Partial, message, "check the folder and its permissions")
        })
    }

    fn tell(&self, args: &RulesImport, global: &Global) {
        let gone = crate::files::expand(std::slice::from_ref(&args.to), &mut |_| {});
        let gone: Vec<String> = gone
            .iter()
            .filter(|p| !self.written.contains(*p) && is_rule_file(p))
            .map(|p| p.display().to_string())
            .collect();
        match output(global) {
            Output::Table => {
                say(&format!(
                    "{} rules: {} files new, {} changed, {} the same, {} broken",
                    self.rules, self.new, self.changed, self.same, self.broken
                ));
                for path in &gone {
                    say(&format!("not in the origin any more: {path}"));
                }
            }
            _ => say(&json!({
                "rules": self.rules, "new": self.new, "changed": self.changed, "same": self.same,
                "broken": self.broken, "gone": gone,
            })
            .to_string()),
        }
    }
}
