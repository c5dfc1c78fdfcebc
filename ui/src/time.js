// Times on screen: always with their zone, in UTC unless the reader asked for local time.

import { html, useEffect, useState } from "./dom.js";
import { age, visible } from "./text.js";
import { setting } from "./settings.js";

/** "utc" or "local". */
export const zone = setting("zone", "utc");

/** Over so long a time the same clock may be on two days, ms. */
const DAY_SPAN_MS = 20 * 3_600_000;

const pad = (n, width = 2) => String(n).padStart(width, "0");

/** The zone's name for the moment: "Z" or "+02:00". */
function zoneName(date) {
  if (zone.get() === "utc") return "Z";
  const minutes = -date.getTimezoneOffset();
  const sign = minutes < 0 ? "-" : "+";
  return `${sign}${pad(Math.floor(Math.abs(minutes) / 60))}:${pad(Math.abs(minutes) % 60)}`;
}

/** Date parts in the chosen zone. */
function parts(date) {
  const utc = zone.get() === "utc";
  return utc
    ? [date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCHours(),
      date.getUTCMinutes(), date.getUTCSeconds(), date.getUTCMilliseconds()]
    : [date.getFullYear(), date.getMonth() + 1, date.getDate(), date.getHours(),
      date.getMinutes(), date.getSeconds(), date.getMilliseconds()];
}

/** "2026-11-24 02:14:05.123Z". */
export function fullTime(ms) {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return "no time";
  const [y, mo, d, h, m, s, milli] = parts(date);
  return `${y}-${pad(mo)}-${pad(d)} ${pad(h)}:${pad(m)}:${pad(s)}.${pad(milli, 3)}${zoneName(date)}`;
}

/** "02:14:05.123Z" for today, with the date before it for other days. */
export function clockTime(ms) {
  const whole = fullTime(ms);
  return Math.abs(Date.now() - ms) < DAY_SPAN_MS ? whole.slice(11) : whole;
}

/** "02:14Z", or "11-24 02:14Z" when the range spans days. */
export function axisTime(ms, spanMs) {
  const whole = fullTime(ms);
  const zoned = (text) => `${text}${whole.slice(23)}`;
  if (spanMs > DAY_SPAN_MS) return zoned(whole.slice(5, 16));
  return zoned(spanMs < 600_000 ? whole.slice(11, 19) : whole.slice(11, 16));
}

/**
 * A time of an event, hover shows the text as sent and the age.
 * @param {{at: unknown, full?: boolean}} props RFC 3339 text.
 */
export function Time({ at, full = false }) {
  const ms = Date.parse(String(at));
  if (Number.isNaN(ms)) return html`<span class="time">${visible(at).slice(0, 40) || "no time"}</span>`;
  const title = `${visible(at).slice(0, 60)} (${age(Date.now() - ms)} ago)`;
  return html`<time class="time" title=${title}>${full ? fullTime(ms) : clockTime(ms)}</time>`;
}

/** The present, renewed every `everyMs`, for ages. */
export function useNow(everyMs = 1000) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}
