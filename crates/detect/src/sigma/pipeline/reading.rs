//! Pipeline files become pipelines.

use super::Pipeline;
use super::conditions::{Conditions, Linking, Readable};
use super::params::{self, Params};
use super::step::Step;
use super::transformations::{Notes, REFUSED, TRANSFORMATIONS};
use crate::sigma::condition::{self, Expr};
use crate::sigma::document::file_problem;
use crate::sigma::problem::{Refusal, Refusals, RuleProblem};
use crate::sigma::yaml::{self, Node, Yaml};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// Largest pipeline file in bytes.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
/// Most steps of a pipeline, nested ones included.
pub const STEPS_MAX: usize = 10_000;
/// Deepest nesting of `nest`.
pub const NEST_MAX: usize = 8;

/// Reads pipelines from files. A file with a problem gives no pipeline.
pub fn load(paths: &[PathBuf]) -> (Vec<Pipeline>, Vec<RuleProblem>) {
    let mut pipelines = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        let file = Arc::new(path.clone());
        let size = fs::metadata(path).map(|m| m.len());
        let text = match size {
            Ok(size) if size > FILE_BYTES_MAX => Err(format!("larger than {FILE_BYTES_MAX} bytes")),
            Ok(_) => fs::read_to_string(path).map_err(|e| format!("cannot be read: {e}")),
            Err(error) => Err(format!("cannot be read: {error}")),
        };
        match text {
            Err(reason) => problems.push(file_problem(&file, reason, "check the file")),
            Ok(text) => match parse(&file, &text) {
                Ok(pipeline) => pipelines.push(pipeline),
                Err(more) => problems.extend(more),
            },
        }
    }
    (pipelines, problems)
}

/// Reads one pipeline from text.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file: &Arc<PathBuf>, text: &str) -> Result<Pipeline, Vec<RuleProblem>> {
    let mut problems = Refusals::default();
    let pipeline = match yaml::documents(text).as_slice() {
        [document] => problems.ok(yaml::parse(document)).and_then(|n| pipeline(&n, &mut problems)),
        documents => {
            let reason = format!("{} documents where one should stand", documents.len());
            problems.push(Refusal::invalid(reason, "write one pipeline in a file"));
            None
        }
    };
    if problems.is_empty()
        && let Some(pipeline) = pipeline
    {
        let hash = xxhash_rust::xxh3::xxh3_128(text.as_bytes());
        return Ok(Pipeline { file: file.clone(), text: text.into(), hash, ..pipeline });
    }
    let name = text.lines().find_map(|l| l.strip_prefix("name:")).unwrap_or_default().trim();
    let problem = |refusal: Refusal| {
        let at = refusal.at.unwrap_or_default();
        RuleProblem {
            line: at.line.max(1),
            column: at.column.max(1),
            rule: name.into(),
            kind: refusal.kind,
            mistake: refusal.mistake,
            ..file_problem(file, refusal.reason, &refusal.hint)
        }
    };
    Err(problems.into_vec().into_iter().map(problem).collect())
}

fn pipeline(node: &Node, problems: &mut Refusals) -> Option<Pipeline> {
    let mut params = problems.ok(Params::of(node))?;
    let mut notes = Vec::new();
    let name = problems.ok(params.optional_text("name"))?.unwrap_or_default();
    let priority = problems.ok(priority(params.take("priority")))?;
    let vars = problems.ok(vars(params.take("vars")))?;
    for about_queries in ["postprocessing", "finalizers", "allowed_backends"] {
        if params.take(about_queries).is_some() {
            notes.push(format!("`{about_queries}` is about queries and has no effect"));
        }
    }
    let mut reader = Reader { problems, notes, steps: 0 };
    let steps = match params.take("transformations") {
        Some(list) => reader.steps(list, 0),
        None => Vec::new(),
    };
    let Reader { problems, notes, .. } = reader;
    problems.ok(params.finish());
    let (file, text) = (Arc::default(), "".into());
    let name = name.into();
    Some(Pipeline { name, priority, vars, notes, file, text, hash: 0, steps: steps.into() })
}

fn priority(node: Option<&Node>) -> Result<i64, Refusal> {
    match node {
        None => Ok(0),
        Some(Node { value: Yaml::Int(n), at, .. }) => i64::try_from(*n)
            .map_err(|_| Refusal::invalid("`priority` is out of range", "use less").at(*at)),
        Some(node) => {
            let reason = format!("`priority` is {}", node.kind());
            Err(Refusal::invalid(reason, "write a whole number").at(node.at))
        }
    }
}

fn vars(node: Option<&Node>) -> Result<BTreeMap<String, Vec<String>>, Refusal> {
    match node.map(|n| (&n.value, n)) {
        None | Some((Yaml::Null, _)) => Ok(BTreeMap::new()),
        Some((Yaml::Map(entries), _)) => {
            entries.iter().map(|(name, v)| Ok((name.clone(), params::texts(v)?))).collect()
        }
        Some((_, node)) => {
            let reason = format!("`vars` is {}", node.kind());
            Err(Refusal::invalid(reason, "write a map of lists").at(node.at))
        }
    }
}

/// Reads steps, nested ones too.
pub struct Reader<'p> {
    problems: &'p mut Refusals,
    /// What has no effect.
    pub notes: Notes,
    steps: usize,
}

