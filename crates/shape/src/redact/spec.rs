//! The file of rules as its author writes it, and the checks of it.

use super::pseudonym::Key;
use super::rules::{Form, Redaction, Rule};
use super::secrets::{Finder, KINDS};
use event::Dictionary;
use filter::search;
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::path::{Path, PathBuf};

/// Most rules of a file: which of them a field belongs to is one word of memory.
pub const RULES_MAX: usize = 64;
/// Largest file of rules, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Fewest bytes of a key: fewer could be guessed.
const KEY_BYTES_MIN: usize = 16;

/// Rules of redaction that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {message}", path.display(), line.map(|l| format!(":{l}")).unwrap_or_default())]
pub struct RedactionError {
    /// File.
    pub path: PathBuf,
    /// Line, where there is one.
    pub line: Option<usize>,
    /// What is wrong, and what to write instead.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSpec {
    #[serde(default)]
    key: Option<String>,
    rules: Vec<Spanned<RuleSpec>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleSpec {
    name: String,
    #[serde(default)]
    fields: Vec<Spanned<String>>,
    #[serde(default)]
    own_fields: Vec<Spanned<String>>,
    #[serde(default)]
    secrets: Vec<Spanned<String>>,
    #[serde(default)]
    matches: Vec<Spanned<String>>,
    #[serde(rename = "as")]
    form: Spanned<String>,
    #[serde(default)]
    when: Option<Spanned<String>>,
    #[serde(default)]
    everywhere: bool,
}

impl Redaction {
    /// The file that holds the key which the rules in `path` name, if they name one.
    pub fn key_file(path: &Path) -> Option<PathBuf> {
        let spec: FileSpec = serde_saphyr::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
        Some(beside(path, &spec.key?))
    }

