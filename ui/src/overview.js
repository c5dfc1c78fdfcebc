// Is everything all right, right now?

import { html, useEffect, useState } from "./dom.js";
import { get, own } from "./api.js";
import { connect, listen } from "./live.js";
import { RateChart } from "./chart.js";
import { LEVELS, rankOf, Severity, State } from "./severity.js";
import { age, bytes, clip, duration, number, plain, short, Text, visible } from "./text.js";
import { Time, useNow } from "./time.js";
import { go, routeTo } from "./route.js";
import { may } from "./session.js";

const NEWEST = 8;
/** Without the live stream the figures are asked for this often, ms. */
const EVERY_MS = 5000;
/** Lag beyond this is shown as a problem, ms. */
const LAG_SLOW_MS = 1000;
// Files are written once a minute; three of them missed is a store that cannot write.
const STORE_SLOW_MS = 180_000;

/** Left side of the conservation balance, then its right side. */
const IN = [["received", "received"], ["expanded", "expanded"]];
const OUT = [["stored", "stored"], ["deduplicated", "deduplicated"], ["dropped", "dropped by filter"],
  ["joined", "joined"], ["quarantined", "quarantined"]];
const BESIDE = [["refused", "refused at the door"], ["gap", "known gaps"], ["parse_failed", "not parsed"]];

export function Overview() {
  const [data, setData] = useState(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    const show = (next) => {
      setData(next);
      setProblem(null);
    };
    const load = () => get("/overview").then(show, (error) => setProblem(error.message));
    connect();
    load();
    // The stream also carries alerts: who may not read those asks now and then.
    const timer = may("alerts_read") ? 0 : setInterval(load, EVERY_MS);
    const stop = listen("overview", show);
    return () => {
      clearInterval(timer);
      stop();
    };
  }, []);
  if (!data) return html`<main class="page">${problem ? html`<p class="problem" role="alert">${problem}</p>` : html`<p class="waiting">Loading…</p>`}</main>`;
  const rate = data.rate ?? {};
  const lag = data.lag ?? {};
  const disk = data.disk ?? {};
  const slow = Number(lag.detect_ms) > LAG_SLOW_MS || Number(lag.store_ms) > STORE_SLOW_MS;
  return html`<main class="page overview"><h1 class="only-heard">Overview</h1>
    ${data.demo && html`<p class="note">This is the demo: made-up machines, a made-up attack, real processing.</p>`}
    <${Problems} problems=${data.problems} degraded=${data.degraded} />
    <section class="card wide rate-card">
      <header><h2>Events</h2><span class="big">${short(rate.events_per_s ?? 0)}<small>/s</small></span>
        <span class="dim">${bytes(rate.bytes_per_s ?? 0)}/s</span></header>
      <${RateChart} history=${rate.history} />
    </section>
    <section class="card levels"><header><h2>Open alerts</h2>${may("alerts_read") && html`<a href=${routeTo("alerts")}>queue</a>`}</header>
      <${Levels} alerts=${data.alerts} /></section>
    ${may("alerts_read") && html`<section class="card newest"><header><h2>Newest alerts</h2></header><${Newest} /></section>`}
    <section class="card"><header><h2>Balance</h2></header><${Balance} totals=${data.totals} /></section>
    <section class="card health"><header><h2>Machine</h2></header><dl>
      <dt>Detection lag</dt><dd class=${slow ? "bad" : "good"}>${duration(lag.detect_ms)}</dd>
      <dt title="Searchable at once; this is how long the oldest event has been waiting to be written to a file.">Waiting for a file</dt><dd>${duration(lag.store_ms)}</dd>
      <dt>Data on disk</dt><dd>${bytes(disk.data_bytes)}</dd>
      <dt>Free</dt><dd class=${Number(disk.free_bytes) < 2 ** 30 ? "bad" : ""}>${bytes(disk.free_bytes)}</dd>
      <dt>Rules</dt><dd><a href=${routeTo("rules")}>${number(data.generation?.rules_live ?? 0)} live</a>${data.generation?.rules_failed > 0 && html`, <span class="bad">${number(data.generation.rules_failed)} failed</span>`}${data.generation?.rules_not_covered > 0 && html`<span class="dim">, ${number(data.generation.rules_not_covered)} not covered</span>`}</dd>
      <dt>Up for</dt><dd>${age(Date.parse(data.now) - Date.parse(data.started))}</dd>
      <dt>Version</dt><dd>${visible(clip(plain(data.version), 60))}, generation ${number(data.generation?.number ?? 0)}</dd>
    </dl></section>
    <section class="card"><header><h2>On its way</h2></header><${Consumers} consumers=${lag.consumers} /></section>
    <${Destinations} />
  </main>`;
}

