// Search: one query language, a histogram to zoom in, rows to open, values to follow.

import { html, useEffect, useRef, useState } from "./dom.js";
import { get, own, post, Problem } from "./api.js";
import { Histogram } from "./chart.js";
import { copyText } from "./clipboard.js";
import { Exports } from "./exports.js";
import { SavedSearches, SaveDialog } from "./saved_searches.js";
import { may } from "./session.js";
import { EventRow, Value } from "./events.js";
import { clip, duration, number, plain, Text, visible } from "./text.js";
import { fullTime } from "./time.js";
import { go, routeTo } from "./route.js";
import { fieldName, narrowed, split, term } from "./query.js";
import { useKeys } from "./keys.js";

const BUCKETS = 120;
const LIMITS = [200, 1000];
const RANGES = [["15m", "15 minutes"], ["1h", "1 hour"], ["4h", "4 hours"], ["24h", "24 hours"], ["7d", "7 days"], ["30d", "30 days"], ["400d", "400 days"]];
/** Fields offered beside the results. */
const FIELDS_MAX = 60;
/** Columns of a table of counts. */
const COLUMNS_MAX = 40;

const EXAMPLES = [
  ["failed", "the word anywhere in an event"],
  ["event.outcome:failure and user.name:root", "fields, exact and without regard to case"],
  ["source.ip:203.0.113.0/24", "addresses of a network"],
  ["process.command_line:*-enc*", "wildcards"],
  ["not host.name:web-*", "everything but"],
  ["event.action:/log(in|on)/i", "a regular expression"],
  ["event.outcome:failure | stats count() by source.ip | sort -count | head 10", "counted"],
];

