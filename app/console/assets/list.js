// The jobs that the table shows: pages of the list, kept true by the stream of all jobs.
//
// A change of a known job is merged into its row at once; a new job asks for the first page again,
// once a second at most. Knows nothing of how rows look.

import { batch, signal } from "./preact.js";
import { announce } from "./announce.js";
import { get } from "./api.js";
import { follow } from "./follow.js";
import { FINISHED } from "./format.js";

const PAGE = 100;
const SETTLE_MS = 1_000;
const PROGRESS_MS = 2_000; // how often the rows of running jobs are asked for their progress

export function jobList(filter) {
  const rows = signal([]);
  const total = signal(0);
  const status = signal("connecting");
  const problem = signal(null);
  const busy = signal(true);
  let next = null;
  let loading = false;
  let timer = 0;
  let stopped = false;

  const address = (more) => {
    const query = new URLSearchParams();
    for (const each of filter.states) query.append("state", each);
    for (const each of filter.tags) query.append("tag", each);
    if (filter.operation) query.set("operation", filter.operation);
    if (filter.text) query.set("text", filter.text);
    for (const [name, value] of Object.entries(more)) query.set(name, value);
    return `v1/jobs?${query}`;
  };

  const shows = (row) => !filter.states.length || filter.states.includes(row.state);

  const merge = (page) => {
    const known = new Set(page.jobs.map((each) => each.id));
    const last = page.jobs.at(-1);
    // What is older than this page stays; what the page should have held and does not is gone.
    const older = page.next && last
      ? rows.value.filter((each) => !known.has(each.id) && each.created_at < last.created_at)
      : [];
    batch(() => {
      rows.value = [...page.jobs, ...older];
      total.value = page.total;
      if (!older.length) next = page.next;
      problem.value = null;
      busy.value = false;
    });
  };

  async function refresh() {
    timer = 0;
    if (stopped) return;
    if (document.hidden) return later();
    try {
      merge(await get(address({ limit: PAGE })));
    } catch (error) {
      problem.value = error.message;
      busy.value = false;
      if (error.status === 403) clearInterval(progress); // the key does not allow it
    }
  }

  function later(ms = SETTLE_MS) {
    if (!timer && !stopped) timer = setTimeout(refresh, ms);
  }

  async function more() {
    if (!next || loading) return;
    loading = true;
    try {
      const page = await get(address({ limit: PAGE, cursor: next }));
      const known = new Set(rows.value.map((each) => each.id));
      batch(() => {
        rows.value = [...rows.value, ...page.jobs.filter((each) => !known.has(each.id))];
        total.value = page.total;
      });
      next = page.next;
    } catch (error) {
      problem.value = error.message;
    }
    loading = false;
  }

  const changed = ({ event, data }) => {
    if (event === "gap") return later(0);
    if (event !== "state") return;
    const at = rows.value.findIndex((each) => each.id === data.job_id);
    if (at < 0) return later();
    const row = { ...rows.value[at], state: data.state, reason: data.reason, attempt: data.attempt,
      next_retry_at: data.next_retry_at };
    if (data.state === "running") row.started_at ??= data.at;
    if (FINISHED.has(data.state)) {
      row.finished_at = data.at;
      if (row.tracked) announce(`${row.operation} ${data.state}`);
    }
    const copy = [...rows.value];
    if (shows(row)) copy[at] = row;
    else copy.splice(at, 1);
    rows.value = copy;
    later();
  };

  const stop = follow("v1/stream?tail=0", { onEvent: changed, onStatus: (each) => {
    if (each === "live" && status.value === "broken") later(0);
    status.value = each;
  } });
  const progress = setInterval(() => {
    const live = rows.value.slice(0, PAGE).some((each) => each.state === "running");
    if (live || status.value !== "live") later(0);
  }, PROGRESS_MS);
  refresh();

  return {
    rows, total, status, problem, busy, more, refresh,
    stop() {
      stopped = true;
      stop();
      clearTimeout(timer);
      clearInterval(progress);
    },
  };
}
