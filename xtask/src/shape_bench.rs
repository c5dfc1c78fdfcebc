//! `bench shape`: what shaping costs on one core, pack by pack, without anything around it, and what
//! VRL takes for the parse of five of them.

use crate::say;
use std::process::{Command, ExitCode};

/// The packs whose rates have goals: their allocations are counted, too.
const COUNTED: &[&str] = &["linux-auth", "web-access", "windows", "aws-cloudtrail"];
/// Events of the two runs whose difference is what events allocate.
const EVENTS: [u64; 2] = [4_096, 20_480];
const EXAMPLE: &str = "target/release/examples/shape_bench";
/// The same for five packs whose parse a VRL program does.
const RIVAL: &str = "target/release/examples/vrl_bench";

/// Builds the examples and runs them: one JSON object per pack, then per VRL program; then allocations
/// per event where valgrind is installed.
pub(crate) fn run() -> ExitCode {
    for (package, example) in [("shape", EXAMPLE), ("remap", RIVAL)] {
        let name = example.rsplit('/').next().unwrap_or_default();
        let build = ["build", "--release", "--quiet", "-p", package, "--example", name];
        if crate::run(Command::new("cargo").args(build)) != ExitCode::SUCCESS {
            return ExitCode::FAILURE;
        }
        if crate::run(&mut Command::new(example)) != ExitCode::SUCCESS {
            return ExitCode::FAILURE;
        }
    }
    for pack in COUNTED {
        let Some([few, many]) = allocations(pack) else {
            say("valgrind is not here: allocations were not counted");
            return ExitCode::SUCCESS;
        };
        let each = many.saturating_sub(few) as f64 / (EVENTS[1] - EVENTS[0]) as f64;
        say(&format!("{{\"pack\":\"{pack}\",\"allocations_per_event\":{each:.3}}}"));
    }
    ExitCode::SUCCESS
}

/// Allocations of the two runs, from valgrind's summary: `total heap usage: 1,234 allocs, ...`.
fn allocations(pack: &str) -> Option<[u64; 2]> {
    let count = |events: u64| {
        let mut valgrind = Command::new("valgrind");
        let done = valgrind.arg(EXAMPLE).args([pack, &events.to_string()]).output().ok()?;
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        let line = text.lines().find(|line| line.contains("total heap usage"))?;
        let number = line.split_once("usage: ")?.1.split_once(" allocs")?.0;
        number.replace(',', "").parse().ok()
    };
    Some([count(EVENTS[0])?, count(EVENTS[1])?])
}
