// Searches with a name, for everybody: to run, to follow, to save and to remove.

import { html, useEffect, useState } from "./dom.js";
import { get, part, put, remove } from "./api.js";
import { Dialog } from "./dialog.js";
import { plain, Text, visible, clip } from "./text.js";
import { Time } from "./time.js";
import { routeTo } from "./route.js";
import { may, Who } from "./session.js";
import { LEVELS, Severity } from "./severity.js";
import { toast } from "./toasts.js";

/** What the server takes as a name. */
const NAME = "[A-Za-z0-9_.\\-]{1,64}";

/** @param {{onHide: () => void}} props */
export function SavedSearches({ onHide }) {
  const [searches, setSearches] = useState(null);
  const [problem, setProblem] = useState(null);
  const [text, setText] = useState("");
  const load = () => get("/searches").then((answer) => setSearches(answer.searches ?? []), (error) => setProblem(error.message));
  useEffect(() => void load(), []);
  const wanted = text.toLowerCase();
  const shown = (searches ?? []).filter((s) => [s.name, s.query, s.note].map(plain).join("\n").toLowerCase().includes(wanted));
  const drop = async (name) => {
    try {
      await remove(`/searches/${part(name)}`);
      toast({ text: "Removed; the audit log keeps its text" });
      await load();
    } catch (error) {
      setProblem(error.message);
    }
  };
  const raise = async (name, level) => {
    try {
      await put(`/searches/${part(name)}/alert`, { level });
      toast({ text: level ? `What it finds raises ${level} alerts from now on` : "It raises no alerts any more" });
      setProblem(null);
    } catch (error) {
      setProblem(error.message);
    }
    await load();
  };
  return html`<section class="card saved" aria-label="Saved searches"><header><h2>Saved searches</h2>
      <input type="search" aria-label="Filter saved searches" placeholder="Name, query or note" value=${text} onInput=${(e) => setText(e.target.value)} />
      <button type="button" class="hide" aria-label="Close saved searches" title="s" onClick=${onHide}>×</button></header>
    ${problem && html`<p class="problem" role="alert">${visible(clip(problem, 300))}</p>`}
    ${!searches ? !problem && html`<p class="waiting">Loading…</p>`
      : shown.length === 0 ? html`<p class="empty">${searches.length ? "No name fits." : "None yet. Save the search above to find it here again."}</p>`
      : html`<ul class="plain">${shown.map((s) => html`<li key=${s.name}>
          <a href=${routeTo("search", null, { q: s.query, since: s.since ?? "24h", until: s.until })}><b><${Text} value=${s.name} max=${64} /></b></a>
          <code><${Text} value=${s.query} max=${200} /></code>
          ${Object.hasOwn(s, "alert") && html`<${Raises} search=${s} onChange=${(level) => raise(s.name, level)} />`}
          ${s.note && html`<span><${Text} value=${s.note} max=${200} /></span>`}
          <span class="dim">saved by <${Who} identity=${s.saved_by} />, <${Time} at=${s.saved_at} full=${true} /></span>
          <span class="row-actions">${s.can_tail && html`<a href=${routeTo("tail", null, { q: s.query })}>follow</a>`}
            ${may("alerts_triage") && (!s.alert || may("rules_write")) && html`<button type="button" class="link" onClick=${() => drop(s.name)}>remove</button>`}</span>
        </li>`)}</ul>`}
  </section>`;
}

/** Whether what a search finds raises alerts, and of which level. A filter alone can here; others on a schedule. */
function Raises({ search: s, onChange }) {
  const level = s.alert?.level ?? "";
  const alerts = s.alert && may("alerts_read") && html` <a href=${routeTo("alerts", null, { rule: s.alert.rule_id, state: "all" })}>its alerts</a>`;
  if (!may("rules_write") || !s.can_tail) return s.alert ? html`<span class="raises">raises <${Severity} level=${level} />${s.alert.every ? ` every ${s.alert.every}` : ""}${alerts}</span>` : null;
  return html`<span class="raises"><label>raises <select aria-label=${`Alerts of ${visible(clip(plain(s.name), 64))}`} value=${level} onChange=${(e) => onChange(e.target.value || null)}>
    <option value="" selected=${level === ""}>no alerts</option>${LEVELS.map(({ level: name, word }) => html`<option value=${name} selected=${name === level}>${word}</option>`)}</select></label>${alerts}</span>`;
}

/** @param {{q: string, since: string, until: string, onDone: () => void, onCancel: () => void}} props */
export function SaveDialog({ q, since, until, onDone, onCancel }) {
  const [name, setName] = useState("");
  const [note, setNote] = useState("");
  const [times, setTimes] = useState(!until);
  const save = async () => {
    await put(`/searches/${part(name)}`, { query: q, note: note.trim(), ...(times ? { since, ...(until ? { until } : {}) } : {}) });
    toast({ text: "Saved for everybody" });
    onDone();
  };
  return html`<${Dialog} title="Save this search" action="Save" ready=${new RegExp(`^${NAME}$`).test(name)} hint="a name that exists is replaced" onCancel=${onCancel} onSubmit=${save}>
    <p><code><${Text} value=${q || "(every event)"} max=${300} /></code></p>
    <label for="search-name">Name <span class="dim">letters, digits, - _ .</span></label>
    <input id="search-name" value=${name} pattern=${NAME} maxlength="64" required autocomplete="off" spellcheck="false" onInput=${(e) => setName(e.target.value)} />
    <label for="search-note">What it is for</label>
    <input id="search-note" value=${note} maxlength="500" onInput=${(e) => setNote(e.target.value)} />
    <label class="check"><input type="checkbox" checked=${times} onChange=${(e) => setTimes(e.target.checked)} /> with the time range (${until ? "the chosen one" : `last ${visible(clip(since, 20))}`})</label>
  </${Dialog}>`;
}
