// The console's one entry: the frame, and the view that the address names.

import { html, render, useEffect } from "./preact.js";
import { Announcements } from "./announce.js";
import { Job } from "./job.js";
import { Jobs } from "./jobs.js";
import { Help, showHelp, useKeys } from "./keys.js";
import { open, route } from "./route.js";
import { Run } from "./run.js";

const TITLES = { jobs: "Jobs", run: "Run" };

function Console() {
  const { view, id, query } = route.value;
  useKeys([
    ["J", "all jobs", () => open("")],
    ["R", "run something", () => open("run")],
  ]);
  useEffect(() => {
    if (!id) document.title = `${TITLES[view] || "Narrator"} · Narrator`;
  }, [view, id]);
  const link = (name, href) =>
    html`<a href=${href} data-view aria-current=${view === name && !id ? "page" : null}>${TITLES[name]}</a>`;
  return html`
    <a class="skip" href="#main" onClick=${focusMain}>Skip to content</a>
    <header class="bar">
      <a class="brand" href="." data-view><img src="assets/icon.svg" alt="" width="24" height="24" /> Narrator</a>
      <nav aria-label="Views">${link("jobs", ".")}${link("run", "run")}</nav>
      <span class="space"></span>
      <a href="docs">API</a><a href="metrics">Metrics</a>
      <button type="button" class="plain" onClick=${showHelp} aria-label="Keys">?</button>
    </header>
    <main id="main" tabindex="-1">
      ${view === "run"
        ? html`<${Run} key=${query.toString()} query=${query} />`
        : id
          ? html`<${Job} key=${id} id=${id} />`
          : html`<${Jobs} />`}
    </main>
    <${Announcements} /><${Help} />`;
}

function focusMain(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

render(html`<${Console} />`, document.getElementById("console"));
