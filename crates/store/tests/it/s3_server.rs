//! A real S3 server (moto), and a proxy before it that makes the way to it bad.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use store::TierOptions;

const BUCKET: &str = "logs";
const ERROR: &[u8] =
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// What the way to the server does to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Connections are closed at once.
    Away,
    /// So many requests are answered, then connections are closed at once.
    AwayAfter(u32),
    /// Nothing is ever answered.
    Silent,
    /// Half of what is sent arrives, then the connection breaks.
    UploadsCut,
    /// So many requests are answered 500, then none.
    Errors(u32),
    /// Some bytes of the next so many answers to GET are wrong.
    WrongBytes(u32),
    /// The next upload to a name that ends so arrives, and is answered 500.
    AnswerLost(&'static str),
}

/// The server and the proxy; both end with it.
pub(crate) struct S3 {
    server: Child,
    pub(crate) server_port: u16,
    proxy_port: u16,
    fault: Arc<Mutex<Fault>>,
    requests: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
}

impl S3 {
    /// None (said on standard output) where it cannot run.
    pub(crate) fn start() -> Option<S3> {
        let server_port = free_port();
        let server = Command::new("python3")
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &server_port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut server) = server else {
            println!("skipped: S3 (python3 is missing)");
            return None;
        };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", server_port)).is_err() {
            if server.try_wait().unwrap().is_some() {
                println!("skipped: S3 (pip install 'moto[server]')");
                return None;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "moto does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let this = S3 {
            server,
            server_port,
            proxy_port: listener.local_addr().unwrap().port(),
            fault: Arc::new(Mutex::new(Fault::None)),
            requests: Arc::default(),
            ended: Arc::default(),
        };
        let (fault, requests, ended) =
            (this.fault.clone(), this.requests.clone(), this.ended.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (fault, requests) = (fault.clone(), requests.clone());
                std::thread::spawn(move || pass(client, server_port, &fault, &requests));
            }
        });
        assert!(this.ask("PUT", "").starts_with("HTTP/1.1 200"));
        Some(this)
    }

    pub(crate) fn options(&self, credentials: &Path) -> TierOptions {
        write_credentials(credentials, 0o600);
        TierOptions {
            endpoint: Some(format!("http://127.0.0.1:{}", self.proxy_port)),
            region: Some("us-east-1".into()),
            allow_http: true,
            credentials: Some(credentials.to_owned()),
            request_timeout: Duration::from_secs(20),
            ..TierOptions::new(format!("s3://{BUCKET}/alcedo/one"))
        }
    }

    pub(crate) fn fault(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// What is left to happen.
    pub(crate) fn current_fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    /// Methods of the requests since the last call.
    pub(crate) fn methods(&self) -> Vec<String> {
        let method = |line: String| line.split(' ').next().unwrap_or_default().to_owned();
        self.requests().into_iter().map(method).collect()
    }

    /// Method and path of the requests since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    /// Names of all objects whose name ends so.
    pub(crate) fn objects(&self, end: &str) -> Vec<String> {
        let listing = self.ask("GET", "?list-type=2");
        let keys = listing.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        keys.filter(|key| key.ends_with(end)).map(str::to_owned).collect()
    }

    /// One request straight to the server. Out: the whole answer.
    pub(crate) fn ask(&self, method: &str, below: &str) -> String {
        self.send(method, below, "")
    }

    /// Puts an object straight into the bucket.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let answer = self.send("PUT", name, text);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn send(&self, method: &str, below: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.server_port)).unwrap();
        let head = format!(
            "{method} /{BUCKET}/{below} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request, \
             SignedHeaders=host, Signature=0\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.proxy_port));
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

pub(crate) fn write_credentials(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let text = "# of the test\nAWS_ACCESS_KEY_ID=key-of-the-test\nAWS_SECRET_ACCESS_KEY=secret-of-the-test\n";
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One request of a connection, with what the fault of now does to it.
fn pass(mut client: TcpStream, port: u16, fault: &Mutex<Fault>, requests: &Mutex<Vec<String>>) {
    if *fault.lock().unwrap() == Fault::Away {
        return;
    }
    let Some((head, body)) = message(&mut client) else { return };
    let mut words = head.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let path = words.next().unwrap_or_default().to_owned();
    requests.lock().unwrap().push(format!("{method} {path}"));
    let now = {
        let mut fault = fault.lock().unwrap();
        let now = *fault;
        *fault = match now {
            Fault::Errors(n) => {
                if n > 1 {
                    Fault::Errors(n - 1)
                } else {
                    Fault::None
                }
            }
            Fault::AwayAfter(0) => Fault::Away,
            Fault::AwayAfter(n) => Fault::AwayAfter(n - 1),
            Fault::WrongBytes(n) if method == "GET" => {
                if n > 1 {
                    Fault::WrongBytes(n - 1)
                } else {
                    Fault::None
                }
            }
            Fault::AnswerLost(end) if method == "PUT" && path.ends_with(end) => Fault::None,
            other => other,
        };
        // It is for one upload only.
        let is_meant = !matches!(now, Fault::AnswerLost(_)) || *fault != now;
        if is_meant { now } else { Fault::None }
    };
    if now == Fault::AwayAfter(0) {
        return;
    }
    if let Fault::Errors(_) = now {
        let _ = client.write_all(ERROR);
        return;
    }
    while *fault.lock().unwrap() == Fault::Silent {
        std::thread::sleep(Duration::from_millis(50));
    }
    if now == Fault::Silent {
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let lines =
        head.split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let head = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\r\n");
    let _ = server.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes());
    if now == Fault::UploadsCut && !body.is_empty() {
        let _ = server.write_all(&body[..body.len() / 2]);
        return;
    }
    let _ = server.write_all(&body);
    let mut answer = Vec::new();
    let _ = server.read_to_end(&mut answer);
    if let (Fault::WrongBytes(_), "GET") = (now, &*method) {
        // In every block, but not in the head.
        let body = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4);
        answer[body..].iter_mut().step_by(4_000).for_each(|byte| *byte ^= 1);
    }
    if let Fault::AnswerLost(_) = now {
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        answer = ERROR.to_vec();
    }
    let _ = client.write_all(&answer);
}

/// Head and body of a request.
pub(crate) fn message(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1 << 16];
    let end = loop {
        let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&buffer[..n]);
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = bytes.split_off(end);
    while body.len() < length.unwrap_or(0) {
        let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
        body.extend_from_slice(&buffer[..n]);
    }
    Some((head, body))
}
