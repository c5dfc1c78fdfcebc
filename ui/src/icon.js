// The kingfisher.

import { html } from "./dom.js";

/** @param {{size: number}} props pixels */
export const Icon = ({ size }) => html`<svg class="icon" viewBox="0 0 32 32" width=${size} height=${size} aria-hidden="true">
  <rect class="icon-back" width="32" height="32" rx="7" />
  <path class="icon-body" d="M5 20c5-1 8-5 10-9 1-3 4-5 8-4l5 2-6 2c1 8-5 14-13 14l5-4c-3 1-6 1-9-1z" />
  <path class="icon-breast" d="M15 13c2 4 1 8-6 12l5-4c3-2 3-5 1-8z" /><circle class="icon-eye" cx="21.5" cy="9.6" r="1.1" />
</svg>`;
