// Single-key commands. They never fire while the reader types, nor with Ctrl, Alt or Meta.

import { useEffect, useRef } from "./dom.js";

const typing = (target) =>
  target instanceof Element && target.closest("input, textarea, select, [contenteditable]") !== null;

/**
 * Binds keys while the component is shown.
 * @param {Map<string, (event: KeyboardEvent) => void>} keys by `KeyboardEvent.key`
 */
export function useKeys(keys) {
  const current = useRef(keys);
  current.current = keys;
  useEffect(() => {
    const pressed = (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
      // A dialog has its own keys.
      if (event.target instanceof Element && event.target.closest("dialog")) return;
      if (typing(event.target)) {
        // Escape leaves the field; the next one is a command again.
        if (event.key === "Escape") event.target.blur();
        return;
      }
      // Enter on a button presses that button.
      if (event.key === "Enter" && event.target instanceof Element && event.target.closest("button, a, summary")) return;
      const action = current.current.get(event.key);
      if (!action) return;
      event.preventDefault();
      action(event);
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);
}

/** All keys, as the help shows them. */
export const HELP = [
  ["Anywhere", [
    ["g o", "overview"], ["g a", "alerts"], ["g s", "search"], ["g t", "live tail"],
    ["g h", "sources"], ["g r", "rules"], ["g k", "tokens"], ["g l", "audit log"],
    ["/", "to the query"], ["y", "copy a link to this"], ["d", "dark or light"], ["?", "this list"], ["Esc", "close"],
  ]],
  ["Alerts", [
    ["j  k", "next, previous"], ["Home  End", "first, last"], ["Enter", "open"], ["a", "acknowledge and take"],
    ["i", "assign"], ["n", "note"], ["c", "close with a disposition"], ["r", "reopen"],
    ["*", "choose all that match"], ["Esc", "close the panel"],
  ]],
  ["Search", [["z", "zoom out"], ["s", "saved searches"], ["x", "export"]]],
  ["Live tail", [["Space", "freeze or resume"], ["End", "resume at the newest"]]],
];
