// Who is signed in, what they may do, and what the identities in records are called.

import { html, useEffect, useState } from "./dom.js";
import { get } from "./api.js";
import { clip, plain, visible } from "./text.js";

/** Names of identities are asked for again after this, when one is met that has none, ms. */
const ASK_AGAIN_MS = 10_000;

/** @type {{name: string, display_name?: string, role?: string, roles?: string[], may?: string[]} | null} */
let session = null;
let people = [];
let names = new Map();
let askedAt = 0;
const listeners = new Set();

/** Takes over what the server said at sign-in; null after signing out. */
export function setSession(next) {
  session = next;
  people = [];
  names = new Map();
  askedAt = 0;
}

/** Whether the server would allow it. It decides by itself; this only keeps buttons away. */
export const may = (permission) => session?.may?.includes(permission) ?? false;

/** The identity that records of the reader's own deeds carry. */
export const me = () => session?.name ?? "";

function ask() {
  if (!may("alerts_read") || Date.now() - askedAt < ASK_AGAIN_MS) return;
  askedAt = Date.now();
  get("/people").then((answer) => {
    people = answer.people ?? [];
    names = new Map(people.map((p) => [p.identity, p.name]));
    for (const listener of listeners) listener();
  }, () => {});
}

/** Everybody who is known, asked for when first needed. */
export function usePeople() {
  const [, redraw] = useState(0);
  useEffect(() => {
    const listener = () => redraw((n) => n + 1);
    listeners.add(listener);
    if (people.length === 0) ask();
    return () => listeners.delete(listener);
  }, []);
  return people;
}

/** @param {string} identity */
function nameOf(identity) {
  const known = identity === me() ? session?.display_name : names.get(identity);
  if (known === undefined && identity.startsWith("token:")) ask();
  return known ?? identity;
}

/** An identity by its name, the identity itself on hover. */
export function Who({ identity, max = 40 }) {
  usePeople();
  const text = plain(identity);
  return html`<span class="person" title=${visible(clip(text, 120))}><bdi class="untrusted">${visible(clip(nameOf(text), max))}</bdi>${text === me() && html` <span class="dim">(you)</span>`}</span>`;
}

/** The same as plain text. */
export const whoText = (identity) => visible(clip(nameOf(plain(identity)), 60));
