//! Alcedo's detection beside a rival engine, on the same events, in the same run.
//!
//! ```text
//! file of JSON lines --chunk--> [ ours: shape + match ] [ theirs: parse + evaluate ] --chunk--> ...
//!                                 CPU time of the thread, chunk about: both see the same machine
//! ```
//!
//! A package and a workspace of its own: rivals are never a dependency of the product. Standard
//! output has one JSON object per line; standard error tells what is going on.
//!
//! Not here: the product's figures end to end (`bench`), which speak to the real binary.
#![forbid(unsafe_code)]

mod corpus;
mod correlate;
mod cpu;
mod detect;
mod ours;
mod report;
mod rsigma;
mod semantics;

use report::tell;
use std::process::ExitCode;

/// The same allocator for both sides.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Every comparison: name, what it shows, how.
const COMPARISONS: &[(&str, &str, fn(&Options) -> Result<(), String>)] = &[
    ("detect", "all SigmaHQ rules against streams of events, parse included", detect::run),
    ("correlate", "correlations alone: hits per second, memory of a group", correlate::run),
    ("semantics", "what both engines say about each case of conformance/", semantics::run),
];

/// What was asked for.
pub(crate) struct Options {
    /// Part of each file that is read, `0..=1`.
    pub(crate) scale: f64,
    /// Only the streams whose name contains this.
    pub(crate) only: Option<String>,
    /// Whether the rival runs too.
    pub(crate) rival: bool,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (name, options) = match parse(&args) {
        Ok(asked) => asked,
        Err(problem) => {
            tell(&problem);
            return ExitCode::from(2);
        }
    };
    let Some((_, _, run)) = COMPARISONS.iter().find(|(n, ..)| *n == name) else {
        for (name, what, _) in COMPARISONS {
            tell(&format!("  {name:<10} {what}"));
        }
        return ExitCode::from(2);
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            tell(&format!("{name}: {problem}"));
            ExitCode::FAILURE
        }
    }
}

/// `NAME [--scale PART] [--only STREAM] [--alone]`.
fn parse(args: &[String]) -> Result<(&str, Options), String> {
    let mut name = "list";
    let mut options = Options { scale: 1.0, only: None, rival: true };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--scale" => {
                let part = rest.next().and_then(|t| t.parse::<f64>().ok());
                let part = part.filter(|p| (0.0..=1.0).contains(p));
                options.scale = part.ok_or("--scale takes a part of the full work, 0 to 1")?;
            }
            "--only" => options.only = rest.next().cloned(),
            "--alone" => options.rival = false,
            other if !other.starts_with('-') => name = other,
            other => return Err(format!("`{other}` is not known; see the top of main.rs")),
        }
    }
    Ok((name, options))
}
