//! Figures of the real binary, as a user would run it.
//!
//! ```text
//! bench NAME -> `alcedo` on a fresh folder -> real listeners, real disk -> a JSON object per line
//! ```
//!
//! A bench never calls into the product: it speaks syslog and HTTP to a process of its own, and
//! asks the kernel what that process cost. So a figure is what a user gets, and any version of the
//! binary can be measured (`ALCEDO_BIN`). Standard output has figures only; standard error tells
//! what is going on.
//!
//! Not here: micro-benchmarks of a function; they belong beside the function.
#![forbid(unsafe_code)]

mod benches;
mod corpus;
mod error;
mod figure;
mod http;
mod latency;
mod nats;
mod pace;
mod process;
mod receiver;
mod samples;
mod server;

use figure::{Report, say, tell};
use std::process::ExitCode;

/// Part of the full amount of work that `--scale` may ask for: below this nothing is left to do.
const SCALE_MIN: f64 = 0.001;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (name, scale) = match parse(&args) {
        Ok(asked) => asked,
        Err(problem) => {
            tell(&problem);
            return ExitCode::from(2);
        }
    };
    if name == "list" {
        for bench in benches::ALL {
            say(&format!("{:<12} {}", bench.name, bench.what));
        }
        return ExitCode::SUCCESS;
    }
    let Some(bench) = benches::ALL.iter().find(|bench| bench.name == name) else {
        tell(&format!("no bench is called `{name}`; `bench list` shows them"));
        return ExitCode::from(2);
    };
    match (bench.run)(&mut Report::of(bench.name, scale)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("{name}: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// `NAME [--scale PART]`; without a name: the list.
fn parse(args: &[String]) -> Result<(&str, f64), String> {
    let mut name = None;
    let mut scale = 1.0;
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--scale" => {
                let part = rest.next().and_then(|t| t.parse::<f64>().ok());
                let part = part.filter(|p| (SCALE_MIN..=1.0).contains(p));
                scale = part.ok_or("--scale takes a part of the full work, 0.001 to 1")?;
            }
            other if name.is_none() && !other.starts_with('-') => name = Some(other),
            other => return Err(format!("`{other}` is not known; bench NAME [--scale PART]")),
        }
    }
    Ok((name.unwrap_or("list"), scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn arguments() {
        assert_eq!(parse(&[]), Ok(("list", 1.0)));
        assert_eq!(parse(&words("intake --scale 0.1")), Ok(("intake", 0.1)));
        assert!(parse(&words("intake --scale 2")).is_err());
        assert!(parse(&words("intake again")).is_err());
    }

    #[test]
    fn every_bench_has_its_own_name_and_a_section_in_the_docs() {
        let docs = include_str!("../../docs/benches.md");
        for (index, bench) in benches::ALL.iter().enumerate() {
            assert!(benches::ALL[..index].iter().all(|b| b.name != bench.name));
            assert!(docs.contains(&format!("## `{}`", bench.name)), "{}", bench.name);
        }
    }
}
