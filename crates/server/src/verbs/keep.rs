//! `alcedo retention`, `alcedo hold` and `alcedo delete`: what is kept and what goes.

use super::ask::{ask, cell, encoded, pretty, rows};
use super::check::config_of;
use super::{complain, is_running, output, say};
use crate::api::keeping::plan_json;
use crate::cli::store::{Delete, HoldVerb, Retention};
use crate::cli::{Global, Output};
use crate::exit::{Exit, Failure, Outcome};
use journal::Fs;
use serde_json::{Value, json};

/// `alcedo retention`
pub fn retention(args: &Retention, global: &Global) -> Outcome {
    let config = config_of(global)?;
    let rules = crate::run::store_options(&config).rules();
    let asks_server = global.server.is_some() || is_running(&config.data_dir);
    let plan = match (asks_server, args.dry_run) {
        (true, true) => {
            let body = json!({"rules": rules});
            ask(global, async |c| c.post("/api/v1/retention/plan", body).await)?
        }
        (true, false) => ask(global, async |c| c.get("/api/v1/retention").await)?,
        (false, _) => {
            let failed =
                |e: store::StoreError| Failure::new(Exit::Integrity, e, "is --data-dir right?");
            let dir = config.data_dir.join("store");
            let opened = store::Store::open_read_only_with(&dir, config.tier.clone());
            let (store, _) = opened.map_err(failed)?;
            let free = journal::OsFs.space(&config.data_dir)?.available;
            plan_json(&store, &rules, config.tier.as_ref(), free, io::intake::wall_ns())
                .map_err(failed)?
        }
    };
    for warning in plan["warnings"].as_array().into_iter().flatten() {
        complain(&format!("warning: {}", warning.as_str().unwrap_or_default()));
    }
    match output(global) {
        Output::Table => table(&plan, args.dry_run),
        form => say(&pretty(&plan, form)),
    }
    Ok(Exit::Ok)
}

fn table(plan: &Value, dry_run: bool) {
    let stored = &plan["stored"];
    say(&format!(
        "stored    {} events, {} in {} files, oldest {}",
        stored["rows"],
        bytes(&stored["bytes"]),
        stored["files"],
        cell(&stored["oldest_event"])
    ));
    let forecast = &plan["forecast"];
    let full = match forecast["days_left"].as_u64() {
        Some(days) => format!("full in {days} days"),
        None => "never full at this rate".to_owned(),
    };
    say(&format!(
        "disk      {} free, {} a day: {full}",
        bytes(&plan["free_bytes"]),
        bytes(&forecast["bytes_per_day"])
    ));
    say(&format!(
        "kept      {} holds, {} deletions wait for their rewrite",
        plan["holds"], plan["waiting_deletions"]
    ));
    for rule in plan["rules"].as_array().into_iter().flatten() {
        let age = rule["age"].as_str().map(str::to_owned);
        let size = rule["size_bytes"].as_u64().map(|_| bytes(&rule["size_bytes"]));
        let limits: Vec<String> = age.into_iter().chain(size).collect();
        let filter = rule["filter"].as_str().unwrap_or("everything");
        say(&format!("rule      {}: {} of {filter}", cell(&rule["rule"]), limits.join(", ")));
        let would = if dry_run { "would go" } else { "goes now" };
        say(&format!(
            "          {would}: {} files, {} events, {}, oldest received {}; {} files and {} events are held",
            rule["files"],
            rule["rows"],
            bytes(&rule["bytes"]),
            cell(&rule["oldest"]),
            rule["held_files"],
            rule["held_rows"]
        ));
    }
}

/// A size for people.
fn bytes(value: &Value) -> String {
    let value = value.as_u64().unwrap_or(0);
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = value as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{value} B"),
        _ => format!("{size:.1} {}", units[unit]),
    }
}

/// `alcedo hold ...`
pub fn hold(verb: &HoldVerb, global: &Global) -> Outcome {
    let form = output(global);
    ask(global, async |client| {
        match verb {
            HoldVerb::Add { filter, reason, since, until } => {
                let body =
                    json!({"filter": filter, "reason": reason, "since": since, "until": until});
                let set = client.post("/api/v1/holds", body).await?;
                match form {
                    Output::Table => say(&format!("hold {} is set", set["id"])),
                    _ => say(&set.to_string()),
                }
            }
            HoldVerb::List => {
                let found = client.get("/api/v1/holds").await?;
                let columns = ["id", "filter", "since", "until", "actor", "reason", "set_at"];
                rows(&found["holds"], &columns, form);
            }
            HoldVerb::Release { id, reason } => {
                let path = format!("/api/v1/holds/{id}?reason={}", encoded(reason));
                client.delete(&path).await?;
                complain(&format!("hold {id} is released"));
            }
        }
        Ok(Exit::Ok)
    })
}

/// `alcedo delete`
pub fn delete(args: &Delete, global: &Global) -> Outcome {
    let body = json!({
        "filter": args.filter,
        "before": args.before,
        "reason": args.reason.as_deref().unwrap_or_default(),
        "dry_run": args.dry_run,
    });
    let done = ask(global, async |client| client.post("/api/v1/deletions", body).await)?;
    match output(global) {
        Output::Table if args.dry_run => say(&format!(
            "{} events would be deleted, {}, oldest received {}",
            done["rows"],
            bytes(&done["bytes"]),
            cell(&done["oldest"])
        )),
        Output::Table => say(&format!("{} events are deleted", done["rows"])),
        _ => say(&done.to_string()),
    }
    for hold in done["holds"].as_array().into_iter().flatten() {
        complain(&format!(
            "it would be refused: hold {} ({}) keeps some of {} held events, or may do so in files that \
             cannot be read",
            hold["id"],
            cell(&hold["reason"]),
            done["held_rows"]
        ));
    }
    Ok(Exit::Ok)
}
