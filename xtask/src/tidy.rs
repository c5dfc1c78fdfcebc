//! House rules that a machine can check. They run as tests.

use std::path::{Path, PathBuf};

/// The folder that holds the workspace's Cargo.toml.
pub(crate) fn workspace_root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// Every file below `dir` with one of the endings, build output and vendored files left out.
pub(crate) fn files(dir: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | ".git" | "vendor" | "node_modules") {
                    open.push(path);
                }
            } else if endings.iter().any(|e| name.ends_with(e)) {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    fn crates() -> Vec<PathBuf> {
        let mut dirs: Vec<PathBuf> = fs::read_dir(workspace_root().join("crates"))
            .unwrap()
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.is_dir())
            .collect();
        dirs.sort();
        dirs
    }

    /// Heavy crates stay in one room, so that the others check in seconds.
    #[test]
    fn heavy_dependencies_are_named_by_one_crate_only() {
        let rooms: [(&str, &[&str]); 8] = [
            ("datafusion", &["store"]),
            ("arrow", &["store"]),
            ("parquet", &["store"]),
            ("object_store", &["store"]),
            ("vrl", &["remap"]),
            ("rdkafka", &["kafka"]),
            ("rusqlite", &["ledger"]),
            ("maxminddb", &["shape"]),
        ];
        for dir in crates() {
            let name = dir.file_name().unwrap().to_string_lossy().into_owned();
            let manifest = read(&dir.join("Cargo.toml"));
            // A feature may bear the name of what it brings in; features stand last.
            let manifest = manifest.split("\n[features]").next().unwrap_or_default();
            for (heavy, allowed) in rooms {
                let named = manifest
                    .lines()
                    .any(|l| l.split(['.', ' ', '=']).next().is_some_and(|word| word == heavy));
                assert!(!named || allowed.contains(&name.as_str()), "{name} names {heavy}");
            }
        }
    }

    #[test]
    fn leaf_rooms_know_no_sockets_and_no_runtime() {
        for room in [
            "event", "filter", "journal", "parse", "shape", "remap", "detect", "alert", "watch",
            "trust",
        ] {
            let manifest = read(&workspace_root().join("crates").join(room).join("Cargo.toml"));
            let dependencies = manifest.split("[dev-dependencies]").next().unwrap_or_default();
            for foreign in ["tokio", "axum", "reqwest", "hyper"] {
                assert!(!dependencies.contains(&format!("\n{foreign}.")), "{room} names {foreign}");
            }
        }
    }

    #[test]
    fn every_crate_forbids_unsafe_code_and_tells_its_story() {
        for dir in crates() {
            let lib = read(&dir.join("src/lib.rs"));
            assert!(lib.starts_with("//!"), "{dir:?}: lib.rs has no story");
            // System calls without a safe wrapper live in one room, and there in one module.
            let calls = dir.ends_with("precedence");
            let level = if calls { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
            assert!(lib.contains(level), "{dir:?}: unsafe code is not forbidden");
        }
    }

    #[test]
    fn no_test_file_is_forgotten() {
        for dir in crates() {
            let tests = dir.join("tests/it");
            let main = read(&tests.join("main.rs"));
            for file in fs::read_dir(&tests).into_iter().flatten().flatten() {
                let name = file.file_name().to_string_lossy().replace(".rs", "");
                let listed = name == "main" || main.contains(&format!("mod {name};"));
                assert!(listed || file.path().is_dir(), "{tests:?}: {name} is not in main.rs");
            }
        }
    }

    #[test]
    fn sources_have_no_tabs_and_no_trailing_spaces() {
        let root = workspace_root();
        for path in files(&root, &[".rs", ".toml", ".md", ".js"]) {
            for (at, line) in read(&path).lines().enumerate() {
                let place = format!("{}:{}", path.display(), at + 1);
                assert!(!line.ends_with([' ', '\t']), "{place}: trailing space");
                let code = path.extension().is_some_and(|e| e == "rs");
                assert!(!code || !line.starts_with('\t'), "{place}: tab");
            }
        }
    }

    #[test]
    fn the_map_names_every_room() {
        let map = read(&workspace_root().join("ARCHITECTURE.md"));
        for dir in crates() {
            let name = dir.file_name().unwrap().to_string_lossy().into_owned();
            assert!(map.contains(&format!("`{name}`")), "ARCHITECTURE.md does not name `{name}`");
        }
    }

    #[test]
    fn the_code_is_formatted() {
        let out = std::process::Command::new("cargo")
            .args(["fmt", "--all", "--check"])
            .current_dir(workspace_root())
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "run `cargo fmt --all`\n{}",
            String::from_utf8_lossy(&out.stdout)
        );
    }
}
