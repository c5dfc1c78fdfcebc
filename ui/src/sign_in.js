// Who is there: a setup link, a session that still holds, or a token typed in.

import { html, useEffect, useRef, useState } from "./dom.js";
import { get, post } from "./api.js";
import { Icon } from "./icon.js";

const SETUP = "#setup=";

/**
 * Uses the token of a setup link, if the page was opened with one. The fragment is cleared first,
 * so the token is neither in the history nor in a copied link.
 * @returns {Promise<{name: string, role: string} | null>}
 */
export async function sessionAtStart() {
  let refused = null;
  if (location.hash.startsWith(SETUP)) {
    const token = decodeToken(location.hash.slice(SETUP.length));
    history.replaceState(null, "", "#/overview");
    try {
      return { session: await post("/session", { token }, { quiet: true }) };
    } catch (problem) {
      refused = problem.status === 0 ? problem.message : "The setup link is used up or has expired.";
    }
  }
  try {
    return { session: await get("/session", { quiet: true }) };
  } catch (problem) {
    return { session: null, refused: refused ?? (problem.status === 401 ? null : problem.message) };
  }
}

function decodeToken(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @param {{refused: string | null, onSession: (session: object) => void}} props */
export function SignIn({ refused, onSession }) {
  const [token, setToken] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(refused);
  const field = useRef(null);
  useEffect(() => field.current.focus(), []);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      onSession(await post("/session", { token: token.trim() }, { quiet: true }));
    } catch (error) {
      setProblem(error.status === 401 || error.status === 403 ? "This token is not valid, or it has expired." : error.message);
      setBusy(false);
      field.current.select();
    }
  };
  return html`<main class="sign-in"><form onSubmit=${submit}>
    <h1><${Icon} size=${36} />Alcedo</h1>
    <label for="token">Access token</label>
    <input id="token" ref=${field} type="password" autocomplete="current-password" spellcheck="false"
      value=${token} onInput=${(e) => setToken(e.target.value)} placeholder="alc_…" required />
    ${problem && html`<p class="problem" role="alert">${problem}</p>`}
    <button class="primary" disabled=${busy || !token.trim()}>Sign in</button>
    <p class="hint">Tokens are made by an administrator. The first one is in the setup link that the server prints when it starts.</p>
  </form></main>`;
}
