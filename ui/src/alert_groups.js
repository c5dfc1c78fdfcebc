// Alerts of one rule about one entity are one line in the queue.

import { rankOf } from "./severity.js";
import { plain } from "./text.js";

/**
 * @typedef {object} Group
 * @property {string} key rule and entity
 * @property {import("./api.js").Alert} head the alert that stands for the group: open before closed, then the newest
 * @property {import("./api.js").Alert[]} alerts newest first
 * @property {number} count occurrences over all alerts
 * @property {number} time newest, ms
 */

/** Rule and entity as one string; fields in order of name, so that spelling does not matter. */
export function groupKey(alert) {
  const entity = Object.entries(alert.entity ?? {}).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return JSON.stringify([alert.rule_id, entity.map(([name, value]) => [name, plain(value)])]);
}

/** The entity in words: values only, "root · web-01". */
export function entityText(entity) {
  return Object.values(entity ?? {}).map(plain).filter(Boolean).join(" · ");
}

/**
 * @param {Iterable<import("./api.js").Alert>} alerts
 * @param {"newest" | "severity"} order
 * @returns {Group[]}
 */
export function group(alerts, order) {
  /** @type {Map<string, Group>} */
  const groups = new Map();
  for (const alert of alerts) {
    const key = alert.group ??= groupKey(alert);
    const time = alert.time_ms ??= Date.parse(alert.last ?? alert.time) || 0;
    const known = groups.get(key);
    if (!known) {
      groups.set(key, { key, head: alert, alerts: [alert], count: Number(alert.count) || 1, time });
      continue;
    }
    known.alerts.push(alert);
    known.count += Number(alert.count) || 1;
    known.time = Math.max(known.time, time);
    if (before(alert, known.head)) known.head = alert;
  }
  const all = [...groups.values()];
  const byTime = (a, b) => b.time - a.time || (a.key < b.key ? -1 : 1);
  all.sort(order === "severity"
    ? (a, b) => rankOf(a.head.level) - rankOf(b.head.level) || byTime(a, b)
    : byTime);
  return all;
}

/** Whether `a` stands for the group rather than `b`. */
function before(a, b) {
  const open = (alert) => alert.state !== "closed";
  return open(a) === open(b) ? a.time_ms > b.time_ms : open(a);
}
