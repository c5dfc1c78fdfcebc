// One alert: what happened, why the rule fired, what it rests on, what happened around it, and what
// people did with it.

import { html, useEffect, useMemo, useRef, useState } from "./dom.js";
import { get, own, part } from "./api.js";
import { listen } from "./live.js";
import { dispositionWord, Severity, State } from "./severity.js";
import { age, clip, number, plain, Text, visible } from "./text.js";
import { axisTime, clockTime, fullTime, Time } from "./time.js";
import { EventRow, Value } from "./events.js";
import { Reference } from "./safe_href.js";
import { Chain, Correlation } from "./correlation.js";
import { Why } from "./why.js";
import { copyLink } from "./clipboard.js";
import { go, routeTo } from "./route.js";
import { Who } from "./session.js";
import { term } from "./query.js";
import { Yaml } from "./yaml.js";

const AROUND_MINUTES = 15;
/** An alert that is not delivered everywhere is read again after this, ms. */
const DELIVERY_MS = 5000;
/** Pause before an alert that changed is read again, ms. */
const REST_MS = 500;
/** Events of "around it" drawn as marks, and listed. */
const MARKS_MAX = 600;
const LISTED_MAX = 60;

/** Other alerts of the same line that are offered. */
const SIBLINGS_MAX = 200;

/**
 * @param {{id: string, revision: number, preview: any, siblings: any[], actions: Record<string, () => void> | null,
 *   onHide: () => void, onOther: (id: string) => void}} props `preview` is the alert as the list has it, shown
 *   until the whole of it is there; `actions` is null for who may not work on alerts
 */
export function AlertDetail({ id, revision, preview, siblings, actions, onHide, onOther }) {
  const [data, problem] = useAlert(id, revision);
  // The list may let go of the alert before the whole of it is there.
  const seen = useRef(preview);
  seen.current = preview ?? seen.current;
  const alert = data?.alert ?? seen.current;
  const hide = html`<button type="button" class="hide" aria-label="Close panel" title="Esc" onClick=${onHide}>×</button>`;
  if (!alert) {
    return html`<aside class="detail" aria-label="Alert"><header class="detail-head">${hide}</header>
      ${problem ? html`<p class="problem" role="alert">${visible(problem)}</p>` : html`<p class="waiting">Loading…</p>`}</aside>`;
  }
  return html`<aside class="detail" aria-label="Alert">
    <header class="detail-head">
      <${Severity} level=${alert.level} /><${State} state=${alert.state} />
      ${alert.disposition && html`<span class="state">${dispositionWord(alert.disposition)}</span>`}
      <span class="dim">${age(Date.now() - Date.parse(alert.time))} ago</span>${hide}
    </header>
    <h2><${Text} value=${alert.title} max=${300} /></h2>
    <p class="reason"><${Text} value=${alert.reason} max=${600} /></p>
    <div class="actions">
      ${actions && html`<button type="button" class="primary" disabled=${alert.state !== "new"} onClick=${actions.acknowledge}><u>A</u>cknowledge</button>
        <button type="button" onClick=${actions.assign}>Ass<u>i</u>gn…</button>
        <button type="button" onClick=${actions.note}><u>N</u>ote…</button>
        <button type="button" disabled=${alert.state === "closed"} onClick=${actions.close}><u>C</u>lose…</button>
        <button type="button" disabled=${alert.state === "new"} onClick=${actions.reopen}><u>R</u>eopen…</button>`}
      <button type="button" onClick=${copyLink}>Cop<u>y</u> link</button>
      ${siblings.length > 1 && html`<${Siblings} id=${id} siblings=${siblings} onOther=${onOther} />`}
    </div>
    <${Facts} alert=${alert} />
    ${problem && html`<p class="problem" role="alert">${visible(problem)}</p>`}
    ${data ? html`<${History} records=${(data.history ?? []).filter((r) => r.action !== "delivery")} />
        <${WhyPart} alert=${alert} />
        <${Contributing} alert=${alert} events=${data.events ?? []} />
        <${Around} alert=${alert} />
        <${Deliveries} deliveries=${data.deliveries} />
        <${RulePart} rule=${data.rule} alert=${alert} />`
      : !problem && html`<p class="waiting">Loading…</p>`}
  </aside>`;
}

