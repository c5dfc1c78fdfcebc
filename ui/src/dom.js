// The one place that names the vendored libraries. Views use `html` and hooks from here.
//
// `html` makes element nodes and text nodes only: a value put into a template is text or an
// attribute value, never markup.

import { h, render, Component, Fragment } from "../vendor/preact.js";
import htm from "../vendor/htm.js";

export { render, Component, Fragment };
export {
  useCallback, useEffect, useErrorBoundary, useLayoutEffect, useMemo, useRef, useState,
} from "../vendor/hooks.js";

export const html = htm.bind(h);
