// What somebody says about an alert: a note, or why it is open again.

import { html, useState } from "./dom.js";
import { Dialog } from "./dialog.js";

/** @param {{title: string, label: string, action: string, onDone: (text: string) => Promise<void>, onCancel: () => void}} props */
export function WordsDialog({ title, label, action, onDone, onCancel }) {
  const [text, setText] = useState("");
  return html`<${Dialog} title=${title} action=${action} ready=${text.trim() !== ""} hint="Ctrl Enter"
    onCancel=${onCancel} onSubmit=${() => onDone(text.trim())}>
    <label for="words">${label}</label>
    <textarea id="words" rows="5" maxlength="2000" required value=${text} onInput=${(e) => setText(e.target.value)}></textarea>
  </${Dialog}>`;
}
