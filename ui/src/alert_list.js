// The alerts of a filter: fetched in windows in the server's order, kept current by the stream.

import { useEffect, useRef, useState } from "./dom.js";
import { get } from "./api.js";
import { connect, listen } from "./live.js";
import { rankOf } from "./severity.js";
import { plain } from "./text.js";
import { me } from "./session.js";

/** Alerts fetched at a time. */
const WINDOW = 500;
/** So many are fetched without being asked for, so that counts of lines are right on most days. */
const FETCHED_AHEAD = 2_000;
/** Alerts kept in the page; beyond this the filter has to be narrowed. */
export const KEPT_MAX = 100_000;
/** Changes are put on screen together, at most this often, ms. */
const LIVE_EVERY_MS = 250;

/** Whether a live alert belongs into the list as it is filtered: what the server would say. */
function belongs(alert, { state, level, q, since, assignee, rule }) {
  if (state === "open" ? alert.state === "closed" : state !== "all" && alert.state !== state) return false;
  if (level && rankOf(alert.level) > rankOf(level)) return false;
  if (rule && alert.rule_id !== rule) return false;
  if (assignee === "none" ? alert.assignee : assignee && alert.assignee !== (assignee === "me" ? me() : assignee)) return false;
  const span = /^(\d+)([hd])$/.exec(since ?? "");
  if (span && Date.parse(alert.time) < Date.now() - Number(span[1]) * (span[2] === "h" ? 3_600_000 : 86_400_000)) return false;
  if (!q) return true;
  const entity = Object.entries(alert.entity ?? {}).map(([name, value]) => `${name}=${plain(value)}`);
  return [...entity, plain(alert.title), plain(alert.reason)].join("\n").toLowerCase().includes(q.toLowerCase());
}

/**
 * @param {{state: string, level: string, q: string, since: string, assignee: string, rule: string, order: string}} filter
 *   as the API takes it
 */
export function useAlerts(filter) {
  const all = useRef(new Map());
  const next = useRef(/** @type {string | null} */ (null));
  const busy = useRef(false);
  const run = useRef(0);
  /** When the newest alert fired that the count has in it, ms of the server's stream time. */
  const newestMs = useRef(0);
  /** What the stream said and the list does not have yet, by alert. */
  const waiting = useRef(new Map());
  /** While all is fetched anew: what the stream says meanwhile is put into the answer. */
  const isHeld = useRef(false);
  const [shown, setShown] = useState({ version: 0, matching: 0, loading: true, problem: null });

  const saw = (streamTime) => {
    const ms = Date.parse(streamTime ?? "");
    if (ms > newestMs.current) newestMs.current = ms;
  };

  /** One window; the first one of a run takes the place of everything before. */
  const fetchWindow = (cursor, token, first) => {
    busy.current = true;
    return get("/alerts", { query: { ...filter, cursor, limit: WINDOW } }).then((answer) => {
      if (token !== run.current) return;
      if (first) all.current = new Map();
      for (const alert of answer.alerts ?? []) all.current.set(alert.id, alert);
      next.current = answer.next ?? null;
      saw(answer.newest);
      busy.current = false;
      setShown((old) => ({ version: old.version + 1, matching: answer.matching ?? all.current.size, loading: false, problem: null }));
      if (first) release();
      if (next.current && all.current.size < FETCHED_AHEAD) fetchWindow(next.current, token, false);
    }, (error) => {
      if (token !== run.current) return;
      busy.current = false;
      setShown((old) => ({ ...old, loading: false, problem: error.message }));
      if (first) release();
    });
  };
  const reload = () => {
    // What was said before is older than the answer will be.
    waiting.current.clear();
    isHeld.current = true;
    return fetchWindow(undefined, ++run.current, true);
  };
  const release = () => {
    isHeld.current = false;
    // The answer may count it already, also where it is further down than what is loaded.
    for (const each of waiting.current.values()) each.isNew &&= !(Date.parse(each.alert.stream_time) <= newestMs.current);
    applyWaiting();
  };

  useEffect(() => {
    all.current = new Map();
    next.current = null;
    newestMs.current = 0;
    setShown((old) => ({ version: old.version + 1, matching: 0, loading: true, problem: null }));
    reload();
  }, [filter.state, filter.level, filter.q, filter.since, filter.assignee, filter.rule, filter.order]);

  /** Out: by how much the number of matching alerts changes. */
  const apply = (alert, isNew) => {
    const known = all.current.get(alert.id);
    const had = known !== undefined;
    if (had) alert.last ??= known.last;
    // One that is not loaded may be counted already, unless it is new or all are loaded.
    const counted = had || (!isNew && next.current !== null);
    const has = belongs(alert, filter);
    if (has) all.current.set(alert.id, alert);
    else all.current.delete(alert.id);
    if (has) saw(alert.stream_time);
    return has ? Number(!counted) : -Number(had);
  };
  const applyWaiting = () => {
    if (isHeld.current || waiting.current.size === 0) return;
    let change = 0;
    for (const { alert, isNew } of waiting.current.values()) change += apply(alert, isNew);
    waiting.current.clear();
    setShown((old) => ({ ...old, version: old.version + 1, matching: Math.max(0, old.matching + change) }));
  };
  const current = useRef({ applyWaiting, reload });
  current.current = { applyWaiting, reload };

  useEffect(() => {
    connect();
    let timer = 0;
    const stopAlerts = listen("alert", (alert) => {
      const isNew = alert.change === "new" || waiting.current.get(alert.id)?.isNew === true;
      waiting.current.set(alert.id, { alert, isNew });
      timer ||= setTimeout(() => {
        timer = 0;
        current.current.applyWaiting();
      }, LIVE_EVERY_MS);
    });
    // Many changed at once, or the stream was broken: what is on screen may be old.
    const stopReload = listen("reload", () => current.current.reload());
    let lost = false;
    const stopState = listen("state", (state) => {
      if (state === "lost") lost = true;
      else if (lost) {
        lost = false;
        current.current.reload();
      }
    });
    return () => {
      clearTimeout(timer);
      stopAlerts();
      stopReload();
      stopState();
    };
  }, []);

  return {
    ...shown,
    alerts: all.current,
    reload,
    /** Behind the newest alert that is counted, ms: what fires from then on was not there to be chosen. */
    seenUntilMs: () => newestMs.current + 1,
    change(alert) {
      const change = apply(alert, false);
      setShown((old) => ({ ...old, version: old.version + 1, matching: Math.max(0, old.matching + change) }));
    },
    more() {
      if (next.current && !busy.current && all.current.size < KEPT_MAX) fetchWindow(next.current, run.current, false);
    },
    hasMore: next.current !== null,
  };
}
