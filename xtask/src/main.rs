//! The only task runner: `cargo xtask VERB`.
//!
//! | verb | what it does |
//! |---|---|
//! | `test` | installs what the tests need (where it may), then runs every test |
//! | `check` | rustfmt, clippy, cargo-deny where installed |
//! | `slow NAME` | long proofs, with their full counts |
//! | `bench NAME` | figures, one JSON object per line |
//! | `fuzz TARGET [SECONDS]` | one fuzz target for a while |
//! | `shape` | sizes of files and functions: a mirror, not a gate |
#![forbid(unsafe_code)]

mod install;
mod shape;
mod shape_bench;
mod tidy;

use std::process::{Command, ExitCode};

/// Name, what it does, how.
type Verb = (&'static str, &'static str, fn(&[String]) -> ExitCode);

/// Every verb.
const VERBS: &[Verb] = &[
    ("test", "install what the tests need and pass them", test),
    ("check", "rustfmt, clippy and, where installed, cargo-deny", check),
    ("slow", "long proofs by name; without a name: the list", slow),
    ("bench", "figures by name, one JSON object per line", bench),
    ("fuzz", "run one fuzz target: fuzz TARGET [SECONDS]", fuzz),
    ("shape", "sizes of files and functions", |_| shape::print()),
];

/// Settings of a long proof: environment variables.
type Settings = &'static [(&'static str, &'static str)];

/// Long proofs: name, package, filter of its integration tests, settings for the full count.
const SLOW: &[(&str, &str, &str, Settings)] = &[
    ("kill9", "server", "kill9", &[("ALCEDO_KILLS", "1000")]),
    ("relp", "server", "relp::", &[("ALCEDO_RELP_KILLS", "200")]),
    ("memory", "server", "memory_cap", &[("ALCEDO_BURST_S", "60")]),
    ("scores", "detect", "scores", &[("ALCEDO_SCORES", "1")]),
    ("generated", "detect", "pysigma::", &[("ALCEDO_GENERATED", "10000")]),
    ("store-kill9", "store", "kill9::", &[("ALCEDO_STORE_KILLS", "200")]),
    ("store-damage", "store", "damage::", &[("ALCEDO_DAMAGE_STEP", "1")]),
    ("store-parity", "store", "parity::", &[("ALCEDO_PARITY_CASES", "2000")]),
    ("journal-sim", "journal", "sim::", &[("ALCEDO_SIM_SEEDS", "100000")]),
    ("journal-damage", "journal", "damage::", &[("ALCEDO_DAMAGE_STEP", "1")]),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let verb = args.first().map(String::as_str);
    match VERBS.iter().find(|(name, ..)| Some(*name) == verb) {
        Some((_, _, run)) => run(&args[1..]),
        None => {
            say("cargo xtask VERB");
            for (name, what, _) in VERBS {
                say(&format!("  {name:<8} {what}"));
            }
            ExitCode::from(2)
        }
    }
}

fn test(args: &[String]) -> ExitCode {
    install::what_tests_need();
    // Line tables and incremental state are of no use to a run from cold; both cost time.
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--workspace", "--tests", "--no-fail-fast"]);
    // What is shipped can reach object stores, run packs' programs and read topics, so what is tested can.
    cargo.args(features()).args(args);
    if std::env::var_os("CI").is_some() {
        cargo.env("CARGO_INCREMENTAL", "0");
    }
    run(&mut cargo)
}

/// Features of what is shipped, as far as they can be built here.
fn features() -> &'static [&'static str] {
    match install::can_build_kafka() {
        true => &["--features", "server/cloud,server/vrl,server/kafka"],
        false => &["--exclude", "kafka", "--features", "server/cloud,server/vrl"],
    }
}

fn check(_: &[String]) -> ExitCode {
    let clippy = ["clippy", "--workspace", "--all-targets"];
    let strict = ["--", "-D", "warnings"];
    let steps = [vec!["fmt", "--all", "--check"], [&clippy[..], features(), &strict].concat()];
    for step in steps {
        if run(Command::new("cargo").args(step)) != ExitCode::SUCCESS {
            return ExitCode::FAILURE;
        }
    }
    if Command::new("cargo-deny").arg("--version").output().is_err() {
        say("skipped: cargo-deny is not installed (cargo install cargo-deny)");
        return ExitCode::SUCCESS;
    }
    let features = ["--features", "server/cloud,server/vrl,server/kafka"];
    run(Command::new("cargo")
        .arg("deny")
        .args(features)
        .args(["check", "bans", "licenses", "sources"]))
}

fn slow(args: &[String]) -> ExitCode {
    let name = args.first().map(String::as_str);
    let Some((_, package, filter, settings)) = SLOW.iter().find(|(n, ..)| Some(*n) == name) else {
        for (name, package, filter, settings) in SLOW {
            say(&format!("  {name:<14} {package} {filter} {settings:?}"));
        }
        return ExitCode::from(2);
    };
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--package", package]);
    // The server's proofs spend their time waiting; the others compute.
    if *package != "server" {
        cargo.arg("--release");
    }
    cargo.args(["--test", "it", "--", filter, "--nocapture"]);
    run(cargo.envs(settings.iter().copied()))
}

/// Figures taken beside a rival, in a workspace of its own that holds it.
const COMPARED: &[&str] = &["detect", "correlate", "semantics"];

fn bench(args: &[String]) -> ExitCode {
    if args.first().is_some_and(|name| COMPARED.contains(&name.as_str())) {
        let compare =
            ["run", "--release", "--quiet", "--manifest-path", "bench/compare/Cargo.toml"];
        return run(Command::new("cargo").args(compare).arg("--").args(args));
    }
    if args.first().is_some_and(|name| name == "shape") {
        return shape_bench::run();
    }
    if args.first().is_none_or(|name| name != "list") {
        let build = ["build", "--release", "--package", "server", "--package", "bench"];
        if run(Command::new("cargo").args(build)) != ExitCode::SUCCESS {
            return ExitCode::FAILURE;
        }
    }
    if args.first().is_some_and(|name| name == "journal") {
        // In process first: the journal alone, without a server around it.
        let example =
            ["run", "--release", "--quiet", "-p", "journal", "--example", "journal_bench"];
        if run(Command::new("cargo").args(example)) != ExitCode::SUCCESS {
            return ExitCode::FAILURE;
        }
    }
    run(Command::new("cargo")
        .args(["run", "--release", "--quiet", "--package", "bench", "--"])
        .args(args))
}

fn fuzz(args: &[String]) -> ExitCode {
    let Some(target) = args.first() else {
        return run(Command::new("cargo").args(["fuzz", "list"]));
    };
    let seconds = args.get(1).map_or("60", String::as_str);
    let limit = format!("-max_total_time={seconds}");
    let seeds = format!("fuzz/seeds/{target}");
    run(Command::new("cargo").env("RUSTC_BOOTSTRAP", "1").args([
        "fuzz",
        "run",
        target,
        &seeds,
        "--",
        &limit,
        "-rss_limit_mb=2048",
    ]))
}

/// Runs a command in the workspace's folder; its exit is ours.
fn run(command: &mut Command) -> ExitCode {
    match command.current_dir(tidy::workspace_root()).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("{command:?} cannot be started: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints a line: the runner's own output goes to the terminal.
#[expect(clippy::print_stdout, reason = "a task runner talks to the terminal")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
