// The story: lines in three voices, filtered by level, searched, followed or paused.

import { html, memo, useComputed, useEffect, useLayoutEffect, useRef, useSignal } from "./preact.js";
import { clock, LEVELS, MODES } from "./format.js";
import { useKeys } from "./keys.js";
import { useLight } from "./light.js";
import { ask, route } from "./route.js";

const BLOCK = 100; // lines that are drawn together, and again only when they change

export function Story({ watched }) {
  const mode = route.value.query.get("mode") || "human";
  const level = route.value.query.get("level") || "info";
  const following = useSignal(true);
  const seen = useSignal(0);
  const search = useSignal("");
  const box = useRef(null);
  const field = useRef(null);
  const top = useRef(0);
  const touched = useRef(0); // when a person last did something here
  const held = useRef(false); // paused by hand: reaching the end does not follow again
  const lines = watched.lines.value;
  const least = LEVELS.indexOf(level);
  const shown = useComputed(() => watched.lines.value.filter((line) =>
    LEVELS.indexOf(line.level) >= LEVELS.indexOf(route.value.query.get("level") || "info"))).value;
  const found = search.value
    ? shown.filter((line) => said(line, mode).toLowerCase().includes(search.value.toLowerCase()))
    : shown;

  useLayoutEffect(() => {
    if (following.value) seen.value = lines.length;
  }, [lines.length]);
  useEffect(() => {
    // Lines get their true height when they come into view: the end moves after it was reached.
    const grown = new ResizeObserver(() => {
      if (following.value && box.current) box.current.scrollTop = box.current.scrollHeight;
    });
    grown.observe(box.current.firstElementChild);
    return () => grown.disconnect();
  }, []);
  useLight(box);

  const follow = (on, { byHand = true } = {}) => {
    following.value = on;
    held.current = byHand && !on;
    if (on) {
      seen.value = watched.lines.value.length;
      box.current.scrollTop = box.current.scrollHeight;
    }
  };
  const scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = box.current;
    // Only a person's hand pauses: lines also move when their true heights become known.
    const back = scrollTop < top.current - 4 && Date.now() - touched.current < 1_000;
    top.current = scrollTop;
    const end = scrollHeight - scrollTop - clientHeight < 4;
    if (following.value && back) follow(false, { byHand: false });
    else if (!following.value && !held.current && end) follow(true);
  };
  const touch = () => {
    touched.current = Date.now();
  };
  const firstError = () => {
    follow(false);
    const line = box.current.querySelector("li.error");
    line?.scrollIntoView({ block: "center" });
    line?.focus();
  };
  useKeys([
    ["p", "pause or follow the story", () => follow(!following.value)],
    ["/", "search the story", () => field.current.focus()],
    ["f", "first error", firstError],
    ["m", "next voice: human, cute, story", () => ask({ mode: MODES[(MODES.indexOf(mode) + 1) % MODES.length] })],
    ["1 2 3 4 5", "least level: trace, debug, info, warn, error", (key) => ask({ level: LEVELS[key - 1] })],
  ], [mode]);

  const missed = following.value ? 0 : lines.length - seen.value;
  const blocks = [];
  for (let at = 0; at < found.length; at += BLOCK) blocks.push(found.slice(at, at + BLOCK));
  return html`<section class="story" aria-label="Story">
    <div class="tools">
      <h2>Story</h2>
      <div class="choice" role="radiogroup" aria-label="Voice">
        ${MODES.map((each) => html`<label key=${each}><input type="radio" name="mode" checked=${each === mode}
          onChange=${() => ask({ mode: each })} /><span>${each}</span></label>`)}
      </div>
      <label>Level <select value=${level} onChange=${(event) => ask({ level: event.target.value })}>
        ${LEVELS.map((each) => html`<option key=${each} value=${each} selected=${each === level}>${each}</option>`)}
      </select></label>
      <label class="grow"><span class="unseen">Search the story</span><input ref=${field} type="search" placeholder="Search"
        onInput=${(event) => { search.value = event.target.value; }} /></label>
      ${search.value && html`<small>${found.length} of ${shown.length}</small>`}
      <button type="button" aria-pressed=${!following.value} onClick=${() => follow(!following.value)}>
        ${following.value ? "Pause" : "Follow"}</button>
    </div>
    <div class="lines" ref=${box} onScroll=${scrolled} onWheel=${touch} onTouchMove=${touch}
      onPointerDown=${touch} onPointerMove=${(event) => event.buttons && touch()} onKeyDown=${touch} tabindex="0" role="region" aria-label="Messages">
    <ol>
      ${blocks.map((block, at) => html`<${Block} key=${at} block=${block} size=${block.length} first=${block[0].seq}
        mode=${mode} search=${search.value} />`)}
      ${!found.length && html`<li class="none">${none(watched, shown, least, search.value)}</li>`}
    </ol></div>
    ${missed > 0 && html`<button type="button" class="more" onClick=${() => follow(true)}>
      ${missed} new ${missed === 1 ? "line" : "lines"} ↓</button>`}
  </section>`;
}

function none(watched, shown, least, search) {
  if (search) return `Nothing here says “${search}”.`;
  if (watched.lines.value.length) return `Nothing at this level yet: ${watched.lines.value.length} lines are below ${LEVELS[least]}.`;
  return "Nothing has been told yet.";
}

const said = (line, mode) => `${line.actor || ""} ${line.action || ""} ${(mode !== "human" && line[mode]) || line.text}`;

const same = (old, next) =>
  old.size === next.size && old.first === next.first && old.mode === next.mode && old.search === next.search &&
  old.block.at(-1).seq === next.block.at(-1).seq;

const Block = memo(
  ({ block, mode, search }) => block.map((line) => html`<${Line} key=${line.seq} line=${line} mode=${mode} search=${search} />`),
  same,
);

function Line({ line, mode, search }) {
  const text = (mode !== "human" && line[mode]) || line.text;
  const trouble = line.fields?.["exception.stacktrace"];
  return html`<li class=${`line ${line.level} ${line.kind}`} data-span=${line.span_id} data-at=${line.ms} tabindex="-1">
    ${line.at ? html`<time datetime=${line.at}>${clock(line.at)}</time>` : html`<time></time>`}
    <span class="actor">${line.actor}</span>
    <span class="action">${line.action}</span>
    <span class="text"><span class="unseen">${line.level === "info" ? "" : `${line.level}: `}</span>${marked(text, search)}${
      trouble && html`<details><summary>traceback</summary><pre>${trouble}</pre></details>`}</span>
  </li>`;
}

/** `text` with each place of `search` marked. */
function marked(text, search) {
  if (!search) return text;
  const parts = [];
  const lower = text.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(search.toLowerCase()); at >= 0; at = lower.indexOf(search.toLowerCase(), from)) {
    parts.push(text.slice(from, at), html`<mark>${text.slice(at, at + search.length)}</mark>`);
    from = at + search.length;
  }
  return [...parts, text.slice(from)];
}
