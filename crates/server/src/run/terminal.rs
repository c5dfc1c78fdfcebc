//! Alerts as lines on standard output, where the configuration says so.

use super::Server;
use super::outboxes::AlertFeed;
use crate::config::{Notify, NotifyTo};
use crate::verbs::say;
use io::outbox::Feed;
use std::time::Duration;
use tokio::task::AbortHandle;

/// Follows the ledger and prints alerts as they become durable.
pub fn follow(server: &Server) -> AbortHandle {
    let app = server.app.clone();
    let stream = server.ledger_stream.clone();
    let wanted: Vec<Notify> =
        app.config.notify.iter().filter(|n| n.to == NotifyTo::Terminal).cloned().collect();
    let (tell, mut told) = tokio::sync::mpsc::channel::<String>(256);
    for notify in wanted {
        let (app, stream, tell) = (app.clone(), stream.clone(), tell.clone());
        std::thread::spawn(move || {
            let mut feed = AlertFeed::new(app, stream, &notify);
            while !tell.is_closed() {
                let Some(letter) = feed.next(Duration::from_millis(500)) else { continue };
                if let Some(line) = line_of(&letter.payload)
                    && tell.blocking_send(line).is_err()
                {
                    return;
                }
                feed.printed(letter.offset);
            }
        });
    }
    drop(tell);
    tokio::spawn(async move {
        while let Some(line) = told.recv().await {
            say(&line);
        }
    })
    .abort_handle()
}

/// `02:14:05 HIGH  reason`
fn line_of(payload: &[u8]) -> Option<String> {
    let alert: serde_json::Value = serde_json::from_slice(payload).ok()?;
    let part = |name: &str| alert[name].as_str().unwrap_or("").to_owned();
    let time = part("@timestamp");
    let time = time.get(11..19).unwrap_or("");
    let level = part("kibana.alert.severity");
    let shown = alert::render::SEVERITY.iter().find(|(l, ..)| l.name() == level);
    let (word, sign) = shown.map_or(("", ' '), |(_, word, sign)| (*word, *sign));
    let reason = event::text::render(part("kibana.alert.reason").as_bytes());
    Some(format!(" {time} {sign} {word:<8} {reason}"))
}
