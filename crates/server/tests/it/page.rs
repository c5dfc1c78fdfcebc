//! The page in a real browser, against the real binary, fed by someone who wants to own it.

use super::browser::{Browser, http};
use super::harness::Server;
use serde_json::json;

/// Would run or mislead if any of it were ever markup, a link, a template or a direction.
pub(crate) const HOSTILE: &[&str] = &[
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "</script><svg onload=alert(3)>",
    "javascript:alert(4)",
    "{{constructor.constructor('alert(5)')()}}",
    "${alert(6)}",
    "<iframe src=//attacker.example>",
    "\" autofocus onfocus=alert(7) x=\"",
    "photo\u{202e}gnp.exe",
    "\u{1b}[31mred\u{1b}[0m\u{7}",
    "__proto__",
    "constructor",
    "toString",
];

/// True once the page follows the stream: events sent before are not in the tail.
const TAIL_IS_LIVE: &str = "document.querySelector('.tail .dot-live') !== null";

/// The same as the page shows them.
pub(crate) const SHOWN: &[&str] = &[
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "</script><svg onload=alert(3)>",
    "javascript:alert(4)",
    "{{constructor.constructor('alert(5)')()}}",
    "${alert(6)}",
    "<iframe src=//attacker.example>",
    "\" autofocus onfocus=alert(7) x=\"",
    "photo\u{27ea}RLO\u{27eb}gnp.exe",
    "\u{27ea}ESC\u{27eb}[31mred\u{27ea}ESC\u{27eb}[0m\u{27ea}BEL\u{27eb}",
    "__proto__",
    "constructor",
    "toString",
];

const RULE: &str = r#"title: 'Refused <img src=x onerror=alert(10)> log-in'
id: 5d0c8a52-7d0b-4f0a-9f6e-3a1f6f7b2c11
status: test
description: 'A <script>alert(11)</script> rule'
author: '</script><svg onload=alert(12)>'
references:
  - 'javascript:alert(13)'
  - 'https://rules.example/a?b=<c>'
logsource:
  product: linux
  service: sshd
detection:
  words:
    - 'Failed password'
  condition: words
level: high
tags:
  - attack.t1110
"#;

