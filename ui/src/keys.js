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
    ["g h", "sources"], ["g r", "rules"], ["/", "to the query"], ["d", "dark or light"], ["?", "this list"], ["Esc", "close"],
  ]],
  ["Alerts", [
    ["j  k", "next, previous"], ["Home  End", "first, last"], ["Enter", "open"], ["a", "acknowledge"],
    ["c", "close with a disposition"], ["r", "reopen"], ["Esc", "close the panel"],
  ]],
  ["Live tail", [["Space", "freeze or resume"], ["End", "resume at the newest"]]],
];
