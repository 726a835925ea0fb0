// The job's spans on one time line, while they run: attempts as bands, waits and backoffs as gaps.

import { html, signal, useEffect, useRef, useSignal } from "./preact.js";
import { clock, duration, ms } from "./format.js";
import { useKeys } from "./keys.js";
import { lit, useLight } from "./light.js";
import { isOver } from "./watch.js";

const still = matchMedia("(prefers-reduced-motion: reduce)");
const SHOWN = 400; // rows at once; the rest is said

/** Counts up while something runs, so that running spans grow. */
const beat = signal(0);

export function Waterfall({ watched }) {
  const record = watched.record.value;
  const shut = useSignal(new Set());
  const chosen = useSignal(null);
  const box = useRef(null);
  const running = record && !isOver(record);
  useEffect(() => {
    if (!running) return undefined;
    const timer = setInterval(() => { beat.value += 1; }, still.matches ? 2_000 : 200);
    return () => clearInterval(timer);
  }, [running]);
  useLight(box);
  const spans = watched.spans.value;
  useKeys([
    ["e", "expand all spans", () => { shut.value = new Set(); }],
    ["c", "collapse all spans", () => { shut.value = new Set(spans.filter((each) => each.parent && each.depth).map((each) => each.span_id)); }],
  ], [spans]);
  if (running) void beat.value; // read, so that each beat draws it anew
  const now = watched.now();
  const from = record ? Math.min(ms(record.created_at), ...spans.map((each) => each.from)) : 0;
  const to = Math.max(from + 1, running ? now : 0, ...spans.map((each) => each.to ?? (running ? now : each.from)));
  const scale = { from, length: to - from, now: running ? now : to };
  const rows = visible(spans, shut.value);
  const toggle = (id) => {
    const copy = new Set(shut.value);
    if (!copy.delete(id)) copy.add(id);
    shut.value = copy;
  };
  return html`<section class="waterfall" aria-label="Trace">
    <div class="tools"><h2>Trace</h2>
      <small>${spans.length} ${spans.length === 1 ? "span" : "spans"}, ${duration(scale.length)}</small>
      ${record?.state === "retrying" && html`<${Countdown} due=${ms(record.next_retry_at)} now=${now} attempt=${record.attempt + 1} />`}
    </div>
    <div class="spans" ref=${box}>
      <${Scale} scale=${scale} />
      <div class="bands" aria-hidden="true">${spans.filter((each) => each.name === "job.attempt").map((each, at) =>
        html`<i key=${each.span_id} class=${at % 2 ? "band odd" : "band"} style=${place(each, scale)}></i>`)}
        <${Cursor} scale=${scale} /></div>
      <ol role="tree" aria-label="Spans">
        ${rows.slice(0, SHOWN).map((span) => html`<${Span} key=${span.span_id} span=${span} scale=${scale}
          open=${span.parent ? !shut.value.has(span.span_id) : null} toggle=${toggle} chosen=${chosen} />`)}
        ${record?.state === "retrying" && html`<li class="span" role="treeitem"><span class="name" style=${{ paddingInlineStart: "1.2rem" }}>backoff</span>
          <span class="track"><i class="mark backoff growing" style=${place(backoff(record, scale), scale)}></i></span></li>`}
      </ol>
      ${rows.length > SHOWN && html`<p class="minor">${rows.length - SHOWN} more spans are in the file below.</p>`}
    </div>
    ${chosen.value && html`<${Details} span=${spans.find((each) => each.span_id === chosen.value)} close=${() => { chosen.value = null; }} />`}
  </section>`;
}

/** The wait of a job that is retrying: from the end of its last attempt until now. */
function backoff(record, scale) {
  const last = record.attempts.at(-1);
  return { from: ms(last?.finished_at) ?? scale.now, to: scale.now };
}

function visible(spans, shut) {
  const rows = [];
  let hiddenBelow = Infinity;
  for (const span of spans) {
    if (span.depth > hiddenBelow) continue;
    hiddenBelow = shut.has(span.span_id) ? span.depth : Infinity;
    rows.push(span);
  }
  return rows;
}

function place(span, { from, length, now }) {
  const left = (100 * (span.from - from)) / length;
  const width = (100 * Math.max(0, (span.to ?? now) - span.from)) / length;
  return { insetInlineStart: `${left.toFixed(3)}%`, inlineSize: `max(2px, ${width.toFixed(3)}%)` };
}

