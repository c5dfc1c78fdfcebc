// Alcedo's page. Reading order: main (this file), route, session, live, then one file per view:
// overview, alerts (alert_list, alert_actions, alert_detail, why, the dialogs), search (chart, events,
// saved_searches, exports), tail, sources, rules, tokens, audit.
//
// Every string that comes from the server may have been written by an attacker. Values become text
// nodes and nothing else; what they look like is in text.js, where links may lead in safe_href.js.

import { Component, html, render, useEffect, useRef, useState } from "./dom.js";
import { remove, whenSignedOut } from "./api.js";
import { connect, disconnect, listen } from "./live.js";
import { go, routeTo, useRoute } from "./route.js";
import { HELP, useKeys } from "./keys.js";
import { setting } from "./settings.js";
import { zone } from "./time.js";
import { clip, number, plain, visible } from "./text.js";
import { Toasts } from "./toasts.js";
import { sessionAtStart, SignIn } from "./sign_in.js";
import { Icon } from "./icon.js";
import { Overview } from "./overview.js";
import { Alerts } from "./alerts.js";
import { Search } from "./search.js";
import { Tail } from "./tail.js";
import { Sources } from "./sources.js";
import { Rules } from "./rules.js";
import { Tokens } from "./tokens.js";
import { Audit } from "./audit.js";
import { may, setSession as enter } from "./session.js";

/** Every view: its name in the address, its word, the key after "g", what it needs, what draws it. */
const VIEWS = [
  ["overview", "Overview", "o", "sources_read", Overview],
  ["alerts", "Alerts", "a", "alerts_read", Alerts],
  ["search", "Search", "s", "events_read", Search],
  ["tail", "Live tail", "t", "events_read", Tail],
  ["sources", "Sources", "h", "sources_read", Sources],
  ["rules", "Rules", "r", "rules_read", Rules],
  ["tokens", "Tokens", "k", "tokens_manage", Tokens],
  ["audit", "Audit log", "l", "audit_read_own", Audit],
];
/** How long "g" waits for its second key, ms. */
const CHORD_MS = 1200;

const theme = setting("theme", "auto");
const applyTheme = () => {
  document.documentElement.dataset.theme = theme.get();
};

function App() {
  const [start, setStart] = useState(null);
  const [session, setSession] = useState(null);
  useEffect(() => {
    whenSignedOut(() => {
      disconnect();
      enter(null);
      setSession(null);
    });
    // A setup link opened in a tab that shows the page already changes only the fragment.
    addEventListener("hashchange", () => location.hash.startsWith("#setup=") && location.reload());
    sessionAtStart().then((found) => {
      setStart(found);
      enter(found.session);
      setSession(found.session);
    });
  }, []);
  if (!start) return html`<p class="waiting boot">Loading…</p>`;
  if (!session) return html`<${SignIn} refused=${start.refused ?? null} onSession=${(next) => {
    setStart({});
    enter(next);
    setSession(next);
  }} />`;
  return html`<${Shell} session=${session} onSignOut=${async () => {
    await remove("/session").catch(() => {});
    disconnect();
    enter(null);
    setSession(null);
  }} />`;
}