/// Server, its rule folder and a signed-in browser.
pub(crate) struct Scene {
    pub(crate) server: Server,
    pub(crate) browser: Browser,
    _rules: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn start() -> Option<Self> {
        let browser = Browser::start()?;
        let rules = tempfile::tempdir().unwrap();
        let folder = rules.path().join("rules");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("hostile.yml"), RULE).unwrap();
        let broken =
            "title: '<b>broken</b>'\nlogsource: {product: linux}\ndetection: {condition: x}\n";
        std::fs::write(folder.join("broken.yml"), broken).unwrap();
        let config = format!(
            "rules: ['{}']\nsources:\n  web: {{type: http}}\n\
             notify: [{{to: file, path: '{}'}}]\n",
            folder.display(),
            rules.path().join("alerts.ndjson").display()
        );
        let server = Server::start(&config);
        Some(Self { server, browser, _rules: rules })
    }

    pub(crate) fn home(&self) -> String {
        format!("http://{}/", self.server.http)
    }

    pub(crate) fn ingest(&self, kind: &str, body: &str) {
        let bearer = format!("Bearer {}", self.server.admin_token.trim());
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", kind)];
        let path = "/api/v1/ingest?source=web";
        let (status, answer) = http(self.server.http, "POST", path, &headers, body.as_bytes());
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    }

    /// A refused log-in of that user, which the rule is about.
    pub(crate) fn refuse(&self, user: &str) {
        let now = jiff::Timestamp::now();
        self.ingest(
            "text/plain",
            &format!(
                "<38>{now:.3} web-01 sshd[4411]: Failed password for invalid user {user} \
                 from 203.0.113.7 port 50022 ssh2\n"
            ),
        );
    }

    /// Events with hostile text in every place: values, and the names of fields.
    pub(crate) fn hostile_events(&self) {
        let now = jiff::Timestamp::now();
        let mut body = String::new();
        for (i, text) in HOSTILE.iter().enumerate() {
            let mut event = serde_json::Map::new();
            event.insert("@timestamp".into(), json!(format!("{now:.3}")));
            for field in ["message", "user.name", "process.name", "url.original", "file.name"] {
                event.insert(field.into(), json!(format!("{text} walked")));
            }
            event.insert("number".into(), json!(i));
            event.insert((*text).into(), json!(text));
            body.push_str(&json!(event).to_string());
            body.push('\n');
        }
        self.ingest("application/x-ndjson", &body);
    }

    pub(crate) fn sign_in(&self) {
        self.sign_in_with(&self.server.admin_token);
    }

    pub(crate) fn sign_in_with(&self, token: &str) {
        self.browser.open(&self.home());
        self.browser.wait("the sign-in form", "document.querySelector('#token') !== null");
        self.enter(token);
        self.browser.wait("the shell", "document.querySelector('.top nav') !== null");
    }

    fn enter(&self, token: &str) {
        self.browser.fill("#token", token.trim());
        self.browser.wait("the button", "!document.querySelector('.sign-in .primary').disabled");
        self.browser.click(".sign-in .primary");
    }

    /// Nothing ran, nothing was blocked on the way to running, nothing left for elsewhere.
    pub(crate) fn assert_inert(&self, place: &str) {
        let browser = &self.browser;
        assert_eq!(browser.dialog(), None, "{place}: a dialog opened");
        assert_eq!(browser.eval("window.__violations"), json!([]), "{place}: policy violations");
        assert_eq!(browser.eval("window.__errors"), json!([]), "{place}: script errors");
        let scripts = "[...document.scripts].map(s => new URL(s.src).pathname)";
        assert_eq!(browser.eval(scripts), json!(["/ui/src/main.js"]), "{place}: scripts");
        let foreign = "document.querySelectorAll('img, iframe, object, embed, base, form[action], \
                       animate, set, foreignObject, [srcdoc], [onerror], [onload], [onfocus]').length";
        assert_eq!(browser.eval(foreign), json!(0), "{place}: foreign elements");
        let links = "[...document.querySelectorAll('[href]')].map(e => e.href)\
                     .filter(h => !/^(https?:|data:image\\/svg)/.test(String(h)))";
        assert_eq!(browser.eval(links), json!([]), "{place}: links that are not web links");
        let unsafe_text = "/[\\u0000-\\u0009\\u000b-\\u001f\\u007f-\\u009f\\u202a-\\u202e\\u2066-\\u2069]/\
                           .test([...document.querySelectorAll('.untrusted')].map(e => e.textContent).join(''))";
        assert_eq!(browser.eval(unsafe_text), json!(false), "{place}: raw control characters");
        for url in browser.requests() {
            let own = url.starts_with(&self.home());
            let chrome = url.starts_with("data:") || url.starts_with("chrome");
            assert!(own || chrome, "{place}: asked {url}");
        }
        for line in browser.console() {
            let bad = ["Content Security Policy", "Trusted", "Uncaught"];
            assert!(!bad.iter().any(|b| line.contains(b)), "{place}: console: {line}");
        }
    }
}

/// Ways of a script to turn text into markup or code; the page has no use for any of them.
const SINKS: &[&str] = &[
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "dangerouslySetInnerHTML",
    "createContextualFragment",
    "parseHTMLUnsafe",
    "setHTMLUnsafe",
    "document.write",
    "DOMParser",
    "eval(",
    "new Function",
    "trustedTypes",
    "srcdoc",
    "await import(",
];

/// All files of the page, compressed, in bytes: it opens at once on a slow link too.
const PAGE_BYTES_MAX: usize = 150_000;

#[test]
fn the_pages_sources_name_no_sink_and_stay_small() {
    let ui = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ui");
    let mut size = 0;
    let mut own_files = 0;
    for folder in ["", "src", "vendor"] {
        for entry in std::fs::read_dir(ui.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
            if !["js", "css", "html"].contains(&ending) {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let level = flate2::Compression::best();
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), level);
            std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
            size += packed.finish().unwrap().len();
            if folder == "src" {
                own_files += 1;
                for sink in SINKS {
                    assert!(!text.contains(sink), "{} uses {sink}", path.display());
                }
            }
        }
    }
    assert!(own_files > 10, "the page's sources are not where this test looks");
    assert!(size <= PAGE_BYTES_MAX, "{size} bytes");
}

