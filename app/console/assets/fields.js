// A form field for each property of a JSON Schema, and the value that a person has put into it.
//
// What has no field of its own (objects, nested lists) is written as JSON. An empty field is left
// out, so that the operation's own default holds.

import { html } from "./preact.js";

/** The schema without `null` and without references, and whether null is allowed. */
export function plain(schema, root) {
  let found = schema;
  if (found.$ref) found = { ...root.$defs?.[found.$ref.split("/").at(-1)], ...found };
  if (found.allOf?.length === 1) found = { ...plain(found.allOf[0], root).schema, ...found };
  const options = found.anyOf || found.oneOf;
  if (!options) return { schema: found, nullable: false };
  const real = options.filter((each) => each.type !== "null");
  const nullable = real.length < options.length;
  if (real.length === 1) return { schema: { ...found, ...plain(real[0], root).schema }, nullable };
  return { schema: { ...found, type: undefined }, nullable };
}

const isLines = (schema) => schema.type === "array" && schema.items?.type === "string";

/** What a field shows for `value`. */
export function written(value, schema) {
  if (value === undefined || value === null) return "";
  if (isLines(schema) && Array.isArray(value)) return value.join("\n");
  if (typeof value === "string" && (schema.type === "string" || schema.enum)) return value;
  return typeof value === "object" ? JSON.stringify(value, null, 2) : String(value);
}

/** The value of what is written: {value}, {} for a field that is left empty, or {error}. */
export function read(text, schema) {
  if (text === "") return {};
  if (schema.enum) return { value: schema.enum.find((each) => String(each) === text) };
  if (schema.type === "string") return { value: text };
  if (schema.type === "boolean") return { value: text === "true" };
  if (schema.type === "integer" || schema.type === "number") {
    const number = Number(text);
    if (Number.isNaN(number)) return { error: "This is not a number." };
    if (schema.type === "integer" && !Number.isInteger(number)) return { error: "This is not a whole number." };
    return { value: number };
  }
  if (isLines(schema)) return { value: text.split("\n").filter(Boolean) };
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    return { error: `This is not JSON: ${error.message}` };
  }
}

/** One field with its label, description, bounds, and what is wrong with it. */
export function Field({ name, schema, required, text, error, onText }) {
  const id = `param-${name}`;
  const about = [schema.description && `${id}-about`, error && `${id}-error`].filter(Boolean).join(" ") || null;
  const common = { id, name, required, "aria-describedby": about, "aria-invalid": Boolean(error) };
  const put = (event) => onText(event.target.value);
  return html`<div class=${`field ${error ? "bad" : ""}`}>
    <label for=${id}>${name} ${required ? html`<span class="minor">needed</span>` : ""}</label>
    ${input(schema, common, text, put)}
    <p class="minor" id=${`${id}-about`}>${[schema.description, bounds(schema)].filter(Boolean).join(" ")}</p>
    ${error && html`<p class="wrong" id=${`${id}-error`}>${error}</p>`}
  </div>`;
}

function input(schema, common, text, put) {
  const fallback = written(schema.default, schema);
  if (schema.enum || schema.type === "boolean") {
    const options = (schema.enum || [true, false]).map(String);
    return html`<select ...${common} value=${text} onChange=${put}>
      ${(!common.required || text === "") && html`<option value="" selected=${text === ""}>${fallback ? `${fallback} (default)` : "–"}</option>`}
      ${options.map((each) => html`<option key=${each} value=${each} selected=${each === text}>${each}</option>`)}</select>`;
  }
  if (schema.type === "integer" || schema.type === "number") {
    const step = schema.type === "integer" ? 1 : "any";
    return html`<input ...${common} type="number" step=${step} min=${schema.minimum} max=${schema.maximum} placeholder=${fallback}
      value=${text} onInput=${put} />`;
  }
  if (schema.type === "string" && (schema.maxLength === undefined || schema.maxLength <= 500)) {
    return html`<input ...${common} type="text" maxlength=${schema.maxLength} placeholder=${fallback} value=${text} onInput=${put} />`;
  }
  const rows = Math.min(10, Math.max(3, (text || fallback).split("\n").length));
  return html`<textarea ...${common} rows=${rows} placeholder=${fallback} value=${text} onInput=${put}></textarea>`;
}

function bounds(schema) {
  const said = [];
  if (isLines(schema)) said.push("One a line.");
  else if (!schema.type && !schema.enum) said.push("JSON.");
  else if (schema.type === "object" || schema.type === "array") said.push("JSON.");
  if (schema.minimum !== undefined && schema.maximum !== undefined) said.push(`${schema.minimum} to ${schema.maximum}.`);
  else if (schema.minimum !== undefined) said.push(`At least ${schema.minimum}.`);
  else if (schema.maximum !== undefined) said.push(`At most ${schema.maximum}.`);
  if (schema.pattern) said.push(`Matches ${schema.pattern}.`);
  return said.join(" ");
}
