// The event stream format (WHATWG HTML, 9.2.6), as a parser that is fed text.

/** Calls `onEvent({event, data, id})` for each event; `retry` is in milliseconds once it was said. */
export class Parser {
  constructor(onEvent) {
    this.onEvent = onEvent;
    this.retry = null;
    this.lastId = "";
    this.rest = "";
    this.clear();
  }

  clear() {
    this.type = "";
    this.data = [];
  }

  feed(text) {
    this.rest += text;
    // A CR at the end may be the first half of a CRLF: it waits.
    const end = this.rest.endsWith("\r") ? this.rest.length - 1 : this.rest.length;
    const lines = this.rest.slice(0, end).split(/\r\n|\r|\n/);
    this.rest = lines.pop() + this.rest.slice(end);
    lines.forEach((line) => this.line(line));
  }

  line(line) {
    if (line === "") return this.dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.type = value;
    else if (name === "data") this.data.push(value);
    else if (name === "id" && !value.includes("\0")) this.lastId = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.retry = Number(value);
  }

  dispatch() {
    if (this.data.length) {
      this.onEvent({
        event: this.type || "message",
        data: this.data.join("\n"),
        id: this.lastId,
      });
    }
    this.clear();
  }
}
