//! Sizes of files and functions, to look at when something has grown.

use crate::{say, tidy};
use std::process::ExitCode;

/// Lines after which a function no longer fits a screen.
const SCREEN_LINES: usize = 70;

/// Prints percentiles of file and function lengths and the longest functions.
pub(crate) fn print() -> ExitCode {
    let root = tidy::workspace_root();
    let mut file_lines = Vec::new();
    let mut functions: Vec<(usize, String)> = Vec::new();
    for path in tidy::files(&root.join("crates"), &[".rs"]) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        file_lines.push(code.lines().count());
        let shown = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        functions.extend(lengths(code).into_iter().map(|(n, name)| (n, format!("{shown} {name}"))));
    }
    functions.sort();
    file_lines.sort_unstable();
    let of = |list: &[usize], p: usize| list.get(list.len() * p / 100).copied().unwrap_or(0);
    let function_lines: Vec<usize> = functions.iter().map(|(n, _)| *n).collect();
    say(&format!("files     p50 {} p90 {}", of(&file_lines, 50), of(&file_lines, 90)));
    say(&format!("functions p90 {} p99 {}", of(&function_lines, 90), of(&function_lines, 99)));
    for (lines, name) in functions.iter().rev().take_while(|(n, _)| *n > SCREEN_LINES) {
        say(&format!("{lines:>5} {name}"));
    }
    ExitCode::SUCCESS
}

/// Lengths of functions, told by indentation: from `fn` to the brace at its column.
fn lengths(code: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    let mut open: Option<(usize, usize, String)> = None;
    for (at, line) in code.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let word = line.trim_start();
        if let Some((from, column, name)) = &open {
            if word.starts_with('}') && indent == *column {
                out.push((at - from + 1, name.clone()));
                open = None;
            }
        } else if let Some(place) = word.find("fn ").filter(|p| is_function_head(&word[..*p])) {
            let name = word[place + 3..].split(['(', '<']).next().unwrap_or_default();
            if !line.trim_end().ends_with(';') {
                open = Some((at, indent, name.to_owned()));
            }
        }
    }
    out
}

fn is_function_head(before: &str) -> bool {
    let words = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe"];
    before.split_whitespace().all(|w| words.contains(&w))
}
