// Short messages in the corner. Few at a time, each goes by itself.

import { html, useEffect, useState } from "./dom.js";
import { listen } from "./live.js";
import { clip, plain, visible } from "./text.js";
import { summaryOf } from "./events.js";

const TOASTS_MAX = 4;
const SHOWN_MS = 6000;
const HELLO_SHOWN_MS = 15_000;

let last = 0;
const listeners = new Set();

/** @param {{text: string, title?: string, kind?: "error" | "plain" | "hello"}} message */
export function toast(message) {
  for (const listener of listeners) listener({ kind: "plain", ...message, id: ++last });
}

/** What a new sender looks like once read. */
function helloToast(hello) {
  const name = visible(clip(plain(hello.host) || plain(hello.source), 80));
  const pack = plain(hello.pack);
  toast({
    kind: "hello",
    title: `New sender: ${name}`,
    text: `${hello.host ? `over ${visible(clip(plain(hello.source), 60))}, ` : ""}${pack ? `read as ${visible(clip(pack, 60))}` : "no pack knows it yet"}`,
    sample: hello.parsed && typeof hello.parsed === "object" ? visible(clip(summaryOf(hello.parsed), 160)) : "",
  });
}

export function Toasts() {
  const [shown, setShown] = useState([]);
  useEffect(() => {
    const drop = (id) => setShown((old) => old.filter((t) => t.id !== id));
    const add = (message) => {
      setShown((old) => [...old.slice(1 - TOASTS_MAX), message]);
      setTimeout(drop, message.kind === "hello" ? HELLO_SHOWN_MS : SHOWN_MS, message.id);
    };
    listeners.add(add);
    const stop = listen("hello", helloToast);
    return () => {
      listeners.delete(add);
      stop();
    };
  }, []);
  return html`<div class="toasts" role="status" aria-live="polite">
    ${shown.map((t) => html`<div key=${t.id} class=${`toast toast-${t.kind}`}>
      ${t.title && html`<strong>${t.title}</strong>`}
      <span>${t.text}</span>
      ${t.sample && html`<bdi class="untrusted sample">${t.sample}</bdi>`}
      <button type="button" class="dots" aria-label="Dismiss" onClick=${() => setShown((old) => old.filter((o) => o.id !== t.id))}>×</button>
    </div>`)}
  </div>`;
}