#[test]
fn without_a_valid_token_there_is_only_the_sign_in_form() {
    let Some(scene) = Scene::start() else { return };
    let browser = &scene.browser;
    browser.open(&format!("{}#/alerts", scene.home()));
    browser.wait("the sign-in form", "document.querySelector('#token') !== null");
    assert_eq!(browser.eval("document.querySelector('.top') === null"), json!(true));

    // A used-up setup link says so, and is gone from the address.
    browser.open(&format!("{}?again#setup=alc_no-such-token", scene.home()));
    browser.wait("the refusal", "document.querySelector('[role=alert]') !== null");
    assert_eq!(browser.eval("location.href.includes('alc_')"), json!(false));
    browser.fill("#token", "alc_wrong");
    browser.wait("the button", "!document.querySelector('.sign-in .primary').disabled");
    browser.click(".sign-in .primary");
    browser.wait_text("This token is not valid");

    scene.sign_in();
    // A session that ends elsewhere brings the form back.
    browser.run(
        "fetch('/api/v1/session', {method: 'DELETE', headers: {'x-alcedo': '1'}})",
        &json!([]),
    );
    browser.view("#/sources");
    browser.wait("the sign-in form", "document.querySelector('#token') !== null");
    scene.assert_inert("sign-in");
}

#[test]
fn hostile_text_stays_text_in_every_view() {
    let Some(scene) = Scene::start() else { return };
    let browser = &scene.browser;
    scene.sign_in();
    scene.hostile_events();
    scene.refuse("<img/src=x/onerror=alert(20)>");

    browser.view("#/overview");
    browser.wait_text("Refused <img src=x onerror=alert(10)> log-in");
    browser.wait("the rate", "document.querySelector('.rate .line').getAttribute('d').length > 3");
    scene.assert_inert("overview");

    browser.view("#/search?q=walked&since=1h");
    let rows = format!("document.querySelectorAll('.event').length >= {}", HOSTILE.len());
    browser.wait("the rows", &rows);
    for shown in SHOWN {
        browser.wait_text(shown);
    }
    browser.wait("the histogram", "document.querySelectorAll('.histogram .bars rect').length");
    scene.assert_inert("search");

    // Every row opened once: values, field names, and the menu of a value.
    for row in 0..HOSTILE.len() {
        let at = json!([row]);
        browser.run("document.querySelectorAll('.event-line')[arguments[0]].click()", &at);
        browser.wait("the fields", "document.querySelectorAll('.fields tr').length > 5");
        scene.assert_inert("an open row");
    }
    browser.run(
        "[...document.querySelectorAll('.fields tr')]
             .find(row => row.querySelector('th').innerText === 'user.name')
             .querySelector('.dots').click()",
        &json!([]),
    );
    browser.wait("the menu", "document.querySelectorAll('.menu button').length >= 3");
    browser.run("[...document.querySelectorAll('.menu button')].find(b => b.innerText === 'Only this').click()", &json!([]));
    browser.wait("the narrowed search", "document.querySelectorAll('.event').length >= 1 && document.querySelector('#query').value.includes(':\"')");
    scene.assert_inert("a followed value");

    browser.view("#/search?q=walked%20%7C%20stats%20count()%20by%20user.name&since=1h");
    browser.wait("the counts", "document.querySelectorAll('table.stats tbody tr').length > 5");
    browser.wait_text(SHOWN[1]);
    scene.assert_inert("counts");

    browser.view("#/search?q=user.name%3A(&since=1h");
    browser.wait_text("Column ");
    scene.assert_inert("a query with a mistake");

    browser.view("#/tail");
    browser.wait("the stream", TAIL_IS_LIVE);
    scene.hostile_events();
    browser.wait_text(&format!("{} walked", SHOWN[0]));
    browser.wait_text(&format!("{} walked", SHOWN[8]));
    scene.assert_inert("tail");

    browser.view("#/sources");
    browser.wait("the senders", "document.querySelectorAll('.sources tbody tr').length");
    scene.assert_inert("sources");

    browser.view("#/rules");
    browser.wait_text("Refused <img src=x onerror=alert(10)> log-in");
    browser.wait_text("Failed");
    browser.click(".rule-row");
    browser.wait("the rule", "document.querySelector('.detail') !== null");
    browser.click(".reload");
    browser.wait("the answer", "document.querySelector('.toast') !== null");
    scene.assert_inert("rules");
}