/** @param {{query: URLSearchParams}} props */
export function Search({ query }) {
  const q = query.get("q") ?? "";
  const until = query.get("until") ?? "";
  const since = query.get("since") || "24h";
  const limit = Number(query.get("limit")) === LIMITS[1] ? LIMITS[1] : LIMITS[0];
  const [text, setText] = useState(q);
  const [rows, setRows] = useState(null);
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const [histogram, setHistogram] = useState(null);
  const [counting, setCounting] = useState(false);
  const [open, setOpen] = useState(-1);
  const [again, setAgain] = useState(0);
  /** "saved" or "export": what is open between the query and the results; "save" is a dialog. */
  const [panel, setPanel] = useState("");
  /** When the shown search was asked: relative times are counted from there. */
  const [askedAt, setAskedAt] = useState(0);
  const zooms = useRef([]);
  const abort = useRef(null);
  const range = { since, until };
  const [filter] = split(q);

  useEffect(() => setText(q), [q]);
  useEffect(() => {
    const cancel = new AbortController();
    abort.current = cancel;
    setBusy(true);
    setCounting(true);
    setProblem(null);
    setOpen(-1);
    setAskedAt(Date.now());
    const fail = (error) => {
      if (error.name !== "AbortError") setProblem((old) => old ?? (error instanceof Problem ? error : new Problem(0, { detail: String(error) })));
    };
    post("/search", { query: q, since, ...(until ? { until } : {}), limit }, { signal: cancel.signal })
      .then(setRows, (error) => {
        fail(error);
        if (error.name !== "AbortError") setRows(null);
      })
      .finally(() => abort.current === cancel && setBusy(false));
    get("/search/histogram", { query: { query: filter, since, until, buckets: BUCKETS }, signal: cancel.signal })
      .then(setHistogram, (error) => {
        fail(error);
        if (error.name !== "AbortError") setHistogram(null);
      }).finally(() => abort.current === cancel && setCounting(false));
    return () => cancel.abort();
  }, [q, since, until, limit, again]);

  const search = (changes) => go(routeTo("search", null, { q, since, until, ...(limit === LIMITS[0] ? {} : { limit }), ...changes }));
  const submit = (event) => {
    event.preventDefault();
    if (text === q) setAgain(again + 1);
    else search({ q: text, limit: "" });
  };
  const zoom = (fromMs, toMs) => {
    zooms.current.push({ since, until });
    search({ since: new Date(fromMs).toISOString(), until: new Date(toMs).toISOString() });
  };
  const zoomOut = () => search(zooms.current.pop() ?? { since: "24h", until: "" });
  const zoomed = Boolean(until) || !RANGES.some(([value]) => value === since);
  const toggle = (name) => () => setPanel(panel === name ? "" : name);
  const canExport = may("evidence_export");
  // What a link shows must not move on with the clock.
  const copyFrozen = () => copyText(`${location.origin}${location.pathname}${routeTo("search", null, {
    q, since: moment(since, askedAt), until: until || new Date(askedAt).toISOString(), ...(limit === LIMITS[0] ? {} : { limit }),
  })}`, "Link copied, with the times of this search");
  useKeys(panel === "save" ? new Map() : new Map([
    ["z", () => zoomed && zoomOut()], ["s", toggle("saved")], ["x", () => canExport && toggle("export")()], ["y", copyFrozen],
    ["Escape", () => (open >= 0 ? setOpen(-1) : setPanel(""))],
  ]));

  const events = rows && !rows.columns ? rows.rows ?? [] : [];
  return html`<main class="page search"><h1 class="only-heard">Search</h1>
    <form class="bar" onSubmit=${submit} role="search">
      <div class="query-box">
        <input id="query" type="text" value=${text} onInput=${(e) => setText(e.target.value)} placeholder="Search events: words, field:value, and, or, not, | stats …"
          aria-label="Query" aria-invalid=${problem?.column != null} aria-describedby="query-problem" spellcheck="false" autocomplete="off" maxlength="8000" />
      </div>
      <label class="choose"><span>Time</span><select aria-label="Time range" value=${zoomed ? "custom" : since} onChange=${(e) => {
        zooms.current = [];
        search({ since: e.target.value, until: "" });
      }}>${zoomed && html`<option value="custom" selected disabled>chosen range</option>`}
        ${RANGES.map(([value, word]) => html`<option value=${value} selected=${!zoomed && value === since}>last ${word}</option>`)}</select></label>
      ${busy ? html`<button type="button" onClick=${() => abort.current?.abort()}>Cancel</button>` : html`<button class="primary">Search</button>`}
      <a class="button" href=${routeTo("tail", null, { q: filter })}>Live tail</a>
      <button type="button" aria-expanded=${panel === "saved"} onClick=${toggle("saved")}><u>S</u>aved</button>
      ${may("alerts_triage") && html`<button type="button" onClick=${() => setPanel("save")}>Save…</button>`}
      ${canExport && html`<button type="button" aria-expanded=${panel === "export"} onClick=${toggle("export")}>E<u>x</u>port</button>`}
      <button type="button" class="quiet" title="A link with the times of this search (y)" onClick=${copyFrozen}>Cop<u>y</u> link</button>
    </form>
    ${panel === "saved" && html`<${SavedSearches} onHide=${() => setPanel("")} />`}
    ${panel === "save" && html`<${SaveDialog} ...${{ q, since, until }} onDone=${() => setPanel("saved")} onCancel=${() => setPanel("")} />`}
    ${panel === "export" && html`<${Exports} ...${{ q, since, until }} onHide=${() => setPanel("")}
      matched=${rows?.columns ? null : countOf(rows, histogram)} />`}
    ${problem && html`<${QueryProblem} problem=${problem} text=${q} />`}
    ${zoomed && html`<p class="zoomed">From ${showMoment(since)} to ${until ? showMoment(until) : "now"} <button type="button" class="link" onClick=${zoomOut}>zoom out (z)</button></p>`}
    <${Histogram} data=${histogram} busy=${counting} onRange=${zoom} />
    <${Summary} answer=${rows} busy=${busy} limit=${limit} histogram=${histogram} onMore=${() => search({ limit: LIMITS[1] })} />
    <div class="results">
      ${rows && !rows.columns && events.length > 0 && html`<${Fields} events=${events} q=${q} range=${range} />`}
      <div class="found">
        ${rows?.columns
          ? html`<${Stats} answer=${rows} q=${filter} range=${range} />`
          : events.length > 0
            ? html`<div class="events">${events.map((event, i) => html`<${EventRow} key=${plain(own(event, "event.id")) || i} event=${event} query=${q} range=${range} open=${open === i} onToggle=${() => setOpen(open === i ? -1 : i)} />`)}</div>`
            : !busy && !problem && rows && html`<p class="empty">No event in this time range fits.${q ? "" : " Has a source sent anything yet?"}</p>`}
        ${!q && html`<${Examples} onChoose=${(example) => search({ q: example })} />`}
      </div>
    </div>
  </main>`;
}

