// Why an alert fired: the rule's condition with what was found at every leaf.

import { html, useState } from "./dom.js";
import { Highlight, plain, Text, visible } from "./text.js";

/** Deepest nesting drawn; what is below is only counted. */
const DEPTH_MAX = 40;

const GROUPS = new Map([
  ["and", "all of"], ["or", "any of"], ["not", "none of"], ["at_least", "enough of"], ["selection", "selection"], ["const", "always"],
]);

const REASONS = new Map([
  ["field_absent", "the event has no such field"],
  ["field_is_object", "the field is an object, it has no text of its own"],
  ["value_mismatch", "the value differs"],
  ["case_mismatch", "only upper and lower case differ"],
  ["existence", "presence is not as the rule asks"],
  ["no_keyword_match", "the text is nowhere in the event"],
]);

/** @param {{outcome: import("./api.js").Outcome}} props */
export function Why({ outcome }) {
  const [failed, setFailed] = useState(false);
  const hidden = countHidden(outcome, 0, true);
  return html`<div class="why">
    <ul class="tree" role="tree" aria-label="Rule condition"><${Node} node=${outcome} depth=${0} failed=${failed} wanted=${true} /></ul>
    ${hidden > 0 && html`<button type="button" class="link" onClick=${() => setFailed(!failed)}>${failed ? "hide" : "show"} ${hidden} ${hidden === 1 ? "test" : "tests"} that did not hold</button>`}
  </div>`;
}

const childrenOf = (node) => (Array.isArray(node?.children) ? node.children : []);

/** Leaves that [`Node`] leaves out: those whose verdict did not decide anything. */
function countHidden(node, depth, wanted) {
  if (depth > DEPTH_MAX || node.op === "leaf") return 0;
  const inner = node.op === "not" ? !wanted : wanted;
  return childrenOf(node).reduce((sum, child) =>
    sum + (Boolean(child.matched) === inner ? countHidden(child, depth + 1, inner) : countLeaves(child, depth + 1)), 0);
}

function countLeaves(node, depth) {
  if (depth > DEPTH_MAX) return 0;
  return node.op === "leaf" ? 1 : childrenOf(node).reduce((sum, child) => sum + countLeaves(child, depth + 1), 0);
}

/** Failed parts are left out unless asked for, except below "not", where failing is the point. */
function Node({ node, depth, failed, wanted }) {
  if (depth > DEPTH_MAX) return html`<li>…</li>`;
  if (node.op === "leaf") return html`<${Leaf} node=${node} wanted=${wanted} />`;
  const inner = node.op === "not" ? !wanted : wanted;
  const children = childrenOf(node).filter((child) => failed || Boolean(child.matched) === inner);
  const name = GROUPS.get(node.op) ?? visible(plain(node.op)).slice(0, 30);
  return html`<li role="treeitem" class=${`group ${node.matched === wanted ? "held" : "missed"}`}>
    <span class="group-head"><${Mark} ok=${node.matched === wanted} /><b>${name}</b>${node.name && html` <${Text} value=${node.name} max=${120} />`}</span>
    ${children.length > 0 && html`<ul role="group">${children.map((child) => html`<${Node} node=${child} depth=${depth + 1} failed=${failed} wanted=${inner} />`)}</ul>`}
  </li>`;
}

function Leaf({ node, wanted }) {
  const ok = Boolean(node.matched) === wanted;
  const by = node.answered_by && node.answered_by !== node.field;
  return html`<li role="treeitem" class=${`leaf ${ok ? "held" : "missed"}`}>
    <${Mark} ok=${ok} />
    <div class="leaf-body">
      <div class="test"><code><${Text} value=${node.field ?? ""} max=${120} /></code> <${Text} value=${node.pattern ?? ""} max=${300} />${!wanted && html`<span class="dim"> (must not hold)</span>`}</div>
      ${node.actual !== undefined && html`<div class="actual"><${Highlight} value=${node.actual} span=${node.span} /></div>`}
      ${(by || node.reason) && html`<div class="dim">${by && html`answered by <code><${Text} value=${node.answered_by} max=${120} /></code>`}${by && node.reason && ", "}${node.reason && (REASONS.get(node.reason) ?? visible(plain(node.reason)).slice(0, 80))}</div>`}
    </div>
  </li>`;
}

function Mark({ ok }) {
  return html`<span class=${`verdict ${ok ? "pass" : "fail"}`}><b aria-hidden="true">${ok ? "✓" : "✗"}</b>${ok ? "pass" : "fail"}</span>`;
}