impl Reader<'_> {
    /// A list of steps; those that are wrong are noted and left out.
    pub fn steps(&mut self, list: &Node, depth: usize) -> Vec<Step> {
        let Yaml::List(items) = &list.value else {
            let reason = format!("{} where a list of steps should stand", list.kind());
            self.problems.push(Refusal::invalid(reason, "write a list").at(list.at));
            return Vec::new();
        };
        self.steps += items.len();
        if self.steps > STEPS_MAX || depth > NEST_MAX {
            let reason = format!("more than {STEPS_MAX} steps or {NEST_MAX} levels");
            self.problems.push(Refusal::invalid(reason, "split the pipeline").at(list.at));
            return Vec::new();
        }
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            let step = self.step(item, depth).map_err(|r| r.at(item.at));
            out.extend(self.problems.ok(step));
        }
        out
    }

    fn step(&mut self, node: &Node, depth: usize) -> Result<Step, Refusal> {
        let mut params = Params::of(node)?;
        let kind = params.required("type")?;
        let name = params::text(kind)?;
        let id = params.optional_text("id")?.unwrap_or_default();
        let rule = conditions(&mut params, "rule_conditions", "rule_cond")?;
        let item = conditions(&mut params, "detection_item_conditions", "detection_item_cond")?;
        let field = conditions(&mut params, "field_name_conditions", "field_name_cond")?;
        if let Some((_, reason, hint)) = REFUSED.iter().find(|refused| refused.0 == name) {
            return Err(Refusal::not_covered(format!("{name} {reason}"), *hint).at(kind.at));
        }
        let known = TRANSFORMATIONS.iter().find(|t| t.name == name).ok_or_else(|| {
            let names: Vec<_> = TRANSFORMATIONS.iter().map(|t| t.name).collect();
            let hint = format!("known are: {}", names.join(", "));
            Refusal::not_covered(format!("unknown transformation `{name}`"), hint).at(kind.at)
        })?;
        let transformation = (known.read)(&mut params, self, depth).map_err(|mut refusal| {
            refusal.reason = format!("{name}: {}", refusal.reason);
            refusal
        })?;
        params.finish()?;
        Ok(Step { id: id.as_str().into(), rule, item, field, transformation })
    }
}

fn conditions<C: Readable>(
    params: &mut Params<'_>,
    key: &str,
    prefix: &str,
) -> Result<Conditions<C>, Refusal> {
    let list = match params.take(key) {
        None => Vec::new(),
        Some(node) => match &node.value {
            Yaml::List(items) => {
                let named = items.iter().enumerate().map(|(i, n)| ((i + 1).to_string(), n));
                named.map(|(name, n)| Ok((name, condition(n)?))).collect::<Result<_, Refusal>>()?
            }
            Yaml::Map(entries) => entries
                .iter()
                .map(|(name, n)| Ok((name.clone(), condition(n)?)))
                .collect::<Result<_, Refusal>>()?,
            _ => {
                let reason = format!("`{key}` is {}", node.kind());
                return Err(Refusal::invalid(reason, "write a list or a map").at(node.at));
            }
        },
    };
    let negated = params.flag(&format!("{prefix}_not"))?;
    let op = params.optional_text(&format!("{prefix}_op"))?;
    let linking = match (op.as_deref(), params.take(&format!("{prefix}_expr"))) {
        (None | Some("and"), None) => Linking::All,
        (Some("or"), None) => Linking::Any,
        (None, Some(node)) => Linking::Expression(expression(node, &list)?),
        (_, node) => {
            let reason = format!("`{prefix}_op` is `and` or `or`, and excludes `{prefix}_expr`");
            let at = node.map_or(params.at, |n| n.at);
            return Err(Refusal::invalid(reason, "correct it").at(at));
        }
    };
    Ok(Conditions { list, linking, negated })
}

fn condition<C: Readable>(node: &Node) -> Result<C, Refusal> {
    let mut params = Params::of(node)?;
    let kind = params.required("type")?;
    let name = params::text(kind)?;
    let read = C::read(&name, &mut params).map_err(|r| r.at(node.at))?;
    let condition = read.ok_or_else(|| {
        let hint = format!("known are: {}", C::KINDS.join(", "));
        Refusal::not_covered(format!("unknown condition `{name}`"), hint).at(kind.at)
    })?;
    params.finish()?;
    Ok(condition)
}

fn expression<C>(node: &Node, list: &[(String, C)]) -> Result<Expr, Refusal> {
    let expr = condition::parse(&params::text(node)?).map_err(|r| r.at(node.at))?;
    fn check<C>(expr: &Expr, list: &[(String, C)]) -> Result<(), String> {
        match expr {
            Expr::Name(name) if list.iter().any(|(n, _)| n == name) => Ok(()),
            Expr::Name(name) => Err(format!("there is no condition `{name}`")),
            Expr::And(parts) | Expr::Or(parts) => parts.iter().try_for_each(|p| check(p, list)),
            Expr::Not(part) => check(part, list),
            Expr::Of(..) => Err("`of` has no meaning between conditions".into()),
        }
    }
    check(&expr, list)
        .map_err(|reason| Refusal::invalid(reason, "use the names of the map").at(node.at))?;
    Ok(expr)
}
