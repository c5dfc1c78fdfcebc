// Giving alerts to somebody.

import { html, useState } from "./dom.js";
import { Dialog } from "./dialog.js";
import { me, usePeople, whoText } from "./session.js";

/** Value of the choice "nobody": identities have a colon. */
const NOBODY = "nobody";

/** @param {{what: string, assignee: string | null, onDone: (assignee: string | null) => Promise<void>, onCancel: () => void}} props */
export function AssignDialog({ what, assignee, onDone, onCancel }) {
  const people = usePeople().filter((p) => p.can_triage && p.identity !== me());
  const [to, setTo] = useState(me());
  const order = [...people].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  return html`<${Dialog} title=${`Assign ${what}`} action="Assign" onCancel=${onCancel}
    onSubmit=${() => onDone(to === NOBODY ? null : to)}>
    ${assignee && html`<p class="dim">Now with ${whoText(assignee)}.</p>`}
    <label for="assignee">To</label>
    <select id="assignee" value=${to} onChange=${(e) => setTo(e.target.value)}>
      <option value=${me()} selected=${to === me()}>${whoText(me())} (you)</option>
      ${order.map((p) => html`<option key=${p.identity} value=${p.identity} selected=${to === p.identity}>${whoText(p.identity)}</option>`)}
      <option value=${NOBODY} selected=${to === NOBODY}>nobody</option>
    </select>
  </${Dialog}>`;
}
