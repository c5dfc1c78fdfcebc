// Every result of a search as files: begun here, written by the server, fetched when done.

import { html, useEffect, useState } from "./dom.js";
import { fileAddress, get, part, post, remove } from "./api.js";
import { bytes, clip, number, plain, Text, visible } from "./text.js";
import { Time } from "./time.js";

const FORMATS = [["ndjson", "NDJSON, one event a line"], ["csv", "CSV, safe for spreadsheets"], ["parquet", "Parquet, whole events"]];
/** Running exports are looked at this often, ms. */
const EVERY_MS = 700;

/**
 * @param {{q: string, since: string, until: string, matched: number | null, onHide: () => void}} props
 *   `matched` is how many events the search found, where that is known
 */
export function Exports({ q, since, until, matched, onHide }) {
  const [jobs, setJobs] = useState(null);
  const [problem, setProblem] = useState(null);
  const [format, setFormat] = useState("ndjson");
  const [busy, setBusy] = useState(false);
  /** How many rows are to be expected, by export: known of those begun here only. */
  const [expected, setExpected] = useState(new Map());
  const load = () => get("/exports").then((answer) => setJobs(answer.exports ?? []), (error) => setProblem(error.message));
  useEffect(() => void load(), []);
  const running = (jobs ?? []).some((job) => job.state === "running");
  useEffect(() => {
    if (!running) return undefined;
    const timer = setInterval(load, EVERY_MS);
    return () => clearInterval(timer);
  }, [running]);

  const step = async (work) => {
    setBusy(true);
    setProblem(null);
    try {
      await work();
      await load();
    } catch (error) {
      setProblem(error.message);
    }
    setBusy(false);
  };
  const begin = () => step(async () => {
    const job = await post("/exports", { query: q, since, ...(until ? { until } : {}), format });
    setExpected((old) => new Map(old).set(job.id, matched));
  });
  const newestFirst = [...(jobs ?? [])].sort((a, b) => (a.started < b.started ? 1 : -1));
  return html`<section class="card exports" aria-label="Exports"><header><h2>Export</h2>
      <span class="dim">every result of the search above, no limit on rows</span>
      <button type="button" class="hide" aria-label="Close exports" title="x" onClick=${onHide}>×</button></header>
    <div class="filters"><label class="choose"><span>Format</span><select aria-label="Format" value=${format} onChange=${(e) => setFormat(e.target.value)}>
        ${FORMATS.map(([value, word]) => html`<option value=${value} selected=${value === format}>${word}</option>`)}</select></label>
      <button type="button" class="primary begin-export" disabled=${busy} onClick=${begin}>Export ${matched === null ? "" : number(matched)}</button></div>
    ${problem && html`<p class="problem" role="alert">${visible(clip(problem, 300))}</p>`}
    ${newestFirst.length > 0 && html`<h3>Your exports</h3><ul class="plain">${newestFirst.map((job) => html`<${Job} key=${job.id} job=${job} expected=${expected.get(job.id) ?? null}
      onRemove=${() => step(() => remove(`/exports/${part(job.id)}`))} />`)}</ul>
      <p class="dim">Kept until removed, for a day, or until the server restarts.</p>`}
  </section>`;
}

function Job({ job, expected, onRemove }) {
  const manifest = job.manifest ?? {};
  const files = manifest.files ?? [];
  return html`<li class="export"><div class="words"><b>${job.state === "running" ? "Writing" : job.state === "done" ? "Done" : "Failed"}</b>
      <span>${number(job.rows)}${job.state === "running" && expected > 0 ? ` of about ${number(expected)}` : ""} rows, ${visible(clip(plain(job.format), 20))}</span><span class="dim">begun <${Time} at=${job.started} full=${true} /></span>
      <button type="button" class="link" onClick=${onRemove}>${job.state === "running" ? "cancel" : "remove"}</button></div>
    <code><${Text} value=${job.query || "(every event)"} max=${200} /></code>
    ${job.state === "running" && html`<progress max=${expected > 0 ? expected : undefined} value=${expected > 0 ? Math.min(job.rows, expected) : undefined} aria-label="Rows written"></progress>`}
    ${job.error && html`<p class="problem">${visible(clip(plain(job.error), 300))}</p>`}
    ${manifest.partial && html`<p class="warn">Not complete: ${visible(clip(plain(manifest.partial), 300))}</p>`}
    ${files.length > 0 && html`<ul class="plain files">${files.slice(0, 100).map((file, i) => html`<li><a href=${fileAddress(`/exports/${part(job.id)}/files/${i}`)} download=${plain(file.path)}><${Text} value=${file.path} max=${80} /></a>
      <span class="dim">${number(file.rows)} rows, ${bytes(file.bytes)}</span></li>`)}</ul>
      ${files.length > 100 && html`<p class="dim">and ${number(files.length - 100)} more files: \`alcedo export\` fetches all.</p>`}`}
    ${job.state === "done" && files.length === 0 && html`<p class="dim">Nothing matched: there is no file.</p>`}</li>`;
}
