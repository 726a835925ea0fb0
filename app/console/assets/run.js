// The view that runs an operation: its form is made of its JSON Schema; or a job again, with edits.

import { html, useEffect, useRef, useSignal } from "./preact.js";
import { notice, settle } from "./announce.js";
import { call, get, retryJob } from "./api.js";
import { Field, plain, read, written } from "./fields.js";
import { PRIORITIES } from "./format.js";
import { entered } from "./key.js";
import { useKeys } from "./keys.js";
import { open } from "./route.js";

export function Run({ query }) {
  const operations = useSignal(null);
  const before = useSignal(null); // the job that is run again
  const problem = useSignal("");
  const again = query.get("again");
  useEffect(() => {
    const load = async () => {
      const found = (await get("v1/operations")).operations;
      if (again) before.value = await get(`v1/jobs/${again}`);
      operations.value = found;
    };
    problem.value = "";
    if (!operations.value) load().catch((error) => { problem.value = error.message; });
  }, [entered.value]);
  if (problem.value) return html`<p class="empty problem" role="alert">${problem.value}</p>`;
  if (!operations.value) return html`<p class="empty">Loading …</p>`;
  const name = before.value?.operation || query.get("operation") || operations.value[0]?.name;
  const operation = operations.value.find((each) => each.name === name);
  if (!operation) {
    return html`<p class="empty problem" role="alert">${name ? `There is no operation ${name} here.` : "No operations are served."}
      <a href="run" data-view>Choose another</a></p>`;
  }
  return html`<div class="run">
    <h1>${again ? "Run again, with edits" : "Run"}</h1>
    <div class="runsides">
      ${!again && html`<nav aria-label="Operations" class="operations">${operations.value.map((each) => html`
        <a key=${each.name} href=${`run?operation=${encodeURIComponent(each.name)}`} data-view
          aria-current=${each.name === name ? "true" : null}><strong>${each.name}</strong><span>${each.summary}</span></a>`)}</nav>`}
      <${Form} key=${name} operation=${operation} before=${before.value} />
    </div></div>`;
}

function start(operation, before) {
  const texts = {};
  for (const [name, schema] of Object.entries(operation.schema.properties || {})) {
    texts[name] = before ? written(before.params[name], plain(schema, operation.schema).schema) : "";
  }
  return texts;
}

function Form({ operation, before }) {
  const texts = useSignal(start(operation, before));
  const errors = useSignal({});
  const options = useSignal({ priority: before?.priority || "normal", tags: tagText(before), timeout: "", attempts: "" });
  const sending = useSignal(false);
  const form = useRef(null);
  const properties = Object.entries(operation.schema.properties || {}).map(([name, given]) => ({
    name, ...plain(given, operation.schema), required: (operation.schema.required || []).includes(name),
  }));
  useKeys([["i", "go to the first field", () => form.current.querySelector("input, textarea, select")?.focus()]]);

  const submit = async (event) => {
    event.preventDefault();
    const params = {};
    const wrong = {};
    for (const { name, schema } of properties) {
      const { value, error } = read(texts.value[name], schema);
      if (error) wrong[name] = error;
      else if (value !== undefined) params[name] = value;
      // A job that is run again keeps what is not named: an emptied field asks for its default.
      else if (before && name in before.params && "default" in schema) params[name] = schema.default;
    }
    errors.value = wrong;
    if (Object.keys(wrong).length) return showFirst();
    sending.value = true;
    try {
      const body = submission(params, options.value);
      const job = before ? await retryJob(before.id, body) : await call("POST", "v1/jobs", { operation: operation.name, ...body });
      settle();
      open(`jobs/${job.id}`);
    } catch (problem) {
      errors.value = told(problem, properties);
      notice(problem.message, { bad: true });
      sending.value = false;
      showFirst();
    }
  };
  const showFirst = () => requestAnimationFrame(() => form.current?.querySelector("[aria-invalid=true]")?.focus());
  const option = (name) => (event) => { options.value = { ...options.value, [name]: event.target.value }; };
  return html`<form ref=${form} onSubmit=${submit} noValidate>
    <h2>${operation.name}</h2>
    ${paragraphs(operation.description)}
    ${properties.map(({ name, schema, required }) => html`<${Field} key=${name} name=${name} schema=${schema} required=${required}
      text=${texts.value[name]} error=${errors.value[name]} onText=${(text) => { texts.value = { ...texts.value, [name]: text }; }} />`)}
    ${!properties.length && html`<p class="minor">It takes no parameters.</p>`}
    <details class="options" open=${Boolean(errors.value[""])}><summary>Options</summary>
      <div class="field"><label for="o-priority">priority</label><select id="o-priority" onChange=${option("priority")}>
        ${PRIORITIES.map((each) => html`<option key=${each} selected=${each === options.value.priority}>${each}</option>`)}</select></div>
      <div class="field"><label for="o-tags">tags</label><input id="o-tags" type="text" placeholder="key:value key:value"
        value=${options.value.tags} onInput=${option("tags")} /></div>
      <div class="field"><label for="o-timeout">timeout of an attempt, seconds</label><input id="o-timeout" type="number" min="0" step="any"
        value=${options.value.timeout} onInput=${option("timeout")} /></div>
      <div class="field"><label for="o-attempts">attempts at most</label><input id="o-attempts" type="number" min="1" step="1"
        value=${options.value.attempts} onInput=${option("attempts")} /></div>
    </details>
    ${errors.value[""] && html`<p class="wrong" role="alert">${errors.value[""]}</p>`}
    <button type="submit" class="primary" disabled=${sending.value}>${before ? "Run again" : "Run"} ${operation.name}</button>
  </form>`;
}

/** A docstring: lines are joined to paragraphs, and what is in backticks is code. */
const paragraphs = (text) => text.split(/\n\s*\n/).map((each, at) => html`<p class="description" key=${at}>${
  each.split("`").map((part, odd) => (odd % 2 ? html`<code>${part}</code>` : part))}</p>`);

const tagText = (before) => Object.entries(before?.tags || {}).map(([name, value]) => `${name}:${value}`).join(" ");

function submission(params, { priority, tags, timeout, attempts }) {
  const body = { params, priority };
  const pairs = tags.split(/\s+/).filter(Boolean).map((each) => {
    const at = each.indexOf(":");
    return at < 0 ? [each, ""] : [each.slice(0, at), each.slice(at + 1)];
  });
  body.tags = Object.fromEntries(pairs);
  if (timeout) body.timeout_s = Number(timeout);
  if (attempts) body.retry = { max_attempts: Number(attempts) };
  return body;
}

/** What the server found wrong, by field; what belongs to none is under "". */
function told(problem, properties) {
  const names = new Set(properties.map((each) => each.name));
  const found = {};
  for (const { loc, message } of problem.errors) {
    const name = (loc || []).find((part) => names.has(part));
    const key = name || "";
    const where = name ? "" : `${(loc || []).join(".")}: `;
    found[key] = found[key] ? `${found[key]} ${where}${message}` : `${where}${message}`;
  }
  if (!problem.errors.length) found[""] = problem.message;
  return found;
}
