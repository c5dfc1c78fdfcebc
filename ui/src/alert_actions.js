// What can be done with alerts: one, those of a line, or every one that matches a filter.

import { post, part } from "./api.js";
import { clip, number, visible } from "./text.js";
import { whoText } from "./session.js";
import { toast } from "./toasts.js";

/** Alerts named in one request; the server takes no more. */
const IDS_MAX = 1000;

/**
 * @typedef {{alerts: any[], filter?: object, matching?: number}} Target `filter`: all that match it, until
 *   the moment of the choice; `alerts` are only those of them on screen
 */

/** In words, for titles: "this alert", "these 12 alerts". */
export function whatOf(target) {
  const n = target.filter ? target.matching : target.alerts.length;
  return target.filter ? `all ${number(n)} matching alerts` : n === 1 ? "this alert" : `these ${number(n)} alerts`;
}

/** The filters of the requests that a change takes. */
function filtersOf(target) {
  if (target.filter) return [target.filter];
  const ids = target.alerts.map((alert) => alert.id);
  const filters = [];
  for (let at = 0; at < ids.length; at += IDS_MAX) filters.push({ ids: ids.slice(at, at + IDS_MAX), state: "all" });
  return filters;
}

/**
 * Carries a change out, one record per alert. Throws what the server refused.
 * @param {"triage" | "assign"} kind
 * @param {Target} target
 * @param {object} change body of the request
 * @param {{change: (alert: any) => void, reload: () => void}} list
 * @returns {Promise<{changed: number, left: number}>}
 */
async function carryOut(kind, target, change, list) {
  if (!target.filter && target.alerts.length === 1) {
    list.change(await post(`/alerts/${part(target.alerts[0].id)}/${kind}`, change));
    return { changed: 1, left: 0 };
  }
  const sum = { changed: 0, left: 0 };
  try {
    for (const filter of filtersOf(target)) {
      const answer = await post(`/alerts/${kind}`, { filter, ...change });
      sum.changed += answer.changed;
      sum.left += answer.left_alone;
    }
  } finally {
    list.reload();
  }
  return sum;
}

const count = (n) => (n === 1 ? "Alert" : `${number(n)} alerts`);
const rest = (left) => (left > 0 ? `; ${number(left)} left as they were` : "");

export async function triage(target, change, list) {
  const { changed, left } = await carryOut("triage", target, change, list);
  toast({ text: `${count(changed)} ${change.to === "new" ? "reopened" : change.to}${rest(left)}` });
}

/** Takes alerts: acknowledged, and the reader's unless they are somebody's. */
export const acknowledge = (target, list) => triage(target, { to: "acknowledged", take: true }, list);

export async function assign(target, assignee, list) {
  const { changed, left } = await carryOut("assign", target, { assignee }, list);
  toast({ text: `${count(changed)} ${assignee === null ? "given back" : `assigned to ${whoText(assignee)}`}${rest(left)}` });
}

export async function note(target, text, list) {
  for (const alert of target.alerts) list.change(await post(`/alerts/${part(alert.id)}/note`, { text }));
  toast({ text: "Note kept" });
}

/** Runs an action without a dialog; what the server refused is shown in the corner. */
export async function attempt(action) {
  try {
    await action();
  } catch (error) {
    toast({ kind: "error", title: "Not changed", text: clip(visible(error.message), 300) });
  }
}
