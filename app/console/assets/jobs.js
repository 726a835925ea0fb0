// The view of all jobs: the queue in numbers, filters in the address bar, a live table of any length.

import { html, useEffect, useMemo, useRef, useSignal, useState } from "./preact.js";
import { notice } from "./announce.js";
import { cancelJob, each, get, retryJob } from "./api.js";
import { count, cut, duration, FINISHED, ms, now, short, sign, STATES } from "./format.js";
import { useKeys } from "./keys.js";
import { jobList } from "./list.js";
import { Overview } from "./overview.js";
import { ask, open, route } from "./route.js";
import { remember } from "./visited.js";
import { useWindow } from "./window.js";

export function Jobs() {
  const query = route.value.query;
  const filter = {
    states: query.getAll("state"),
    operation: query.get("operation") || "",
    tags: query.getAll("tag"),
    text: query.get("text") || "",
  };
  return html`<h1 class="unseen">Jobs</h1><${Overview} /><${Filters} filter=${filter} />
    <${Table} key=${JSON.stringify(filter)} filter=${filter} />`;
}

function Filters({ filter }) {
  const operations = useSignal([]);
  const search = useRef(null);
  useEffect(() => {
    get("v1/operations").then((found) => {
      operations.value = found.operations.map((each) => each.name);
    }, () => {});
  }, []);
  useKeys([["/", "search", () => search.current.focus()]]);
  const toggle = (state) => {
    const on = filter.states.includes(state);
    ask({ state: on ? filter.states.filter((each) => each !== state) : [...filter.states, state] });
  };
  const later = (name) => (event) => ask({ [name]: event.target.value.trim() });
  return html`<search class="filters">
    <div role="group" aria-label="States" class="states">
      ${STATES.map((state) => html`<button type="button" key=${state} class=${`chip ${state}`}
        aria-pressed=${filter.states.includes(state)} onClick=${() => toggle(state)}>
        <span aria-hidden="true">${sign(state)}</span> ${state}</button>`)}
    </div>
    <label>Operation <select value=${filter.operation} onChange=${later("operation")}>
      <option value="">all</option>
      ${[...new Set([...operations.value, filter.operation])].filter(Boolean).map(
        (name) => html`<option key=${name} value=${name} selected=${name === filter.operation}>${name}</option>`)}
    </select></label>
    <label>Tag <input type="search" size="12" placeholder="key:value" value=${filter.tags.join(" ")}
      onChange=${(event) => ask({ tag: event.target.value.split(/\s+/) })} /></label>
    <label>Text <input ref=${search} type="search" size="16" placeholder="id, params, tags" value=${filter.text}
      onChange=${later("text")} /></label>
  </search>`;
}

const STATUS = {
  connecting: "connecting …",
  live: "live",
  broken: "The stream broke; it is being resumed. The list is polled meanwhile.",
  refused: "",
};

function Table({ filter }) {
  const list = useMemo(() => jobList(filter), []);
  const chosen = useSignal(new Set());
  const [at, setAt] = useState(-1);
  useEffect(() => () => {
    remember(list.rows.value);
    list.stop();
  }, []);
  const rows = list.rows.value;
  const view = useWindow(rows.length, list.more);
  const move = (by) => {
    const to = Math.min(rows.length - 1, Math.max(0, at + by));
    setAt(to);
    view.reveal(to);
  };
  const pick = (id) => {
    const copy = new Set(chosen.value);
    if (!copy.delete(id)) copy.add(id);
    chosen.value = copy;
  };
  useKeys([
    ["j ArrowDown", "next job", () => move(1)],
    ["k ArrowUp", "previous job", () => move(-1)],
    ["Enter o", "open the job", () => rows[at] && open(`jobs/${rows[at].id}`)],
    ["x", "select the job", () => rows[at] && pick(rows[at].id)],
  ], [rows, at]);
  const all = rows.length > 0 && rows.every((each) => chosen.value.has(each.id));
  const status = list.status.value;
  return html`
    <div class="above">
      <p>${list.busy.value ? "Loading …" : `${count(list.total.value)} jobs`}
        ${" "}<span class=${`live ${status}`}>${STATUS[status] ?? status}</span></p>
      ${list.problem.value && html`<p class="problem" role="alert">${list.problem.value}</p>`}
      ${chosen.value.size > 0 && html`<${Bulk} chosen=${chosen} rows=${rows} refresh=${list.refresh} />`}
    </div>
    <table class="jobs" aria-rowcount=${list.total.value}>
      <thead><tr>
        <th><input type="checkbox" aria-label="Select all that are loaded" checked=${all}
          onChange=${() => { chosen.value = new Set(all ? [] : rows.map((each) => each.id)); }} /></th>
        <th>State</th><th>Operation</th><th>Progress</th><th>Age</th><th>Wait</th><th>Attempt</th><th>Tags</th><th>Job</th>
      </tr></thead>
      <tbody ref=${view.body}>
        <tr class="spacer" aria-hidden="true"><td colspan="9" style=${{ height: `${view.before}px` }}></td></tr>
        ${rows.slice(view.first, view.last).map((row, index) => html`<${Row} key=${row.id} row=${row}
          number=${view.first + index + 1} chosen=${chosen.value.has(row.id)} at=${view.first + index === at} pick=${pick} />`)}
        <tr class="spacer" aria-hidden="true"><td colspan="9" style=${{ height: `${view.after}px` }}></td></tr>
      </tbody>
    </table>
    ${!list.busy.value && !rows.length && html`<${Empty} filtered=${list.total.value === 0 && anything(filter)} />`}`;
}

