//! `alcedo export`: all results of a search as files, through the server or from the data folder.

use super::ask::{ask, encoded, pretty};
use super::check::config_of;
use super::{complain, is_running, output, say};
use crate::api::events::time_of;
use crate::cli::store::{Export, Form};
use crate::cli::{Global, Output};
use crate::client::Client;
use crate::config::Config;
use crate::exit::{Exit, Failure, Outcome};
use crate::files::lookups::Lookups;
use crate::generation::Parts;
use event::RecordKind;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::{ExportFormat, SearchRequest, Store};

/// Pause between two questions about an export that runs.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How often a download that broke off is taken up again.
const ATTEMPTS: u32 = 5;

/// Runs the verb.
pub fn run(args: &Export, global: &Global) -> Outcome {
    if std::fs::read_dir(&args.to).is_ok_and(|mut entries| entries.next().is_some()) {
        let message = format!("{} is not empty", args.to.display());
        return Err(Failure::invalid(message, "export into a new folder: --to DIR"));
    }
    let config = config_of(global)?;
    let bar = progress(global.quiet);
    let online = !args.offline && (global.server.is_some() || is_running(&config.data_dir));
    let manifest = match online {
        true => ask(global, async |client| fetch(client, args, &bar).await)?,
        false => offline(args, &config, &bar)?,
    };
    bar.finish_and_clear();
    let partial = manifest["partial"].as_str();
    if let Some(why) = partial {
        complain(&format!("partial: {why}"));
    }
    match output(global) {
        Output::Table => {
            let files = manifest["files"].as_array().map_or(0, Vec::len);
            let to = args.to.display();
            say(&format!("{} rows in {files} files below {to}", manifest["rows"]));
        }
        form => say(&pretty(&manifest, form)),
    }
    Ok(if partial.is_some() { Exit::Partial } else { Exit::Ok })
}

fn progress(quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {pos} rows  {rate}  {msg}");
    bar.set_style(style.expect("a fixed template").with_key("rate", super::rate));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn format_of(form: Form) -> ExportFormat {
    match form {
        Form::Ndjson => ExportFormat::Ndjson,
        Form::Csv => ExportFormat::Csv,
        Form::Parquet => ExportFormat::Parquet,
    }
}

async fn fetch(client: &Client, args: &Export, bar: &ProgressBar) -> Result<Value, Failure> {
    let body = json!({
        "query": args.query,
        "since": args.since,
        "until": args.until,
        "format": format_of(args.format),
    });
    let mut job = client.post("/api/v1/exports", body).await?;
    let path = format!("/api/v1/exports/{}", encoded(job["id"].as_str().unwrap_or_default()));
    while job["state"] == "running" {
        tokio::time::sleep(ASK_EVERY).await;
        job = client.get(&path).await?;
        bar.set_position(job["rows"].as_u64().unwrap_or(0));
    }
    if let Some(error) = job["error"].as_str() {
        let failure = Failure::invalid(error, "");
        client.delete(&path).await?;
        return Err(failure);
    }
    let manifest = job["manifest"].take();
    for (number, file) in manifest["files"].as_array().into_iter().flatten().enumerate() {
        let name = file["path"].as_str().unwrap_or_default();
        bar.set_message(name.to_owned());
        let to = place(&args.to, name)?;
        download(client, &format!("{path}/files/{number}"), &to, file).await?;
    }
    let text = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
    crate::run::generations::write_synced(&args.to.join("manifest.json"), &text)?;
    client.delete(&path).await?;
    Ok(manifest)
}

/// Where a file of the server's list goes: below the folder, whatever the server says.
fn place(dir: &Path, name: &str) -> Result<PathBuf, Failure> {
    let below = Path::new(name);
    let plain = |part| matches!(part, std::path::Component::Normal(_));
    if name.is_empty() || !below.components().all(plain) {
        return Err(Failure::invalid(format!("the server names a file `{name}`"), ""));
    }
    let path = dir.join(below);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(path)
}

/// Fetches a file, going on where it broke off, and compares it with the manifest.
async fn download(client: &Client, path: &str, to: &Path, listed: &Value) -> Result<(), Failure> {
    let wanted = listed["bytes"].as_u64().unwrap_or(0);
    let mut file = std::fs::File::create(to)?;
    let (mut hash, mut at, mut attempt) = (Sha256::new(), 0, 0);
    while at < wanted {
        let got = client
            .bytes(path, at, &mut |piece| {
                file.write_all(piece)?;
                hash.update(piece);
                at += piece.len() as u64;
                Ok(())
            })
            .await;
        attempt += 1;
        match got {
            Err(failure) if attempt >= ATTEMPTS => return Err(failure),
            _ if at < wanted => tokio::time::sleep(ASK_EVERY * attempt).await,
            _ => {}
        }
    }
    file.sync_all()?;
    let found: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    match listed["sha256"].as_str() == Some(&found) && at == wanted {
        true => Ok(()),
        false => {
            let message = format!("{} is not what the manifest says", to.display());
            Err(Failure::new(Exit::Integrity, message, "export again"))
        }
    }
}

fn offline(args: &Export, config: &Config, bar: &ProgressBar) -> Result<Value, Failure> {
    let failed = |e: store::StoreError| Failure::new(Exit::Integrity, e, "is --data-dir right?");
    let dir = config.data_dir.join("store");
    let (store, opened) = Store::open_read_only_with(&dir, config.tier.clone()).map_err(failed)?;
    for missing in &opened.missing {
        complain(&format!("{missing} is missing"));
    }
    let generation = Parts::of_config(config)?.compile(0, [0; 16])?;
    store.set_dictionary(generation.dict.clone());
    let now_ns = io::intake::wall_ns();
    let query = filter::search::parse(&args.query, now_ns).map_err(|e| Failure::invalid(e, ""))?;
    let mut request = SearchRequest::new(query, generation.dict);
    let lookups = Lookups::of(config).of_query(&request.query);
    request.lookups = lookups.map_err(|e| Failure::invalid(e.located_in(&args.query), ""))?;
    let time = |text: &Option<String>| {
        time_of(text.as_deref(), now_ns).map_err(|e| Failure::invalid(e.detail, ""))
    };
    (request.since_ns, request.until_ns) = (time(&args.since)?, time(&args.until)?);
    let waiting = only_in_journal(&store, &config.data_dir);
    if waiting > 0 {
        complain(&format!(
            "{waiting} records are in the journal only and not exported: start the server once, or ask it"
        ));
    }
    let made = store.export(&request, &args.query, format_of(args.format), &args.to, &mut |n| {
        bar.set_position(n);
    });
    let made = made.map_err(|e| match e {
        store::SearchError::Store(error) => failed(error),
        error => Failure::invalid(error, ""),
    })?;
    Ok(json!(made))
}

/// Records that no file has yet: those that came after the last flush.
fn only_in_journal(store: &Store, data_dir: &Path) -> u64 {
    let from = store.stored_through(0).map_or(0, |id| id.offset + 1);
    let mut count = 0;
    // A journal that cannot be read is `alcedo verify`'s business.
    let _ = journal::inspect::dump(&data_dir.join("data"), from, u64::MAX, |record| {
        count += u64::from(record.kind == RecordKind::Data && !record.continued);
    });
    count
}
