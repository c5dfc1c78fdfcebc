// A list of any length with a bounded number of elements: only rows near the viewport exist.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./dom.js";

/** Rows kept on each side of the viewport, so that scrolling shows no gaps. */
const OVERSCAN = 4;

/**
 * Keeps the reader's place: when rows come or go above the first visible one, the list scrolls by
 * the same amount, so what is being read does not move. At the very top it follows the newest.
 *
 * @param {object} props
 * @param {unknown[]} props.items
 * @param {(item: any) => string} props.keyOf stable identity of an item
 * @param {(item: any, index: number) => any} props.row one row of exactly `rowHeight`
 * @param {number} props.rowHeight pixels
 * @param {number} [props.focus] index of the chosen row
 * @param {string | null} [props.focusKey] its identity; the row comes into view when this changes
 * @param {() => void} [props.onNearEnd] more rows are wanted
 * @param {string} props.label
 * @param {number} [props.total] rows there are in all, for assistive technology; -1 when that is not known.
 *   Rows have the id `row-INDEX`
 */
export function VirtualList({ items, keyOf, row, rowHeight, focus = -1, focusKey = null, onNearEnd, label, total }) {
  const box = useRef(null);
  const anchor = useRef({ key: null, offset: 0 });
  const [view, setView] = useState({ top: 0, height: 600 });

  const measure = () => {
    const element = box.current;
    if (!element) return;
    const index = Math.floor(element.scrollTop / rowHeight);
    const first = items[index];
    anchor.current = {
      key: first !== undefined && element.scrollTop > 2 ? keyOf(first) : null,
      offset: element.scrollTop - index * rowHeight,
    };
    setView((old) =>
      old.top === element.scrollTop && old.height === element.clientHeight
        ? old
        : { top: element.scrollTop, height: element.clientHeight });
  };

  useLayoutEffect(() => {
    const element = box.current;
    const { key, offset } = anchor.current;
    if (element && key !== null) {
      const index = items.findIndex((item) => keyOf(item) === key);
      const wanted = index * rowHeight + offset;
      if (index >= 0 && Math.abs(element.scrollTop - wanted) > 1) element.scrollTop = wanted;
    }
    measure();
  }, [items]);

  useEffect(() => {
    const observer = new ResizeObserver(measure);
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);

  useLayoutEffect(() => {
    const element = box.current;
    if (!element || focus < 0) return;
    const top = focus * rowHeight;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + rowHeight > element.scrollTop + element.clientHeight) {
      element.scrollTop = top + rowHeight - element.clientHeight;
    }
    measure();
  }, [focusKey]);

  const from = Math.max(0, Math.floor(view.top / rowHeight) - OVERSCAN);
  const to = Math.min(items.length, Math.ceil((view.top + view.height) / rowHeight) + OVERSCAN);
  // After every change: more rows may have made no more lines.
  useEffect(() => {
    if (onNearEnd && to >= items.length - 20) onNearEnd();
  }, [to, items]);

  const rows = [];
  for (let index = from; index < to; index++) rows.push(row(items[index], index));
  return html`<div class="virtual" ref=${box} onScroll=${measure} role="grid" aria-label=${label}
    aria-rowcount=${total ?? items.length} aria-activedescendant=${focus >= from && focus < to ? `row-${focus}` : undefined} tabindex="0">
    <div class="virtual-all" style=${{ height: `${items.length * rowHeight}px` }}>
      <div class="virtual-shown" style=${{ transform: `translateY(${from * rowHeight}px)` }}>${rows}</div>
    </div>
  </div>`;
}
