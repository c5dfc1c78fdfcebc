// A dialog with a form: it stays open, with what was typed, until its work is done.

import { html, useEffect, useRef, useState } from "./dom.js";
import { clip, visible } from "./text.js";

/**
 * @param {object} props
 * @param {string} props.title
 * @param {string} props.action word on the button
 * @param {boolean} [props.ready] whether enough is given
 * @param {() => Promise<void> | void} props.onSubmit closes the dialog by taking it away; what it
 *   throws is shown
 * @param {() => void} props.onCancel
 * @param {string} [props.hint] beside the buttons
 * @param {boolean} [props.wide]
 */
export function Dialog({ title, action, ready = true, onSubmit, onCancel, hint, wide = false, children }) {
  const dialog = useRef(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    dialog.current.querySelector("input, select, textarea")?.focus();
    return () => before instanceof HTMLElement && before.isConnected && before.focus();
  }, []);
  const submit = async (event) => {
    event?.preventDefault();
    if (!ready || busy) return;
    setBusy(true);
    setProblem(null);
    try {
      await onSubmit();
    } catch (error) {
      setProblem(error.message);
      setBusy(false);
    }
  };
  const cancel = (event) => {
    event.preventDefault();
    onCancel();
  };
  return html`<dialog ref=${dialog} class=${`dialog${wide ? " wide-dialog" : ""}`} aria-label=${title} onCancel=${cancel}
    onKeyDown=${(e) => e.key === "Enter" && (e.ctrlKey || e.metaKey) && submit(e)}>
    <form onSubmit=${submit}>
      <h2>${title}</h2>
      ${children}
      ${problem && html`<p class="problem" role="alert">${visible(clip(problem, 500))}</p>`}
      <div class="actions">${hint && html`<span class="dim">${hint}</span>`}<button type="button" onClick=${onCancel}>Cancel</button>
        <button class="primary" disabled=${!ready || busy}>${busy ? "…" : action}</button></div>
    </form>
  </dialog>`;
}
