// The view of one job: what it is, its story beside its trace, and what can be done with it.

import { html, useEffect, useMemo } from "./preact.js";
import { notice } from "./announce.js";
import { cancelJob, retryJob, url } from "./api.js";
import { Api } from "./elsewhere.js";
import { duration, ms, now, short, sign } from "./format.js";
import { hasKey } from "./key.js";
import { useKeys } from "./keys.js";
import { Attempts, Given, Outcome, Output } from "./panels.js";
import { open } from "./route.js";
import { Story } from "./story.js";
import { neighbour } from "./visited.js";
import { Waterfall } from "./waterfall.js";
import { isOver, watchJob } from "./watch.js";

export function Job({ id }) {
  const watched = useMemo(() => watchJob(id), []);
  useEffect(() => watched.stop, []);
  const record = watched.record.value;
  useEffect(() => {
    if (record) document.title = `${sign(record.state)} ${record.operation} ${short(id)} · Narrator`;
  }, [record?.state]);
  const act = async (action, done) => {
    try {
      const found = await action();
      notice(done);
      if (found.id !== id) open(`jobs/${found.id}`);
      else watched.readRecord();
    } catch (problem) {
      notice(problem.message, { bad: true });
    }
  };
  const cancel = () => act(() => cancelJob(id), "Asked to stop.");
  const again = () => act(() => retryJob(id), "Submitted again, as a new job.");
  const go = (by) => {
    const other = neighbour(id, by);
    if (other) open(`jobs/${other}`);
    else notice("There is no such job in the list that was open last.");
  };
  useKeys([
    ["j", "next job of the list", () => go(1)],
    ["k", "previous job of the list", () => go(-1)],
    ["x", "cancel", cancel],
    ["r", "retry", again],
    ["a", "retry with other params", () => open(`run?again=${id}`)],
  ]);
  if (watched.status.value === "gone") {
    return html`<p class="empty" role="alert">There is no job ${id}. It may have been forgotten: finished jobs are kept for a while only.
      <a href="." data-view>All jobs</a></p>`;
  }
  if (!record) return html`<p class="empty" role="status">${watched.problem.value?.message || "Loading …"}</p>`;
  return html`<article class="job">
    <${Head} record=${record} watched=${watched} cancel=${cancel} again=${again} />
    <div class="sides"><${Story} watched=${watched} /><${Waterfall} watched=${watched} /></div>
    <div class="panels">
      <${Outcome} record=${record} lines=${watched.lines.value} />
      <${Output} chunks=${watched.output.value} />
      <${Attempts} record=${record} />
      <${Given} record=${record} />
      <${Links} record=${record} />
    </div>
  </article>`;
}

const STATUS = {
  connecting: "connecting …",
  live: "live",
  broken: "The stream broke. It is being resumed.",
  polling: "The stream does not get through. The story is polled every two seconds.",
  ended: "complete",
  refused: "The key does not allow this stream.",
};

function Head({ record, watched, cancel, again }) {
  const status = watched.status.value;
  const over = isOver(record);
  const created = ms(record.created_at);
  const end = record.finished_at ? ms(record.finished_at) : now.value;
  return html`<header class="head">
    <h1><span class=${`state ${record.state}`}><span aria-hidden="true">${sign(record.state)}</span> ${record.state}</span>
      ${record.operation} <code>${short(record.id)}</code></h1>
    <p class="minor">${record.priority} · attempt ${record.attempt || "–"} · ${over ? "took" : "for"} ${duration(end - created)}
      ${record.queue_position !== null && record.state === "queued" ? ` · ${record.queue_position} ahead of it` : ""}
      ${Object.entries(record.tags).map(([name, value]) => html` <span class="tag" key=${name}>${name}:${value}</span>`)}
      ${record.retry_of && html` · repeats <a href=${`jobs/${record.retry_of}`} data-view>${short(record.retry_of)}</a>`}</p>
    <div class="acts">
      ${!over && html`<button type="button" class="danger" onClick=${cancel} disabled=${record.state === "cancelling"}>
        ${record.state === "cancelling" ? "Stopping …" : "Cancel"}</button>`}
      ${over && html`<button type="button" onClick=${again}>Retry</button>`}
      ${over && html`<a class="button" href=${`run?again=${record.id}`} data-view>Retry with edits</a>`}
    </div>
    <${Progress} record=${record} over=${over} />
    <p class=${`live ${status}`} role="status">${status === "deferred"
      ? html`This job begins with its first reader. <button type="button" onClick=${watched.begin}>Start it and follow</button>`
      : STATUS[status]}</p>
  </header>`;
}

function Progress({ record, over }) {
  const told = record.progress;
  if (!told || over) return null;
  const share = told.total ? `${Math.floor((100 * told.done) / told.total)} %` : "";
  return html`<div class="bigprogress">
    <progress max=${told.total || 1} value=${told.total ? told.done : undefined} aria-label="Progress"></progress>
    <span>${told.done}${told.total ? ` of ${told.total}` : ""} ${share} ${told.text || ""}</span></div>`;
}

const ELSEWHERE = new Set(["trace_viewer", "dashboard"]); // other servers'
const NAMES = { self: "record", stream: "raw stream", narration: "story so far", trace: "spans", trace_viewer: "trace in its viewer", dashboard: "dashboard" };

function Links({ record }) {
  const stream = url(record.links.stream);
  const command = `curl -N ${hasKey.value ? '-H "Authorization: Bearer $NARRATOR_KEY" ' : ""}'${stream}'`;
  const trace = record.links.trace;
  const copy = () => navigator.clipboard.writeText(command).then(() => notice("Copied."), () => notice("The browser does not let this page copy.", { bad: true }));
  return html`<section class="panel"><h2>Elsewhere</h2>
    <p class="links">${Object.entries(record.links).filter(([name]) => name !== "page").map(([name, href]) =>
      ELSEWHERE.has(name)
        ? html`<a key=${name} href=${href} target="_blank" rel="noopener">${NAMES[name]}</a>`
        : html`<${Api} key=${name} href=${href} target="_blank" stream=${name === "stream"}>${NAMES[name] || name}</${Api}>`)}
      <${Api} href=${`${trace}?format=jaeger`} download=${`${short(record.id)}.jaeger.json`}>file for Jaeger</${Api}>
      <${Api} href=${`${trace}?format=otlp`} download=${`${short(record.id)}.otlp.json`}>file in OTLP</${Api}></p>
    <p class="command"><code tabindex="0">${command}</code> <button type="button" onClick=${copy}>Copy</button></p>
    ${record.trace_id && html`<p class="minor">trace <code>${record.trace_id}</code></p>`}
  </section>`;
}
