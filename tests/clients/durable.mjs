// Reads one stream with npm's `@durable-streams/client` and prints what it gets, a JSON object a
// line: {items, offset} for each batch, {error} where it is refused, and {closed} at the end.
// Arguments: the address, the mode (long-poll, sse or none), the offset, how many items to take.
import { stream } from "@durable-streams/client";

const [url, mode, offset, most] = process.argv.slice(2);
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
let taken = 0;
try {
  const session = await stream({ url, offset, live: mode === "none" ? false : mode, json: true });
  session.subscribeJson((batch) => {
    say({ items: batch.items, offset: batch.offset });
    taken += batch.items.length;
    if (taken >= Number(most ?? Infinity)) session.cancel();
  });
  // Its `closed` may come before its last batch.
  process.once("beforeExit", () => say({ closed: session.streamClosed }));
} catch (error) {
  say({ error: error.status ?? String(error) });
}
