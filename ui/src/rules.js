// Which rules watch, why some do not, and what each costs.

import { html, useEffect, useMemo, useRef, useState } from "./dom.js";
import { get, part, post } from "./api.js";
import { VirtualList } from "./virtual.js";
import { bytes, clip, duration, number, plain, short, Text, visible } from "./text.js";
import { rankOf, Severity } from "./severity.js";
import { Time } from "./time.js";
import { Reference } from "./safe_href.js";
import { go, routeTo } from "./route.js";
import { copyLink } from "./clipboard.js";
import { useKeys } from "./keys.js";
import { may } from "./session.js";
import { toast } from "./toasts.js";
import { Yaml } from "./yaml.js";

const STATES = new Map([["live", ["Live", "✓"]], ["shadow", ["Shadow", "◌"]], ["paused", ["Paused", "‖"]], ["not_covered", ["Not covered", "–"]], ["failed", ["Failed", "✗"]]]);
const ATTENTION = ["failed", "paused", "live", "shadow", "not_covered"];
const ROW_HEIGHT = 52;
/** What correlations have, which are about rules and not about a log source. */
const NO_LOGSOURCE = "-/-/-";

/** A rule in the address: documents that failed may have no id, and several may have the same. */
const keyOf = (rule) => (STATES.get(rule.state) && rule.state !== "failed" && rule.state !== "not_covered" ? rule.id : JSON.stringify([rule.id, rule.file]));

const orders = {
  attention: (a, b) => ATTENTION.indexOf(a.state) - ATTENTION.indexOf(b.state) || (Number(b.matches) || 0) - (Number(a.matches) || 0) || rankOf(a.level) - rankOf(b.level),
  matches: (a, b) => (Number(b.matches) || 0) - (Number(a.matches) || 0),
  cost: (a, b) => (Number(b.cost?.work) || 0) - (Number(a.cost?.work) || 0),
};
const ORDER_WORDS = [["attention", "what needs a look first"], ["matches", "most matches first"], ["cost", "most costly first"]];

