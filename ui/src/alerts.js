// The queue: one line per rule and entity, worked through by keyboard, live without losing place.

import { html, useEffect, useMemo, useRef, useState } from "./dom.js";
import { get, part, post } from "./api.js";
import { connect, listen } from "./live.js";
import { VirtualList } from "./virtual.js";
import { AlertDetail } from "./alert_detail.js";
import { CloseDialog } from "./close_dialog.js";
import { entityText, group } from "./alert_groups.js";
import { LEVELS, rankOf, Severity, State } from "./severity.js";
import { age, clip, number, plain, short, visible } from "./text.js";
import { useNow } from "./time.js";
import { useKeys } from "./keys.js";
import { go, routeTo } from "./route.js";
import { toast } from "./toasts.js";

/** Alerts fetched at a time. */
const WINDOW = 500;
/** Alerts kept in the page; beyond this the filter has to be narrowed. */
const KEPT_MAX = 100_000;
/** Changes are put on screen together, at most this often, ms. */
const LIVE_EVERY_MS = 250;
export const ROW_HEIGHT = 44;

const STATES = [["open", "Open"], ["new", "New"], ["acknowledged", "Acknowledged"], ["closed", "Closed"], ["all", "All"]];
const SINCE = [["", "any time"], ["1h", "1 hour"], ["24h", "24 hours"], ["7d", "7 days"], ["30d", "30 days"]];

/** Whether a live alert belongs into the list as it is filtered. */
function belongs(alert, { state, level, q, since }) {
  if (state === "open" ? alert.state === "closed" : state !== "all" && alert.state !== state) return false;
  if (level && rankOf(alert.level) > rankOf(level)) return false;
  const span = /^(\d+)([hd])$/.exec(since ?? "");
  if (span && Date.parse(alert.time) < Date.now() - Number(span[1]) * (span[2] === "h" ? 3_600_000 : 86_400_000)) return false;
  if (!q) return true;
  const text = [alert.title, alert.reason, alert.rule_id, entityText(alert.entity)].map(plain).join("\n").toLowerCase();
  return text.includes(q.toLowerCase());
}

/** Alerts by id, fetched in windows and kept current by the live stream. */
function useAlerts(filter) {
  const all = useRef(new Map());
  const next = useRef(/** @type {string | null} */ (null));
  const busy = useRef(false);
  const [shown, setShown] = useState({ version: 0, matching: 0, loading: true, problem: null });
  const run = useRef(0);

  const fetchWindow = (cursor, token) => {
    busy.current = true;
    return get("/alerts", { query: { ...filter, cursor, limit: WINDOW } }).then((answer) => {
      if (token !== run.current) return;
      for (const alert of answer.alerts ?? []) all.current.set(alert.id, alert);
      next.current = answer.next ?? null;
      busy.current = false;
      setShown((old) => ({ version: old.version + 1, matching: answer.matching ?? all.current.size, loading: false, problem: null }));
    }, (error) => {
      if (token !== run.current) return;
      busy.current = false;
      setShown((old) => ({ ...old, loading: false, problem: error.message }));
    });
  };

  useEffect(() => {
    const token = ++run.current;
    all.current = new Map();
    next.current = null;
    setShown((old) => ({ version: old.version + 1, matching: 0, loading: true, problem: null }));
    fetchWindow(undefined, token);
  }, [filter.state, filter.level, filter.q, filter.since]);

  const apply = (alert) => {
    const known = all.current.get(alert.id);
    const had = known !== undefined;
    if (had) alert.last ??= known.last;
    const has = belongs(alert, filter);
    if (has) all.current.set(alert.id, alert);
    else all.current.delete(alert.id);
    return (has ? 1 : 0) - (had ? 1 : 0);
  };
  const current = useRef(apply);
  current.current = apply;

  useEffect(() => {
    connect();
    const waiting = new Map();
    let timer = 0;
    const stopAlerts = listen("alert", (alert) => {
      waiting.set(alert.id, alert);
      timer ||= setTimeout(() => {
        timer = 0;
        let change = 0;
        for (const each of waiting.values()) change += current.current(each);
        waiting.clear();
        setShown((old) => ({ ...old, version: old.version + 1, matching: Math.max(0, old.matching + change) }));
      }, LIVE_EVERY_MS);
    });
    // After a broken connection the list may have missed changes: take the first window again.
    let lost = false;
    const stopState = listen("state", (state) => {
      if (state === "lost") lost = true;
      else if (lost) {
        lost = false;
        fetchWindow(undefined, run.current);
      }
    });
    return () => {
      clearTimeout(timer);
      stopAlerts();
      stopState();
    };
  }, []);

  return {
    ...shown,
    alerts: all.current,
    change(alert) {
      const change = apply(alert);
      setShown((old) => ({ ...old, version: old.version + 1, matching: Math.max(0, old.matching + change) }));
    },
    more() {
      if (next.current && !busy.current && all.current.size < KEPT_MAX) fetchWindow(next.current, run.current);
    },
    hasMore: () => next.current !== null,
  };
}

