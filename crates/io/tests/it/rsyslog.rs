//! The most common sender there is, as a plain process, over everything it can speak to us.
use crate::recorder::{Recorder, until};
use io::framing::{Limits, Mode};
use io::sources::{syslog_tcp, syslog_udp};
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
