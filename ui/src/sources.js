// Who sends, how much, how well it is understood, and who has gone quiet.

import { html, useEffect, useState } from "./dom.js";
import { get, own } from "./api.js";
import { age, bytes, clip, duration, number, plain, short, Text, visible } from "./text.js";
import { Time, useNow } from "./time.js";
import { go, routeTo } from "./route.js";
import { quoted, term } from "./query.js";
import { copyLink } from "./clipboard.js";
import { useKeys } from "./keys.js";
import { may } from "./session.js";

const EVERY_MS = 5000;
/** States of a sender: word and shape; those that want attention come first. */
const STATES = new Map([
  ["silent", ["Silent", "✗", 0]], ["spike", ["Spike", "▲", 1]], ["ok", ["OK", "✓", 2]], ["quiet", ["Quiet", "–", 3]],
]);
const ROWS_MAX = 500;
const POOR_PARSING = 0.05;

/** A sender in the address. */
const keyOf = (sender) => JSON.stringify([sender.source, sender.host]);

/** @param {{id: string | null, query: URLSearchParams}} props */
export function Sources({ id, query }) {
  const [data, setData] = useState(null);
  const [problem, setProblem] = useState(null);
  const text = query.get("q") ?? "";
  const now = useNow();
  useEffect(() => {
    let gone = false;
    const load = () => get("/sources").then((answer) => {
      if (gone) return;
      setData(answer);
      setProblem(null);
    }, (error) => !gone && setProblem(error.message));
    load();
    const timer = setInterval(load, EVERY_MS);
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, []);
  const senders = data?.sources ?? [];
  const rank = (s) => STATES.get(s.state)?.[2] ?? 2;
  const wanted = text.toLowerCase();
  const all = senders
    .filter((s) => !wanted || [s.source, s.host, s.pack].map(plain).join("\n").toLowerCase().includes(wanted))
    .sort((a, b) => rank(a) - rank(b) || (Number(b.events) || 0) - (Number(a.events) || 0));
  const troubled = senders.filter((s) => rank(s) < 2).length;
  const open = senders.find((s) => keyOf(s) === id) ?? null;
  const at = (sender) => go(routeTo("sources", sender && keyOf(sender), { q: text }), true);
  useKeys(new Map([["Escape", () => at(null)], ["y", copyLink]]));
  return html`<main class="page sources">
    <div class="filters"><h1>Sources</h1><input id="query" type="search" placeholder="Source, host, pack" aria-label="Filter sources" value=${text} onInput=${(e) => go(routeTo("sources", id, { q: e.target.value }), true)} />
      ${data && html`<span class="dim">${number(senders.length)} ${senders.length === 1 ? "sender" : "senders"}${troubled ? html`, <b class="bad">${number(troubled)} ${troubled === 1 ? "needs" : "need"} a look</b>` : ", all well"}</span>`}</div>
    ${problem && html`<p class="problem" role="alert">${visible(problem)}</p>`}
    ${!data ? !problem && html`<p class="waiting">Loading…</p>` : all.length === 0
      ? html`<p class="empty">${senders.length ? "No sender fits this filter." : "Nobody has sent anything yet. Point a syslog sender, an agent or POST /api/v1/ingest at this server."}</p>`
      : html`<div class=${`split${open ? " split-open" : ""}`}><div class="split-list"><div class="table-box"><table class="grid"><thead><tr><th scope="col">State</th><th scope="col">Host</th><th scope="col">Source</th><th scope="col">Read as</th>
        <th scope="col" class="num">Last seen</th><th scope="col" class="num">Events</th><th scope="col" class="num">Per second</th><th scope="col" class="num">Not parsed</th><th scope="col" class="num">Lag</th></tr></thead>
      <tbody>${all.slice(0, ROWS_MAX).map((s) => html`<${Row} key=${keyOf(s)} sender=${s} now=${now} open=${s === open} onOpen=${() => at(s === open ? null : s)} />`)}</tbody></table></div>
      ${all.length > ROWS_MAX && html`<p class="dim">The first ${number(ROWS_MAX)} of ${number(all.length)}; filter to see others.</p>`}</div>
      ${open && html`<${Sender} sender=${open} door=${(data.doors ?? []).find((d) => d.source === open.source)} now=${now} onHide=${() => at(null)} />`}</div>`}
  </main>`;
}

function State({ sender }) {
  const known = STATES.get(sender.state);
  return html`<span class=${`health-state health-${known ? sender.state : "unknown"}`}><b aria-hidden="true">${known?.[1] ?? "?"}</b>${known?.[0] ?? visible(clip(plain(sender.state), 20))}</span>`;
}

const percent = (share) => (share === 0 ? "0 %" : share < 0.001 ? "< 0.1 %" : `${(share * 100).toFixed(1)} %`);

function Row({ sender: s, now, open, onOpen }) {
  const share = Number(s.parse_failed_share) || 0;
  return html`<tr class=${open ? "selected" : ""}><td><${State} sender=${s} /></td>
    <td><button type="button" class="link" aria-expanded=${open} onClick=${onOpen}><bdi class="untrusted">${visible(clip(plain(s.host), 80)) || "(no host)"}</bdi></button></td>
    <td><${Text} value=${s.source} max=${80} /></td><td><${Text} value=${s.pack || "not recognised"} max=${60} /></td>
    <td class="num" title=${visible(clip(plain(s.last_seen), 40))}>${age(now - Date.parse(s.last_seen))}</td>
    <td class="num">${number(s.events)}</td><td class="num">${short(s.events_per_s)}</td>
    <td class=${`num${share > POOR_PARSING ? " bad" : ""}`}>${percent(share)}</td>
    <td class="num">${duration(s.lag_ms)}</td></tr>`;
}

/** One sender: what is known of it, and where to look further. */
function Sender({ sender: s, door, now, onHide }) {
  const itself = [s.source && term("alcedo.source", s.source), s.host && term("host.name", s.host)].filter(Boolean).join(" and ");
  const search = (more, since, words) => html`<li><a href=${routeTo("search", null, { q: [itself, more].filter(Boolean).join(" and "), since })}>${words}</a></li>`;
  const failures = Number(s.parse_failures) || 0;
  return html`<aside class="detail" aria-label="Sender"><header class="detail-head"><${State} sender=${s} />
      <button type="button" class="hide" aria-label="Close panel" title="Esc" onClick=${onHide}>×</button></header>
    <h2><${Text} value=${s.host || s.source} max=${200} /></h2>
    <dl class="facts"><dt>Source</dt><dd><${Text} value=${s.source} max=${200} /></dd><dt>Read as</dt><dd><${Text} value=${s.pack || "not recognised: generic fields only"} max=${120} /></dd>
      <dt>First seen</dt><dd><${Time} at=${s.first_seen} full=${true} /></dd><dt>Last seen</dt><dd><${Time} at=${s.last_seen} full=${true} /> <span class="dim">${age(now - Date.parse(s.last_seen))} ago</span></dd>
      <dt>Received</dt><dd>${number(s.events)} events, ${bytes(s.bytes)}</dd>
      <dt>Rate</dt><dd>${number(s.events_per_s)} /s over 10 s, ${number(s.events_per_s_60s)} /s over a minute${s.is_spiking ? html` <b class="warn">far above the usual</b>` : ""}</dd>
      <dt>Not parsed</dt><dd class=${Number(s.parse_failed_share) > POOR_PARSING ? "bad" : ""}>${number(failures)} in all, ${percent(Number(s.parse_failed_share) || 0)} of the last minute</dd>
      <dt>Lag</dt><dd>half within ${duration(s.lag_ms)}, the latest ${duration(s.lag_max_ms)} after it happened</dd>
      ${Number(s.events_of_hosts_not_listed) > 0 && html`<dt>Other hosts</dt><dd class="warn">${number(s.events_of_hosts_not_listed)} events of hosts beyond those listed</dd>`}</dl>
    ${(may("events_read") || may("alerts_read")) && html`<section><h3>Look at</h3><ul class="plain">
      ${may("events_read") && search("", "1h", "its events of the last hour")}
      ${may("events_read") && failures > 0 && search("tags:parse_failed", "7d", "those that could not be parsed")}
      ${may("events_read") && html`<li><a href=${routeTo("search", null, { q: `event.action:gap and ${quoted(s.source)}`, since: "7d" })}>known gaps of the source</a></li>`}
      ${may("alerts_read") && html`<li><a href=${routeTo("alerts", null, { q: s.host || s.source, state: "all" })}>alerts that name it</a></li>`}</ul></section>`}
    ${door && html`<section><h3>At its door <span class="dim">all hosts of the source, since the start</span></h3><${Door} counted=${door.counted} /></section>`}
  </aside>`;
}

/** Counters of a source that say something. */
function Door({ counted }) {
  const names = Object.keys(counted ?? {});
  const told = names.filter((name) => Number(own(counted, name)) > 0);
  return html`<dl class="facts">${told.map((name) => html`<dt><${Text} value=${name.replaceAll("_", " ")} max=${60} /></dt><dd>${name.endsWith("_bytes") ? bytes(own(counted, name)) : number(own(counted, name))}</dd>`)}</dl>
    ${told.length < names.length && html`<p class="dim">${number(names.length - told.length)} other counters are 0.</p>`}`;
}
