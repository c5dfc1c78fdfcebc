// Alcedo's page. Reading order: main (this file), route, live, then one file per view:
// overview, alerts (alert_detail, why, close_dialog), search (chart, events), tail, sources, rules.
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

const NAV = [["overview", "Overview"], ["alerts", "Alerts"], ["search", "Search"], ["tail", "Live tail"], ["sources", "Sources"], ["rules", "Rules"]];
const GO_KEYS = new Map([["o", "overview"], ["a", "alerts"], ["s", "search"], ["t", "tail"], ["h", "sources"], ["r", "rules"]]);
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
      setSession(null);
    });
    // A setup link opened in a tab that shows the page already changes only the fragment.
    addEventListener("hashchange", () => location.hash.startsWith("#setup=") && location.reload());
    sessionAtStart().then((found) => {
      setStart(found);
      setSession(found.session);
    });
  }, []);
  if (!start) return html`<p class="waiting boot">Loading…</p>`;
  if (!session) return html`<${SignIn} refused=${start.refused ?? null} onSession=${(next) => {
    setStart({});
    setSession(next);
  }} />`;
  return html`<${Shell} session=${session} onSignOut=${async () => {
    await remove("/session").catch(() => {});
    disconnect();
    setSession(null);
  }} />`;
}

function Shell({ session, onSignOut }) {
  const route = useRoute();
  const [help, setHelp] = useState(false);
  const [, redraw] = useState(0);
  const chord = useRef(0);
  useEffect(() => {
    connect();
    return zone.listen(() => redraw((n) => n + 1));
  }, []);
  useEffect(() => {
    document.title = `${NAV.find(([view]) => view === route.view)[1]} · Alcedo`;
  }, [route.view]);

  const inChord = () => performance.now() - chord.current < CHORD_MS;
  const keys = new Map([
    ["g", () => { chord.current = performance.now(); }],
    ["/", () => document.getElementById("query")?.focus()],
    ["?", () => setHelp(!help)],
    ["d", () => switchTheme()],
    ["Escape", () => {
      if (help) setHelp(false);
      else if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
    }],
  ]);
  useKeys(keys);
  // The second key of "g x" is taken before the view's own keys see it.
  useEffect(() => {
    const second = (event) => {
      const view = GO_KEYS.get(event.key);
      const typing = event.target instanceof Element && event.target.closest("input, textarea, select");
      if (!view || typing || !inChord() || event.ctrlKey || event.metaKey || event.altKey) return;
      chord.current = 0;
      event.preventDefault();
      event.stopPropagation();
      go(routeTo(view));
    };
    document.addEventListener("keydown", second, true);
    return () => document.removeEventListener("keydown", second, true);
  }, []);

  const views = { overview: Overview, alerts: Alerts, search: Search, tail: Tail, sources: Sources, rules: Rules };
  const View = views[route.view];
  return html`<div class="shell">
    <header class="top">
      <a class="brand" href="#/overview"><${Icon} size=${24} />Alcedo</a>
      <nav aria-label="Views">${NAV.map(([view, word]) => html`<a href=${routeTo(view)} aria-current=${route.view === view ? "page" : undefined}>${word}${view === "alerts" && html`<${OpenCount} />`}</a>`)}</nav>
      <span class="spacer"></span>
      <${Connection} />
      <button type="button" class="quiet" title="Time zone of all times" onClick=${() => zone.set(zone.get() === "utc" ? "local" : "utc")}>${zone.get() === "utc" ? "UTC" : "Local time"}</button>
      <button type="button" class="quiet" title="Dark or light (d)" aria-label="Dark or light" onClick=${switchTheme}>◐</button>
      <button type="button" class="quiet" title="Keys (?)" aria-label="Keys" onClick=${() => setHelp(true)}>?</button>
      <span class="who" title=${visible(plain(session.role))}><bdi class="untrusted">${visible(clip(plain(session.name), 40))}</bdi></span>
      <button type="button" class="quiet" onClick=${onSignOut}>Sign out</button>
    </header>
    <${Guard} key=${route.view}><${View} id=${route.id} query=${route.query} /></${Guard}>
    <${Toasts} />
    ${help && html`<${Help} onHide=${() => setHelp(false)} />`}
  </div>`;
}

function switchTheme() {
  const dark = theme.get() === "auto" ? matchMedia("(prefers-color-scheme: dark)").matches : theme.get() === "dark";
  theme.set(dark ? "light" : "dark");
  applyTheme();
}

/** New alerts, beside the word "Alerts". */
function OpenCount() {
  const [n, setN] = useState(0);
  useEffect(() => listen("overview", (overview) => setN(Number(overview?.alerts?.by_state?.new) || 0)), []);
  return n > 0 ? html` <span class="count">${number(n)}</span>` : null;
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
