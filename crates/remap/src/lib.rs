//! VRL, the language of `vrl` steps in packs: the only room that knows it.
//!
//! ```text
//! pack.yaml --text--> compile --Program--> run: fields -> tree -> program -> tree -> fields
//!                      |  functions: only pure ones, the others are refused with a reason
//!                      +-> diagnostics with the line of the file
//! ```
//!
//! Invariants: a program is a pure function of the event; it ends after [`STEPS_MAX`] expressions at
//! the latest; it fails with a message and never with a panic.
//!
//! The work of one program is bounded: closures run once per element of what the event holds, every
//! expression in them counts as a step, and one call costs no more than its input is long (expressions
//! are linear in time, functions that unpack or nest without limit are refused). Memory is bounded for
//! what comes in and what goes out; what a program holds in between is its author's to keep small, who
//! is the operator: doubling a text in a loop is not stopped before its steps are used up.
//!
//! Not here: when a program runs and what its changes mean for an event (`shape::script`).
//!
//! Reading order: this file (compile, run), `functions` (what is offered), `tree` (values).
#![forbid(unsafe_code)]

mod functions;
mod tree;

pub use functions::{OFFERED, REFUSED};

use shape::script::{Script, ScriptCompiler, ScriptError, ScriptEvent, ScriptField, ScriptStop};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use vrl::compiler::runtime::{Runtime, Terminate};
use vrl::compiler::{ExpressionError, Function, Program, TargetValue, TimeZone};
use vrl::diagnostic::{DiagnosticList, Formatter};
use vrl::path::{OwnedSegment, OwnedTargetPath, PathPrefix};
use vrl::value::{Secrets, Value};

/// Longest program, in bytes: some hundred lines are usual at most.
pub const PROGRAM_BYTES_MAX: usize = 64 << 10;
/// Deepest nesting of brackets in a program: compiling and running descend into them.
pub const PROGRAM_DEPTH_MAX: usize = 64;
/// Most expressions that one run evaluates. A usual program has under a hundred; a loop over the
/// thousand values of a large event some ten thousand.
pub const STEPS_MAX: usize = 200_000;
/// Most bytes of names and values, the record included, that a program is given.
pub const INPUT_BYTES_MAX: usize = 2 << 20;
/// Most values that a program may leave: what a row of a batch holds.
pub const OUTPUT_VALUES_MAX: usize = event::batch::CELLS_PER_ROW_MAX;
/// Most bytes of names and values that a program may leave.
pub const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// Longest value that a program may leave.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of what a program is given and may leave. Names of more parts stay one name.
pub const DEPTH_MAX: usize = 32;
/// Longest message of a failed run: it becomes a field of the event.
pub const MESSAGE_BYTES_MAX: usize = 512;

/// The compiler, with its table of functions.
pub struct Vrl {
    functions: Vec<Box<dyn Function>>,
}

/// The one compiler of the process.
pub fn compiler() -> &'static Vrl {
    static VRL: OnceLock<Vrl> = OnceLock::new();
    VRL.get_or_init(|| Vrl { functions: functions::all() })
}

/// A compiled program and its text, for the lines of messages.
struct Compiled {
    program: Program,
    source: String,
    targets: Vec<String>,
}

impl ScriptCompiler for Vrl {
    fn compile(&self, source: &str, first_line: usize) -> Result<Arc<dyn Script>, ScriptError> {
        check_size(source, first_line)?;
        // Empty lines before it give every diagnostic the line of the file.
        let source = "\n".repeat(first_line.saturating_sub(1)) + source;
        let compiled =
            catch_unwind(AssertUnwindSafe(|| vrl::compiler::compile(&source, &self.functions)));
        let program = match compiled {
            Ok(Ok(result)) => result.program,
            Ok(Err(diagnostics)) => return Err(told(&source, first_line, diagnostics)),
            Err(_) => {
                let message = "the VRL compiler broke down over this program".into();
                let hint = "write it in another way".into();
                return Err(ScriptError { line: first_line, message, hint });
            }
        };
        let mut targets: Vec<String> =
            program.info().target_assignments.iter().filter_map(name_of).collect();
        targets.sort();
        targets.dedup();
        Ok(Arc::new(Compiled { program, source, targets }))
    }
}

