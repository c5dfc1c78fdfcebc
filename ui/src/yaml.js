// The text of a rule, as it was read.

import { html } from "./dom.js";
import { clip, number, plain, visible } from "./text.js";

/** Lines of a rule's text shown. */
const LINES_MAX = 500;

/** A rule's text, line by line. */
export function Yaml({ text }) {
  const lines = plain(text).split("\n");
  return html`<pre class="yaml" tabindex="0">${lines.slice(0, LINES_MAX).map((line) => html`<bdi class="untrusted">${visible(clip(line, 1000))}</bdi>${"\n"}`)}</pre>
    ${lines.length > LINES_MAX && html`<p class="dim">The first ${number(LINES_MAX)} of ${number(lines.length)} lines.</p>`}`;
}
