// One alert: what happened, why the rule fired, what it rests on, what happened around it, and what
// people did with it.

import { html, useEffect, useMemo, useState } from "./dom.js";
import { get, own, part } from "./api.js";
import { listen } from "./live.js";
import { dispositionWord, Severity, State } from "./severity.js";
import { age, clip, number, plain, Text, visible } from "./text.js";
import { clockTime, fullTime, Time } from "./time.js";
import { EventRow, Value } from "./events.js";
import { Reference } from "./safe_href.js";
import { Why } from "./why.js";
import { go, routeTo } from "./route.js";
import { term } from "./query.js";

const AROUND_MINUTES = 15;
/** Events of "around it" drawn as marks, and listed. */
const MARKS_MAX = 600;
const LISTED_MAX = 60;

/**
 * @param {{id: string, revision: number, siblings: any[], onAcknowledge: () => void, onClose: () => void,
 *   onReopen: () => void, onHide: () => void, onOther: (id: string) => void}} props
 */
export function AlertDetail({ id, revision, siblings, onAcknowledge, onClose, onReopen, onHide, onOther }) {
  const [data, setData] = useState(null);
  const [problem, setProblem] = useState(null);
  const [stale, setStale] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    get(`/alerts/${part(id)}`, { signal: abort.signal }).then((answer) => {
      setData(answer);
      setProblem(null);
    }, (error) => error.name !== "AbortError" && setProblem(error.message));
    return () => abort.abort();
  }, [id, revision, stale]);
  useEffect(() => listen("alert", (alert) => alert.id === id && setStale((n) => n + 1)), [id]);

  if (!data) {
    return html`<aside class="detail" aria-label="Alert"><header class="detail-head"><button type="button" class="hide" aria-label="Close panel" onClick=${onHide}>×</button></header>
      ${problem ? html`<p class="problem" role="alert">${visible(problem)}</p>` : html`<p class="waiting">Loading…</p>`}</aside>`;
  }
  const alert = data.alert;
  const explanation = alert.explanation ?? {};
  const correlation = Object.entries(explanation.correlation ?? {});
  return html`<aside class="detail" aria-label="Alert">
    <header class="detail-head">
      <${Severity} level=${alert.level} /><${State} state=${alert.state} />
      ${alert.disposition && html`<span class="state">${dispositionWord(alert.disposition)}</span>`}
      <span class="dim">${age(Date.now() - Date.parse(alert.time))} ago</span>
      <button type="button" class="hide" aria-label="Close panel" title="Esc" onClick=${onHide}>×</button>
    </header>
    <h2><${Text} value=${alert.title} max=${300} /></h2>
    <p class="reason"><${Text} value=${alert.reason} max=${600} /></p>
    <div class="actions">
      <button type="button" class="primary" disabled=${alert.state !== "new"} onClick=${onAcknowledge}><u>A</u>cknowledge</button>
      <button type="button" disabled=${alert.state === "closed"} onClick=${onClose}><u>C</u>lose…</button>
      <button type="button" disabled=${alert.state === "new"} onClick=${onReopen}><u>R</u>eopen</button>
      ${siblings.length > 1 && html`<label class="choose siblings"><span>of ${siblings.length} alerts</span><select value=${id} aria-label="Other alerts of this rule and entity"
        onChange=${(e) => onOther(e.target.value)}>${[...siblings].sort((a, b) => (b.time_ms ?? 0) - (a.time_ms ?? 0)).slice(0, 200).map((s) => html`<option value=${s.id} selected=${s.id === id}>${fullTime(Date.parse(s.time))}, ${s.state}</option>`)}</select></label>`}
    </div>
    <dl class="facts">
      ${Object.entries(alert.entity ?? {}).map(([name, value]) => html`<dt><${Text} value=${name} max=${80} /></dt><dd><${Value} field=${name} value=${value} event=${{ "@timestamp": alert.time }} /></dd>`)}
      <dt>Time</dt><dd><${Time} at=${alert.time} full=${true} /></dd>
      <dt>Occurrences</dt><dd>${number(alert.count)}${alert.backfill && html` <span class="dim">(found in old events; nobody was notified)</span>`}</dd>
      ${alert.assignee && html`<dt>Assignee</dt><dd><${Text} value=${alert.assignee} max=${80} /></dd>`}
      ${alert.tags?.length > 0 && html`<dt>Tags</dt><dd class="tags">${alert.tags.slice(0, 30).map((tag) => html`<span class="tag"><${Text} value=${tag} max=${60} /></span>`)}</dd>`}
    </dl>

    <section><h3>Why it fired</h3>
      ${correlation.length > 0 && html`<dl class="facts correlation">${correlation.map(([name, value]) => html`<dt><${Text} value=${name.replaceAll("_", " ")} max=${80} /></dt><dd><${Text} value=${value} /></dd>`)}</dl>`}
      ${explanation.condition
        ? html`${correlation.length > 0 && html`<p class="dim">The last contributing event held this condition:</p>`}<${Why} outcome=${explanation.condition} />`
        : correlation.length === 0 && html`<p class="dim">No condition was recorded: this alert comes from ${visible(clip(plain(alert.fired_by ?? alert.rule_type), 80)) || "the server itself"}.</p>`}
    </section>
    <${Contributing} alert=${alert} events=${data.events ?? []} />
    <${Around} alert=${alert} />
    <${History} records=${data.history ?? []} />
    <${RulePart} rule=${data.rule} alert=${alert} />
  </aside>`;
}