/** @param {{id: string | null, query: URLSearchParams}} props */
export function Alerts({ id, query }) {
  const filter = {
    state: STATES.some(([name]) => name === query.get("state")) ? query.get("state") : "open",
    level: LEVELS.some(({ level }) => level === query.get("level")) ? query.get("level") : "",
    q: query.get("q") ?? "",
    since: SINCE.some(([name]) => name === query.get("since")) ? query.get("since") : "",
  };
  const order = query.get("order") === "severity" ? "severity" : "newest";
  const list = useAlerts(filter);
  const groups = useMemo(() => group(list.alerts.values(), order), [list.version, order]);
  const [selectedKey, setSelected] = useState(/** @type {string | null} */ (null));
  const [closing, setClosing] = useState(/** @type {any[] | null} */ (null));
  const [revision, setRevision] = useState(0);
  const now = useNow(5000);
  const lastIndex = useRef(0);

  const address = (changes, openId = id) => routeTo("alerts", openId, { ...Object.fromEntries(query), ...changes });
  const refilter = (changes) => go(address(changes, null), true);

  let index = groups.findIndex((g) => g.key === selectedKey);
  // A line that left the list hands its place to the one that moved up.
  if (index < 0 && selectedKey !== null && groups.length) index = Math.min(lastIndex.current, groups.length - 1);
  if (index >= 0) lastIndex.current = index;
  const selected = index >= 0 ? groups[index] : null;

  // Then "next" is the line that stands there now.
  const gone = selectedKey !== null && selected !== null && selected.key !== selectedKey;
  const forward = () => select(gone ? index : index + 1);
  const select = (at) => {
    if (groups.length === 0) return;
    const to = Math.max(0, Math.min(groups.length - 1, at));
    setSelected(groups[to].key);
    if (id) go(address({}, groups[to].head.id), true);
  };
  const open = (chosen) => {
    setSelected(chosen.key);
    go(address({}, chosen.head.id), id !== null);
  };
  const close = () => go(address({}, null));

  /** The alerts an action is about: the open panel's, else the selected line's. */
  const chosen = () => {
    const shown = id ? groups.find((g) => g.alerts.some((alert) => alert.id === id)) : selected;
    if (shown) return shown.alerts;
    return id ? [{ id }] : [];
  };
  const triage = async (targets, change) => {
    let done = 0;
    let problem = null;
    for (const target of targets) {
      try {
        list.change(await post(`/alerts/${part(target.id)}/triage`, change));
        done++;
      } catch (error) {
        problem = error;
      }
    }
    setRevision((n) => n + 1);
    if (problem) toast({ kind: "error", title: "Not changed", text: clip(visible(problem.message), 300) });
    if (done) toast({ text: `${done === 1 ? "Alert" : `${done} alerts`} ${change.to === "new" ? "reopened" : change.to}` });
    return done > 0;
  };
  const acknowledge = () => triage(chosen().filter((a) => a.state === undefined || a.state === "new"), { to: "acknowledged" });
  const startClose = () => {
    const targets = chosen().filter((a) => a.state !== "closed");
    if (targets.length) setClosing(targets);
  };
  const reopen = () => triage(chosen().filter((a) => a.state === undefined || a.state !== "new"), { to: "new" });

  useKeys(closing ? new Map() : new Map([
    ["j", forward], ["ArrowDown", forward],
    ["k", () => select(Math.max(0, index - 1))], ["ArrowUp", () => select(Math.max(0, index - 1))],
    ["Home", () => select(0)], ["End", () => select(groups.length - 1)],
    ["Enter", () => selected && open(selected)],
    ["a", acknowledge], ["c", startClose], ["r", reopen],
    ["Escape", () => (id ? close() : setSelected(null))],
  ]));

  const row = (g, at) => html`<${Row} key=${g.key} group=${g} index=${at} now=${now}
    selected=${at === index} open=${g.alerts.some((alert) => alert.id === id)}
    onOpen=${open} />`;
  return html`<main class=${`page alerts${id ? " with-detail" : ""}`}>
    <section class="queue">
      <${Filters} filter=${filter} order=${order} onChange=${refilter} />
      ${list.problem && html`<p class="problem" role="alert">${visible(list.problem)}</p>`}
      <div class="queue-head" aria-hidden="true"><span>Severity</span><span>Alert</span><span>Entity</span><span>Count</span><span>State</span><span>Age</span></div>
      ${groups.length === 0 && !list.loading
        ? html`<p class="empty">${filter.state === "open" && !filter.q && !filter.level ? "No open alerts. New ones appear here by themselves." : "No alert fits this filter."}</p>`
        : html`<${VirtualList} items=${groups} keyOf=${(g) => g.key} row=${row} rowHeight=${ROW_HEIGHT}
            focus=${index} focusKey=${selected?.key ?? null} onNearEnd=${list.more} label="Alerts" total=${list.matching} />`}
      <footer class="queue-foot" role="status">${list.loading ? "Loading…" : html`<span>${number(list.matching)} ${list.matching === 1 ? "alert" : "alerts"} match, ${number(list.alerts.size)} loaded in ${number(groups.length)} ${groups.length === 1 ? "line" : "lines"}</span>`}
        <span class="hints"><kbd>j</kbd><kbd>k</kbd> move <kbd>Enter</kbd> open <kbd>a</kbd> acknowledge <kbd>c</kbd> close</span></footer>
    </section>
    ${id && html`<${AlertDetail} key=${id} id=${id} revision=${revision} siblings=${chosen()}
      onAcknowledge=${acknowledge} onClose=${startClose} onReopen=${reopen} onHide=${close}
      onOther=${(other) => go(address({}, other), true)} />`}
    ${closing && html`<${CloseDialog} count=${closing.length} onCancel=${() => setClosing(null)}
      onDone=${async (change) => {
        setClosing(null);
        await triage(closing, { to: "closed", ...change });
      }} />`}
  </main>`;
}

