"""Performs the steps of the client's logic by a script, on a clock of its own: without I/O."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx

from app.client.calls import Calls, Link
from app.client.patience import Patience
from app.client.steps import Deliver, Open, Pause, Read, Request, Run, Send, Steps

Given = httpx.Response | bytes | httpx.RequestError | None
"""What a step gives: an answer, a piece of a stream, None at its end; or what it ends with."""


def answer(status: int = 200, *, json: Any = None, **headers: str) -> httpx.Response:
    """An answer with a JSON body."""
    return httpx.Response(
        status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        json=json,
    )


def streamed(*, content_type: str = "text/event-stream") -> httpx.Response:
    """The head of a stream."""
    return httpx.Response(200, headers={"content-type": content_type})


def event(name: str, body: str, *, id_: str | None = None) -> bytes:
    """One event on the wire."""
    own = "" if id_ is None else f"id: {id_}\n"
    return f"{own}event: {name}\ndata: {body}\n\n".encode()


def output(seq: int) -> bytes:
    """A logged event with its id."""
    body = f'{{"seq": {seq}, "at": "2026-11-24T12:00:00.000000Z", "chunk": {seq}}}'
    return event("output", body, id_=f"e.{seq}")


def end(seq: int) -> bytes:
    """The last event."""
    body = (
        f'{{"seq": {seq}, "at": "2026-11-24T12:00:00.000000Z", "state": "completed", '
        '"reason": null, "result": 1, "failure": null, "marker": "[DONE]"}'
    )
    return event("end", body, id_=f"e.{seq}")


@dataclass(slots=True)
class Scripted:
    """What the logic did: requests, pauses and what it delivered; `given` is what it gets.

    When nothing is left of that, `server` gives what a request is answered with.
    """

    given: list[Given]
    patience: Patience = field(default_factory=Patience)
    server: Callable[[Request], list[Given]] | None = None
    requests: list[Request] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    delivered: list[Any] = field(default_factory=list)
    now: float = 0.0

    @property
    def link(self) -> Link:
        """A link on this clock, without chance."""
        return Link(
            patience=self.patience,
            timeout_s=30,
            silence_s=60,
            now=lambda: self.now,
            uniform=lambda: 0.0,
        )

    @property
    def calls(self) -> Calls:
        """The calls on this link."""
        return Calls(self.link)

    def run(self, steps: Steps[Any]) -> Any:
        """Perform `steps`; what they return."""
        run = Run(steps)
        while (step := run.step) is not None:
            match step:
                case Deliver(item):
                    self.delivered.append(item)
                    run.answered(None)
                case Pause(seconds):
                    self.now += seconds
                    self.pauses.append(seconds)
                    run.answered(None)
                case Send(request) | Open(request):
                    self.requests.append(request)
                    if not self.given and self.server is not None:
                        self.given = self.server(request)
                    self._give(run, request)
                case Read():
                    self._give(run, self.requests[-1])
        return run.result

    def _give(self, run: Run[Any], request: Request) -> None:
        given = self.given.pop(0)
        sent = httpx.Request(request.method, f"http://narrator.test/{request.path}")
        if isinstance(given, httpx.RequestError):
            given.request = sent
            run.failed(given)
            return
        if isinstance(given, httpx.Response):
            given.request = sent
        run.answered(given)


def script(given: Iterable[Given], **patience: float) -> Scripted:
    """A script; the keywords are those of `Patience`."""
    return Scripted([*given], Patience(**patience))


def always(make: Callable[[], Given], count: int = 100) -> list[Given]:
    """The same, over and over."""
    return [make() for _ in range(count)]
