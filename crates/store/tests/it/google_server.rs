//! A server for the client of Google's object store: moto, with what differs translated on the way.
//!
//! Google's XML interface is that of S3 but for its conditions, which name numbers of generations
//! instead of ETags. Each ETag that comes along gets a number.

use crate::s3_server::{S3, message};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::TierOptions;

const CONDITION: &str = "x-goog-if-generation-match:";
/// By which moto knows that S3 is meant; it asks for no signature.
const SERVICE: &str = "Authorization: AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request, \
                       SignedHeaders=host, Signature=0";

type Generations = Mutex<HashMap<String, u64>>;

/// The server and the translator; both end with it.
pub(crate) struct Google {
    _server: S3,
    port: u16,
    ended: Arc<AtomicBool>,
}

impl Google {
    /// None (said on standard output) where it cannot run.
    pub(crate) fn start() -> Option<Google> {
        let server = S3::start()?;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, ended) =
            (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let (server_port, until) = (server.server_port, ended.clone());
        std::thread::spawn(move || {
            let generations = Arc::new(Generations::default());
            for client in listener.incoming().flatten() {
                if until.load(Ordering::Relaxed) {
                    return;
                }
                let generations = generations.clone();
                std::thread::spawn(move || pass(client, server_port, &generations));
            }
        });
        Some(Google { _server: server, port, ended })
    }

    pub(crate) fn options(&self, credentials: &Path, prefix: &str) -> TierOptions {
        use std::os::unix::fs::PermissionsExt;
        let base = format!("http://127.0.0.1:{}", self.port);
        let key = format!(
            r#"{{"private_key":"k","private_key_id":"k","client_email":"k","disable_oauth":true,"gcs_base_url":"{base}"}}"#
        );
        let text = format!("GOOGLE_SERVICE_ACCOUNT_KEY={key}\n");
        std::fs::write(credentials, text).unwrap();
        std::fs::set_permissions(credentials, std::fs::Permissions::from_mode(0o600)).unwrap();
        TierOptions {
            allow_http: true,
            credentials: Some(credentials.to_owned()),
            request_timeout: Duration::from_secs(20),
            ..TierOptions::new(format!("gs://logs/{prefix}"))
        }
    }
}

impl Drop for Google {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// One request of a connection.
fn pass(mut client: TcpStream, port: u16, generations: &Generations) {
    let Some((head, body)) = message(&mut client) else { return };
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let lines = head.lines().filter(|line| !line.is_empty());
    let mut lines: Vec<String> = lines.map(|line| condition(line, generations)).collect();
    lines.retain(|line| {
        let line = line.to_ascii_lowercase();
        !line.starts_with("connection:") && !line.starts_with("authorization:")
    });
    lines.extend([SERVICE.into(), "Connection: close".into()]);
    let _ = server.write_all((lines.join("\r\n") + "\r\n\r\n").as_bytes());
    let _ = server.write_all(&body);
    let mut answer = Vec::new();
    let _ = server.read_to_end(&mut answer);
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(0);
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let etag = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("etag").then(|| value.trim().to_owned())
    });
    let number = etag.map(|etag| {
        let mut generations = generations.lock().unwrap();
        let next = generations.len() as u64 + 1;
        *generations.entry(etag).or_insert(next)
    });
    let told = number.map(|number| format!("\r\nx-goog-generation: {number}")).unwrap_or_default();
    let _ = client.write_all(format!("{head}{told}\r\nConnection: close").as_bytes());
    let _ = client.write_all(&answer[end..]);
}

/// A line of a request's head, with the condition that S3 has in the place of Google's.
fn condition(line: &str, generations: &Generations) -> String {
    let Some(number) = line.to_ascii_lowercase().strip_prefix(CONDITION).map(str::to_owned) else {
        return line.to_owned();
    };
    let number: u64 = number.trim().parse().expect("a generation is a number");
    if number == 0 {
        return "If-None-Match: *".into();
    }
    let generations = generations.lock().unwrap();
    let (etag, _) = generations.iter().find(|(_, n)| **n == number).expect("it was told before");
    format!("If-Match: {etag}")
}
