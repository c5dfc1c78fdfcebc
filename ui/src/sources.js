// Who sends, how much, how well it is understood, and who has gone quiet.

import { html, useEffect, useState } from "./dom.js";
import { get } from "./api.js";
import { age, clip, duration, number, plain, short, Text, visible } from "./text.js";
import { useNow } from "./time.js";
import { routeTo } from "./route.js";
import { term } from "./query.js";

const EVERY_MS = 5000;
/** States of a sender: word and shape; those that want attention come first. */
const STATES = new Map([
  ["silent", ["Silent", "✗", 0]], ["spike", ["Spike", "▲", 1]], ["ok", ["OK", "✓", 2]], ["quiet", ["Quiet", "–", 3]],
]);
const ROWS_MAX = 500;
const POOR_PARSING = 0.05;

export function Sources() {
  const [data, setData] = useState(null);
  const [problem, setProblem] = useState(null);
  const [text, setText] = useState("");
  const now = useNow();
  useEffect(() => {
    let gone = false;
    const load = () => get("/sources").then((answer) => !gone && (setData(answer.sources ?? []), setProblem(null)), (error) => !gone && setProblem(error.message));
    load();
    const timer = setInterval(load, EVERY_MS);
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, []);
  const rank = (s) => STATES.get(s.state)?.[2] ?? 2;
  const wanted = text.toLowerCase();
  const all = [...(data ?? [])]
    .filter((s) => !wanted || [s.source, s.host, s.pack, s.protocol].map(plain).join("\n").toLowerCase().includes(wanted))
    .sort((a, b) => rank(a) - rank(b) || (Number(b.events) || 0) - (Number(a.events) || 0));
  const troubled = (data ?? []).filter((s) => rank(s) < 2).length;
  return html`<main class="page sources">
    <div class="filters"><h1>Sources</h1><input id="query" type="search" placeholder="Source, host, pack" aria-label="Filter sources" value=${text} onInput=${(e) => setText(e.target.value)} />
      ${data && html`<span class="dim">${number(data.length)} senders${troubled ? html`, <b class="bad">${number(troubled)} need a look</b>` : ", all well"}</span>`}</div>
    ${problem && html`<p class="problem" role="alert">${visible(problem)}</p>`}
    ${!data ? html`<p class="waiting">Loading…</p>` : all.length === 0
      ? html`<p class="empty">${data.length ? "No sender fits this filter." : "Nobody has sent anything yet. Point a syslog sender, an agent or POST /api/v1/ingest at this server."}</p>`
      : html`<div class="table-box"><table class="grid"><thead><tr><th scope="col">State</th><th scope="col">Host</th><th scope="col">Source</th><th scope="col">Read as</th><th scope="col">Protocol</th>
        <th scope="col" class="num">Last seen</th><th scope="col" class="num">Events</th><th scope="col" class="num">Per second</th><th scope="col" class="num">Not parsed</th><th scope="col" class="num">Lag</th></tr></thead>
      <tbody>${all.slice(0, ROWS_MAX).map((s) => {
        const known = STATES.get(s.state);
        const share = Number(s.parse_failed_share) || 0;
        const query = [s.source && term("alcedo.source", s.source), s.host && term("host.name", s.host)].filter(Boolean).join(" and ");
        return html`<tr key=${JSON.stringify([s.source, s.host])}><td><span class=${`health-state health-${known ? s.state : "unknown"}`}><b aria-hidden="true">${known?.[1] ?? "?"}</b>${known?.[0] ?? visible(clip(plain(s.state), 20))}</span></td>
          <td><a href=${routeTo("search", null, { q: query, since: "1h" })}><${Text} value=${s.host || "(no host)"} max=${80} /></a></td>
          <td><${Text} value=${s.source} max=${80} /></td><td><${Text} value=${s.pack || "not recognised"} max=${60} /></td><td><${Text} value=${s.protocol ?? ""} max=${40} /></td>
          <td class="num" title=${visible(clip(plain(s.last_seen), 40))}>${age(now - Date.parse(s.last_seen))}</td>
          <td class="num">${number(s.events)}</td><td class="num">${short(s.events_per_s)}</td>
          <td class=${`num${share > POOR_PARSING ? " bad" : ""}`}>${share === 0 ? "0 %" : share < 0.001 ? "< 0.1 %" : `${(share * 100).toFixed(1)} %`}</td>
          <td class="num">${duration(s.lag_ms)}</td></tr>`;
      })}</tbody></table></div>
      ${all.length > ROWS_MAX && html`<p class="dim">The first ${number(ROWS_MAX)} of ${number(all.length)}; filter to see others.</p>`}`}
  </main>`;
}