/** @param {{id: string | null, query: URLSearchParams}} props */
export function Rules({ id, query }) {
  const [rules, setRules] = useState(null);
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const text = query.get("q") ?? "";
  const state = STATES.has(query.get("state")) ? query.get("state") : "";
  const order = Object.hasOwn(orders, query.get("order") ?? "") ? query.get("order") : "attention";
  const load = () => Promise.all([get("/rules"), get("/rules/cost")]).then(([answer, costs]) => {
    const byId = new Map((costs.rules ?? []).map((cost) => [cost.id, cost]));
    setRules((answer.rules ?? []).map((rule) => ({ ...rule, cost: byId.get(rule.id) })));
    setProblem(null);
  }, (error) => setProblem(error.message));
  useEffect(() => void load(), []);

  const counts = new Map([...STATES.keys()].map((name) => [name, 0]));
  for (const rule of rules ?? []) counts.set(rule.state, (counts.get(rule.state) ?? 0) + 1);
  const shown = useMemo(() => {
    const wanted = text.toLowerCase();
    return (rules ?? [])
      .filter((r) => (!state || r.state === state) && (!wanted || [r.title, r.id, r.file, r.reason, (r.tags ?? []).join(" "), r.logsource].map(plain).join("\n").toLowerCase().includes(wanted)))
      .sort((a, b) => orders[order](a, b) || (plain(a.title) < plain(b.title) ? -1 : 1));
  }, [rules, text, state, order]);
  const address = (changes, openId = id) => routeTo("rules", openId, { q: text, state, order: order === "attention" ? "" : order, ...changes });
  const change = (changes) => go(address(changes), true);
  const index = shown.findIndex((r) => keyOf(r) === id);
  const last = useRef(-1);
  if (index >= 0) last.current = index;
  const open = index >= 0 ? shown[index] : (rules ?? []).find((r) => keyOf(r) === id) ?? null;
  const select = (at) => shown.length && go(address({}, keyOf(shown[Math.max(0, Math.min(shown.length - 1, at))])), true);
  useKeys(new Map([
    ["j", () => select(index + 1)], ["ArrowDown", () => select(index + 1)], ["k", () => select(Math.max(0, index - 1))], ["ArrowUp", () => select(Math.max(0, index - 1))],
    ["Enter", () => index < 0 && select(Math.max(0, last.current))], ["Escape", () => go(address({}, null), true)], ["y", copyLink],
  ]));

  const reload = async () => {
    setBusy(true);
    try {
      const answer = await post("/rules/reload", {});
      toast({ title: `Generation ${number(answer.generation)}`, text: `${number(answer.live)} live, ${number(answer.not_covered)} not covered, ${number(answer.failed)} failed, in ${duration(answer.elapsed_ms)}` });
      await load();
    } catch (error) {
      toast({ kind: "error", title: "Rules were not reloaded", text: visible(clip(error.message, 400)) });
    }
    setBusy(false);
  };
  const row = (r, i) => html`<${Row} key=${keyOf(r)} rule=${r} index=${i} selected=${i === index} order=${order} onOpen=${() => go(address({}, keyOf(r) === id ? null : keyOf(r)), true)} />`;
  return html`<main class="page rules">
    <div class="filters"><h1>Rules</h1>
      <input id="query" type="search" placeholder="Title, id, tag, file" aria-label="Filter rules" value=${text} onInput=${(e) => change({ q: e.target.value })} />
      <div class="tabs" role="group" aria-label="State">${[["", "All", rules?.length ?? 0], ...[...STATES].map(([name, [word]]) => [name, word, counts.get(name)])]
        .map(([name, word, n]) => html`<button type="button" aria-pressed=${state === name} onClick=${() => change({ state: name })}>${word} ${number(n)}</button>`)}</div>
      <label class="choose"><span>Order</span><select aria-label="Order" value=${order} onChange=${(e) => change({ order: e.target.value })}>${ORDER_WORDS.map(([name, word]) => html`<option value=${name} selected=${name === order}>${word}</option>`)}</select></label>
      ${may("rules_write") && html`<button type="button" class="reload" disabled=${busy} onClick=${reload}>${busy ? "Reloading…" : "Reload rules"}</button>`}</div>
    ${problem && html`<p class="problem" role="alert">${visible(problem)}</p>`}
    ${!rules ? !problem && html`<p class="waiting">Loading…</p>` : html`<div class="rules-split">
      ${shown.length === 0 ? html`<p class="empty">${rules.length ? "No rule fits this filter." : "No rules are loaded. Give folders under rules: in the configuration."}</p>`
        : html`<${VirtualList} items=${shown} keyOf=${keyOf} row=${row} rowHeight=${ROW_HEIGHT} focus=${index} focusKey=${index >= 0 ? id : null} label="Rules" />`}
      ${open && html`<${RuleFacts} key=${id} rule=${open} onHide=${() => go(address({}, null), true)} />`}</div>`}
  </main>`;
}

function Row({ rule: r, index, selected, order, onOpen }) {
  const known = STATES.get(r.state);
  const look = r.state === "live" ? "ok" : r.state === "failed" || r.state === "paused" ? "silent" : "quiet";
  const matches = r.state === "shadow" ? r.shadow_matches : r.matches;
  return html`<div role="row" id=${`row-${index}`} aria-rowindex=${index + 1} aria-selected=${selected} class=${`rule-row${selected ? " selected" : ""}`} onClick=${onOpen}>
    <span role="gridcell" class=${`health-state health-${look}`}><b aria-hidden="true">${known?.[1] ?? "?"}</b>${known?.[0] ?? visible(clip(plain(r.state), 20))}</span>
    <span role="gridcell">${r.level && html`<${Severity} level=${r.level} />`}</span>
    <span role="gridcell" class="rule-text"><bdi class="untrusted title">${visible(clip(plain(r.title), 200)) || "(no title)"}</bdi>
      <bdi class="untrusted dim">${visible(clip(plain(r.reason) || (plain(r.logsource) === NO_LOGSOURCE ? "" : plain(r.logsource)) || plain(r.file), 200))}</bdi></span>
    <span role="gridcell" class="n">${r.correlation?.degraded && html`<b class="bad" title="State is over its budget, or events came too late: see the details">degraded</b> `}
      ${order === "cost" && r.cost ? html`<span class=${r.cost.over_budget ? "bad" : ""}>${duration(r.cost.estimated_ms)} CPU</span>`
        : matches === undefined || matches === null ? "" : Number(matches) > 0 ? `${short(matches)} ${Number(matches) === 1 ? "match" : "matches"}` : html`<span class="dim">no match</span>`}</span>
  </div>`;
}

