// What a job was given and what came of it: outcome, output, attempts, params.

import { html } from "./preact.js";
import { clock, duration, json, ms } from "./format.js";

export function Outcome({ record, lines }) {
  if (record.state === "completed") {
    return html`<section class="panel"><h2>Result</h2><pre class="json">${json(record.result)}</pre></section>`;
  }
  if (record.state === "cancelled" && record.cancel) {
    return html`<section class="panel"><h2>Cancelled</h2><p>By ${record.cancel.origin}, asked at ${clock(record.cancel.requested_at)}.
      ${record.cancel.abandoned ? " The handler would not stop and was abandoned." : ""}</p></section>`;
  }
  if (!record.failure) return null;
  const trouble = lines.findLast((line) => line.fields?.["exception.stacktrace"]);
  return html`<section class="panel bad"><h2>Failure</h2>
    <p><strong>${record.failure.reason}</strong>${record.failure.type === record.failure.reason ? "" : html` · <code>${record.failure.type}</code>`}</p>
    <p class="message">${record.failure.message}</p>
    ${trouble && html`<details open><summary>Traceback</summary><pre>${trouble.fields["exception.stacktrace"]}</pre></details>`}
  </section>`;
}

export function Output({ chunks }) {
  if (!chunks.length) return null;
  const text = chunks.map(({ chunk }) => (typeof chunk === "string" ? chunk : `${JSON.stringify(chunk)}\n`)).join("");
  return html`<section class="panel"><h2>Output</h2><pre class="output" tabindex="0">${text}</pre></section>`;
}

export function Attempts({ record }) {
  if (record.attempts.length < 1) return null;
  return html`<section class="panel"><h2>Attempts</h2><div class="scroll" tabindex="0" role="region" aria-label="Attempts"><table>
    <thead><tr><th>#</th><th>Began</th><th>Took</th><th>Outcome</th><th>Error</th></tr></thead>
    <tbody>${record.attempts.map((each) => html`<tr key=${each.number}>
      <td>${each.number}</td><td>${clock(each.started_at)}</td>
      <td>${each.finished_at ? duration(ms(each.finished_at) - ms(each.started_at)) : "…"}</td>
      <td>${each.outcome || "running"}</td>
      <td>${each.error ? html`<code>${each.error.type}</code> ${each.error.message}` : ""}</td></tr>`)}</tbody>
  </table></div></section>`;
}

export function Given({ record }) {
  return html`<section class="panel"><h2>Params</h2><pre class="json">${json(record.params)}</pre>
    ${Object.keys(record.metadata).length > 0 && html`<h3>Metadata</h3><pre class="json">${json(record.metadata)}</pre>`}
  </section>`;
}
