// Following a stream for as long as its page is open: it resumes by itself, and says how it stands.
//
// It reads with fetch, not EventSource, since only so are heartbeats seen: a connection on which
// nothing comes, such as one behind a proxy that buffers, is given up and polled instead.

import { ask } from "./api.js";
import { Parser } from "./sse.js";

const SILENCE_MS = 40_000; // heartbeats come every 15 seconds by default
const POLL_MS = 2_000;
const POLLS = 15; // then the stream is tried again
const LONGEST_WAIT_MS = 15_000;
const LAST = { 404: "gone", 401: "refused", 403: "refused" }; // answers after which nothing comes

/**
 * Follow `path`. `onEvent({event, data, id})` gets each event with its data parsed; `onStatus` one
 * of "connecting", "live", "broken", "polling", "ended", "gone", "refused" (the key does not allow it).
 * Returns a function that stops it.
 */
export function follow(path, { onEvent, onStatus, silenceMs = SILENCE_MS }) {
  const state = { lastId: "", failures: 0, retry: 2_000, stopped: false, abort: null, timer: 0 };
  let wake = () => {};

  const pause = (ms) =>
    new Promise((resolve) => {
      wake = resolve;
      state.timer = setTimeout(resolve, ms);
    });

  const take = ({ event, data, id }) => {
    state.lastId = id || state.lastId;
    state.failures = 0;
    onEvent({ event, id, data: JSON.parse(data) });
    return event === "end";
  };

  /** Read until the answer ends; whether the story has, or why there will be none. */
  async function read(address, onText) {
    const headers = { accept: "text/event-stream" };
    if (state.lastId) headers["last-event-id"] = state.lastId;
    state.abort = new AbortController();
    let ended = false;
    const parser = new Parser((each) => {
      ended = take(each) || ended;
    });
    let silence = setTimeout(() => state.abort.abort(), silenceMs);
    try {
      const answer = await ask(address, { headers, signal: state.abort.signal, cache: "no-store" });
      if (answer.status === 204) return true;
      if (answer.status in LAST) return LAST[answer.status];
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        clearTimeout(silence);
        silence = setTimeout(() => state.abort.abort(), silenceMs);
        onText();
        parser.feed(value);
      }
    } finally {
      clearTimeout(silence);
      state.retry = parser.retry ?? state.retry;
    }
    return ended;
  }

  async function polled() {
    for (let turn = 0; turn < POLLS && !state.stopped; turn += 1) {
      onStatus("polling");
      try {
        const ended = await read(`${path}${path.includes("?") ? "&" : "?"}follow=false`, () => {});
        if (ended) return ended;
      } catch {
        return false; // nothing gets through: the stream is tried again
      }
      await pause(POLL_MS);
    }
    return false;
  }

  async function run() {
    onStatus("connecting");
    while (!state.stopped) {
      let ended = false;
      try {
        ended = await read(path, () => onStatus("live"));
      } catch {
        state.failures += 1;
      }
      if (state.stopped) return;
      if (!ended && state.failures > 1) ended = await polled();
      if (ended) return onStatus(ended === true ? "ended" : ended);
      if (state.stopped) return;
      onStatus("broken");
      await pause(Math.min(LONGEST_WAIT_MS, state.retry * Math.max(1, state.failures)));
    }
  }

  run();
  return () => {
    state.stopped = true;
    clearTimeout(state.timer);
    state.abort?.abort();
    wake();
  };
}
