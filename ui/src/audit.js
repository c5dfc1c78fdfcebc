// Who did what: the audit log, newest first.

import { html, useEffect, useState } from "./dom.js";
import { get } from "./api.js";
import { clip, number, plain, Text, visible } from "./text.js";
import { Time } from "./time.js";
import { go, routeTo } from "./route.js";
import { copyLink } from "./clipboard.js";
import { useKeys } from "./keys.js";

/** Records fetched at a time. */
const WINDOW = 200;
/** Kinds of actions that are asked for most. */
const ACTIONS = [["", "everything"], ["alert", "work on alerts"], ["token", "tokens"], ["login", "signing in"], ["logout", "signing out"], ["rules", "rules"], ["search", "searches and exports"], ["store", "what the store removed or held"]];
const SINCE = [["", "any time"], ["1h", "1 hour"], ["24h", "24 hours"], ["7d", "7 days"], ["30d", "30 days"]];

/** @param {{query: URLSearchParams}} props */
export function Audit({ query }) {
  const filter = { who: query.get("who") ?? "", action: query.get("action") ?? "", since: query.get("since") ?? "" };
  const [data, setData] = useState(null);
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    const abort = new AbortController();
    setData(null);
    setProblem(null);
    get("/audit", { query: { ...filter, limit: WINDOW }, signal: abort.signal }).then(setData, (error) => error.name !== "AbortError" && setProblem(error.message));
    return () => abort.abort();
  }, [filter.who, filter.action, filter.since]);
  const more = async () => {
    setBusy(true);
    try {
      const answer = await get("/audit", { query: { ...filter, limit: WINDOW, cursor: data.next } });
      setData((old) => ({ ...answer, records: [...old.records, ...answer.records] }));
    } catch (error) {
      setProblem(error.message);
    }
    setBusy(false);
  };
  useKeys(new Map([["y", copyLink]]));
  const choose = (name, label, options) => {
    const all = options.some(([value]) => value === filter[name]) ? options : [...options, [filter[name], visible(clip(filter[name], 40))]];
    return html`<label class="choose"><span>${label}</span><select aria-label=${label} value=${filter[name]} onChange=${(e) => refilter({ [name]: e.target.value })}>
      ${all.map(([value, word]) => html`<option value=${value} selected=${value === filter[name]}>${word}</option>`)}</select></label>`;
  };
  const refilter = (changes) => go(routeTo("audit", null, { ...filter, ...changes }), true);
  const records = data?.records ?? [];
  return html`<main class="page audit">
    <div class="filters"><h1>Audit log</h1>
      ${choose("action", "What", ACTIONS)}${choose("since", "Since", SINCE)}
      ${filter.who && html`<span class="chip">By <bdi class="untrusted">${visible(clip(filter.who, 60))}</bdi><button type="button" class="dots" aria-label="By anybody" onClick=${() => refilter({ who: "" })}>×</button></span>`}</div>
    ${problem && html`<p class="problem" role="alert">${visible(clip(problem, 300))}</p>`}
    ${data?.own_only && html`<p class="note">You see what you did yourself; the whole log is for auditors.</p>`}
    ${!data ? !problem && html`<p class="waiting">Loading…</p>`
      : records.length === 0 ? html`<p class="empty">No record fits.</p>`
      : html`<div class="table-box"><table class="grid"><thead><tr><th scope="col">Time</th><th scope="col">Who</th><th scope="col">Action</th><th scope="col">About</th><th scope="col">Detail</th><th scope="col">From</th></tr></thead>
        <tbody>${records.map((r, i) => html`<tr key=${i}><td><${Time} at=${r.at} full=${true} /></td>
          <td><button type="button" class="link" title=${visible(clip(plain(r.who), 120))} onClick=${() => refilter({ who: r.who })}><bdi class="untrusted">${visible(clip(plain(r.who_name), 60))}</bdi></button></td>
          <td><code><${Text} value=${r.action} max=${60} /></code></td>
          <td>${plain(r.action).startsWith("alert.") ? html`<a href=${routeTo("alerts", plain(r.target), { state: "all" })}><${Text} value=${clip(plain(r.target), 12)} /></a>` : html`<${Text} value=${r.target} max=${80} />`}</td>
          <td><${Text} value=${r.detail} max=${240} /></td><td class="dim"><${Text} value=${r.client} max=${60} /></td></tr>`)}</tbody></table></div>
        <p class="dim" role="status">${number(records.length)} ${records.length === 1 ? "record" : "records"}${data.next ? ", older ones follow" : ", all that fit"}. ${data.next && html`<button type="button" class="link" disabled=${busy} onClick=${more}>${busy ? "Loading…" : "show older"}</button>`}</p>`}
  </main>`;
}
