//! Working with the page in a real browser: steps on alerts, saved searches, exports, tokens, and what
//! each role is offered. Names, notes and queries are written by someone who wants to own it.

use super::page::{HOSTILE, SHOWN, Scene};
use serde_json::json;

/// A person whose name would run, or turn the line around, if it were ever markup.
const NAME: &str = "<img src=x onerror=alert(30)>\u{202e}mik";
/// The same as the page shows it.
const NAME_SHOWN: &str = "<img src=x onerror=alert(30)>\u{27ea}RLO\u{27eb}mik";
const ESCAPE: &str = "\u{e00c}";
const ENTER: &str = "\u{e007}";

impl Scene {
    /// A new token of that role: its text and its identity.
    fn token(&self, name: &str, role: &str) -> (String, String) {
        let wish = json!({"name": name, "role": role}).to_string();
        let (status, made) =
            self.server.ask("POST", "/api/v1/tokens", &self.server.admin_token, &wish);
        assert_eq!(status, 200, "{made}");
        let id = made["id"].as_str().unwrap();
        (made["token"].as_str().unwrap().to_owned(), format!("token:{id}"))
    }

    /// The queue with the first line's panel open.
    fn open_first_alert(&self) {
        self.browser.view("#/alerts");
        self.browser.wait("the line", "document.querySelector('.queue-row') !== null");
        self.browser.press(&format!("j{ENTER}"));
        self.browser.wait("the panel", "document.querySelector('.detail h2') !== null");
    }

    fn wait_dialog(&self) {
        self.browser.wait("the dialog", "document.querySelector('dialog[open]') !== null");
    }

    /// Presses the dialog's button and waits until its work is done.
    fn submit_dialog(&self) {
        let ready = "!document.querySelector('dialog[open] .primary').disabled";
        self.browser.wait("the dialog's button", ready);
        self.browser.click("dialog[open] .primary");
        self.browser.wait("the dialog's end", "document.querySelector('dialog') === null");
    }

    fn choose(&self, selector: &str, value: &str) {
        self.browser.run(
            "const field = document.querySelector(arguments[0]);
             field.value = arguments[1];
             field.dispatchEvent(new Event('change', {bubbles: true}));",
            &json!([selector, value]),
        );
    }
}

#[test]
fn an_alert_is_given_noted_closed_and_reopened_by_keyboard() {
    let Some(scene) = Scene::start() else { return };
    let browser = &scene.browser;
    let (_, other) = scene.token(NAME, "analyst");
    scene.sign_in();
    scene.refuse("kim");
    scene.open_first_alert();

    browser.press("i");
    scene.wait_dialog();
    let offered = format!("document.querySelector('#assignee option[value=\"{other}\"]') !== null");
    browser.wait("the person", &offered);
    scene.choose("#assignee", &other);
    scene.submit_dialog();
    browser.wait_text(&format!("assigned to {NAME_SHOWN}"));
    browser.press("n");
    scene.wait_dialog();
    browser.fill("dialog textarea", "ask </textarea><script>alert(31)</script> first");
    // Typing a letter that is a key of the queue is typing.
    browser.press("c");
    scene.submit_dialog();
    browser.wait_text("ask </textarea><script>alert(31)</script> first");
    scene.assert_inert("an alert that was worked on");

    // Closing needs both; a dialog keeps what was typed until it is done.
    browser.press("c");
    scene.wait_dialog();
    browser.click("dialog input[value=true_positive]");
    assert_eq!(browser.eval("document.querySelector('dialog .primary').disabled"), json!(true));
    browser.fill("dialog textarea", "phished");
    scene.submit_dialog();
    browser.wait("closed", "document.querySelector('.detail-head .state-closed') !== null");
    browser.press("r");
    scene.wait_dialog();
    browser.fill("dialog textarea", "a second one");
    scene.submit_dialog();
    browser.wait("open again", "document.querySelector('.detail-head .state-new') !== null");
    browser.wait_text("a second one");
    browser.press("a");
    browser.wait("taken", "document.querySelector('.detail-head .state-acknowledged') !== null");
    // What somebody has is not taken from them.
    let facts = "document.querySelector('.detail .facts').innerText";
    browser.wait("the assignee", &format!("{facts}.includes('mik')"));
    browser.press("i");
    scene.wait_dialog();
    scene.submit_dialog();
    browser.wait("mine", &format!("{facts}.includes('(you)')"));
    browser.press(ESCAPE);
    browser.view("#/alerts?assignee=me");
    browser.wait("my line", "document.querySelectorAll('.queue-row').length === 1");
    browser.view("#/alerts?assignee=none");
    browser.wait_text("No alert fits this filter.");
    scene.assert_inert("the queue");
}

