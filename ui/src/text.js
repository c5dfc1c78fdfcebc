// Untrusted text: everything that came from an event, a rule file or a sender.
//
// Text nodes keep markup inert. What is left to do here is to keep text honest to the eye: control
// characters, ANSI colours and direction overrides are shown as escapes, long values are clipped.

import { html, useState } from "./dom.js";

/** Characters shown before "show all". */
export const CLIP_CHARS = 400;
/** Characters ever put into one text node: more would stall layout. */
const SHOWN_CHARS_MAX = 200_000;

/** Names of the characters that reorder or hide text; everything else gets its number. */
const NAMES = new Map([
  [0x00, "NUL"], [0x07, "BEL"], [0x08, "BS"], [0x1b, "ESC"], [0x7f, "DEL"], [0xad, "SHY"],
  [0x061c, "ALM"], [0x200b, "ZWSP"], [0x200c, "ZWNJ"], [0x200d, "ZWJ"], [0x200e, "LRM"],
  [0x200f, "RLM"], [0x2028, "LSEP"], [0x2029, "PSEP"], [0x202a, "LRE"], [0x202b, "RLE"],
  [0x202c, "PDF"], [0x202d, "LRO"], [0x202e, "RLO"], [0x2060, "WJ"], [0x2066, "LRI"],
  [0x2067, "RLI"], [0x2068, "FSI"], [0x2069, "PDI"], [0xfeff, "BOM"],
]);

// C0, DEL, C1, soft hyphen, direction marks, zero width, separators, tags, lone surrogates.
const UNSAFE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/gu;

/** The visible stand-in for one unsafe character, in white brackets that plain text rarely has. */
function escapeOf(character) {
  const code = character.codePointAt(0) ?? 0;
  if (code === 0x0a) return "\u23ce";
  if (code === 0x0d) return "\u27eaCR\u27eb";
  if (code === 0x09) return "\u21e5 ";
  return `\u27ea${NAMES.get(code) ?? `U+${code.toString(16).toUpperCase().padStart(4, "0")}`}\u27eb`;
}

/**
 * Any value as honest text on one line.
 * @param {unknown} value
 * @returns {string}
 */
export function visible(value) {
  return plain(value).slice(0, SHOWN_CHARS_MAX).replace(UNSAFE, escapeOf);
}

/**
 * Any value as text: arrays joined by a comma, objects as JSON, nothing as "".
 * @param {unknown} value
 * @returns {string}
 */
export function plain(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return value.map(plain).join(", ");
  if (typeof value === "object") {
    try {
      return JSON.stringify(value);
    } catch {
      return "";
    }
  }
  return String(value);
}

/** Cut to `max` characters, never through a surrogate pair. */
export function clip(text, max) {
  if (text.length <= max) return text;
  const end = /[\ud800-\udbff]/.test(text[max - 1]) ? max - 1 : max;
  return text.slice(0, end);
}

/**
 * A value of an event: isolated from the direction of its surroundings, clipped with "show all",
 * escapes set apart.
 * @param {{value: unknown, max?: number}} props
 */
export function Text({ value, max = CLIP_CHARS }) {
  const [whole, setWhole] = useState(false);
  const text = plain(value);
  const shown = whole ? text : clip(text, max);
  return html`<bdi class="untrusted">${marked(shown)}${text.length > shown.length || whole && text.length > max
    ? html`<button class="link more" type="button" onClick=${(event) => {
      event.stopPropagation();
      setWhole(!whole);
    }}>${whole ? "show less" : `… show all ${number(text.length)} characters`}</button>`
    : null}</bdi>`;
}

/** Honest text with each escape in its own element, so that it cannot be mistaken for content. */
function marked(text) {
  const parts = [];
  let from = 0;
  const cut = text.slice(0, SHOWN_CHARS_MAX);
  // A value of nothing but controls must not become a million elements.
  let left = 500;
  for (const found of cut.matchAll(UNSAFE)) {
    if (left-- === 0) {
      parts.push(visible(cut.slice(from)));
      return parts;
    }
    if (found.index > from) parts.push(cut.slice(from, found.index));
    parts.push(html`<span class="escape">${escapeOf(found[0])}</span>`);
    from = found.index + found[0].length;
  }
  if (from < cut.length) parts.push(cut.slice(from));
  return parts;
}

const utf8 = new TextEncoder();
const text8 = new TextDecoder();

/**
 * A value with the byte span that matched set apart.
 * @param {{value: string, span?: [number, number] | null}} props `span` counts UTF-8 bytes.
 */
export function Highlight({ value, span }) {
  const text = plain(value);
  if (!Array.isArray(span) || span.length !== 2 || !(span[0] < span[1])) {
    return html`<${Text} value=${text} />`;
  }
  const bytes = utf8.encode(text);
  const [from, to] = [Math.min(span[0], bytes.length), Math.min(span[1], bytes.length)];
  // What surrounds the match is context: a little before, more after.
  const before = text8.decode(bytes.subarray(0, from));
  const head = before.length > 160 ? `…${before.slice(-150)}` : before;
  return html`<bdi class="untrusted">${visible(head)}<mark>${visible(text8.decode(bytes.subarray(from, to)))}</mark><${Text}
    value=${text8.decode(bytes.subarray(to))} /></bdi>`;
}

/** 1234567 as "1 234 567", with narrow no-break spaces. */
export function number(value) {
  const n = Number(value);
  if (!Number.isFinite(n)) return "-";
  const rounded = Math.abs(n) >= 100 || Number.isInteger(n) ? Math.round(n) : Math.round(n * 10) / 10;
  return String(rounded).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

/** 68123 as "68.1k": for places with little room. */
export function short(value) {
  const n = Number(value);
  if (!Number.isFinite(n)) return "-";
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e4]]) {
    if (Math.abs(n) >= size) {
      const scaled = n / (unit === "k" ? 1e3 : size);
      return `${scaled >= 100 ? Math.round(scaled) : Math.round(scaled * 10) / 10}${unit}`;
    }
  }
  return number(n);
}

/** Bytes with a binary unit. */
export function bytes(value) {
  let n = Number(value);
  if (!Number.isFinite(n)) return "-";
  for (const unit of ["B", "KiB", "MiB", "GiB", "TiB"]) {
    if (Math.abs(n) < 1024) return `${unit === "B" ? Math.round(n) : n.toFixed(n < 10 ? 1 : 0)} ${unit}`;
    n /= 1024;
  }
  return `${number(n)} PiB`;
}

/** Milliseconds as the shortest honest duration. */
export function duration(ms) {
  const n = Number(ms);
  if (!Number.isFinite(n)) return "-";
  if (n < 1000) return `${Math.round(n)} ms`;
  if (n < 60_000) return `${(n / 1000).toFixed(n < 10_000 ? 1 : 0)} s`;
  return age(n);
}

/** An age in one unit: "12 s", "3 min", "5 h", "2 d". */
export function age(ms) {
  const s = Math.max(0, Math.round(Number(ms) / 1000));
  if (!Number.isFinite(s)) return "";
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 172_800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}
