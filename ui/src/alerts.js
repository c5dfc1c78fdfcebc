// The queue: one line per rule and entity, worked through by keyboard, live without losing place.

import { html, useEffect, useMemo, useRef, useState } from "./dom.js";
import { VirtualList } from "./virtual.js";
import { KEPT_MAX, useAlerts } from "./alert_list.js";
import { acknowledge, assign, attempt, note, triage, whatOf } from "./alert_actions.js";
import { AlertDetail } from "./alert_detail.js";
import { AssignDialog } from "./assign_dialog.js";
import { CloseDialog } from "./close_dialog.js";
import { WordsDialog } from "./words_dialog.js";
import { entityText, group } from "./alert_groups.js";
import { LEVELS, rankOf, Severity, State } from "./severity.js";
import { age, clip, number, plain, short, visible } from "./text.js";
import { useNow } from "./time.js";
import { useKeys } from "./keys.js";
import { copyLink } from "./clipboard.js";
import { go, routeTo } from "./route.js";
import { may, me, usePeople, Who, whoText } from "./session.js";

export const ROW_HEIGHT = 44;

const STATES = [["open", "Open"], ["new", "New"], ["acknowledged", "Acknowledged"], ["closed", "Closed"], ["all", "All"]];
const SINCE = [["", "any time"], ["1h", "1 hour"], ["24h", "24 hours"], ["7d", "7 days"], ["30d", "30 days"]];
const ORDERS = [["newest", "newest first"], ["severity", "severity first"]];

/** What the address says of the list, as the API takes it; nonsense is the default. */
function filterOf(query) {
  const one = (name, choices, otherwise) => (choices.includes(query.get(name)) ? query.get(name) : otherwise);
  return {
    state: one("state", STATES.map(([name]) => name), "open"),
    level: one("level", LEVELS.map(({ level }) => level), ""),
    q: query.get("q") ?? "",
    since: one("since", SINCE.map(([name]) => name), ""),
    assignee: query.get("assignee") ?? "",
    rule: query.get("rule") ?? "",
    order: one("order", ORDERS.map(([name]) => name), "newest"),
  };
}