#[test]
fn every_matching_alert_is_closed_at_once() {
    let Some(scene) = Scene::start() else { return };
    let browser = &scene.browser;
    scene.sign_in();
    for n in 0..12 {
        scene.refuse(&format!("user{n}"));
    }
    browser.view("#/alerts");
    browser.wait_text("12 alerts match, all loaded");
    browser.press("*");
    browser.wait_text("All 12 alerts that match this filter are chosen");
    browser.press(ESCAPE);
    browser.wait("nothing chosen", "document.querySelector('.all-chosen') === null");
    browser.press("*c");
    scene.wait_dialog();
    browser.wait_text("Close all 12 matching alerts");
    browser.click("dialog input[value=benign_true_positive]");
    browser.fill("dialog textarea", "a test of ours");
    scene.submit_dialog();
    browser.wait_text("No open alerts");
    browser.wait_text("12 alerts closed");
    scene.assert_inert("an empty queue");
}

/// Scenario: more alerts than the page loads by itself; one that is not loaded changes, and one comes
/// after all were chosen.
/// Guarantees: the number of matching alerts stays right; what was not there to be chosen is not closed.
#[test]
fn what_came_after_the_choice_is_not_chosen() {
    const MANY: usize = 2_600;
    let Some(scene) = Scene::start() else { return };
    let browser = &scene.browser;
    let now = jiff::Timestamp::now();
    let lines: String = (0..MANY)
        .map(|n| {
            format!(
                "<38>{now:.3} web-01 sshd[4411]: Failed password for invalid user user{n} \
                 from 203.0.113.7 port 50022 ssh2\n"
            )
        })
        .collect();
    scene.ingest("text/plain", &lines);
    let all = scene.server.eventually("the alerts", |server| {
        let found = server.get("/api/v1/alerts?state=all&limit=1000");
        (found["matching"] == MANY).then_some(found)
    });
    let cursor = all["next"].as_str().unwrap().to_owned();
    let next = scene.server.get(&format!("/api/v1/alerts?limit=1000&cursor={cursor}"));
    let path = format!("/api/v1/alerts?limit=1000&cursor={}", next["next"].as_str().unwrap());
    let oldest =
        scene.server.get(&path)["alerts"].as_array().unwrap().last().unwrap()["id"].clone();
    scene.sign_in();
    browser.view("#/alerts");
    let number = |below: usize| format!("2\u{202f}{below:03}");
    browser.wait_text(&format!("{} alerts match, {} loaded", number(600), number(0)));

    let path = format!("/api/v1/alerts/{}/note", oldest.as_str().unwrap());
    let noted = scene.server.ask("POST", &path, &scene.server.admin_token, r#"{"text": "x"}"#);
    assert_eq!(noted.0, 200);
    scene.refuse("one-more");
    browser.wait_text(&format!("{} alerts match, {} loaded", number(601), number(2)));
    browser.press("*");
    browser.wait_text(&format!("All {} alerts that match this filter are chosen", number(601)));
    scene.refuse("too-late");
    browser.wait_text(&format!("{} alerts match", number(602)));
    browser.wait_text(&format!("All {} alerts that match this filter are chosen", number(601)));
    browser.press("c");
    scene.wait_dialog();
    browser.wait_text(&format!("Close all {} matching alerts", number(601)));
    browser.click("dialog input[value=benign_true_positive]");
    browser.fill("dialog textarea", "a test of ours");
    scene.submit_dialog();
    browser.wait_text("1 alert matches, all loaded");
    let left = scene.server.get("/api/v1/alerts");
    assert!(left["alerts"][0]["reason"].as_str().unwrap().contains("too-late"), "{left}");
}

/// Scenario: somebody who may only read, in every view, and with the keys of every step.
/// Guarantees: no step is offered, no key takes one, views that are not theirs say so, and the server
/// refuses what the page does not offer.
#[test]
fn a_reader_is_offered_no_step_and_refused_each() {
    let Some(scene) = Scene::start() else { return };
    let browser = &scene.browser;
    let (reader, _) = scene.token(NAME, "reader");
    scene.refuse("kim");
    scene.sign_in_with(&reader);
    browser.wait_text(NAME_SHOWN);
    let words = browser.eval("document.querySelector('.top nav').innerText");
    let words = words.as_str().unwrap();
    assert!(words.contains("Search") && !words.contains("Tokens"), "{words}");
    scene.open_first_alert();
    browser.wait("the alert", "document.querySelector('.detail .actions') !== null");
    browser.press("acinr*");
    let offered = "[...document.querySelectorAll('.detail .actions button')].map(b => b.innerText)";
    assert_eq!(browser.eval(offered), json!(["Copy link"]));
    assert_eq!(browser.eval("document.querySelector('dialog, .all-chosen') === null"), json!(true));
    browser.view("#/search?q=walked");
    browser.wait("the form", "document.querySelector('form.bar') !== null");
    let buttons = "[...document.querySelectorAll('form.bar button')].map(b => b.innerText).join()";
    let buttons = browser.eval(buttons).as_str().unwrap().to_owned();
    assert!(!buttons.contains("Save\u{2026}") && !buttons.contains("Export"), "{buttons}");
    browser.view("#/rules");
    browser.wait("the rules", "document.querySelector('.rule-row') !== null");
    assert_eq!(browser.eval("document.querySelector('.reload') === null"), json!(true));
    browser.view("#/tokens");
    browser.wait_text("Your role has no access to \"Tokens\"");
    browser.view("#/audit");
    browser.wait_text("You see what you did yourself");
    let refused = browser.run(
        "return (async () => {
         const alert = (await (await fetch('/api/v1/alerts')).json()).alerts[0];
         const step = (path, body) => fetch(path, {method: 'POST', body: JSON.stringify(body),
             headers: {'content-type': 'application/json', 'x-alcedo': '1'}}).then(a => a.status);
         return [alert.state, await step(`/api/v1/alerts/${alert.id}/triage`, {to: 'acknowledged'}),
             await step('/api/v1/alerts/assign', {filter: {}, assignee: 'me'})];
         })();",
        &json!([]),
    );
    assert_eq!(refused, json!(["new", 403, 403]));
    scene.assert_inert("a reader's page");

    // A token that only sends signs in to nothing.
    let (sender, _) = scene.token("sender", "ingest");
    browser.run("return fetch('/api/v1/session', {method: 'DELETE', headers: {'x-alcedo': '1'}}).then(a => a.status)", &json!([]));
    scene.sign_in_with(&sender);
    browser.wait_text("it is for sending");
}