#[test]
fn alerts_come_live_and_are_worked_by_keyboard() {
    let Some(scene) = Scene::start() else { return };
    let browser = &scene.browser;
    scene.sign_in();
    browser.view("#/alerts");
    browser.wait_text("No open alerts");
    browser.run("window.__same_page = true", &json!([]));

    scene.refuse("kim");
    browser.wait_text("Refused <img src=x onerror=alert(10)> log-in");
    assert_eq!(browser.eval("window.__same_page"), json!(true), "no reload");

    browser.press("j\u{e007}");
    browser.wait("the panel", "document.querySelector('.detail h2') !== null");
    browser.wait("the reason", "document.querySelector('.detail .reason').innerText.length > 5");
    // Why it fired: the leaf passed and what matched is marked in the raw line.
    browser.wait("the marked value", "document.querySelector('.why mark') !== null");
    let marked = browser.eval("document.querySelector('.why mark').innerText.toLowerCase()");
    assert_eq!(marked, json!("failed password"));
    browser.wait("the evidence", "document.querySelectorAll('.detail .events .event').length");
    browser.wait("the lanes", "document.querySelectorAll('.lanes .mark').length");
    browser.wait(
        "the delivery",
        "document.querySelector('.deliveries')?.innerText.startsWith('Delivered')",
    );
    // Of the rule's two references one may be a link.
    let links = "[...document.querySelectorAll('.detail a[target=_blank]')].map(a => a.protocol)";
    assert_eq!(browser.eval(links), json!(["https:"]));
    scene.assert_inert("an alert");

    browser.press("a");
    browser
        .wait("the state", "document.querySelector('.detail-head .state-acknowledged') !== null");
    // Acknowledged, and taken.
    browser.wait("the history", "document.querySelectorAll('.history li').length === 2");
    browser.press("c");
    browser.wait("the dialog", "document.querySelector('dialog[open]') !== null");
    browser.click("dialog input[value=false_positive]");
    browser.fill("dialog textarea", "known <b>scanner</b>");
    browser.wait("the choice", "!document.querySelector('dialog .primary').disabled");
    browser.click("dialog .primary");
    browser.wait("the history", "document.querySelectorAll('.history li').length === 3");
    browser.wait_text("known <b>scanner</b>");
    browser.wait_text("False positive");
    browser.press("\u{e00c}");
    browser.wait_text("No open alerts");
    scene.assert_inert("a closed alert");
}

/// Someone who follows a link the moment the page is drawn arrives there.
#[test]
fn an_address_changed_at_the_first_paint_is_followed() {
    let Some(scene) = Scene::start() else { return };
    scene.browser.open(&scene.home());
    scene.browser.wait("the sign-in form", "document.querySelector('#token') !== null");
    scene.browser.run(
        "const drawn = new MutationObserver(() => {
             if (document.querySelector('.top nav') === null) return;
             drawn.disconnect();
             location.hash = '#/tail';
         });
         drawn.observe(document.body, {childList: true, subtree: true});",
        &json!([]),
    );
    scene.enter(&scene.server.admin_token);
    scene.browser.wait("the tail", "document.querySelector('.tail-box') !== null");
}

#[test]
fn the_tail_stands_still_for_its_reader() {
    let Some(scene) = Scene::start() else { return };
    let browser = &scene.browser;
    scene.sign_in();
    browser.view("#/tail");
    browser.wait("the stream", TAIL_IS_LIVE);
    let lines = |from: usize, n: usize| -> String {
        (from..from + n)
            .map(|i| json!({"message": format!("line {i}")}).to_string() + "\n")
            .collect()
    };
    scene.ingest("application/x-ndjson", &lines(0, 80));
    browser.wait_text("line 79");
    browser.wheel(".tail-box", -400);
    browser.wait("the freeze", "document.querySelector('.new-count') !== null");
    let before = browser.eval("[document.querySelector('.tail-box').scrollTop, document.querySelectorAll('.tail-box .event').length]");
    scene.ingest("application/x-ndjson", &lines(80, 1_000));
    browser.wait("the count", "/^1.000 new/.test(document.querySelector('.new-count').innerText)");
    let after = browser.eval("[document.querySelector('.tail-box').scrollTop, document.querySelectorAll('.tail-box .event').length]");
    assert_eq!(before, after, "nothing moves while frozen");
    browser.press("\u{e010}");
    browser.wait_text("line 1079");
    let rows = browser.eval("document.querySelectorAll('.tail-box .event').length");
    assert!(rows.as_u64().is_some_and(|n| n <= 300), "bounded: {rows}");
    scene.assert_inert("tail");
}
