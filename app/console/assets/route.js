// The address bar: which view is open, and what it was asked to show.

import { signal } from "./preact.js";
import { url } from "./api.js";

const base = new URL(document.baseURI).pathname;

function read() {
  const path = location.pathname.startsWith(base) ? location.pathname.slice(base.length) : "";
  const [view, id] = path.split("/");
  return { view: view || "jobs", id: id && decodeURIComponent(id), query: new URLSearchParams(location.search) };
}

/** The open view: {view, id, query}. */
export const route = signal(read());

addEventListener("popstate", () => {
  route.value = read();
});

/** Open `path` (relative to where the console is); `replace` leaves no entry in the history. */
export function open(path, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", url(path));
  route.value = read();
  if (!replace) scrollTo(0, 0);
}

/** Change the address's query without going anywhere; empty values are left out. */
export function ask(changes) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name);
    for (const each of [value].flat()) if (each) query.append(name, each);
  }
  const text = query.toString();
  history.replaceState(null, "", location.pathname + (text && `?${text}`));
  route.value = read();
}

/** A link within the console is followed without loading the page again. */
addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-view]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  open(link.getAttribute("href"));
});
