// Where the reader is: everything that matters is in the fragment, so links and "back" work.
//
//   #/search?q=user.name%3Aroot&since=24h     view "search", query {q, since}
//   #/alerts/ID                               view "alerts", id "ID"

import { useEffect, useMemo, useState } from "./dom.js";

export const VIEWS = ["overview", "alerts", "search", "tail", "sources", "rules", "tokens", "audit"];

/** @returns {{view: string, id: string | null, query: URLSearchParams}} */
export function parseRoute(fragment) {
  const text = fragment.startsWith("#/") ? fragment.slice(2) : "";
  const mark = text.indexOf("?");
  const [view, ...rest] = (mark < 0 ? text : text.slice(0, mark)).split("/");
  let id = null;
  try {
    id = rest.length ? decodeURIComponent(rest.join("/")) : null;
  } catch {
    // A broken escape is no id.
  }
  return {
    view: VIEWS.includes(view) ? view : "overview",
    id: id || null,
    query: new URLSearchParams(mark < 0 ? "" : text.slice(mark + 1)),
  };
}

/** The fragment of a view. @param {Record<string, unknown>} [query] empty values are left out */
export function routeTo(view, id = null, query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") search.set(name, String(value));
  }
  const tail = search.toString();
  return `#/${view}${id ? `/${encodeURIComponent(id)}` : ""}${tail ? `?${tail}` : ""}`;
}

/** Goes there, with a history entry unless `replace`. */
export function go(fragment, replace = false) {
  if (location.hash === fragment) return;
  if (replace) {
    history.replaceState(null, "", fragment);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = fragment;
  }
}

export function useRoute() {
  const [at, setAt] = useState(location.hash);
  const route = useMemo(() => parseRoute(at), [at]);
  useEffect(() => {
    const follow = () => setAt(location.hash);
    addEventListener("hashchange", follow);
    // An effect runs after the first paint: the address may have changed since it was read.
    follow();
    return () => removeEventListener("hashchange", follow);
  }, []);
  return route;
}
