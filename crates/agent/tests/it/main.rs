//! The agent as its users start it, against a listening server.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use agent::{AgentError, Args, run};
use io::intake::Done;
use io::sources::agent::{AgentGrant, Authenticator, Config, Denied, start};
use io::tls::{self, Authority, Purpose, ServerFiles};
use io::{Context, Intake, Refused};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Recorder(parking_lot::Mutex<Vec<String>>);

impl Intake for Recorder {
    fn submit(&self, batch: event::RawBatch, done: Done) -> Result<(), Refused> {
        let texts = batch.records.iter().map(|r| batch.record_bytes(r));
        let texts = texts.map(|b| String::from_utf8_lossy(b).into_owned());
        self.0.lock().extend(texts);
        done(Ok(event::Durable { partition: 0, first: 0, last: 0, repeats: 0 }));
        Ok(())
    }
}

struct Secret;

impl Authenticator for Secret {
    fn agent(&self, token: &str, _: IpAddr) -> Result<AgentGrant, Denied> {
        if token == "s3cret" {
            Ok(AgentGrant { source: "hosts".into(), identity: "token:web".into() })
        } else {
            Err(Denied { reason: "unknown token".into() })
        }
    }
}

async fn ships(recorder: &Recorder, args: Args, log: &Path) {
    let stop = CancellationToken::new();
    let agent = tokio::spawn(run(args, stop.clone()));
    std::fs::write(log, "one\ntwo\n").unwrap();
    for _ in 0..3000 {
        if *recorder.0.lock() == ["one", "two"] {
            stop.cancel();
            return agent.await.unwrap().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing arrived");
}

fn args(dir: &Path, port: u16) -> Args {
    std::fs::write(dir.join("token"), "s3cret\n").unwrap();
    Args {
        to: Some(format!("localhost:{port}")),
        token_file: Some(dir.join("token")),
        state: Some(dir.join("state")),
        paths: vec![dir.join("app.log")],
        ..Args::default()
    }
}

#[tokio::test]
async fn over_tls_with_our_own_authority() {
    let dir = tempfile::tempdir().unwrap();
    let now = io::intake::wall_ns();
    let authority = Authority::new("Test", now).unwrap();
    let issued = authority.issue(&["localhost".into()], Purpose::Server, now).unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name)
    };
    let (cert, key) = (file("cert.pem", &issued.cert_pem), file("key.pem", &issued.key_pem));
    let ca = file("ca.pem", &authority.cert_pem);
    let tls = tls::server_config(&ServerFiles { cert, key, client_ca: None }).unwrap();
    let recorder = Arc::new(Recorder::default());
    let context = Context::new("agents", Arc::clone(&recorder) as Arc<dyn Intake>);
    let config = Config::new("127.0.0.1:0".parse().unwrap(), Some(tls), Arc::new(Secret));
    let server = start(context, config).await.unwrap();
    let args = Args { authority: Some(ca), ..args(dir.path(), server.address.port()) };
    ships(&recorder, args, &dir.path().join("app.log")).await;
    server.stop().await;
}

#[tokio::test]
async fn plainly_over_loopback_with_settings_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let context = Context::new("agents", Arc::clone(&recorder) as Arc<dyn Intake>);
    let config = Config::new("127.0.0.1:0".parse().unwrap(), None, Arc::new(Secret));
    let server = start(context, config).await.unwrap();
    let port = server.address.port();
    std::fs::write(dir.path().join("token"), "s3cret\n").unwrap();
    let settings = dir.path().join("agent.yaml");
    let text = format!(
        "to: 127.0.0.1:{port}\nplain: true\ntoken_file: token\nstate: state\npaths: ['*.log']\n"
    );
    std::fs::write(&settings, text).unwrap();
    let args = Args { settings: Some(settings), ..Args::default() };
    ships(&recorder, args, &dir.path().join("app.log")).await;
    server.stop().await;
}

#[tokio::test]
async fn a_state_folder_serves_one_agent() {
    let dir = tempfile::tempdir().unwrap();
    let args = Args { plain: true, ..args(dir.path(), 1) };
    let stop = CancellationToken::new();
    let first = tokio::spawn(run(args.clone(), stop.clone()));
    while !dir.path().join("state/LOCK").exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let second = tokio::time::timeout(Duration::from_secs(60), run(args, stop.clone())).await;
    assert!(matches!(second, Ok(Err(AgentError::InUse { .. }))));
    stop.cancel();
    first.await.unwrap().unwrap();
}
