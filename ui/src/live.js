// One connection for everything live: alerts, the overview and new senders share it, since browsers
// allow only a handful of connections per server.

import { get, streamAddress } from "./api.js";
import { may } from "./session.js";

const listeners = new Map([["alert", new Set()], ["reload", new Set()], ["overview", new Set()], ["hello", new Set()], ["state", new Set()]]);
/** Pause before a closed stream is opened again, ms. */
const REOPEN_MS = 3000;

/** @type {EventSource | null} */
let source = null;
let timer = 0;

function tell(kind, data) {
  for (const listener of listeners.get(kind) ?? []) listener(data);
}

/** @param {"alert"|"reload"|"overview"|"hello"|"state"} kind `reload`: alerts changed that are not told one by one */
export function listen(kind, listener) {
  listeners.get(kind)?.add(listener);
  return () => listeners.get(kind)?.delete(listener);
}

export function connect() {
  if (source || !may("alerts_read")) return;
  source = new EventSource(streamAddress("/stream", {}));
  source.onopen = () => tell("state", "live");
  source.onerror = () => {
    tell("state", "lost");
    // A stream that was refused does not retry by itself: see why, then open it again.
    if (source?.readyState === EventSource.CLOSED) {
      disconnect();
      timer = setTimeout(() => {
        get("/session").then(connect, (problem) => problem.status !== 401 && connect());
      }, REOPEN_MS);
    }
  };
  for (const kind of ["alert", "reload", "overview", "hello"]) {
    source.addEventListener(kind, (message) => {
      let data;
      try {
        data = JSON.parse(message.data);
      } catch {
        return;
      }
      if (data === null || typeof data !== "object") return;
      tell(kind, kind === "alert" ? seen(data) : data);
    });
  }
}

/** An alert as lists keep it: the newest occurrence of one that goes on is now. */
function seen(alert) {
  if (alert.change === "updated") alert.last ??= new Date().toISOString();
  return alert;
}

export function disconnect() {
  clearTimeout(timer);
  source?.close();
  source = null;
}