function Contributing({ alert, events }) {
  const [open, setOpen] = useState(-1);
  const evidence = Array.isArray(alert.evidence) ? alert.evidence : [];
  const total = Number(alert.evidence_count) || evidence.length;
  return html`<section><h3>Contributing events <span class="dim">${number(total)}</span></h3>
    ${events.length === 0
      ? html`<p class="dim">The events are no longer stored. The alert rests on ${evidence.slice(0, 5).map((e) => visible(plain(e.id)).slice(0, 60)).join(", ") || "no single event"}.</p>`
      : html`<div class="events">${events.slice(0, 100).map((event, i) => html`<${EventRow} key=${i} event=${event} pin=${true} open=${open === i} onToggle=${() => setOpen(open === i ? -1 : i)} />`)}</div>
        ${total > events.length && html`<p class="dim">${number(events.length)} of ${number(total)} are shown.</p>`}`}
  </section>`;
}

/** What else happened to the same machines, users and addresses, a quarter of an hour each way. */
function Around({ alert }) {
  const [data, setData] = useState(null);
  const [problem, setProblem] = useState(null);
  const [open, setOpen] = useState("");
  const [centre, setCentre] = useState(null);

  useEffect(() => {
    const abort = new AbortController();
    get(`/alerts/${part(alert.id)}/around`, { query: { minutes: AROUND_MINUTES }, signal: abort.signal })
      .then(setData, (error) => error.name !== "AbortError" && setProblem(error.message));
    return () => abort.abort();
  }, [alert.id]);

  const middle = Date.parse(alert.time);
  const span = AROUND_MINUTES * 60_000;
  const ids = useMemo(() => new Set((alert.evidence ?? []).map((e) => plain(e.id))), [alert]);
  const rows = useMemo(() => (data?.rows ?? []).map((event) => ({
    event, ms: Date.parse(plain(own(event, "@timestamp"))), id: plain(own(event, "event.id")),
  })).filter((r) => !Number.isNaN(r.ms)), [data]);
  const lanes = useMemo(() => lanesOf(alert, rows), [alert, rows]);
  const at = centre ?? middle;
  const listed = useMemo(() => [...rows].sort((a, b) => Math.abs(a.ms - at) - Math.abs(b.ms - at)).slice(0, LISTED_MAX)
    .sort((a, b) => a.ms - b.ms), [rows, at]);
  const x = (ms) => ((ms - (middle - span)) / (2 * span)) * 1000;
  const first = Object.entries(alert.entity ?? {}).map(([name, value]) => term(name, value)).filter(Boolean);

  return html`<section><h3>Around it <span class="dim">${AROUND_MINUTES} min before and after</span></h3>
    ${problem && html`<p class="problem">${visible(problem)}</p>`}
    ${!data && !problem && html`<p class="waiting">Loading…</p>`}
    ${data && html`<div class="lanes">
      ${lanes.map((lane) => html`<div class="lane"><span class="lane-name"><${Text} value=${lane.name} max=${40} /></span>
        <svg viewBox="0 0 1000 18" preserveAspectRatio="none" aria-label=${`${lane.rows.length} events`} role="img"
          onClick=${(e) => {
            const r = e.currentTarget.getBoundingClientRect();
            setCentre(middle - span + ((e.clientX - r.left) / r.width) * 2 * span);
          }}>
          <line class="lane-line" x1="0" x2="1000" y1="9" y2="9" />
          ${lane.rows.slice(0, MARKS_MAX / lanes.length).map((r) => html`<rect class=${ids.has(r.id) ? "mark pinned" : "mark"} x=${x(r.ms) - 1.5} width="3" y=${ids.has(r.id) ? 1 : 5} height=${ids.has(r.id) ? 16 : 8} />`)}
          <line class="lane-at" x1=${x(at)} x2=${x(at)} y1="0" y2="18" />
        </svg></div>`)}
      <div class="lane axis"><span class="lane-name"></span><span class="axis-times"><span>${clockTime(middle - span).slice(0, 5)}</span><span>${clockTime(middle).slice(0, 8)}</span><span>${clockTime(middle + span).slice(0, 5)}</span></span></div>
    </div>
    <div class="events">${listed.map((r, i) => html`<${EventRow} key=${r.id || i} event=${r.event} pin=${ids.has(r.id)} open=${open === (r.id || String(i))} onToggle=${() => setOpen(open === (r.id || String(i)) ? "" : r.id || String(i))} />`)}</div>
    <p class="dim">${rows.length > listed.length ? `${listed.length} of ${number(rows.length)} events, those nearest to ${clockTime(at)}; click the timeline to move.` : `${number(rows.length)} ${rows.length === 1 ? "event" : "events"}.`}
      ${data.summary?.partial && html` <b>Not all of it: ${visible(clip(plain(data.summary.why_partial), 160))}</b>`}
      ${first.length > 0 && html` <button type="button" class="link" onClick=${() => go(routeTo("search", null, {
        q: first.join(" or "), since: new Date(middle - span).toISOString(), until: new Date(middle + span).toISOString(),
      }))}>open as search</button>`}</p>`}
  </section>`;
}

