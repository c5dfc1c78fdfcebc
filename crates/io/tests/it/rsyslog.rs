//! The most common sender there is, as a plain process, over everything it can speak to us.
use crate::recorder::{Recorder, until};
use io::framing::{Limits, Mode};
use io::sources::{relp, syslog_tcp, syslog_udp};
use io::tls::{self, Authority, Purpose, ServerFiles};
use io::{Context, Drained, Running};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// Ends the process it started, however the test ends.
struct Rsyslog(Child);

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(dir: &Path, actions: &str) -> Rsyslog {
    let config = dir.join("rsyslog.conf");
    let text = format!(
        "global(workDirectory=\"{dir}\" parser.escapeControlCharactersOnReceive=\"off\")\n\
         module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
         input(type=\"imuxsock\" Socket=\"{dir}/log\" RateLimit.Interval=\"0\")\n{actions}",
        dir = dir.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("rsyslogd");
    command.arg("-n").arg("-f").arg(&config).arg("-i").arg(dir.join("pid"));
    Rsyslog(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn forward(running: &Running, protocol: &str, more: &str) -> String {
    let (host, port) = (running.address.ip(), running.address.port());
    format!(
        "action(type=\"omfwd\" target=\"{host}\" port=\"{port}\" protocol=\"{protocol}\" {more} \
         template=\"RSYSLOG_SyslogProtocol23Format\")\n"
    )
}

async fn tcp(mode: Mode) -> (Arc<Recorder>, Running) {
    let recorder = Arc::new(Recorder::default());
    let context = Context::new("edge", Arc::clone(&recorder) as Arc<dyn io::Intake>);
    let mut config = syslog_tcp::Config::plain("127.0.0.1:0".parse().unwrap());
    config.framing = Limits { mode, ..Limits::default() };
    (recorder, syslog_tcp::start(context, config).await.unwrap())
}

#[tokio::test]
async fn rsyslog_forwards_over_both_framings_and_udp() {
    if Command::new("rsyslogd").arg("-v").stdout(Stdio::null()).status().is_err() {
        println!("skipped: no rsyslogd");
        return;
    }
    let (counted, counted_source) = tcp(Mode::Auto).await;
    let (lines, lines_source) = tcp(Mode::Auto).await;
    let udp = Arc::new(Recorder::default());
    let context = Context::new("edge", Arc::clone(&udp) as Arc<dyn io::Intake>);
    let config = syslog_udp::Config::on("127.0.0.1:0".parse().unwrap());
    let udp_source = syslog_udp::start(context, config).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let actions = forward(&counted_source, "tcp", "TCP_Framing=\"octet-counted\"")
        + &forward(&lines_source, "tcp", "TCP_Framing=\"traditional\"")
        + &forward(&udp_source, "udp", "");
    let rsyslog = start(dir.path(), &actions);
    until("the socket", || dir.path().join("log").exists()).await;

    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(dir.path().join("log")).unwrap();
    for n in 0..200 {
        let text = format!("<38>Oct 11 22:14:15 sshd[77]: number {n:03} caf\u{e9}");
        socket.send(text.as_bytes()).unwrap();
    }
    socket.send(b"<38>Oct 11 22:14:15 app: two\nlines \xff\xfe").unwrap();

    until("all over octet counting", || counted.kept().len() == 201).await;
    until("all over newlines", || lines.kept().len() == 202).await;
    until("all over UDP", || udp.kept().len() == 201).await;
    for recorder in [&counted, &lines, &udp] {
        for (n, text) in recorder.texts().iter().take(200).enumerate() {
            assert!(text.starts_with("<38>1 ") && text.contains(" sshd 77 - - "), "{text}");
            assert!(text.ends_with(&format!("number {n:03} caf\u{e9}")), "{text}");
        }
    }
    // Only a counted frame and a datagram can carry a line break; its bytes are as sent.
    for recorder in [&counted, &udp] {
        assert!(recorder.kept()[200].2.ends_with(b"two\nlines \xff\xfe"));
    }
    assert!(lines.kept()[200].2.ends_with(b"two"));
    assert_eq!(lines.kept()[201].2, b"lines \xff\xfe");
    drop(rsyslog);
    for source in [counted_source, lines_source, udp_source] {
        assert_eq!(source.stop().await, Drained::Clean);
    }
}

/// Whether rsyslog has its sender of RELP, a package of its own.
fn has_relp(dir: &Path) -> bool {
    let config = dir.join("relp.conf");
    std::fs::write(
        &config,
        "module(load=\"omrelp\")\naction(type=\"omfile\" file=\"/dev/null\")\n",
    )
    .unwrap();
    let mut check = Command::new("rsyslogd");
    check.arg("-N1").arg("-f").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
    check.status().is_ok_and(|status| status.success())
}

async fn relp(tls: Option<&ServerFiles>) -> (Arc<Recorder>, Running) {
    let recorder = Arc::new(Recorder::default());
    let context = Context::new("edge", Arc::clone(&recorder) as Arc<dyn io::Intake>);
    let tls = tls.map(|files| tls::server_config(files).unwrap());
    let plain = relp::Config::plain("127.0.0.1:0".parse().unwrap());
    (recorder, relp::start(context, relp::Config { tls, ..plain }).await.unwrap())
}

fn forward_relp(running: &Running, more: &str) -> String {
    format!(
        "action(type=\"omrelp\" target=\"127.0.0.1\" port=\"{}\" {more} \
         template=\"RSYSLOG_SyslogProtocol23Format\")\n",
        running.address.port()
    )
}

#[tokio::test]
async fn rsyslog_forwards_over_relp_with_and_without_tls() {
    let dir = tempfile::tempdir().unwrap();
    if !has_relp(dir.path()) {
        println!("skipped: no rsyslogd with omrelp");
        return;
    }
    let now = io::intake::wall_ns();
    let ca = Authority::new("test", now).unwrap();
    let file = |name: &str, pem: &str| {
        let path = dir.path().join(name);
        tls::write_private(&path, pem).unwrap();
        path
    };
    let issued = |name: &str, purpose| {
        let made = ca.issue(&[name.to_owned()], purpose, now).unwrap();
        (file(&format!("{name}.pem"), &made.cert_pem), file(&format!("{name}.key"), &made.key_pem))
    };
    let ca_file = file("ca.pem", &ca.cert_pem);
    let (cert, key) = issued("localhost", Purpose::Server);
    let (own_cert, own_key) = issued("host-7.example", Purpose::Client);
    let files = ServerFiles { cert, key, client_ca: Some(ca_file.clone()) };
    let (plain, plain_source) = relp(None).await;
    let (secure, secure_source) = relp(Some(&files)).await;
    let with_tls = format!(
        "tls=\"on\" tls.cacert=\"{}\" tls.mycert=\"{}\" tls.myprivkey=\"{}\" tls.authmode=\"name\" \
         tls.permittedpeer=[\"localhost\"]",
        ca_file.display(),
        own_cert.display(),
        own_key.display()
    );
    let actions = "module(load=\"omrelp\")\n".to_owned()
        + &forward_relp(&plain_source, "")
        + &forward_relp(&secure_source, &with_tls);
    let rsyslog = start(dir.path(), &actions);
    until("the socket", || dir.path().join("log").exists()).await;
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(dir.path().join("log")).unwrap();
    // More than a window: answers have to come for all of them to be sent.
    for n in 0..1000 {
        socket.send(format!("<38>Oct 11 22:14:15 sshd[77]: number {n:03}").as_bytes()).unwrap();
    }
    socket.send(b"<38>Oct 11 22:14:15 app: two\nlines \xff\xfe").unwrap();
    for recorder in [&plain, &secure] {
        until("all over RELP", || recorder.texts().len() == 1001).await;
        for (n, text) in recorder.texts().iter().take(1000).enumerate() {
            assert!(text.starts_with("<38>1 "), "{text}");
            assert!(text.ends_with(&format!("number {n:03}")), "{text}");
        }
        assert!(recorder.kept()[1000].2.ends_with(b"two\nlines \xff\xfe"));
    }
    assert_eq!(&*secure.kept()[0].0.identity, "cert:host-7.example");
    assert_eq!(&*plain.kept()[0].0.identity, "unauthenticated");
    drop(rsyslog);
    for source in [plain_source, secure_source] {
        assert_eq!(source.stop().await, Drained::Clean);
    }
}
