// Tokens: who has one, as what, until when. A new one is shown once.

import { html, useEffect, useState } from "./dom.js";
import { get, part, post, remove } from "./api.js";
import { copyText } from "./clipboard.js";
import { Dialog } from "./dialog.js";
import { clip, number, plain, Text, visible } from "./text.js";
import { Time } from "./time.js";
import { Who } from "./session.js";
import { go, routeTo } from "./route.js";
import { toast } from "./toasts.js";

/** What a role is for, in the order of the list. */
const ROLES = new Map([
  ["reader", "searches and reads alerts"], ["analyst", "reads and works on alerts, exports"],
  ["engineer", "writes rules"], ["admin", "makes tokens, manages sources; reads no events"],
  ["custodian", "approves deletion, releases holds, exports"], ["auditor", "reads the audit log, verifies"],
  ["ingest", "sends events of its sources, reads nothing"], ["agent", "an agent's certificate"],
]);
const EXPIRES = [["8h", "8 hours"], ["7d", "7 days"], ["90d", "90 days"], ["365d", "a year"], ["", "never"]];
const EXPIRES_DEFAULT = "90d";

/** @param {{query: URLSearchParams}} props */
export function Tokens({ query }) {
  const [data, setData] = useState(null);
  const [problem, setProblem] = useState(null);
  const [dialog, setDialog] = useState(null);
  const [made, setMade] = useState(null);
  const all = query.get("show") === "all";
  const load = () => get("/tokens").then((answer) => {
    setData(answer);
    setProblem(null);
  }, (error) => setProblem(error.message));
  useEffect(() => void load(), []);
  const tokens = [...(data?.tokens ?? [])].sort((a, b) => (a.created < b.created ? 1 : -1));
  const good = tokens.filter((t) => t.is_good);
  const shown = all ? tokens : good;
  return html`<main class="page tokens">
    <div class="filters"><h1>Tokens</h1>
      <div class="tabs" role="group" aria-label="Which">${[["", "Good", good.length], ["all", "All", tokens.length]].map(([value, word, n]) => html`<button type="button" aria-pressed=${all === (value === "all")}
        onClick=${() => go(routeTo("tokens", null, { show: value }), true)}>${word} ${number(n)}</button>`)}</div>
      <button type="button" class="primary reload" onClick=${() => setDialog({ kind: "new" })}>New token…</button></div>
    ${problem && html`<p class="problem" role="alert">${visible(clip(problem, 300))}</p>`}
    ${made && html`<${Made} token=${made} onHide=${() => setMade(null)} />`}
    ${!data ? !problem && html`<p class="waiting">Loading…</p>`
      : html`<div class="table-box"><table class="grid"><thead><tr><th scope="col">Name</th><th scope="col">Roles</th><th scope="col">Sources</th><th scope="col">Id</th><th scope="col">Made</th><th scope="col">By</th><th scope="col">Expires</th><th scope="col"><span class="only-heard">Action</span></th></tr></thead>
        <tbody>${shown.map((t) => html`<tr key=${t.id} class=${t.is_good ? "" : "over"}><td><${Text} value=${t.name} max=${80} /></td><td>${visible(clip(plain(t.role).replaceAll(",", ", "), 120))}</td>
          <td><${Text} value=${t.sources} max=${120} /></td><td><code>${visible(clip(plain(t.id), 40))}</code></td><td><${Time} at=${t.created} full=${true} /></td>
          <td><span title=${visible(clip(plain(t.created_by), 80))}><${Text} value=${t.created_by_name} max=${60} /></span></td>
          <td>${t.revoked ? html`<b class="bad">revoked</b> <${Time} at=${t.revoked_at} full=${true} />` : t.expires ? html`${t.is_good ? "" : html`<b class="bad">expired</b> `}<${Time} at=${t.expires} full=${true} />` : "never"}</td>
          <td>${t.is_good && html`<button type="button" aria-label=${`Revoke ${visible(clip(plain(t.name), 60))}`} onClick=${() => setDialog({ kind: "revoke", token: t })}>Revoke…</button>`}</td></tr>`)}</tbody></table></div>`}
    ${dialog?.kind === "new" && html`<${NewToken} roles=${data?.roles ?? [...ROLES.keys()]} onCancel=${() => setDialog(null)}
      onMade=${(token) => {
        setMade(token);
        setDialog(null);
        load();
      }} />`}
    ${dialog?.kind === "revoke" && html`<${Revoke} token=${dialog.token} onCancel=${() => setDialog(null)} onDone=${() => {
      setDialog(null);
      load();
    }} />`}
  </main>`;
}