/** One lane per entity value and one for the rest. An event is in the first lane it fits. */
function lanesOf(alert, rows) {
  const wanted = Object.entries(alert.entity ?? {}).slice(0, 4).map(([name, value]) => ({ field: name, value: plain(value), name: `${plain(value)}`, rows: [] }));
  const rest = { name: wanted.length ? "everything else" : "events", rows: [] };
  for (const row of rows) {
    const lane = wanted.find((l) => {
      const found = own(row.event, l.field);
      return Array.isArray(found) ? found.map(plain).includes(l.value) : found !== undefined && plain(found) === l.value;
    }) ?? rest;
    lane.rows.push(row);
  }
  return [...wanted, rest].filter((lane) => lane !== rest || rest.rows.length > 0 || wanted.length === 0);
}

function History({ records }) {
  return html`<section><h3>History</h3>
    ${records.length === 0
      ? html`<p class="dim">Nobody has worked on this alert yet.</p>`
      : html`<ol class="history">${records.map((r) => html`<li><${Time} at=${r.at} full=${true} /> <b><${Text} value=${r.who} max=${80} /></b>
        <${Text} value=${r.action} max=${80} />${r.to && html` <span class="dim">${r.from && html`${visible(clip(plain(r.from), 40))} `}→</span> ${r.action === "triage" ? html`<${State} state=${r.to} />` : html`<${Text} value=${r.to} max=${80} />`}`}${r.disposition && html` <span class="state">${dispositionWord(r.disposition)}</span>`}
        ${r.why && html`<p class="said"><${Text} value=${r.why} /></p>`}</li>`)}</ol>`}
  </section>`;
}

function RulePart({ rule, alert }) {
  if (!rule) return null;
  return html`<section><h3>Rule</h3>
    <dl class="facts">
      <dt>Title</dt><dd><${Text} value=${rule.title} max=${200} /></dd>
      <dt>Author</dt><dd><${Text} value=${rule.author ?? "unknown"} max=${200} /></dd>
      ${rule.license && html`<dt>Licence</dt><dd><${Text} value=${rule.license} max=${120} /></dd>`}
      ${rule.description && html`<dt>Description</dt><dd><${Text} value=${rule.description} max=${800} /></dd>`}
      ${rule.references?.length > 0 && html`<dt>References</dt><dd><ul class="plain">${rule.references.slice(0, 20).map((r) => html`<li><${Reference} address=${r} /></li>`)}</ul></dd>`}
      <dt>Id</dt><dd><code><${Text} value=${rule.id} max=${80} /></code></dd>
      <dt>Generation</dt><dd>${number(alert.generation)}, <code title="hash of the rule as it was"><${Text} value=${clip(plain(alert.rule_hash), 16)} /></code></dd>
    </dl>
    ${rule.yaml && html`<details><summary>YAML</summary><pre class="yaml">${plain(rule.yaml).split("\n").slice(0, 500).map((line) => html`<bdi class="untrusted">${visible(clip(line, 1000))}</bdi>${"\n"}`)}</pre></details>`}
  </section>`;
}