/** @param {{id: string | null, query: URLSearchParams}} props */
export function Alerts({ id, query }) {
  const filter = filterOf(query);
  const list = useAlerts(filter);
  const groups = useMemo(() => group(list.alerts.values(), filter.order), [list.version, filter.order]);
  const [selectedKey, setSelected] = useState(/** @type {string | null} */ (null));
  /** Every alert that matches, as it was when that was chosen. */
  const [all, setAll] = useState(/** @type {{untilMs: number, matching: number} | null} */ (null));
  const [dialog, setDialog] = useState(/** @type {{kind: string, target: any} | null} */ (null));
  const [revision, setRevision] = useState(0);
  const now = useNow(5000);
  const lastIndex = useRef(0);
  const canTriage = may("alerts_triage");

  const address = (changes, openId = id) => routeTo("alerts", openId, { ...Object.fromEntries(query), ...changes });
  const refilter = (changes) => {
    setAll(null);
    go(address(changes, null), true);
  };

  let index = groups.findIndex((g) => g.key === selectedKey);
  // A line that left the list hands its place to the one that moved up.
  if (index < 0 && selectedKey !== null && groups.length) index = Math.min(lastIndex.current, groups.length - 1);
  if (index >= 0) lastIndex.current = index;
  const selected = index >= 0 ? groups[index] : null;
  // Then "next" is the line that stands there now.
  const gone = selectedKey !== null && selected !== null && selected.key !== selectedKey;
  const select = (at) => {
    if (groups.length === 0) return;
    const to = Math.max(0, Math.min(groups.length - 1, at));
    setSelected(groups[to].key);
    if (id) go(address({}, groups[to].head.id), true);
  };
  const forward = () => select(gone ? index : index + 1);
  const back = () => select(Math.max(0, index - 1));
  const open = (chosen) => {
    setSelected(chosen.key);
    go(address({}, chosen.head.id), id !== null);
  };
  const hide = () => go(address({}, null));

  /** The alerts an action is about: all that match, the open panel's line, else the selected one. */
  const target = () => {
    if (all) {
      const { order: _order, ...wanted } = filter;
      return { alerts: [...list.alerts.values()], filter: { ...wanted, until: new Date(all.untilMs).toISOString() }, matching: all.matching };
    }
    const shown = id ? groups.find((g) => g.alerts.some((alert) => alert.id === id)) : selected;
    return { alerts: shown ? shown.alerts : id ? [{ id }] : [] };
  };
  /** Of these the ones that the step is for; of an alert that is not in the list the server decides. */
  const fitting = (fits) => {
    const chosen = target();
    return chosen.filter ? chosen : { alerts: chosen.alerts.filter((a) => a.state === undefined || fits(a)) };
  };
  const act = (kind, fits, step) => () => {
    if (!canTriage) return;
    const chosen = fitting(fits);
    if (!chosen.filter && chosen.alerts.length === 0) return;
    if (step && !chosen.filter) attempt(() => done(step(chosen)));
    else setDialog({ kind, target: chosen });
  };
  /** After a step: the panel is read again, the choice of all is over. */
  const done = async (step) => {
    await step;
    setRevision((n) => n + 1);
    setAll(null);
    setDialog(null);
  };
  const actions = {
    acknowledge: act("acknowledge", (a) => a.state === "new", (chosen) => acknowledge(chosen, list)),
    assign: act("assign", () => true),
    note: () => {
      const about = id ?? selected?.head.id;
      if (canTriage && about) setDialog({ kind: "note", target: { alerts: [{ id: about }] } });
    },
    close: act("close", (a) => a.state !== "closed"),
    // To give an acknowledged one back needs no words, to open a closed one does.
    reopen: () => {
      const closed = fitting((a) => a.state === "closed");
      if (closed.filter || closed.alerts.length) act("reopen", (a) => a.state === "closed")();
      else act("reopen", (a) => a.state === "acknowledged", (chosen) => triage(chosen, { to: "new" }, list))();
    },
  };
  const chooseAll = () => canTriage && list.matching > 0
    && setAll(all ? null : { untilMs: list.seenUntilMs(), matching: list.matching });
  const isChosen = (g) => all !== null && g.alerts.some((alert) => !(Date.parse(alert.stream_time) >= all.untilMs));

  useKeys(dialog ? new Map() : new Map([
    ["j", forward], ["ArrowDown", forward], ["k", back], ["ArrowUp", back],
    ["Home", () => select(0)], ["End", () => select(groups.length - 1)],
    ["Enter", () => selected && open(selected)],
    ["a", actions.acknowledge], ["i", actions.assign], ["n", actions.note], ["c", actions.close], ["r", actions.reopen],
    ["*", chooseAll], ["y", copyLink],
    ["Escape", () => (all ? setAll(null) : id ? hide() : setSelected(null))],
  ]));

  const row = (g, at) => html`<${Row} key=${g.key} group=${g} index=${at} now=${now} partial=${list.hasMore}
    selected=${isChosen(g) || at === index} open=${g.alerts.some((alert) => alert.id === id)} onOpen=${open} />`;
  return html`<main class=${`page alerts${id ? " with-detail" : ""}`}><h1 class="only-heard">Alerts</h1>
    <section class="queue" aria-label="Queue">
      <${Filters} filter=${filter} onChange=${refilter} />
      ${list.problem && html`<p class="problem" role="alert">${visible(list.problem)}</p>`}
      ${all && html`<${AllChosen} matching=${all.matching} actions=${actions} onCancel=${() => setAll(null)} />`}
      <div class="queue-head" aria-hidden="true"><span>Severity</span><span>Alert</span><span>Entity</span><span>Count</span><span>State</span><span>Assignee</span><span>Last</span></div>
      ${groups.length === 0 && !list.loading
        ? html`<p class="empty">${filter.state === "open" && !filter.q && !filter.level && !filter.assignee && !filter.rule && !filter.since ? "No open alerts. New ones appear here by themselves." : "No alert fits this filter."}</p>`
        : html`<${VirtualList} items=${groups} keyOf=${(g) => g.key} row=${row} rowHeight=${ROW_HEIGHT}
            focus=${index} focusKey=${selected?.key ?? null} onNearEnd=${list.more} label="Alerts, one line per rule and entity" total=${list.hasMore ? -1 : groups.length} />`}
      <${Foot} list=${list} groups=${groups} onAll=${canTriage && !all && list.matching > 1 ? chooseAll : null} />
    </section>
    ${id && html`<${AlertDetail} key=${id} id=${id} revision=${revision} preview=${list.alerts.get(id)} siblings=${all ? [] : target().alerts}
      actions=${canTriage ? actions : null} onHide=${hide} onOther=${(other) => go(address({}, other), true)} />`}
    ${dialog && html`<${Dialogs} ...${dialog} onCancel=${() => setDialog(null)} list=${list} onDone=${done} />`}
  </main>`;
}

