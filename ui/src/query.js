// Building search text from values. What a value contains never leaves its quotes.

import { plain } from "./text.js";

/** A value as a quoted literal of the search language. */
export function quoted(value) {
  return `"${plain(value).replace(/[\\"]/g, "\\$&")}"`;
}

/**
 * `field:"value"`, or null when the field's name cannot be written in a query.
 * @returns {string | null}
 */
export function term(field, value) {
  const one = Array.isArray(value) ? value[0] : value;
  const name = fieldName(field);
  if (name === null || one === undefined) return null;
  if (one === null) return `not ${name}:*`;
  return `${name}:${quoted(one)}`;
}

/** The field's name as a query writes it, null when that is impossible. */
export function fieldName(field) {
  if (/^[\p{L}\p{N}_@.#$-]+$/u.test(field)) return field;
  return field.includes("':") || field.includes("|") ? null : `'${field}'`;
}

/** Splits at the first pipe outside quotes: what filters, and what is made of it. */
export function split(query) {
  let quote = false;
  for (let i = 0; i < query.length; i++) {
    if (query[i] === "\\") i++;
    else if (query[i] === '"') quote = !quote;
    else if (query[i] === "|" && !quote) return [query.slice(0, i).trim(), query.slice(i).trim()];
  }
  return [query.trim(), ""];
}

/** The query narrowed by one more term, before its pipes. */
export function narrowed(query, added) {
  const [filter, pipes] = split(query);
  const kept = /\bor\b/i.test(filter) ? `(${filter})` : filter;
  return [kept, kept ? `and ${added}` : added, pipes].filter(Boolean).join(" ");
}
