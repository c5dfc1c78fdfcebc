//! A browser for tests: headless Chromium behind `chromedriver`, spoken to over the few WebDriver
//! calls that are needed (<https://www.w3.org/TR/webdriver2/>).

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Starting a browser on a busy machine takes this long at worst.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest wait for something to appear on the page. It only bounds failures.
const WAIT_TIMEOUT: Duration = Duration::from_secs(90);

/// Runs before any script of a page: keeps what the page would otherwise forget.
const WATCHER: &str = "window.__violations = []; window.__errors = [];
    document.addEventListener('securitypolicyviolation', e =>
        window.__violations.push(e.violatedDirective + ' ' + e.blockedURI + ' ' + e.sample));
    addEventListener('error', e => window.__errors.push(String(e.message)));
    addEventListener('unhandledrejection', e => window.__errors.push(String(e.reason)));";

/// A running browser; closing it ends the processes that were started for it.
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one, or says `skipped: no chromium` when there is none on this machine.
    pub(crate) fn start() -> Option<Self> {
        let found = |names: &[&str]| {
            let path = std::env::var_os("PATH")?;
            let mut files = std::env::split_paths(&path)
                .flat_map(|dir| names.iter().map(move |name| dir.join(name)));
            files.find(|file: &PathBuf| file.is_file())
        };
        let chromium = found(&["chromium", "chromium-browser", "google-chrome", "chrome"]);
        let (Some(chromium), Some(chromedriver)) = (chromium, found(&["chromedriver"])) else {
            println!("skipped: no chromium");
            return None;
        };
        // The port is free for the moment between this and the driver's own bind.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let driver = Command::new(chromedriver)
            .arg(format!("--port={}", address.port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self { driver, address, session: String::new(), _profile: profile };
        let from = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(from.elapsed() < START_TIMEOUT, "chromedriver does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1400,900",
            &format!("--user-data-dir={}", browser._profile.path().display()),
        ];
        let session = browser.call(
            "POST",
            "/session",
            &json!({"capabilities": {"alwaysMatch": {
                "browserName": "chrome",
                "unhandledPromptBehavior": "ignore",
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
                "goog:chromeOptions": {"binary": chromium, "args": args},
            }}}),
        );
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        let params = json!({"cmd": "Page.addScriptToEvaluateOnNewDocument",
                            "params": {"source": WATCHER}});
        browser.command("POST", "/goog/cdp/execute", &params);
        Some(browser)
    }

    /// Loads an address.
    pub(crate) fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url }));
    }

    /// Goes to a view without loading the page again.
    pub(crate) fn view(&self, fragment: &str) {
        self.run("location.hash = arguments[0]", &json!([fragment]));
    }

    /// Runs the body of a function in the page.
    pub(crate) fn run(&self, script: &str, args: &Value) -> Value {
        self.command("POST", "/execute/sync", &json!({"script": script, "args": args}))
    }

    /// The value of an expression in the page.
    pub(crate) fn eval(&self, expression: &str) -> Value {
        self.run(&format!("return ({expression});"), &json!([]))
    }

    /// Waits until the expression is true-ish in the page, and gives its value.
    pub(crate) fn wait(&self, what: &str, expression: &str) -> Value {
        let from = Instant::now();
        loop {
            let value = self.eval(expression);
            let holds = !matches!(value, Value::Null | Value::Bool(false)) && value != json!(0);
            if holds {
                return value;
            }
            if from.elapsed() > WAIT_TIMEOUT {
                let shown = self.eval("location.href + '\\n' + document.body.innerText");
                panic!("{what} did not come: `{expression}`; the page shows:\n{shown}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the text is visible somewhere on the page.
    pub(crate) fn wait_text(&self, text: &str) {
        let expression = format!("document.body.innerText.includes({})", json!(text));
        self.wait(&format!("the text {text:?}"), &expression);
    }

    /// Presses keys one after the other; `\u{e007}` is Enter, `\u{e00c}` is Escape.
    pub(crate) fn press(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})]
            })
            .collect();
        let source = json!({"type": "key", "id": "keyboard", "actions": strokes});
        self.command("POST", "/actions", &json!({ "actions": [source] }));
    }

    /// Turns the mouse wheel over the first element that fits; negative is up.
    pub(crate) fn wheel(&self, selector: &str, by: i64) {
        let place = self.run(
            "const r = document.querySelector(arguments[0]).getBoundingClientRect();
             return [Math.round(r.left + r.width / 2), Math.round(r.top + r.height / 2)];",
            &json!([selector]),
        );
        let turn = json!({"type": "scroll", "x": place[0], "y": place[1], "deltaX": 0,
                          "deltaY": by, "duration": 0, "origin": "viewport"});
        let source = json!({"type": "wheel", "id": "wheel", "actions": [turn]});
        self.command("POST", "/actions", &json!({ "actions": [source] }));
    }

    /// Presses the first element that fits.
    pub(crate) fn click(&self, selector: &str) {
        let script = "document.querySelector(arguments[0]).click()";
        self.run(script, &json!([selector]));
    }

    /// Writes into the first field that fits, as typing does.
    pub(crate) fn fill(&self, selector: &str, text: &str) {
        self.run(
            "const field = document.querySelector(arguments[0]);
             field.value = arguments[1];
             field.dispatchEvent(new InputEvent('input', {bubbles: true}));",
            &json!([selector, text]),
        );
    }

    /// Text of an open dialog (`alert` and its kin), if there is one.
    pub(crate) fn dialog(&self) -> Option<String> {
        let path = format!("/session/{}/alert/text", self.session);
        let (status, body) = http(self.address, "GET", &path, &[], b"");
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        (status == 200).then(|| value["value"].as_str().unwrap_or_default().to_owned())
    }

    /// Messages of the browser's console since the last call.
    pub(crate) fn console(&self) -> Vec<String> {
        self.log("browser").iter().map(|e| e["message"].to_string()).collect()
    }

    /// Addresses that were requested since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        let entries = self.log("performance");
        let urls = entries.iter().filter_map(|entry| {
            let text = entry["message"].as_str()?;
            let message: Value = serde_json::from_str(text).ok()?;
            let message = &message["message"];
            let sent = message["method"] == "Network.requestWillBeSent";
            sent.then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))?
        });
        urls.collect()
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.command("POST", "/se/log", &json!({ "type": kind }));
        entries.as_array().cloned().unwrap_or_default()
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &format!("/session/{}{path}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = http(self.address, method, path, &[], body.to_string().as_bytes());
        let mut value: Value = serde_json::from_slice(&answer).unwrap_or_default();
        assert_eq!(status, 200, "{method} {path}: {value}");
        value["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // Ends the browser; the driver is ours to end.
            let path = format!("/session/{}", self.session);
            let asked = std::panic::catch_unwind(|| http(self.address, "DELETE", &path, &[], b""));
            drop(asked);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// One HTTP/1.1 exchange: status and body.
pub(crate) fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();

    let mut answer = Vec::new();
    let mut part = [0_u8; 16_384];
    loop {
        if let Some((status, length, start)) = head_of(&answer)
            && length.is_some_and(|length| answer.len() >= start + length)
        {
            let end = start + length.unwrap_or(0);
            return (status, answer[start..end].to_vec());
        }
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&part[..n]),
            // A process that was stopped for a while.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }
    let (status, _, start) = head_of(&answer).expect("an HTTP answer");
    (status, answer[start..].to_vec())
}

/// Status, content length if stated, and where the body starts.
fn head_of(answer: &[u8]) -> Option<(u16, Option<usize>, usize)> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Some((status, length, end + 4))
}