const MARKS = { "job.wait": "wait", "job.backoff": "backoff", "job.attempt": "attempt" };

function Span({ span, scale, open, toggle, chosen }) {
  const growing = span.to === null;
  const took = (span.to ?? scale.now) - span.from;
  const kind = MARKS[span.name] || (span.depth ? "own" : "job");
  const bad = span.status.code === "error";
  const choose = () => { chosen.value = chosen.value === span.span_id ? null : span.span_id; };
  const keys = (event) => {
    if (event.key === "ArrowRight" && open === false) toggle(span.span_id);
    else if (event.key === "ArrowLeft" && open) toggle(span.span_id);
    else if (event.key === "Enter" || event.key === " ") choose();
    else if (event.key === "ArrowDown") event.currentTarget.nextElementSibling?.focus();
    else if (event.key === "ArrowUp") event.currentTarget.previousElementSibling?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return html`<li class=${`span ${bad ? "bad" : ""}`} role="treeitem" aria-level=${span.depth + 1} aria-expanded=${open}
      aria-selected=${chosen.value === span.span_id} tabindex="0" data-span=${span.span_id} onKeyDown=${keys} onClick=${choose}>
    <span class="name" style=${{ paddingInlineStart: `${0.4 + span.depth * 0.8}rem` }}>
      ${open === null ? html`<i class="twist"></i>` : html`<button type="button" class="twist" tabindex="-1" aria-label=${open ? "Collapse" : "Expand"}
        onClick=${(event) => { event.stopPropagation(); toggle(span.span_id); }}>${open ? "▾" : "▸"}</button>`}
      ${bad && html`<span class="unseen">failed: </span>`}${label(span)}</span>
    <span class="track"><i class=${`mark ${kind} ${growing ? "growing" : ""} ${bad ? "bad" : ""}`} style=${place(span, scale)}></i>${
      span.events.slice(0, 50).map((event, at) => html`<i key=${at} class="tick" style=${{ insetInlineStart: `${(100 * (ms(event.at) - scale.from)) / scale.length}%` }}></i>`)}</span>
    <span class="took">${duration(took)}${growing ? " …" : ""}</span>
  </li>`;
}

function label(span) {
  const attempt = span.attributes["job.attempt"];
  if (span.name === "job.attempt") return `attempt ${attempt}`;
  if (span.name === "job.wait") return "wait";
  if (span.name === "job.backoff") return "backoff";
  return span.name;
}

function Scale({ scale }) {
  const marks = [0, 0.25, 0.5, 0.75, 1];
  return html`<div class="scale" aria-hidden="true">${marks.map((at) =>
    html`<i key=${at} style=${{ insetInlineStart: `${at * 100}%` }}>${at ? duration(scale.length * at) : 0}</i>`)}</div>`;
}

/** Where the line of the story that is pointed at was said. */
function Cursor({ scale }) {
  const { at } = lit.value;
  if (at === null) return null;
  return html`<i class="cursor" style=${{ insetInlineStart: `${(100 * (at - scale.from)) / scale.length}%` }}></i>`;
}

function Countdown({ due, now, attempt }) {
  return html`<span class="countdown" role="timer">attempt ${attempt} in ${duration(Math.max(0, due - now))}</span>`;
}

function Details({ span, close }) {
  if (!span) return null;
  const attributes = Object.entries(span.attributes);
  return html`<div class="details" role="region" aria-label=${`Span ${span.name}`}>
    <div class="tools"><h3>${span.name}</h3><small>${span.kind} · ${span.scope}</small>
      <button type="button" class="plain" onClick=${close} aria-label="Close">✕</button></div>
    <dl>
      <dt>began</dt><dd>${clock(span.start)}</dd>
      <dt>took</dt><dd>${span.to === null ? "still running" : duration(span.to - span.from)}</dd>
      <dt>status</dt><dd>${span.status.code}${span.status.description ? `: ${span.status.description}` : ""}</dd>
      <dt>span</dt><dd><code>${span.span_id}</code></dd>
      ${attributes.map(([name, value]) => html`<dt key=${name}>${name}</dt><dd>${typeof value === "string" ? value : JSON.stringify(value)}</dd>`)}
    </dl>
    ${span.events.length > 0 && html`<h4>Events</h4><ol class="events">${span.events.map((event, at) =>
      html`<li key=${at}><time>${clock(event.at)}</time> ${event.name}</li>`)}</ol>`}
  </div>`;
}
