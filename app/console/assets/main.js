// The console's one entry: the frame, and the view that the address names.

import { html, render, useEffect } from "./preact.js";
import { Announcements } from "./announce.js";
import { Api } from "./elsewhere.js";
import { Job } from "./job.js";
import { Jobs } from "./jobs.js";
import { locked } from "./key.js";
import { Help, showHelp, useKeys } from "./keys.js";
import { Forget, Lock } from "./lock.js";
import { open, route } from "./route.js";
import { Run } from "./run.js";

const TITLES = { jobs: "Jobs", run: "Run" };

function Console() {
  const { view, id, query } = route.value;
  const closed = locked.value !== "";
  useKeys([
    ["J", "all jobs", () => open("")],
    ["R", "run something", () => open("run")],
  ]);
  useEffect(() => {
    if (!id && !closed) document.title = `${TITLES[view] || "Narrator"} · Narrator`;
  }, [view, id, closed]);
  const link = (name, href) =>
    html`<a href=${href} data-view aria-current=${view === name && !id ? "page" : null}>${TITLES[name]}</a>`;
  return html`
    <a class="skip" href="#main" onClick=${focusMain}>Skip to content</a>
    <header class="bar">
      <a class="brand" href="." data-view><img src="assets/icon.svg" alt="" width="24" height="24" /> Narrator</a>
      <nav aria-label="Views">${link("jobs", ".")}${link("run", "run")}</nav>
      <span class="space"></span>
      <${Api} href="docs" fetched="openapi.json">API</${Api}><${Api} href="metrics">Metrics</${Api}><${Forget} />
      <button type="button" class="plain" onClick=${showHelp} aria-label="Keys">?</button>
    </header>
    <main id="main" tabindex="-1">
      ${closed && html`<${Lock} />`}
      ${view === "run"
        ? html`<div hidden=${closed}><${Run} key=${query.toString()} query=${query} /></div>` // keeps what was typed
        : closed
          ? null
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
