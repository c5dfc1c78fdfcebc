// Closing an alert is a judgement: what was it, and why.

import { html, useState } from "./dom.js";
import { Dialog } from "./dialog.js";
import { DISPOSITION_CHOICES } from "./severity.js";

const HINTS = new Map([
  ["true_positive", "It was what the rule says, and harmful."],
  ["benign_true_positive", "It was what the rule says, and expected."],
  ["false_positive", "It was not what the rule says."],
]);

/** @param {{what: string, onDone: (change: {disposition: string, why: string}) => Promise<void>, onCancel: () => void}} props */
export function CloseDialog({ what, onDone, onCancel }) {
  const [disposition, setDisposition] = useState("");
  const [why, setWhy] = useState("");
  return html`<${Dialog} title=${`Close ${what}`} action="Close" ready=${disposition !== "" && why.trim() !== ""}
    hint="both are kept for good" onCancel=${onCancel} onSubmit=${() => onDone({ disposition, why: why.trim() })}>
    <fieldset><legend>It was a</legend>
      ${DISPOSITION_CHOICES.map(([name, word]) => html`<label class="choice"><input type="radio" name="disposition" value=${name}
        checked=${disposition === name} onChange=${() => setDisposition(name)} /><span><b>${word}</b><small>${HINTS.get(name)}</small></span></label>`)}
    </fieldset>
    <label for="why">Why</label>
    <textarea id="why" rows="3" maxlength="2000" required value=${why} onInput=${(e) => setWhy(e.target.value)}
      placeholder="For whoever meets this alert next"></textarea>
  </${Dialog}>`;
}
