// Calls of the server, and what they refuse. Knows no page.

export const url = (path) => new URL(path.replace(/^\//, ""), document.baseURI).href;

/** A refusal (RFC 9457), or a server that does not answer (status 0). */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `HTTP ${status}`);
    this.status = status;
    this.errors = document.errors || [];
  }
}

const UNREACHABLE = "The server does not answer. It may be restarting; this page tries again.";

/** The JSON that `method path` answers; throws Problem. */
export async function call(method, path, body) {
  const options = { method, headers: { accept: "application/json" } };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(url(path), options);
  } catch {
    throw new Problem(0, { detail: UNREACHABLE });
  }
  if (answer.status === 204) return null;
  const content = await answer.json().catch(() => ({ detail: `HTTP ${answer.status}` }));
  if (!answer.ok) throw new Problem(answer.status, content);
  return content;
}

export const get = (path) => call("GET", path);
export const cancelJob = (id) => call("POST", `v1/jobs/${id}/cancel`);
export const retryJob = (id, changes) => call("POST", `v1/jobs/${id}/retry`, changes);

/** Each of `items` through `action`, six at a time; how many went well, and the first problem. */
export async function each(items, action) {
  const waiting = [...items];
  const found = { done: 0, failed: 0, problem: null };
  const worker = async () => {
    while (waiting.length) {
      try {
        await action(waiting.shift());
        found.done += 1;
      } catch (problem) {
        found.failed += 1;
        found.problem ??= problem;
      }
    }
  };
  await Promise.all(Array.from({ length: 6 }, worker));
  return found;
}
