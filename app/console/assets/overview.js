// The server in numbers: slots in use, and depth and oldest age of each priority as small charts.

import { effect, html, signal, useEffect } from "./preact.js";
import { get } from "./api.js";
import { count, duration, PRIORITIES } from "./format.js";
import { hasKey } from "./key.js";

const EVERY_MS = 2_000;
const KEPT = 90; // three minutes

const history = signal([]);

effect(() => {
  if (!hasKey.value) history.value = []; // the next key may be another tenant's
});

async function look() {
  if (document.hidden) return;
  try {
    const found = await get("v1/overview");
    history.value = [...history.value.slice(1 - KEPT), found];
  } catch {
    // The list below says that the server does not answer.
  }
}

const sum = (counts) => Object.values(counts).reduce((total, each) => total + each, 0);

export function Overview() {
  useEffect(() => {
    look();
    const timer = setInterval(look, EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  const newest = history.value.at(-1);
  if (!newest) return html`<section class="overview" aria-busy="true"></section>`;
  const running = sum(newest.running);
  return html`<section class="overview" aria-label="The queue now">
    <div class="tile">
      <h2>Running</h2>
      <p class="figure">${count(running)} <small>of ${count(newest.slots)} slots</small></p>
      <meter min="0" max=${newest.slots} value=${running} aria-label="Slots in use"></meter>
      <p class="minor">${count(sum(newest.retrying))} wait for a retry, ${count(newest.deferred)} for a stream${
        newest.draining ? " · draining" : ""}</p>
    </div>
    ${PRIORITIES.map((name) => html`<${Priority} key=${name} name=${name} newest=${newest.queue[name]} />`)}
  </section>`;
}

function Priority({ name, newest }) {
  const past = history.value.map((each) => each.queue[name]);
  return html`<div class=${`tile ${newest.depth ? "" : "idle"}`}>
    <h2>${name}</h2>
    <p class="figure">${count(newest.depth)} <small>queued</small></p>
    <${Chart} values=${past.map((each) => each.depth)} label=${`Depth of ${name}: ${newest.depth}`} />
    <p class="minor">oldest ${newest.depth ? duration(newest.oldest_age_s * 1_000) : "–"}</p>
    <${Chart} values=${past.map((each) => each.oldest_age_s)} kind="age"
      label=${`Oldest age of ${name}: ${Math.round(newest.oldest_age_s)} seconds`} />
  </div>`;
}

const WIDTH = 120;
const HEIGHT = 24;

function Chart({ values, label, kind = "depth" }) {
  const top = Math.max(1, ...values);
  const step = WIDTH / (KEPT - 1);
  const from = WIDTH - (values.length - 1) * step;
  const points = values.map((value, at) => {
    const y = HEIGHT - 1 - (value / top) * (HEIGHT - 2);
    return `${(from + at * step).toFixed(1)},${y.toFixed(1)}`;
  });
  return html`<svg class=${`chart ${kind}`} viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none"
      role="img" aria-label=${label}>
    <polyline points=${points.join(" ")} /></svg>`;
}