/// Scenario: an administrator, who reads no alerts, and an auditor, who reads no events.
/// Guarantees: each has the views of the role and none of the others, without errors for what the page
/// would ask for somebody else.
#[test]
fn administrators_and_auditors_have_their_own_views() {
    let Some(scene) = Scene::start() else { return };
    let browser = &scene.browser;
    let sign_out = "return fetch('/api/v1/session', {method: 'DELETE', headers: {'x-alcedo': '1'}})
         .then(a => a.status)";
    let views = "[...document.querySelectorAll('.top nav a')].map(a => a.innerText)";
    let (admin, _) = scene.token("adm", "admin");
    scene.sign_in_with(&admin);
    browser.wait(
        "the destination",
        "document.querySelector('.destinations')?.innerText.includes('file')",
    );
    assert_eq!(browser.eval(views), json!(["Overview", "Sources", "Rules", "Tokens", "Audit log"]));
    assert_eq!(browser.eval("document.querySelector('.newest') === null"), json!(true));
    let dead = "[...document.querySelectorAll('.overview a')].filter(a => a.hash.startsWith('#/alerts')).length";
    assert_eq!(browser.eval(dead), json!(0), "links to what is not theirs");
    // No stream is asked for that would be refused, and the figures come all the same.
    let asked = browser.requests();
    assert!(!asked.iter().any(|url| url.contains("/stream")), "{asked:?}");
    assert_eq!(browser.eval("document.querySelector('.lost') === null"), json!(true));
    scene.assert_inert("an administrator's page");

    let (auditor, _) = scene.token("aud", "auditor");
    browser.run(sign_out, &json!([]));
    scene.sign_in_with(&auditor);
    browser.wait("the views", "document.querySelectorAll('.top nav a').length === 4");
    browser.view("#/audit");
    browser.wait_text("token.create");
    assert_eq!(browser.eval("document.querySelector('.note') === null"), json!(true));
    scene.assert_inert("an auditor's page");
}