/** The dialog of an action. */
function Dialogs({ kind, target, list, onDone, onCancel }) {
  const what = whatOf(target);
  if (kind === "assign") return html`<${AssignDialog} what=${what} assignee=${target.filter ? null : target.alerts[0]?.assignee} onCancel=${onCancel}
    onDone=${(to) => onDone(assign(target, to, list))} />`;
  if (kind === "note") return html`<${WordsDialog} title="Note on this alert" label="For whoever works on it next" action="Keep" onCancel=${onCancel}
    onDone=${(text) => onDone(note(target, text, list))} />`;
  if (kind === "close") return html`<${CloseDialog} what=${what} onCancel=${onCancel}
    onDone=${(change) => onDone(triage(target, { to: "closed", ...change }, list))} />`;
  const to = kind === "acknowledge" ? "acknowledged" : "new";
  return html`<${WordsDialog} title=${`${kind === "acknowledge" ? "Acknowledge" : "Reopen"} ${what}`} label="Why"
    action=${kind === "acknowledge" ? "Acknowledge" : "Reopen"} onCancel=${onCancel}
    onDone=${(why) => onDone(triage(target, { to, why, take: kind === "acknowledge" }, list))} />`;
}

/** What is said, and offered, while every matching alert is chosen. */
function AllChosen({ matching, actions, onCancel }) {
  return html`<div class="all-chosen" role="status"><span><b>All ${number(matching)} alerts that match this filter are chosen</b>, also those that are not on screen. What comes from now on is not.</span>
    <span class="actions"><button type="button" onClick=${actions.acknowledge}><u>A</u>cknowledge…</button>
      <button type="button" onClick=${actions.assign}>Ass<u>i</u>gn…</button>
      <button type="button" onClick=${actions.close}><u>C</u>lose…</button>
      <button type="button" onClick=${onCancel}>Esc</button></span></div>`;
}

/** What is shown of what there is. */
function Foot({ list, groups, onAll }) {
  const loaded = list.alerts.size;
  return html`<footer class="queue-foot"><span role="status">${list.loading ? "Loading…" : html`${number(list.matching)} ${list.matching === 1 ? "alert matches" : "alerts match"}, ${list.hasMore ? `${number(loaded)} loaded` : "all loaded"}, in ${number(groups.length)} ${groups.length === 1 ? "line" : "lines"}${list.hasMore && loaded >= KEPT_MAX ? html` <b class="warn">the page keeps no more: narrow the filter</b>` : ""}`}</span>
    ${onAll && html`<button type="button" class="link" onClick=${onAll}>choose all ${number(list.matching)} (*)</button>`}
    <span class="hints"><kbd>j</kbd><kbd>k</kbd> move <kbd>Enter</kbd> open <kbd>?</kbd> keys</span></footer>`;
}

