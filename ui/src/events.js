// An event as a line, and opened as a table of its fields with a menu on every value.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./dom.js";
import { own } from "./api.js";
import { clip, plain, Text, visible } from "./text.js";
import { Time } from "./time.js";
import { go, routeTo } from "./route.js";
import { fieldName, narrowed, term } from "./query.js";
import { copyText } from "./clipboard.js";

/** Fields a reader looks for first; the rest follow by name. */
const FIRST = [
  "@timestamp", "event.id", "alcedo.source", "host.name", "event.module", "event.dataset", "event.category", "event.type",
  "event.action", "event.outcome", "user.name", "source.ip", "destination.ip", "process.name",
  "process.command_line", "message",
];
/** Fields of one event shown at once. */
const FIELDS_MAX = 400;

/** What a reader recognises an event by: its message, else its bytes, else its fields. */
export function summaryOf(event) {
  const text = own(event, "message") ?? own(event, "event.original");
  if (text !== undefined && plain(text) !== "") return plain(text);
  return Object.entries(event)
    .filter(([name]) => name !== "@timestamp" && name !== "event.id")
    .slice(0, 8).map(([name, value]) => `${name}=${plain(value)}`).join(" ");
}

const whereOf = (event) => own(event, "host.name") ?? own(event, "alcedo.source") ?? own(event, "source.ip") ?? "";
const whatOf = (event) => own(event, "process.name") ?? own(event, "event.module") ?? own(event, "event.dataset") ?? "";

/**
 * @param {{event: Record<string, unknown>, open: boolean, onToggle: () => void, query?: string,
 *   level?: string, pin?: boolean}} props `pin` sets the row apart, for the event of an alert
 */
export function EventRow({ event, open, onToggle, query = "", pin = false, range = {} }) {
  return html`<div class=${`event${open ? " open" : ""}${pin ? " pin" : ""}`}>
    <button type="button" class="event-line" aria-expanded=${open} onClick=${onToggle}>
      <${Time} at=${own(event, "@timestamp")} />
      <span class="where">${visible(clip(plain(whereOf(event)), 60))}</span>
      <span class="what">${visible(clip(plain(whatOf(event)), 40))}</span>
      <bdi class="said untrusted">${visible(clip(summaryOf(event), 500))}</bdi>
    </button>
    ${open && html`<${FieldTable} event=${event} query=${query} range=${range} />`}
  </div>`;
}

/** All fields of one event. */
export function FieldTable({ event, query = "", range = {} }) {
  const rank = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  const entries = Object.entries(event)
    .sort(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : a > b ? 1 : 0));
  const shown = entries.slice(0, FIELDS_MAX);
  return html`<table class="fields"><tbody>
    ${shown.map(([name, value]) => html`<tr>
      <th scope="row"><${Text} value=${name} max=${80} /></th>
      <td><${Value} field=${name} value=${value} event=${event} query=${query} range=${range} /></td>
    </tr>`)}
    ${entries.length > shown.length && html`<tr><td colspan="2">${entries.length - shown.length} more fields are not shown.</td></tr>`}
  </tbody></table>`;
}

/** A value with its menu. */
export function Value({ field, value, event, query = "", range = {} }) {
  const [menu, setMenu] = useState(null);
  return html`<span class="value">
    <${Text} value=${value} />
    <button type="button" class="dots" title="What to do with this value" aria-haspopup="menu"
      onClick=${(e) => {
        const at = e.currentTarget.getBoundingClientRect();
        setMenu(menu ? null : { left: at.left, top: at.bottom });
      }}>⋯</button>
    ${menu && html`<${ValueMenu} ...${{ field, value, event, query, range, at: menu }} onClose=${() => setMenu(null)} />`}
  </span>`;
}

/** Fields whose next step is another search around the same moment. */
function ValueMenu({ field, value, event, query, range, at, onClose }) {
  const box = useRef(null);
  const [place, setPlace] = useState(at);
  useLayoutEffect(() => {
    const { offsetWidth, offsetHeight } = box.current;
    setPlace({
      left: Math.max(8, Math.min(at.left, innerWidth - offsetWidth - 8)),
      top: at.top + offsetHeight > innerHeight - 8 ? Math.max(8, at.top - offsetHeight - 24) : at.top,
    });
    box.current.querySelector("button")?.focus();
  }, []);
  useEffect(() => {
    const away = (e) => {
      if (e.type === "keydown" ? e.key === "Escape" : !box.current?.contains(e.target)) onClose();
      if (e.type === "keydown" && (e.key === "ArrowDown" || e.key === "ArrowUp")) {
        const all = [...box.current.querySelectorAll("button")];
        const next = all.indexOf(document.activeElement) + (e.key === "ArrowDown" ? 1 : -1);
        all[(next + all.length) % all.length]?.focus();
        e.preventDefault();
      }
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("keydown", away);
    document.addEventListener("scroll", onClose, true);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("keydown", away);
      document.removeEventListener("scroll", onClose, true);
    };
  }, []);

  const added = term(field, value);
  const name = fieldName(field);
  const search = (q, extra = {}) => () => {
    onClose();
    go(routeTo("search", null, { ...range, ...extra, q }));
  };
  const moment = Date.parse(plain(own(event ?? {}, "@timestamp")));
  const choices = [
    added && ["Include", search(narrowed(query, added))],
    added && ["Exclude", search(narrowed(query, `not ${added}`))],
    added && ["Only this", search(added)],
    name && ["Count by this field", search(`${query.split("|")[0].trim()} | stats count() by ${name} | sort -count`.trim())],
    added && ["Live tail", () => {
      onClose();
      go(routeTo("tail", null, { q: added }));
    }],
    added && !Number.isNaN(moment) && ["±15 minutes of this event", search(added, {
      since: new Date(moment - 900_000).toISOString(), until: new Date(moment + 900_000).toISOString(),
    })],
    ["Copy", () => {
      onClose();
      copyText(plain(value));
    }],
  ].filter(Boolean);
  return html`<div class="menu" role="menu" ref=${box} style=${{ left: `${place.left}px`, top: `${place.top}px` }}>
    ${choices.map(([label, action]) => html`<button type="button" role="menuitem" onClick=${action}>${label}</button>`)}
  </div>`;
}
