// Closing an alert is a judgement: what was it, and why.

import { html, useEffect, useRef, useState } from "./dom.js";
import { DISPOSITION_CHOICES } from "./severity.js";

const HINTS = new Map([
  ["true_positive", "It was what the rule says, and harmful."],
  ["benign_true_positive", "It was what the rule says, and expected."],
  ["false_positive", "It was not what the rule says."],
]);

/** @param {{count: number, onDone: (change: {disposition: string, why?: string}) => void, onCancel: () => void}} props */
export function CloseDialog({ count, onDone, onCancel }) {
  const [disposition, setDisposition] = useState("");
  const [why, setWhy] = useState("");
  const dialog = useRef(null);
  useEffect(() => {
    dialog.current.showModal();
    dialog.current.querySelector("input").focus();
  }, []);
  const submit = (event) => {
    event.preventDefault();
    if (disposition) onDone({ disposition, ...(why.trim() ? { why: why.trim() } : {}) });
  };
  return html`<dialog ref=${dialog} class="dialog" aria-label="Close alert" onCancel=${onCancel}>
    <form onSubmit=${submit}>
      <h2>Close ${count === 1 ? "this alert" : `these ${count} alerts`}</h2>
      <fieldset><legend>It was a</legend>
        ${DISPOSITION_CHOICES.map(([name, word]) => html`<label class="choice"><input type="radio" name="disposition" value=${name}
          checked=${disposition === name} onChange=${() => setDisposition(name)} /><span><b>${word}</b><small>${HINTS.get(name)}</small></span></label>`)}
      </fieldset>
      <label for="why">Why</label>
      <textarea id="why" rows="3" maxlength="2000" value=${why} onInput=${(e) => setWhy(e.target.value)}
        placeholder="For whoever meets this alert next"></textarea>
      <div class="actions"><button type="button" onClick=${onCancel}>Cancel</button>
        <button class="primary" disabled=${!disposition}>Close</button></div>
    </form>
  </dialog>`;
}
