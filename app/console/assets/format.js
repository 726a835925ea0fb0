// How times, amounts and states are written. Knows no page.

import { signal } from "./preact.js";

/** The time of day of this page, milliseconds, once a second: what shows an age reads it. */
export const now = signal(Date.now());
setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1_000);

export const STATES = ["queued", "running", "retrying", "cancelling", "completed", "failed", "cancelled"];
export const PRIORITIES = ["critical", "high", "normal", "low"];
export const LEVELS = ["trace", "debug", "info", "warn", "error"];
export const MODES = ["human", "cute", "story"];
export const FINISHED = new Set(["completed", "failed", "cancelled"]);

const SIGNS = {
  queued: "○", running: "▶", retrying: "↻", cancelling: "◌",
  completed: "✓", failed: "✕", cancelled: "⊘",
};

/** A sign for a state, so that it is not told by its colour alone. */
export const sign = (state) => SIGNS[state] || "•";

/** Milliseconds since the epoch of an RFC 3339 time, with a fraction. */
export function ms(text) {
  if (!text) return null;
  const fraction = /\.(\d{3})(\d+)/.exec(text);
  return Date.parse(text) + (fraction ? Number(`0.${fraction[2]}`) : 0);
}

/** A length of time, three figures at most. */
export function duration(milliseconds) {
  if (milliseconds === null || Number.isNaN(milliseconds)) return "–";
  const s = Math.max(0, milliseconds) / 1_000;
  if (s < 0.001) return `${Math.round(s * 1e6)} µs`;
  if (s < 1) return `${(s * 1e3).toPrecision(s < 0.1 ? 2 : 3)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${Math.floor((s % 3_600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3_600)} h`;
}

/** A time of day, to the millisecond. */
export function clock(text) {
  const date = new Date(text);
  const two = (number) => String(number).padStart(2, "0");
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
  return `${time}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

export const short = (id) => id.slice(0, 8);
export const count = (number) => number.toLocaleString("en");
export const json = (value) => JSON.stringify(value, null, 2);

/** `text`, at most `length` characters. */
export const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
