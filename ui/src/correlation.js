// What a correlation counted: in which window, against which threshold, and which rules took part.

import { html, useEffect, useState } from "./dom.js";
import { get, part } from "./api.js";
import { clip, duration, number, plain, Text, visible } from "./text.js";
import { Time } from "./time.js";
import { routeTo } from "./route.js";
import { may } from "./session.js";

const COMPARISONS = new Map([["gte", "at least"], ["gt", "more than"], ["lte", "at most"], ["lt", "less than"], ["eq", "exactly"], ["neq", "not"]]);

/** Facts in the order a reader asks: word, and how the value is said. */
const FACTS = new Map([
  ["type", ["Kind", (v) => html`<${Text} value=${plain(v).replaceAll("_", " ")} max=${80} />`]],
  ["measured", ["Measured", (v) => html`<b><${Text} value=${v} max=${80} /></b>`]],
  ["condition", ["Threshold", (v) => {
    const [op, bound, ...rest] = plain(v).split(" ");
    return COMPARISONS.has(op) && rest.length === 0 ? html`${COMPARISONS.get(op)} <${Text} value=${bound} max=${80} />` : html`<${Text} value=${v} />`;
  }]],
  ["every_s", ["One every", (v) => duration(Number(v) * 1000)]],
  ["window_s", ["Window", (v) => duration(Number(v) * 1000)]],
  ["first", ["First event", (v) => html`<${Time} at=${v} full=${true} />`]],
  ["last", ["Last event", (v) => html`<${Time} at=${v} full=${true} />`]],
]);

/** @param {{facts: Record<string, unknown>}} props */
export function Correlation({ facts }) {
  const known = [...FACTS].filter(([name]) => Object.hasOwn(facts, name));
  const others = Object.entries(facts).filter(([name]) => !FACTS.has(name));
  return html`<dl class="facts correlation">
    ${known.map(([name, [word, say]]) => html`<dt>${word}</dt><dd>${say(facts[name])}</dd>`)}
    ${others.map(([name, value]) => html`<dt><${Text} value=${name.replaceAll("_", " ")} max=${80} /></dt><dd><${Text} value=${value} /></dd>`)}
  </dl>`;
}

/** Rules whose titles are asked for: a correlation names seldom more. */
const RULES_MAX = 12;

/** The rules that the events of an alert matched, in the order they came in. */
export function Chain({ evidence }) {
  const rules = new Map();
  for (const one of evidence) {
    const rule = plain(one.rule);
    const known = rules.get(rule);
    if (known) Object.assign(known, { n: known.n + 1, last: one.time });
    else rules.set(rule, { n: 1, first: one.time, last: one.time });
  }
  const ids = [...rules.keys()].filter(Boolean).slice(0, RULES_MAX);
  const [titles, setTitles] = useState(new Map());
  useEffect(() => {
    if (ids.length < 2 || !may("rules_read")) return undefined;
    const abort = new AbortController();
    for (const id of ids) {
      get(`/rules/${part(id)}`, { signal: abort.signal }).then((rule) => setTitles((old) => new Map(old).set(id, rule.title)), () => {});
    }
    return () => abort.abort();
  }, [ids.join()]);
  if (ids.length < 2) return null;
  const shown = [...rules].filter(([id]) => ids.includes(id)).sort(([, a], [, b]) => (a.first < b.first ? -1 : 1));
  return html`<ol class="chain">${shown.map(([id, { n, first, last }]) => html`<li class="words"><a href=${routeTo("rules", id)}><bdi class="untrusted title">${visible(clip(plain(titles.get(id) ?? id), 120))}</bdi></a>
    <span class="dim">${number(n)} ${n === 1 ? "event" : "events"}, <${Time} at=${first} />${n > 1 && html` to <${Time} at=${last} />`}</span></li>`)}</ol>
    ${rules.size > shown.length && html`<p class="dim">and ${number(rules.size - shown.length)} more rules</p>`}`;
}
