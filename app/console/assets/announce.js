// What screen readers are told, politely, and what everybody sees for a while: one line at a time.

import { html, signal } from "./preact.js";

const said = signal("");
const shown = signal(null);
let timer = 0;

/** Tell it to screen readers. */
export function announce(text) {
  said.value = text;
}

/** Show it at the foot of the page for a while, and tell it; `bad` is for what went wrong. */
export function notice(text, { bad = false } = {}) {
  announce(text);
  shown.value = { text, bad };
  clearTimeout(timer);
  timer = setTimeout(() => {
    shown.value = null;
  }, bad ? 12_000 : 5_000);
}

/** Take away what is shown: it was about something that is over. */
export function settle() {
  shown.value = null;
}

export function Announcements() {
  return html`
    <div class="unseen" role="status" aria-live="polite">${said.value}</div>
    ${shown.value && html`<p class=${`notice ${shown.value.bad ? "bad" : ""}`}>${shown.value.text}</p>`}`;
}
