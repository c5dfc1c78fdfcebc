// Severity is colour, word and shape together: never colour alone.

import { html } from "./dom.js";
import { visible } from "./text.js";

/** Highest first: word, shape, class. */
export const LEVELS = [
  { level: "critical", word: "Critical", shape: "\u25b2" },
  { level: "high", word: "High", shape: "\u25c6" },
  { level: "medium", word: "Medium", shape: "\u25cf" },
  { level: "low", word: "Low", shape: "\u25cb" },
  { level: "informational", word: "Info", shape: "\u00b7" },
];

const BY_NAME = new Map(LEVELS.map((entry, rank) => [entry.level, { ...entry, rank }]));

/** Order of a level, 0 = critical; unknown levels come last. */
export const rankOf = (level) => BY_NAME.get(level)?.rank ?? LEVELS.length;

/** @param {{level: string}} props */
export function Severity({ level }) {
  const known = BY_NAME.get(level);
  const name = known ? known.level : "unknown";
  return html`<span class=${`severity level-${name}`}><b aria-hidden="true">${known ? known.shape : "?"}</b>${known
    ? known.word
    : visible(level).slice(0, 20) || "No level"}</span>`;
}

const STATES = new Map([
  ["new", "New"], ["acknowledged", "Acknowledged"], ["closed", "Closed"],
]);

/** @param {{state: string}} props */
export function State({ state }) {
  const known = STATES.has(state);
  return html`<span class=${`state state-${known ? state : "unknown"}`}>${known ? STATES.get(state) : visible(state).slice(0, 20)}</span>`;
}

const DISPOSITIONS = new Map([
  ["true_positive", "True positive"],
  ["benign_true_positive", "Benign true positive"],
  ["false_positive", "False positive"],
]);

/** Choices of the close dialog, in its order. */
export const DISPOSITION_CHOICES = [...DISPOSITIONS];

export const dispositionWord = (name) => DISPOSITIONS.get(name) ?? visible(name);
