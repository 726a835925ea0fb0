// One job as it is told: its record, its story, its output and its spans, kept true while it runs.
//
// Knows nothing of how any of it looks. Changes are gathered for a frame, so that a burst of
// messages is one change of the page.

import { batch, signal } from "./preact.js";
import { announce } from "./announce.js";
import { get } from "./api.js";
import { follow } from "./follow.js";
import { FINISHED, ms } from "./format.js";

const TRACE_MS = 700; // between two looks at the spans
const KEPT_LINES = 20_000;

export function watchJob(id) {
  const record = signal(null);
  const lines = signal([]);
  const output = signal([]);
  const spans = signal([]);
  const status = signal("connecting");
  const problem = signal(null);
  const waiting = []; // events that the next frame takes
  let stopFollowing = () => {};
  let frame = 0;
  let traceTimer = 0;
  let traceDue = 0;
  let recordTimer = 0;
  let skew = Infinity; // this machine's clock minus the server's, milliseconds
  let stopped = false;

  async function readTrace() {
    traceTimer = 0;
    try {
      spans.value = flat((await get(`v1/jobs/${id}/trace`)).spans);
    } catch {
      // The story goes on without it.
    }
    const state = record.value?.state;
    if (!stopped && (state === "running" || state === "cancelling")) lookAtTrace(4 * TRACE_MS);
  }

  function lookAtTrace(after = TRACE_MS) {
    const due = Date.now() + after;
    if (stopped || (traceTimer && traceDue <= due)) return;
    clearTimeout(traceTimer);
    traceDue = due;
    traceTimer = setTimeout(readTrace, after);
  }

  async function readRecord() {
    recordTimer = 0;
    try {
      record.value = await get(`v1/jobs/${id}`);
      problem.value = null;
    } catch (error) {
      problem.value = error;
    }
  }

  function lookAtRecord() {
    if (!recordTimer && !stopped) recordTimer = setTimeout(readRecord, 150);
  }

  function take() {
    frame = 0;
    const said = [];
    const put = [];
    let next = record.value;
    for (const { event, data } of waiting.splice(0)) {
      if (data.at) skew = Math.min(skew, Date.now() - ms(data.at));
      if (event === "narration") {
        said.push({ ...data, ms: ms(data.at) });
        if (data.kind === "span_start" || data.kind === "span_end") lookAtTrace();
      } else if (event === "output") {
        put.push(data);
      } else if (event === "progress") {
        next = next && { ...next, progress: data };
      } else if (event === "state") {
        next = next && { ...next, state: data.state, attempt: data.attempt, next_retry_at: data.next_retry_at };
        lookAtRecord();
        lookAtTrace(50);
      } else if (event === "gap") {
        said.push({ kind: "gap", level: "warn", text: gapText(data), seq: `gap-${data.from}` });
      } else if (event === "draining") {
        said.push({ kind: "gap", level: "warn", text: "The server is shutting down.", seq: "draining" });
      } else if (event === "end") {
        said.push({ kind: "end", level: data.state === "failed" ? "error" : "info", text: data.marker,
          seq: data.seq, at: data.at, ms: ms(data.at) });
        next = next && { ...next, state: data.state, result: data.result, failure: data.failure };
        announce(`The job is ${data.state}`);
        lookAtRecord();
        lookAtTrace(50);
      }
    }
    batch(() => {
      if (said.length) lines.value = [...lines.value, ...said].slice(-KEPT_LINES);
      if (put.length) output.value = [...output.value, ...put];
      record.value = next;
    });
  }

  const onEvent = (event) => {
    waiting.push(event);
    // A hidden page gets no frames.
    frame ||= document.hidden ? setTimeout(take, 250) : requestAnimationFrame(take);
  };

  function begin() {
    stopFollowing();
    stopFollowing = follow(`v1/jobs/${id}/stream`, {
      onEvent,
      onStatus: (each) => {
        if (each !== status.value && (each === "broken" || each === "polling")) {
          announce("The stream broke; it is being resumed.");
        }
        status.value = each;
      },
    });
  }

  readRecord().then(() => {
    if (problem.value?.status === 404) status.value = "gone";
    else if (problem.value?.status === 401 || problem.value?.status === 403) status.value = "refused";
    else if (record.value && isDeferred(record.value)) status.value = "deferred";
    else begin();
    readTrace();
  });

  return {
    record, lines, output, spans, status, problem, begin, readRecord,
    /** The server's time now, milliseconds. */
    now: () => Date.now() - (skew === Infinity ? 0 : skew),
    stop() {
      stopped = true;
      stopFollowing();
      clearTimeout(traceTimer);
      clearTimeout(recordTimer);
    },
  };
}

/** A job that begins with its first reader: looking at it must not start it. */
const isDeferred = (record) => record.state === "queued" && record.queue_position === null && !record.attempts.length;

const gapText = ({ from, to, reason }) =>
  from ? `Events ${from} to ${to} are missing: ${reason}.` : `The story begins anew: ${reason}.`;

/** The tree as rows in reading order, each with its depth and times in milliseconds. */
function flat(tree, depth = 0, found = []) {
  for (const span of tree) {
    const children = span.children || [];
    found.push({ ...span, depth, from: ms(span.start), to: ms(span.end), parent: children.length > 0 });
    flat(children, depth + 1, found);
  }
  return found;
}

export const isOver = (record) => FINISHED.has(record.state);
