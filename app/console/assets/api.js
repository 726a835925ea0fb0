// Calls of the server, with the key to it, and what they refuse. Knows no page.

import { current, headers, refused } from "./key.js";

/** The address of `path`: from where the console is, or from the origin if it begins with a slash. */
export const url = (path) => new URL(path, document.baseURI).href;

/** A refusal (RFC 9457), or a server that does not answer (status 0). */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `HTTP ${status}`);
    this.status = status;
    this.errors = document.errors || [];
  }
}

const UNREACHABLE = "The server does not answer. It may be restarting; this page tries again.";

/** The answer to a request, whatever it is; `key` goes along. A 401 locks the page. */
export async function ask(path, options = {}, key = current()) {
  const answer = await fetch(url(path), { ...options, headers: { ...options.headers, ...headers(key) } });
  if (answer.status === 401) refused(key, (await problem(answer)).message);
  return answer;
}

/** The Problem that an unsuccessful answer is. */
export async function problem(answer) {
  const told = await answer.clone().json().catch(() => ({ detail: `HTTP ${answer.status}` }));
  return new Problem(answer.status, told);
}

/** The successful answer to `method path`; throws Problem. */
async function answered(method, path, body, key) {
  const options = { method, headers: { accept: "application/json" } };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await ask(path, options, key);
  } catch {
    throw new Problem(0, { detail: UNREACHABLE });
  }
  if (!answer.ok) throw await problem(answer);
  return answer;
}

/** The JSON that `method path` answers, null where there is none; throws Problem. */
export async function call(method, path, body) {
  const answer = await answered(method, path, body);
  if (answer.status === 204) return null;
  return answer.json().catch(() => {
    throw new Problem(answer.status, { detail: "The answer is no JSON." });
  });
}

export const get = (path) => call("GET", path);
export const cancelJob = (id) => call("POST", `v1/jobs/${id}/cancel`);
export const retryJob = (id, changes) => call("POST", `v1/jobs/${id}/retry`, changes);

/** Whether the server knows `key`, whatever that allows; throws Problem where it does not answer. */
export async function opens(key) {
  try {
    await answered("GET", "v1/overview", undefined, key);
  } catch (error) {
    if (error.status === 401) return false;
    if (error.status !== 403) throw error;
  }
  return true;
}

/** What is at `path`, as a file of the browser's; its text can't become a page of ours. */
export async function file(path) {
  const answer = await answered("GET", path);
  const isJson = (answer.headers.get("content-type") || "").startsWith("application/json");
  return new Blob([await answer.arrayBuffer()], { type: isJson ? "application/json" : "text/plain" });
}

/** Each of `items` through `action`, six at a time; how many went well, and the first problem. */
export async function each(items, action) {
  const waiting = [...items];
  const found = { done: 0, failed: 0, problem: null };
  const worker = async () => {
    while (waiting.length) {
      try {
        await action(waiting.shift());
        found.done += 1;
      } catch (error) {
        found.failed += 1;
        found.problem ??= error;
      }
    }
  };
  await Promise.all(Array.from({ length: 6 }, worker));
  return found;
}
