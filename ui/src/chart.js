// Two small charts as plain SVG: the rate on the overview and the histogram of a search.

import { html, useMemo, useRef, useState } from "./dom.js";
import { axisTime, fullTime } from "./time.js";
import { number, short } from "./text.js";

/** A round number at or above `value`, for the top of an axis. */
function niceTop(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  for (const step of [1, 2, 5, 10]) if (value <= step * power) return step * power;
  return 10 * power;
}

/**
 * Events per second over the last two minutes, with a mark wherever alerts came.
 * @param {{history: [number, number, number][]}} props [t_ms, events, alerts] per second, oldest first
 */
export function RateChart({ history }) {
  const [width, height] = [600, 120];
  const points = Array.isArray(history) ? history.slice(-120).filter(Array.isArray) : [];
  const top = niceTop(Math.max(1, ...points.map((p) => Number(p[1]) || 0)));
  const x = (index) => ((index + 120 - points.length) / 119) * width;
  const y = (value) => height - (Math.min(value, top) / top) * (height - 8);
  const line = points.map((p, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(Number(p[1]) || 0).toFixed(1)}`).join("");
  const area = points.length ? `${line}L${width} ${height}L${x(0).toFixed(1)} ${height}Z` : "";
  const last = points.at(-1);
  return html`<figure class="rate">
    <svg viewBox=${`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img"
      aria-label=${`Events per second over the last two minutes, now ${number(last?.[1] ?? 0)}`}>
      ${[0.25, 0.5, 0.75].map((f) => html`<line class="grid" x1="0" x2=${width} y1=${y(top * f)} y2=${y(top * f)} />`)}
      <path class="area" d=${area} /><path class="line" d=${line} />
      ${points.map((p, i) => Number(p[2]) > 0 && html`<line class="alert-mark" x1=${x(i)} x2=${x(i)} y1="0" y2=${height} />`)}
    </svg>
    <figcaption><span>2 min ago</span><span class="rate-key"><i class="key-events"></i>events/s, top ${short(top)}<i class="key-alerts"></i>alerts</span><span>now</span></figcaption>
  </figure>`;
}

/**
 * Counts over time; drag across it to zoom.
 * @param {{data: {from_ms: number, span_ms: number, counts: number[]}, busy?: boolean,
 *   onRange: (fromMs: number, toMs: number) => void}} props `span_ms` is the width of one bucket
 */
export function Histogram({ data, busy = false, onRange }) {
  const box = useRef(null);
  const [drag, setDrag] = useState(null);
  const [over, setOver] = useState(-1);
  const counts = Array.isArray(data?.counts) ? data.counts.slice(0, 240) : [];
  const top = Math.max(1, ...counts);
  const n = Math.max(1, counts.length);
  const height = 64;
  const bars = useMemo(() => counts.map((count, i) => {
    // A bucket with anything in it is visible, however small its share.
    const tall = count > 0 ? Math.max(2, (count / top) * (height - 2)) : 0;
    return tall && html`<rect key=${i} x=${i * 10 + 1} width="8" y=${height - tall} height=${tall} />`;
  }), [data]);

  const bucketAt = (event) => {
    const rect = box.current.getBoundingClientRect();
    return Math.max(0, Math.min(n - 1, Math.floor(((event.clientX - rect.left) / rect.width) * n)));
  };
  const start = (i) => data.from_ms + i * data.span_ms;
  const release = (event) => {
    if (!drag) return;
    const [a, b] = [drag.from, bucketAt(event)].sort((p, q) => p - q);
    setDrag(null);
    onRange(start(a), start(b + 1));
  };
  /** Arrows walk over the buckets, with Shift they span several, Enter zooms. */
  const byKey = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && counts.length) {
      const at = Math.max(0, Math.min(n - 1, over < 0 ? (step > 0 ? 0 : n - 1) : over + step));
      setDrag(event.shiftKey ? { from: drag?.from ?? Math.max(0, over), to: at } : null);
      setOver(at);
    } else if (event.key === "Enter" && over >= 0) {
      const [first, last] = drag ? [drag.from, drag.to].sort((p, q) => p - q) : [over, over];
      setDrag(null);
      onRange(start(first), start(last + 1));
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const [a, b] = drag ? [Math.min(drag.from, drag.to), Math.max(drag.from, drag.to)] : [0, -1];
  const sum = counts.reduce((s, c) => s + c, 0);
  return html`<figure class=${`histogram${busy ? " busy" : ""}`}>
    <svg ref=${box} viewBox=${`0 0 ${n * 10} ${height}`} preserveAspectRatio="none" role="img"
      aria-label=${`Histogram of ${number(sum)} events in ${counts.length} buckets; drag, or arrows and Enter, to zoom`}
      tabindex="0" onKeyDown=${byKey} onBlur=${() => setOver(-1)}
      onPointerDown=${(e) => {
        if (e.button !== 0 || !counts.length) return;
        box.current.setPointerCapture?.(e.pointerId);
        const at = bucketAt(e);
        setDrag({ from: at, to: at });
      }}
      onPointerMove=${(e) => {
        if (!counts.length) return;
        const at = bucketAt(e);
        setOver(at);
        if (drag) setDrag({ from: drag.from, to: at });
      }}
      onPointerUp=${release} onPointerCancel=${() => setDrag(null)} onPointerLeave=${() => !drag && setOver(-1)}>
      ${b >= a && html`<rect class="brush" x=${a * 10} width=${(b - a + 1) * 10} y="0" height=${height} />`}
      ${!drag && over >= 0 && html`<rect class="over" x=${over * 10} width="10" y="0" height=${height} />`}
      <g class="bars">${bars}</g>
    </svg>
    <figcaption>
      ${counts.length
        ? html`<span>${axisTime(data.from_ms, n * data.span_ms)}</span><span class="histogram-at">${drag
          ? `${fullTime(start(a))} to ${fullTime(start(b + 1))}`
          : over >= 0 ? `${number(counts[over])} at ${fullTime(start(over))}` : `highest ${number(Math.max(0, ...counts))} · drag to zoom`}</span>
          <span>${axisTime(start(n), n * data.span_ms)}</span>`
        : html`<span>${busy ? "counting…" : "\u00a0"}</span>`}
    </figcaption>
  </figure>`;
}