/** "24h" before a time, as that time; what is a time already is kept. */
function moment(since, fromMs) {
  const span = /^(\d+)([smhdw])$/.exec(since);
  if (!span) return since;
  const unit = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 }[span[2]];
  return new Date(fromMs - Number(span[1]) * unit).toISOString();
}

function showMoment(text) {
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? visible(clip(text, 40)) : fullTime(ms);
}

/** The server's refusal with the place in the query pointed at. */
function QueryProblem({ problem, text }) {
  const column = problem.column;
  const characters = [...text];
  const at = column === null ? -1 : Math.max(0, Math.min(characters.length, column - 1));
  const from = Math.max(0, at - 60);
  return html`<div class="problem" role="alert" id="query-problem">
    ${at >= 0 && html`<code class="pointed"><bdi class="untrusted">${from > 0 && "…"}${visible(characters.slice(from, at).join(""))}<mark>${visible(characters[at] ?? "") || "\u00a0"}</mark>${visible(characters.slice(at + 1, at + 60).join(""))}</bdi></code>`}
    <span>${at >= 0 && `Column ${column}: `}${visible(clip(problem.message, 600))}</span>
  </div>`;
}

/**
 * How many events match, where that is known: a search that has its newest rows stops there, the
 * histogram counts all.
 * @returns {number | null}
 */
function countOf(answer, histogram) {
  const s = answer?.summary;
  if (!s) return null;
  if (s.matched_exact !== false) return Number(s.matched);
  return histogram && !histogram.partial ? Number(histogram.matched) : null;
}

/** What was found, and what was not looked at. */
function Summary({ answer, busy, limit, histogram, onMore }) {
  const s = answer?.summary;
  if (!s) return html`<p class="summary" role="status">${busy ? "Searching…" : "\u00a0"}</p>`;
  const count = answer.columns ? Number(s.matched) : countOf(answer, histogram);
  const limited = !answer.columns && Number(s.returned) < (count ?? Number(s.matched));
  return html`<p class="summary" role="status">${busy ? "Searching… " : ""}<b>${count === null ? "at least " : ""}${number(count ?? s.matched)}</b> ${count === 1 ? "event matches" : "events match"}${answer.columns ? `, ${number(s.returned)} rows` : limited ? `, the ${number(s.returned)} newest shown` : ", all shown"}
    <span class="dim"> · ${number(s.scanned_rows)} looked at${limited ? " for these" : ""} in ${duration(s.elapsed_ms)}</span>
    ${s.waiting_records > 0 && html`<span class="warn"> · ${number(s.waiting_records)} records came in and cannot be found yet</span>`}
    ${s.partial && html`<span class="warn"> · Not complete: ${visible(clip(plain(s.why_partial), 300)) || "the search stopped early"}</span>`}
    ${limited && limit < LIMITS[1] && html` <button type="button" class="link" onClick=${onMore}>show ${number(LIMITS[1])}</button>`}</p>`;
}

function Examples({ onChoose }) {
  return html`<section class="examples"><h3>For example</h3><ul class="plain">${EXAMPLES.map(([example, meaning]) => html`<li>
    <button type="button" class="link" onClick=${() => onChoose(example)}><code>${example}</code></button> <span class="dim">${meaning}</span></li>`)}</ul></section>`;
}

