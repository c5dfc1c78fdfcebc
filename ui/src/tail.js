// Live tail: events as they come, still as soon as the reader wants to read.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./dom.js";
import { get, own, streamAddress } from "./api.js";
import { EventRow } from "./events.js";
import { clip, number, short, visible } from "./text.js";
import { copyLink } from "./clipboard.js";
import { go, routeTo } from "./route.js";
import { useKeys } from "./keys.js";

/** Rows on screen. */
const ROWS_MAX = 300;
/** Rows kept while frozen; older ones are let go and counted. */
const WAITING_MAX = 2000;
/** Closer to the end than this is "at the end", pixels. */
const END_PX = 24;

/** @param {{query: URLSearchParams}} props */
export function Tail({ query }) {
  const q = query.get("q") ?? "";
  const [text, setText] = useState(q);
  const [rows, setRows] = useState(/** @type {{n: number, event: object}[]} */ ([]));
  const [frozen, setFrozen] = useState(false);
  const [waiting, setWaiting] = useState(0);
  const [status, setStatus] = useState(null);
  const [state, setState] = useState("connecting");
  const [problem, setProblem] = useState(null);
  const [open, setOpen] = useState(-1);
  const box = useRef(null);
  const store = useRef({ next: 0, pending: [], lost: 0, frame: 0, frozen: false });
  store.current.frozen = frozen;

  useEffect(() => setText(q), [q]);
  useEffect(() => {
    const s = store.current;
    Object.assign(s, { pending: [], lost: 0, frame: 0 });
    setRows([]);
    setWaiting(0);
    setStatus(null);
    setProblem(null);
    setOpen(-1);
    setFrozen(false);
    setState("connecting");
    const source = new EventSource(streamAddress("/tail", { query: q }));
    source.onopen = () => {
      setState("live");
      setProblem(null);
    };
    source.onerror = () => {
      setState("lost");
      if (source.readyState !== EventSource.CLOSED) return;
      // Event streams hide the reason of a refusal; a search with the same query tells it.
      get("/search/histogram", { query: { query: q, since: "1m", buckets: 1 } })
        .then(() => setProblem({ message: "The stream was closed by the server." }), setProblem);
    };
    source.addEventListener("row", (message) => {
      let event;
      try {
        event = JSON.parse(message.data);
      } catch {
        return;
      }
      if (event === null || typeof event !== "object") return;
      s.pending.push({ n: s.next++, event });
      if (s.pending.length > WAITING_MAX) s.lost += s.pending.splice(0, s.pending.length - WAITING_MAX).length;
      s.frame ||= requestAnimationFrame(flush);
    });
    source.addEventListener("status", (message) => {
      try {
        setStatus(JSON.parse(message.data));
      } catch {
        // A broken status is no status.
      }
    });
    return () => {
      source.close();
      cancelAnimationFrame(s.frame);
      s.frame = 0;
    };
  }, [q]);

  /** Puts what came on screen, or counts it while frozen. */
  function flush() {
    const s = store.current;
    s.frame = 0;
    if (s.frozen) {
      setWaiting(s.pending.length + s.lost);
      return;
    }
    const added = s.pending;
    s.pending = [];
    s.lost = 0;
    setWaiting(0);
    if (added.length) setRows((old) => [...old, ...added].slice(-ROWS_MAX));
  }

  const freeze = () => {
    store.current.frozen = true;
    setFrozen(true);
  };
  const resume = () => {
    store.current.frozen = false;
    setFrozen(false);
    setOpen(-1);
    flush();
    requestAnimationFrame(() => box.current && (box.current.scrollTop = box.current.scrollHeight));
  };
  useLayoutEffect(() => {
    if (!frozen && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [rows, frozen]);
  const scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = box.current;
    const atEnd = scrollHeight - scrollTop - clientHeight < END_PX;
    if (!atEnd && !store.current.frozen && wheel.current) freeze();
    wheel.current = false;
  };
  // Only the reader's own scrolling freezes, not the growth of the list.
  const wheel = useRef(false);
  const byHand = () => { wheel.current = true; };
  useKeys(new Map([[" ", () => (frozen ? resume() : freeze())], ["End", resume], ["Escape", () => setOpen(-1)],
    ["PageUp", () => { freeze(); box.current.scrollBy(0, -box.current.clientHeight * 0.9); }],
    ["ArrowUp", () => { freeze(); box.current.scrollBy(0, -40); }],
    ["ArrowDown", () => box.current.scrollBy(0, 40)], ["y", copyLink]]));

  const skipped = Number(own(status, "skipped")) || 0;
  const batches = Number(own(status, "skipped_batches")) || 0;
  const oneIn = Number(own(status, "sampled_one_in")) || 1;
  return html`<main class="page tail"><h1 class="only-heard">Live tail</h1>
    <form class="bar" role="search" onSubmit=${(e) => {
      e.preventDefault();
      go(routeTo("tail", null, { q: text }));
    }}>
      <div class="query-box"><input id="query" type="text" value=${text} onInput=${(e) => setText(e.target.value)} aria-label="Query"
        placeholder="All events; narrow with the search language" spellcheck="false" autocomplete="off" maxlength="8000" /></div>
      <button class="primary">Follow</button>
      <button type="button" onClick=${frozen ? resume : freeze} aria-pressed=${frozen}>${frozen ? "Resume" : "Freeze"}</button>
      <a class="button" href=${routeTo("search", null, { q, since: "15m" })}>As search</a>
    </form>
    ${problem && html`<div class="problem" role="alert">${problem.column != null && `Column ${problem.column}: `}${visible(clip(problem.message, 400))}</div>`}
    <p class="summary" role="status"><span class=${`dot dot-${frozen ? "frozen" : state}`}></span>${frozen ? "Frozen" : state === "live" ? "Live" : state === "lost" ? "Connection lost, trying again" : "Connecting"}
      ${status && html`<span class="dim"> · ${short(status.matched)} matched, ${short(status.shown)} sent here</span>`}
      ${(skipped > 0 || batches > 0) && html`<span class="warn"> · ${skipped > 0 && `${number(skipped)} events`}${skipped > 0 && batches > 0 && " and "}${batches > 0 && `${number(batches)} batches`} skipped on the way to this page; a search finds them</span>`}
      ${oneIn > 1 && html`<span class="warn"> · The server is overloaded and shows 1 batch of events in ${number(oneIn)} here; a search finds the others</span>`}
      <span class="hints"><kbd>Space</kbd> freeze <kbd>End</kbd> newest</span></p>
    <div class="tail-box" ref=${box} onScroll=${scrolled} onWheel=${byHand} onPointerDown=${byHand} onTouchMove=${byHand} tabindex="0" role="log" aria-live="off" aria-label="Events as they come">
      ${rows.length === 0 && html`<p class="empty">Waiting for the first event that fits…</p>`}
      ${rows.map(({ n, event }) => html`<${EventRow} key=${n} event=${event} open=${open === n} query=${q} onToggle=${() => {
        if (open !== n) freeze();
        setOpen(open === n ? -1 : n);
      }} />`)}
    </div>
    ${frozen && html`<button type="button" class="new-count" onClick=${resume}>${waiting === 0 ? "Resume" : `${number(waiting)} new${store.current.lost ? `, the last ${number(WAITING_MAX)} kept` : ""}`} ↓</button>`}
  </main>`;
}
