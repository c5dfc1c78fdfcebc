// The server's HTTP API, and the shapes the views rely on.

/**
 * @typedef {Record<string, unknown>} Event Flat, dotted ECS keys; any key may be hostile.
 *
 * @typedef {object} Alert
 * @property {string} id
 * @property {string} rule_id
 * @property {string} title
 * @property {string} rule_type
 * @property {string} author
 * @property {string} level
 * @property {string[]} tags
 * @property {string} reason
 * @property {Record<string, unknown>} entity
 * @property {string} time RFC 3339
 * @property {string} [last] RFC 3339, the newest occurrence
 * @property {number} count
 * @property {string} state new, acknowledged or closed
 * @property {string | null} assignee
 * @property {string | null} disposition
 * @property {boolean} backfill
 * @property {number} evidence_count
 *
 * @typedef {object} Outcome One node of "why it fired".
 * @property {string} op
 * @property {boolean} matched
 * @property {string} [name]
 * @property {string} [field]
 * @property {string} [answered_by]
 * @property {string} [pattern]
 * @property {string} [actual]
 * @property {[number, number]} [span] bytes of `actual`
 * @property {string} [reason]
 * @property {Outcome[]} [children]
 */

/** A refusal by the server, from its problem document. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {{title?: unknown, detail?: unknown, column?: unknown}} document
   */
  constructor(status, document) {
    // The place is shown by itself, see `column`.
    super(String(document.detail ?? document.title ?? `the server answered ${status}`).replace(/^column \d+: /, ""));
    this.status = status;
    this.column = typeof document.column === "number" ? document.column : null;
  }
}

/** Called when the server no longer knows us; set by main.js. */
let onSignedOut = () => {};
export function whenSignedOut(action) {
  onSignedOut = action;
}

/**
 * A value of a data object by its name, never one inherited from its prototype.
 * @param {unknown} object
 * @param {string} name
 */
export function own(object, name) {
  return object !== null && typeof object === "object" && Object.hasOwn(object, name)
    ? object[name]
    : undefined;
}

/** @param {Record<string, unknown>} query Empty values are left out. */
function address(path, query) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") search.set(name, String(value));
  }
  const text = search.toString();
  return text ? `/api/v1${path}?${text}` : `/api/v1${path}`;
}

async function call(method, path, { query = {}, body, signal, quiet = false } = {}) {
  const headers = { accept: "application/json" };
  if (method !== "GET") headers["x-alcedo"] = "1";
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(address(path, query), {
      method, headers, signal, cache: "no-store", credentials: "same-origin",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error?.name === "AbortError") throw error;
    throw new Problem(0, { detail: "The server cannot be reached. It may be restarting." });
  }
  if (response.status === 204) return null;
  let answer = null;
  try {
    answer = await response.json();
  } catch {
    // Answers without a body of JSON are judged by their status alone.
  }
  if (response.ok) return answer;
  if (response.status === 401 && !quiet) onSignedOut();
  throw new Problem(response.status, answer ?? {});
}

/** @param {{query?: object, signal?: AbortSignal, quiet?: boolean}} [options] */
export const get = (path, options) => call("GET", path, options);
/** @param {{query?: object, signal?: AbortSignal, quiet?: boolean}} [options] */
export const post = (path, body, options) => call("POST", path, { ...options, body });
/** @param {{query?: object, signal?: AbortSignal}} [options] */
export const put = (path, body, options) => call("PUT", path, { ...options, body });
export const remove = (path, options) => call("DELETE", path, options);

/** The address of an event stream, for `EventSource`. */
export const streamAddress = address;

/** The address of a file, for a link. */
export const fileAddress = (path) => address(path, {});

/** Path part of an id: ids are the server's, but are still escaped. */
export const part = (id) => encodeURIComponent(String(id));
