// The only way a link that came from data gets an address: http and https, nothing else.

import { html } from "./dom.js";
import { Text } from "./text.js";

/**
 * @param {unknown} address
 * @returns {string | null} The address as the browser will use it, or null when it must stay text.
 */
export function safeHref(address) {
  if (typeof address !== "string" || address.length > 2000) return null;
  if (!/^https?:\/\//i.test(address)) return null;
  try {
    const url = new URL(address);
    const web = url.protocol === "https:" || url.protocol === "http:";
    return web && !url.username && !url.password ? url.href : null;
  } catch {
    return null;
  }
}

/** A reference of a rule: a link that is only followed on click and tells the target nothing. */
export function Reference({ address }) {
  const href = safeHref(address);
  if (href === null) return html`<${Text} value=${address} />`;
  return html`<a href=${href} rel="noopener noreferrer nofollow" target="_blank"><${Text} value=${address} /></a>`;
}