    /// Reads and checks a file of rules. `secret` is the key of pseudonyms where the file names
    /// none; `known` are the names of ECS and of packs.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn load(path: &Path, secret: &[u8], known: &Dictionary) -> Result<Self, RedactionError> {
        let at = |line: Option<usize>, message: String| RedactionError {
            path: path.into(),
            line,
            message,
        };
        let whole = |message: String| at(None, message);
        let size = std::fs::metadata(path).map_err(|e| whole(cannot_read(&e)))?.len();
        if size > FILE_BYTES_MAX {
            return Err(whole(format!("{size} bytes; at most {FILE_BYTES_MAX} are read")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| whole(cannot_read(&e)))?;
        Self::read(&text, secret, known, &|name| {
            let file = beside(path, name);
            std::fs::read(&file).map_err(|e| format!("the key {}: {e}", file.display()))
        })
        .map_err(|(line, message)| at(line, message))
    }

    /// Reads and checks rules; `key_of` reads the file of a key.
    pub(super) fn read(
        text: &str,
        secret: &[u8],
        known: &Dictionary,
        key_of: &dyn Fn(&str) -> Result<Vec<u8>, String>,
    ) -> Result<Self, (Option<usize>, String)> {
        let spec: FileSpec = serde_saphyr::from_str(text).map_err(|error| {
            let line = error.location().map(|place| place.line() as usize);
            let message = error.to_string();
            (line, message.lines().next().unwrap_or_default().to_owned())
        })?;
        let key = match &spec.key {
            None => Key::new(secret),
            Some(name) => {
                let bytes = key_of(name).map_err(|message| (None, message))?;
                let bytes = bytes.trim_ascii();
                if bytes.len() < KEY_BYTES_MIN {
                    let message = format!(
                        "the key has {} bytes; write at least {KEY_BYTES_MIN} random ones into `{name}`",
                        bytes.len()
                    );
                    return Err((None, message));
                }
                Key::new(bytes)
            }
        };
        if spec.rules.len() > RULES_MAX {
            return Err((None, format!("{} rules; at most {RULES_MAX}", spec.rules.len())));
        }
        let mut rules: Vec<Rule> = Vec::with_capacity(spec.rules.len());
        for spec in &spec.rules {
            let line = line_of(spec);
            let rule = rule(&spec.value, known, line)?;
            if rules.iter().any(|other| other.name == rule.name) {
                return Err((line, format!("`{}` is taken; choose another name", rule.name)));
            }
            rules.push(rule);
        }
        Ok(Self::new(key, rules))
    }
}

fn rule(
    spec: &RuleSpec,
    known: &Dictionary,
    line: Option<usize>,
) -> Result<Rule, (Option<usize>, String)> {
    for field in &spec.fields {
        check_field(&field.value, known).map_err(|message| (line_of(field), message))?;
    }
    for field in &spec.own_fields {
        check_intrinsic(&field.value).map_err(|message| (line_of(field), message))?;
    }
    let form = match &*spec.form.value {
        "pseudonym" => Form::Pseudonym,
        "mask" => Form::Mask,
        "remove" => Form::Remove,
        other => {
            let message = format!("`{other}` is no form; as: pseudonym, mask or remove");
            return Err((line_of(&spec.form), message));
        }
    };
    let mut kinds = Vec::new();
    for kind in &spec.secrets {
        match KINDS.iter().find(|(name, _)| *name == kind.value) {
            Some((_, kind)) => kinds.push(*kind),
            None => {
                let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
                let message =
                    format!("`{}` is no kind of secret; known: {}", kind.value, names.join(", "));
                return Err((line_of(kind), message));
            }
        }
    }
    let mut own = Vec::new();
    for pattern in &spec.matches {
        Finder::new(&[], std::slice::from_ref(&pattern.value))
            .map_err(|e| (line_of(pattern), format!("`{}`: {e}", pattern.value)))?;
        own.push(pattern.value.clone());
    }
    let finds = !kinds.is_empty() || !own.is_empty();
    let fields: Vec<String> =
        spec.fields.iter().chain(&spec.own_fields).map(|field| field.value.clone()).collect();
    if fields.is_empty() && !finds {
        let message = "a rule needs `fields`, `own_fields`, `secrets` or `matches`";
        return Err((line, message.to_owned()));
    }
    let when = match &spec.when {
        None => None,
        Some(text) => {
            let plan = search::parse_filter(&text.value, 0);
            Some(plan.map_err(|e| (line_of(text), format!("`when`: {e}")))?)
        }
    };
    let finder = match finds {
        true => Some(Finder::new(&kinds, &own).map_err(|message| (line, message))?),
        false => None,
    };
    Ok(Rule { name: spec.name.clone(), fields, form, when, finder, everywhere: spec.everywhere })
}

/// A field is one of ECS or of a pack; `user.*` means all that stand below `user.`.
fn check_field(name: &str, known: &Dictionary) -> Result<(), String> {
    check_intrinsic(name)?;
    if let Some(group) = name.strip_suffix('*') {
        let is_group = group.ends_with('.') && group.len() > 1;
        let has_fields =
            (0..known.len()).any(|id| known.name(event::FieldId(id as u32)).starts_with(group));
        return match is_group && has_fields {
            true => Ok(()),
            false => Err(format!("`{name}` is no group of fields; write `user.*`")),
        };
    }
    if known.id(name).is_some() {
        return Ok(());
    }
    let names = (0..known.len()).map(|id| known.name(event::FieldId(id as u32)));
    let hint = match event::text::nearest(name, names) {
        Some(nearest) => format!("did you mean `{nearest}`? "),
        None => String::new(),
    };
    Err(format!(
        "`{name}` is no field of ECS or of a pack; {hint}names of your own logs stand under `own_fields`"
    ))
}

fn check_intrinsic(name: &str) -> Result<(), String> {
    let is_own = event::batch::is_reserved(name)
        && !name.starts_with("alcedo.person.")
        && !name.starts_with("alcedo.asset.");
    match is_own || event::Dictionary::ecs().id(name).is_some_and(event::FieldId::is_intrinsic) {
        true => Err(format!(
            "`{name}` is not the sender's; name the field that holds the value: where the record says it, it goes, too"
        )),
        false => Ok(()),
    }
}

fn line_of<T>(spanned: &Spanned<T>) -> Option<usize> {
    Some(spanned.referenced.line() as usize).filter(|line| *line > 0)
}

fn beside(path: &Path, name: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new(".")).join(name)
}

fn cannot_read(error: &std::io::Error) -> String {
    format!("{error}; check the path under `redact`")
}