function RuleFacts({ rule, onHide }) {
  const [whole, setWhole] = useState(null);
  const inForce = rule.state !== "failed" && rule.state !== "not_covered";
  useEffect(() => {
    if (!inForce) return undefined;
    const abort = new AbortController();
    get(`/rules/${part(rule.id)}`, { signal: abort.signal }).then(setWhole, () => {});
    return () => abort.abort();
  }, [rule.id, inForce]);
  const held = rule.correlation;
  return html`<aside class="detail" aria-label="Rule"><header class="detail-head">${rule.level && html`<${Severity} level=${rule.level} />`}
      <button type="button" class="hide" aria-label="Close panel" title="Esc" onClick=${onHide}>×</button></header>
    <h2><${Text} value=${rule.title} max=${300} /></h2>
    ${rule.reason && html`<p class="problem"><${Text} value=${rule.reason} max=${2000} /></p>`}
    ${whole?.description && html`<p class="reason"><${Text} value=${whole.description} max=${800} /></p>`}
    ${inForce && may("alerts_read") && html`<p class="after"><a href=${routeTo("alerts", null, { rule: rule.id, state: "all" })}>Its alerts</a></p>`}
    <dl class="facts">${rule.hint && html`<dt>What to do</dt><dd><${Text} value=${rule.hint} /></dd>`}
      <dt>Id</dt><dd><code><${Text} value=${rule.id} /></code></dd>${rule.type && html`<dt>Kind</dt><dd><${Text} value=${rule.type} /></dd>`}${rule.logsource && rule.logsource !== NO_LOGSOURCE && html`<dt>Log source</dt><dd><${Text} value=${rule.logsource} /></dd>`}
      <dt>File</dt><dd><${Text} value=${rule.file} max=${1000} /></dd>
      ${rule.until && html`<dt>Tried again</dt><dd><${Time} at=${rule.until} full=${true} /></dd>`}
      ${rule.state === "shadow" ? html`<dt>In shadow</dt><dd>${number(rule.shadow_matches)} matches since the start, which raised no alert</dd>`
        : rule.matches !== undefined && html`<dt>Matches</dt><dd>${number(rule.matches)} since it was loaded</dd>`}
      ${rule.status && html`<dt>Status</dt><dd><${Text} value=${rule.status} /></dd>`}${rule.author && html`<dt>Author</dt><dd><${Text} value=${rule.author} /></dd>`}
      ${whole && html`<dt>Tests</dt><dd>${Number(whole.tests) > 0 ? `${number(whole.tests)} beside the rule` : html`<span class="dim">none</span>`}</dd>
        ${whole.generates_alerts === false && rule.state === "live" && html`<dt>Alerts</dt><dd>none of its own: it feeds other rules</dd>`}`}
      ${held && html`<dt>Groups</dt><dd>${number(held.groups)} in ${bytes(held.bytes + held.sketch_bytes)}${held.held_s > 0 && `, held open ${number(held.held_s)} s`}</dd>
        ${held.degraded && html`<dt>Given up</dt><dd class="bad">${Object.entries(held.given_up ?? {}).map(([name, n]) => `${number(n)} ${visible(clip(plain(name), 60)).replaceAll("_", " ")}`).join(", ")}${held.over_budget ? " (over its budget)" : ""}</dd>`}`}
      ${rule.tags?.length > 0 && html`<dt>Tags</dt><dd class="tags">${rule.tags.slice(0, 40).map((tag) => html`<span class="tag"><${Text} value=${tag} max=${60} /></span>`)}</dd>`}</dl>
    ${rule.cost && html`<${Cost} cost=${rule.cost} />`}
    ${whole?.references?.length > 0 && html`<section><h3>References</h3><ul class="plain">${whole.references.slice(0, 20).map((r) => html`<li><${Reference} address=${r} /></li>`)}</ul></section>`}
    ${whole?.yaml && html`<section><h3>Text in force</h3><${Yaml} text=${whole.yaml} /></section>`}
  </aside>`;
}

function Cost({ cost }) {
  return html`<section><h3>Cost <span class="dim">counted since it was loaded</span></h3><dl class="facts">
    <dt>Events offered</dt><dd>${number(cost.events)}</dd><dt>Looked at closely</dt><dd>${number(cost.candidates)}</dd><dt>Matched</dt><dd>${number(cost.matched)}</dd>
    <dt>Work</dt><dd class=${cost.over_budget ? "bad" : ""}>${number(cost.work_per_event)} units an event, of ${number(cost.allowed_per_event)} allowed, about ${duration(cost.estimated_ms)} of CPU</dd>
    ${cost.witness && html`<dt>Found by</dt><dd><${Text} value=${cost.witness} max=${200} /></dd>`}</dl></section>`;
}