/** The whole of an alert, read again when it changes: [what the server said, what went wrong]. */
function useAlert(id, revision) {
  const [data, setData] = useState(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    const abort = new AbortController();
    let busy = false;
    let again = false;
    let timer = 0;
    // An alert that goes on changes faster than it is read: each answer is shown, then the next asked for.
    const load = async () => {
      again = busy;
      if (busy) return;
      busy = true;
      try {
        const answer = await get(`/alerts/${part(id)}`, { signal: abort.signal });
        setData(answer);
        setProblem(null);
        // Deliveries are no news of the stream.
        const open = Object.values(answer.deliveries ?? {}).some((d) => d.status === "waiting" || d.status === "retrying");
        clearTimeout(timer);
        if (open) timer = setTimeout(load, DELIVERY_MS);
      } catch (error) {
        if (error.name !== "AbortError") setProblem(error.message);
      }
      await new Promise((rested) => setTimeout(rested, REST_MS));
      busy = false;
      if (again && !abort.signal.aborted) load();
    };
    load();
    const stop = listen("alert", (alert) => alert.id === id && load());
    const stopReload = listen("reload", load);
    return () => {
      stop();
      stopReload();
      clearTimeout(timer);
      abort.abort();
    };
  }, [id, revision]);
  return [data, problem];
}

/** Other alerts of the same rule and entity. */
function Siblings({ id, siblings, onOther }) {
  const newest = [...siblings].sort((a, b) => (b.time_ms ?? 0) - (a.time_ms ?? 0)).slice(0, SIBLINGS_MAX);
  const hidden = siblings.length - newest.length;
  return html`<label class="choose siblings"><span>of ${number(siblings.length)} alerts${hidden > 0 ? `, the newest ${SIBLINGS_MAX}` : ""}</span><select value=${id}
    aria-label="Other alerts of this rule and entity" onChange=${(e) => onOther(e.target.value)}>
    ${newest.map((s) => html`<option key=${s.id} value=${s.id} selected=${s.id === id}>${fullTime(Date.parse(s.time))}, ${s.state}</option>`)}</select></label>`;
}

function Facts({ alert }) {
  return html`<dl class="facts">
    ${Object.entries(alert.entity ?? {}).map(([name, value]) => html`<dt><${Text} value=${name} max=${80} /></dt><dd><${Value} field=${name} value=${value} event=${{ "@timestamp": alert.time }} /></dd>`)}
    <dt>Time</dt><dd><${Time} at=${alert.time} full=${true} /></dd>
    <dt>Occurrences</dt><dd>${number(alert.count)}${alert.backfill && html` <span class="dim">(found in old events; nobody was notified)</span>`}</dd>
    <dt>Assignee</dt><dd>${alert.assignee ? html`<${Who} identity=${alert.assignee} max=${80} />` : html`<span class="dim">nobody</span>`}</dd>
    ${alert.tags?.length > 0 && html`<dt>Tags</dt><dd class="tags">${alert.tags.slice(0, 30).map((tag) => html`<span class="tag"><${Text} value=${tag} max=${60} /></span>`)}</dd>`}
  </dl>`;
}