/// What can be said of a program before it is read.
fn check_size(source: &str, first_line: usize) -> Result<(), ScriptError> {
    let wrong = |line: usize, message: String| {
        let hint = "split it over several steps".into();
        Err(ScriptError { line: first_line + line, message, hint })
    };
    if source.len() > PROGRAM_BYTES_MAX {
        return wrong(0, format!("the program is longer than {PROGRAM_BYTES_MAX} bytes"));
    }
    let mut depth = 0usize;
    for (at, line) in source.lines().enumerate() {
        for byte in line.bytes() {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > PROGRAM_DEPTH_MAX {
                let message = format!("more than {PROGRAM_DEPTH_MAX} brackets in each other");
                return wrong(at, message);
            }
        }
    }
    Ok(())
}

/// The first diagnostic as message, with VRL's own drawing of all of them below it.
fn told(source: &str, first_line: usize, diagnostics: DiagnosticList) -> ScriptError {
    let problem = diagnostics.iter().find(|d| d.is_problem()).or_else(|| diagnostics.iter().next());
    let label = problem.and_then(|d| d.labels().iter().find(|l| l.primary));
    let line = label.map_or(first_line, |l| line_at(source, l.span.start()));
    let title = problem.map_or("it is no program", |d| d.message()).to_owned();
    let drawn = Formatter::new(source, diagnostics).to_string();
    let message = format!("vrl: {title}\n{}\n", drawn.trim_matches('\n'));
    let hint = "docs/packs.md tells what a program may do".into();
    ScriptError { line: line.max(first_line), message, hint }
}

fn line_at(source: &str, at: usize) -> usize {
    let before = &source.as_bytes()[..at.min(source.len())];
    before.iter().filter(|c| **c == b'\n').count() + 1
}

/// The field that a path assigns, as far as it is one: up to the first index.
fn name_of(path: &OwnedTargetPath) -> Option<String> {
    let fields = path.path.segments.iter().map_while(|segment| match segment {
        OwnedSegment::Field(name) => Some(name.as_str()),
        OwnedSegment::Index(_) => None,
    });
    let name = fields.collect::<Vec<_>>().join(".");
    (path.prefix == PathPrefix::Event && !name.is_empty()).then_some(name)
}

impl Script for Compiled {
    fn targets(&self) -> &[String] {
        &self.targets
    }

    fn run(&self, event: &ScriptEvent<'_>) -> Result<Vec<ScriptField<'static>>, ScriptStop> {
        // What unwinds is dropped with the target; nothing of it is looked at again.
        catch_unwind(AssertUnwindSafe(|| self.resolve(event)))
            .unwrap_or_else(|_| Err(ScriptStop::Failed("the program broke down".into())))
    }
}

impl Compiled {
    fn resolve(&self, event: &ScriptEvent<'_>) -> Result<Vec<ScriptField<'static>>, ScriptStop> {
        let value = tree::grow(&event.fields).map_err(ScriptStop::Failed)?;
        let metadata = Value::Object(Default::default());
        let mut target = TargetValue { value, metadata, secrets: Secrets::new() };
        let mut steps = 0;
        let mut control = || {
            steps += 1;
            if steps > STEPS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        // Times without a zone are UTC: the zone of the machine must not matter.
        let zone = TimeZone::parse("UTC").unwrap_or_default();
        let mut runtime = Runtime::default();
        match runtime.resolve_with_control(&mut target, &self.program, &zone, &mut control) {
            Ok(_) => tree::fields(target.value).map_err(ScriptStop::Failed),
            Err(Terminate::Interrupted) => {
                Err(ScriptStop::Failed(format!("stopped after {STEPS_MAX} steps")))
            }
            Err(Terminate::Abort(ExpressionError::Abort { message: None, .. })) => {
                Err(ScriptStop::Declined)
            }
            Err(Terminate::Abort(error) | Terminate::Error(error)) => {
                Err(ScriptStop::Failed(self.placed(&error.to_string())))
            }
        }
    }

    /// A runtime error with the line of the file where it says `at (120:140)`, which counts bytes.
    fn placed(&self, message: &str) -> String {
        let mut text = String::new();
        let mut rest = message;
        while let Some((before, place)) = rest.split_once(" at (") {
            let span = place.split_once(')').and_then(|(span, behind)| {
                let start = span.split_once(':')?.0.parse().ok()?;
                Some((line_at(&self.source, start), behind))
            });
            text.push_str(before);
            match span {
                Some((line, behind)) => {
                    text.push_str(&format!(" at line {line}"));
                    rest = behind;
                }
                None => {
                    text.push_str(" at (");
                    rest = place;
                }
            }
        }
        text.push_str(rest);
        let end =
            (0..=text.len().min(MESSAGE_BYTES_MAX)).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text
    }
}