const anything = (filter) => filter.states.length || filter.tags.length || filter.operation || filter.text;

function Empty({ filtered }) {
  return filtered
    ? html`<p class="empty">No job fits these filters. <a href="." data-view>Show all</a></p>`
    : html`<p class="empty">There are no jobs yet. <a href="run" data-view>Run one</a></p>`;
}

function Row({ row, number, chosen, at, pick }) {
  const finished = FINISHED.has(row.state);
  const created = ms(row.created_at);
  const waited = row.started_at ? ms(row.started_at) - created : finished ? null : now.value - created;
  const tags = Object.entries(row.tags);
  return html`<tr class=${at ? "at" : ""} aria-rowindex=${number} aria-selected=${chosen}>
    <td><input type="checkbox" aria-label=${`Select ${short(row.id)}`} checked=${chosen} onChange=${() => pick(row.id)} /></td>
    <td><span class=${`state ${row.state}`}><span aria-hidden="true">${sign(row.state)}</span> ${row.state}</span>${
      row.reason ? html` <small>${row.reason}</small>` : ""}</td>
    <td class="operation"><a href=${`jobs/${row.id}`} data-view>${row.operation}</a>${
      row.priority === "normal" ? "" : html` <small class=${row.priority}>${row.priority}</small>`}</td>
    <td class="progress"><${Progress} row=${row} finished=${finished} /></td>
    <td data-label="age">${duration(now.value - created)}</td>
    <td data-label="wait">${duration(waited)}</td>
    <td data-label="attempt">${row.attempt || "–"}</td>
    <td class="tags">${tags.slice(0, 3).map(([name, value]) => html`<span class="tag" key=${name}>${cut(`${name}:${value}`, 24)}</span>`)}${
      tags.length > 3 ? ` +${tags.length - 3}` : ""}</td>
    <td class="id"><code>${short(row.id)}</code></td>
  </tr>`;
}

function Progress({ row, finished }) {
  const told = row.progress;
  if (!told || finished) return finished && row.started_at ? duration(ms(row.finished_at) - ms(row.started_at)) : "";
  const label = told.text || (told.total ? `${told.done} of ${told.total}` : `${told.done}`);
  if (!told.total) return html`<span>${cut(label, 30)}</span>`;
  return html`<progress max=${told.total} value=${told.done} aria-label=${label}></progress>
    <small>${Math.floor((100 * told.done) / told.total)} %</small>`;
}

function Bulk({ chosen, rows, refresh }) {
  const picked = rows.filter((row) => chosen.value.has(row.id));
  const unfinished = picked.filter((row) => !FINISHED.has(row.state));
  const finished = picked.filter((row) => FINISHED.has(row.state));
  const act = async (jobs, action, done) => {
    const found = await each(jobs, (job) => action(job.id));
    const bad = found.failed ? `; ${count(found.failed)} refused: ${found.problem.message}` : "";
    notice(`${count(found.done)} ${done}${bad}`, { bad: found.failed > 0 });
    chosen.value = new Set();
    refresh();
  };
  return html`<div class="bulk" role="group" aria-label="Selected jobs">
    <span>${count(picked.length)} selected</span>
    <button type="button" disabled=${!unfinished.length} onClick=${() => act(unfinished, cancelJob, "asked to stop")}>
      Cancel ${count(unfinished.length)}</button>
    <button type="button" disabled=${!finished.length} onClick=${() => act(finished, retryJob, "submitted again")}>
      Retry ${count(finished.length)}</button>
    <button type="button" class="plain" onClick=${() => { chosen.value = new Set(); }}>Clear</button>
  </div>`;
}