/// Scenario: the queue and a panel stand open while others work over the API.
/// Guarantees: what they do is on screen, one step or many at once.
#[test]
fn what_others_do_is_seen_at_once() {
    let Some(scene) = Scene::start() else { return };
    let browser = &scene.browser;
    let (kim, _) = scene.token("kim", "analyst");
    scene.sign_in();
    for user in ["u1", "u2", "u3"] {
        scene.refuse(user);
    }
    browser.view("#/alerts");
    browser.wait_text("3 alerts match, all loaded");
    browser.press(&format!("j{ENTER}"));
    browser.wait("the whole alert", "document.querySelector('.detail .why') !== null");
    let id = browser.eval("location.hash.split('/')[2].split('?')[0]");
    let path = format!("/api/v1/alerts/{}/note", id.as_str().unwrap());
    let note = json!({"text": "taken care of"}).to_string();
    assert_eq!(scene.server.ask("POST", &path, &kim, &note).0, 200);
    browser.wait_text("taken care of");
    let close = json!({"filter": {}, "to": "closed", "disposition": "false_positive", "why": "x"});
    let closed = scene.server.ask("POST", "/api/v1/alerts/triage", &kim, &close.to_string());
    assert_eq!(closed.1["changed"], 3);
    browser.wait_text("No open alerts");
    scene.assert_inert("a queue that others emptied");
}

#[test]
fn a_search_is_saved_found_again_and_exported() {
    let Some(scene) = Scene::start() else { return };
    let browser = &scene.browser;
    scene.sign_in();
    scene.hostile_events();
    browser.view("#/search?q=walked%20and%20number%3A*&since=1h");
    let rows = format!("document.querySelectorAll('.event').length >= {}", HOSTILE.len());
    browser.wait("the rows", &rows);
    let press = |word: &str| {
        let found = format!(
            "[...document.querySelectorAll('button')].find(b => b.innerText.startsWith({}))",
            json!(word)
        );
        browser.wait(word, &format!("{found} !== undefined"));
        browser.run(&format!("{found}.click()"), &json!([]));
    };
    press("Save\u{2026}");
    scene.wait_dialog();
    browser.fill("#search-name", "not a name");
    browser.fill("#search-note", HOSTILE[2]);
    assert_eq!(browser.eval("document.querySelector('dialog .primary').disabled"), json!(true));
    browser.fill("#search-name", "walkers");
    scene.submit_dialog();
    browser.wait("the list", "document.querySelectorAll('.saved li').length === 1");
    browser.wait_text(SHOWN[2]);
    scene.assert_inert("saved searches");
    browser.view("#/search");
    browser.wait("another search", "document.querySelector('#query').value === ''");
    browser.click(".saved li a");
    browser
        .wait("the saved one", "document.querySelector('#query').value === 'walked and number:*'");

    browser.press("x");
    browser.wait("the button", "document.querySelector('.begin-export') !== null");
    browser.wait(
        "what it will be",
        &format!(
            "document.querySelector('.begin-export').innerText === 'Export {}'",
            HOSTILE.len()
        ),
    );
    browser.click(".begin-export");
    browser.wait("the file", "document.querySelector('.files a') !== null");
    let lines = browser.run(
        "return fetch(document.querySelector('.files a').href).then(async file =>
             [file.status, (await file.text()).trim().split('\\n').length]);",
        &json!([]),
    );
    assert_eq!(lines, json!([200, HOSTILE.len()]));
    scene.assert_inert("exports");
    press("remove");
    browser.wait("nothing", "document.querySelector('.files') === null");
}

