// Which rules watch, and why some do not.

import { html, useEffect, useMemo, useState } from "./dom.js";
import { get, post } from "./api.js";
import { VirtualList } from "./virtual.js";
import { bytes, clip, duration, number, plain, short, visible } from "./text.js";
import { rankOf, Severity } from "./severity.js";
import { toast } from "./toasts.js";

const STATES = new Map([["live", ["Live", "✓"]], ["shadow", ["Shadow", "◌"]], ["paused", ["Paused", "‖"]], ["not_covered", ["Not covered", "–"]], ["failed", ["Failed", "✗"]]]);
const ROW_HEIGHT = 52;

export function Rules() {
  const [rules, setRules] = useState(null);
  const [problem, setProblem] = useState(null);
  const [text, setText] = useState("");
  const [state, setState] = useState("");
  const [open, setOpen] = useState(null);
  const [busy, setBusy] = useState(false);
  const load = () => get("/rules").then((answer) => {
    setRules(answer.rules ?? []);
    setProblem(null);
  }, (error) => setProblem(error.message));
  useEffect(() => void load(), []);

  const counts = new Map([...STATES.keys()].map((name) => [name, 0]));
  for (const rule of rules ?? []) counts.set(rule.state, (counts.get(rule.state) ?? 0) + 1);
  const shown = useMemo(() => {
    const wanted = text.toLowerCase();
    const order = ["failed", "paused", "live", "shadow", "not_covered"];
    return (rules ?? [])
      .filter((r) => (!state || r.state === state) && (!wanted || [r.title, r.id, r.file, r.reason, (r.tags ?? []).join(" "), r.logsource].map(plain).join("\n").toLowerCase().includes(wanted)))
      .sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state) || (Number(b.matches) || 0) - (Number(a.matches) || 0) || rankOf(a.level) - rankOf(b.level) || (plain(a.title) < plain(b.title) ? -1 : 1));
  }, [rules, text, state]);

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
  const row = (r, i) => {
    const known = STATES.get(r.state);
    return html`<div role="row" aria-rowindex=${i + 1} class=${`rule-row${open === r ? " selected" : ""}`} key=${keyOf(r)} onClick=${() => setOpen(open === r ? null : r)}>
      <span class=${`health-state health-${r.state === "live" ? "ok" : r.state === "failed" || r.state === "paused" ? "silent" : "quiet"}`}><b aria-hidden="true">${known?.[1] ?? "?"}</b>${known?.[0] ?? visible(clip(plain(r.state), 20))}</span>
      ${r.level ? html`<${Severity} level=${r.level} />` : html`<span></span>`}
      <span class="rule-text"><bdi class="untrusted title">${visible(clip(plain(r.title), 200)) || "(no title)"}</bdi>
        <bdi class="untrusted dim">${visible(clip(plain(r.reason) || plain(r.logsource) || plain(r.file), 200))}</bdi></span>
      <span class="n">${r.correlation?.degraded && html`<b class="bad" title="State is over its budget, or events came too late: see the details">degraded</b> `}${r.matches === undefined ? "" : Number(r.matches) > 0 ? `${short(r.matches)} matches` : html`<span class="dim">no match</span>`}</span>
    </div>`;
  };
  return html`<main class="page rules">
    <div class="filters"><h1>Rules</h1>
      <input id="query" type="search" placeholder="Title, id, tag, file" aria-label="Filter rules" value=${text} onInput=${(e) => setText(e.target.value)} />
      <div class="tabs" role="group" aria-label="State">${[["", "All", rules?.length ?? 0], ...[...STATES].map(([name, [word]]) => [name, word, counts.get(name)])]
        .map(([name, word, n]) => html`<button type="button" aria-pressed=${state === name} onClick=${() => setState(name)}>${word} ${number(n)}</button>`)}</div>
      <button type="button" class="reload" disabled=${busy} onClick=${reload}>${busy ? "Reloading…" : "Reload rules"}</button></div>
    ${problem && html`<p class="problem" role="alert">${visible(problem)}</p>`}
    ${!rules ? html`<p class="waiting">Loading…</p>` : html`<div class="rules-split">
      ${shown.length === 0 ? html`<p class="empty">${rules.length ? "No rule fits this filter." : "No rules are loaded. Give folders under rules: in the configuration."}</p>`
        : html`<${VirtualList} items=${shown} keyOf=${keyOf} row=${row} rowHeight=${ROW_HEIGHT} label="Rules" />`}
      ${open && html`<${RuleFacts} rule=${open} onHide=${() => setOpen(null)} />`}</div>`}
  </main>`;
}

const keyOf = (rule) => JSON.stringify([rule.id, rule.file, rule.title]);

function RuleFacts({ rule, onHide }) {
  const text = (value, max = 400) => html`<bdi class="untrusted">${visible(clip(plain(value), max))}</bdi>`;
  return html`<aside class="detail" aria-label="Rule"><header class="detail-head">${rule.level && html`<${Severity} level=${rule.level} />`}
      <button type="button" class="hide" aria-label="Close panel" onClick=${onHide}>×</button></header>
    <h2>${text(rule.title, 300)}</h2>
    ${rule.reason && html`<p class="problem">${text(rule.reason, 2000)}</p>`}
    <dl class="facts"><dt>Id</dt><dd><code>${text(rule.id)}</code></dd><dt>Kind</dt><dd>${text(rule.type)}</dd><dt>Log source</dt><dd>${text(rule.logsource)}</dd>
      <dt>File</dt><dd>${text(rule.file, 1000)}</dd>${rule.matches !== undefined && html`<dt>Matches</dt><dd>${number(rule.matches)}</dd>`}${rule.hint && html`<dt>Hint</dt><dd>${text(rule.hint)}</dd>`}${rule.author && html`<dt>Author</dt><dd>${text(rule.author)}</dd>`}
      ${rule.correlation && html`<dt>Groups</dt><dd>${number(rule.correlation.groups)} in ${bytes(rule.correlation.bytes + rule.correlation.sketch_bytes)}${rule.correlation.held_s > 0 && `, held open ${number(rule.correlation.held_s)} s`}</dd>
        ${rule.correlation.degraded && html`<dt>Given up</dt><dd class="bad">${Object.entries(rule.correlation.given_up ?? {}).map(([name, n]) => `${number(n)} ${plain(name).replaceAll("_", " ")}`).join(", ")}${rule.correlation.over_budget ? " (over its budget)" : ""}</dd>`}`}
      ${rule.tags?.length > 0 && html`<dt>Tags</dt><dd class="tags">${rule.tags.slice(0, 40).map((tag) => html`<span class="tag">${text(tag, 60)}</span>`)}</dd>`}</dl>
  </aside>`;
}