/** A table of counts; every cell can be followed. */
function Stats({ answer, q, range }) {
  const columns = answer.columns.slice(0, COLUMNS_MAX);
  const rows = (answer.rows ?? []).slice(0, LIMITS[1]);
  const hidden = [
    (answer.rows ?? []).length > rows.length && `${number(answer.rows.length - rows.length)} rows`,
    answer.columns.length > columns.length && `${number(answer.columns.length - columns.length)} columns`,
  ].filter(Boolean);
  const cell = (row, i) => (Array.isArray(row) ? row[i] : own(row, columns[i]));
  const numeric = columns.map((_, i) => rows.length > 0 && rows.every((row) => typeof cell(row, i) === "number"));
  if (rows.length === 0) return html`<p class="empty">Nothing to count in this time range.</p>`;
  const top = columns.map((_, i) => (numeric[i] ? Math.max(0, ...rows.map((row) => cell(row, i))) : 0));
  return html`<div class="table-box"><table class="grid stats"><thead><tr>${columns.map((name, i) => html`<th class=${numeric[i] ? "num" : ""} scope="col"><${Text} value=${name} max=${80} /></th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr>${columns.map((name, i) => html`<td class=${numeric[i] ? "num" : ""}>${numeric[i]
      ? html`${number(cell(row, i))}<i class="cell-bar" style=${{ width: `${top[i] > 0 ? Math.max(0, (cell(row, i) / top[i]) * 100) : 0}%` }}></i>`
      : html`<${Value} field=${name} value=${cell(row, i)} event=${null} query=${q} range=${range} />`}</td>`)}</tr>`)}</tbody></table></div>
    ${hidden.length > 0 && html`<p class="warn">${hidden.join(" and ")} are not shown; an export has them.</p>`}`;
}

/** Fields of the rows shown, by how many of them have it; opened, the values over all matches. */
function Fields({ events, q, range }) {
  const [open, setOpen] = useState(null);
  const seen = new Map();
  for (const event of events) for (const name of Object.keys(event)) seen.set(name, (seen.get(name) ?? 0) + 1);
  for (const name of ["@timestamp", "event.id", "event.original"]) seen.delete(name);
  const fields = [...seen].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  return html`<nav class="field-list" aria-label="Fields"><h3>Fields</h3>
    <p class="dim">of the ${number(events.length)} events shown; opened, of all that match</p>
    <ul class="plain">${fields.slice(0, FIELDS_MAX).map(([name, n]) => html`<li key=${name}>
      <button type="button" class="field" aria-expanded=${open === name} onClick=${() => setOpen(open === name ? null : name)}>
        <bdi class="untrusted">${visible(clip(name, 60))}</bdi><span class="dim">${Math.round((n / events.length) * 100)}%</span></button>
      ${open === name && html`<${TopValues} field=${name} q=${q} range=${range} />`}</li>`)}</ul>
    ${fields.length > FIELDS_MAX && html`<p class="dim">${number(fields.length - FIELDS_MAX)} more fields</p>`}
  </nav>`;
}

function TopValues({ field, q, range }) {
  const [data, setData] = useState(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    const abort = new AbortController();
    get("/search/values", { query: { query: split(q)[0], ...range, field, limit: 10 }, signal: abort.signal })
      .then(setData, (error) => error.name !== "AbortError" && setProblem(error.message));
    return () => abort.abort();
  }, [field, q, range.since, range.until]);
  if (problem) return html`<p class="problem">${visible(clip(problem, 200))}</p>`;
  if (!data) return html`<p class="waiting">Counting…</p>`;
  const values = Array.isArray(data.values) ? data.values.slice(0, 10) : [];
  const top = Math.max(1, ...values.map((v) => Number(v[1]) || 0));
  const name = fieldName(field);
  const follow = (added) => () => go(routeTo("search", null, { q: narrowed(q, added), ...range }));
  return html`<div class="top-values">
    ${values.map(([value, n]) => html`<div class="top-value">
      <button type="button" title="Include" disabled=${!name} onClick=${name && follow(term(field, value))}>
        <i class="cell-bar" style=${{ width: `${(n / top) * 100}%` }}></i><bdi class="untrusted">${visible(clip(plain(value), 80)) || "(empty)"}</bdi><b>${number(n)}</b></button>
      <button type="button" class="dots" title="Exclude" aria-label="Exclude" disabled=${!name} onClick=${name && follow(`not ${term(field, value)}`)}>−</button>
    </div>`)}
    <p class="dim">in ${number(data.present)} of ${number(data.matched)} events</p>
    ${name && html`<button type="button" class="link" onClick=${() => go(routeTo("search", null, { q: `${split(q)[0]} | stats count() by ${name} | sort -count`.trim(), ...range }))}>count all</button>`}
  </div>`;
}
