//! `alcedo redact`: the pseudonym of a value, for whoever knows the value and may read the key.

use super::check::config_of;
use super::{output, say};
use crate::cli::{Global, Output, Redact};
use crate::exit::{Exit, Failure, Outcome};
use crate::generation::{Ground, load_redaction, server_key};
use serde_json::json;

/// Runs the verb.
pub fn run(args: &Redact, global: &Global) -> Outcome {
    let config = config_of(global)?;
    let names = Ground::of_packs(config.packs.as_ref())?.names;
    let Some(rules) = load_redaction(&config, &names)? else {
        let hint = "write `redact: FILE` into the configuration; docs/redaction.md";
        return Err(Failure::invalid("no rules of redaction are configured", hint));
    };
    server_key(&config)?;
    let tell = |value: &str| {
        let pseudonym = rules.pseudonym(value);
        match output(global) {
            Output::Table => say(&pseudonym),
            _ => say(&json!({"value": value, "pseudonym": pseudonym}).to_string()),
        }
    };
    for value in &args.values {
        match value.as_str() {
            "-" => std::io::read_to_string(std::io::stdin())?.lines().for_each(tell),
            value => tell(value),
        }
    }
    Ok(Exit::Ok)
}