function Row({ group: g, index, now, selected, open, onOpen }) {
  const alert = g.head;
  return html`<div role="row" aria-rowindex=${index + 1} aria-selected=${selected} onClick=${() => onOpen(g)}
    class=${`queue-row level-${rankOf(alert.level) < LEVELS.length ? alert.level : "unknown"}${selected ? " selected" : ""}${open ? " opened" : ""}`}>
    <${Severity} level=${alert.level} />
    <bdi class="untrusted title" title=${visible(clip(plain(alert.reason), 300))}>${visible(clip(plain(alert.title), 200)) || "(no title)"}</bdi>
    <bdi class="untrusted entity">${visible(clip(entityText(alert.entity), 120))}</bdi>
    <span class="n" title=${g.alerts.length > 1 ? `${g.alerts.length} alerts` : ""}>${short(g.count)}</span>
    <${State} state=${alert.state} />
    <span class="age">${alert.backfill ? "↺ " : ""}${age(now - g.time)}</span>
  </div>`;
}

function Filters({ filter, order, onChange }) {
  const [text, setText] = useState(filter.q);
  useEffect(() => setText(filter.q), [filter.q]);
  useEffect(() => {
    if (text === filter.q) return undefined;
    const timer = setTimeout(() => onChange({ q: text }), 250);
    return () => clearTimeout(timer);
  }, [text]);
  const choose = (name, label, options, value) => html`<label class="choose"><span>${label}</span><select aria-label=${label} value=${value}
    onChange=${(e) => onChange({ [name]: e.target.value })}>${options.map(([v, word]) => html`<option value=${v} selected=${v === value}>${word}</option>`)}</select></label>`;
  return html`<div class="filters">
    <input id="query" type="search" placeholder="Title, reason or entity" aria-label="Filter alerts" value=${text}
      onInput=${(e) => setText(e.target.value)} spellcheck="false" maxlength="500" />
    ${choose("state", "State", STATES, filter.state)}
    ${choose("level", "Level", [["", "any level"], ...LEVELS.slice(0, 4).map(({ level, word }) => [level, level === "critical" ? word : `${word} and up`])], filter.level)}
    ${choose("since", "Since", SINCE, filter.since)}
    ${choose("order", "Order", [["newest", "newest first"], ["severity", "severity first"]], order)}
  </div>`;
}
