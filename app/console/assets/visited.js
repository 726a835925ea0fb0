// The order of the list that was open last, so that a job's view can go to the next one.

const KEY = "narrator-list";

/** Remember the order; at most the first 1,000. */
export function remember(rows) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(rows.slice(0, 1_000).map((each) => each.id)));
  } catch {
    // Without storage there is no next job.
  }
}

/** The job `by` places after `id`; undefined where there is none. */
export function neighbour(id, by) {
  try {
    const order = JSON.parse(sessionStorage.getItem(KEY)) || [];
    const at = order.indexOf(id);
    return at < 0 ? order[0] : order[at + by];
  } catch {
    return undefined;
  }
}