function Shell({ session, onSignOut }) {
  const route = useRoute();
  const [help, setHelp] = useState(false);
  const [, redraw] = useState(0);
  const chord = useRef(-Infinity);
  const [waiting, setWaiting] = useState(0);
  useEffect(() => {
    connect();
    const stop = listen("overview", (overview) => setWaiting(Number(overview?.alerts?.by_state?.new) || 0));
    const stopZone = zone.listen(() => redraw((n) => n + 1));
    return () => {
      stop();
      stopZone();
    };
  }, []);
  const [, word, , needs, View] = VIEWS.find(([view]) => view === route.view);
  // Seen in the browser's tab, too, while another one is in front.
  useEffect(() => {
    document.title = `${waiting > 0 ? `(${waiting}) ` : ""}${word} · Alcedo`;
  }, [word, waiting]);

  const inChord = () => performance.now() - chord.current < CHORD_MS;
  // Escape is the views' own: a key that was taken here would not reach them.
  const keys = new Map([
    ["g", () => { chord.current = performance.now(); }],
    ["/", () => document.getElementById("query")?.focus()],
    ["?", () => setHelp(!help)],
    ["d", () => switchTheme()],
  ]);
  useKeys(keys);
  // The second key of "g x" is taken before the view's own keys see it.
  useEffect(() => {
    const second = (event) => {
      const view = VIEWS.find(([, , key, permission]) => key === event.key && may(permission))?.[0];
      const typing = event.target instanceof Element && event.target.closest("input, textarea, select, dialog");
      if (!view || typing || !inChord() || event.ctrlKey || event.metaKey || event.altKey) return;
      chord.current = -Infinity;
      event.preventDefault();
      event.stopPropagation();
      go(routeTo(view));
    };
    document.addEventListener("keydown", second, true);
    return () => document.removeEventListener("keydown", second, true);
  }, []);

  return html`<div class="shell">
    <header class="top">
      <a class="brand" href="#/overview"><${Icon} size=${24} />Alcedo</a>
      <nav aria-label="Views">${VIEWS.filter(([, , , permission]) => may(permission)).map(([view, word]) => html`<a href=${routeTo(view)} aria-current=${route.view === view ? "page" : undefined}>${word}${view === "alerts" && waiting > 0 && html` <span class="count" title="New alerts">${number(waiting)}</span>`}</a>`)}</nav>
      <span class="spacer"></span>
      <${Connection} />
      <button type="button" class="quiet" title="Time zone of all times" onClick=${() => zone.set(zone.get() === "utc" ? "local" : "utc")}>${zone.get() === "utc" ? "UTC" : "Local time"}</button>
      <button type="button" class="quiet" title="Dark or light (d)" aria-label="Dark or light" onClick=${switchTheme}>◐</button>
      <button type="button" class="quiet" title="Keys (?)" aria-label="Keys" onClick=${() => setHelp(true)}>?</button>
      <span class="who" title=${visible(clip(`${plain(session.name)}: ${plain(session.roles ?? session.role)}`, 200))}><bdi class="untrusted">${visible(clip(plain(session.display_name ?? session.name), 40))}</bdi></span>
      <button type="button" class="quiet" onClick=${onSignOut}>Sign out</button>
    </header>
    ${may(needs) ? html`<${Guard} key=${route.view}><${View} id=${route.id} query=${route.query} /></${Guard}>`
      : html`<main class="page"><p class="note">${VIEWS.some(([, , , permission]) => may(permission)) ? `Your role has no access to "${word}".` : "This token reads nothing here: it is for sending. Sign in with another one."}</p></main>`}
    <${Toasts} />
    <${Herald} />
    ${help && html`<${Help} onHide=${() => setHelp(false)} />`}
  </div>`;
}

function switchTheme() {
  const dark = theme.get() === "auto" ? matchMedia("(prefers-color-scheme: dark)").matches : theme.get() === "dark";
  theme.set(dark ? "light" : "dark");
  applyTheme();
}

/** Tells screen readers of severe new alerts, together and seldom enough to be heard out. */
const HERALD_EVERY_MS = 5000;

function Herald() {
  const [text, setText] = useState("");
  useEffect(() => {
    let fresh = 0;
    const stop = listen("alert", (alert) => {
      if (alert.change === "new" && !alert.backfill && (alert.level === "critical" || alert.level === "high")) fresh++;
    });
    const timer = setInterval(() => {
      if (fresh > 0) setText(`${number(fresh)} new critical or high ${fresh === 1 ? "alert" : "alerts"}`);
      fresh = 0;
    }, HERALD_EVERY_MS);
    return () => {
      stop();
      clearInterval(timer);
    };
  }, []);
  return html`<p class="only-heard" role="status" aria-live="polite">${text}</p>`;
}

function Connection() {
  const [state, setState] = useState("live");
  useEffect(() => listen("state", setState), []);
  return state === "lost" ? html`<span class="lost" role="status">No connection, trying again</span>` : null;
}

function Help({ onHide }) {
  const dialog = useRef(null);
  useEffect(() => dialog.current.showModal(), []);
  return html`<dialog ref=${dialog} class="dialog help" onCancel=${onHide} onClick=${(e) => e.target === dialog.current && onHide()}>
    <h2>Keys</h2>
    <div class="help-columns">${HELP.map(([scope, keys]) => html`<section><h3>${scope}</h3><dl>${keys.map(([key, what]) => html`<dt>${key.split(" ").filter(Boolean).map((k) => html`<kbd>${k}</kbd>`)}</dt><dd>${what}</dd>`)}</dl></section>`)}</div>
    <div class="actions"><button type="button" onClick=${onHide}>Close</button></div>
  </dialog>`;
}

/** A view that fails is replaced by what went wrong; the rest of the page goes on. */
class Guard extends Component {
  componentDidCatch(error) {
    console.error(error);
    this.setState({ error: String(error?.message ?? error) });
  }

  render({ children }, { error }) {
    if (!error) return children;
    return html`<main class="page"><p class="problem" role="alert">This view failed: ${visible(clip(error, 300))}</p>
      <button type="button" onClick=${() => this.setState({ error: null })}>Try again</button></main>`;
  }
}

applyTheme();
const page = document.getElementById("page");
page.replaceChildren();
render(html`<${App} />`, page);