#[test]
fn a_token_is_shown_once_and_revoked() {
    let Some(scene) = Scene::start() else { return };
    let browser = &scene.browser;
    scene.sign_in();
    browser.view("#/tokens");
    browser.wait("the list", "document.querySelectorAll('.tokens tbody tr').length >= 2");
    browser.click(".tokens .reload");
    scene.wait_dialog();
    browser.fill("#token-name", NAME);
    browser.click("dialog input[value=reader]");
    scene.submit_dialog();
    let secret = browser.wait("the token", "document.querySelector('.secret')?.innerText");
    let secret = secret.as_str().unwrap().to_owned();
    assert_eq!(scene.server.ask("GET", "/api/v1/alerts", &secret, "").0, 200);
    browser.wait_text(NAME_SHOWN);
    scene.assert_inert("a new token");
    browser.click(".made .hide");
    browser.wait("it is gone", "!document.body.innerHTML.includes('alc_')");

    browser.run(
        "[...document.querySelectorAll('.tokens tbody tr')].find(r => r.innerText.includes('mik'))
             .querySelector('button').click()",
        &json!([]),
    );
    scene.wait_dialog();
    scene.submit_dialog();
    browser.wait("one less", "![...document.querySelectorAll('.tokens tbody tr')].some(r => r.innerText.includes('mik'))");
    assert_eq!(scene.server.ask("GET", "/api/v1/alerts", &secret, "").0, 401);

    // Both steps are in the audit log, under the names of those who took them.
    browser.view("#/audit?action=token");
    browser.wait_text("token.revoke");
    browser.wait("the name", "document.querySelector('.audit tbody').innerText.includes('mik')");
    scene.assert_inert("the audit log");
}

#[test]
fn sources_and_rules_show_what_is_known_of_each() {
    let Some(scene) = Scene::start() else { return };
    let browser = &scene.browser;
    scene.sign_in();
    scene.refuse("kim");
    scene.hostile_events();
    let broken = json!({"host": {"name": HOSTILE[1]}, "message": "x"}).to_string();
    scene.ingest("application/x-ndjson", &broken);
    browser.view("#/sources");
    let host = "[...document.querySelectorAll('.sources tbody button')].find(b => b.innerText.includes('onerror'))";
    browser.wait("the sender", &format!("{host} !== undefined"));
    browser.run(&format!("{host}.click()"), &json!([]));
    browser
        .wait("the panel", "document.querySelector('.detail h2')?.innerText.includes('onerror')");
    browser.wait_text("received records");
    browser.wait("its address", "decodeURIComponent(location.hash).includes('onerror')");
    scene.assert_inert("a sender");

    browser.view("#/rules?order=cost");
    browser.wait("the rules", "document.querySelectorAll('.rule-row').length >= 2");
    browser.press("j");
    browser.wait("the panel", "document.querySelector('.detail h2') !== null");
    browser.view("#/rules/5d0c8a52-7d0b-4f0a-9f6e-3a1f6f7b2c11");
    browser.wait_text("Failed password");
    browser.wait_text("Events offered");
    scene.assert_inert("a rule");
    browser.view("#/rules?state=failed");
    browser.wait("the broken one", "document.querySelectorAll('.rule-row').length === 1");
    browser.press("j");
    browser.wait("why", "document.querySelector('.detail .problem') !== null");
    scene.assert_inert("a rule that failed");
}