/** The only moment at which a token's text can be seen. */
function Made({ token, onHide }) {
  return html`<section class="card made" role="status"><header><h2>Token for <${Text} value=${token.name} max=${80} /></h2>
      <button type="button" class="hide" aria-label="Hide the token" onClick=${onHide}>×</button></header>
    <p>It is shown this once and kept nowhere. Hand it over by a safe way.</p>
    <p><code class="secret">${plain(token.token)}</code> <button type="button" onClick=${() => copyText(plain(token.token), "Token copied")}>Copy</button></p></section>`;
}

function NewToken({ roles, onMade, onCancel }) {
  const [name, setName] = useState("");
  const [chosen, setChosen] = useState(new Set());
  const [sources, setSources] = useState("");
  const [expires, setExpires] = useState(EXPIRES_DEFAULT);
  const writes = chosen.has("ingest");
  const turn = (role) => setChosen((old) => {
    const next = new Set(old);
    if (!next.delete(role)) next.add(role);
    return next;
  });
  const make = async () => onMade(await post("/tokens", {
    name: name.trim(), role: [...chosen].join(","),
    ...(writes ? { sources: sources.split(/[\s,]+/).filter(Boolean) } : {}),
    ...(expires ? { expires_in: expires } : {}),
  }));
  return html`<${Dialog} title="New token" action="Make" ready=${name.trim() !== "" && chosen.size > 0} onCancel=${onCancel} onSubmit=${make}>
    <label for="token-name">Who or what it is for</label>
    <input id="token-name" value=${name} maxlength="100" required autocomplete="off" onInput=${(e) => setName(e.target.value)} />
    <fieldset><legend>It may act as</legend>${roles.filter((role) => role !== "agent").map((role) => html`<label class="check"><input type="checkbox" name="role" value=${role}
      checked=${chosen.has(role)} onChange=${() => turn(role)} /> <b>${visible(clip(plain(role), 40))}</b> <small class="dim">${ROLES.get(role) ?? ""}</small></label>`)}</fieldset>
    ${writes && html`<label for="token-sources">Sources it may write, with * as a wildcard</label>
      <input id="token-sources" value=${sources} placeholder="fw-*, web" maxlength="1000" spellcheck="false" onInput=${(e) => setSources(e.target.value)} />`}
    <label for="token-expires">Good for</label>
    <select id="token-expires" value=${expires} onChange=${(e) => setExpires(e.target.value)}>${EXPIRES.map(([value, word]) => html`<option value=${value} selected=${value === expires}>${word}</option>`)}</select>
  </${Dialog}>`;
}

function Revoke({ token, onDone, onCancel }) {
  const revoke = async () => {
    await remove(`/tokens/${part(token.id)}`);
    toast({ text: "Revoked; its sessions are over" });
    onDone();
  };
  return html`<${Dialog} title="Revoke this token" action="Revoke" onCancel=${onCancel} onSubmit=${revoke}>
    <p><b><${Text} value=${token.name} max=${80} /></b>, <code>${visible(clip(plain(token.id), 40))}</code>, made by <${Who} identity=${token.created_by} />.</p>
    <p>Whoever uses it is refused from now on. This cannot be undone.</p>
  </${Dialog}>`;
}
