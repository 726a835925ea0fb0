"""How the client's logic asks for I/O without doing any: generators of steps.

`app.client.calls` and `app.client.resume` are generators that yield a step and are sent what it
gave, or are thrown the `httpx.RequestError` that it ended with. `app.client.sync` and
`app.client.aio` perform the steps, each in its own way; nothing else differs between them.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request; `path` is below the server's address, `silence_s` how long an answer may pause."""

    method: str
    path: str
    silence_s: float
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request; gives the `httpx.Response`, which has been read."""

    request: Request


@dataclass(frozen=True, slots=True)
class Open:
    """Close the stream of before and open one; gives the `httpx.Response`.

    Its body is for `Read` if it is a 200, else it has been read.
    """

    request: Request


@dataclass(frozen=True, slots=True)
class Read:
    """Read from the stream that is open; gives `bytes`, or None once it is over."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Close the stream, if there is one, and wait for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand an item to who iterates; goes on when the next one is wanted."""

    item: Any


Step = Send | Open | Read | Pause | Deliver
Steps = Generator[Step, Any, _T]
"""Logic that yields steps and returns its result."""


class Run(Generic[_T]):
    """One run of such logic: `step` is what it waits for, None once it has its `result`.

    What the logic raises comes out of the call that made it go on.
    """

    __slots__ = ("_result", "_steps", "step")

    def __init__(self, steps: Steps[_T]) -> None:
        self._steps = steps
        self._result: list[_T] = []
        self.step: Step | None = None
        self._go_on(lambda: next(steps))

    @property
    def result(self) -> _T:
        """What the logic has returned; only once `step` is None."""
        return self._result[0]

    def answered(self, given: object) -> None:
        """The step gave `given`."""
        self._go_on(lambda: self._steps.send(given))

    def failed(self, error: httpx.RequestError) -> None:
        """The step ended with `error`."""
        self._go_on(lambda: self._steps.throw(error))

    def _go_on(self, resume: Callable[[], Step]) -> None:
        try:
            self.step = resume()
        except StopIteration as end:
            self.step = None
            self._result.append(end.value)