/** Names of consumers that are ours, for people. */
const CONSUMERS = new Map([["detect", "Detection"], ["store", "Files of the store"]]);

/** Who reads the streams, and what each has not passed yet. */
function Consumers({ consumers }) {
  const all = Array.isArray(consumers) ? consumers : [];
  return html`<table class="balance"><tbody>${all.slice(0, 40).map((c) => html`<tr class=${Number(c.records) ? "" : "zero"}>
    <th scope="row">${CONSUMERS.get(c.name) ?? html`<${Text} value=${plain(c.name).replace(/^notify:/, "To ")} max=${60} />`}</th>
    <td>${Number(c.records) === 0 ? "all passed" : `${number(c.records)} records, ${bytes(c.bytes)}, the oldest ${duration(Number(c.seconds) * 1000)} old`}</td></tr>`)}</tbody></table>
    ${all.length > 40 && html`<p class="dim">and ${number(all.length - 40)} more</p>`}`;
}

const DESTINATION_STATES = new Map([["ok", ["OK", "ok", "✓"]], ["failing", ["Failing", "silent", "✗"]], ["left_over", ["Not configured any more", "spike", "▲"]]]);

/** Where alerts go, and what hinders them. */
function Destinations() {
  const [all, setAll] = useState(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    const load = () => get("/destinations").then((answer) => {
      setAll(answer.destinations ?? []);
      setProblem(null);
    }, setProblem);
    load();
    const timer = setInterval(load, EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  return html`<section class="card"><header><h2>Destinations of alerts</h2></header>
    ${problem ? html`<p class="problem">${visible(clip(problem.message, 200))}</p>`
      : !all ? html`<p class="waiting">Loading…</p>`
      : all.length === 0 ? html`<p class="empty">None: alerts are in the queue only. Name some under notify: in the configuration.</p>`
      : html`<${DestinationList} all=${all} />`}</section>`;
}

function DestinationList({ all }) {
  return html`<ul class="plain destinations">${all.slice(0, 50).map((d) => {
    const [word, look, shape] = DESTINATION_STATES.get(d.state) ?? [visible(clip(plain(d.state), 20)), "unknown", "?"];
    return html`<li class="words"><span class=${`health-state health-${look}`}><b aria-hidden="true">${shape}</b>${word}</span> <b><${Text} value=${d.name} max=${60} /></b>
      <span class="dim">${visible(clip(plain(d.kind), 20))}${d.min_level && `, ${visible(clip(plain(d.min_level), 20))} and up`}, ${number(d.delivered)} delivered since the start${Number(d.refused) > 0 ? html`, <b class="bad">${number(d.refused)} refused for good</b>` : ""}${Number(d.records_behind) > 0 && `, ${number(d.records_behind)} records behind`}</span>
      ${d.failing_since && html`<p class="said bad">since <${Time} at=${d.failing_since} full=${true} />: <${Text} value=${d.last_error ?? ""} max=${300} /></p>`}</li>`;
  })}</ul>
  ${all.length > 50 && html`<p class="dim">and ${number(all.length - 50)} more</p>`}`;
}

function Problems({ problems: known, degraded }) {
  const given = Number(degraded?.level) > 0 ? [`Overloaded, given up: ${plain(degraded.what) || plain(degraded.step)}`] : [];
  const problems = [...given, ...(Array.isArray(known) ? known : [])];
  if (problems.length === 0) {
    return html`<p class="allright"><b aria-hidden="true">✓</b> No problem is known.</p>`;
  }
  return html`<ul class="problems" role="alert">${problems.slice(0, 20).map((text) => html`<li>${visible(clip(plain(text), 400))}</li>`)}
    ${problems.length > 20 && html`<li>and ${number(problems.length - 20)} more</li>`}</ul>`;
}

function Levels({ alerts }) {
  const byLevel = alerts?.by_level ?? {};
  const byState = alerts?.by_state ?? {};
  const link = may("alerts_read") ? "a" : "span";
  const top = Math.max(1, ...LEVELS.map(({ level }) => Number(own(byLevel, level)) || 0));
  return html`<ul class="bars-by-level">${LEVELS.map(({ level }) => {
    const n = Number(own(byLevel, level)) || 0;
    return html`<li><${link} href=${link === "a" ? routeTo("alerts", null, { level }) : undefined}><${Severity} level=${level} />
      <span class="bar"><i class=${`fill level-${level}`} style=${{ width: `${(n / top) * 100}%` }}></i></span><b class="n">${number(n)}</b></${link}></li>`;
  })}</ul>
  <p class="dim states">${["new", "acknowledged", "closed"].map((state) => html`<span>${number(own(byState, state) ?? 0)} ${state}</span>`)}</p>`;
}

function Balance({ totals }) {
  const value = (name) => Number(own(totals, name)) || 0;
  const sum = (list) => list.reduce((total, [name]) => total + value(name), 0);
  const open = sum(IN) - sum(OUT);
  const line = ([name, word]) => html`<tr class=${value(name) ? "" : "zero"}><th scope="row">${word}</th><td>${number(value(name))}</td></tr>`;
  return html`<table class="balance">
    <tbody>${IN.map(line)}</tbody>
    <tbody>${OUT.map(line)}
      <tr class=${open < 0 ? "open-row over" : "open-row"}><th scope="row">${open === 0 ? "balanced" : open > 0 ? "on its way" : "more came out than went in"}</th><td>${open === 0 ? "✓" : number(open)}</td></tr></tbody>
    <tbody>${BESIDE.map(line)}</tbody>
  </table>`;
}

/** The last alerts; a new one slides in on top. */
function Newest() {
  const [alerts, setAlerts] = useState(null);
  const now = useNow();
  useEffect(() => {
    let gone = false;
    get("/alerts", { query: { state: "all", limit: NEWEST } }).then(
      (answer) => !gone && setAlerts((old) => merge(old ?? [], answer.alerts ?? [])),
      () => !gone && setAlerts((old) => old ?? []),
    );
    const stop = listen("alert", (alert) => setAlerts((old) => merge(old ?? [], [alert], alert.change === "new")));
    return () => {
      gone = true;
      stop();
    };
  }, []);
  if (!alerts) return html`<p class="waiting">Loading…</p>`;
  if (alerts.length === 0) return html`<p class="empty">Nothing yet. Alerts appear here the moment a rule fires.</p>`;
  return html`<ol class="newest-list">${alerts.map((alert) => html`<li key=${alert.id} class=${alert.fresh ? "fresh" : ""}>
    <button type="button" onClick=${() => go(routeTo("alerts", alert.id))}>
      <${Severity} level=${alert.level} />
      <span class="newest-text"><bdi class="untrusted title">${visible(clip(plain(alert.title), 120))}</bdi>
        <bdi class="untrusted dim">${visible(clip(plain(alert.reason), 160))}</bdi></span>
      <${State} state=${alert.state} />
      <span class="age">${age(now - timeOf(alert))}</span>
    </button></li>`)}</ol>`;
}

/** When it last changed by an event. */
const timeOf = (alert) => Date.parse(alert.last ?? alert.time);

function merge(old, added, fresh = false) {
  const all = new Map(old.map((alert) => [alert.id, alert]));
  for (const alert of added) {
    const known = all.get(alert.id);
    all.set(alert.id, { ...alert, last: alert.last ?? known?.last, fresh: known ? known.fresh : fresh });
  }
  return [...all.values()]
    .sort((a, b) => timeOf(b) - timeOf(a) || rankOf(a.level) - rankOf(b.level))
    .slice(0, NEWEST);
}
