// Follows one address with npm's `eventsource` and prints what it sees, a JSON object a line:
// events as {event, id, data}, then {closed: <HTTP status>} when it has stopped coming back.
import { EventSource } from "eventsource";

const names = ["state", "narration", "progress", "output", "gap", "draining", "end", "message"];
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const source = new EventSource(process.argv[2]);

for (const name of names) {
  source.addEventListener(name, (event) => {
    say({ event: name, id: event.lastEventId, data: event.data });
  });
}
source.addEventListener("open", () => say({ opened: true }));
source.addEventListener("error", (event) => {
  // An event of the server that is called `error` would have data.
  if (event.data !== undefined) say({ event: "error", data: event.data });
  if (source.readyState === EventSource.CLOSED) say({ closed: event.code ?? null });
});
