// What the reader chose, kept in this browser. Never anything from events, never a token.

/**
 * @param {string} name
 * @param {string} initial
 */
export function setting(name, initial) {
  const key = `alcedo.${name}`;
  let value = initial;
  try {
    value = localStorage.getItem(key) ?? initial;
  } catch {
    // Storage may be forbidden; the setting then lasts as long as the page.
  }
  const listeners = new Set();
  return {
    get: () => value,
    set(next) {
      value = next;
      try {
        localStorage.setItem(key, next);
      } catch {
        // As above.
      }
      for (const listener of listeners) listener(value);
    },
    /** @param {(value: string) => void} listener */
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
