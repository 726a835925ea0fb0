"""A typed client of a job-narrator server, for code that waits and for coroutines.

It loads no server: httpx, msgspec and OpenTelemetry's API are all that it needs.

```python
from app.client import Client, JobFailed, NarrationEvent, OutputEvent

with Client() as client:  # NARRATOR_SERVER, else http://127.0.0.1:8000; or Client("https://…")
    job = client.submit("render", {"scene": "forest", "frames": 3}, tags={"film": "a"})
    for event in client.stream(job):
        match event:
            case NarrationEvent():
                print(f"{event.actor}: {event.text}")
            case OutputEvent():
                print(event.chunk)
    try:
        print(client.result(job, timeout_s=60))
    except JobFailed as failed:
        print(failed.reason, failed.record.failure)
```

`AsyncClient` has the same calls: `await client.submit(…)`, `async for event in client.stream(…)`.

- **A stream is whole.** It begins with the first event, goes on live, and ends after `EndEvent`.
  A connection that breaks is taken up after the last complete event: nothing is lost, nothing comes
  twice. `on_reconnect=` is told before each pause. What the server no longer keeps is a `GapEvent`,
  or with `raise_on_gap=True` the error `Gap`. To go on in another process, keep
  `stream.last_event_id` and give it as `last_event_id=`.
- **Events are typed**, `event.id` is what `last_event_id` takes, and `event.raw` is the JSON as it
  came. An event of a newer server is an `UnknownEvent`; fields that are not known here are in its
  `raw`.
- **`result`** waits for the end: the handler's result, or `JobFailed`, `JobCancelled`, and after
  `timeout_s` `NotFinished`. `wait` gives the record, whatever the end.
- **Sent twice, done once.** A read, and a submission or a retry, which go with an idempotency key,
  are sent again when the connection breaks; a cancel and a delete only where nothing had left.
  `Patience` says for how long, and whether a 429 or 503 is waited out (`Patience(busy_s=60)`).
- **A closed server** is opened by a key: `Client(key=…)`, else `NARRATOR_KEY`. It goes with every
  request, streams too, to this server and nowhere else: no redirect is followed.
- **Traces go on.** The current span becomes the parent of the job's, by W3C headers.
- **Errors** are one tree under `ClientError`: `Unreachable`; `Refused` with its status and problem
  document (`InvalidRequest` with its fields, `Unauthorized`, `Forbidden`, `NotFound`, `Conflict`,
  `Busy`); `Unreadable`; `JobFailed`, `JobCancelled`; `NotFinished`; `Gap`. Params that JSON can't
  carry are a ValueError.
"""

from app.client.aio import AsyncClient, AsyncStream
from app.client.calls import JobFilter, JobOptions
from app.client.errors import (
    Busy,
    ClientError,
    Conflict,
    FieldError,
    Forbidden,
    Gap,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    JobNotCompleted,
    NotFinished,
    NotFound,
    Problem,
    Refused,
    Unauthorized,
    Unreachable,
    Unreadable,
)
from app.client.events import (
    DrainingEvent,
    EndEvent,
    Event,
    GapEvent,
    JobStateEvent,
    LoggedEvent,
    NarrationEvent,
    OutputEvent,
    ProgressEvent,
    StateEvent,
    UnknownEvent,
)
from app.client.patience import Patience
from app.client.records import JobPage, JobRecord, Operation, Overview
from app.client.resume import Reconnect, StreamOptions
from app.client.sync import Client, Stream

__all__ = [
    "AsyncClient",
    "AsyncStream",
    "Busy",
    "Client",
    "ClientError",
    "Conflict",
    "DrainingEvent",
    "EndEvent",
    "Event",
    "FieldError",
    "Forbidden",
    "Gap",
    "GapEvent",
    "InvalidRequest",
    "JobCancelled",
    "JobFailed",
    "JobFilter",
    "JobNotCompleted",
    "JobOptions",
    "JobPage",
    "JobRecord",
    "JobStateEvent",
    "LoggedEvent",
    "NarrationEvent",
    "NotFinished",
    "NotFound",
    "Operation",
    "OutputEvent",
    "Overview",
    "Patience",
    "Problem",
    "ProgressEvent",
    "Reconnect",
    "Refused",
    "StateEvent",
    "Stream",
    "StreamOptions",
    "Unauthorized",
    "UnknownEvent",
    "Unreachable",
    "Unreadable",
]