/** Why it fired: what a correlation counted, and the condition with what was found at every leaf. */
function WhyPart({ alert }) {
  const explanation = alert.explanation ?? {};
  const isCorrelation = Object.keys(explanation.correlation ?? {}).length > 0;
  return html`<section><h3>Why it fired</h3>
    ${isCorrelation && html`<${Correlation} facts=${explanation.correlation} /><${Chain} evidence=${alert.evidence ?? []} />`}
    ${explanation.condition
      ? html`${isCorrelation && html`<p class="dim">The last contributing event held this condition:</p>`}<${Why} outcome=${explanation.condition} />`
      : !isCorrelation && html`<p class="dim">No condition was recorded: this alert comes from ${visible(clip(plain(alert.fired_by ?? alert.rule_type), 80)) || "the server itself"}.</p>`}
  </section>`;
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
  const undrawn = lanes.reduce((sum, lane) => sum + lane.rows.length - drawn(lane, lanes).length, 0);
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
          ${drawn(lane, lanes).map((r) => html`<rect class=${ids.has(r.id) ? "mark pinned" : "mark"} x=${x(r.ms) - 1.5} width="3" y=${ids.has(r.id) ? 1 : 5} height=${ids.has(r.id) ? 16 : 8} />`)}
          <line class="lane-at" x1=${x(at)} x2=${x(at)} y1="0" y2="18" />
        </svg></div>`)}
      <div class="lane"><label class="lane-name" for="around-at">listed</label><input id="around-at" class="around-at" type="range" min=${middle - span} max=${middle + span} step="10000" value=${at}
        aria-valuetext=${fullTime(at)} onInput=${(e) => setCentre(Number(e.target.value))} /></div>
      <div class="lane axis"><span class="lane-name"></span><span class="axis-times"><span>${axisTime(middle - span, 2 * span)}</span><span>${fullTime(middle)}</span><span>${axisTime(middle + span, 2 * span)}</span></span></div>
    </div>
    <div class="events">${listed.map((r, i) => html`<${EventRow} key=${r.id || i} event=${r.event} pin=${ids.has(r.id)} open=${open === (r.id || String(i))} onToggle=${() => setOpen(open === (r.id || String(i)) ? "" : r.id || String(i))} />`)}</div>
    <p class="dim">${undrawn > 0 && html`The timeline leaves out ${number(undrawn)} marks. `}${rows.length > listed.length ? `${listed.length} of ${number(rows.length)} events, those nearest to ${clockTime(at)}; click the timeline, or move the slider, for others.` : `${number(rows.length)} ${rows.length === 1 ? "event" : "events"}.`}
      ${data.summary?.partial && html` <b>Not all of it: ${visible(clip(plain(data.summary.why_partial), 160))}</b>`}
      ${first.length > 0 && html` <button type="button" class="link" onClick=${() => go(routeTo("search", null, {
        q: first.join(" or "), since: new Date(middle - span).toISOString(), until: new Date(middle + span).toISOString(),
      }))}>open as search</button>`}</p>`}
  </section>`;
}

/** The rows of a lane that get a mark: evenly spread over it where there are too many. */
function drawn(lane, lanes) {
  const step = Math.ceil(lane.rows.length / (MARKS_MAX / lanes.length));
  return step <= 1 ? lane.rows : lane.rows.filter((_, i) => i % step === 0);
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

/** Records shown before "all": what whoever takes over has to know. */
const HISTORY_SHOWN = 5;

/** What people did and said, the newest last. It stands first: a note is for whoever reads next. */
function History({ records }) {
  const [all, setAll] = useState(false);
  if (records.length === 0) return html`<p class="dim untouched">Nobody has worked on this alert yet.</p>`;
  const hidden = all ? 0 : Math.max(0, records.length - HISTORY_SHOWN);
  return html`<section><h3>History</h3>
    ${hidden > 0 && html`<p><button type="button" class="link" onClick=${() => setAll(true)}>show ${number(hidden)} earlier ${hidden === 1 ? "record" : "records"}</button></p>`}
    <ol class="history">${records.slice(hidden).map((r, i) => html`<li key=${hidden + i} class="words"><${Time} at=${r.at} full=${true} /> <b><${Who} identity=${r.who ?? ""} max=${80} /></b>
      <${Step} record=${r} />${r.disposition && html`<span class="state">${dispositionWord(r.disposition)}</span>`}
      ${r.why && html`<p class="said"><${Text} value=${r.why} /></p>`}</li>`)}</ol>
  </section>`;
}

/** What a record of an alert's history says was done. */
function Step({ record: r }) {
  if (r.action === "triage") return html`<span class="dim">${visible(clip(plain(r.from), 40))} →</span> <${State} state=${r.to} />`;
  if (r.action === "assign") return r.to ? html`assigned to <${Who} identity=${r.to} max=${80} />` : "gave it back";
  if (r.action === "note") return "noted";
  if (r.action === "merge") return "joined two alerts";
  return html`<${Text} value=${r.action} max=${80} />${r.to && html` → <${Text} value=${r.to} max=${80} />`}`;
}

const DELIVERY_WORDS = new Map([["delivered", ["Delivered", "ok"]], ["retrying", ["Trying again", "spike"]], ["failed", ["Given up", "silent"]], ["waiting", ["Waiting", "quiet"]]]);

/** Where the alert was sent. */
function Deliveries({ deliveries }) {
  const all = Array.isArray(deliveries)
    ? deliveries
    : Object.entries(deliveries ?? {}).map(([destination, d]) => (d !== null && typeof d === "object" ? { destination, ...d } : { destination, status: d }));
  if (all.length === 0) return null;
  return html`<section><h3>Sent to</h3><ul class="plain deliveries">${all.slice(0, 50).map((d) => {
    const [word, look] = DELIVERY_WORDS.get(d.status) ?? [visible(clip(plain(d.status), 30)), "unknown"];
    const at = d.at ?? d.time;
    return html`<li class="words"><span class=${`health-state health-${look}`}>${word}</span> <${Text} value=${d.destination ?? d.sink} max=${80} />
      ${at && html` <${Time} at=${at} full=${true} />`}${Number(d.attempts) > 1 && html` <span class="dim">after ${number(d.attempts)} attempts</span>`}
      ${(d.last_error ?? d.detail) && html`<p class="said"><${Text} value=${d.last_error ?? d.detail} max=${300} /></p>`}</li>`;
  })}</ul></section>`;
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
      <dt>Id</dt><dd><code><${Text} value=${rule.id} max=${80} /></code> <a href=${routeTo("rules", rule.id)}>the rule now</a>, <a href=${routeTo("alerts", null, { rule: rule.id, state: "all" })}>all its alerts</a></dd>
      <dt>Generation</dt><dd>${number(alert.generation)}, <code title="hash of the rule as it was"><${Text} value=${clip(plain(alert.rule_hash), 16)} /></code></dd>
    </dl>
    ${rule.yaml && html`<details><summary>YAML</summary><${Yaml} text=${rule.yaml} /></details>`}
  </section>`;
}