function Row({ group: g, index, now, partial, selected, open, onOpen }) {
  usePeople();
  const alert = g.head;
  const several = g.alerts.length > 1;
  const counted = `${number(g.count)} occurrences in ${number(g.alerts.length)} ${several ? "alerts" : "alert"}${partial ? "; alerts that are not loaded yet may add to it" : ""}`;
  return html`<div role="row" id=${`row-${index}`} aria-rowindex=${index + 1} aria-selected=${selected} onClick=${() => onOpen(g)}
    class=${`queue-row level-${rankOf(alert.level) < LEVELS.length ? alert.level : "unknown"}${selected ? " selected" : ""}${open ? " opened" : ""}`}>
    <span role="gridcell"><${Severity} level=${alert.level} /></span>
    <bdi role="gridcell" class="untrusted title" title=${visible(clip(plain(alert.reason), 300))}>${visible(clip(plain(alert.title), 200)) || "(no title)"}</bdi>
    <bdi role="gridcell" class="untrusted entity">${visible(clip(entityText(alert.entity), 120))}</bdi>
    <span role="gridcell" class="n" title=${counted}>${short(g.count)}${partial ? "+" : ""}</span>
    <span role="gridcell" class="at"><${State} state=${alert.state} /></span>
    <span role="gridcell" class="with">${alert.assignee && html`<${Who} identity=${alert.assignee} max=${24} />`}</span>
    <span role="gridcell" class="age" title=${visible(clip(plain(alert.last ?? alert.time), 40))}>${alert.backfill ? html`<span title="Found in old events; nobody was notified">↺ </span>` : ""}${age(now - g.time)}</span>
  </div>`;
}

function Filters({ filter, onChange }) {
  const [text, setText] = useState(filter.q);
  const people = usePeople();
  useEffect(() => setText(filter.q), [filter.q]);
  useEffect(() => {
    if (text === filter.q) return undefined;
    const timer = setTimeout(() => onChange({ q: text }), 250);
    return () => clearTimeout(timer);
  }, [text]);
  const choose = (name, label, options, value) => html`<label class="choose"><span>${label}</span><select aria-label=${label} value=${value}
    onChange=${(e) => onChange({ [name]: e.target.value })}>${options.map(([v, word]) => html`<option value=${v} selected=${v === value}>${word}</option>`)}</select></label>`;
  const others = people.filter((p) => (p.can_triage || p.identity === filter.assignee) && p.identity !== me()).map((p) => [p.identity, whoText(p.identity)]);
  const assignees = [["", "anybody's"], ["me", "mine"], ["none", "nobody's"], ...others];
  if (filter.assignee && !assignees.some(([value]) => value === filter.assignee)) assignees.push([filter.assignee, whoText(filter.assignee)]);
  return html`<div class="filters">
    <input id="query" type="search" placeholder="Title, reason or entity" aria-label="Filter alerts" value=${text}
      onInput=${(e) => setText(e.target.value)} spellcheck="false" maxlength="500" />
    ${choose("state", "State", STATES, filter.state)}
    ${choose("level", "Level", [["", "any level"], ...LEVELS.slice(0, 4).map(({ level, word }) => [level, level === "critical" ? word : `${word} and up`])], filter.level)}
    ${choose("assignee", "Assignee", assignees, filter.assignee)}
    ${choose("since", "Since", SINCE, filter.since)}
    ${choose("order", "Order", ORDERS, filter.order)}
    ${filter.rule && html`<span class="chip">Rule <bdi class="untrusted">${visible(clip(filter.rule, 60))}</bdi><button type="button" class="dots" aria-label="All rules" onClick=${() => onChange({ rule: "" })}>×</button></span>`}
  </div>`;
}
